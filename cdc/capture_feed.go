package cdc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// How a changefeed that met an error is started again.
const (
	retryFirst  = 10 * time.Second
	retryMost   = 10 * time.Minute
	retryGrow   = 2
	retryJitter = 0.1 // the part of a wait by which it varies
	// stuckDefault is Spec.ErrorStuckDuration.
	stuckDefault = 30 * time.Minute
)

// feed is a changefeed of an owner, through all its states.
//
//	normal ──error──▶ pending ──timer──▶ warning ──checkpoint advances──▶ normal
//	                     ▲────────error─────┘
//	any of these:  pause ▶ stopped    target ts ▶ finished
//	               an error that retrying cannot mend, or no progress for long ▶ failed
//	stopped, failed, finished:  resume ▶ normal
//
// One goroutine, run, runs the changefeed while its state wants it to. Commands
// change the state, interrupt what runs and wake that goroutine.
type feed struct {
	owner *owner
	id    string
	log   *slog.Logger

	// turn has room for one: whoever stores a record, until it is stored. It is taken
	// before mu.
	turn  chan struct{}
	wake  chan struct{} // has room for one; the state has changed
	ended chan struct{} // closed when run has returned
	mu    struct {
		sync.Mutex
		record changefeedRecord
		// saved is the stored checkpoint, or the start ts before there is one.
		saved event.Ts
		// released: the safe point has been removed since the record says Released.
		released bool
		runner   runner                  // while it runs
		cancel   context.CancelCauseFunc // while it runs or is being launched
		retry    retry
		remove   *removal
	}
}

// retry is what a feed knows of its errors since its checkpoint last advanced.
type retry struct {
	attempts int
	since    time.Time // of the first error
	point    event.Ts  // the checkpoint then
	next     time.Time // when pending ends
	wait     *backoff.ExponentialBackOff
}

// removal is the removal of a feed, which its goroutine does.
type removal struct {
	done chan struct{}
	err  error // once done is closed
}

// errInterrupted ends a run because the state has changed.
var errInterrupted = errors.New("the changefeed's state was changed")

func newFeed(o *owner, record changefeedRecord, saved event.Ts) *feed {
	f := &feed{
		owner: o, id: record.Spec.ID, log: o.log.With("changefeed", record.Spec.ID),
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if record.State == StatePending {
		record.State = StateWarning // the wait was for the process that has ended
	}
	f.mu.record, f.mu.saved = record, max(saved, record.Spec.StartTs)
	return f
}

// wantsToRun reports whether run has work in a state.
func wantsToRun(s State) bool { return s == StateNormal || s == StateWarning }

// run lives as long as the owner, or until the changefeed is removed.
func (f *feed) run(ctx context.Context) {
	defer close(f.ended)
	for ctx.Err() == nil {
		f.mu.Lock()
		state, next, remove := f.mu.record.State, f.mu.retry.next, f.mu.remove
		f.mu.Unlock()
		switch {
		case remove != nil:
			if f.finishRemoval(ctx, remove) {
				return
			}
		case wantsToRun(state):
			f.runOnce(ctx)
		case state == StatePending:
			if f.wait(ctx, next) {
				f.transition(ctx, func(r *changefeedRecord) error {
					if r.State != StatePending {
						return errInterrupted
					}
					r.State = StateWarning
					return nil
				})
			}
		default:
			f.wait(ctx, time.Time{})
		}
	}
}

// wait returns when the state has changed, ctx has ended or until is reached, which
// it reports; the zero time never is.
func (f *feed) wait(ctx context.Context, until time.Time) bool {
	var timeout <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-ctx.Done():
	case <-f.wake:
	case <-timeout:
		return true
	}
	return false
}

// runOnce launches the changefeed and runs it until it ends or is interrupted.
func (f *feed) runOnce(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.mu.Lock()
	if !wantsToRun(f.mu.record.State) || f.mu.remove != nil {
		f.mu.Unlock()
		return
	}
	f.mu.cancel = cancel
	spec := f.mu.record.Spec.clone()
	f.mu.Unlock()

	err := f.launch(ctx, &spec)
	interrupted := ctx.Err() != nil

	f.mu.Lock()
	f.mu.cancel, f.mu.runner = nil, nil
	f.mu.Unlock()
	// An interrupted run says nothing about the changefeed: its state is what
	// whoever interrupted it has set, or what the next owner goes on from.
	if !interrupted {
		f.settle(ctx, err)
	}
}

func (f *feed) launch(ctx context.Context, spec *Spec) (err error) {
	r, closeSink, err := f.owner.launcher.Launch(ctx, spec, feedCheckpoints{f})
	if err != nil {
		return err
	}
	defer func() {
		// What the sink acknowledged is written, so failing to close it is no reason
		// to write anything again.
		if err := closeSink(); err != nil {
			f.log.Warn("sink not closed properly", "error", err)
		}
	}()
	f.mu.Lock()
	f.mu.runner = r
	f.mu.Unlock()
	return r.Run(ctx)
}

// settle decides what follows the end of a run.
func (f *feed) settle(ctx context.Context, err error) {
	f.transition(ctx, func(r *changefeedRecord) error {
		if !wantsToRun(r.State) {
			return errInterrupted
		}
		if err == nil {
			r.State, r.Error, r.Released = StateFinished, nil, true
			f.log.Info("changefeed finished", "target_ts", uint64(r.Spec.TargetTs))
			return nil
		}
		f.fail(r, err)
		return nil
	})
}

// fail puts a record into the state that follows an error.
func (f *feed) fail(r *changefeedRecord, err error) {
	now := time.Now()
	stuck := time.Duration(r.Spec.ErrorStuckDuration)
	setDefault(&stuck, stuckDefault)

	f.mu.Lock()
	again := &f.mu.retry
	if again.attempts == 0 {
		again.since, again.point = now, f.mu.saved
		again.wait = &backoff.ExponentialBackOff{
			InitialInterval: retryFirst, MaxInterval: retryMost, Multiplier: retryGrow, RandomizationFactor: retryJitter,
		}
		again.wait.Reset()
	}
	again.attempts++
	isStuck := now.Sub(again.since) >= stuck
	wait := again.wait.NextBackOff()
	again.next = now.Add(wait)
	f.mu.Unlock()

	switch {
	case !isRetryable(err):
		r.State = StateFailed
	case isStuck:
		r.State = StateFailed
		err = fmt.Errorf("%w (%v): %w", ErrNoProgress, stuck, err)
	default:
		r.State = StatePending
	}
	if errors.Is(err, ErrStartTsBeforeGC) || errors.Is(err, ErrSnapshotLostByGC) {
		r.Released = true
	}
	r.setError(f.owner.cfg.runningError(err))
	if r.State == StateFailed {
		f.log.Error("changefeed failed", "error", err)
	} else {
		f.log.Warn("changefeed stopped by an error, will start it again", "wait", wait, "error", err)
	}
}

// transition is change for what happens by itself: if it cannot be stored, it
// happens nevertheless, and a process that comes after this one finds out again.
func (f *feed) transition(ctx context.Context, change func(*changefeedRecord) error) {
	if err := f.acquire(ctx); err != nil {
		return
	}
	defer f.release()
	record := f.record()
	if err := change(&record); err != nil {
		return
	}
	if err := f.owner.store.PutRecord(ctx, &record); err != nil && ctx.Err() == nil {
		f.log.Error("changefeed's state not stored", "state", record.State, "error", err)
	}
	f.setRecord(record)
}

// change stores a changed record. change returns an error to leave it as it is.
func (f *feed) change(ctx context.Context, change func(*changefeedRecord) error) error {
	if err := f.acquire(ctx); err != nil {
		return err
	}
	defer f.release()
	record := f.record()
	if err := change(&record); err != nil {
		return err
	}
	if err := f.owner.store.PutRecord(ctx, &record); err != nil {
		return err
	}
	f.setRecord(record)
	return nil
}

func (f *feed) acquire(ctx context.Context) error {
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f.mu.Lock()
	removed := f.mu.remove != nil
	f.mu.Unlock()
	if removed {
		f.release()
		return fmt.Errorf("%w: %s", ErrChangefeedNotFound, f.id)
	}
	return nil
}

func (f *feed) release() { <-f.turn }

// record returns a copy that may be changed.
func (f *feed) record() changefeedRecord {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.mu.record
	r.Spec = r.Spec.clone()
	return r
}

// setRecord makes a record the present one, interrupts what runs if it should not,
// and wakes run.
func (f *feed) setRecord(r changefeedRecord) {
	f.mu.Lock()
	f.mu.record = r
	if !wantsToRun(r.State) {
		f.interruptLocked()
	}
	f.mu.Unlock()
	f.signal()
}

func (f *feed) interruptLocked() {
	if f.mu.cancel != nil {
		f.mu.cancel(errInterrupted)
	}
}

func (f *feed) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}
