package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
)

func seldomSaved(c *pipeline.Config) { c.CheckpointInterval = 24 * time.Hour }

func dropColumn(id int64, n string) string {
	return tableJob(tpDropColumn, id, id, n, 1, "drop column of "+n)
}

// Rows from before a DROP COLUMN cannot come again once it has been delivered, and
// nobody but its table waits for that.
func TestDDLWaitsForTheStoredCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ddlHook = func(_ context.Context, ddl *event.DDL) error {
			if got := w.lastSaved(); got != 119 {
				t.Errorf("checkpoint %d is stored when the DDL is delivered, want 119", got)
			}
			return nil
		}
		w.run(seldomSaved)
		w.ddl(120, dropColumn(1, "a"))
		w.put(1, 119, 121)
		w.put(2, 112, 115, 125)
		w.resolve(130, jobTable, histTbl, 1)
		w.wants("a(1 cols) 119")
		w.resolve(114, 2)
		w.wants("b(1 cols) 112")
		w.resolve(118, 2)
		w.wants("b(1 cols) 115")
		w.resolve(119, 2)
		w.wants("ddl 120 drop column of a", "a(1 cols) 121")
		w.resolve(130, 2)
		w.wants("b(1 cols) 125")
		w.wantCheckpoint(130)
		_ = w.stop()
	})
}

// What is beyond the DDL in other tables is written while it waits, and so are
// DDLs that old rows do not mind.
func TestOthersGoOnWhileADDLWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(seldomSaved)
		w.ddl(105, createTable(3, "c"))
		w.resolve(108, jobTable, histTbl)
		w.wants("ddl 105 create c")
		w.ddl(120, dropColumn(1, "a"))
		w.ddl(121, tableJob(tpAddColumn, 2, 2, "b", 2, "alter b"))
		w.put(1, 122)
		w.put(2, 119, 125)
		w.resolve(130, jobTable, histTbl, 1, 2) // c stays where it is
		w.wants("b(1 cols) 119", "ddl 121 alter b", "b(2 cols) 125")
		w.wantCheckpoint(105)
		w.resolve(130, 3)
		w.wants("ddl 120 drop column of a", "a(1 cols) 122")
		w.wantCheckpoint(130)
		_ = w.stop()
	})
}

// Every DDL waits for a save of its own, none for the interval between saves.
func TestManyDDLsWaitForSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(seldomSaved)
		begin, end := time.Now(), time.Time{}
		w.ddlHook = func(_ context.Context, ddl *event.DDL) error {
			if got := w.lastSaved(); got < ddl.CommitTs-1 {
				t.Errorf("checkpoint %d is stored when the DDL of %d is delivered", got, ddl.CommitTs)
			}
			end = time.Now()
			return nil
		}
		var want []string
		for ts := startTs + 2; ts < startTs+60; ts += 2 {
			w.ddl(ts, dropColumn(1, "a"))
			w.ddl(ts+1, dropColumn(2, "b"))
			want = append(want, fmt.Sprintf("ddl %d drop column of a", ts), fmt.Sprintf("ddl %d drop column of b", ts+1))
		}
		// The last one drops the table that others have still to change.
		w.ddl(190, tableJob(tpDropTable, 1, 1, "a", 1, "drop a"))
		w.resolveAll(200)
		w.settle()
		w.settle()
		w.wants(append(want, "ddl 190 drop a")...)
		w.wantCheckpoint(200)
		if d := end.Sub(begin); d > 59*20*time.Millisecond {
			t.Errorf("59 DDLs took %v", d)
		}
		_ = w.stop()
	})
}

func TestDDLsAtStartAndTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(seldomSaved, func(c *pipeline.Config) { c.TargetTs = 120 })
		w.ddl(startTs, dropColumn(1, "a"))
		w.ddl(startTs+1, dropColumn(1, "a"))
		w.ddl(120, dropColumn(2, "b"))
		w.ddl(121, dropColumn(2, "b"))
		w.resolveAll(130)
		if err := <-w.done; err != nil {
			t.Fatal(err)
		}
		w.wants("ddl 101 drop column of a", "ddl 120 drop column of b")
		if got := w.lastSaved(); got != 120 {
			t.Errorf("saved %d, want 120", got)
		}
	})
}

// A DDL that is not delivered changes nothing that rows could mind.
func TestIgnoredDDLWaitsForNoSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(seldomSaved, eventFilter(t, filter.EventFilter{Matcher: []string{"d.a"}, IgnoreEvent: []string{"drop column"}}))
		w.ddl(120, dropColumn(1, "a"))
		w.put(1, 125)
		w.resolve(130, jobTable, histTbl, 1)
		w.wants("a(1 cols) 125")
		_ = w.stop()
	})
}

func TestDDLIsNotDeliveredWithoutASave(t *testing.T) {
	for _, heals := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var working atomic.Bool
			w.run(func(c *pipeline.Config) {
				c.RetryTimeout = time.Minute
				c.SaveCheckpoint = func(ctx context.Context, ts event.Ts) error {
					if !working.Load() {
						return errors.New("no space left")
					}
					return w.save(ctx, ts)
				}
			})
			w.ddl(120, dropColumn(1, "a"))
			w.put(1, 125)
			w.put(2, 125)
			w.resolveAll(130)
			<-time.After(20 * time.Second)
			w.wants("b(1 cols) 125")
			if heals {
				working.Store(true)
				<-time.After(time.Minute)
				w.wants("ddl 120 drop column of a", "a(1 cols) 125")
				_ = w.stop()
				return
			}
			if err := <-w.done; err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("Run: %v", err)
			}
			w.wants()
		})
	}
}

// crashes is a changefeed that crashes and starts again at the stored checkpoint,
// with an upstream whose history is fixed.
type crashes struct {
	t    *testing.T
	rng  *rand.Rand
	log  []crashEvent
	end  event.Ts
	w    *world
	fed  map[int64]event.Ts // up to where each source of w has given out changes
	dead atomic.Bool        // w has crashed

	// What outlives a crash, guarded by w.mu.
	stored    event.Ts
	rows      map[event.Ts]bool
	delivered map[event.Ts]bool // DDLs, also those under way
}

// crashEvent is a row, or a DDL that touches a table.
type crashEvent struct {
	ts    event.Ts
	table int64
	job   string // of a DDL
	waits bool
}

// invent makes a history in which every table is changed in every way.
func (c *crashes) invent(events int) {
	type table struct {
		id      int64
		name    string
		columns int
	}
	live := []*table{{1, "a", 1}, {2, "b", 1}}
	last := int64(2)
	for range events {
		c.end += event.Ts(1 + c.rng.IntN(3))
		tb := live[c.rng.IntN(len(live))]
		e := crashEvent{ts: c.end, table: tb.id, waits: true}
		ddl := func(tp int, oldID int64, what string) string {
			return tableJob(tp, oldID, tb.id, tb.name, tb.columns, what+" "+tb.name)
		}
		switch c.rng.IntN(20) {
		case 0:
			tb.columns++
			e.job, e.waits = ddl(tpAddColumn, tb.id, "add column"), false
		case 1:
			tb.columns = max(tb.columns-1, 1)
			e.job = ddl(tpDropColumn, tb.id, "drop column")
		case 2:
			last++
			tb.id = last
			e.job = ddl(tpTruncate, e.table, "truncate")
		case 3:
			tb.name = fmt.Sprintf("r%d", c.end)
			e.job = ddl(tpRename, tb.id, "rename")
		case 4:
			last++
			live = append(live, &table{last, fmt.Sprintf("t%d", last), 1})
			tb = live[len(live)-1]
			e.table, e.job, e.waits = last, ddl(tpCreateTable, last, "create"), false
		case 5:
			if len(live) > 2 {
				e.job = ddl(tpDropTable, tb.id, "drop")
				live = slices.DeleteFunc(live, func(t *table) bool { return t == tb })
			}
		}
		c.log = append(c.log, e)
	}
}

// start begins at what is stored.
func (c *crashes) start() {
	w := newWorld(c.t)
	for _, e := range c.log {
		if e.job != "" && e.ts <= c.stored {
			if _, err := w.cfg.Schema.Apply(w.job(e.job, e.ts)); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	w.cfg.Schema.Advance(c.stored)
	c.w, c.fed = w, map[int64]event.Ts{}
	c.dead.Store(false)
	intervals := []time.Duration{time.Millisecond, time.Second, 24 * time.Hour}
	w.run(func(cfg *pipeline.Config) {
		cfg.StartTs, cfg.Sink, cfg.SaveCheckpoint = c.stored, c, c.save
		cfg.CheckpointInterval = intervals[c.rng.IntN(len(intervals))]
		cfg.BatchRows = 1 + c.rng.IntN(5)
		if cfg.WriteConcurrency = c.rng.IntN(4); cfg.WriteConcurrency == 0 {
			cfg.WriteConcurrency, cfg.WholeTransactions = 1, true
		}
	})
}

// feed lets a source come further.
func (c *crashes) feed(id int64, through event.Ts) {
	s := c.w.source(id)
	from := max(c.fed[id], s.start)
	if through <= from {
		return
	}
	for _, e := range c.log {
		switch {
		case e.ts <= from || e.ts > through:
		case e.job != "" && id == jobTable:
			c.w.ddl(e.ts, e.job)
		case e.job == "" && id == e.table:
			c.w.put(id, e.ts)
		}
	}
	s.out.Resolve(through)
	c.fed[id] = through
}

func (c *crashes) sources() (ids []int64) {
	c.w.locked(func() {
		for id, s := range c.w.sources {
			if !s.closed {
				ids = append(ids, id)
			}
		}
	})
	slices.Sort(ids)
	return ids
}

// crash ends the process with all it has in memory.
func (c *crashes) crash() {
	c.dead.Store(true)
	_ = c.w.stop()
}

// pause is a moment in which a crash may happen. An error is for the caller.
func (c *crashes) pause() error {
	var wait time.Duration
	fails := false
	c.w.locked(func() { wait, fails = time.Duration(c.rng.IntN(80))*time.Millisecond, c.rng.IntN(10) == 0 })
	if wait > 60*time.Millisecond {
		<-time.After(wait)
	}
	if fails || c.dead.Load() {
		return errors.New("bad luck")
	}
	return nil
}

func (c *crashes) save(_ context.Context, ts event.Ts) error {
	if err := c.pause(); err != nil {
		return err
	}
	c.w.locked(func() {
		if !c.dead.Load() {
			c.stored = ts
		}
	})
	return c.pause()
}

// WriteRows implements sink.Sink.
func (c *crashes) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	c.w.locked(func() {
		for _, r := range rows {
			c.rows[r.CommitTs] = true
			for _, e := range c.log {
				if e.waits && e.job != "" && e.table == r.PhysicalTableID && r.CommitTs <= e.ts && c.delivered[e.ts] {
					c.t.Errorf("row %d of %s comes after the DDL %d, the checkpoint was %d", r.CommitTs, r.Table.Name(), e.ts, c.stored)
				}
			}
		}
	})
	return c.pause()
}

// WriteTransactions implements sink.TransactionWriter.
func (c *crashes) WriteTransactions(ctx context.Context, rows []*event.RowChanged) error {
	return c.WriteRows(ctx, rows)
}

// WriteDDL implements sink.Sink.
func (c *crashes) WriteDDL(_ context.Context, ddl *event.DDL) error {
	if err := c.pause(); err != nil {
		return err
	}
	c.w.locked(func() { c.delivered[ddl.CommitTs] = true })
	return c.pause()
}

// TestRandomCrashes: whenever a changefeed crashes, rows from before a DDL that
// waits for a save never follow it, and all comes to an end.
func TestRandomCrashes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("SEED=%d", seed)
	for round := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			c := &crashes{
				t: t, rng: rand.New(rand.NewPCG(seed, round)), end: startTs, stored: startTs,
				rows: map[event.Ts]bool{}, delivered: map[event.Ts]bool{},
			}
			c.invent(150)
			for range 8 {
				c.start()
				var steps int
				c.w.locked(func() { steps = c.rng.IntN(60) })
				for range steps {
					ids := c.sources()
					var id int64
					var ts event.Ts
					var wait time.Duration
					c.w.locked(func() {
						id = ids[c.rng.IntN(len(ids))]
						ts = max(c.fed[id], c.stored) + event.Ts(c.rng.IntN(60))
						wait = time.Duration(c.rng.IntN(100)) * time.Millisecond
					})
					c.feed(id, min(ts, c.end))
					<-time.After(wait)
				}
				c.crash()
			}
			c.start()
			for range 1000 {
				for _, id := range c.sources() {
					c.feed(id, c.end)
				}
				<-time.After(time.Second)
				if c.w.p.CheckpointTs() == c.end {
					break
				}
			}
			if got := c.w.p.CheckpointTs(); got != c.end {
				t.Errorf("round %d: the checkpoint stays at %d of %d: %+v", round, got, c.end, c.w.p.Status(3))
			}
			for _, e := range c.log {
				if e.job != "" && !c.delivered[e.ts] || e.job == "" && !c.rows[e.ts] {
					t.Errorf("round %d: %+v was lost", round, e)
				}
			}
			c.crash()
		})
	}
}
