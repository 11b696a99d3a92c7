package pipeline_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
)

// eventFilter makes the world's filter leave out events.
func eventFilter(t *testing.T, filters ...filter.EventFilter) func(*pipeline.Config) {
	t.Helper()
	f, err := filter.New(filter.Config{Rules: []string{"d.*", "!d.hidden*"}, EventFilters: filters})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *pipeline.Config) { c.Filter = f }
}

// An ignored DDL is not delivered, but what follows has the schema that it made.
func TestIgnoredDDL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(eventFilter(t, filter.EventFilter{Matcher: []string{"d.a", "d.c"}, IgnoreEvent: []string{"add column", "create table"}}))
		w.ddl(120, tableJob(tpAddColumn, 1, 1, "a", 2, "alter a"))
		w.ddl(121, tableJob(tpAddColumn, 2, 2, "b", 2, "alter b"))
		w.ddl(122, createTable(3, "c"))
		w.put(1, 119, 121)
		w.resolve(130, 2, jobTable, histTbl)
		w.wants("ddl 121 alter b") // in no order with the rows of another table
		w.resolve(130, 1)
		w.wants("a(1 cols) 119", "a(2 cols) 121")
		w.put(3, 125)
		w.resolveAll(131)
		w.wants("c(1 cols) 125")
		w.wantCheckpoint(131)
		_ = w.stop()
	})
}

// A table whose DROP is ignored is not followed any longer.
func TestIgnoredDropAndRename(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(eventFilter(t, filter.EventFilter{Matcher: []string{"d.*"}, IgnoreSQL: []string{"^drop", "rename"}}))
		w.ddl(120, tableJob(tpDropTable, 1, 1, "a", 1, "drop table a"))
		w.ddl(121, tableJob(tpRename, 2, 2, "renamed", 1, "rename table b to renamed"))
		w.put(2, 119, 125)
		w.resolveAll(130)
		w.wants("b(1 cols) 119", "renamed(1 cols) 125")
		w.wantCheckpoint(130)
		w.locked(func() {
			if !w.sources[1].closed {
				t.Error("the dropped table is still followed")
			}
		})
		_ = w.stop()
	})
}

func TestIgnoredRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(eventFilter(t, filter.EventFilter{Matcher: []string{"d.a"}, IgnoreEvent: []string{"insert"}}))
		w.put(1, 110)
		w.put(2, 111)
		w.resolveAll(120)
		w.wants("b(1 cols) 111")
		w.wantCheckpoint(120) // rows that are left out hold up nothing
		_ = w.stop()
	})
}

// reusingMounter gives out the same rows again and again, as a real one does
// with its batch.
type reusingMounter struct {
	mounter
	refs []*event.RowChanged
}

func (m *reusingMounter) MountBatch(kvs []event.RawKV, b *rowcodec.Batch) ([]*event.RowChanged, error) {
	rows, err := m.mounter.MountBatch(kvs, b)
	for i, r := range rows {
		*m.refs[i] = *r
	}
	return m.refs[:len(rows)], err
}

// Leaving out rows does not disturb the batch that they are in.
func TestIgnoredRowsAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f, err := filter.New(filter.Config{IgnoreTxnStartTs: []event.Ts{109, 111}})
		if err != nil {
			t.Fatal(err)
		}
		w.run(func(c *pipeline.Config) {
			m := &reusingMounter{mounter: c.Mounter.(mounter)}
			for range 10 {
				m.refs = append(m.refs, &event.RowChanged{})
			}
			c.Mounter, c.Filter = m, f
		})
		w.put(1, 110, 112, 114, 115)
		w.resolveAll(120)
		w.wants("a(1 cols) 114", "a(1 cols) 115")
		w.put(1, 121, 122, 123, 124)
		w.resolveAll(130)
		w.wants("a(1 cols) 121", "a(1 cols) 122", "a(1 cols) 123", "a(1 cols) 124")
		_ = w.stop()
	})
}

// Of a DDL on several tables, the sink is told of those that no event filter ignores.
func TestDDLIsCutToTheEventFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(eventFilter(t, filter.EventFilter{Matcher: []string{"d.quiet"}, IgnoreEvent: []string{"create table"}}))
		w.ddl(120, mustJSON(map[string]any{
			"type": tpCreateTables, "schema_id": 9, "schema_name": "d", "state": 4, "schema_state": 5, "query": "create both",
			"binlog": map[string]any{"SchemaVersion": 2, "MultipleTableInfos": []any{tableInfo(3, "quiet", 1), tableInfo(4, "c", 1)}},
		}))
		w.resolveAll(130)
		w.wants("ddl 120 create both")
		w.put(3, 135)
		w.resolveAll(140)
		w.wants("quiet(1 cols) 135")
		_ = w.stop()
	})
}

// An expression that does not fit a table is an error at the start.
func TestExpressionDoesNotFitAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(eventFilter(t, filter.EventFilter{Matcher: []string{"d.*"}, IgnoreDeleteValueExpr: "nothing = 1"}))
		err := <-w.done
		if !errors.Is(err, filter.ErrUnknownColumn) || !strings.Contains(err.Error(), "d.a") || !strings.Contains(err.Error(), "d.b") {
			t.Errorf("Run returned %v", err)
		}
	})
}

// An expression that does not fit a table any longer is an error at the DDL,
// before a row comes; what is left out need not fit.
func TestExpressionDoesNotFitAfterDDL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(eventFilter(t, filter.EventFilter{Matcher: []string{"d.n", "d.hidden"}, IgnoreInsertValueExpr: "c1 = 1"}))
		w.ddl(110, tableJob(tpCreateTable, 3, 3, "n", 2, "create n"))
		w.ddl(111, createTable(4, "hidden"))
		w.resolveAll(115)
		w.wants("ddl 110 create n")
		w.ddl(120, tableJob(tpAddColumn, 3, 3, "n", 1, "alter n drop c1"))
		w.put(3, 118, 125)
		w.resolveAll(130)
		err := <-w.done
		var e *filter.ExpressionError
		if !errors.Is(err, filter.ErrUnknownColumn) || !errors.As(err, &e) || e.Table != "d.n" || !strings.Contains(err.Error(), "alter n drop c1") {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A row that an expression cannot be evaluated on is an error, not a loss.
func TestExpressionFailsOnARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(eventFilter(t, filter.EventFilter{Matcher: []string{"d.a"}, IgnoreInsertValueExpr: "c0 > 1"}))
		w.put(1, 110) // the world's rows have no values
		w.resolveAll(120)
		if err := <-w.done; err == nil || !strings.Contains(err.Error(), "0 values") {
			t.Errorf("Run returned %v", err)
		}
		if got := w.p.CheckpointTs(); got >= event.Ts(110) {
			t.Errorf("checkpoint %d is beyond the row", got)
		}
	})
}
