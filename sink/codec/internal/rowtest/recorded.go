package rowtest

import (
	"bufio"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// Recorded returns rows that a real TiDB wrote, for the tests of a package in
// sink/codec: shape is narrow (4 columns, a sysbench row) or wide (44, every type),
// op is insert, update or delete.
func Recorded(t testing.TB, shape, op string) []*event.RowChanged {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "internal", "rowcodec", "testdata")
	schema, err := os.ReadFile(filepath.Join(dir, shape+".table.json"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := event.ParseTableInfo(schema, 1, "test")
	if err != nil {
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
	var kvs []event.RawKV
	lines := bufio.NewScanner(zr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		kvs = append(kvs, parseChange(t, lines.Bytes()))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	rows, err := decode(table, kvs)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// decode decodes changes as TiKV stores them.
func decode(table *event.TableInfo, kvs []event.RawKV) ([]*event.RowChanged, error) {
	plan, err := rowcodec.NewPlan(table)
	if err != nil {
		return nil, err
	}
	var b rowcodec.Batch
	b.Begin(len(kvs), 2*len(kvs)*len(table.Columns))
	for i := range kvs {
		if _, err := b.Add(plan, &kvs[i]); err != nil {
			return nil, err
		}
	}
	return b.Rows(), nil
}

func parseChange(t testing.TB, line []byte) event.RawKV {
	t.Helper()
	var l struct {
		Op       string   `json:"op"`
		StartTs  event.Ts `json:"start_ts"`
		CommitTs event.Ts `json:"commit_ts"`
		Key      string   `json:"key"`
		Value    string   `json:"value"`
		OldValue string   `json:"old_value"`
	}
	if err := json.Unmarshal(line, &l); err != nil {
		t.Fatal(err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	kv := event.RawKV{
		Op: event.OpPut, StartTs: l.StartTs, CommitTs: l.CommitTs,
		Key: unhex(l.Key), Value: unhex(l.Value), OldValue: unhex(l.OldValue),
	}
	if l.Op == "delete" {
		kv.Op = event.OpDelete
	}
	return kv
}

// Bench encodes recorded rows, batch of them in a call, and reports what a row
// takes of CPU time beside the peer's figure: peer maps shape.op, such as narrow.insert, to
// its best CPU ns per row.
func Bench(b *testing.B, batch int, peer map[string]float64, open func(*event.TableInfo) codec.Encoder) {
	for _, shape := range []string{"narrow", "wide"} {
		for _, op := range []string{"insert", "update", "delete"} {
			rows := Recorded(b, shape, op)
			rows = rows[:min(len(rows), 256)]
			enc := open(rows[0].Table)
			b.Run(shape+"."+op, func(b *testing.B) {
				benchRows(b, enc, rows, batch, peer[shape+"."+op])
			})
		}
	}
}

// CheckAllocs encodes recorded rows and fails if a row takes an allocation, once
// plans and buffers are there.
func CheckAllocs(t *testing.T, batch int, open func(*event.TableInfo) codec.Encoder) {
	t.Helper()
	for _, shape := range []string{"narrow", "wide"} {
		for _, op := range []string{"insert", "update", "delete"} {
			rows := Recorded(t, shape, op)
			enc := open(rows[0].Table)
			var ms codec.Messages
			per := testing.AllocsPerRun(3, func() {
				ms.Reset()
				for i := 0; i < len(rows); i += batch {
					if err := enc.AppendRows(&ms, "topic", rows[i:min(i+batch, len(rows))]); err != nil {
						t.Fatal(err)
					}
				}
			}) / float64(len(rows))
			// What goes on beside the test may allocate a little.
			if per > 0.1 {
				t.Errorf("%s.%s: %.2f allocations per row", shape, op, per)
			}
		}
	}
}

// CheckNoAllocs encodes values of all types and fails if there is an allocation, once
// plans and buffers are there. (A TIME of more than 99 hours allocates; the ends of
// ranges are left out for that.)
func CheckNoAllocs(t *testing.T, enc codec.Encoder) {
	t.Helper()
	var rows []*event.RowChanged
	for _, c := range Cases() {
		if c.Name == "insert" || c.Name == "update of one column" || c.Name == "update to NULL" || c.Name == "delete" {
			rows = append(rows, c.Row)
		}
	}
	var ms codec.Messages
	if n := testing.AllocsPerRun(100, func() {
		ms.Reset()
		if err := enc.AppendRows(&ms, "topic", rows); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func benchRows(b *testing.B, enc codec.Encoder, rows []*event.RowChanged, batch int, peer float64) {
	var ms codec.Messages
	encode := func() {
		ms.Reset()
		for i := 0; i < len(rows); i += batch {
			if err := enc.AppendRows(&ms, "topic", rows[i:min(i+batch, len(rows))]); err != nil {
				b.Fatal(err)
			}
		}
	}
	encode() // makes plans and buffers
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, began := 0, cpuTime()
	for b.Loop() {
		encode()
		n += len(rows)
	}
	spent := cpuTime() - began
	runtime.ReadMemStats(&after)
	perRow := float64(spent.Nanoseconds()) / float64(n)
	b.ReportMetric(perRow, "cpu-ns/row")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(n), "allocs/row")
	b.ReportMetric(float64(ms.Bytes())/float64(len(rows)), "B/row")
	if peer > 0 {
		b.ReportMetric(peer, "peer-ns/row")
		b.ReportMetric(peer/perRow, "x-faster")
	}
	b.ReportMetric(0, "ns/op")
}
