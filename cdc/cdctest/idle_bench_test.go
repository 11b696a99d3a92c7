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

// serveIdleTables runs a cluster with a region for every table until its standard
// input ends. It prints PD's address. For every line that it reads its stores send
// their resolved ts, in a message for each table; it prints a ts before.
func serveIdleTables(n string) error {
	tables, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	c, err := cdctest.Start(cdctest.Config{ResolvedTsInterval: -1})
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
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(uint64(c.Oracle().Now()))
		c.Tick()
	}
	return errors.Join(in.Err(), c.Close())
}

// idleCluster is a process with serveIdleTables.
type idleCluster struct {
	b   *testing.B
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	pd  string
}

func startIdleCluster(ctx context.Context, b *testing.B, tables int) *idleCluster {
	c := &idleCluster{b: b, cmd: exec.CommandContext(ctx, os.Args[0])}
	c.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", idleTablesVar, tables))
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	c.pd = c.line()
	return c
}

func (c *idleCluster) line() string {
	s, err := c.out.ReadString('\n')
	if err != nil {
		c.b.Fatal(err)
	}
	return strings.TrimSpace(s)
}

// tick lets the stores send a resolved ts. It is above the one that is returned.
func (c *idleCluster) tick() event.Ts {
	if _, err := fmt.Fprintln(c.in); err != nil {
		c.b.Fatal(err)
	}
	ts, err := strconv.ParseUint(c.line(), 10, 64)
	if err != nil {
		c.b.Fatal(err)
	}
	return event.Ts(ts)
}

func (c *idleCluster) close() {
	_ = c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		c.b.Error(err)
	}
}

// BenchmarkIdleTables is a whole changefeed over 100,000 tables in as many regions
// in which nothing happens, with the cluster in another process. It reports the
// time and CPU time to start, until the first checkpoint; the memory of a table; its
// CPU time for each resolved ts, up to the checkpoint; and the CPU time of a second
// without any. IDLE_TABLES sets another number.
func BenchmarkIdleTables(b *testing.B) {
	tables := 100_000
	if n, err := strconv.Atoi(os.Getenv("IDLE_TABLES")); err == nil {
		tables = n
	}
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	cluster := startIdleCluster(ctx, b, tables)
	defer cluster.close()
	for b.Loop() {
		idle(ctx, b, cluster, tables)
	}
}

func idle(ctx context.Context, b *testing.B, cluster *idleCluster, tables int) {
	const ticks, rest = 8, 4 * time.Second
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	before, cpuBefore, began := heapInUse(), cpuTime(), time.Now()
	perTable := func(n int64) float64 { return float64(n) / float64(tables) }
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{cluster.pd}, Logger: log})
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
	// await returns when everything up to ts is known to be done, or after a while.
	await := func(ts event.Ts, most time.Duration) (reached bool) {
		timeout := time.After(most)
		for {
			select {
			case checkpoint := <-checkpoints:
				if checkpoint >= ts {
					return true
				}
			case <-timeout:
				return false
			case err := <-ended:
				b.Fatal(err)
			}
		}
	}
	first := cluster.tick()
	for !await(first, time.Second) {
		cluster.tick()
	}
	b.ReportMetric(time.Since(began).Seconds(), "s-to-start")
	b.ReportMetric(perTable((cpuTime() - cpuBefore).Microseconds()), "start-cpu-µs/table")
	if st := feed.Status(); st.Tables != tables || st.ScannedRegions < tables {
		b.Fatalf("%+v", st)
	}
	const patience = 10 * time.Second
	for !await(cluster.tick(), patience) { // a store that is busy with the last tick leaves one out
	}
	b.ReportMetric(perTable(heapInUse()-before), "B/table")
	cpuBefore = cpuTime()
	for range ticks {
		if !await(cluster.tick(), time.Minute) {
			b.Fatalf("the checkpoint does not rise: %+v", feed.Status())
		}
	}
	b.ReportMetric(perTable((cpuTime()-cpuBefore).Nanoseconds())/ticks, "cpu-ns/table/tick")
	cpuBefore = cpuTime()
	await(^event.Ts(0), rest)
	b.ReportMetric(float64((cpuTime()-cpuBefore).Microseconds())/rest.Seconds(), "cpu-µs/s-without-ticks")
	stop(errEnd)
	if err := <-ended; !errors.Is(err, errEnd) {
		b.Fatal(err)
	}
	if err := up.Close(); err != nil {
		b.Fatal(err)
	}
}

// checkpointSink passes checkpoints on, the last if there are more than are read.
func checkpointSink(to chan event.Ts) sink.Sink {
	return &checkpointWriter{RowFunc: func(context.Context, []*event.RowChanged) error { return nil }, to: to}
}

type checkpointWriter struct {
	sink.RowFunc
	to chan event.Ts
}

// WriteCheckpoint implements sink.CheckpointWriter. Calls of it do not overlap.
func (w *checkpointWriter) WriteCheckpoint(_ context.Context, ts event.Ts) error {
	select {
	case <-w.to:
	default:
	}
	w.to <- ts // there is room: nobody else sends
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
