package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink/blackhole"
)

// BenchmarkCatchUp follows a table of 300,000 sysbench rows with a secondary
// index from before it was filled, and reports the client's cost per row. The
// cluster runs on the same cores in a process of its own.
func BenchmarkCatchUp(b *testing.B) {
	const rows = 300_000
	ctx := b.Context()
	db, err := cluster.DB("test", "")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{cluster.PD}})
	if err != nil {
		b.Fatal(err)
	}
	defer up.Close()
	start, err := up.CurrentTs(ctx)
	if err != nil {
		b.Fatal(err)
	}
	exec := func(q string) {
		if _, err := db.ExecContext(ctx, q); err != nil {
			b.Fatal(err)
		}
	}
	exec("DROP TABLE IF EXISTS sbtest1")
	exec("CREATE TABLE sbtest1 (id BIGINT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k))")
	const perStatement = 500
	for n := 0; n < rows; n += perStatement {
		values := make([]string, perStatement)
		for i := range values {
			id := n + i
			values[i] = fmt.Sprintf("(%d,%d,'%0119d','%059d')", id, id*7919%rows, id*104729, id)
		}
		exec("INSERT INTO sbtest1 VALUES " + strings.Join(values, ","))
	}
	end, err := up.CurrentTs(ctx)
	if err != nil {
		b.Fatal(err)
	}
	only, err := filter.New(filter.Config{Rules: []string{"test.sbtest1"}})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	cpu := cpuTime()
	for b.Loop() {
		sink := &blackhole.Sink{}
		feed, err := cdc.NewChangefeed(cdc.Config{ID: "bench", Upstream: up, Sink: sink, Filter: only, StartTs: start, TargetTs: end})
		if err != nil {
			b.Fatal(err)
		}
		if err := feed.Run(ctx); err != nil {
			b.Fatal(err)
		}
		if got := feed.Status().Rows; got != rows {
			b.Fatalf("%d rows arrived, want %d", got, rows)
		}
	}
	n := float64(b.N) * rows
	b.ReportMetric(n/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/n, "cpu-ns/row")
	b.ReportMetric(maxRSS()/(1<<20), "peak-RSS-MiB")
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
