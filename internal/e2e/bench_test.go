package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink/blackhole"
)

const sbtestRows = 300_000

// fillSbtest makes a table of sysbench rows with a secondary index, and returns
// timestamps from before and after it was made.
func fillSbtest(b *testing.B, up *cdc.Upstream) (start, end event.Ts) {
	b.Helper()
	ctx := b.Context()
	db, err := cluster.DB("test", "")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	exec := func(q string) {
		if _, err := db.ExecContext(ctx, q); err != nil {
			b.Fatal(err)
		}
	}
	now := func() event.Ts {
		ts, err := up.CurrentTs(ctx)
		if err != nil {
			b.Fatal(err)
		}
		return ts
	}
	exec("DROP TABLE IF EXISTS sbtest1")
	start = now()
	exec("CREATE TABLE sbtest1 (id BIGINT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k))")
	const perStatement = 500
	for n := 0; n < sbtestRows; n += perStatement {
		values := make([]string, perStatement)
		for i := range values {
			id := n + i
			values[i] = fmt.Sprintf("(%d,%d,'%0119d','%059d')", id, id*7919%sbtestRows, id*104729, id)
		}
		exec("INSERT INTO sbtest1 VALUES " + strings.Join(values, ","))
	}
	return start, now()
}

func dialBench(b *testing.B) *cdc.Upstream {
	b.Helper()
	up, err := cdc.Dial(b.Context(), cdc.UpstreamConfig{PD: []string{cluster.PD}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = up.Close() })
	return up
}

// BenchmarkCatchUp follows a table of 300,000 sysbench rows from before it was
// filled, and reports the client's cost per row. The cluster runs on the same cores in
// a process of its own.
func BenchmarkCatchUp(b *testing.B) {
	ctx := b.Context()
	up := dialBench(b)
	start, end := fillSbtest(b, up)
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
		if got := feed.Status().Rows; got != sbtestRows {
			b.Fatalf("%d rows arrived, want %d", got, sbtestRows)
		}
	}
	n := float64(b.N) * sbtestRows
	b.ReportMetric(n/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/n, "cpu-ns/row")
}

// BenchmarkDaemonCatchUp is BenchmarkCatchUp by a daemon, a new one for each op. Its CPU
// time is that since it was ready; rows per second count from the request that makes the
// changefeed to its end.
func BenchmarkDaemonCatchUp(b *testing.B) {
	program := build(b, "./cmd/cdc")
	start, end := fillSbtest(b, dialBench(b))
	var took, cpu time.Duration
	memory := 0.0
	for b.Loop() {
		d := newDaemon(b, program, "")
		d.start()
		idle := processCPU(b, d.PID())
		began := time.Now()
		spec := map[string]any{
			"changefeed_id": "bench", "sink_uri": "blackhole://", "start_ts": start, "target_ts": end, "filter_rules": []string{"test.sbtest1"},
		}
		if err := d.call(b.Context(), http.MethodPost, "/api/v1/changefeeds", spec, nil); err != nil {
			b.Fatal(err)
		}
		waitFor(b, "the changefeed to end", func() bool {
			state, _, err := d.changefeed(b.Context(), "bench")
			return err == nil && state == "finished"
		})
		took += time.Since(began)
		cpu += processCPU(b, d.PID()) - idle
		memory = max(memory, maxRSS(d.PID()))
		d.end(d.Stop)
	}
	n := float64(b.N) * sbtestRows
	b.ReportMetric(n/took.Seconds(), "rows/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns/row")
	b.ReportMetric(memory/(1<<20), "peak-RSS-MiB")
}

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// processCPU is what another process has used, in steps of ten milliseconds.
func processCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip(err) // not Linux
	}
	const user, system, perSecond = 11, 12, 100 // fields behind the name, clock ticks
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	ticks := 0
	for _, i := range []int{user, system} {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / perSecond
}

// maxRSS is the most memory that a process has had, in bytes.
func maxRSS(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
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
