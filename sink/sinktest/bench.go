package sinktest

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// bench is the workbench of one check: it makes changes, writes them and
// compares what the sink holds with all that was acknowledged.
type bench struct {
	testing.TB
	Subject
	patience time.Duration // how long a call may take that should return soon
	table    *event.TableInfo
	ts       event.Ts
	ids      map[int64]Record // the table's rows by now
	done     []Record         // what the sink acknowledged, in order
}

// newBench writes the DDL that every check begins with.
func newBench(t testing.TB, s Subject, patience time.Duration) *bench {
	t.Helper()
	if s.Sink == nil {
		t.Fatal("open returned no sink")
	}
	b := &bench{TB: t, Subject: s, patience: patience, ts: 1000, ids: map[int64]Record{}, table: itemTable()}
	b.writeDDL(&event.DDL{Type: event.DDLCreateSchema, Query: "CREATE DATABASE sinktest", Schema: "sinktest"})
	b.writeDDL(&event.DDL{
		Type: event.DDLCreateTable, Schema: "sinktest", Table: b.table,
		Query:   "CREATE TABLE sinktest.item (id BIGINT PRIMARY KEY, name VARCHAR(255))",
		Changes: []event.TableChange{{After: b.table}},
	})
	return b
}

func itemTable() *event.TableInfo {
	text := func(id int64, name string) event.ColumnInfo {
		return event.ColumnInfo{
			ID: id, Name: name, Type: event.TypeVarchar, Length: 255, Decimal: -1,
			Charset: "utf8mb4", Collation: "utf8mb4_bin",
		}
	}
	return &event.TableInfo{
		ID: 100, SchemaID: 90, Schema: "sinktest", Table: "item", UpdateTs: 1, Charset: "utf8mb4", Collation: "utf8mb4_bin",
		Columns: []event.ColumnInfo{{
			ID: 1, Name: "id", Type: event.TypeLonglong, Length: 20, Decimal: -1,
			Flag: event.FlagNotNull | event.FlagPrimaryKey, Charset: "binary", Collation: "binary",
		}, text(2, "name")},
		PKIsHandle: true,
		HandleKey:  []int{0},
	}
}

// addNote returns the DDL that gives the table its third column.
func (b *bench) addNote() *event.DDL {
	before := b.table
	after := itemTable()
	note := after.Columns[1]
	note.ID, note.Name = 3, "note"
	after.Columns = append(after.Columns, note)
	after.UpdateTs = b.ts
	b.table = after
	return &event.DDL{
		Type: event.DDLAddColumn, Schema: "sinktest", Table: after, PreTable: before,
		Query:   "ALTER TABLE sinktest.item ADD COLUMN note VARCHAR(255)",
		Changes: []event.TableChange{{Before: before, After: after}},
	}
}

// change makes the next transaction: each id is written with a new name, or
// deleted if it is negative.
func (b *bench) change(ids ...int64) []*event.RowChanged {
	b.ts += 10
	var rows []*event.RowChanged
	for _, id := range ids {
		kind := event.Insert
		if id < 0 {
			id, kind = -id, event.Delete
		}
		row := &event.RowChanged{
			StartTs: b.ts - 5, CommitTs: b.ts, Table: b.table, PhysicalTableID: b.table.ID,
			Key: binary.BigEndian.AppendUint64(event.TableSpan(b.table.ID).Start, uint64(id)^1<<63),
		}
		if old, ok := b.ids[id]; ok {
			row.PreColumns = b.image(old)
		}
		delete(b.ids, id)
		if kind != event.Delete {
			// What is special in SQL, CSV and JSON must not trouble a sink.
			r := Record{ID: id, Name: fmt.Sprintf(`item %d at %d: 'a' "b" \ %% , ; é 🦊`, id, b.ts)}
			if len(b.table.Columns) > 2 {
				r.Note = fmt.Sprintf("note at %d", b.ts)
			}
			row.Columns = b.image(r)
			b.ids[id] = r
		}
		rows = append(rows, row)
	}
	return rows
}

func (b *bench) image(r Record) []event.Value {
	image := []event.Value{event.Int64Value(r.ID), event.TextValue(r.Name), {}}
	if r.Note != "" {
		image[2] = event.TextValue(r.Note)
	}
	return image[:len(b.table.Columns)]
}

// recordOf returns what a sink should hold of a row.
func recordOf(row *event.RowChanged) Record {
	r := Record{Kind: row.Kind(), ID: row.Image()[0].Int64(), CommitTs: row.CommitTs}
	if r.Kind != event.Delete {
		r.Name = row.Columns[1].Text()
		if len(row.Columns) > 2 {
			r.Note = row.Columns[2].Text()
		}
	}
	return r
}

// write delivers rows, which has to succeed.
func (b *bench) write(rows []*event.RowChanged) {
	b.Helper()
	if err := b.within("WriteRows", func() error { return b.Sink.WriteRows(b.Context(), rows) }); err != nil {
		b.Fatalf("WriteRows of %d rows: %v", len(rows), err)
	}
	b.acknowledge(rows)
}

func (b *bench) acknowledge(rows []*event.RowChanged) {
	for _, row := range rows {
		b.done = append(b.done, recordOf(row))
	}
}

func (b *bench) writeDDL(ddl *event.DDL) {
	b.Helper()
	if ddl.CommitTs == 0 {
		b.ts += 10
		ddl.StartTs, ddl.CommitTs = b.ts-5, b.ts
	}
	if err := b.within("WriteDDL", func() error { return b.Sink.WriteDDL(b.Context(), ddl) }); err != nil {
		b.Fatalf("WriteDDL of %q: %v", ddl.Query, err)
	}
	b.done = append(b.done, Record{DDL: ddl.Query, CommitTs: ddl.CommitTs})
}

// within runs f and fails the check if it does not return in time.
func (b *bench) within(what string, f func() error) error {
	b.Helper()
	result := make(chan error, 1)
	go func() { result <- f() }()
	timer := time.NewTimer(b.patience)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		b.Fatalf("%s has not returned after %s", what, b.patience)
		return context.DeadlineExceeded
	}
}

// verify compares what the sink holds with what it acknowledged.
func (b *bench) verify() {
	b.Helper()
	if b.Got == nil {
		return
	}
	got, err := b.Got()
	if err != nil {
		b.Fatalf("read back: %v", err)
	}
	if b.State {
		err = compareState(b.done, got)
	} else {
		err = compareHistory(b.done, got, b.IgnoresDDL)
	}
	if err != nil {
		b.Error(err)
	}
}

// compareState holds the rows of a table to the sum of all changes.
func compareState(done, got []Record) error {
	want := map[int64]Record{}
	for _, r := range done {
		switch {
		case r.DDL != "":
		case r.Kind == event.Delete:
			delete(want, r.ID)
		default:
			want[r.ID] = r
		}
	}
	for _, r := range got {
		if r.DDL != "" {
			continue
		}
		w, ok := want[r.ID]
		if !ok {
			return fmt.Errorf("the sink holds row %d twice, or though it was deleted or never acknowledged: %+v", r.ID, r)
		}
		if !w.matches(r) {
			return fmt.Errorf("the sink holds row %d as %+v, want %+v", r.ID, r, w)
		}
		delete(want, r.ID)
	}
	if len(want) > 0 {
		return fmt.Errorf("the sink lacks %d rows that it acknowledged, such as %+v", len(want), slices.Collect(maps.Values(want))[0])
	}
	return nil
}

// compareHistory holds a sequence of changes to the contract. Each row, by id,
// must go through the acknowledged changes in order; a change that it went
// through before may come again at any place. So must the sequence of DDL, and
// every row comes for the first time between the right two DDL.
func compareHistory(done, got []Record, ignoresDDL bool) error {
	type step struct {
		Record
		ddls int // how many DDL came first
	}
	want := map[int64][]step{} // by id
	first := map[[2]int64]bool{}
	var ddls []string
	for _, r := range done {
		if r.DDL != "" {
			if !slices.Contains(ddls, r.DDL) {
				ddls = append(ddls, r.DDL)
			}
			continue
		}
		// What was acknowledged again is a repeat too.
		if at := [2]int64{r.ID, int64(r.CommitTs)}; !first[at] {
			first[at] = true
			want[r.ID] = append(want[r.ID], step{r, len(ddls)})
		}
	}
	next, seen := map[int64]int{}, 0
	for i, r := range got {
		if r.DDL != "" {
			if !slices.Contains(ddls[:min(seen+1, len(ddls))], r.DDL) {
				return fmt.Errorf("record %d is a DDL out of order: %q", i, r.DDL)
			}
			if seen < len(ddls) && ddls[seen] == r.DDL {
				seen++
			}
			continue
		}
		steps, n := want[r.ID], next[r.ID]
		switch {
		case n < len(steps) && steps[n].matches(r):
			if !ignoresDDL && steps[n].ddls != seen {
				return fmt.Errorf("record %d stands behind %d DDL, want %d: %+v", i, seen, steps[n].ddls, r)
			}
			next[r.ID]++
		case !slices.ContainsFunc(steps[:min(n, len(steps))], func(s step) bool { return s.matches(r) }):
			wanted := "nothing more of this row"
			if n < len(steps) {
				wanted = fmt.Sprintf("%+v", steps[n].Record)
			}
			return fmt.Errorf("record %d is %+v, want %s", i, r, wanted)
		}
	}
	for id, steps := range want {
		if n := next[id]; n < len(steps) {
			return fmt.Errorf("the sink lacks a change that it acknowledged, and perhaps more: %+v", steps[n].Record)
		}
	}
	if !ignoresDDL && seen < len(ddls) {
		return fmt.Errorf("the sink lacks a DDL that it acknowledged: %q", ddls[seen])
	}
	return nil
}

// matches compares as far as Record says that its fields are looked at.
func (r Record) matches(got Record) bool {
	if r.ID != got.ID || (r.Kind == event.Delete) != (got.Kind == event.Delete) || got.CommitTs != 0 && r.CommitTs != got.CommitTs {
		return false
	}
	return r.Kind == event.Delete || r.Name == got.Name && r.Note == got.Note
}
