package cdctest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	tikverr "github.com/tikv/client-go/v2/error"
	"github.com/tikv/client-go/v2/tikv"
	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/opt"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/schema"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
	"github.com/tidbcdc/tidbcdc/internal/spill"
	"github.com/tidbcdc/tidbcdc/sink"
)

// patience is how long a test waits for something that must happen.
func patience() time.Duration {
	if soakSeconds() > 0 {
		return 15 * time.Minute
	}
	return 2 * time.Minute
}

// Timeouts of the client, short so that what it does about time is seen soon.
// The latter two are for tests that ask for them: on a busy machine others could
// run into them.
const (
	resolveLockAfter = 50 * time.Millisecond
	silentAfter      = 2 * time.Second
	stuckAfter       = 600 * time.Millisecond
)

func silenceMatters(cfg *puller.Config) { cfg.SilentRegionTimeout = silentAfter }

func standstillMatters(cfg *puller.Config) { cfg.StuckRegionTimeout = stuckAfter }

// world is a cluster and a client of it that is put together like a changefeed,
// except for the timeouts.
type world struct {
	t *testing.T
	*cdctest.Cluster
	table  *cdctest.Table // shop.items, in a region of its own
	region uint64         // of table
	start  event.Ts       // of the feed
	quota  int64          // of the feed's memory in bytes, 0 for no bound
	files  spill.Files    // for what exceeds it; nil for the operating system's
	// leftRows: the client keeps, or may keep, something of transactions that have ended.
	leftRows bool

	kv        *tikv.KVStore // nil when the client has been killed
	pd        pd.Client
	puller    *puller.Client
	change    []func(*puller.Config)
	hangUp    func() // of the client
	validator *cdctest.Validator

	mu   sync.Mutex
	taps []*tap
	subs []*puller.Subscription
	feed chan error // the result of the feed, once

	saved  atomic.Uint64 // the feed's checkpoint
	killed *atomic.Bool  // the feed, which may not know yet
	end    func()        // of the feed

	sorters *sorter.Pool // of the feed
}

func newWorld(t *testing.T, cfg cdctest.Config, change ...func(*puller.Config)) *world {
	t.Helper()
	t.Parallel()
	return startWorld(t, cfg, change...)
}

func startWorld(t *testing.T, cfg cdctest.Config, change ...func(*puller.Config)) *world {
	t.Helper()
	cluster, err := cdctest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, Cluster: cluster, feed: make(chan error, 1), change: change}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	w.table = cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey(), cdctest.Text("name"))
	span := w.table.Span()
	cluster.SplitMany(span.Start, span.End)
	w.region = cluster.RegionAt(span.Start).ID
	w.start = cluster.Oracle().Now()
	w.dial()
	return w
}

// dial does what cdc.Dial does.
func (w *world) dial() {
	w.t.Helper()
	client, err := pd.NewClientWithContext(w.t.Context(), []string{w.PDAddr()}, pd.SecurityOption{},
		opt.WithInitMetricsOption(false))
	if err != nil {
		w.t.Fatal(err)
	}
	codec := tikv.NewCodecPDClient(tikv.ModeTxn, client)
	w.pd = codec
	w.kv, err = tikv.NewKVStore("test", codec, tikv.NewMockSafePointKV(), tikv.NewRPCClient(tikv.WithCodec(codec.GetCodec())))
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := puller.Config{
		Store: w.kv, PD: codec, ClusterID: w.ID(), Logger: w.logger(),
		RetryBase: time.Millisecond, RetryMax: 20 * time.Millisecond, ReconnectDelay: 5 * time.Millisecond,
		ResolveLockAfter: resolveLockAfter, ResolveLockInterval: 2 * resolveLockAfter,
		SilentRegionTimeout: time.Hour, StuckRegionTimeout: time.Hour,
	}
	for _, fn := range w.change {
		fn(&cfg)
	}
	w.puller = puller.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.puller.Run(ctx); !errors.Is(err, context.Canceled) {
			w.t.Errorf("puller: %v", err)
		}
	}()
	kv := w.kv
	w.hangUp = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := kv.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(w.hangUp)
}

func (w *world) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// run starts the feed from w.start. stop, or the end of the test, ends it.
func (w *world) run(inner sink.Sink) {
	w.t.Helper()
	w.validator = cdctest.Validate(inner, cdctest.ValidatorConfig{StartTs: w.start, Base: w.State(w.start)})
	w.saved.Store(uint64(w.start))
	w.resume()
}

// resume starts the feed from its stored checkpoint.
func (w *world) resume() {
	w.t.Helper()
	if w.kv == nil {
		w.dial()
	}
	w.killed = new(atomic.Bool)
	sorters := sorter.NewPool(w.quota, spill.Config{Dir: w.t.TempDir(), Name: "scenario", Files: w.files})
	w.sorters = sorters
	p := w.newPipeline(sorters, event.Ts(w.saved.Load()))
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.feed <- p.Run(ctx)
	}()
	w.end = sync.OnceFunc(func() {
		cancel(errEnd)
		<-ended
		if err := sorters.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(w.end)
}

// stop ends the feed, so that it can be resumed.
func (w *world) stop() {
	w.t.Helper()
	w.end()
	if err := <-w.feed; !errors.Is(err, errEnd) {
		w.t.Fatalf("cancelled, the feed ended with %v", err)
	}
	w.validator.Resume(event.Ts(w.saved.Load()))
}

var errEnd = errors.New("the test is over")

// kill ends the feed and the client as if their process had died: from a moment on
// it has neither written nor stored anything, and never got an answer. resume makes a
// new client.
func (w *world) kill() {
	w.t.Helper()
	w.killed.Store(true)
	w.end()
	if err := <-w.feed; !errors.Is(err, errEnd) && !errors.Is(err, errKilled) {
		w.t.Fatalf("killed, the feed ended with %v", err)
	}
	w.hangUp()
	w.kv = nil
	w.validator.Resume(event.Ts(w.saved.Load()))
}

var errKilled = errors.New("the process is dead")

// mortal is the sink of a feed that may be killed.
type mortal struct {
	*cdctest.Validator
	killed *atomic.Bool
}

// live calls the sink, unless the process has died; if it does so meanwhile, it
// does not hear the answer.
func (m *mortal) live(call func() error) error {
	if m.killed.Load() {
		return sink.Permanent(errKilled)
	}
	err := call()
	if m.killed.Load() {
		return sink.Permanent(errKilled)
	}
	return err
}

// WriteRows implements sink.Sink.
func (m *mortal) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	return m.live(func() error { return m.Validator.WriteRows(ctx, rows) })
}

// WriteDDL implements sink.Sink.
func (m *mortal) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	return m.live(func() error { return m.Validator.WriteDDL(ctx, ddl) })
}

// WriteCheckpoint implements sink.CheckpointWriter.
func (m *mortal) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	return m.live(func() error { return m.Validator.WriteCheckpoint(ctx, ts) })
}

// newPipeline wires the stages as a changefeed does.
func (w *world) newPipeline(sorters *sorter.Pool, start event.Ts) *pipeline.Pipeline {
	w.t.Helper()
	storage, err := schema.Load(w.t.Context(), &metaReader{w.kv, start}, start, schema.Config{
		ReaderAt: func(ts event.Ts) schema.Reader { return &metaReader{w.kv, ts} },
		Logger:   w.logger(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	jobs, err := storage.JobReader()
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := filter.New(filter.Config{})
	if err != nil {
		w.t.Fatal(err)
	}
	batchBytes := int64(4 << 20)
	if w.quota > 0 {
		batchBytes = min(batchBytes, w.quota/16)
	}
	killed := w.killed
	return pipeline.New(pipeline.Config{
		Schema: storage, ParseJob: jobs.ParseJob,
		CompleteJob: func(ctx context.Context, job *schema.Job) error {
			return storage.Complete(ctx, job, &metaReader{w.kv, job.FinishedTs})
		},
		Subscribe: func(span event.Span, startTs event.Ts, out puller.Receiver) pipeline.Subscription {
			return w.subscribe(span, startTs, out)
		},
		Sorters: sorters,
		Mounter: cdc.NewMounter(storage, cdc.MounterOptions{}), Filter: all, Sink: &mortal{w.validator, killed},
		SaveCheckpoint: func(_ context.Context, ts event.Ts) error {
			if killed.Load() {
				return errKilled
			}
			w.saved.Store(uint64(ts))
			return nil
		},
		StartTs: start, WriteConcurrency: 1, BatchRows: 1024, BatchBytes: batchBytes, CheckpointInterval: time.Millisecond,
		RetryTimeout: time.Minute, DrainTimeout: 10 * time.Second, Logger: w.logger(),
	})
}

// metaReader reads keys at a ts through the TiKV client, like a changefeed.
type metaReader struct {
	kv *tikv.KVStore
	ts event.Ts
}

func (r *metaReader) Get(ctx context.Context, key []byte) ([]byte, error) {
	entry, err := r.kv.GetSnapshot(uint64(r.ts)).Get(ctx, key)
	if tikverr.IsErrNotFound(err) {
		return nil, nil
	}
	return entry.Value, err
}

func (r *metaReader) Scan(_ context.Context, start, end []byte, fn func(key, value []byte) error) error {
	it, err := r.kv.GetSnapshot(uint64(r.ts)).Iter(start, end)
	if err != nil {
		return err
	}
	defer it.Close()
	for it.Valid() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return err
		}
		if err := it.Next(); err != nil {
			return err
		}
	}
	return nil
}

// subscribe puts a tap between the client and a receiver.
func (w *world) subscribe(span event.Span, startTs event.Ts, out puller.Receiver, opts ...puller.Option) *puller.Subscription {
	tp := &tap{t: w.t, span: span, start: startTs, out: out, resolved: startTs, rows: map[string]int{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taps = append(w.taps, tp)
	sub := w.puller.Subscribe(span, startTs, tp, opts...)
	w.subs = append(w.subs, sub)
	return sub
}

// tap checks what a client promises to a receiver: nothing at or below the
// resolved ts, nothing outside of the span, no put without a value, a resolved
// ts that only grows.
type tap struct {
	t     *testing.T
	span  event.Span
	start event.Ts
	out   puller.Receiver // may be nil

	mu       sync.Mutex
	rows     map[string]int // how often a change came
	resolved event.Ts
	called   bool
	failure  error
	gate     chan struct{} // if not nil, Receive waits until it is closed
}

func describe(kv event.RawKV) string {
	return fmt.Sprintf("%s %x at %d from %d: %x, before %x", kv.Op, kv.Key, kv.CommitTs, kv.StartTs, kv.Value, kv.OldValue)
}

func (p *tap) Receive(kvs []rawkv.Entry) {
	p.mu.Lock()
	gate := p.gate
	for i := range kvs {
		kv := kvs[i].RawKV()
		switch {
		case kv.CommitTs <= p.resolved:
			p.t.Errorf("%s: %s came after resolved ts %d", p.span, describe(kv), p.resolved)
		case !p.span.Contains(kv.Key):
			p.t.Errorf("%s: %s is outside", p.span, describe(kv))
		case kv.Op == event.OpPut && len(kv.Value) == 0:
			p.t.Errorf("%s: %s has no value", p.span, describe(kv))
		}
		p.rows[describe(kv)]++
	}
	p.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if p.out != nil {
		p.out.Receive(kvs)
	}
}

func (p *tap) Resolve(ts event.Ts) {
	p.mu.Lock()
	if p.called && ts <= p.resolved || ts < p.start {
		p.t.Errorf("%s: resolved ts %d after %d", p.span, ts, p.resolved)
	}
	p.called, p.resolved = true, ts
	p.mu.Unlock()
	if p.out != nil {
		p.out.Resolve(ts)
	}
}

func (p *tap) Fail(err error) {
	p.mu.Lock()
	p.failure = err
	p.mu.Unlock()
	if p.out != nil {
		p.out.Fail(err)
	}
}

// resolvedTs returns the last resolved ts of the span, 0 if there was none.
func (p *tap) resolvedTs() event.Ts {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.called {
		return 0
	}
	return p.resolved
}

func (p *tap) count() (changes, deliveries int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.rows {
		deliveries += n
	}
	return len(p.rows), deliveries
}

// tapOf returns the tap of a span, once there is one.
func (w *world) tapOf(span event.Span) *tap {
	w.t.Helper()
	var found *tap
	w.await("subscription of "+span.String(), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		i := slices.IndexFunc(w.taps, func(p *tap) bool { return slices.Equal(p.span.Start, span.Start) })
		if i >= 0 {
			found = w.taps[i]
		}
		return i >= 0
	})
	return found
}

// await waits for a condition; the ticks of the cluster let it be looked at.
func (w *world) await(what string, cond func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience())
	defer cancel()
	if err := w.Await(ctx, cond); err != nil {
		w.t.Fatalf("%s: %v; %v, %v", what, err, w.Err(), w.validator.Err())
	}
}

// sub waits until the store has exactly one subscription of a region, and, if
// not nil, another one than old.
func (w *world) sub(region uint64, old *cdctest.Subscription) *cdctest.Subscription {
	w.t.Helper()
	var found *cdctest.Subscription
	w.await(fmt.Sprintf("subscription of region %d", region), func() bool {
		all := w.Subscriptions(region)
		if len(all) != 1 || all[0] == old {
			return false
		}
		found = all[0]
		return true
	})
	return found
}

// normal is sub, initialised.
func (w *world) normal(region uint64, old *cdctest.Subscription) *cdctest.Subscription {
	w.t.Helper()
	var found *cdctest.Subscription
	w.await(fmt.Sprintf("initialised subscription of region %d", region), func() bool {
		all := w.Subscriptions(region)
		if len(all) != 1 || all[0] == old || !all[0].Initialized() {
			return false
		}
		found = all[0]
		return true
	})
	return found
}

// awaitCheckpoint waits until the sink has been told a checkpoint.
func (w *world) awaitCheckpoint(ts event.Ts) {
	w.t.Helper()
	w.await(fmt.Sprintf("checkpoint %d", ts), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		select {
		case err := <-w.feed:
			w.feed <- err
			w.t.Fatalf("the feed ended: %v", err)
		default:
		}
		return w.validator.Checkpoint() >= ts
	})
}

// verify waits until the feed has caught up, and holds everything that came
// against the cluster.
func (w *world) verify() {
	w.t.Helper()
	now := w.Oracle().Now()
	w.awaitCheckpoint(now)
	if err := w.validator.Err(); err != nil {
		w.t.Errorf("promises broken:\n%v", err)
	}
	if diff := w.State(now).Diff(w.validator.State(now)); len(diff) > 0 {
		w.t.Errorf("the cluster (first) and what came of it (second) differ at %d:", now)
		for _, line := range diff {
			w.t.Error(line)
		}
	}
	w.verifyMemory()
	w.verifyClient()
}

// verifyMemory looks for rows that the client keeps though every transaction up to the
// resolved ts of their region has ended, unless the test left some there.
func (w *world) verifyMemory() {
	w.t.Helper()
	if w.leftRows || w.Locked() > 0 {
		return
	}
	if n := w.pending(); n != 0 {
		w.t.Errorf("%d bytes of transactions are kept that have ended", n)
	}
}

// verifyClient compares the changes of every span up to its resolved ts with the
// store's, and looks for what the client may not ask of it.
func (w *world) verifyClient() {
	w.t.Helper()
	w.mu.Lock()
	taps := slices.Clone(w.taps)
	w.mu.Unlock()
	for _, p := range taps {
		resolved := p.resolvedTs()
		p.mu.Lock()
		if p.failure != nil {
			w.t.Errorf("%s failed: %v", p.span, p.failure)
		}
		for _, kv := range w.History(p.span, p.start, resolved) {
			if p.rows[describe(kv)] == 0 {
				w.t.Errorf("%s: lost %s", p.span, describe(kv))
			}
		}
		p.mu.Unlock()
	}
	if err := w.Err(); err != nil {
		w.t.Errorf("protocol broken:\n%v", err)
	}
}

// undisturbed fails if a subscription has ended: what happened to it is no
// reason to take it anew, though that would hide a wrong turn.
func (w *world) undisturbed(s *cdctest.Subscription) {
	w.t.Helper()
	if s.Ended() {
		w.t.Errorf("region %d has been subscribed anew", s.RegionID)
	}
}

// failure waits until the feed fails.
func (w *world) failure() error {
	w.t.Helper()
	select {
	case err := <-w.feed:
		w.feed <- err
		return err
	case <-time.After(patience()):
		w.t.Fatal("the feed has not failed")
		return nil
	}
}
