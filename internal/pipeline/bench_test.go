package pipeline_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// oneTable resolves every id to the table of the recorded rows.
type oneTable struct{ *event.TableInfo }

func (t oneTable) Table(int64, event.Ts) (*event.TableInfo, error) { return t.TableInfo, nil }

// loadNarrow returns a sysbench table and the values of some of its rows.
func loadNarrow(b *testing.B) (table oneTable, values [][]byte) {
	dir := filepath.Join("..", "rowcodec", "testdata")
	info, err := os.ReadFile(filepath.Join(dir, "narrow.table.json"))
	if err != nil {
		b.Fatal(err)
	}
	if table.TableInfo, err = event.ParseTableInfo(info, 9, "d"); err != nil {
		b.Fatal(err)
	}
	file, err := os.Open(filepath.Join(dir, "narrow.insert.jsonl.gz"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	zr, err := gzip.NewReader(file)
	if err != nil {
		b.Fatal(err)
	}
	for lines := bufio.NewScanner(zr); lines.Scan(); {
		var line struct{ Value string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			b.Fatal(err)
		}
		value, err := hex.DecodeString(line.Value)
		if err != nil {
			b.Fatal(err)
		}
		values = append(values, value)
	}
	return table, values
}

// BenchmarkQuota catches up with 2 GiB of changes in two tables through a
// quota of 64 MiB, while the sink stands still until everything is read. The
// resolved ts rises only then ("scan", changes in no order, as a region's scan
// delivers them), or all the time ("follow"). The metrics are what the process
// grew by, by the operating system's count and by the collector's; what was on
// disk at most; and the time per change, to and fro. The first should stay below
// twice the quota.
func BenchmarkQuota(b *testing.B) {
	for _, name := range []string{"scan", "follow"} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				catchUp(b, name == "follow")
			}
		})
	}
}

func catchUp(b *testing.B, follow bool) {
	const total, quota, tables, batch = 2 << 30, 64 << 20, 2, 64
	w := newWorld(b)
	table, values := loadNarrow(b)
	sorters := sorter.NewPool(quota, spill.Config{Dir: b.TempDir(), Name: "bench"})
	n := int(total / rawkv.SizeOf(int64(19+len(values[0]))))
	sink := &stalledSink{release: make(chan struct{}), done: make(chan struct{}), want: n}
	w.cfg.Sorters, w.cfg.Mounter, w.cfg.Sink = sorters, cdc.NewMounter(table, cdc.MounterOptions{}), sink
	w.cfg.BatchRows, w.cfg.BatchBytes, w.cfg.WriteConcurrency = 1024, quota/16, 1

	memory := watchMemory()
	begin := time.Now()
	p := pipeline.New(w.cfg)
	ctx, cancel := context.WithCancelCause(b.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for len(w.subscribed()) < tables+2 {
		runtime.Gosched()
	}
	var disk int64
	var group sync.WaitGroup
	for reader := range tables { // each reads a table
		group.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(reader)))
			for i := reader * batch; i < n; i += tables * batch {
				id := int64(1 + reader)
				kvs := make([]rawkv.Entry, 0, batch)
				for j := i; j < min(i+batch, n); j++ {
					ts := startTs + 1 + event.Ts(j)
					if !follow {
						ts = startTs + 1 + event.Ts(rng.IntN(n))
					}
					key := append(make([]byte, 0, 250), event.TableSpan(id).Start...)
					key = binary.BigEndian.AppendUint64(key, uint64(j)|1<<63)
					data := append(key, values[j%len(values)]...)
					kvs = append(kvs, rawkv.New(event.OpPut, ts-1, ts, data, uint32(len(key)), uint32(len(data)-len(key))))
				}
				w.source(id).out.Receive(kvs)
				if follow && i/batch%1024 < tables {
					for _, id := range []int64{jobTable, histTbl, id} {
						w.source(id).out.Resolve(startTs + event.Ts(i))
					}
				}
			}
		})
	}
	group.Wait()
	read := time.Since(begin)
	_, disk = sorters.Usage()
	w.resolveAll(startTs + 1 + event.Ts(n))
	close(sink.release)
	select {
	case <-sink.done:
	case err := <-done:
		b.Fatal(err)
	}
	elapsed := time.Since(begin)
	rss, heap := memory()
	cancel(errStopped)
	if err := <-done; !errors.Is(err, errStopped) {
		b.Error(err)
	}
	if err := sorters.Close(); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(rss)/(1<<20), "rss-MiB")
	b.ReportMetric(float64(heap)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(disk)/(1<<20), "disk-MiB")
	b.ReportMetric(float64(read.Nanoseconds())/float64(n), "read-ns/event")
	b.ReportMetric(float64((elapsed-read).Nanoseconds())/float64(n), "write-ns/event")
}

// subscribed returns the ids that have been subscribed.
func (w *world) subscribed() (ids []int64) {
	w.locked(func() {
		for id := range w.sources {
			ids = append(ids, id)
		}
	})
	return ids
}

// stalledSink waits for its release, then takes rows until it has all.
type stalledSink struct {
	release, done chan struct{}
	want          int
}

func (s *stalledSink) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	<-s.release
	if s.want -= len(rows); s.want == 0 {
		close(s.done)
	}
	return nil
}

func (s *stalledSink) WriteDDL(context.Context, *event.DDL) error { return nil }

// watchMemory begins to watch the memory of the process. The function that it
// returns tells by how much it grew at most: resident, 0 where the system does
// not tell, and in the heap.
func watchMemory() func() (rss, heap int64) {
	debug.FreeOSMemory()
	// Linux sets the peak back to the present size.
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	rssBefore := residentPeak()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		most := uint64(0)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				peak <- most
				return
			case <-tick.C:
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	return func() (rss, heap int64) {
		close(stop)
		return residentPeak() - rssBefore, int64(<-peak) - int64(before.HeapAlloc)
	}
}

func residentPeak() (bytes int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range splitLines(status) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
}

func splitLines(b []byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for line := range bytes.Lines(b) {
			if !yield(string(line)) {
				return
			}
		}
	}
}
