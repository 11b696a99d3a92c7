package mysql_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

// TestConflicts: rows whose values a unique index holds for equal go into one
// shard, others need not.
func TestConflicts(t *testing.T) {
	text := func(collation string) event.ColumnInfo {
		return event.ColumnInfo{Name: "u", Type: event.TypeVarchar, Charset: "utf8mb4", Collation: collation}
	}
	binary := event.ColumnInfo{Name: "u", Type: event.TypeVarchar, Charset: "binary", Collation: "binary"}
	double := event.ColumnInfo{Name: "u", Type: event.TypeDouble, Charset: "binary", Collation: "binary"}
	tests := []struct {
		name     string
		column   event.ColumnInfo
		a, b     event.Value
		prefix   int
		together bool
	}{
		{"same text", text("utf8mb4_bin"), event.TextValue("a"), event.TextValue("a"), -1, true},
		{"case, binary", text("utf8mb4_bin"), event.TextValue("a"), event.TextValue("A"), -1, false},
		{"spaces", text("utf8mb4_bin"), event.TextValue("a"), event.TextValue("a  "), -1, true},
		{"case", text("utf8mb4_general_ci"), event.TextValue("name"), event.TextValue("NaMe"), -1, true},
		{"accent", text("utf8mb4_general_ci"), event.TextValue("café"), event.TextValue("CAFE"), -1, true},
		{"sharp s", text("utf8mb4_unicode_ci"), event.TextValue("straße"), event.TextValue("STRASSE"), -1, true},
		{"ignored", text("utf8mb4_unicode_ci"), event.TextValue("a\x01b"), event.TextValue("ab"), -1, true},
		{"full width", text("utf8mb4_0900_ai_ci"), event.TextValue("Ａ"), event.TextValue("a"), -1, true},
		{"ideographs", text("utf8mb4_unicode_ci"), event.TextValue("中 a"), event.TextValue("中 A "), -1, true},
		{"other ideographs", text("utf8mb4_unicode_ci"), event.TextValue("中"), event.TextValue("国"), -1, false},
		{"bytes", binary, event.BytesValue([]byte("a")), event.BytesValue([]byte("a ")), -1, false},
		{"prefix", text("utf8mb4_bin"), event.TextValue("éé1"), event.TextValue("éé2"), 2, true},
		{"longer prefix", text("utf8mb4_bin"), event.TextValue("éé1"), event.TextValue("éé2"), 3, false},
		{"prefix of bytes", binary, event.BytesValue([]byte("ab1")), event.BytesValue([]byte("ab2")), 2, true},
		{"zeros", double, event.Float64Value(0), event.Float64Value(math.Copysign(0, -1)), -1, true},
		{"NULL", text("utf8mb4_bin"), event.Value{}, event.Value{}, -1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := &event.TableInfo{
				PKIsHandle: true, HandleKey: []int{0},
				Columns: []event.ColumnInfo{{Name: "id", Type: event.TypeLonglong}, tt.column},
				Indexes: []event.IndexInfo{{Name: "u", Unique: true, Columns: []event.IndexColumn{{Name: "u", Offset: 1, Length: tt.prefix}}}},
			}
			row := func(id int64, u event.Value) *event.RowChanged {
				return &event.RowChanged{Table: table, Key: fmt.Append(nil, id), Columns: []event.Value{event.Int64Value(id), u}}
			}
			rows := []*event.RowChanged{row(1, tt.a), row(2, event.TextValue("between")), row(3, tt.b)}
			s, p := mysql.NewSharder(), mysql.NewPlan(table)
			for range 2 { // nothing is left from the time before
				shards := s.Shard(p, rows, 1)
				if together := shards[0] == shards[2]; together != tt.together {
					t.Errorf("shards are %v, want the first and the last together: %t", shards, tt.together)
				}
			}
			// An old image counts as much.
			rows[0].PreColumns, rows[0].Columns = rows[0].Columns, nil
			shards := s.Shard(p, rows, 1)
			if together := shards[0] == shards[2]; together != tt.together {
				t.Errorf("with a delete shards are %v", shards)
			}
		})
	}
}

// BenchmarkConflicts finds net changes, conflict keys and shards in calls of 1024
// rows.
func BenchmarkConflicts(b *testing.B) {
	for _, shape := range []string{"narrow", "wide"} {
		w := newWorkload(b, shape)
		for _, kind := range []string{"insert", "update", "delete"} {
			b.Run(shape+"/"+kind, func(b *testing.B) {
				rows := w.rows(kind, 0, benchCall, 1, 1)
				s, p := mysql.NewSharder(), mysql.NewPlan(w.table)
				s.Split(p, rows, 256) // makes the buffers
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				n, cpu := 0, processCPU(b)
				for b.Loop() {
					s.Split(p, rows, 256)
					n += len(rows)
				}
				runtime.ReadMemStats(&after)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric((processCPU(b)-cpu)/float64(n)*1e9, "cpu-ns/row")
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(n), "allocs/row")
			})
		}
	}
}
