package filter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
)

// table returns the info of "schema.table", nil for "".
func table(name string) *event.TableInfo {
	if name == "" {
		return nil
	}
	schema, table, _ := strings.Cut(name, ".")
	return &event.TableInfo{Schema: schema, Table: table}
}

// ddlOn returns a DDL that turns tables into others: "a.x>a.y" renames, ">a.y"
// creates, "a.x>" drops and "a.x" changes something else.
func ddlOn(kind event.DDLType, changes ...string) *event.DDL {
	ddl := &event.DDL{StartTs: 10, CommitTs: 20, Type: kind, JobID: 5, Query: "the statement"}
	for _, c := range changes {
		before, after, moved := strings.Cut(c, ">")
		if !moved {
			after = before
		}
		ddl.Changes = append(ddl.Changes, event.TableChange{Before: table(before), After: table(after)})
	}
	return ddl
}

func TestDDLOnTables(t *testing.T) {
	cfg := filter.Config{Rules: []string{"in.*", "!in.not"}}
	tests := []struct {
		name string
		ddl  *event.DDL
		want bool
	}{
		{"create", ddlOn(event.DDLCreateTable, ">in.t"), true},
		{"create outside", ddlOn(event.DDLCreateTable, ">out.t"), false},
		{"create in a system schema", ddlOn(event.DDLCreateTable, ">mysql.t"), false},
		{"drop", ddlOn(event.DDLDropTable, "in.t>"), true},
		{"drop outside", ddlOn(event.DDLDropTable, "in.not>"), false},
		{"truncate", ddlOn(event.DDLTruncateTable, "in.t"), true},
		{"view", ddlOn(event.DDLCreateView, ">in.v"), true},
		{"recover", ddlOn(event.DDLRecoverTable, ">in.t"), true},
		{"several changes in one", ddlOn(event.DDLMultiSchemaChange, "in.t"), true},
		{"rename inside", ddlOn(event.DDLRenameTable, "in.a>in.b"), true},
		{"rename out", ddlOn(event.DDLRenameTable, "in.a>out.a"), true},
		{"rename outside", ddlOn(event.DDLRenameTable, "out.a>out.b"), false},
		{"rename two", ddlOn(event.DDLRenameTables, "out.a>out.b", "in.a>in.b"), true},
		{"rename two outside", ddlOn(event.DDLRenameTables, "out.a>out.b", "in.not>out.x"), false},
		{"create many, one inside", ddlOn(event.DDLCreateTables, ">out.t", ">in.t"), true},
		{"exchange inside", ddlOn(event.DDLExchangePartition, "in.a", "in.b"), true},
		{"exchange outside", ddlOn(event.DDLExchangePartition, "out.a", "in.not"), false},
		{"without a list, after", &event.DDL{Type: event.DDLCreateTable, Table: table("in.t")}, true},
		{"without a list, before", &event.DDL{Type: event.DDLDropTable, PreTable: table("in.t")}, true},
		{"without a list, outside", &event.DDL{Type: event.DDLAddColumn, PreTable: table("out.t"), Table: table("out.t")}, false},
		{"a sequence", ddlOn(event.DDLCreateSequence, ">in.s"), false},
		{"a kind from the future", ddlOn(event.DDLType(200), "in.t"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := filter.Discard
			if tt.want {
				want = filter.Deliver
			}
			got, err := newFilter(t, cfg).DDL(tt.ddl)
			if err != nil || got != want {
				t.Errorf("got %s, %v, want %s", got, err, want)
			}
			cfg := cfg
			cfg.IgnoreTxnStartTs = []event.Ts{tt.ddl.StartTs}
			if got, err := newFilter(t, cfg).DDL(tt.ddl); got != filter.Discard || err != nil {
				t.Errorf("in an ignored transaction: got %s, %v", got, err)
			}
		})
	}
}

func TestDDLIntoFilter(t *testing.T) {
	f := newFilter(t, filter.Config{Rules: []string{"in.*"}})
	tests := []struct {
		name            string
		ddl             *event.DDL
		outside, inside string
	}{
		{"rename", ddlOn(event.DDLRenameTable, "out.a>in.b"), "out.a", "in.b"},
		{"rename from a system schema", ddlOn(event.DDLRenameTable, "mysql.a>in.a"), "mysql.a", "in.a"},
		{"rename two", ddlOn(event.DDLRenameTables, "in.x>in.y", "out.a>in.b"), "out.a", "in.b"},
		{"exchange", ddlOn(event.DDLExchangePartition, "in.part", "out.t"), "out.t", "in.part"},
		{"exchange the other way", ddlOn(event.DDLExchangePartition, "out.part", "in.t"), "out.part", "in.t"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := f.DDL(tt.ddl)
			var into *filter.IntoFilterError
			if got != filter.Discard || !errors.As(err, &into) {
				t.Fatalf("got %s, %v", got, err)
			}
			if into.DDL != tt.ddl || into.Outside != tt.outside || into.Inside != tt.inside {
				t.Errorf("got %+v", into)
			}
			for _, part := range []string{tt.outside, tt.inside, "the statement", "commit ts 20", "exclude " + tt.inside} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the message does not have %q: %v", part, err)
				}
			}
		})
	}
	// The same statement does no harm if the rows never count.
	if got, err := newFilter(t, filter.Config{Rules: []string{"in.*"}, IgnoreTxnStartTs: []event.Ts{10}}).DDL(tests[0].ddl); got != filter.Discard || err != nil {
		t.Errorf("in an ignored transaction: got %s, %v", got, err)
	}
}

func TestDDLWithoutTable(t *testing.T) {
	f := newFilter(t, filter.Config{})
	for _, ddl := range []*event.DDL{
		{Type: event.DDLAddColumn, JobID: 77, CommitTs: 20},
		{Type: event.DDLAddColumn, JobID: 77, CommitTs: 20, Changes: []event.TableChange{{}}},
	} {
		if got, err := f.DDL(ddl); got != filter.Discard || err == nil || !strings.Contains(err.Error(), "job 77 (add column)") || !strings.Contains(err.Error(), "commit ts 20") {
			t.Errorf("got %s, %v", got, err)
		}
	}
}

func TestDDLOnSchema(t *testing.T) {
	f := newFilter(t, filter.Config{Rules: []string{"*.*", "!out.*", "!some.t"}, IgnoreTxnStartTs: []event.Ts{3}})
	for _, kind := range []event.DDLType{event.DDLCreateSchema, event.DDLDropSchema, event.DDLModifySchemaCharset} {
		for schema, want := range map[string]bool{"in": true, "some": true, "out": false, "mysql": false} {
			// What is dropped with a database does not decide.
			ddl := &event.DDL{Type: kind, Schema: schema, Changes: []event.TableChange{{Before: table("out.t")}}}
			if got, err := f.DDL(ddl); (got == filter.Deliver) != want || err != nil {
				t.Errorf("%s %s: got %s, %v", kind, schema, got, err)
			}
			ddl.StartTs = 3
			if got, err := f.DDL(ddl); got != filter.Discard || err != nil {
				t.Errorf("%s %s in an ignored transaction: got %s, %v", kind, schema, got, err)
			}
		}
	}
}

// TestReplicatedKinds spells the kinds that are delivered by TiDB's numbers, so
// that a new constant does not slip in.
func TestReplicatedKinds(t *testing.T) {
	want := map[event.DDLType]bool{}
	for _, n := range []event.DDLType{
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 32, 33, 37, 38,
		41, 42, 47, 48, 60, 61, 63, 64, 65, 67, 71, 72,
	} {
		want[n] = true
	}
	f := newFilter(t, filter.Config{})
	for n := range event.DDLType(255) {
		ddl := ddlOn(n, "a.t")
		ddl.Schema = "a"
		if got, err := f.DDL(ddl); (got == filter.Deliver) != want[n] || err != nil {
			t.Errorf("type %d (%s): got %s, %v", n, n, got, err)
		}
	}
}

func TestChange(t *testing.T) {
	f := newFilter(t, filter.Config{Rules: []string{"in.*"}})
	ddl := ddlOn(event.DDLRenameTables, "in.a>in.b", "out.a>out.b", "in.c>out.c")
	for i, want := range []filter.Verdict{filter.Deliver, filter.Discard, filter.Deliver} {
		if got, err := f.Change(ddl, ddl.Changes[i]); got != want || err != nil {
			t.Errorf("change %d: got %s, %v", i, got, err)
		}
	}
}
