package filter_test

import (
	"fmt"
	"testing"

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

func BenchmarkRow(b *testing.B) {
	f := newFilter(b, filter.Config{IgnoreTxnStartTs: []event.Ts{1, 2, 3}})
	row := &event.RowChanged{StartTs: 4}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := f.Row(row); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
