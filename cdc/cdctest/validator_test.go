package cdctest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// tableOf has an integer primary key and as many other columns as there are names.
func tableOf(id int64, names ...string) *event.TableInfo {
	t := &event.TableInfo{ID: id, Schema: "shop", Table: fmt.Sprintf("t%d", id), PKIsHandle: true, HandleKey: []int{0}}
	for i, name := range append([]string{"id"}, names...) {
		c := event.ColumnInfo{ID: int64(i + 1), Name: name, Type: event.TypeLonglong}
		if i == 0 {
			c.Flag = event.FlagPrimaryKey | event.FlagNotNull
		}
		t.Columns = append(t.Columns, c)
	}
	return t
}

// change makes a row that goes from one value to another; 0 is none.
func change(t *event.TableInfo, ts event.Ts, key, before, after int64) *event.RowChanged {
	r := &event.RowChanged{
		StartTs: ts - 1, CommitTs: ts, Table: t, PhysicalTableID: t.ID, Key: cdctest.RowKey(t.ID, key),
	}
	image := func(v int64) []event.Value {
		if v == 0 {
			return nil
		}
		out := []event.Value{event.Int64Value(key), event.Int64Value(v)}
		for len(out) < len(t.Columns) {
			out = append(out, event.Value{})
		}
		return out[:len(t.Columns)]
	}
	r.PreColumns, r.Columns = image(before), image(after)
	return r
}

// player calls a validator; its methods are what a changefeed does.
type player struct {
	*cdctest.Validator
	t *testing.T
}

func (p player) rows(rows ...*event.RowChanged) {
	p.t.Helper()
	if err := p.WriteRows(p.t.Context(), rows); err != nil {
		p.t.Fatal(err)
	}
}

func (p player) ddl(ts event.Ts, job int64, changes ...event.TableChange) {
	p.t.Helper()
	d := &event.DDL{StartTs: ts - 1, CommitTs: ts, JobID: job, Query: fmt.Sprintf("DDL %d", job), Changes: changes}
	if err := p.WriteDDL(p.t.Context(), d); err != nil {
		p.t.Fatal(err)
	}
}

func (p player) checkpoint(ts event.Ts) {
	p.t.Helper()
	if err := p.WriteCheckpoint(p.t.Context(), ts); err != nil {
		p.t.Fatal(err)
	}
}

// TestValidator: each promise, broken and kept. want is part of the first
// violation, "" for none.
func TestValidator(t *testing.T) {
	a, b := tableOf(1, "v"), tableOf(2, "v")
	wider := tableOf(1, "v", "w")
	base := cdctest.NewState()
	base.Tables[1] = a
	base.Rows[1] = map[string][]string{string(cdctest.RowKey(1, 9)): {"9", "90"}}
	tests := []struct {
		name string
		play func(p player)
		want string
	}{
		{"all well", func(p player) {
			p.rows(change(a, 110, 1, 0, 1), change(a, 110, 2, 0, 2), change(a, 120, 1, 1, 2))
			p.rows(change(b, 105, 1, 0, 1))
			p.checkpoint(120)
			p.ddl(130, 1, event.TableChange{Before: a, After: wider})
			p.rows(change(wider, 131, 1, 2, 3))
			p.checkpoint(140)
		}, ""},
		{"restart", func(p player) {
			p.rows(change(a, 110, 1, 0, 1), change(a, 120, 1, 1, 2))
			p.checkpoint(110)
			p.Resume(110)
			p.rows(change(a, 120, 1, 1, 2), change(a, 130, 1, 2, 0))
		}, ""},
		{"restart below a DDL", func(p player) {
			p.rows(change(a, 110, 1, 0, 1))
			p.ddl(120, 1, event.TableChange{Before: a, After: wider})
			p.rows(change(wider, 130, 1, 1, 2))
			p.Resume(105)
			p.rows(change(a, 110, 1, 0, 1))
			p.ddl(120, 1, event.TableChange{Before: a, After: wider})
			p.rows(change(wider, 130, 1, 1, 2))
		}, ""},
		{"a row of the base", func(p player) { p.rows(change(a, 110, 9, 90, 91)) }, ""},
		{"below the start", func(p player) { p.rows(change(a, 100, 1, 0, 1)) }, "not above the start"},
		{"order in a call", func(p player) { p.rows(change(a, 120, 1, 0, 1), change(a, 110, 2, 0, 1)) }, "after 120"},
		{"tables in a call", func(p player) { p.rows(change(a, 110, 1, 0, 1), change(b, 110, 1, 0, 1)) }, "mixes physical tables"},
		{"order of a row", func(p player) {
			p.rows(change(a, 120, 1, 0, 2))
			p.rows(change(a, 110, 1, 0, 1))
		}, "after 120 of the same row"},
		{"twice in a run", func(p player) {
			p.rows(change(a, 110, 1, 0, 1))
			p.rows(change(a, 110, 1, 0, 1))
		}, "had been acknowledged"},
		{"again, changed", func(p player) {
			p.rows(change(a, 110, 1, 0, 1))
			p.Resume(100)
			p.rows(change(a, 110, 1, 0, 2))
		}, "came twice"},
		{"a change between is lost", func(p player) {
			p.rows(change(a, 110, 1, 0, 1))
			p.rows(change(a, 130, 1, 2, 3))
		}, "but the row is"},
		{"an insert is lost", func(p player) { p.rows(change(a, 110, 1, 1, 2)) }, "but the row is missing"},
		{"the base is not replaced", func(p player) { p.rows(change(a, 110, 9, 0, 1)) }, `but the row is ["9" "90"]`},
		{"new below a checkpoint", func(p player) {
			p.checkpoint(115)
			p.rows(change(a, 110, 1, 0, 1))
		}, "came after checkpoint 115"},
		{"new below the checkpoint of another run", func(p player) {
			p.checkpoint(115)
			p.Resume(105)
			p.rows(change(a, 110, 1, 0, 1))
		}, "is new at or below checkpoint 115"},
		{"checkpoint goes back", func(p player) {
			p.checkpoint(115)
			p.checkpoint(114)
		}, "went back"},
		{"row after its DDL", func(p player) {
			p.ddl(120, 1, event.TableChange{Before: a, After: a})
			p.rows(change(a, 120, 1, 0, 1))
		}, "after the table's DDL"},
		{"DDL after a row above it", func(p player) {
			p.rows(change(a, 130, 1, 0, 1))
			p.ddl(120, 1, event.TableChange{Before: a, After: a})
		}, "after a row of shop.t1 at 130"},
		{"DDLs in disorder", func(p player) {
			p.ddl(120, 1, event.TableChange{Before: a, After: a})
			p.ddl(110, 2, event.TableChange{Before: a, After: a})
		}, "after the one of 120"},
		{"DDL twice", func(p player) {
			p.ddl(120, 1, event.TableChange{Before: b, After: b})
			p.ddl(120, 1, event.TableChange{Before: b, After: b})
		}, "came again"},
		{"DDL below a checkpoint", func(p player) {
			p.checkpoint(125)
			p.ddl(120, 1, event.TableChange{Before: b, After: b})
		}, "came after checkpoint 125"},
		{"old schema after a DDL", func(p player) {
			p.ddl(120, 1, event.TableChange{Before: a, After: wider})
			p.rows(change(a, 130, 1, 0, 1))
		}, "by the last DDL they are (id, v, w)"},
		{"new schema without a DDL", func(p player) {
			p.rows(change(b, 110, 1, 0, 1))
			p.rows(change(tableOf(2, "v", "w"), 120, 1, 1, 2))
		}, "by the last DDL they are (id, v)"},
		{"malformed", func(p player) { p.rows(change(a, 110, 1, 0, 0)) }, "malformed"},
		{"no rows", func(p player) { p.rows() }, "without rows"},
		{"foreign partition", func(p player) {
			r := change(a, 110, 1, 0, 1)
			r.PhysicalTableID = 77
			p.rows(r)
		}, "not one of the table's"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := player{cdctest.Validate(nil, cdctest.ValidatorConfig{StartTs: 100, Base: base}), t}
			tt.play(p)
			err := p.Err()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("violations %q, want %q among them", p.Violations(), tt.want)
			}
		})
	}
}

var errRefused = errors.New("refused")

// A sink that refuses rows gets them again; a checkpoint may not pass them.
func TestValidatorFailedWrites(t *testing.T) {
	a := tableOf(1, "v")
	refuse := true
	inner := sink.RowFunc(func(context.Context, []*event.RowChanged) error {
		if refuse {
			return errRefused
		}
		return nil
	})
	v := cdctest.Validate(inner, cdctest.ValidatorConfig{StartTs: 100})
	rows := []*event.RowChanged{change(a, 110, 1, 0, 1), change(a, 120, 1, 1, 2)}
	if err := v.WriteRows(t.Context(), rows); !errors.Is(err, errRefused) {
		t.Fatalf("the error of the sink is lost: %v", err)
	}
	if err := v.WriteRows(t.Context(), rows); !errors.Is(err, errRefused) || v.Err() != nil {
		t.Fatalf("the second attempt: %v, %v", err, v.Err())
	}
	if err := v.WriteCheckpoint(t.Context(), 109); err != nil || v.Err() != nil {
		t.Fatalf("a checkpoint below: %v, %v", err, v.Err())
	}
	if err := v.WriteCheckpoint(t.Context(), 115); err != nil || v.Err() == nil {
		t.Error("a checkpoint has passed a row that was refused")
	}
	refuse = false
	if err := v.WriteRows(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	v.Resume(120)
	if n := len(v.Violations()); n != 2 { // the checkpoint, and the row at or below it
		t.Errorf("violations %q", v.Violations())
	}
}

// Calls that overlap: never for one table, and for two only if that is allowed.
func TestValidatorOverlap(t *testing.T) {
	a, b := tableOf(1, "v"), tableOf(2, "v")
	tests := []struct {
		name       string
		concurrent bool
		second     *event.RowChanged
		want       string
	}{
		{"two tables", true, change(b, 110, 1, 0, 1), ""},
		{"two tables, not concurrent", false, change(b, 110, 1, 0, 1), "during another call"},
		{"one table", true, change(a, 110, 2, 0, 1), "two calls at once"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inside, leave := make(chan struct{}), make(chan struct{})
			v := cdctest.Validate(nil, cdctest.ValidatorConfig{StartTs: 100, Concurrent: tt.concurrent})
			slow := v.Wrap(sink.RowFunc(func(context.Context, []*event.RowChanged) error {
				close(inside)
				<-leave
				return nil
			}))
			done := make(chan error)
			go func() { done <- slow.WriteRows(t.Context(), []*event.RowChanged{change(a, 110, 1, 0, 1)}) }()
			<-inside
			if err := v.WriteRows(t.Context(), []*event.RowChanged{tt.second}); err != nil {
				t.Fatal(err)
			}
			d := &event.DDL{StartTs: 119, CommitTs: 120, JobID: 1, Changes: []event.TableChange{{Before: a, After: a}}}
			if err := v.WriteDDL(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			close(leave)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			got := strings.Join(v.Violations(), "\n")
			if !strings.Contains(got, "while rows of shop.t1 were being written") || !strings.Contains(got, tt.want) {
				t.Errorf("violations %q, want %q", got, tt.want)
			}
			if tt.want == "" && len(v.Violations()) != 1 {
				t.Errorf("violations %q, want that of the DDL only", v.Violations())
			}
		})
	}
}

// The state follows rows and DDLs, on top of the base.
func TestValidatorState(t *testing.T) {
	a := tableOf(1, "v")
	wider := tableOf(1, "v", "w")
	seven := "7"
	wider.Columns[2].OriginDefault = &seven
	truncated := tableOf(3, "v", "w")
	base := cdctest.NewState()
	base.Tables[1] = a
	base.Rows[1] = map[string][]string{string(cdctest.RowKey(1, 9)): {"9", "90"}}
	p := player{cdctest.Validate(nil, cdctest.ValidatorConfig{StartTs: 100, Base: base}), t}
	p.rows(change(a, 110, 1, 0, 1))
	p.ddl(120, 1, event.TableChange{Before: a, After: wider})
	p.rows(change(wider, 130, 9, 90, 0))
	p.ddl(140, 2, event.TableChange{Before: wider, After: truncated})
	p.rows(change(truncated, 150, 1, 0, 5))
	tests := []struct {
		ts    event.Ts
		table int64
		want  map[string][]string
	}{
		{105, 1, map[string][]string{string(cdctest.RowKey(1, 9)): {"9", "90"}}},
		{119, 1, map[string][]string{string(cdctest.RowKey(1, 9)): {"9", "90"}, string(cdctest.RowKey(1, 1)): {"1", "1"}}},
		{120, 1, map[string][]string{string(cdctest.RowKey(1, 9)): {"9", "90", "7"}, string(cdctest.RowKey(1, 1)): {"1", "1", "7"}}},
		{130, 1, map[string][]string{string(cdctest.RowKey(1, 1)): {"1", "1", "7"}}},
		{140, 1, nil},
		{150, 3, map[string][]string{string(cdctest.RowKey(3, 1)): {"1", "5", cdctest.Null}}},
	}
	for _, tt := range tests {
		want := cdctest.NewState()
		if tt.want != nil {
			want.Rows[tt.table] = tt.want
		}
		got := p.State(tt.ts)
		want.Tables = got.Tables
		if diff := want.Diff(got); len(diff) > 0 {
			t.Errorf("at %d: %q", tt.ts, diff)
		}
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
	diff := p.State(105).Diff(p.State(150))
	if len(diff) != 4 || !slices.ContainsFunc(diff, func(s string) bool { return strings.Contains(s, "missing in the second") }) {
		t.Errorf("diff %q", diff)
	}
}
