package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
	"github.com/tidbcdc/tidbcdc/internal/rawkv/rawkvtest"
	"github.com/tidbcdc/tidbcdc/sink"
)

func TestRowsArriveInOrderOnceResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.put(1, 130, 110, 120)
		w.wants()
		w.resolveAll(120)
		w.wants("a(1 cols) 110", "a(1 cols) 120")
		w.wantCheckpoint(120)
		w.put(2, 125)
		w.resolveAll(130)
		w.settle()
		w.wantCheckpoint(130)
		if err := w.stop(); !errors.Is(err, errStopped) {
			t.Errorf("Run after cancellation: %v", err)
		}
		if got := w.lastSaved(); got != 130 {
			t.Errorf("saved checkpoint %d, want 130", got)
		}
	})
}

// Rows wait until it is certain that no DDL below them is still to come.
func TestRowsWaitForTheDDLResolvedTs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.put(1, 110)
		w.resolve(150, 1, 2)
		w.wants()
		w.wantCheckpoint(startTs)
		w.resolve(150, jobTable, histTbl)
		w.wants("a(1 cols) 110")
		w.wantCheckpoint(150)
		_ = w.stop()
	})
}

func TestDDLIsABarrierForItsTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.ddl(120, tableJob(tpAddColumn, 1, 1, "a", 2, "alter a"))
		w.put(1, 119, 120, 121)
		w.put(2, 121)
		w.resolve(130, jobTable, histTbl, 2)
		w.wants("b(1 cols) 121")
		w.wantCheckpoint(startTs)
		w.resolve(119, 1)
		w.wants("a(1 cols) 119")
		w.wantCheckpoint(119)
		w.resolve(130, 1)
		// The row at the DDL's own commit ts has the schema before it.
		w.wants("a(1 cols) 120", "ddl 120 alter a", "a(2 cols) 121")
		w.wantCheckpoint(130)
		_ = w.stop()
	})
}

// A DDL that takes long holds up its own table, not others and not their DDLs.
func TestSlowDDLStopsOnlyItsTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		w.ddlHook = func(_ context.Context, ddl *event.DDL) error {
			if ddl.Query == "slow a" {
				<-release
			}
			return nil
		}
		w.run(func(c *pipeline.Config) { c.WriteConcurrency = 2 })
		w.ddl(110, tableJob(tpAddColumn, 1, 1, "a", 2, "slow a"))
		w.ddl(111, tableJob(tpAddColumn, 2, 2, "b", 2, "alter b"))
		w.ddl(112, createTable(3, "c"))
		w.put(1, 115)
		w.put(2, 115)
		w.resolveAll(120)
		w.wants("ddl 111 alter b", "b(2 cols) 115")
		w.wantCheckpoint(109)
		close(release)
		w.settle()
		w.resolve(120, 3)
		w.settle()
		var got []string
		w.locked(func() { got = w.log })
		// CREATE TABLE waited for the DDLs before it.
		if i, j := slices.Index(got, "ddl 110 slow a"), slices.Index(got, "ddl 112 create c"); i < 0 || j < i {
			t.Errorf("the sink got %q", got)
		}
		w.wantCheckpoint(120)
		_ = w.stop()
	})
}

func TestCreatedTableIsFollowedFromItsDDL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.ddl(120, createTable(3, "c"))
		w.resolveAll(130)
		w.wants("ddl 120 create c")
		if got := w.source(3).start; got != 120 {
			t.Errorf("subscribed from %d, want 120", got)
		}
		w.wantCheckpoint(120)
		w.put(3, 125)
		w.resolve(130, 3)
		w.wants("c(1 cols) 125")
		w.wantCheckpoint(130)
		_ = w.stop()
	})
}

func TestFilteredTablesAreNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.ddl(120, createTable(3, "hidden1"))
		w.resolveAll(130)
		w.wants()
		w.wantCheckpoint(130)
		w.locked(func() {
			if w.sources[3] != nil {
				t.Error("a table that the filter rejects was subscribed")
			}
		})
		_ = w.stop()
	})
}

// Rows that a truncated table gets later belong to nobody, although its source
// may still deliver them.
func TestTruncateEndsTheOldTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.put(1, 110, 125)
		w.ddl(120, tableJob(tpTruncate, 1, 4, "a", 1, "truncate a"))
		w.resolveAll(130)
		w.wants("a(1 cols) 110", "ddl 120 truncate a")
		w.put(4, 126)
		w.resolve(130, 4)
		w.wants("a(1 cols) 126")
		w.wantCheckpoint(130)
		if !w.source(1).closed {
			t.Error("the old table is still subscribed")
		}
		_ = w.stop()
	})
}

func TestDropTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.put(1, 110)
		w.ddl(120, tableJob(tpDropTable, 1, 1, "a", 1, "drop a"))
		w.resolve(130, jobTable, histTbl, 2)
		w.wants()
		w.resolve(130, 1)
		w.wants("a(1 cols) 110", "ddl 120 drop a")
		w.wantCheckpoint(130)
		_ = w.stop()
	})
}

func TestRenameIntoTheFilterFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.ddl(120, createTable(3, "hidden1"))
		w.ddl(121, tableJob(tpRename, 3, 3, "shown", 1, "rename hidden1"))
		w.resolveAll(130)
		err := <-w.done
		if err == nil || !strings.Contains(err.Error(), "shown") {
			t.Errorf("Run: %v, want an error that names the table", err)
		}
		if got := w.lastSaved(); got > 120 {
			t.Errorf("saved checkpoint %d passes the DDL that failed", got)
		}
	})
}

func TestFailingWriteIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		tries := 0
		w.rowsHook = func(context.Context, []*event.RowChanged) error {
			if tries++; tries <= 3 {
				return fmt.Errorf("try %d", tries)
			}
			return nil
		}
		w.run()
		w.put(1, 110)
		w.resolveAll(120)
		if st := w.p.Status(0); st.CheckpointTs >= 110 {
			t.Errorf("checkpoint %d passed a row that is not written", st.CheckpointTs)
		}
		<-time.After(time.Minute)
		w.wants("a(1 cols) 110")
		w.wantCheckpoint(120)
		if err := w.p.Status(0).Err; err != nil {
			t.Errorf("status still has the error of a write that succeeded: %v", err)
		}
		_ = w.stop()
	})
}

// TestRetriedErrorStays: writes of other tables that succeed do not hide one that does
// not.
func TestRetriedErrorStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mended atomic.Bool
		w.rowsHook = func(_ context.Context, rows []*event.RowChanged) error {
			if !mended.Load() && rows[0].Table.Table == "a" {
				return errors.New("a is locked")
			}
			return nil
		}
		w.run(func(c *pipeline.Config) { c.WriteConcurrency = 2 })
		w.put(1, 110)
		w.resolveAll(120)
		w.settle()
		for ts := event.Ts(121); ts < 130; ts++ {
			w.put(2, ts)
			w.resolve(ts, jobTable, histTbl, 2)
			w.settle()
			if st := w.p.Status(0); st.Err == nil || st.ErrTime.IsZero() {
				t.Fatalf("after a row of b with commit ts %d the error is %v", ts, st.Err)
			}
		}
		mended.Store(true)
		<-time.After(time.Minute)
		if st := w.p.Status(0); st.Err != nil {
			t.Errorf("the error stays: %v", st.Err)
		}
		_ = w.stop()
	})
}

func TestPermanentErrorFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		broken := errors.New("broken for good")
		tries := 0
		w.rowsHook = func(context.Context, []*event.RowChanged) error {
			tries++
			return sink.Permanent(broken)
		}
		w.run()
		w.put(1, 110)
		w.resolveAll(120)
		err := <-w.done
		if !errors.Is(err, broken) || tries != 1 {
			t.Errorf("Run: %v after %d tries, want %q after 1", err, tries, broken)
		}
		for _, part := range []string{"d.a", "110"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q does not name %s", err, part)
			}
		}
		if got := w.lastSaved(); got >= 110 {
			t.Errorf("saved checkpoint %d passes the row that failed", got)
		}
	})
}

func TestRetryGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rowsHook = func(context.Context, []*event.RowChanged) error { return errors.New("down") }
		w.run(func(c *pipeline.Config) { c.RetryTimeout = 10 * time.Second })
		w.put(1, 110)
		begin := time.Now()
		w.resolveAll(120)
		if err := <-w.done; err == nil || !strings.Contains(err.Error(), "down") {
			t.Errorf("Run: %v", err)
		}
		if d := time.Since(begin); d < 4*time.Second || d > 20*time.Second {
			t.Errorf("gave up after %v", d)
		}
	})
}

// A write that has begun when Run is cancelled may end, and counts.
func TestCancelDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rowsHook = func(ctx context.Context, _ []*event.RowChanged) error {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(3 * time.Second):
				return nil
			}
		}
		w.run()
		w.put(1, 110)
		w.resolveAll(120)
		w.settle() // the write begins
		begin := time.Now()
		if err := w.stop(); !errors.Is(err, errStopped) {
			t.Errorf("Run: %v", err)
		}
		if d := time.Since(begin); d > 4*time.Second {
			t.Errorf("draining took %v", d)
		}
		if got := w.lastSaved(); got != 120 {
			t.Errorf("saved checkpoint %d, want 120: the write succeeded", got)
		}
	})
}

func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rowsHook = func(ctx context.Context, _ []*event.RowChanged) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		w.run()
		w.put(1, 110)
		w.resolveAll(120)
		w.settle() // the write begins
		begin := time.Now()
		if err := w.stop(); !errors.Is(err, errStopped) {
			t.Errorf("Run: %v", err)
		}
		if d := time.Since(begin); d != 5*time.Second {
			t.Errorf("draining took %v, want the drain timeout of 5 s", d)
		}
		if got := w.lastSaved(); got >= 110 {
			t.Errorf("saved checkpoint %d passes the row that was not written", got)
		}
	})
}

func TestTargetTs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var reported reports
		w.run(func(c *pipeline.Config) { c.TargetTs = 120; c.Sink = checkpointSink{w, &reported} })
		w.put(1, 119, 120, 121)
		w.ddl(121, tableJob(tpAddColumn, 1, 1, "a", 2, "late"))
		w.resolveAll(200)
		if err := <-w.done; err != nil {
			t.Fatal(err)
		}
		w.log = slices.DeleteFunc(w.log, func(s string) bool { return s == "checkpoint" })
		if !slices.Equal(w.log, []string{"a(1 cols) 119", "a(1 cols) 120"}) {
			t.Errorf("the sink got %q", w.log)
		}
		if w.lastSaved() != 120 || reported.last() != 120 {
			t.Errorf("saved %d, reported %d, want 120", w.lastSaved(), reported.last())
		}
	})
}

// reports is what a CheckpointWriter was given.
type reports []event.Ts

func (r *reports) last() event.Ts {
	if len(*r) == 0 {
		return 0
	}
	return (*r)[len(*r)-1]
}

type checkpointSink struct {
	*world
	got *reports
}

func (s checkpointSink) WriteCheckpoint(_ context.Context, ts event.Ts) error {
	s.note("checkpoint")
	*s.got = append(*s.got, ts)
	return nil
}

func TestCheckpointIsReportedBetweenWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var reported reports
		w.run(func(c *pipeline.Config) { c.Sink = checkpointSink{w, &reported} })
		for ts := event.Ts(110); ts < 200; ts += 10 {
			w.put(1, ts-5)
			w.resolveAll(ts)
			w.settle()
		}
		_ = w.stop()
		if !slices.IsSorted(reported) || reported.last() != 190 || len(reported) < 5 {
			t.Errorf("reported %v", reported)
		}
	})
}

func TestFailedSaveIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fails := 2
		w.run(func(c *pipeline.Config) {
			save := c.SaveCheckpoint
			c.SaveCheckpoint = func(ctx context.Context, ts event.Ts) error {
				if fails--; fails >= 0 {
					return errors.New("no space left")
				}
				return save(ctx, ts)
			}
		})
		w.resolveAll(120)
		<-time.After(time.Minute)
		if got := w.lastSaved(); got != 120 {
			t.Errorf("saved %d, want 120", got)
		}
		_ = w.stop()
	})
}

func TestSourceFailureEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		wrong := errors.New("wrong cluster")
		w.source(1).out.Fail(wrong)
		w.resolveAll(110) // news make the coordinator look
		if err := <-w.done; !errors.Is(err, wrong) {
			t.Errorf("Run: %v, want %v", err, wrong)
		}
		w.locked(func() {
			for id, s := range w.sources {
				if !s.closed {
					t.Errorf("table %d is still subscribed", id)
				}
			}
		})
	})
}

// A large transaction is split by the batch limit, and the checkpoint passes it
// only when all of it is written.
func TestLargeTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		calls := 0
		w.rowsHook = func(_ context.Context, rows []*event.RowChanged) error {
			if calls++; len(rows) > 100 {
				t.Errorf("a call of %d rows", len(rows))
			}
			if ts := w.p.CheckpointTs(); ts >= 110 {
				t.Errorf("checkpoint %d while rows of 110 are being written", ts)
			}
			return nil
		}
		w.run()
		var kvs []event.RawKV
		for i := range 1050 {
			key := append(event.TableSpan(1).Start, byte(i>>8), byte(i))
			kvs = append(kvs, event.RawKV{Op: event.OpPut, Key: key, Value: []byte("v"), StartTs: 109, CommitTs: 110})
		}
		w.source(1).out.Receive(rawkvtest.Pack(w.t, kvs...))
		w.resolveAll(120)
		w.settle()
		if len(w.log) != 1050 || calls != 11 {
			t.Errorf("%d rows in %d calls", len(w.log), calls)
		}
		w.wantCheckpoint(120)
		_ = w.stop()
	})
}

// A transaction that inserts a row and deletes it again commits a delete.
func TestDeleteOfARowThatNeverWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		key := append(event.TableSpan(1).Start, 0, 1)
		w.source(1).out.Receive(rawkvtest.Pack(t,
			event.RawKV{Op: event.OpDelete, Key: key, StartTs: 109, CommitTs: 110},
			event.RawKV{Op: event.OpDelete, Key: key, OldValue: []byte("v"), StartTs: 111, CommitTs: 112},
		))
		w.resolveAll(120)
		w.wants("a(1 cols) 112")
		w.wantCheckpoint(120)
		_ = w.stop()
	})
}

// Of a DDL on several tables, the sink is told of those that the filter wants.
func TestDDLIsCutToTheFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var got *event.DDL
		w.ddlHook = func(_ context.Context, ddl *event.DDL) error { got = ddl; return nil }
		w.run()
		var infos []any
		for i, n := range []string{"hidden2", "c"} {
			infos = append(infos, tableInfo(int64(3+i), n, 1))
		}
		w.ddl(120, mustJSON(map[string]any{
			"type": tpCreateTables, "schema_id": 9, "schema_name": "d", "state": 4, "schema_state": 5, "query": "create both",
			"binlog": map[string]any{"SchemaVersion": 2, "MultipleTableInfos": infos},
		}))
		w.resolveAll(130)
		w.wants("ddl 120 create both")
		if len(got.Changes) != 1 || got.Changes[0].After.Table != "c" || got.Table != got.Changes[0].After {
			t.Errorf("the sink got changes %+v", got.Changes)
		}
		_ = w.stop()
	})
}

// A DROP DATABASE with nothing but tables that the filter leaves out names none.
func TestDDLOnADatabaseIsCutToTheFilter(t *testing.T) {
	for _, hidden := range []int{0, 1, 2} {
		for _, shown := range []int{0, 1} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var got *event.DDL
				w.ddlHook = func(_ context.Context, ddl *event.DDL) error { got = ddl; return nil }
				w.run()
				w.ddl(110, tableJob(tpDropTable, 1, 1, "a", 1, "drop a"))
				if shown == 0 {
					w.ddl(111, tableJob(tpDropTable, 2, 2, "b", 1, "drop b"))
				}
				for i := range hidden {
					w.ddl(event.Ts(112+i), createTable(int64(3+i), fmt.Sprintf("hidden%d", i)))
				}
				w.ddl(120, mustJSON(map[string]any{
					"type": tpDropSchema, "schema_id": 9, "schema_name": "d", "state": 4, "schema_state": 0, "query": "drop database d",
					"binlog": map[string]any{"SchemaVersion": 2},
				}))
				w.resolveAll(130)
				w.settle()
				w.wantCheckpoint(130)
				if got == nil || got.Query != "drop database d" || len(got.Changes) != shown || got.PreTable != nil || got.Table != nil {
					t.Fatalf("%d tables shown, %d hidden: the sink got %+v", shown, hidden, got)
				}
				for _, c := range got.Changes {
					if c.Before.Table != "b" {
						t.Errorf("the sink hears of %s", c.Before.Name())
					}
				}
				_ = w.stop()
			})
		}
	}
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		w.put(1, 110, 140)
		w.put(2, 140)
		w.resolve(130, jobTable, histTbl, 1)
		w.resolve(115, 2)
		w.settle()
		st := w.p.Status(1)
		if st.Spans != 2 || st.Regions != 4 || st.ScannedRegions != 2 || st.Rows != 1 || st.PendingRows != 2 {
			t.Errorf("status %+v", st)
		}
		if st.CheckpointTs != 115 || st.ResolvedTs != 115 || st.BarrierTs != 130 || st.Received != 3 {
			t.Errorf("checkpoint %d, resolved %d, want 115; barrier %d, want 130; received %d, want 3", st.CheckpointTs, st.ResolvedTs, st.BarrierTs, st.Received)
		}
		want := pipeline.SpanStatus{Table: "d.b", PhysicalID: 2, CheckpointTs: 115, ResolvedTs: 115, PendingRows: 1}
		if len(st.Slowest) != 1 || st.Slowest[0] != want {
			t.Errorf("slowest %+v, want %+v", st.Slowest, want)
		}
		_ = w.stop()
	})
}
