package cdctest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// idleTablesVar makes the test binary a cluster of so many tables.
const idleTablesVar = "CDCTEST_IDLE_TABLES"

// idleTick is the time between two resolved ts. Each is a message for every table.
const idleTick = 3 * time.Second

// serveIdleTables runs a cluster with a region for every table until its standard
// input ends. It prints PD's address.
func serveIdleTables(n string) error {
	tables, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	c, err := cdctest.Start(cdctest.Config{ResolvedTsInterval: idleTick})
	if err != nil {
		return err
	}
	var keys [][]byte
	for i := range tables {
		t := c.CreateTable("shop", fmt.Sprintf("t%06d", i), cdctest.Int("id").PrimaryKey(), cdctest.Text("name"))
		keys = append(keys, t.Span().Start)
	}
	c.SplitMany(keys...)
	fmt.Println(c.PDAddr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, c.Close())
}

// BenchmarkIdleTables is a whole changefeed over 100,000 tables in as many regions
// in which nothing happens, with the cluster in another process. It reports the
// time to start, up to idleTick of which is spent waiting, the memory of a table,
// and its CPU time for each resolved ts. IDLE_TABLES sets another number.
func BenchmarkIdleTables(b *testing.B) {
	const ticks = 4
	tables := 100_000
	if n, err := strconv.Atoi(os.Getenv("IDLE_TABLES")); err == nil {
		tables = n
	}
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", idleTablesVar, tables))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	}()
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	for b.Loop() {
		before, cpuBefore := heapInUse(), cpuTime()
		began := time.Now()
		up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{strings.TrimSpace(addr)}, Logger: log})
		if err != nil {
			b.Fatal(err)
		}
		checkpoints := make(chan event.Ts, 1)
		feed, err := cdc.NewChangefeed(cdc.Config{ID: "idle", Upstream: up, Sink: checkpointSink(checkpoints), Logger: log})
		if err != nil {
			b.Fatal(err)
		}
		runCtx, stop := context.WithCancelCause(ctx)
		ended := make(chan error, 1)
		go func() { ended <- feed.Run(runCtx) }()
		next := func() {
			select {
			case <-checkpoints:
			case err := <-ended:
				b.Fatal(err)
			}
		}
		next() // the first above the start: all tables have been scanned
		b.ReportMetric(time.Since(began).Seconds(), "s-to-start")
		b.ReportMetric(float64((cpuTime()-cpuBefore).Microseconds())/float64(tables), "start-cpu-µs/table")
		next()
		if st := feed.Status(); st.Tables != tables || st.ScannedRegions < tables {
			b.Fatalf("%+v", st)
		}
		b.ReportMetric(float64(heapInUse()-before)/float64(tables), "B/table")
		cpuBefore = cpuTime()
		for range ticks {
			next()
		}
		b.ReportMetric(float64((cpuTime()-cpuBefore).Nanoseconds())/float64(tables)/ticks, "cpu-ns/table/tick")
		stop(errEnd)
		if err := <-ended; !errors.Is(err, errEnd) {
			b.Fatal(err)
		}
		if err := up.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// checkpointSink passes checkpoints on that are a second apart.
func checkpointSink(to chan<- event.Ts) sink.Sink {
	return &checkpointWriter{RowFunc: func(context.Context, []*event.RowChanged) error { return nil }, to: to}
}

type checkpointWriter struct {
	sink.RowFunc
	to   chan<- event.Ts
	last event.Ts
}

// WriteCheckpoint implements sink.CheckpointWriter.
func (w *checkpointWriter) WriteCheckpoint(_ context.Context, ts event.Ts) error {
	if ts > w.last.Add(500*time.Millisecond) {
		w.last = ts
		select {
		case w.to <- ts:
		default:
		}
	}
	return nil
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
