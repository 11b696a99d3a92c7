package cdc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/blackhole"
)

// node is a Capture over a fake cluster.
type node struct {
	t *testing.T
	*cdc.Capture
	cluster *cdctest.Cluster
	cfg     cdc.CaptureConfig
	sinks   *sinks
	cancel  context.CancelCauseFunc
	ended   chan error
}

// sinks are what the scheme "test" opens, by changefeed.
type sinks struct {
	mu     sync.Mutex
	write  map[string]error // what writes return, by changefeed
	open   error
	rows   map[string]int
	opened map[string]int
	closed map[string]int
	config sink.Config // of the last
}

func (s *sinks) openSink(_ context.Context, _ *url.URL, cfg sink.Config) (sink.Sink, io.Closer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != nil {
		return nil, nil, s.open
	}
	s.opened[cfg.Changefeed]++
	s.config = cfg
	return sink.RowFunc(func(_ context.Context, rows []*event.RowChanged) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.write[cfg.Changefeed]; err != nil {
			return err
		}
		s.rows[cfg.Changefeed] += len(rows)
		return nil
	}), closeFunc(func() { s.mu.Lock(); defer s.mu.Unlock(); s.closed[cfg.Changefeed]++ }), nil
}

type closeFunc func()

func (f closeFunc) Close() error { f(); return nil }

func (s *sinks) count(changefeed string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[changefeed]
}

func (s *sinks) failWrites(changefeed string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write[changefeed] = err
}

func (s *sinks) failOpen(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = err
}

func newNode(t *testing.T, change ...func(*cdc.CaptureConfig)) *node {
	t.Helper()
	cluster, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cluster.Close() })
	up, err := cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{cluster.PDAddr()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	s := &sinks{write: map[string]error{}, rows: map[string]int{}, opened: map[string]int{}, closed: map[string]int{}}
	cfg := cdc.CaptureConfig{
		Upstream: up, DataDir: t.TempDir(), Address: "127.0.0.1:8300", Version: "v1",
		Openers:            sink.Openers{"test": s.openSink, "blackhole": blackhole.Open},
		CheckpointInterval: time.Millisecond, RetryTimeout: 10 * time.Millisecond,
		ErrorCode: func(error) string { return "CDC:ErrTest" },
	}
	for _, c := range change {
		c(&cfg)
	}
	n := &node{t: t, cluster: cluster, cfg: cfg, sinks: s}
	n.start()
	t.Cleanup(n.stop)
	return n
}

// start runs a capture on what the last has left.
func (n *node) start() {
	n.t.Helper()
	capture, err := cdc.NewCapture(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(n.t.Context()))
	n.Capture, n.cancel, n.ended = capture, cancel, make(chan error, 1)
	go func() { n.ended <- capture.Run(ctx) }()
	n.await("the capture is ready", func() bool { return n.Health(n.t.Context()) == nil })
}

var errStop = errors.New("the test stops the capture")

func (n *node) stop() {
	n.cancel(errStop)
	if err, ok := <-n.ended; ok && !errors.Is(err, errStop) {
		n.t.Errorf("Run returned %v", err)
	}
	close(n.ended)
	n.cancel = func(error) {}
}

// await waits for a condition. The cluster looks again whenever something happens in
// it, and resolved ts happen all the time.
func (n *node) await(what string, cond func() bool) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.t.Context()), time.Minute)
	defer cancel()
	if err := n.cluster.Await(ctx, cond); err != nil {
		n.t.Fatalf("waited in vain until %s", what)
	}
}

func (n *node) create(spec cdc.Spec) cdc.ChangefeedInfo {
	n.t.Helper()
	info, err := n.CreateChangefeed(n.t.Context(), spec)
	if err != nil {
		n.t.Fatal(err)
	}
	return info
}

func (n *node) get(id string) cdc.ChangefeedInfo {
	n.t.Helper()
	info, err := n.Changefeed(n.t.Context(), id)
	if err != nil {
		n.t.Fatal(err)
	}
	return info
}

func (n *node) awaitState(id string, want cdc.State) cdc.ChangefeedInfo {
	n.t.Helper()
	var info cdc.ChangefeedInfo
	n.await(id+" is "+string(want), func() bool { info = n.get(id); return info.State == want })
	return info
}

func TestCaptureLifeCycle(t *testing.T) {
	n := newNode(t)
	ctx := t.Context()
	table := n.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey(), cdctest.Text("name"))
	info := n.create(cdc.Spec{ID: "a", SinkURI: "test://user:secret@host/"})
	if info.Spec.StartTs == 0 || info.CheckpointTs != info.Spec.StartTs || info.State != cdc.StateNormal || info.CreatorVersion != "v1" {
		t.Errorf("created %+v", info)
	}
	if strings.Contains(info.Spec.SinkURI, "secret") {
		t.Errorf("the sink's password is shown: %s", info.Spec.SinkURI)
	}
	table.Insert(1, "x")
	n.await("a row arrives", func() bool { return n.sinks.count("a") == 1 })
	at := n.cluster.Oracle().Now()
	n.await("the checkpoint advances", func() bool { return n.get("a").CheckpointTs > at })
	if st := n.LocalStatus()["a"]; st.Tables != 1 || st.Received != 1 || st.Rows != 1 || st.BarrierTs <= at {
		t.Errorf("local status %+v", st)
	}
	if st := n.cfg.Upstream.Status(); st.Received == 0 {
		t.Errorf("upstream %+v, want rows", st)
	}
	processors, err := n.Processors(ctx)
	if err != nil || len(processors) != 1 || !slices.Equal(processors[0].TableIDs, []int64{table.ID()}) {
		t.Errorf("processors %+v, %v; want one with table %d", processors, err, table.ID())
	}

	if err := n.PauseChangefeed(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	n.await("the sink is closed", func() bool { n.sinks.mu.Lock(); defer n.sinks.mu.Unlock(); return n.sinks.closed["a"] == 2 })
	paused := n.get("a")
	if local := n.LocalStatus(); paused.State != cdc.StateStopped || len(paused.Tasks) != 0 || len(local) != 0 {
		t.Errorf("paused: %+v, local status %+v", paused, local)
	}
	table.Insert(2, "y")
	if err := n.UpdateChangefeed(ctx, "a", func(s *cdc.Spec) error { s.Mounter.WorkerNum = 32; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := n.ResumeChangefeed(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	n.await("what happened meanwhile arrives", func() bool { return n.sinks.count("a") >= 2 })

	if err := n.RemoveChangefeed(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Changefeed(ctx, "a"); !errors.Is(err, cdc.ErrChangefeedNotFound) {
		t.Errorf("after its removal: %v", err)
	}
	if ts, ok := n.cluster.ServiceSafePoint("tidbcdc-default-changefeed-a"); ok {
		t.Errorf("the service GC safe point is still there: %d", ts)
	}
}

func TestCaptureFinishes(t *testing.T) {
	n := newNode(t)
	table := n.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey())
	table.Insert(1)
	start := n.cluster.Oracle().Now()
	table.Insert(2)
	n.create(cdc.Spec{
		ID: "a", SinkURI: "test://", StartTs: start, TargetTs: n.cluster.Oracle().Now(),
		CaseSensitive: true, TimeZone: "Asia/Shanghai", Sink: sink.Options{Protocol: "avro"},
	})
	info := n.awaitState("a", cdc.StateFinished)
	if n.sinks.count("a") != 1 || info.CheckpointTs != info.Spec.TargetTs || info.Error != nil {
		t.Errorf("%d rows, %+v", n.sinks.count("a"), info)
	}
	if c := n.sinks.config; !c.CaseSensitive || c.TimeZone.String() != "Asia/Shanghai" || c.Options.Protocol != "avro" || c.Changefeed != "a" || c.Cluster != "default" {
		t.Errorf("the sink was opened with %+v", c)
	}
}

// TestCaptureRestart: what ran goes on, what was paused stays, checkpoints count.
func TestCaptureRestart(t *testing.T) {
	n := newNode(t)
	ctx := t.Context()
	table := n.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey())
	for _, id := range []string{"runs", "paused", "failed"} {
		n.create(cdc.Spec{ID: id, SinkURI: "test://u:secret@h/", MemoryQuota: 8 << 20, Filter: filter.Config{Rules: []string{"shop.*"}}})
	}
	if err := n.PauseChangefeed(ctx, "paused"); err != nil {
		t.Fatal(err)
	}
	n.sinks.failWrites("failed", sink.Permanent(errors.New("no such table")))
	table.Insert(1)
	failed := n.awaitState("failed", cdc.StateFailed)
	at := n.cluster.Oracle().Now()
	n.await("a checkpoint above the row", func() bool { return n.get("runs").CheckpointTs > at })
	rows := n.sinks.count("runs")
	before := n.get("runs")
	n.stop()
	if _, err := n.Changefeeds(ctx); !errors.Is(err, cdc.ErrNotReady) {
		t.Errorf("after Run: %v", err)
	}
	table.Insert(2)
	n.start()
	n.await("the next row arrives", func() bool { return n.sinks.count("runs") > rows })
	if got := n.sinks.count("runs"); got != rows+1 {
		t.Errorf("%d rows after the restart, want %d: the checkpoint was not used", got, rows+1)
	}
	after := n.get("runs")
	if after.CheckpointTs < before.CheckpointTs || !after.CreateTime.Equal(before.CreateTime) || after.Spec.MemoryQuota != 8<<20 {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if got := n.get("paused"); got.State != cdc.StateStopped {
		t.Errorf("paused is %s", got.State)
	}
	if got := n.get("failed"); got.State != cdc.StateFailed || got.Error.Message != failed.Error.Message || got.Error.Code != "CDC:ErrTest" || got.Error.Addr != "127.0.0.1:8300" {
		t.Errorf("failed is %s with %+v, want %+v", got.State, got.Error, failed.Error)
	}
	n.sinks.failWrites("failed", nil)
	for _, id := range []string{"paused", "failed"} {
		if err := n.ResumeChangefeed(ctx, id); err != nil {
			t.Fatal(err)
		}
		n.await(id+" catches up", func() bool { return n.sinks.count(id) == 2 })
		if got := n.get(id); got.State != cdc.StateNormal || got.Error != nil {
			t.Errorf("%s is %+v", id, got)
		}
	}
}

func TestCaptureDirectoryIsForOne(t *testing.T) {
	n := newNode(t)
	other, err := cdc.NewCapture(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second capture in the directory: %v", err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, cdc.ErrRunning) {
		t.Errorf("a second Run: %v", err)
	}
}
