package cdctest_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
)

// Scenarios of the change data protocol that a client must survive. Every test
// ends with verify: all changes have come, in order, once or repeated as they
// may be, and the client has asked nothing that the protocol forbids.

// 1: versions in the scan, newest first, then a live transaction.
func TestBasic(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.table.Insert(1, "a")
	w.table.Update(1, "b")
	txn := w.Begin().Insert(w.table, 2, "c").Prewrite()
	w.run(nil)
	p := w.tapOf(w.table.Span())
	w.await("resolved ts at the lock", func() bool { return p.resolvedTs() == txn.StartTs })
	if changes, _ := p.count(); changes != 2 {
		t.Errorf("%d changes before the commit, want 2", changes)
	}
	sub := w.normal(w.region, nil)
	if sub.ResolvedTs() != txn.StartTs {
		t.Errorf("resolved ts %d, lock at %d", sub.ResolvedTs(), txn.StartTs)
	}
	txn.Commit()
	w.verify()
	w.undisturbed(sub)
	if changes, _ := p.count(); changes != 3 {
		t.Errorf("%d changes, want 3", changes)
	}
}

// 2: a split in the middle of the scan.
func TestSplitDuringScan(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	for i := range int64(6) {
		w.table.Insert(i, "x")
	}
	w.HoldScans()
	w.run(nil)
	old := w.sub(w.region, nil)
	old.Scan(3)
	p := w.tapOf(w.table.Span())
	w.await("three rows", func() bool { n, _ := p.count(); return n == 3 })
	left, right := w.Split(w.table.Key(3))
	l, r := w.sub(left.ID, nil), w.sub(right.ID, old)
	if l.CheckpointTs != w.start || r.CheckpointTs != w.start {
		t.Errorf("checkpoints %d and %d, want the start %d", l.CheckpointTs, r.CheckpointTs, w.start)
	}
	l.FinishScan()
	w.normal(left.ID, nil)
	w.Tick()
	w.await("a resolved ts of the left part", func() bool { return l.ResolvedTs() > w.start })
	if ts := p.resolvedTs(); ts != 0 {
		t.Errorf("resolved ts %d while the right part is being scanned", ts)
	}
	w.ReleaseScans()
	w.verify()
	if changes, deliveries := p.count(); changes != 6 || deliveries != 9 {
		t.Errorf("%d changes in %d deliveries, want 6 in 9", changes, deliveries)
	}
}

// 3: a split after the scan; the parts go on from the region's resolved ts.
func TestSplitAfterInit(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.run(nil)
	old := w.normal(w.region, nil)
	p := w.tapOf(w.table.Span())
	w.await("progress", func() bool { return p.resolvedTs() > w.start })
	w.HoldScans()
	before := p.resolvedTs()
	left, right := w.Split(w.table.Key(3))
	l, r := w.sub(left.ID, nil), w.sub(right.ID, old)
	stood := p.resolvedTs()
	if l.CheckpointTs != r.CheckpointTs || l.CheckpointTs != stood || stood < before {
		t.Errorf("checkpoints %d and %d, resolved ts before %d, after %d", l.CheckpointTs, r.CheckpointTs, before, stood)
	}
	l.FinishScan()
	w.normal(left.ID, nil)
	w.await("a resolved ts of the left part", func() bool { return l.ResolvedTs() > stood })
	if ts := p.resolvedTs(); ts != stood {
		t.Errorf("resolved ts moved from %d to %d without the right part", stood, ts)
	}
	w.ReleaseScans()
	w.verify()
}

// 4: a merge; between its halves PD still tells of both regions.
func TestMerge(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	left, right := w.Split(w.table.Key(3))
	w.run(nil)
	l, r := w.normal(left.ID, nil), w.normal(right.ID, nil)
	w.table.Insert(1, "left")
	w.table.Insert(5, "right")
	w.await("progress", func() bool { return l.ResolvedTs() > w.start })
	attempts := make(chan struct{}, 1<<16)
	w.OnRegister(func(s *cdctest.Subscription) *cdcpb.Error {
		if s.RegionID == left.ID {
			attempts <- struct{}{}
		}
		return nil
	})
	w.PrepareMerge(left.ID)
	for range 3 {
		<-attempts
	}
	if r.Ended() {
		t.Error("the target has ended before the merge was committed")
	}
	merged := w.CommitMerge(left.ID, right.ID)
	m := w.normal(merged.ID, r)
	if m.CheckpointTs > l.ResolvedTs() {
		t.Errorf("checkpoint %d is above the left part's resolved ts %d", m.CheckpointTs, l.ResolvedTs())
	}
	if !m.Span.Contains(w.table.Key(1)) || !m.Span.Contains(w.table.Key(5)) {
		t.Errorf("the merged region is subscribed for %s only", m.Span)
	}
	w.table.Update(1, "merged")
	w.verify()
}

// 5: a leader moves and the error says where to. PD does not know yet.
func TestLeaderTransfer(t *testing.T) {
	w := newWorld(t, cdctest.Config{Stores: 2})
	w.run(nil)
	old := w.normal(w.region, nil)
	w.FreezePD()
	w.TransferLeader(w.region, w.other(old.Store))
	if s := w.normal(w.region, old); s.Store == old.Store || s.CheckpointTs < old.ResolvedTs() {
		t.Errorf("subscribed on store %d from %d, was on %d with resolved ts %d", s.Store, s.CheckpointTs, old.Store, old.ResolvedTs())
	}
	w.ThawPD()
	w.table.Insert(1, "a")
	w.verify()
}

// other returns a store that is not the given one.
func (w *world) other(store uint64) uint64 {
	for _, id := range w.Stores() {
		if id != store {
			return id
		}
	}
	w.t.Fatal("there is one store only")
	return 0
}

// countRegistrations counts those of a region, of all for region 0, from now on.
func (w *world) countRegistrations(region uint64) *atomic.Int64 {
	n := new(atomic.Int64)
	w.OnRegister(func(s *cdctest.Subscription) *cdcpb.Error {
		if region == 0 || s.RegionID == region {
			n.Add(1)
		}
		return nil
	})
	return n
}

// 6: an election takes its time; nobody knows a leader. The store has been asked, and
// then PD again and again, when there is one at last.
func TestLeaderUnknown(t *testing.T) {
	w := newWorld(t, cdctest.Config{Stores: 3})
	w.run(nil)
	old := w.normal(w.region, nil)
	n := w.countRegistrations(w.region)
	began := time.Now()
	w.LoseLeader(w.region)
	scans := w.RegionScans()
	w.await("attempts", func() bool { return n.Load() >= 2 && w.RegionScans() >= scans+8 })
	txn := w.Begin().Insert(w.table, 1, "during the election")
	w.TransferLeader(w.region, w.other(old.Store))
	w.normal(w.region, old)
	txn.Commit()
	w.verify()
	// 1 ms and up to 20 ms between attempts.
	if most := 10 + int64(time.Since(began)/(5*time.Millisecond)); n.Load() > most {
		t.Errorf("%d registrations in %v", n.Load(), time.Since(began))
	}
}

// 6: regions without a leader, also in PD's eyes, do not hold up others.
func TestLeadersUnknown(t *testing.T) {
	w := newWorld(t, cdctest.Config{Stores: 3})
	const regions = 20 // more than there are workers
	w.splitTable(regions)
	w.run(nil)
	w.await("all regions", func() bool { _, n := w.regionsOfTable(); return n == regions })
	var lost []uint64
	span := w.table.Span()
	for _, r := range w.Regions() {
		if span.Contains(r.Start) && r.ID != w.region {
			w.LoseLeader(r.ID)
			lost = append(lost, r.ID)
		}
	}
	scans := w.RegionScans()
	w.await("questions to PD", func() bool { return w.RegionScans() > scans+len(lost) })
	began := time.Now()
	s := w.sub(w.region, nil)
	s.Fail(cdctest.EpochNotMatch())
	w.normal(w.region, s)
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("a region with a leader was served after %v", d)
	}
	for _, id := range lost {
		w.TransferLeader(id, w.other(0))
	}
	w.table.Insert(1, "a")
	w.verify()
}

// 7: a stream breaks in the middle of a scan. 8: a store closes it politely.
func TestStreamLost(t *testing.T) {
	ends := map[string]func(*world){
		"broken": func(w *world) { w.BreakStreams(0) },
		"EOF":    func(w *world) { w.CloseStreams(0) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cdctest.Config{})
			w.table.Insert(1, "a")
			w.table.Insert(2, "b")
			txn := w.Begin().Insert(w.table, 0, "prewritten").Prewrite()
			w.HoldScans()
			w.run(nil)
			old := w.sub(w.region, nil)
			p := w.tapOf(w.table.Span())
			old.Scan(2) // a PREWRITE and one COMMITTED
			w.await("one row", func() bool { n, _ := p.count(); return n == 1 })
			end(w)
			s := w.sub(w.region, old)
			if s.CheckpointTs != w.start {
				t.Errorf("subscribed anew from %d, want the start %d", s.CheckpointTs, w.start)
			}
			w.mu.Lock()
			for _, sub := range w.subs {
				if n := sub.PendingBytes(); n != 0 {
					t.Errorf("%d bytes of the broken stream are kept", n)
				}
			}
			w.mu.Unlock()
			txn.Rollback()
			w.ReleaseScans()
			w.verify()
			end(w)
			w.table.Insert(3, "c")
			w.verify()
		})
	}
}

// 9: a store goes down, comes back, and comes back at another address. Regions
// of other stores do not notice.
func TestStoreDown(t *testing.T) {
	w := newWorld(t, cdctest.Config{Stores: 2})
	left, right := w.Split(w.table.Key(3))
	w.TransferLeader(left.ID, w.other(right.Leader))
	w.run(nil)
	l, r := w.normal(left.ID, nil), w.normal(right.ID, nil)
	if l.Store == r.Store {
		t.Fatalf("both regions are on store %d", l.Store)
	}
	w.StopStore(l.Store)
	w.table.Insert(1, "while the store is down")
	if err := w.StartStore(l.Store); err != nil {
		t.Fatal(err)
	}
	l = w.normal(left.ID, l)
	w.verify()
	if err := w.RestartStoreElsewhere(l.Store); err != nil {
		t.Fatal(err)
	}
	w.table.Insert(2, "at a new address")
	w.normal(left.ID, l)
	w.verify()
	if r.Ended() {
		t.Error("the region of the other store was subscribed anew")
	}
}

// 9: a store is removed for good; its region has moved to a new one.
func TestStoreReplaced(t *testing.T) {
	w := newWorld(t, cdctest.Config{Stores: 2})
	w.run(nil)
	old := w.normal(w.region, nil)
	added, err := w.AddStore()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range w.Regions() {
		w.MoveRegion(r.ID, added, w.other(old.Store))
	}
	w.RemoveStore(old.Store)
	if s := w.normal(w.region, old); s.Store != added {
		t.Errorf("subscribed on store %d, want %d", s.Store, added)
	}
	w.table.Insert(1, "a")
	w.verify()
}

// 10: a region is moved away from its store.
func TestRegionMoved(t *testing.T) {
	w := newWorld(t, cdctest.Config{Stores: 2})
	w.run(nil)
	old := w.normal(w.region, nil)
	w.MoveRegion(w.region, w.other(old.Store))
	if s := w.normal(w.region, old); s.Store == old.Store {
		t.Errorf("subscribed on store %d still", s.Store)
	}
	w.table.Insert(1, "a")
	w.verify()
}

// 11: the region is not any more what PD says it is; then PD learns it.
func TestStaleEpoch(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.table.Insert(1, "a")
	w.table.Insert(5, "b")
	w.FreezePD()
	left, right := w.Split(w.table.Key(3))
	n := w.countRegistrations(right.ID)
	began := time.Now()
	w.run(nil)
	w.await("attempts", func() bool { return n.Load() >= 5 })
	if most := 10 + int64(time.Since(began)/(5*time.Millisecond)); n.Load() > most {
		t.Errorf("%d registrations in %v while PD is stale", n.Load(), time.Since(began))
	}
	w.ThawPD()
	before := n.Load()
	w.normal(left.ID, nil)
	w.normal(right.ID, nil)
	if tries := n.Load() - before; tries > 2 {
		t.Errorf("%d registrations until the fresh region was found", tries)
	}
	w.verify()
}

// 12: errors and new registrations in quick succession, and subscriptions that end as
// soon as they have begun, never make a duplicate (the cluster notes any); if a store
// claims one, the feed ends.
func TestDuplicateRequest(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.run(nil)
	var s *cdctest.Subscription
	for i := range 20 {
		s = w.sub(w.region, s)
		s.Fail([]*cdcpb.Error{cdctest.Congested(w.region), cdctest.ServerIsBusy(0), cdctest.EpochNotMatch()}[i%3])
		sub := w.puller.Subscribe(w.table.Span(), w.start, &tap{t: t, span: w.table.Span(), start: w.start, rows: map[string]int{}})
		if i%2 == 0 {
			w.await("a subscription of the region", func() bool { return len(w.Subscriptions(w.region)) > 0 })
		}
		sub.Close()
		<-sub.Done()
	}
	w.table.Insert(1, "a")
	w.verify()
	s = w.normal(w.region, nil)
	s.Fail(cdctest.DuplicateRequest(w.region))
	err := w.failure()
	for _, want := range []string{"duplicate request", fmt.Sprintf("region %d", s.RegionID), fmt.Sprintf("request %d", s.RequestID)} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
}

// 13: a store of another cluster, or one that wants a newer client, ends the feed.
func TestFatalErrors(t *testing.T) {
	tests := []struct {
		name string
		err  *cdcpb.Error
		want []string
	}{
		{"cluster id", cdctest.ClusterIDMismatch(7, 1), []string{"cluster id mismatch", "cluster 7", "cluster 1"}},
		{"version", cdctest.Compatibility("9.9.9"), []string{"incompatible version", "9.9.9"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, cdctest.Config{})
			n := new(atomic.Int64)
			w.OnRegister(func(s *cdctest.Subscription) *cdcpb.Error {
				if s.RegionID != w.region {
					return nil
				}
				n.Add(1)
				return tt.err
			})
			w.run(nil)
			err := w.failure()
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
			if n.Load() != 1 {
				t.Errorf("%d registrations, want 1", n.Load())
			}
		})
	}
}
