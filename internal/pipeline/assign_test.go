package pipeline_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
)

// assigned runs a pipeline that shares its changefeed. It returns the DDLs that
// are ready, which the test executes.
func (w *world) assigned(configure ...func(*pipeline.Config)) *[]event.Ts {
	var ready []event.Ts
	w.run(append(configure, func(c *pipeline.Config) {
		c.Assigned = true
		c.ReadyDDL = func(ddl *event.DDL) { w.locked(func() { ready = append(ready, ddl.CommitTs) }) }
	})...)
	return &ready
}

func (w *world) wantReady(ready *[]event.Ts, want ...event.Ts) {
	w.t.Helper()
	w.settle()
	w.locked(func() {
		if !slices.Equal(*ready, want) {
			w.t.Errorf("DDLs ready: %v, want %v", *ready, want)
		}
		*ready = nil
	})
}

func (w *world) wantStopped(want map[int64]event.Ts) {
	w.t.Helper()
	w.settle()
	if got := w.p.Progress().Stopped; !maps.Equal(got, want) {
		w.t.Errorf("stopped spans %v, want %v", got, want)
	}
}

func TestAssignedSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.assigned()
		w.resolve(130, jobTable, histTbl)
		w.wantCheckpoint(130) // nothing is this pipeline's
		if got := w.p.Tables(); !maps.Equal(got, map[int64]event.Ts{1: startTs, 2: startTs}) {
			t.Errorf("tables %v", got)
		}
		w.p.AddSpan(1, 105)
		w.p.AddSpan(1, 105)
		w.wantCheckpoint(105)
		if w.sources[2] != nil || w.source(1).start != 105 {
			t.Errorf("subscribed to tables %v, the first from %d", slices.Collect(maps.Keys(w.sources)), w.source(1).start)
		}
		w.put(1, 110, 120)
		w.resolve(115, 1)
		w.wants("a(1 cols) 110")
		w.wantCheckpoint(115)

		if !w.p.StopSpan(1) || w.p.StopSpan(2) {
			t.Error("StopSpan confuses what is there")
		}
		w.wantStopped(map[int64]event.Ts{1: 115})
		w.resolve(140, 1, jobTable, histTbl)
		w.wants()
		w.wantCheckpoint(115) // until somebody else answers for it
		if !w.source(1).closed {
			t.Error("a span that was stopped is still subscribed")
		}
		w.p.ReleaseSpan(1)
		w.wantStopped(map[int64]event.Ts{})
		w.wantCheckpoint(140)

		w.p.AddSpan(1, 115)
		w.put(1, 120)
		w.resolve(130, 1)
		w.wants("a(1 cols) 120")
		w.wantCheckpoint(130)
		if err := w.stop(); !errors.Is(err, errStopped) {
			t.Errorf("Run: %v", err)
		}
		if len(w.saved) > 0 {
			t.Errorf("saved %v: that is for others to do", w.saved)
		}
		if w.p.AddSpan(2, 130) {
			t.Error("a span was added to a pipeline that has ended")
		}
	})
}

// A span is another's only when its last write has ended.
func TestStopSpanWaitsForTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		w.rowsHook = func(context.Context, []*event.RowChanged) error { <-release; return nil }
		w.assigned()
		w.p.AddSpan(1, startTs)
		w.put(1, 110)
		w.resolveAll(120)
		w.settle()
		w.p.StopSpan(1)
		w.wantStopped(map[int64]event.Ts{})
		if got := w.p.Progress().Stopping; !slices.Equal(got, []int64{1}) {
			t.Errorf("spans %v are stopping, want 1", got)
		}
		w.p.ReleaseSpan(1) // not yet
		w.wantCheckpoint(startTs)
		close(release)
		w.wants("a(1 cols) 110")
		w.wantStopped(map[int64]event.Ts{1: 120})
		_ = w.stop()
	})
}

// A sink that refuses the rows does not keep a span from moving.
func TestStopSpanEndsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		tries := 0
		w.rowsHook = func(context.Context, []*event.RowChanged) error { tries++; return errors.New("down") }
		w.assigned()
		w.p.AddSpan(1, startTs)
		w.put(1, 110)
		w.resolveAll(105)
		w.wantCheckpoint(105)
		w.resolveAll(120)
		w.settle()
		before := tries
		w.p.StopSpan(1)
		w.wantStopped(map[int64]event.Ts{1: 105})
		if before == 0 || tries != before {
			t.Errorf("%d tries before, %d after", before, tries)
		}
		// The worker is free for others.
		w.rowsHook = nil
		w.p.AddSpan(2, startTs)
		w.put(2, 110)
		w.resolve(120, 2)
		w.wants("b(1 cols) 110")
		if st := w.p.Status(0); st.Rows != 1 {
			t.Errorf("%d rows counted, want 1", st.Rows)
		}
		_ = w.stop()
	})
}

func TestDDLExecutedOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ready := w.assigned()
		w.p.AddSpan(1, startTs)
		w.p.AddSpan(2, startTs)
		w.ddl(120, tableJob(tpAddColumn, 1, 1, "a", 2, "alter a"))
		w.put(1, 119, 121)
		w.put(2, 121)
		w.resolve(130, jobTable, histTbl)
		w.wantReady(ready)
		w.resolve(130, 1)
		w.wants("a(1 cols) 119")
		w.wantReady(ready, 120)
		pr := w.p.Progress()
		if len(pr.DDLs) != 1 || !pr.DDLs[0].Reached || pr.DDLs[0].Behind || !slices.Equal(pr.DDLs[0].Touched, []int64{1}) {
			t.Errorf("DDLs %+v", pr.DDLs)
		}
		w.wantCheckpoint(startTs) // table b
		w.resolve(130, 2)
		w.wants("b(1 cols) 121") // with the only worker
		w.wantCheckpoint(119)

		if err := w.p.ExecuteDDL(t.Context(), 120); err != nil {
			t.Error(err)
		}
		w.wants("ddl 120 alter a")
		w.p.FinishDDL(120)
		w.p.FinishDDL(120)
		w.wants("a(2 cols) 121")
		w.wantCheckpoint(130)
		w.wantReady(ready)
		if err := w.p.ExecuteDDL(t.Context(), 120); err == nil {
			t.Error("executed a DDL that is finished")
		}
		_ = w.stop()
	})
}

// A span that comes with rows below a DDL takes the readiness back.
func TestAddSpanBelowADDL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ready := w.assigned()
		w.ddl(120, tableJob(tpAddColumn, 1, 1, "a", 2, "alter a"))
		w.resolve(130, jobTable, histTbl)
		w.wantReady(ready, 120)
		w.p.AddSpan(1, 110)
		if w.p.Progress().DDLs[0].Reached {
			t.Error("the DDL is still ready")
		}
		w.put(1, 115, 125)
		w.resolve(130, 1)
		w.wants("a(1 cols) 115")
		w.wantReady(ready, 120)
		w.p.FinishDDL(120)
		w.wants("a(2 cols) 125")
		_ = w.stop()
	})
}

// A span that stood at a DDL waits for it; one beyond knows it as executed.
func TestAddSpanAtAndAboveADDL(t *testing.T) {
	for _, start := range []event.Ts{120, 121} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			ready := w.assigned()
			w.p.AddSpan(1, start) // before the DDL is known
			w.ddl(120, tableJob(tpAddColumn, 1, 1, "a", 2, "alter a"))
			w.resolve(130, jobTable, histTbl)
			w.wantReady(ready, 120)
			w.put(1, 125)
			w.resolveAll(130)
			if start == 120 {
				w.wants()
				w.p.FinishDDL(120)
			}
			w.wants("a(2 cols) 125")
			_ = w.stop()
		})
	}
}

// What others have executed already is no barrier.
func TestDDLKnownToBeExecuted(t *testing.T) {
	for name, tell := range map[string]func(*pipeline.Pipeline){
		"named":                   func(p *pipeline.Pipeline) { p.FinishDDL(120); p.FinishDDL(121) },
		"below the checkpoint":    func(p *pipeline.Pipeline) { p.ConfirmCheckpoint(121, false) },
		"first one, then another": func(p *pipeline.Pipeline) { p.FinishDDL(120); p.ConfirmCheckpoint(121, false) },
	} {
		for _, early := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.assigned()
					if early {
						tell(w.p)
					}
					w.ddl(120, tableJob(tpAddColumn, 1, 1, "a", 2, "alter a"))
					w.ddl(121, tableJob(tpTruncate, 2, 3, "b", 1, "truncate b"))
					w.resolve(130, jobTable, histTbl)
					w.settle()
					if !early {
						tell(w.p)
					}
					w.p.AddSpan(1, 121)
					w.p.AddSpan(3, 121)
					w.put(1, 125)
					w.put(3, 125)
					w.resolve(130, 1)
					w.wants("a(2 cols) 125")
					w.resolve(130, 3)
					w.wants("b(1 cols) 125")
					w.wantCheckpoint(130)
					if got := w.p.Tables(); !maps.Equal(got, map[int64]event.Ts{1: startTs, 3: 121}) {
						t.Errorf("tables %v", got)
					}
					_ = w.stop()
				})
			})
		}
	}
}

// A table that is dropped is everybody's until the DDL has been executed.
func TestAddSpanOfADroppedTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ready := w.assigned()
		w.ddl(120, tableJob(tpTruncate, 1, 4, "a", 1, "truncate a"))
		w.resolve(130, jobTable, histTbl)
		w.settle()
		if got := w.p.Tables(); !maps.Equal(got, map[int64]event.Ts{1: startTs, 2: startTs, 4: 120}) {
			t.Errorf("tables %v", got)
		}
		w.wantReady(ready, 120)
		w.p.AddSpan(4, 120)
		w.p.AddSpan(1, 110)
		w.p.AddSpan(1, 110)
		if got := w.p.SpanIDs(); len(got) != 2 {
			t.Errorf("spans %v", got)
		}
		w.put(1, 115, 125)
		w.put(4, 125)
		w.resolveAll(130)
		w.wants("a(1 cols) 115")
		w.wantReady(ready, 120)
		if err := w.p.ExecuteDDL(t.Context(), 120); err != nil {
			t.Error(err)
		}
		w.p.FinishDDL(120)
		w.wants("ddl 120 truncate a", "a(1 cols) 125")
		if got := w.p.SpanIDs(); !slices.Equal(got, []int64{4}) || !w.source(1).closed {
			t.Errorf("spans %v", got)
		}
		w.wantCheckpoint(130)
		_ = w.stop()
	})
}

// A span may be stopped while its end is pending, and then does not hold up the DDL.
func TestStopSpanOfADroppedTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ready := w.assigned()
		w.p.AddSpan(1, startTs)
		w.ddl(120, tableJob(tpDropTable, 1, 1, "a", 1, "drop a"))
		w.resolve(130, jobTable, histTbl)
		w.resolve(110, 1)
		w.wantReady(ready)
		w.p.StopSpan(1)
		w.wantStopped(map[int64]event.Ts{1: 110})
		w.wantReady(ready, 120)
		w.p.FinishDDL(120)
		w.p.ReleaseSpan(1)
		w.wantCheckpoint(130)
		_ = w.stop()
	})
}

func TestExecuteDDLThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ddlHook = func(context.Context, *event.DDL) error { return errors.New("down") }
		ready := w.assigned(func(c *pipeline.Config) { c.RetryTimeout = 1 })
		w.ddl(120, createTable(3, "c"))
		w.resolve(130, jobTable, histTbl)
		w.wantReady(ready, 120)
		err := w.p.ExecuteDDL(t.Context(), 120)
		if runErr := <-w.done; err == nil || !errors.Is(runErr, err) {
			t.Errorf("ExecuteDDL: %v, Run: %v", err, runErr)
		}
		if err := w.p.ExecuteDDL(t.Context(), 120); err == nil {
			t.Error("executed by a pipeline that has ended")
		}
	})
}

// The sink learns the checkpoint of all, and only where it is told so.
func TestConfirmedCheckpointIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var reported reports
		w.assigned(func(c *pipeline.Config) { c.Sink = checkpointSink{w, &reported}; c.TargetTs = 120 })
		w.resolveAll(130)
		w.p.ConfirmCheckpoint(110, false)
		w.wantCheckpoint(120) // nothing above the target is written, and Run goes on
		w.p.ConfirmCheckpoint(115, true)
		w.settle()
		if !slices.Equal(reported, []event.Ts{115}) {
			t.Errorf("reported %v, want 115", reported)
		}
		_ = w.stop()
	})
}
