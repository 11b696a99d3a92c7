package mysql_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/mariadb"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
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
	dir := filepath.Join("..", "..", "internal", "rowcodec", "testdata")
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

// mount decodes the recorded changes, which then belong to the caller for good.
func (r recorded) mount(t testing.TB) []*event.RowChanged {
	t.Helper()
	var batch cdc.Batch
	rows, err := cdc.NewMounter(r, cdc.MounterOptions{}).MountBatch(r.kvs, &batch)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]*event.RowChanged, len(rows))
	for i, row := range rows {
		out[i] = row.Clone()
	}
	return out
}

// createRecorded makes the table of a recording in the database test.
func createRecorded(t testing.TB, s *server, shape string) (db *sql.DB, name string) {
	t.Helper()
	db = s.database(t, "test")
	statement, err := os.ReadFile(filepath.Join("testdata", shape+".sql"))
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, string(statement))
	return db, "test." + map[string]string{"narrow": "sbtest1", "wide": "wide"}[shape]
}

// benchServer is a MariaDB as an operator would set it up: durable at every
// commit, the working set in memory.
func benchServer(b *testing.B) *server {
	b.Helper()
	s, err := mariadb.Start(context.Background(), mariadb.Options{Args: []string{
		"--innodb-buffer-pool-size=2G", "--innodb-log-file-size=1G", "--innodb-flush-method=O_DIRECT",
	}})
	if err != nil {
		if !mariadb.Required() {
			b.Skip(err)
		}
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return &server{"MariaDB", s.Addr, mariadb.User}
}

// workload makes changes of ever new rows out of a recorded one.
type workload struct {
	table      *event.TableInfo
	inserts    []*event.RowChanged
	pk, unique int // offsets of the key columns; unique is -1 without one
}

func newWorkload(b *testing.B, shape string) *workload {
	w := &workload{inserts: loadRecorded(b, shape, "insert").mount(b), unique: -1}
	w.table = w.inserts[0].Table
	w.pk = w.table.HandleKey[0]
	for _, index := range w.table.Indexes {
		if index.Unique && !index.Primary {
			w.unique = index.Columns[0].Offset
		}
	}
	return w
}

// rows returns n changes of one kind, or of all with mixed, of the rows with the
// ids from on, each a transaction of perTxn.
func (w *workload) rows(kind string, from, n, perTxn int, ts event.Ts) []*event.RowChanged {
	out := make([]*event.RowChanged, n)
	for i := range n {
		id := from + i
		what := kind
		if kind == "mixed" {
			what = [...]string{"insert", "update", "delete"}[i%3]
		}
		row := &event.RowChanged{
			Table: w.table, PhysicalTableID: w.table.ID, CommitTs: ts + event.Ts(i/perTxn*4+4), StartTs: ts + event.Ts(i/perTxn*4+2),
			Key: binary.BigEndian.AppendUint64(event.TableSpan(w.table.ID).Start, uint64(id)^1<<63),
		}
		if what != "insert" {
			row.PreColumns = w.image(id, 0)
		}
		if what != "delete" {
			row.Columns = w.image(id, 1)
		}
		out[i] = row
	}
	return out
}

// image is a row with the id; another version differs in a text.
func (w *workload) image(id, version int) []event.Value {
	image := append([]event.Value(nil), w.inserts[(id+version)%len(w.inserts)].Columns...)
	image[w.pk] = event.Int64Value(int64(id))
	if w.unique >= 0 {
		image[w.unique] = event.TextValue(fmt.Sprintf("unique %d", id))
	}
	return image
}

const (
	benchCall = 1024 // rows of a call: what a changefeed gives a sink by default
	benchRows = 40 * benchCall
)

// BenchmarkWrite writes into a MariaDB on this machine: rows per second, CPU of
// this process and bytes that it allocates per row, and for inserts the ratio to
// what plain statements of as many rows over as many connections reach, measured
// right before. Nothing is collected meanwhile, as that would look at the rows that
// wait to be written. Figures are medians. Those of one run are comparable, those of
// a busy machine are not.
func BenchmarkWrite(b *testing.B) {
	s := benchServer(b)
	for _, shape := range []string{"narrow", "wide"} {
		w := newWorkload(b, shape)
		for _, kind := range []string{"insert", "update", "delete", "mixed"} {
			for _, m := range []benchMode{{perTxn: 1, spans: 1}, {perTxn: 1, spans: 4}, {perTxn: 256, spans: 4}, {perTxn: 1, spans: 4, safe: true}} {
				b.Run(fmt.Sprintf("%s/%s/%s", shape, kind, m), func(b *testing.B) {
					benchmarkWrite(b, s, w, shape, kind, m)
				})
			}
		}
	}
}

// benchMode is how changes come: as upstream transactions of a size, in calls for
// a number of spans at once.
type benchMode struct {
	perTxn, spans int
	safe          bool
}

func (m benchMode) String() string {
	return fmt.Sprintf("txn=%d/spans=%d%s", m.perTxn, m.spans, map[bool]string{true: "/safe"}[m.safe])
}

const benchWorkers = 4

func benchmarkWrite(b *testing.B, s *server, w *workload, shape, kind string, m benchMode) {
	db, name := createRecorded(b, s, shape)
	out, err := mysql.New(b.Context(), s.connect(b, "", nil), mysql.Config{WorkerCount: benchWorkers, SafeUntil: 1, SafeMode: m.safe, Logger: logger(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	n := benchRows
	if shape == "wide" {
		n /= 4
	}
	var speeds, cpus, allocated, ceilings, ceilingCPUs, ratios []float64
	for b.Loop() {
		mustExec(b, db, "TRUNCATE TABLE "+name)
		if kind == "insert" {
			speed, cpu := plainInserts(b, s, w, name, n, "prepared")
			if text, textCPU := plainInserts(b, s, w, name, n, "interpolated"); text > speed {
				speed, cpu = text, textCPU
			}
			ceilings, ceilingCPUs = append(ceilings, speed), append(ceilingCPUs, cpu)
		} else {
			fillTable(b, out, w, n, kind)
		}
		spans := make([][][]*event.RowChanged, m.spans)
		for from := 0; from < n; from += benchCall {
			i := from / benchCall % m.spans
			spans[i] = append(spans[i], w.rows(kind, from, benchCall, m.perTxn, event.Ts(1000000+10*from)))
		}
		runtime.GC()
		percent := debug.SetGCPercent(-1)
		startBytes, startCPU, start := processBytes(), processCPU(b), time.Now()
		var writers sync.WaitGroup
		for _, batches := range spans {
			writers.Go(func() {
				for _, batch := range batches {
					if err := out.WriteRows(b.Context(), batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		speeds = append(speeds, float64(n)/time.Since(start).Seconds())
		cpus = append(cpus, (processCPU(b)-startCPU)/float64(n)*1e9)
		allocated = append(allocated, float64(processBytes()-startBytes)/float64(n))
		debug.SetGCPercent(percent)
		if i := len(ceilings); i > 0 {
			ratios = append(ratios, 100*speeds[i-1]/ceilings[i-1])
		}
	}
	b.ReportMetric(median(speeds), "rows/s")
	b.ReportMetric(median(cpus), "cpu-ns/row")
	b.ReportMetric(median(allocated), "B/row")
	if len(ratios) > 0 {
		b.ReportMetric(median(ceilings), "ceiling-rows/s")
		b.ReportMetric(median(ceilingCPUs), "ceiling-cpu-ns/row")
		b.ReportMetric(median(ratios), "%-of-ceiling")
	}
	b.ReportMetric(0, "ns/op")
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// fillTable inserts the rows that updates and deletes need.
func fillTable(b *testing.B, out *mysql.Sink, w *workload, n int, kind string) {
	b.Helper()
	for from := 0; from < n; from += benchCall {
		var rows []*event.RowChanged
		for i, row := range w.rows("insert", from, benchCall, benchCall, event.Ts(10+from)) {
			if kind == "mixed" && i%3 == 0 {
				continue // is to be inserted
			}
			row.Columns = w.image(from+i, 0)
			rows = append(rows, row)
		}
		if err := out.WriteRows(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
	}
}

// plainInserts is the ceiling: INSERT statements of 256 rows, each a transaction,
// over as many connections, with the values ready in memory: rows per second and
// nanoseconds of CPU per row. It leaves the table empty.
func plainInserts(b *testing.B, s *server, w *workload, name string, n int, mode string) (speed, cpu float64) {
	b.Helper()
	const perStatement = 256
	db := s.connect(b, "", func(cfg *driver.Config) { cfg.InterpolateParams = mode == "interpolated" })
	db.SetMaxIdleConns(benchWorkers)
	defer db.Close()
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", len(w.table.Columns)), ",") + ")"
	var names []string
	for i := range w.table.Columns {
		names = append(names, "`"+w.table.Columns[i].Name+"`")
	}
	statement := "INSERT INTO " + name + " (" + strings.Join(names, ",") + ") VALUES " + strings.TrimSuffix(strings.Repeat(row+",", perStatement), ",")
	args := make([][]any, n/perStatement)
	for i := range args {
		for _, row := range w.rows("insert", i*perStatement, perStatement, 1, 1) {
			for _, v := range row.Columns {
				args[i] = append(args[i], plainValue(v))
			}
		}
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	ready, begin := make(chan struct{}, benchWorkers), make(chan struct{})
	for range benchWorkers {
		workers.Go(func() {
			exec := func(args []any) error { _, err := db.ExecContext(b.Context(), statement, args...); return err }
			if mode == "prepared" {
				stmt, err := db.PrepareContext(b.Context(), statement)
				if err != nil {
					b.Error(err)
				}
				defer stmt.Close()
				exec = func(args []any) error { _, err := stmt.ExecContext(b.Context(), args...); return err }
			}
			ready <- struct{}{}
			<-begin
			for i := int(next.Add(1)) - 1; i < len(args); i = int(next.Add(1)) - 1 {
				if err := exec(args[i]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	for range benchWorkers {
		<-ready
	}
	startCPU, start := processCPU(b), time.Now()
	close(begin)
	workers.Wait()
	rows := float64(len(args) * perStatement)
	speed, cpu = rows/time.Since(start).Seconds(), (processCPU(b)-startCPU)/rows*1e9
	mustExec(b, db, "TRUNCATE TABLE "+name)
	return speed, cpu
}

// plainValue is how a program would pass a value.
func plainValue(v event.Value) any {
	switch v.Kind() {
	case event.KindBit, event.KindEnum, event.KindSet:
		return v.Uint64()
	case event.KindFloat32:
		return v.Float64()
	case event.KindJSON:
		return v.Text()
	}
	return v.Any()
}

// processBytes returns how many bytes this process has allocated.
func processBytes() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// processCPU returns the CPU seconds that this process has used.
func processCPU(b *testing.B) float64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}
