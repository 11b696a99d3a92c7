package dispatcher_test

import (
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/dispatcher"
)

// benchmarkRules are the cases that TiCDC was measured with, and its ns per row on
// the machine of the project's other figures, 0 if it was not.
var benchmarkRules = []struct {
	name   string
	rule   dispatcher.Rule
	ticdc  float64
	column event.Value
}{
	{"table", dispatcher.Rule{Partition: "table"}, 175, event.Int64Value(50173)},
	{"ts", dispatcher.Rule{Partition: "ts"}, 62, event.Int64Value(50173)},
	{"index-value", dispatcher.Rule{Partition: "index-value"}, 181, event.Int64Value(50173)},
	{"index-value named text", dispatcher.Rule{Partition: "index-value", Index: "uk"}, 282, event.TextValue("Qf8gX5sbS2.00000000-7")},
	{"index-value named large", dispatcher.Rule{Partition: "index-value", Index: "uk"}, 0, event.Int64Value(5764607523034234881)},
	{"columns", dispatcher.Rule{Partition: "columns", Columns: []string{"id", "k"}}, 486, event.Int64Value(4987)},
}

func benchmarkRow(v event.Value) *event.RowChanged {
	table := tableOf("sbtest.sbtest1", 1, "id", "k", "c", "pad")
	table.Indexes = []event.IndexInfo{{Name: "uk", Unique: true, Columns: []event.IndexColumn{{Name: "k", Offset: 1}}}}
	return &event.RowChanged{
		CommitTs: 449000000000000000, Table: table,
		Columns: []event.Value{event.Int64Value(50173), v, event.TextValue("c"), event.TextValue("pad")},
	}
}

// BenchmarkRow is the topic and the partition of a row.
func BenchmarkRow(b *testing.B) {
	for _, bb := range benchmarkRules {
		b.Run(bb.name, func(b *testing.B) {
			bb.rule.Topic = "{schema}_{table}"
			d := newDispatcher(b, all(bb.rule))
			row := benchmarkRow(bb.column)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Partition(row, 64); err != nil || d.TableTopic(row.Table) == "" {
					b.Fatal(err)
				}
			}
			if bb.ticdc > 0 {
				b.ReportMetric(bb.ticdc/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "x-TiCDC")
			}
		})
	}
}

// TestNoAllocations covers every kind of value, so that none escapes to the heap.
func TestNoAllocations(t *testing.T) {
	at, err := event.TimestampValue(time.Unix(1700000000, 0), 6)
	decimal, decimalErr := event.ParseDecimal("-1234567.89", 2)
	if err != nil || decimalErr != nil {
		t.Fatal(err, decimalErr)
	}
	values := []event.Value{
		{},
		event.Int64Value(-1), event.Uint64Value(1 << 63), event.Float64Value(1.5), event.Float32Value(1.5), decimal, at,
		event.TextValue("text"), event.BitValue(3, 8), event.SetValue(3, []string{"a", "b"}), event.DurationValue(time.Hour, 3),
	}
	for _, bb := range benchmarkRules {
		d := newDispatcher(t, all(bb.rule))
		for _, v := range values {
			row := benchmarkRow(v)
			if n := testing.AllocsPerRun(100, func() {
				_, _ = d.Partition(row, 64)
				_ = d.TableTopic(row.Table)
			}); n != 0 {
				t.Errorf("%s of %s: %v allocations", bb.name, v.Kind(), n)
			}
		}
	}
}
