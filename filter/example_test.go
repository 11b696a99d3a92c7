package filter_test

import (
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
)

// users is a table as a changefeed or event.ParseTableInfo would make it.
func users() *event.TableInfo {
	return &event.TableInfo{Schema: "shop", Table: "users", Columns: []event.ColumnInfo{
		{Name: "id", Type: event.TypeLonglong},
		{Name: "name", Type: event.TypeVarchar, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
		{Name: "seen", Type: event.TypeLong},
	}}
}

func user(id int64, name string, seen int64) []event.Value {
	return []event.Value{event.Int64Value(id), event.TextValue(name), event.Int64Value(seen)}
}

// show prints whether a filter lets a row pass.
func show(f *filter.Filter, row *event.RowChanged) {
	ok, err := f.Row(row)
	fmt.Println(row.Kind(), ok, err)
}

// Inserts and deletes pass, updates do not.
func ExampleEventFilter_ignoreEvent() {
	f, err := filter.New(filter.Config{EventFilters: []filter.EventFilter{
		{Matcher: []string{"shop.*"}, IgnoreEvent: []string{"update", "truncate table"}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	table := users()
	show(f, &event.RowChanged{Table: table, Columns: user(1, "Ada", 0)})
	show(f, &event.RowChanged{Table: table, Columns: user(1, "Ada", 1), PreColumns: user(1, "Ada", 0)})
	fmt.Println(f.DDL(&event.DDL{Type: event.DDLTruncateTable, PreTable: table, Table: table}))
	// Output:
	// insert true <nil>
	// update false <nil>
	// ignore <nil>
}

// DDL by its text. Discarded DDL concern nothing that is delivered.
func ExampleEventFilter_ignoreSQL() {
	f, err := filter.New(filter.Config{Rules: []string{"shop.*"}, EventFilters: []filter.EventFilter{
		{Matcher: []string{"*.*"}, IgnoreSQL: []string{"^drop", "add column"}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	table := users()
	fmt.Println(f.DDL(&event.DDL{Type: event.DDLAddColumn, Table: table, Query: "alter table users add c int"}))
	fmt.Println(f.DDL(&event.DDL{Type: event.DDLAddIndex, Table: table, Query: "create index i on users (name)"}))
	fmt.Println(f.DDL(&event.DDL{Type: event.DDLDropSchema, Schema: "other", Query: "drop database other"}))
	// Output:
	// ignore <nil>
	// deliver <nil>
	// discard <nil>
}

// Rows by their values: the new row of an insert, the old one of a delete, and
// either of an update.
func ExampleEventFilter_valueExpressions() {
	f, err := filter.New(filter.Config{EventFilters: []filter.EventFilter{{
		Matcher:                  []string{"shop.users"},
		IgnoreInsertValueExpr:    "name LIKE 'test%' OR id IN (1, 2, 3)",
		IgnoreUpdateNewValueExpr: "name IS NULL",
		IgnoreUpdateOldValueExpr: "seen BETWEEN 1 AND 9",
		IgnoreDeleteValueExpr:    "IFNULL(seen, 0) = 0",
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	table := users()
	show(f, &event.RowChanged{Table: table, Columns: user(7, "tester", 0)})
	show(f, &event.RowChanged{Table: table, Columns: user(7, "Ada", 0)})
	show(f, &event.RowChanged{Table: table, Columns: user(7, "Ada", 20), PreColumns: user(7, "Ada", 5)})
	show(f, &event.RowChanged{Table: table, PreColumns: user(7, "Ada", 20)})
	// Output:
	// insert false <nil>
	// insert true <nil>
	// update false <nil>
	// delete true <nil>
}

// Updates that only count how often a user was seen.
func ExampleEventFilter_onlyColumns() {
	f, err := filter.New(filter.Config{EventFilters: []filter.EventFilter{
		{Matcher: []string{"*.*"}, IgnoreUpdateOnlyColumns: []string{"seen"}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	table := users()
	show(f, &event.RowChanged{Table: table, Columns: user(1, "Ada", 1), PreColumns: user(1, "Ada", 0)})
	show(f, &event.RowChanged{Table: table, Columns: user(1, "Ada L.", 2), PreColumns: user(1, "Ada", 1)})
	// Output:
	// update false <nil>
	// update true <nil>
}

// A transaction that must not be repeated elsewhere.
func ExampleConfig_ignoreTxnStartTs() {
	f, err := filter.New(filter.Config{IgnoreTxnStartTs: []event.Ts{415238226621235200}})
	if err != nil {
		fmt.Println(err)
		return
	}
	show(f, &event.RowChanged{StartTs: 415238226621235200, Table: users(), Columns: user(1, "Ada", 0)})
	// Output:
	// insert false <nil>
}

// What does not fit a table is found before its rows come.
func ExampleFilter_Check() {
	f, err := filter.New(filter.Config{EventFilters: []filter.EventFilter{
		{Matcher: []string{"shop.*"}, IgnoreInsertValueExpr: "id > 10 AND age > 5"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = f.Check(users())
	fmt.Println(errors.Is(err, filter.ErrUnknownColumn))
	fmt.Println(err)
	// Output:
	// true
	// event filter 1: ignore-insert-value-expr: compile expression "id > 10 AND age > 5" for table shop.users: character 13: unknown column age
}

func Example() {
	f, err := filter.New(filter.Config{Rules: []string{"shop.*", "!shop.tmp_*", "log.day_??"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Table("shop", "orders"), f.Table("Shop", "TMP_1"), f.Table("log", "day_07"), f.Table("other", "t"))
	fmt.Println(f.Schema("shop"), f.Schema("other"))
	// Output:
	// true false true false
	// true false
}

func ExampleNew_invalidRule() {
	_, err := filter.New(filter.Config{Rules: []string{"shop.*", "my-shop.*"}})
	fmt.Println(err)

	var ruleErr *filter.RuleError
	if errors.As(err, &ruleErr) {
		fmt.Println("rule", ruleErr.Number, "character", ruleErr.Position)
	}
	// Output:
	// parse filter rule 2 "my-shop.*": character 3: unexpected '-': quote the name, or write \ before the character
	// rule 2 character 3
}
