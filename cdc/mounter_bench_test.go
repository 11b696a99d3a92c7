package cdc_test

import (
	"bufio"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// recorded are changes that a real TiDB wrote, with their table.
type recorded struct {
	table *event.TableInfo
	kvs   []event.RawKV
}

// Table makes a recording its own schema resolver.
func (r recorded) Table(int64, event.Ts) (*event.TableInfo, error) { return r.table, nil }

// loadRecorded reads rowcodec's test data: shape is narrow (4 columns, a sysbench
// row) or wide (44, every type), op is insert, update or delete.
func loadRecorded(t testing.TB, shape, op string) recorded {
	t.Helper()
	dir := filepath.Join("..", "internal", "rowcodec", "testdata")
	schema, err := os.ReadFile(filepath.Join(dir, shape+".table.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r recorded
	if r.table, err = event.ParseTableInfo(schema, 1, "test"); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, shape+"."+op+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(zr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Op       string   `json:"op"`
			StartTs  event.Ts `json:"start_ts"`
			CommitTs event.Ts `json:"commit_ts"`
			Key      string   `json:"key"`
			Value    string   `json:"value"`
			OldValue string   `json:"old_value"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		kv := event.RawKV{
			Op: event.OpPut, StartTs: line.StartTs, CommitTs: line.CommitTs,
			Key: unhex(t, line.Key), Value: unhex(t, line.Value), OldValue: unhex(t, line.OldValue),
		}
		if line.Op == "delete" {
			kv.Op = event.OpDelete
		}
		r.kvs = append(r.kvs, kv)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// batchRows is how many rows a batch of the pipeline may have.
const batchRows = 256

// batchOf repeats the recorded changes up to n.
func (r recorded) batchOf(n int) []event.RawKV {
	kvs := make([]event.RawKV, n)
	for i := range kvs {
		kvs[i] = r.kvs[i%len(r.kvs)]
	}
	return kvs
}

var shapes, ops = []string{"narrow", "wide"}, []string{"insert", "update", "delete"}

func BenchmarkMount(b *testing.B) {
	for _, shape := range shapes {
		for _, op := range ops {
			b.Run(shape+"."+op, func(b *testing.B) {
				in := loadRecorded(b, shape, op)
				kvs := in.batchOf(batchRows)
				m := cdc.NewMounter(in, cdc.MounterOptions{})
				var batch cdc.Batch
				perRow(b, func() {
					if _, err := m.MountBatch(kvs, &batch); err != nil {
						b.Fatal(err)
					}
				})
			})
		}
	}
}

// BenchmarkMountText adds rendering every value, which is what a text protocol asks for.
func BenchmarkMountText(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape+".insert", func(b *testing.B) {
			in := loadRecorded(b, shape, "insert")
			kvs := in.batchOf(batchRows)
			m := cdc.NewMounter(in, cdc.MounterOptions{})
			var batch cdc.Batch
			var buf []byte
			perRow(b, func() {
				rows, err := m.MountBatch(kvs, &batch)
				if err != nil {
					b.Fatal(err)
				}
				for _, r := range rows {
					buf = buf[:0]
					for _, v := range r.Columns {
						buf = v.AppendText(buf)
					}
				}
			})
		})
	}
}

// perRow runs mount, which handles batchRows rows, and reports time and
// allocations per row.
func perRow(b *testing.B, mount func()) {
	mount() // the first use of a batch makes its slabs
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	batches := 0
	for b.Loop() {
		mount()
		batches++
	}
	runtime.ReadMemStats(&after)
	rows := float64(batches * batchRows)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/rows, "ns/row")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/rows, "allocs/row")
	b.ReportMetric(0, "ns/op")
}
