package filter_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
)

// rulesOf returns n rules of a form; the table db7.T7 is decided by none but the first.
func rulesOf(form string, n int) []string {
	rules := []string{"*.*"}
	for i := 1; i < n; i++ {
		rules = append(rules, fmt.Sprintf(form, i+100))
	}
	return rules
}

func BenchmarkTable(b *testing.B) {
	for _, form := range []string{"!db%d.t", "!db7.t%d", "!db%d.*", "!db7.x%d*", "!*.x%d", "!*.*x%d"} {
		for _, n := range []int{1, 100} {
			for _, caseSensitive := range []bool{false, true} {
				b.Run(fmt.Sprintf("rules=%d/form=%s/case=%t", n, form, caseSensitive), func(b *testing.B) {
					f := newFilter(b, filter.Config{Rules: rulesOf(form, n), CaseSensitive: caseSensitive})
					b.ReportAllocs()
					for b.Loop() {
						if !f.Table("db7", "T7") {
							b.Fatal("left out")
						}
					}
				})
			}
		}
	}
}

// sysbench is the table of sysbench, and an update of it.
func sysbench(b *testing.B) *event.RowChanged {
	b.Helper()
	text := func(name string) event.ColumnInfo {
		return event.ColumnInfo{Name: name, Type: event.TypeString, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	}
	table := &event.TableInfo{Schema: "sbtest", Table: "sbtest1", Columns: []event.ColumnInfo{
		{Name: "id", Type: event.TypeLonglong},
		{Name: "k", Type: event.TypeLong},
		text("c"), text("pad"),
		{Name: "price", Type: event.TypeNewDecimal, Length: 12, Decimal: 2},
		{Name: "at", Type: event.TypeTimestamp},
		{Name: "doc", Type: event.TypeJSON},
	}}
	price, err := event.ParseDecimal("1234.56", 2)
	if err != nil {
		b.Fatal(err)
	}
	at, err := event.TimestampValue(time.Date(2024, 7, 22, 1, 2, 3, 0, time.UTC), 0)
	if err != nil {
		b.Fatal(err)
	}
	doc, err := event.ParseJSON(`{"status": "paid", "lines": [{"product": 7, "count": 2}], "note": null}`)
	if err != nil {
		b.Fatal(err)
	}
	after := []event.Value{
		event.Int64Value(100_000), event.Int64Value(50_000), event.TextValue(strings.Repeat("68487932199-", 10)), event.TextValue(strings.Repeat("67847967377-", 5)),
		price, at, doc,
	}
	before := slices.Clone(after)
	before[1] = event.Int64Value(49_999)
	return &event.RowChanged{StartTs: 4, CommitTs: 5, Table: table, Columns: after, PreColumns: before}
}

// BenchmarkRow passes an update through filters that let it pass.
func BenchmarkRow(b *testing.B) {
	many := make([]filter.EventFilter, 100)
	for i := range many {
		many[i] = filter.EventFilter{Matcher: []string{fmt.Sprintf("other%d.*", i)}, IgnoreEvent: []string{"all dml"}}
	}
	expression := func(text string) []filter.EventFilter {
		return []filter.EventFilter{{Matcher: []string{"sbtest.*"}, IgnoreUpdateNewValueExpr: text}}
	}
	for _, bench := range []struct {
		name string
		cfg  filter.Config
	}{
		{"rules", filter.Config{Rules: []string{"sbtest.*"}}},
		{"start-ts", filter.Config{IgnoreTxnStartTs: []event.Ts{1, 2, 3}}},
		{"filters=1", filter.Config{EventFilters: many[:1]}},
		{"filters=100", filter.Config{EventFilters: many}},
		{"event", filter.Config{EventFilters: []filter.EventFilter{{Matcher: []string{"*.*"}, IgnoreEvent: []string{"delete"}}}}},
		{"only-columns", filter.Config{EventFilters: []filter.EventFilter{{Matcher: []string{"*.*"}, IgnoreUpdateOnlyColumns: []string{"c"}}}}},
		{"int", filter.Config{EventFilters: expression("k < 100")}},
		{"and-or", filter.Config{EventFilters: expression("k < 100 OR id > 1000000 AND k <> 7")}},
		{"in-100", filter.Config{EventFilters: expression("k IN (" + strings.Trim(strings.Repeat("1,", 100), ",") + ")")}},
		{"string", filter.Config{EventFilters: expression("c = 'x'")}},
		{"general_ci", filter.Config{EventFilters: expression("c COLLATE utf8mb4_general_ci = 'x'")}},
		{"like", filter.Config{EventFilters: expression("c LIKE '%x%y'")}},
		{"like-contains", filter.Config{EventFilters: expression("c LIKE '%none%'")}},
		{"regexp", filter.Config{EventFilters: expression("pad REGEXP '^[a-z]'")}},
		{"decimal", filter.Config{EventFilters: expression("price > 5000.5")}},
		{"decimal-arithmetic", filter.Config{EventFilters: expression("price * 1.19 / 2 > 5000.5")}},
		{"time", filter.Config{EventFilters: expression("at > '2025-01-01'")}},
		{"functions", filter.Config{EventFilters: expression("CONCAT(UPPER(LEFT(pad, 3)), '-', k) = 'ABC-1'")}},
		{"json", filter.Config{EventFilters: expression("doc->>'$.status' = 'new'")}},
		{"cast", filter.Config{EventFilters: expression("CAST(k AS CHAR) = '1'")}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			row := sysbench(b)
			f := newFilter(b, bench.cfg)
			if allocated := testing.AllocsPerRun(100, func() { _, _ = f.Row(row) }); allocated > 0 {
				b.Errorf("%v allocations per row", allocated)
			}
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := f.Row(row); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// BenchmarkRowManyTables goes round more tables than the fast cache holds.
func BenchmarkRowManyTables(b *testing.B) {
	f := newFilter(b, filter.Config{EventFilters: []filter.EventFilter{{Matcher: []string{"*.*"}, IgnoreUpdateNewValueExpr: "k < 100"}}})
	rows := make([]*event.RowChanged, 4000)
	for i := range rows {
		rows[i] = sysbench(b)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if ok, err := f.Row(rows[i%len(rows)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkNewTable compiles an expression for a table version.
func BenchmarkNewTable(b *testing.B) {
	row := sysbench(b)
	f := newFilter(b, filter.Config{EventFilters: []filter.EventFilter{{Matcher: []string{"*.*"}, IgnoreUpdateNewValueExpr: "k < 100 OR c LIKE 'a%' AND price > 5"}}})
	b.ReportAllocs()
	for b.Loop() {
		table := *row.Table
		if err := f.Check(&table); err != nil {
			b.Fatal(err)
		}
	}
}
