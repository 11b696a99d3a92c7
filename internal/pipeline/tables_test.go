package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
)

// tablesSink notes checkpoints and which tables it is told.
type tablesSink struct {
	*world
	err *error // of the next call
}

func (s tablesSink) WriteCheckpoint(_ context.Context, ts event.Ts) error {
	s.note("checkpoint %d", ts)
	return nil
}

func (s tablesSink) WriteTables(_ context.Context, tables []*event.TableInfo) error {
	var names []string
	for _, t := range tables {
		names = append(names, fmt.Sprintf("%s(%d cols)", t.Table, len(t.Columns)))
	}
	s.note("tables %s", strings.Join(names, " "))
	err := *s.err
	*s.err = nil
	return err
}

// TestTablesAreTold: a sink knows all tables before a checkpoint, also those without
// changes, and those that are dropped or renamed until a checkpoint has passed that.
func TestTablesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fails := errors.New("not now")
		w.run(func(c *pipeline.Config) { c.Sink = tablesSink{w, &fails} })
		w.resolveAll(110)
		w.wants("tables a(1 cols) b(1 cols)", "tables a(1 cols) b(1 cols)", "checkpoint 110")
		w.resolveAll(120)
		w.wants("checkpoint 120")
		w.ddl(121, tableJob(tpAddColumn, 1, 1, "a", 2, "add"))
		w.resolveAll(130)
		w.wants("ddl 121 add", "tables a(2 cols) b(1 cols)", "checkpoint 130")
		w.ddl(131, tableJob(tpRename, 1, 1, "c", 2, "rename"))
		w.resolveAll(140)
		w.settle()
		w.resolveAll(141)
		w.wants("ddl 131 rename", "tables a(2 cols) b(1 cols) c(2 cols)", "checkpoint 140", "tables b(1 cols) c(2 cols)", "checkpoint 141")
		w.ddl(142, tableJob(tpDropTable, 2, 2, "b", 1, "drop"))
		w.resolveAll(150)
		w.settle()
		w.resolveAll(151)
		w.wants("ddl 142 drop", "tables b(1 cols) c(2 cols)", "checkpoint 150", "tables c(2 cols)", "checkpoint 151")
		_ = w.stop()
	})
}

// TestTablesOfOthersAreTold: who reports the checkpoint of a changefeed that several
// share knows also the tables that others write.
func TestTablesOfOthersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var fails error
		w.assigned(func(c *pipeline.Config) { c.Sink = tablesSink{w, &fails} })
		w.p.AddSpan(2, startTs)
		w.ddl(105, createTable(3, "c"))
		w.ddl(106, tableJob(tpRename, 1, 1, "z", 1, "rename"))
		w.resolveAll(120)
		w.settle()
		w.p.ConfirmCheckpoint(110, true)
		w.wants("tables a(1 cols) b(1 cols) c(1 cols) z(1 cols)", "checkpoint 110")
		w.ddl(125, tableJob(tpDropTable, 3, 3, "c", 1, "drop"))
		w.resolveAll(130)
		w.settle()
		w.p.ConfirmCheckpoint(126, false) // another one has reported it
		w.p.ConfirmCheckpoint(127, true)
		w.wants("tables b(1 cols) z(1 cols)", "checkpoint 127")
		_ = w.stop()
	})
}

// TestTablesAtTheTarget: the last checkpoint may be the only one.
func TestTablesAtTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var fails error
		w.run(func(c *pipeline.Config) { c.Sink = tablesSink{w, &fails}; c.TargetTs = 120 })
		w.resolveAll(120)
		if err := <-w.done; err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(w.log, ", "); got != "tables a(1 cols) b(1 cols), checkpoint 120" {
			t.Errorf("the sink got %s", got)
		}
	})
}
