package filter_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
)

// ignoring returns a filter with one event filter for the tables of "db".
func ignoring(t testing.TB, e filter.EventFilter) *filter.Filter {
	t.Helper()
	if e.Matcher == nil {
		e.Matcher = []string{"db.*", "!db.free"}
	}
	return newFilter(t, filter.Config{EventFilters: []filter.EventFilter{e}})
}

// orders is a table with a few columns.
func orders(schema, name string) *event.TableInfo {
	return &event.TableInfo{Schema: schema, Table: name, Columns: []event.ColumnInfo{
		{Name: "id", Type: event.TypeLonglong, Flag: event.FlagNotNull | event.FlagPrimaryKey},
		{Name: "Name", Type: event.TypeVarchar, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
		{Name: "price", Type: event.TypeNewDecimal, Length: 10, Decimal: 2},
	}}
}

func image(t testing.TB, id int64, name, price string) []event.Value {
	t.Helper()
	d, err := event.ParseDecimal(price, 2)
	if err != nil {
		t.Fatal(err)
	}
	v := event.TextValue(name)
	if name == "NULL" {
		v = event.Value{}
	}
	return []event.Value{event.Int64Value(id), v, d}
}

// changes are an insert, an update and a delete of the same values.
func changes(table *event.TableInfo, before, after []event.Value) (insert, update, del *event.RowChanged) {
	return &event.RowChanged{Table: table, Columns: after, StartTs: 1, CommitTs: 2},
		&event.RowChanged{Table: table, Columns: after, PreColumns: before, StartTs: 1, CommitTs: 2},
		&event.RowChanged{Table: table, PreColumns: before, StartTs: 1, CommitTs: 2}
}

// passes tells which of an insert, an update and a delete pass, as "iud".
func passes(t testing.TB, f *filter.Filter, table *event.TableInfo, before, after []event.Value) string {
	t.Helper()
	out := ""
	insert, update, del := changes(table, before, after)
	for i, row := range []*event.RowChanged{insert, update, del} {
		ok, err := f.Row(row)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			out += "iud"[i : i+1]
		}
	}
	return out
}

func TestIgnoreRows(t *testing.T) {
	tests := []struct {
		name     string
		ignore   filter.EventFilter
		db, free string // what passes of db.t and db.free
	}{
		{"nothing", filter.EventFilter{}, "iud", "iud"},
		{"inserts", filter.EventFilter{IgnoreEvent: []string{"insert"}}, "ud", "iud"},
		{"updates and deletes", filter.EventFilter{IgnoreEvent: []string{"update", " DELETE "}}, "i", "iud"},
		{"all", filter.EventFilter{IgnoreEvent: []string{"all dml"}}, "", "iud"},
		{"DDL only", filter.EventFilter{IgnoreEvent: []string{"all ddl", "drop table"}, IgnoreSQL: []string{"."}}, "iud", "iud"},
		{"inserted values", filter.EventFilter{IgnoreInsertValueExpr: "id = 7 AND name = 'new'"}, "ud", "iud"},
		{"values that were not inserted", filter.EventFilter{IgnoreInsertValueExpr: "name = 'old'"}, "iud", "iud"},
		{"new values", filter.EventFilter{IgnoreUpdateNewValueExpr: "price > 2"}, "id", "iud"},
		{"not the new values", filter.EventFilter{IgnoreUpdateNewValueExpr: "price < 2"}, "iud", "iud"},
		{"old values", filter.EventFilter{IgnoreUpdateOldValueExpr: "price < 2"}, "id", "iud"},
		{"not the old values", filter.EventFilter{IgnoreUpdateOldValueExpr: "price > 2"}, "iud", "iud"},
		{"deleted values", filter.EventFilter{IgnoreDeleteValueExpr: "name LIKE 'o%'"}, "iu", "iud"},
		{"only these columns", filter.EventFilter{IgnoreUpdateOnlyColumns: []string{"NAME", "price", "absent"}}, "id", "iud"},
		{"other columns too", filter.EventFilter{IgnoreUpdateOnlyColumns: []string{"name"}}, "iud", "iud"},
		{"NULL is not true", filter.EventFilter{IgnoreInsertValueExpr: "NULL", IgnoreDeleteValueExpr: "id > NULL"}, "iud", "iud"},
		{"several conditions", filter.EventFilter{IgnoreEvent: []string{"delete"}, IgnoreInsertValueExpr: "id > 1"}, "u", "iud"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := ignoring(t, tt.ignore)
			before, after := image(t, 7, "old", "1.50"), image(t, 7, "new", "2.50")
			for name, want := range map[string]string{"t": tt.db, "free": tt.free} {
				table := orders("db", name)
				for range 2 { // the second time from the cache
					if got := passes(t, f, table, before, after); got != want {
						t.Errorf("db.%s: %q pass, want %q", name, got, want)
					}
				}
			}
		})
	}
}

// An update that changes nothing does not change only these columns.
func TestUpdateOfNothing(t *testing.T) {
	f := ignoring(t, filter.EventFilter{IgnoreUpdateOnlyColumns: []string{"name"}})
	same := image(t, 1, "a", "1")
	if got := passes(t, f, orders("db", "t"), same, same); got != "iud" {
		t.Errorf("%q pass", got)
	}
	null := image(t, 1, "NULL", "1")
	if got := passes(t, f, orders("db", "t"), null, same); got != "id" {
		t.Errorf("from NULL: %q pass", got)
	}
}

// Every filter that matches counts, and the table rules come first.
func TestSeveralEventFilters(t *testing.T) {
	f := newFilter(t, filter.Config{Rules: []string{"db.*", "!db.out"}, EventFilters: []filter.EventFilter{
		{Matcher: []string{"*.*"}, IgnoreEvent: []string{"insert"}},
		{Matcher: []string{"db.t"}, IgnoreDeleteValueExpr: "id = 1"},
		{Matcher: []string{"db.t"}, IgnoreDeleteValueExpr: "id = 2", IgnoreUpdateOnlyColumns: []string{"name"}},
		{Matcher: []string{"db.t"}, IgnoreUpdateOnlyColumns: []string{"price"}},
	}})
	for _, tt := range []struct {
		table, name string
		id          int64
		want        string
	}{{"t", "a", 1, ""}, {"t", "a", 2, ""}, {"t", "a", 3, "d"}, {"u", "a", 1, "ud"}, {"out", "a", 3, ""}} {
		before, after := image(t, tt.id, "a", "1"), image(t, tt.id, "b", "1")
		if got := passes(t, f, orders("db", tt.table), before, after); got != tt.want {
			t.Errorf("%s %d: %q pass, want %q", tt.table, tt.id, got, tt.want)
		}
	}
}

func TestIgnoreDDL(t *testing.T) {
	query := func(ddl *event.DDL, q string) *event.DDL { ddl.Query = q; return ddl }
	tests := []struct {
		name   string
		ignore filter.EventFilter
		ddl    *event.DDL
		want   filter.Verdict
	}{
		{"by its kind", filter.EventFilter{IgnoreEvent: []string{"drop table"}}, ddlOn(event.DDLDropTable, "db.t>"), filter.Ignore},
		{"another kind", filter.EventFilter{IgnoreEvent: []string{"drop table"}}, ddlOn(event.DDLTruncateTable, "db.t"), filter.Deliver},
		{"of another table", filter.EventFilter{IgnoreEvent: []string{"drop table"}}, ddlOn(event.DDLDropTable, "db.free>"), filter.Deliver},
		{"of an excluded table", filter.EventFilter{IgnoreEvent: []string{"drop table"}}, ddlOn(event.DDLDropTable, "mysql.t>"), filter.Discard},
		{"not replicated", filter.EventFilter{IgnoreEvent: []string{"all ddl"}}, ddlOn(event.DDLCreateSequence, ">db.s"), filter.Discard},
		{"all", filter.EventFilter{IgnoreEvent: []string{"All DDL"}}, ddlOn(event.DDLCreateView, ">db.v"), filter.Ignore},
		{"rows only", filter.EventFilter{IgnoreEvent: []string{"all dml"}}, ddlOn(event.DDLCreateView, ">db.v"), filter.Deliver},
		{"alter table", filter.EventFilter{IgnoreEvent: []string{"alter table"}}, ddlOn(event.DDLAddColumn, "db.t"), filter.Ignore},
		{"alter table, an index", filter.EventFilter{IgnoreEvent: []string{"alter table"}}, ddlOn(event.DDLAddIndex, "db.t"), filter.Ignore},
		{"alter table, a partition", filter.EventFilter{IgnoreEvent: []string{"alter table"}}, ddlOn(event.DDLDropPartition, "db.t"), filter.Ignore},
		{"not alter table", filter.EventFilter{IgnoreEvent: []string{"alter table"}}, ddlOn(event.DDLRenameTable, "db.t>db.u"), filter.Deliver},
		{"rename by the old name", filter.EventFilter{IgnoreEvent: []string{"rename table"}}, ddlOn(event.DDLRenameTable, "db.t>db.free"), filter.Ignore},
		{"rename to a matching name", filter.EventFilter{IgnoreEvent: []string{"rename table"}}, ddlOn(event.DDLRenameTable, "db.free>db.t"), filter.Deliver},
		{"one of two", filter.EventFilter{IgnoreEvent: []string{"rename table"}}, ddlOn(event.DDLRenameTables, "db.t>db.u", "db.free>db.v"), filter.Deliver},
		{"both of two", filter.EventFilter{IgnoreEvent: []string{"rename table"}}, ddlOn(event.DDLRenameTables, "db.t>db.u", "db.a>db.b"), filter.Ignore},
		{"one ignored, one excluded", filter.EventFilter{IgnoreEvent: []string{"create table"}}, ddlOn(event.DDLCreateTables, ">db.t", ">mysql.b"), filter.Ignore},
		{"database", filter.EventFilter{IgnoreEvent: []string{"drop database"}}, &event.DDL{Type: event.DDLDropSchema, Schema: "db"}, filter.Ignore},
		{"schema", filter.EventFilter{IgnoreEvent: []string{"drop schema"}}, &event.DDL{Type: event.DDLDropSchema, Schema: "DB"}, filter.Ignore},
		{"another database", filter.EventFilter{IgnoreEvent: []string{"drop schema"}}, &event.DDL{Type: event.DDLDropSchema, Schema: "x"}, filter.Deliver},
		{"database by its text", filter.EventFilter{IgnoreSQL: []string{"^drop"}}, &event.DDL{Type: event.DDLDropSchema, Schema: "db", Query: "drop database db"}, filter.Ignore},
		{"text, as written", filter.EventFilter{IgnoreSQL: []string{"x", "TRUNCATE table t"}}, query(ddlOn(event.DDLTruncateTable, "db.t"), "truncate TABLE t"), filter.Ignore},
		{"text, as TiDB prints it", filter.EventFilter{IgnoreSQL: []string{"^drop table `db`"}}, query(ddlOn(event.DDLDropTable, "db.t>"), "/* x */ Drop  table db.t"), filter.Ignore},
		{"text within", filter.EventFilter{IgnoreSQL: []string{"add column"}}, query(ddlOn(event.DDLAddColumn, "db.t"), "ALTER TABLE t ADD c INT DEFAULT 1"), filter.Ignore},
		{"text that does not parse", filter.EventFilter{IgnoreSQL: []string{"FUTURE"}}, query(ddlOn(event.DDLAddColumn, "db.t"), "alter future t"), filter.Ignore},
		{"text that the parser chokes on", filter.EventFilter{IgnoreSQL: []string{"1111"}}, query(ddlOn(event.DDLAddColumn, "db.t"), "alter table t add c decimal default 0."+strings.Repeat("1", 90)), filter.Ignore},
		{"another text", filter.EventFilter{IgnoreSQL: []string{"^drop"}}, query(ddlOn(event.DDLAddColumn, "db.t"), "alter table t drop column c"), filter.Deliver},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ignoring(t, tt.ignore).DDL(tt.ddl); got != tt.want || err != nil {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

// A rename to an included name fails also if an event filter ignores renames.
func TestIgnoredRenameIntoFilter(t *testing.T) {
	f := newFilter(t, filter.Config{Rules: []string{"in.*"}, EventFilters: []filter.EventFilter{{Matcher: []string{"*.*"}, IgnoreEvent: []string{"all ddl"}}}})
	var into *filter.IntoFilterError
	if _, err := f.DDL(ddlOn(event.DDLRenameTable, "out.a>in.a")); !errors.As(err, &into) {
		t.Errorf("got %v", err)
	}
}

// TestEventNames ignores each name alone and looks at which kinds it stands for.
func TestEventNames(t *testing.T) {
	covered := map[event.DDLType]int{}
	for _, name := range filter.EventNames() {
		f := newFilter(t, filter.Config{EventFilters: []filter.EventFilter{{Matcher: []string{"a.*"}, IgnoreEvent: []string{strings.ToUpper(name)}}}})
		ignored := 0
		for n := range event.DDLType(255) {
			ddl := ddlOn(n, "a.t")
			ddl.Schema = "a"
			verdict, err := f.DDL(ddl)
			if err != nil {
				t.Fatal(err)
			}
			if verdict == filter.Ignore {
				ignored++
				if name != "all ddl" && name != "alter table" {
					covered[n]++
				}
			}
		}
		dml := slices.Contains([]string{"all dml", "insert", "update", "delete"}, name)
		if dml != (ignored == 0) {
			t.Errorf("%q ignores %d kinds of DDL", name, ignored)
		}
	}
	if len(filter.EventNames()) != 43 {
		t.Errorf("%d names", len(filter.EventNames()))
	}
	f := newFilter(t, filter.Config{})
	for n := range event.DDLType(255) {
		ddl := ddlOn(n, "a.t")
		ddl.Schema = "a"
		verdict, _ := f.DDL(ddl)
		// RECOVER DATABASE has no name of its own; databases have two names.
		want := verdict == filter.Deliver && n != event.DDLRecoverSchema
		if (covered[n] > 0) != want {
			t.Errorf("kind %d (%s) is ignored by %d names", n, n, covered[n])
		}
	}
}

func TestEventFilterErrors(t *testing.T) {
	star := []string{"*.*"}
	tests := []struct {
		name   string
		filter filter.EventFilter
		parts  []string
	}{
		{"no matcher", filter.EventFilter{IgnoreEvent: []string{"insert"}}, []string{"event filter 2: matcher", `"*.*"`}},
		{"wrong matcher", filter.EventFilter{Matcher: []string{"a.b", "x"}}, []string{"event filter 2: matcher", "rule 2", "character 2"}},
		{"unknown event", filter.EventFilter{Matcher: star, IgnoreEvent: []string{"insert", "upsert"}}, []string{"ignore-event", `"upsert"`, "all dml", "drop foreign key"}},
		{"wrong pattern", filter.EventFilter{Matcher: star, IgnoreSQL: []string{"ok", "("}}, []string{"ignore-sql", `pattern 2 "("`}},
		{"wrong insert expression", filter.EventFilter{Matcher: star, IgnoreInsertValueExpr: "id = = 1"}, []string{"ignore-insert-value-expr", `"id = = 1"`, "character 6"}},
		{"wrong new value", filter.EventFilter{Matcher: star, IgnoreUpdateNewValueExpr: "nothing(1)"}, []string{"ignore-update-new-value-expr", "NOTHING"}},
		{"wrong old value", filter.EventFilter{Matcher: star, IgnoreUpdateOldValueExpr: "a > NOW()"}, []string{"ignore-update-old-value-expr", "character 5", "NOW"}},
		{"wrong delete expression", filter.EventFilter{Matcher: star, IgnoreDeleteValueExpr: "a > (SELECT 1)"}, []string{"ignore-delete-value-expr", "subquery"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := filter.New(filter.Config{EventFilters: []filter.EventFilter{{Matcher: star}, tt.filter}})
			var e *filter.EventFilterError
			if !errors.As(err, &e) || e.Number != 2 {
				t.Fatalf("got %v", err)
			}
			for _, part := range tt.parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the message does not have %q: %v", part, err)
				}
			}
		})
	}
	var name *filter.EventNameError
	_, err := filter.New(filter.Config{EventFilters: []filter.EventFilter{{Matcher: star, IgnoreEvent: []string{"x"}}}})
	if !errors.As(err, &name) || name.Name != "x" {
		t.Errorf("got %v", err)
	}
}

// A column that disappears is an error of the new version, and of its rows.
func TestColumnDisappears(t *testing.T) {
	f := ignoring(t, filter.EventFilter{IgnoreInsertValueExpr: "id > 0 AND price > 2"})
	table := orders("db", "t")
	if err := f.Check(table); err != nil {
		t.Fatal(err)
	}
	if got := passes(t, f, table, image(t, 1, "a", "1"), image(t, 1, "a", "3")); got != "ud" {
		t.Errorf("%q pass", got)
	}
	altered := *table
	altered.Columns = table.Columns[:2]
	err := f.Check(&altered)
	var e *filter.ExpressionError
	if !errors.Is(err, filter.ErrUnknownColumn) || !errors.As(err, &e) || e.Position != 12 || e.Table != "db.t" {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "event filter 1: ignore-insert-value-expr") || !strings.Contains(err.Error(), "unknown column price") {
		t.Errorf("the message is %v", err)
	}
	insert, _, _ := changes(&altered, nil, image(t, 1, "a", "1")[:2])
	if _, err := f.Row(insert); !errors.Is(err, filter.ErrUnknownColumn) {
		t.Errorf("a row: %v", err)
	}
	// The old version is as it was, and another table is none of the filter's business.
	if got := passes(t, f, table, image(t, 1, "a", "1"), image(t, 1, "a", "1")); got != "iud" {
		t.Errorf("%q pass", got)
	}
	free := altered
	free.Table = "free"
	if err := f.Check(&free); err != nil {
		t.Error(err)
	}
}

// A column's type may change what an expression means.
func TestTypeChanges(t *testing.T) {
	f := ignoring(t, filter.EventFilter{IgnoreInsertValueExpr: "price > '10'"})
	row := func(c event.ColumnInfo, v event.Value) bool {
		table := &event.TableInfo{Schema: "db", Table: "t", Columns: []event.ColumnInfo{c}}
		ok, err := f.Row(&event.RowChanged{Table: table, Columns: []event.Value{v}})
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !row(event.ColumnInfo{Name: "price", Type: event.TypeLong}, event.Int64Value(9)) {
		t.Error("9 > 10 as a number")
	}
	if row(event.ColumnInfo{Name: "price", Type: event.TypeVarchar, Collation: "utf8mb4_bin"}, event.TextValue("9")) {
		t.Error("not '9' > '10' as text")
	}
}

func TestRowErrors(t *testing.T) {
	f := ignoring(t, filter.EventFilter{IgnoreInsertValueExpr: "id + 9223372036854775807 > 0"})
	insert, _, _ := changes(orders("db", "t"), nil, image(t, 1, "a", "1"))
	insert.Key = []byte{0xab}
	_, err := f.Row(insert)
	var e *filter.ExpressionError
	if !errors.As(err, &e) || e.Position != 0 {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"db.t", "key ab", "commit ts 2", "BIGINT", "ignore-insert-value-expr"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message does not have %q: %v", part, err)
		}
	}
	insert.Columns = insert.Columns[:1]
	if _, err := f.Row(insert); err == nil || !strings.Contains(err.Error(), "1 values") {
		t.Errorf("a row with too few values: %v", err)
	}
}

// TestManyVersions goes beyond what the cache of decisions holds at once.
func TestManyVersions(t *testing.T) {
	f := ignoring(t, filter.EventFilter{IgnoreEvent: []string{"insert"}})
	for i := range 70_000 {
		table := &event.TableInfo{Schema: "db", Table: fmt.Sprint("t", i%10)}
		if ok, err := f.Row(&event.RowChanged{Table: table, Columns: []event.Value{}}); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
}

// Several goroutines share a filter, and find new table versions at once.
func TestConcurrentRows(t *testing.T) {
	f := ignoring(t, filter.EventFilter{IgnoreInsertValueExpr: "CONCAT(UPPER(name), '-', id) = 'A-7' AND price * 2 > 1"})
	tables := make([]*event.TableInfo, 50)
	for i := range tables {
		tables[i] = orders("db", "t")
	}
	ignored, kept := image(t, 7, "a", "1"), image(t, 8, "a", "1")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				table := tables[i%len(tables)]
				for want, values := range map[bool][]event.Value{false: ignored, true: kept} {
					if ok, err := f.Row(&event.RowChanged{Table: table, Columns: values}); ok != want || err != nil {
						t.Errorf("got %t, %v, want %t", ok, err, want)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestConfigJSON(t *testing.T) {
	const text = `{"rules":["db.*"],"case-sensitive":true,"ignore-txn-start-ts":[7],"event-filters":[{"matcher":["db.t"],
		"ignore-event":["insert"],"ignore-sql":["^drop"],"ignore-insert-value-expr":"a","ignore-update-new-value-expr":"b",
		"ignore-update-old-value-expr":"c","ignore-delete-value-expr":"d","ignore-update-only-columns":["e"]}]}`
	var cfg filter.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	e := cfg.EventFilters[0]
	got := fmt.Sprintln(cfg.Rules, cfg.CaseSensitive, cfg.IgnoreTxnStartTs, e.Matcher, e.IgnoreEvent, e.IgnoreSQL, e.IgnoreInsertValueExpr,
		e.IgnoreUpdateNewValueExpr, e.IgnoreUpdateOldValueExpr, e.IgnoreDeleteValueExpr, e.IgnoreUpdateOnlyColumns)
	if got != "[db.*] true [7] [db.t] [insert] [^drop] a b c d [e]\n" {
		t.Errorf("got %s", got)
	}
}
