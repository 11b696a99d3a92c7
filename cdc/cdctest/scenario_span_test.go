package cdctest_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/sink"
)

// quiet is a cluster that sends no resolved ts by itself.
func quiet(t *testing.T) *world {
	t.Helper()
	return newWorld(t, cdctest.Config{ResolvedTsInterval: -1})
}

// 30: resolved ts that fall back, and batches that name unknown regions.
func TestResolvedFallback(t *testing.T) {
	w := quiet(t)
	w.SplitMany(w.table.Key(3), w.table.Key(6))
	span := w.table.Span()
	sub := w.subscribe(span, w.start, nil)
	defer sub.Close()
	p := w.tapOf(span)
	var subs []*cdctest.Subscription
	var ids []uint64
	for _, key := range [][]byte{w.table.Key(0), w.table.Key(3), w.table.Key(6)} {
		s := w.normal(w.RegionAt(key).ID, nil)
		subs, ids = append(subs, s), append(ids, s.RegionID)
	}
	const unknown = 1 << 40
	t1, t2, t3 := w.Oracle().Now(), w.Oracle().Now(), w.Oracle().Now()
	subs[0].SendResolved(t2, ids...)
	w.awaitTap(p, t2)
	subs[1].SendResolved(t1, ids[1])                  // back, in one region
	subs[0].SendResolved(t3, unknown, ids[0])         // the unknown one first
	subs[0].SendResolved(t3, ids[1], unknown, ids[2]) // the last two regions
	w.awaitTap(p, t3)
	if got := sub.Progress(); got.ResolvedTs != t3 || got.Locked != 3 {
		t.Errorf("progress %+v", got)
	}
	w.verifyClient()
}

// awaitTap waits until a span's resolved ts is exactly ts.
func (w *world) awaitTap(p *tap, ts event.Ts) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience())
	defer cancel()
	ticker := time.NewTicker(time.Millisecond) // the cluster is quiet and tells nothing
	defer ticker.Stop()
	for p.resolvedTs() != ts {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			w.t.Fatalf("resolved ts %d has not come, but %d", ts, p.resolvedTs())
		}
	}
}

// 31: resolved ts before INITIALIZED, after an error, and of another request.
func TestResolvedOutOfPlace(t *testing.T) {
	w := quiet(t)
	span := w.table.Span()
	w.HoldScans()
	sub := w.subscribe(span, w.start, nil)
	defer sub.Close()
	p := w.tapOf(span)
	s := w.sub(w.region, nil)
	early := w.Oracle().Now()
	w.table.Insert(1, "a") // above early
	far := w.Oracle().Now().Add(time.Hour)
	s.SendResolved(far)
	s.Fail(cdctest.Congested(w.region))
	s.SendResolved(far)
	s = w.sub(w.region, s)
	s.SendResolved(far)
	stranger := *s
	stranger.RequestID += 1000
	s.FinishScan()
	w.normal(w.region, nil)
	stranger.SendResolved(far)
	s.SendResolved(early)
	w.awaitTap(p, early)
	w.table.Insert(2, "b")
	w.Tick()
	now := s.ResolvedTs()
	w.awaitTap(p, now)
	if n, _ := p.count(); n != 2 {
		t.Errorf("%d changes, want 2", n)
	}
	w.verifyClient()
}

// 32: a span is given up and taken again on the same stream, while the store
// still sends rows under the old request.
func TestResubscribe(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	span := w.table.Span()
	first := w.subscribe(span, w.start, nil)
	old := w.normal(w.region, nil)
	oldTap := w.tapOf(span)
	first.Close()
	<-first.Done()
	w.mu.Lock()
	w.taps = nil
	w.mu.Unlock()
	before, _ := oldTap.count()
	second := w.subscribe(span, w.start, nil)
	defer second.Close()
	p := w.tapOf(span)
	key := w.table.Key(1)
	old.SendRows(fakePrewrite(key, 5), commitRow(key, 5, 6))
	old.SendResolved(w.Oracle().Now().Add(time.Hour))
	s := w.normal(w.region, old)
	if s.RequestID == old.RequestID {
		t.Errorf("request %d is used again", s.RequestID)
	}
	old.SendRows(fakePrewrite(key, 7), commitRow(key, 7, w.Oracle().Now()))
	ts := w.table.Insert(1, "a")
	w.await("resolved ts", func() bool { return p.resolvedTs() > ts })
	if n, deliveries := p.count(); n != 1 || deliveries != 1 {
		t.Errorf("%d changes in %d deliveries, want 1", n, deliveries)
	}
	if after, _ := oldTap.count(); after != before {
		t.Error("the closed subscription got a change")
	}
	if w.Streams() != 1 {
		t.Errorf("%d streams, want the one that was there", w.Streams())
	}
	w.verifyClient()
}

// 33: two spans in one region on one stream have resolved ts of their own.
func TestSpansOfOneRegion(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	other := w.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey())
	region := w.RegionAt(other.Span().Start)
	if region.ID != w.RegionAt(event.TableSpan(other.ID()+1).Start).ID {
		t.Fatal("the spans are in different regions")
	}
	third := w.CreateTable("shop", "clients", cdctest.Int("id").PrimaryKey())
	w.start = w.Oracle().Now()
	w.run(nil)
	a, b := w.tapOf(other.Span()), w.tapOf(third.Span())
	w.await("progress", func() bool { return a.resolvedTs() > w.start && b.resolvedTs() > w.start })
	txn := w.Begin().Insert(other, 1).Prewrite()
	ts := third.Insert(1)
	w.await("progress of the span without a lock", func() bool { return b.resolvedTs() > ts })
	if a.resolvedTs() > txn.StartTs {
		t.Errorf("resolved ts %d is above the lock at %d", a.resolvedTs(), txn.StartTs)
	}
	txn.Commit()
	w.verify()
	if w.Streams() != 1 {
		t.Errorf("%d streams, want 1", w.Streams())
	}
}

// 35: a region of which nothing is heard any more, not even a resolved ts.
func TestSilentRegion(t *testing.T) {
	w := newWorld(t, cdctest.Config{}, silenceMatters)
	left, right := w.Split(w.table.Key(3))
	w.run(nil)
	l, r := w.normal(left.ID, nil), w.normal(right.ID, nil)
	w.Silence(left.ID)
	began := time.Now()
	w.sub(left.ID, l)
	if time.Since(began) < silentAfter/2 {
		t.Errorf("subscribed anew after %v of silence", time.Since(began))
	}
	w.table.Insert(1, "a")
	w.Unsilence(left.ID)
	w.verify()
	if r.Ended() {
		t.Error("the other region was subscribed anew")
	}
}

// 36: a receiver that takes its time stops the stream for all spans that share
// it; the store gives them up, and afterwards nothing is missing.
func TestSlowReceiver(t *testing.T) {
	w := newWorld(t, cdctest.Config{QueueBytes: 1 << 20})
	other := w.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey(), cdctest.Text("note"))
	w.start = w.Oracle().Now()
	gate := make(chan struct{})
	w.run(nil)
	p := w.tapOf(w.table.Span())
	old := w.normal(w.region, nil)
	w.await("the other table", func() bool { return w.tapOf(other.Span()).resolvedTs() > 0 })
	p.mu.Lock()
	p.gate = gate
	p.mu.Unlock()
	note := strings.Repeat("n", 64<<10)
	n := int64(0)
	for ; !old.Ended() && n < 1000; n++ {
		w.table.Insert(n, note)
		other.Insert(n, note)
	}
	if !old.Ended() {
		t.Errorf("%d rows of %d bytes fit into a queue of 1 MiB", n, len(note))
	}
	p.mu.Lock()
	p.gate = nil
	p.mu.Unlock()
	close(gate)
	w.verify()
}

// 36: a sink that stands still, for longer than a region may be silent. Reading
// goes on, into the quota and then onto the disk, and afterwards nothing is missing.
func TestSlowSink(t *testing.T) {
	w := newWorld(t, cdctest.Config{}, silenceMatters)
	w.quota = 1 << 20
	gate := make(chan struct{})
	w.run(sink.RowFunc(func(ctx context.Context, _ []*event.RowChanged) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}))
	sub := w.normal(w.region, nil)
	p := w.tapOf(w.table.Span())
	const rows = 400
	note := strings.Repeat("n", 32<<10)
	most := int64(0)
	for i := range int64(rows) {
		w.table.Insert(i, note)
		memory, _ := w.sorters.Usage()
		most = max(most, memory)
	}
	last := w.Oracle().Now()
	w.await("everything at the client", func() bool { return p.resolvedTs() >= last })
	began := time.Now()
	w.await("more time than a silent region has", func() bool { return time.Since(began) > 2*silentAfter })
	memory, disk := w.sorters.Usage()
	t.Logf("%d KiB in memory at most, %d KiB on disk", max(most, memory)>>10, disk>>10)
	if max(most, memory) > 2*w.quota || disk < rows*int64(len(note))/2 {
		t.Errorf("%d bytes in memory, %d on disk", max(most, memory), disk)
	}
	if n := w.validator.Checkpoint(); n >= last {
		t.Errorf("checkpoint %d while the sink stands still", n)
	}
	close(gate)
	w.verify()
	w.undisturbed(sub)
}

// 37: old stores send the rows of the whole region.
func TestRowsOutsideOfSpan(t *testing.T) {
	w := newWorld(t, cdctest.Config{Old: cdctest.Old{WholeRegion: true, Version: "6.5.0"}})
	other := w.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey())
	third := w.CreateTable("shop", "clients", cdctest.Int("id").PrimaryKey())
	w.start = w.Oracle().Now()
	other.Insert(1)
	w.run(nil)
	w.verify()
	w.Begin().Insert(other, 2).Insert(third, 2).Commit()
	w.verify() // a tap of a span fails with a row of another one
}

// 38: GC passes the checkpoint while the changefeed does not run.
func TestGCPassesCheckpoint(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	up, err := cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{w.PDAddr()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	checked := cdctest.Validate(nil, cdctest.ValidatorConfig{StartTs: w.start, Base: w.State(w.start)})
	ts := w.table.Insert(1, "a")
	checkpoints := &cdc.MemoryCheckpoints{}
	run := func(target event.Ts) error {
		feed, err := cdc.NewChangefeed(cdc.Config{
			ID: "gc", Upstream: up, Sink: checked, StartTs: w.start, TargetTs: target, Checkpoints: checkpoints,
		})
		if err != nil {
			t.Fatal(err)
		}
		return feed.Run(t.Context())
	}
	if err := run(ts); err != nil {
		t.Fatal(err)
	}
	if _, held := w.ServiceSafePoint("tidbcdc-changefeed-gc"); held {
		t.Error("a finished changefeed holds a safe point")
	}
	w.table.Update(1, "b") // lost to GC
	last := w.table.Update(1, "c")
	w.AdvanceGC(w.Oracle().Now())
	if err := run(last); !errors.Is(err, cdc.ErrSnapshotLostByGC) || errors.Is(err, cdc.ErrStartTsBeforeGC) {
		t.Errorf("ran on after GC: %v", err)
	}
	if rows, _, _ := checked.Counts(); rows != 1 || checked.Err() != nil {
		t.Errorf("%d rows came, %v", rows, checked.Err())
	}
}

// 40: DDLs among rows. The rows of the table come while the store of the DDL
// jobs is held up, so they must wait for it.
func TestDDLInterleaving(t *testing.T) {
	w := newWorld(t, cdctest.Config{Stores: 2})
	w.table.Insert(1, "before the column")
	jobs := w.RegionAt(event.TableSpan(1<<48 - 2).Start)
	w.TransferLeader(w.region, w.other(jobs.Leader))
	w.run(nil)
	w.normal(w.region, nil)
	w.verify()
	w.PauseStreams(jobs.Leader)
	below := w.table.Insert(2, "below")
	added := w.table.AddColumn(cdctest.Int("stock").NotNull().WithDefault("7"))
	w.table.Insert(3, "above", 9)
	w.table.Update(1, "the old image has the default", 8)
	p := w.tapOf(w.table.Span())
	w.await("the rows at the client", func() bool { n, _ := p.count(); return n == 4 })
	if rows, ddls, _ := w.validator.Counts(); rows > 2 || ddls > 0 {
		t.Errorf("%d rows and %d DDLs were written before the DDL was known", rows, ddls)
	}
	w.ResumeStreams(jobs.Leader)
	w.verify()
	if below >= added {
		t.Errorf("row at %d, DDL at %d", below, added)
	}
	w.table.Truncate()
	w.table.Insert(1, "of the new table", 1)
	w.table.Rename("goods")
	w.table.Update(1, "renamed", 2)
	w.table.DropColumn("stock")
	w.table.Insert(2, "without a column")
	dropped := w.CreateTable("shop", "short_lived", cdctest.Int("id").PrimaryKey())
	dropped.Insert(1)
	dropped.Drop()
	w.CreateTable("fair", "stalls", cdctest.Uint("id").PrimaryKey(), cdctest.Float("size"), cdctest.Bytes("plan")).
		Insert(uint64(1<<63), 1.5, []byte{0, 1})
	w.DropSchema("fair")
	w.verify()
	if _, ddls, _ := w.validator.Counts(); ddls != 9 {
		t.Errorf("%d DDLs, want 9", ddls)
	}
}

// 41: while a cluster is flashed back, resolved ts stand still and all rows are
// written again; heartbeats go on, so nobody subscribes anew.
func TestFlashback(t *testing.T) {
	w := newWorld(t, cdctest.Config{}, silenceMatters)
	for i := range int64(100) {
		w.table.Insert(i, "a")
	}
	w.run(nil)
	sub := w.normal(w.region, nil)
	w.verify()
	w.FreezeResolved()
	stood := sub.ResolvedTs()
	txn := w.Begin()
	for i := range int64(100) {
		if i%2 == 0 {
			txn.DeleteRow(w.table, i)
		} else {
			txn.Update(w.table, i, "of old")
		}
	}
	txn.OnePhase()
	began := time.Now()
	w.await("more time than a silent region has", func() bool { return time.Since(began) > 2*silentAfter })
	if sub.Ended() || sub.ResolvedTs() != stood {
		t.Errorf("subscribed anew: %t, resolved ts moved by %d", sub.Ended(), sub.ResolvedTs()-stood)
	}
	w.ThawResolved()
	w.verify()
}

// 42: INITIALIZED twice, and a PREWRITE again after its COMMIT.
func TestRepeatedRows(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.run(nil)
	s := w.normal(w.region, nil)
	txn := w.Begin().Insert(w.table, 1, long)
	txn.Commit()
	dangling := fakePrewrite(w.table.Key(1), txn.StartTs)
	dangling.Value = []byte("again")
	s.SendRows(&cdcpb.Event_Row{Type: cdcpb.Event_INITIALIZED}, dangling)
	w.leftRows = true
	w.Begin().Update(w.table, 1, long+"er").Commit()
	w.verify()
	if w.pending() == 0 {
		t.Error("the dangling prewrite has not arrived")
	}
	w.undisturbed(s)
	s.Fail(cdctest.EpochNotMatch())
	w.normal(w.region, s)
	w.leftRows = false // the dangling one has gone with the subscription
	w.verify()
}

// Neighbouring spans share what PD is asked. When what it said is out of date, the
// stores say so.
func TestNeighbours(t *testing.T) {
	w := quiet(t)
	const spans = 200
	key := func(i int) []byte { return w.table.Key(int64(10 * i)) }
	var keys [][]byte
	for i := range spans + 1 {
		keys = append(keys, key(i+1))
	}
	w.SplitMany(keys...)
	follow := func(i int) *puller.Subscription {
		return w.subscribe(event.Span{Start: keys[i], End: keys[i+1]}, w.start, nil)
	}
	scans := w.RegionScans()
	for i := range spans - 1 {
		defer follow(i).Close()
	}
	for i := range spans - 1 {
		w.normal(w.RegionAt(keys[i]).ID, nil)
	}
	// One will do for all, unless workers get their turn in another order than they took tasks.
	const workers = 8
	if n := w.RegionScans() - scans; n > workers {
		t.Errorf("PD was asked %d times for the regions of %d spans", n, spans-1)
	}
	left, right := w.Split(w.table.Key(10*spans + 5))
	sub := follow(spans - 1)
	defer sub.Close()
	for _, r := range []cdctest.Region{left, right} {
		w.normal(r.ID, nil)
	}
	if got := sub.Progress(); got.Ranges != 2 {
		t.Errorf("progress %+v", got)
	}
}
