package cdc

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/schema"
	"github.com/tidbcdc/tidbcdc/sink"
)

// errNoChange leaves a record as it is.
var errNoChange = errors.New("nothing to change")

// pause stops the changefeed if it is not at rest. It does not wait for a write
// that has begun; a resume does.
func (f *feed) pause(ctx context.Context) error {
	return f.changeIf(ctx, func(r *changefeedRecord) bool {
		return wantsToRun(r.State) || r.State == StatePending
	}, func(r *changefeedRecord) { r.State, r.Error = StateStopped, nil })
}

// resume starts the changefeed if it is at rest, whatever kept it from running.
func (f *feed) resume(ctx context.Context) error {
	return f.changeIf(ctx, func(r *changefeedRecord) bool {
		return r.State == StateStopped || r.State == StateFailed || r.State == StateFinished
	}, func(r *changefeedRecord) {
		r.State, r.Error, r.ErrorHistory, r.Released = StateNormal, nil, nil, false
		f.mu.Lock()
		f.mu.retry, f.mu.released = retry{}, false
		f.mu.Unlock()
	})
}

func (f *feed) changeIf(ctx context.Context, cond func(*changefeedRecord) bool, apply func(*changefeedRecord)) error {
	err := f.change(ctx, func(r *changefeedRecord) error {
		if !cond(r) {
			f.log.Warn("command without effect in this state", "state", r.State)
			return errNoChange
		}
		apply(r)
		return nil
	})
	if errors.Is(err, errNoChange) {
		return nil
	}
	return err
}

// update changes the Spec of a changefeed that does not run.
func (f *feed) update(ctx context.Context, change func(*Spec) error) error {
	return f.change(ctx, func(r *changefeedRecord) error {
		if err := f.updateSpec(ctx, r, change); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrUpdateRefused, f.id, err)
		}
		return nil
	})
}

func (f *feed) updateSpec(ctx context.Context, r *changefeedRecord, change func(*Spec) error) error {
	if r.State != StateStopped && r.State != StateFailed {
		return fmt.Errorf("it is in state %s: pause it first", r.State)
	}
	old := r.Spec.clone()
	if err := change(&r.Spec); err != nil {
		return err
	}
	r.Spec.unmask(&old)
	same, err := r.Spec.equal(&old)
	if err != nil {
		return err
	}
	switch {
	case same:
		return errors.New("the settings are as they were")
	case r.Spec.ID != old.ID || r.Spec.StartTs != old.StartTs:
		return errors.New("its id and its start ts cannot be changed")
	}
	if err := checkTargetTs(&r.Spec); err != nil {
		return err
	}
	return f.owner.checkSettings(ctx, &r.Spec, f.checkpoint())
}

// removeAndWait stops the changefeed, whatever its state, and forgets it.
func (f *feed) removeAndWait(ctx context.Context) error {
	f.mu.Lock()
	r := f.mu.remove
	if r == nil {
		r = &removal{done: make(chan struct{})}
		f.mu.remove = r
		f.interruptLocked()
	}
	f.mu.Unlock()
	f.signal()
	select {
	case <-r.done:
		return r.err
	case <-f.ended:
		select {
		case <-r.done: // it ended because of that
			return r.err
		default:
			return fmt.Errorf("%w: %s: %w", ErrRemovalUnfinished, f.id, ErrNotReady)
		}
	case <-ctx.Done():
		return fmt.Errorf("%w: %s: it goes on: %w", ErrRemovalUnfinished, f.id, context.Cause(ctx))
	}
}

// finishRemoval is the end of a feed that does not run any more. If it cannot be
// deleted it stays, and is stopped.
func (f *feed) finishRemoval(ctx context.Context, r *removal) bool {
	select {
	case f.turn <- struct{}{}: // a command that has begun may still store its record
	case <-ctx.Done():
		return false
	}
	defer f.release()
	r.err = f.owner.store.Delete(ctx, f.id)
	if r.err == nil {
		if err := f.owner.source.ReleaseSafePoint(ctx, f.id); err != nil {
			f.log.Warn("service GC safe point not removed: it ends by itself", "error", err)
		}
		f.owner.forget(f.id) // from here on another may have the id
		f.log.Info("changefeed removed")
	} else {
		f.mu.Lock()
		f.mu.remove = nil
		f.mu.record.State = StateStopped
		f.mu.Unlock()
	}
	close(r.done)
	return r.err == nil
}

// feedCheckpoints is the CheckpointStore of a run of a feed, which learns from it
// how far it has come.
type feedCheckpoints struct{ *feed }

func (c feedCheckpoints) Load(ctx context.Context, changefeed string) (event.Ts, error) {
	return c.owner.store.Load(ctx, changefeed)
}

func (c feedCheckpoints) Save(ctx context.Context, changefeed string, ts event.Ts) error {
	if err := c.owner.store.Save(ctx, changefeed, ts); err != nil {
		return err
	}
	c.mu.Lock()
	c.mu.saved = ts
	recovered := c.mu.record.State == StateWarning && ts > c.mu.retry.point
	if recovered {
		c.mu.retry = retry{}
	}
	c.mu.Unlock()
	if recovered {
		c.transition(ctx, func(r *changefeedRecord) error {
			if r.State != StateWarning {
				return errInterrupted
			}
			r.State, r.Error = StateNormal, nil
			return nil
		})
	}
	return nil
}

func (f *feed) checkpoint() event.Ts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.saved
}

// isRetryable reports whether a changefeed that an error has ended may do better
// when it is started again.
func isRetryable(err error) bool {
	for _, permanent := range []error{
		sink.ErrInvalidURI, ErrStartTsBeforeGC, ErrSnapshotLostByGC, ErrGCTTLExceeded, ErrStartTsInFuture,
		ErrTargetTsBeforeStartTs, ErrInvalidSpec, ErrInvalidTimeZone, ErrClusterIDMismatch, schema.ErrFlashback,
	} {
		if errors.Is(err, permanent) {
			return false
		}
	}
	return !sink.IsPermanent(err) && !isA[*IneligibleTablesError](err) && !isA[*filter.RuleError](err) &&
		!isA[*filter.EventFilterError](err) && !isA[*filter.ExpressionError](err) && !isA[*filter.IntoFilterError](err)
}

// isA reports whether err, or one that it wraps, is a T.
func isA[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
