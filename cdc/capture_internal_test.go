package cdc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
)

// world is an owner with everything around it scripted, and no time but that of the
// bubble: waits of half an hour take none.
type world struct {
	t *testing.T
	*owner
	cancel context.CancelFunc
	ended  chan error

	memory *memoryStore
	pd     *fakeSource
	runs   *fakeLauncher
}

func newWorld(t *testing.T, records ...changefeedRecord) *world {
	t.Helper()
	w := &world{t: t, memory: &memoryStore{records: map[string]changefeedRecord{}}, ended: make(chan error, 1)}
	w.pd = &fakeSource{safePoints: safePoints{held: map[string]event.Ts{}}}
	w.runs = &fakeLauncher{script: map[string]func(*run) error{}}
	for _, r := range records {
		w.memory.records[r.Spec.ID] = r
	}
	w.owner = &owner{
		cfg:   &CaptureConfig{GCTTL: 24 * time.Hour, Address: "here:1", ErrorCode: func(err error) string { return "code of " + err.Error() }},
		store: w.memory, source: w.pd, launcher: w.runs, log: slog.New(slog.DiscardHandler),
	}
	w.cfg.Openers = sink.Openers{"test": nil}
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	if err := w.load(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { w.ended <- w.owner.run(ctx) }()
	synctest.Wait()
	return w
}

func (w *world) stop() {
	w.cancel()
	if err := <-w.ended; !errors.Is(err, context.Canceled) {
		w.t.Errorf("run returned %v", err)
	}
}

// after lets time pass and everything come to rest.
func (w *world) after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (w *world) wantState(id string, want State) *feed {
	w.t.Helper()
	synctest.Wait()
	f, err := w.feed(id)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := f.info().State; got != want {
		w.t.Fatalf("%s is %s, want %s (error %+v)", id, got, want, f.info().Error)
	}
	if stored := w.memory.get(id).State; stored != want && !w.memory.broken {
		w.t.Fatalf("%s is stored as %s, want %s", id, stored, want)
	}
	return f
}

func now() event.Ts { return event.Ts(time.Now().UnixMilli() << 18) }

// recordOf is of a changefeed that starts now.
func recordOf(id string, state State) changefeedRecord {
	return changefeedRecord{Spec: Spec{ID: id, SinkURI: "test://", StartTs: now()}, State: state, CreateTime: time.Now()}
}

// memoryStore is a changefeedStore that can break.
type memoryStore struct {
	MemoryCheckpoints
	mu      sync.Mutex
	records map[string]changefeedRecord
	broken  bool
}

var errBroken = errors.New("the disk is full")

func (s *memoryStore) get(id string) changefeedRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[id]
}

func (s *memoryStore) Records(context.Context) ([]changefeedRecord, error) {
	return slices.Collect(maps.Values(s.records)), nil
}

func (s *memoryStore) PutRecord(_ context.Context, r *changefeedRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errBroken
	}
	s.records[r.Spec.ID] = *r
	return nil
}

func (s *memoryStore) Delete(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errBroken
	}
	delete(s.records, id)
	return nil
}

func (s *memoryStore) setBroken(broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = broken
}

// fakeSource is a PD whose clock is the bubble's.
type fakeSource struct {
	mu sync.Mutex
	safePoints
	gc event.Ts // the GC safe point
}

type safePoints struct {
	held            map[string]event.Ts
	ttl             time.Duration // of the last hold
	holds, released int
}

func (s *fakeSource) look() safePoints {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.safePoints
	out.held = maps.Clone(s.held)
	return out
}

func (s *fakeSource) CurrentTs(context.Context) (event.Ts, error) { return now(), nil }

func (s *fakeSource) CheckTables(context.Context, *filter.Filter, event.Ts) ([]*event.TableInfo, []string, error) {
	return nil, nil, nil
}

func (s *fakeSource) HoldSafePoint(_ context.Context, id string, ts event.Ts, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ts <= s.gc {
		return &gcError{ts: ts, safePoint: s.gc}
	}
	s.held[id], s.ttl = ts, ttl
	s.holds++
	return nil
}

func (s *fakeSource) ReleaseSafePoint(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, id)
	s.released++
	return nil
}

// fakeLauncher runs scripts.
type fakeLauncher struct {
	mu       sync.Mutex
	script   map[string]func(*run) error // by changefeed, else untilCancelled
	launched []time.Time
	running  int
}

// run is one of a script.
type run struct {
	ctx  context.Context
	n    int // from 1
	save func(event.Ts)
}

func (l *fakeLauncher) Launch(_ context.Context, spec *Spec, checkpoints CheckpointStore) (runner, func() error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.launched = append(l.launched, time.Now())
	r := &run{n: len(l.launched)}
	script := l.script[spec.ID]
	if script == nil {
		script = untilCancelled
	}
	start := func(ctx context.Context) error {
		l.count(1)
		defer l.count(-1)
		r.ctx = ctx
		r.save = func(ts event.Ts) {
			if err := checkpoints.Save(ctx, spec.ID, ts); err != nil {
				panic(err)
			}
		}
		return script(r)
	}
	return runnerFunc(start), func() error { return nil }, nil
}

// count returns how many run, after d more have begun.
func (l *fakeLauncher) count(d int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running += d
	if l.running > 1 {
		panic("two runs of a changefeed at once")
	}
	return l.running
}

func (l *fakeLauncher) launches() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.launched)
}

type runnerFunc func(context.Context) error

func (f runnerFunc) Run(ctx context.Context) error { return f(ctx) }
func (runnerFunc) Status() Status                  { return Status{State: StateNormal} }
func (runnerFunc) Processors() []ProcessorInfo     { return nil }

var errSink = errors.New("sink is down")

// untilCancelled is the script of a changefeed that is well.
func untilCancelled(r *run) error { <-r.ctx.Done(); return context.Cause(r.ctx) }

// TestFeedBackoff: 10 s, 20 s … 10 min, each give or take a tenth, until half an hour
// has passed without progress.
func TestFeedBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recordOf("a", StateStopped))
		defer w.stop()
		w.runs.script["a"] = func(*run) error { return errSink }
		f := w.wantState("a", StateStopped)
		if err := f.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		f = w.wantState("a", StatePending)
		if e := f.info().Error; e.Message != errSink.Error() || e.Code != "code of sink is down" || e.Addr != "here:1" || !e.Time.Equal(time.Now()) {
			t.Errorf("error %+v", e)
		}
		w.after(time.Hour)
		f = w.wantState("a", StateFailed)
		if e := f.info().Error; e.Code != "code of "+ErrNoProgress.Error()+" (30m0s): "+errSink.Error() {
			t.Errorf("error %+v", e)
		}
		launched := w.runs.launches()
		wait := 10 * time.Second
		for i := 1; i < len(launched); i++ {
			got := launched[i].Sub(launched[i-1])
			if got < wait*9/10 || got > wait*11/10 {
				t.Errorf("wait %d is %v, want about %v", i, got, wait)
			}
			wait = min(2*wait, 10*time.Minute)
		}
		if history := f.info().ErrorHistory; !slices.EqualFunc(history, launched, time.Time.Equal) || len(history) < 5 {
			t.Errorf("errors at %v, want %v", history, launched)
		}
		if total := launched[len(launched)-1].Sub(launched[0]); total < 30*time.Minute || total > 45*time.Minute {
			t.Errorf("gave up after %v", total)
		}
		w.after(time.Hour)
		if n := len(w.runs.launches()); n != len(launched) {
			t.Errorf("%d launches after it failed", n-len(launched))
		}
	})
}

// TestFeedRecovers: progress makes a warning normal, and forgets errors.
func TestFeedRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recordOf("a", StateStopped))
		defer w.stop()
		start := w.memory.get("a").Spec.StartTs
		advance, fail := make(chan event.Ts), make(chan error)
		w.runs.script["a"] = func(r *run) error {
			for {
				select {
				case ts := <-advance:
					r.save(ts)
				case err := <-fail:
					return err
				case <-r.ctx.Done():
					return context.Cause(r.ctx)
				}
			}
		}
		f := w.wantState("a", StateStopped)
		if err := f.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantState("a", StateNormal)
		for range 3 {
			fail <- errSink
			w.wantState("a", StatePending)
			w.after(time.Minute)
			w.wantState("a", StateWarning)
		}
		if e := f.info().Error; e == nil || e.Message != errSink.Error() {
			t.Errorf("a warning shows %+v", e)
		}
		advance <- start // no progress
		w.wantState("a", StateWarning)
		advance <- start + 1
		w.wantState("a", StateNormal)
		if e := f.info().Error; e != nil {
			t.Errorf("normal shows %+v", e)
		}
		n := len(w.runs.launches())
		fail <- errSink
		w.wantState("a", StatePending)
		w.after(11 * time.Second)
		w.wantState("a", StateWarning)
		if got := len(w.runs.launches()); got != n+1 {
			t.Errorf("%d launches within 11 s of an error after progress, want 1", got-n)
		}
		// An hour of slow progress between errors is no reason to give up.
		for i := range 6 {
			fail <- errSink
			w.after(15 * time.Second)
			advance <- start + 2 + event.Ts(i)
			w.after(10 * time.Minute)
			w.wantState("a", StateNormal)
		}
	})
}

// TestResumeForgetsErrors: after a pause in the middle of a long backoff, waits begin
// at 10 s again, and half an hour counts from then.
func TestResumeForgetsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recordOf("a", StateStopped))
		defer w.stop()
		w.runs.script["a"] = func(*run) error { return errSink }
		f := w.wantState("a", StateStopped)
		for range 3 {
			if err := f.resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.after(25 * time.Minute)
			w.wantState("a", StatePending)
			if err := f.pause(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := len(w.runs.launches())
		w.after(12 * time.Second)
		if got := len(w.runs.launches()) - n; got != 2 || len(f.info().ErrorHistory) != 2 {
			t.Errorf("%d launches within 12 s, errors at %v, want 2", got, f.info().ErrorHistory)
		}
	})
}

func TestFeedFailsAtOnce(t *testing.T) {
	for _, err := range []error{
		sink.Permanent(errSink), fmt.Errorf("x: %w", sink.ErrInvalidURI), ErrStartTsBeforeGC, ErrSnapshotLostByGC, ErrStartTsInFuture,
		ErrTargetTsBeforeStartTs, ErrInvalidSpec, &IneligibleTablesError{Tables: []string{"a.b"}}, &filter.RuleError{Rule: "x"},
		&filter.EventFilterError{Err: errSink}, &filter.ExpressionError{Err: errSink}, &Error{Err: &filter.IntoFilterError{DDL: &event.DDL{}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, recordOf("a", StateStopped))
			defer w.stop()
			w.runs.script["a"] = func(*run) error { return err }
			f := w.wantState("a", StateStopped)
			if err := f.resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.wantState("a", StateFailed)
			w.after(time.Hour)
			if n := len(w.runs.launches()); n != 1 {
				t.Errorf("%v: %d launches, want 1", err, n)
			}
		})
	}
}

// TestFeedCommands: what each command does in each state.
func TestFeedCommands(t *testing.T) {
	tests := []struct {
		state         State
		pause, resume State
	}{
		{StateNormal, StateStopped, StateNormal},
		{StateWarning, StateStopped, StateWarning},
		{StatePending, StateStopped, StateWarning}, // a restart ends the wait
		{StateStopped, StateStopped, StateNormal},
		{StateFailed, StateFailed, StateNormal},
		{StateFinished, StateFinished, StateNormal},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			paused, resumed := recordOf("paused", tt.state), recordOf("resumed", tt.state)
			removed, updated := recordOf("removed", tt.state), recordOf("updated", tt.state)
			for _, r := range []changefeedRecord{paused, resumed, removed, updated} {
				w := newWorld(t, r)
				f, err := w.feed(r.Spec.ID)
				if err != nil {
					t.Fatal(err)
				}
				switch r.Spec.ID {
				case "paused":
					if err := f.pause(t.Context()); err != nil {
						t.Error(err)
					}
					w.wantFinal(r.Spec.ID, tt.pause)
				case "resumed":
					if err := f.resume(t.Context()); err != nil {
						t.Error(err)
					}
					w.wantFinal(r.Spec.ID, tt.resume)
				case "removed":
					if err := f.removeAndWait(t.Context()); err != nil {
						t.Error(err)
					}
					if _, err := w.feed(r.Spec.ID); !errors.Is(err, ErrChangefeedNotFound) {
						t.Errorf("%s, removed: %v", tt.state, err)
					}
				case "updated":
					called := false
					err := f.update(t.Context(), func(s *Spec) error { called = true; return errors.New("as the test wants") })
					if !errors.Is(err, ErrUpdateRefused) {
						t.Errorf("%s, updated: %v", tt.state, err)
					}
					if want := tt.state == StateStopped || tt.state == StateFailed; called != want {
						t.Errorf("%s: change called: %t", tt.state, called)
					}
				}
				w.stop()
			}
		})
	}
}

// wantFinal is wantState for states that need not have been stored again.
func (w *world) wantFinal(id string, want State) {
	w.t.Helper()
	synctest.Wait()
	f, err := w.feed(id)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := f.info().State; got != want {
		w.t.Errorf("%s is %s, want %s", id, got, want)
	}
}

// TestFeedResumesBeforeItHasEnded: a run that takes its time to end is never joined by
// a second one; the launcher panics at that.
func TestFeedResumesBeforeItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recordOf("a", StateStopped))
		defer w.stop()
		w.runs.script["a"] = func(r *run) error {
			<-r.ctx.Done()
			<-time.After(5 * time.Second) // a write that has begun
			return context.Cause(r.ctx)
		}
		f := w.wantState("a", StateStopped)
		for range 10 {
			if err := f.resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.after(time.Second)
			if err := f.pause(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.after(time.Minute)
		w.wantState("a", StateStopped)
		if n := w.runs.count(0); n != 0 {
			t.Error("it runs although it is paused")
		}
		for range 10 {
			for _, command := range []func(context.Context) error{f.resume, f.pause, f.resume} {
				if err := command(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.after(time.Second)
			}
			w.after(10 * time.Second)
			w.wantState("a", StateNormal) // the interruption was no error
		}
		if n := w.runs.count(0); n != 1 {
			t.Errorf("%d run", n)
		}
	})
}

// TestPausedFeedKeepsSafePoint: for as long as gc-ttl, counted from the checkpoint.
func TestPausedFeedKeepsSafePoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recordOf("a", StateStopped))
		defer w.stop()
		start := w.memory.get("a").Spec.StartTs
		w.after(time.Hour + time.Second)
		if pd := w.pd.look(); pd.held["a"] != start || pd.ttl != 23*time.Hour || pd.holds < 60 {
			t.Errorf("%+v; want %d held for 23h, set 60 times", pd, start)
		}
		w.after(23 * time.Hour)
		f := w.wantState("a", StateFailed)
		if e := f.info().Error; len(w.pd.look().held) != 0 || e == nil || !w.memory.get("a").Released {
			t.Errorf("after gc-ttl: held %v, error %+v, record %+v", w.pd.look().held, e, w.memory.get("a"))
		}
		w.after(time.Hour)
		if n := w.pd.look().released; n != 1 {
			t.Errorf("released %d times", n)
		}
		// PD may still have everything.
		w.runs.script["a"] = untilCancelled
		if err := f.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantState("a", StateNormal)
	})
}

func TestFailedFeedKeepsItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := recordOf("a", StateFailed)
		r.Error = &RunningError{Message: "first"}
		w := newWorld(t, r)
		defer w.stop()
		w.after(25 * time.Hour)
		if e := w.wantState("a", StateFailed).info().Error; e.Message != "first" || len(w.pd.look().held) != 0 {
			t.Errorf("error %+v, held %v", e, w.pd.look().held)
		}
	})
}

func TestPausedFeedLosesItsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recordOf("a", StateStopped))
		defer w.stop()
		w.pd.mu.Lock()
		w.pd.gc = now()
		w.pd.mu.Unlock()
		w.after(2 * time.Minute)
		if e := w.wantState("a", StateFailed).info().Error; e == nil || !w.memory.get("a").Released {
			t.Errorf("error %+v", e)
		}
	})
}

func TestFeedIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recordOf("a", StateStopped))
		defer w.stop()
		w.runs.script["a"] = untilCancelled
		f := w.wantState("a", StateStopped)
		if err := f.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantState("a", StateNormal)
		w.memory.setBroken(true)
		if err := f.pause(t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("pause: %v", err)
		}
		w.wantState("a", StateNormal)
		if err := f.removeAndWait(t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("remove: %v", err)
		}
		w.wantState("a", StateStopped)
		w.memory.setBroken(false)
		if err := f.removeAndWait(t.Context()); err != nil {
			t.Errorf("remove again: %v", err)
		}
		if _, err := w.feed("a"); !errors.Is(err, ErrChangefeedNotFound) {
			t.Errorf("after the removal: %v", err)
		}
	})
}

// TestFeedIsRemovedSlowly: one who stops waiting is told that it goes on, the others
// when it is done.
func TestFeedIsRemovedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recordOf("a", StateStopped))
		defer w.stop()
		w.runs.script["a"] = func(r *run) error { <-r.ctx.Done(); <-time.After(8 * time.Second); return context.Cause(r.ctx) }
		f := w.wantState("a", StateStopped)
		if err := f.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantState("a", StateNormal)
		patient := make(chan error, 1)
		go func() { patient <- f.removeAndWait(t.Context()) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.removeAndWait(ctx); !errors.Is(err, ErrRemovalUnfinished) {
			t.Errorf("after a second: %v", err)
		}
		if err := f.resume(t.Context()); !errors.Is(err, ErrChangefeedNotFound) {
			t.Errorf("resume while it is being removed: %v", err)
		}
		if err := <-patient; err != nil {
			t.Error(err)
		}
	})
}

// TestOwnerEndsDuringRemoval: whoever waits is told, and the changefeed is there for
// the next owner.
func TestOwnerEndsDuringRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recordOf("a", StateNormal))
		f := w.wantState("a", StateNormal)
		f.turn <- struct{}{} // somebody is storing a record
		removed := make(chan error, 1)
		go func() { removed <- f.removeAndWait(t.Context()) }()
		synctest.Wait()
		w.stop()
		if err := <-removed; !errors.Is(err, ErrNotReady) {
			t.Errorf("removal: %v", err)
		}
		if w.memory.get("a").State != StateNormal {
			t.Error("the changefeed is gone")
		}
	})
}
