package perf_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/blackhole"
)

func dial(b *testing.B, pd string) *cdc.Upstream {
	b.Helper()
	up, err := cdc.Dial(b.Context(), cdc.UpstreamConfig{PD: []string{pd}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { up.Close() })
	return up
}

// BenchmarkChangefeed takes a million rows of sysbench's shape from a store in
// another process to a sink that drops them: receiving, matching, sorting,
// mounting, filtering. An op is all of it. Run it with -cpu 1,2: rows/s is by the
// clock, while the store has what is left of the machine; rows/cpu-s is what one
// core would do.
func BenchmarkChangefeed(b *testing.B) {
	const rows = 1_000_000
	cluster := startCluster(b, rows)
	up := dial(b, cluster.pd)
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime()
	for b.Loop() {
		feed, err := cdc.NewChangefeed(cdc.Config{
			ID: "bench", Upstream: up, Sink: &blackhole.Sink{}, StartTs: cluster.start, TargetTs: cluster.end,
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := feed.Run(b.Context()); err != nil {
			b.Fatal(err)
		}
		if got := feed.Status().Rows; got != rows {
			b.Fatalf("%d rows arrived, want %d", got, rows)
		}
	}
	n := float64(b.N) * rows
	cpu = cpuTime() - cpu
	b.ReportMetric(n/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(n/cpu.Seconds(), "rows/cpu-s")
	b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns/row")
	b.ReportMetric(maxRSS()/(1<<20), "peak-RSS-MiB")
}

// BenchmarkLatency measures the time from a commit to the sink's WriteRows while
// the store sends resolved ts every 200 ms, as TiKV does at its fastest
// setting in common use: with a commit now and then, and with as many as a
// writer can make.
func BenchmarkLatency(b *testing.B) {
	const interval = 200 * time.Millisecond
	for _, load := range []struct {
		name  string
		every time.Duration // between two commits
		rows  int           // of a transaction
	}{{"light", 20 * time.Millisecond, 1}, {"heavy", time.Millisecond, 100}} {
		b.Run(load.name, func(b *testing.B) {
			c, err := cdctest.Start(cdctest.Config{ResolvedTsInterval: interval})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			table := sysbenchTable(c)
			arrivals := &arrivalSink{committed: map[event.Ts]time.Time{}}
			ctx, cancel := context.WithCancel(b.Context())
			feed, err := cdc.NewChangefeed(cdc.Config{ID: "bench", Upstream: dial(b, c.PDAddr()), Sink: arrivals, StartTs: c.Oracle().Now()})
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- feed.Run(ctx) }()
			commits := max(b.N, 200)
			tick := time.NewTicker(load.every)
			defer tick.Stop()
			id := int64(0)
			b.ResetTimer()
			for range commits {
				<-tick.C
				txn := c.Begin()
				for range load.rows {
					txn.Insert(table, sysbenchRow(id)...)
					id++
				}
				arrivals.commit(txn)
			}
			for arrivals.missing() > 0 {
				select {
				case <-tick.C:
				case err := <-done:
					b.Fatal(err)
				}
			}
			b.StopTimer()
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				b.Error(err)
			}
			b.ReportMetric(arrivals.percentile(50), "p50-ms")
			b.ReportMetric(arrivals.percentile(99), "p99-ms")
			b.ReportMetric(float64(interval.Milliseconds()), "resolved-ts-interval-ms")
		})
	}
}

// arrivalSink notes how long commits took to arrive.
type arrivalSink struct {
	mu        sync.Mutex
	committed map[event.Ts]time.Time // not arrived yet
	took      []time.Duration
}

// commit commits txn and notes when. The lock keeps the row from arriving
// before that.
func (s *arrivalSink) commit(txn *cdctest.Txn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed[txn.Commit()] = time.Now()
}

func (s *arrivalSink) missing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.committed)
}

// WriteRows implements sink.Sink.
func (s *arrivalSink) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rows {
		if at, ok := s.committed[r.CommitTs]; ok {
			s.took = append(s.took, now.Sub(at))
			delete(s.committed, r.CommitTs)
		}
	}
	return nil
}

// WriteDDL implements sink.Sink.
func (s *arrivalSink) WriteDDL(context.Context, *event.DDL) error { return nil }

// percentile returns milliseconds.
func (s *arrivalSink) percentile(p int) float64 {
	slices.Sort(s.took)
	return float64(s.took[(len(s.took)-1)*p/100].Microseconds()) / 1000
}

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// maxRSS is the most memory that this process has had, in bytes.
func maxRSS() float64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			return kb * 1024
		}
	}
	return 0
}

// BenchmarkTenChangefeeds follows one table with ten changefeeds that began
// together, and reports the CPU time for a row that reaches all of them: a
// table's changes are read from TiKV once.
func BenchmarkTenChangefeeds(b *testing.B) {
	for _, feeds := range []int{1, 10} {
		b.Run(fmt.Sprintf("changefeeds=%d", feeds), func(b *testing.B) { followTogether(b, feeds) })
	}
}

func followTogether(b *testing.B, feeds int) {
	const rowsPerOp = 20_000
	cluster := startWritingCluster(b)
	up := dial(b, cluster.pd)
	ctx, cancel := context.WithCancel(b.Context())
	var group sync.WaitGroup
	var running []*cdc.Changefeed
	for i := range feeds {
		feed, err := cdc.NewChangefeed(cdc.Config{ID: fmt.Sprint("bench", i), Upstream: up, Sink: &blackhole.Sink{}})
		if err != nil {
			b.Fatal(err)
		}
		running = append(running, feed)
		group.Go(func() { _ = feed.Run(ctx) })
	}
	received := func(rows int64) func() bool {
		return func() bool {
			for _, f := range running {
				if f.Status().Rows < rows {
					return false
				}
			}
			return true
		}
	}
	write := func(rows int) {
		before := running[0].Status().Rows
		cluster.write(b, rows)
		await(b, received(before+int64(rows)))
	}
	await(b, func() bool {
		for _, f := range running {
			if f.Status().ResolvedTs == 0 {
				return false
			}
		}
		return true
	})
	write(100) // and by now they share
	b.ResetTimer()
	cpu := cpuTime()
	for b.Loop() {
		write(rowsPerOp)
	}
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N*rowsPerOp), "cpu-ns/row")
	b.StopTimer()
	cancel()
	group.Wait()
}

// await polls: a benchmark has nothing to be woken by.
func await(b *testing.B, done func() bool) {
	for !done() {
		select {
		case <-b.Context().Done():
			b.Fatal("the benchmark was stopped")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
