package cdc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/etcdserver"
	"github.com/tidbcdc/tidbcdc/sink"
)

// captures are several captures over one fake TiDB cluster and a real etcd.
type captures struct {
	t        *testing.T
	upstream *cdctest.Cluster
	etcd     *etcdserver.Server
	client   *clientv3.Client // the test's own
	target   *sharedSink
	log      *slog.Logger
	nodes    []*clusterNode
	joined   int // how many there have been
}

// clusterNode is one capture, with its own way to etcd.
type clusterNode struct {
	*cdc.Capture
	id     string
	proxy  *etcdserver.Proxy
	etcd   *clientv3.Client
	up     *cdc.Upstream
	cancel context.CancelCauseFunc
	ended  chan error
}

func newCaptures(t *testing.T, n int) *captures {
	t.Helper()
	if _, err := etcdserver.Find(); err != nil {
		if etcdserver.Required() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	server, err := etcdserver.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	upstream, err := cdctest.Start(cdctest.Config{Stores: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() })
	c := &captures{t: t, upstream: upstream, etcd: server, log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if c.client, err = cdc.DialEtcd(cdc.UpstreamConfig{PD: []string{server.Addr}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.client.Close() })
	for range n {
		c.join()
	}
	return c
}

// watch sets the sink up: from here on, changes are checked.
func (c *captures) watch() event.Ts {
	start := c.upstream.Oracle().Now()
	c.watchFrom(start)
	return start
}

func (c *captures) watchFrom(start event.Ts) {
	c.target = &sharedSink{
		Validator: cdctest.Validate(nil, cdctest.ValidatorConfig{StartTs: start, Base: c.upstream.State(start), Concurrent: true}),
		acked:     map[string]bool{}, writers: map[int64]string{}, ddls: map[event.Ts]int{}, ddlBy: map[event.Ts]string{}, log: c.log,
	}
}

// join adds a capture and waits until it is well.
func (c *captures) join() *clusterNode {
	c.t.Helper()
	c.joined++
	n := &clusterNode{id: fmt.Sprintf("c%d", c.joined), ended: make(chan error, 1)}
	var err error
	if n.proxy, err = etcdserver.NewProxy(c.etcd.Addr); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { n.proxy.Close() })
	if n.etcd, err = cdc.DialEtcd(cdc.UpstreamConfig{PD: []string{n.proxy.Addr}}); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { n.etcd.Close() })
	if n.up, err = cdc.Dial(c.t.Context(), cdc.UpstreamConfig{PD: []string{c.upstream.PDAddr()}, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { n.up.Close() })
	n.Capture, err = cdc.NewCapture(cdc.CaptureConfig{
		Upstream: n.up, Etcd: n.etcd, SessionTTL: 4 * time.Second, DataDir: c.t.TempDir(), ID: n.id, Address: n.id + ":8300",
		Openers: sink.Openers{"test": func(context.Context, *url.URL, sink.Config) (sink.Sink, io.Closer, error) {
			return writer{n.id, c.target}, closeFunc(func() {}), nil
		}},
		CheckpointInterval: 20 * time.Millisecond, RetryTimeout: 3 * time.Second, Logger: c.log, ErrorCode: writeErrorCode,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(c.t.Context()))
	n.cancel = cancel
	go func() { n.ended <- n.Run(ctx); close(n.ended) }()
	c.t.Cleanup(func() { c.leave(n) })
	c.nodes = append(c.nodes, n)
	c.await("capture "+n.id+" is well", func() bool { return n.Health(c.t.Context()) == nil })
	return n
}

// leave ends a capture properly.
func (c *captures) leave(n *clusterNode) {
	n.cancel(errStop)
	if err, ok := <-n.ended; ok && !errors.Is(err, errStop) {
		c.t.Errorf("capture %s: Run returned %v", n.id, err)
	}
	c.nodes = slices.DeleteFunc(c.nodes, func(m *clusterNode) bool { return m == n })
}

func (c *captures) await(what string, cond func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), 40*time.Second)
	defer cancel()
	if err := c.upstream.Await(ctx, cond); err != nil {
		c.dump()
		c.t.Fatalf("waited in vain until %s", what)
	}
}

// dump logs what etcd holds.
func (c *captures) dump() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), 2*time.Second)
	defer cancel()
	resp, err := c.client.Get(ctx, "/tidbcdc/", clientv3.WithPrefix())
	if err != nil {
		c.t.Log(err)
		return
	}
	for _, kv := range resp.Kvs {
		c.t.Logf("%s (lease %x): %s", kv.Key, kv.Lease, kv.Value)
	}
}

// owner waits for a capture that is the owner, and has others than not.
func (c *captures) owner(not ...*clusterNode) *clusterNode {
	c.t.Helper()
	var owner *clusterNode
	c.await("there is an owner", func() bool {
		for _, n := range c.nodes {
			if o, err := n.Owner(c.t.Context()); err == nil && o.ID == n.id && !slices.Contains(not, n) {
				owner = n
				return true
			}
		}
		return false
	})
	return owner
}

// create makes a changefeed of everything.
func (c *captures) create(start event.Ts, change ...func(*cdc.Spec)) {
	c.t.Helper()
	spec := cdc.Spec{ID: "feed", SinkURI: "test://", StartTs: start}
	for _, fn := range change {
		fn(&spec)
	}
	if _, err := c.owner().CreateChangefeed(c.t.Context(), spec); err != nil {
		c.t.Fatal(err)
	}
}

// info is the changefeed as the owner sees it.
func (c *captures) info() cdc.ChangefeedInfo {
	for _, n := range c.nodes {
		if info, err := n.Changefeed(c.t.Context(), "feed"); err == nil {
			return info
		}
	}
	return cdc.ChangefeedInfo{}
}

// tables returns how many tables each capture has.
func (c *captures) tables() map[string]int {
	out := map[string]int{}
	for _, p := range c.info().Tasks {
		out[p.CaptureID] = len(p.TableIDs)
	}
	return out
}

// settled waits until the checkpoint has passed all that has been committed, and
// checks that it has arrived.
func (c *captures) settled() {
	c.t.Helper()
	now := c.upstream.Oracle().Now()
	c.await("the checkpoint passes what is committed", func() bool { return c.info().CheckpointTs >= now })
	for _, line := range c.upstream.State(now).Diff(c.target.State(now)) {
		c.t.Error(line)
	}
	if err := c.target.Err(); err != nil {
		c.t.Errorf("promises broken:\n%v", err)
	}
	if err := c.upstream.Err(); err != nil {
		c.t.Error(err)
	}
	if c.t.Failed() {
		c.dump()
		c.t.FailNow()
	}
}

// sharedSink is where all captures write. It sees to it that a table has one writer
// at a time, and leaves out what is repeated after a capture was lost, which a
// Validator takes for a mistake.
type sharedSink struct {
	*cdctest.Validator
	log *slog.Logger
	// block, if set, stands before every write until it is closed or the write is
	// given up.
	block, blockDDL atomic.Pointer[chan struct{}]
	// fail, if set, is what every write of rows returns.
	fail atomic.Pointer[error]

	mu       sync.Mutex
	acked    map[string]bool // changes, by key and commit ts
	writers  map[int64]string
	ddls     map[event.Ts]int
	ddlBy    map[event.Ts]string // who executes it
	repeated int
	problems []string
}

type writer struct {
	capture string
	*sharedSink
}

func (s *sharedSink) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.problems) > 0 {
		return fmt.Errorf("%q", s.problems)
	}
	return s.Validator.Err()
}

// lacks reports whether the change of a table at ts has not arrived.
func (s *sharedSink) lacks(table int64, ts event.Ts) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.acked[fmt.Sprintf("%d %d", table, ts)]
}

// writer returns who is at a write of a table.
func (s *sharedSink) writer(table int64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writers[table]
}

// writtenBy returns a table that a capture is at a write of, 0 if there is none.
func (s *sharedSink) writtenBy(capture string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for table, by := range s.writers {
		if by == capture {
			return table
		}
	}
	return 0
}

// executing returns who is at a DDL.
func (s *sharedSink) executing(ddl event.Ts) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ddlBy[ddl]
}

func wait(ctx context.Context, block *chan struct{}) error {
	if block == nil {
		return nil
	}
	select {
	case <-*block:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func changeKey(r *event.RowChanged) string { return fmt.Sprintf("%x %d", r.Key, r.CommitTs) }

func (w writer) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	table := rows[0].PhysicalTableID
	w.mu.Lock()
	if other := w.writers[table]; other != "" {
		w.problems = append(w.problems, fmt.Sprintf("table %d is written by %s and %s at once", table, other, w.capture))
	}
	w.writers[table] = w.capture
	var fresh []*event.RowChanged
	for _, r := range rows {
		if w.acked[changeKey(r)] {
			w.repeated++
			w.log.Info("repeated", "by", w.capture, "table", table, "commit_ts", r.CommitTs)
		} else {
			fresh = append(fresh, r)
		}
	}
	w.mu.Unlock()
	err := wait(ctx, w.block.Load())
	if fail := w.fail.Load(); err == nil && fail != nil {
		err = *fail
	}
	if err == nil && len(fresh) > 0 {
		err = w.Validator.WriteRows(ctx, fresh)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.writers, table)
	if err == nil {
		for _, r := range fresh {
			w.acked[changeKey(r)] = true
			w.acked[fmt.Sprintf("%d %d", r.PhysicalTableID, r.CommitTs)] = true
		}
	}
	return err
}

func (w writer) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	w.mu.Lock()
	if other := w.ddlBy[ddl.CommitTs]; other != "" {
		w.problems = append(w.problems, fmt.Sprintf("DDL of %d is executed by %s and %s at once", ddl.CommitTs, other, w.capture))
	}
	w.ddlBy[ddl.CommitTs] = w.capture
	done := w.ddls[ddl.CommitTs] > 0
	w.mu.Unlock()
	err := wait(ctx, w.blockDDL.Load())
	if err == nil && !done {
		err = w.Validator.WriteDDL(ctx, ddl)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ddlBy, ddl.CommitTs)
	if err == nil {
		w.ddls[ddl.CommitTs]++
	}
	return err
}

func (w writer) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	return w.Validator.WriteCheckpoint(ctx, ts)
}

// load writes rows into tables until stop is called, which returns when it has ended.
func (c *captures) load(tables []*cdctest.Table) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				tables[rng.IntN(len(tables))].Insert(i, "x")
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (c *captures) createTables(n int) []*cdctest.Table {
	tables := make([]*cdctest.Table, n)
	for i := range tables {
		tables[i] = c.upstream.CreateTable("shop", fmt.Sprintf("t%d", i), cdctest.Int("id").PrimaryKey(), cdctest.Text("v"))
	}
	return tables
}

func TestCapturesShareTables(t *testing.T) {
	c := newCaptures(t, 3)
	tables := c.createTables(9)
	c.create(c.watch())
	stop := c.load(tables[3:])
	c.await("everybody has its part", func() bool {
		got := c.tables()
		return got["c1"] == 3 && got["c2"] == 3 && got["c3"] == 3
	})
	c.await("everybody tells of its part", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *clusterNode) bool {
			st := n.LocalStatus()["feed"]
			return st.Tables != 3 || st.BarrierTs == 0
		})
	})
	// DDLs of tables that are with several captures.
	tables[0].AddColumn(cdctest.Text("extra"))
	more := c.upstream.CreateTable("shop", "more", cdctest.Int("id").PrimaryKey())
	more.Insert(1)
	tables[1].Truncate()
	tables[1].Insert(1, "y")
	tables[2].Drop()
	c.await("tables come and go", func() bool {
		got := c.tables()
		return got["c1"]+got["c2"]+got["c3"] == 9
	})
	stop()
	c.settled()
	if c.target.repeated > 0 {
		t.Errorf("%d changes repeated although nothing failed", c.target.repeated)
	}
	for ts, times := range c.target.ddls {
		if times != 1 {
			t.Errorf("DDL of %d executed %d times", ts, times)
		}
	}
}
