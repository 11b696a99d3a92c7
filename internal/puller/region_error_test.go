package puller_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/metapb"

	"github.com/tidbcdc/tidbcdc/internal/puller"
)

// Scenarios of regions that fail or fall silent.

// 5
func TestLeaderTransfer(t *testing.T) {
	pd := new(tapPD)
	c := newCluster(t, clusterOptions{stores: 2, hijackPD: pd.hijack})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	r := c.stores[0].next("a-z", 50)
	r.initialized()
	r.resolved(100)
	out.awaitResolved(100)
	scans := pd.scans.Load()
	r.fail(notLeader(c.region, &metapb.Peer{Id: c.peers[1], StoreId: c.ids[1]}))
	r = c.stores[1].next("a-z", 100)
	if n := pd.scans.Load() - scans; n != 0 {
		t.Errorf("%d questions to PD, want none: the leader was given", n)
	}
	r.initialized()
	r.resolved(110)
	out.awaitResolved(110)
}

// 6
func TestLeaderUnknown(t *testing.T) {
	c := newCluster(t, clusterOptions{stores: 2})
	out := newRecorder(t)
	var mu sync.Mutex
	asked := make([]int, 2)
	for i, s := range c.stores {
		s.answerWith(func(r *request) {
			mu.Lock()
			defer mu.Unlock()
			asked[i]++
			if asked[0]+asked[1] < 12 {
				r.fail(notLeader(c.region, nil))
				return
			}
			r.initialized()
		})
	}
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	out.awaitResolved(50)
	mu.Lock()
	defer mu.Unlock()
	if asked[0] < 2 || asked[1] < 2 {
		t.Errorf("peers were asked %v times, want both several times", asked)
	}
}

// 10
func TestRegionMoved(t *testing.T) {
	c := newCluster(t, clusterOptions{stores: 2})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	r := c.stores[0].next("a-z", 50)
	r.initialized()
	out.awaitResolved(50)
	c.mock.ChangeLeader(c.region, c.peers[1])
	r.fail(regionNotFound(c.region))
	c.stores[1].next("a-z", 50).initialized()
}

// 11
func TestStaleEpoch(t *testing.T) {
	pd := new(tapPD)
	c := newCluster(t, clusterOptions{hijackPD: pd.hijack})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	// PD is as old as the client for a while.
	for range 5 {
		c.stores[0].next("a-z", 50).fail(epochNotMatch())
	}
	r := c.stores[0].next("a-z", 50)
	c.split(c.region, "m")
	r.fail(epochNotMatch())
	for _, r := range c.stores[0].nextOf("a-m", "m-z") {
		r.initialized()
	}
	out.awaitResolved(50)
	if n := pd.scans.Load(); n > 8 {
		t.Errorf("%d questions to PD for 7 requests", n)
	}
}

// PD does not know a part of the span while a region is being split, or does
// not answer.
func TestHoleInPD(t *testing.T) {
	pd := new(tapPD)
	c := newCluster(t, clusterOptions{hijackPD: pd.hijack})
	middle := c.split(c.region, "g")
	c.split(middle, "m")
	_, leader := c.mock.GetRegion(middle)
	c.mock.GiveUpLeader(middle) // a region without a leader is left out
	out := newRecorder(t)
	pd.fail(3)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	for _, r := range c.stores[0].nextOf("a-g", "m-z") {
		r.initialized()
	}
	c.mock.ChangeLeader(middle, leader)
	c.stores[0].next("g-m", 50).initialized()
	out.awaitResolved(50)
}

// A store that is too old is an error of its regions, and may be upgraded.
func TestOldStore(t *testing.T) {
	pd := new(tapPD)
	pd.old.Store(true)
	c := newCluster(t, clusterOptions{hijackPD: pd.hijack})
	out := newRecorder(t)
	logged := make(chan string, 1)
	client := c.start(func(cfg *puller.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			select {
			case logged <- string(p):
			default:
			}
			return len(p), nil
		}), nil))
	})
	client.Subscribe(span("a", "z"), 50, out)
	if got := <-logged; !strings.Contains(got, "v4.0.16") || !strings.Contains(got, c.stores[0].addr) {
		t.Errorf("log %q does not name the store and its version", got)
	}
	if n := c.stores[0].streams(); n != 0 {
		t.Errorf("%d streams to the store, want none", n)
	}
	pd.old.Store(false)
	c.stores[0].next("a-z", 50).initialized()
	out.awaitResolved(50)
}

// What regions go through every day is no warning, unless it does not end; what a
// store should not do is one at once.
func TestOrdinaryChangesAreNoWarnings(t *testing.T) {
	const ordinary, persistent = 4, 12
	for name, tt := range map[string]struct {
		err   *cdcpb.Error
		times int
		warns bool
	}{
		"split":           {epochNotMatch(), ordinary, false},
		"split for long":  {epochNotMatch(), persistent, true},
		"moved":           {&cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{}}, ordinary, false},
		"election":        {&cdcpb.Error{NotLeader: &errorpb.NotLeader{}}, ordinary, false},
		"busy":            {&cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{}}, ordinary, false},
		"busy for long":   {&cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{}}, persistent, true},
		"congested":       {&cdcpb.Error{Congested: &cdcpb.Congested{}}, 1, true},
		"not even a name": {&cdcpb.Error{}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, clusterOptions{})
			left := tt.times
			c.stores[0].answerWith(func(r *request) {
				if left--; left >= 0 {
					r.fail(tt.err)
					return
				}
				r.initialized()
			})
			var mu sync.Mutex
			var warnings []string
			out := newRecorder(t)
			c.start(func(cfg *puller.Config) {
				cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					warnings = append(warnings, string(p))
					return len(p), nil
				}), &slog.HandlerOptions{Level: slog.LevelInfo}))
			}).Subscribe(span("a", "z"), 50, out)
			out.awaitResolved(50)
			mu.Lock()
			defer mu.Unlock()
			if (len(warnings) > 0) != tt.warns {
				t.Errorf("logged %q after %d errors", warnings, tt.times)
			}
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// 16
func TestCongested(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	congested := &cdcpb.Error{Congested: &cdcpb.Congested{RegionId: c.region}}
	r := c.stores[0].next("a-z", 50)
	r.rows(committed("k", "v", 55, 60))
	r.fail(congested) // in the scan
	r = c.stores[0].next("a-z", 50)
	r.rows(committed("k", "v", 55, 60))
	r.initialized()
	r.resolved(100)
	out.awaitResolved(100)
	r.rows(prewrite("l", "v", 110))
	r.fail(congested) // live
	r = c.stores[0].next("a-z", 100)
	r.rows(committed("l", "v", 110, 120))
	r.initialized()
	r.resolved(130)
	out.awaitResolved(130)
	out.awaitRows("k=v@60", "k=v@60", "l=v@120")
	// An error that this client does not know is no reason to give up.
	r.fail(&cdcpb.Error{})
	c.stores[0].next("a-z", 130)
}

// 15, many regions
func TestManyRegionsBusy(t *testing.T) {
	const n = 2001
	c := newCluster(t, clusterOptions{})
	last := c.region
	for i := 1; i < n; i++ {
		last = c.split(last, fmt.Sprintf("k%05d", i))
	}
	var mu sync.Mutex
	asked := make(map[uint64]int)
	scanning, most := 0, 0
	var accepted []*request
	c.stores[0].answerWith(func(r *request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.RegionId]++
		if asked[r.RegionId] == 1 {
			r.fail(&cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{Reason: "too many pending incremental scans"}})
			return
		}
		// Scans end in groups, when no more of them are to be expected.
		accepted = append(accepted, r)
		scanning++
		most = max(most, scanning)
		if scanning == 16 || len(accepted) == n-n%16 || len(accepted) > n-16 {
			for _, r := range accepted[len(accepted)-scanning:] {
				r.initialized()
			}
			scanning = 0
		}
	})
	out := newRecorder(t)
	sub := c.start(func(cfg *puller.Config) { cfg.ScanWindow = 32 }).Subscribe(span("k", "l"), 50, out)
	out.awaitResolved(50)
	if p := sub.Progress(); p.Initialized != n || p.Ranges != n {
		t.Errorf("progress %+v, want %d regions", p, n)
	}
	mu.Lock()
	defer mu.Unlock()
	for id, times := range asked {
		if times != 2 {
			t.Fatalf("region %d was asked for %d times, want 2", id, times)
		}
	}
}

// 35
func TestSilentRegion(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	silent := c.split(c.region, "m")
	out := newRecorder(t)
	c.start(func(cfg *puller.Config) { cfg.SilentRegionTimeout = 200 * time.Millisecond }).
		Subscribe(span("a", "z"), 50, out)
	reqs := c.stores[0].nextOf("a-m", "m-z")
	for _, r := range reqs {
		r.initialized()
	}
	reqs[1].resolved(100)
	reqs[0].heartbeats(110)
	out.awaitResolved(100)
	d := <-c.stores[0].deregisters
	if d.RegionId != silent || d.RequestId != reqs[1].RequestId {
		t.Errorf("deregistered %v, want region %d", d, silent)
	}
	r := c.stores[0].next("m-z", 100)
	r.initialized()
	r.heartbeats(120)
	out.awaitResolved(110)
	if n := c.stores[0].streams(); n != 1 {
		t.Errorf("%d streams, want 1", n)
	}
}

// A store that does not know how to deregister: the stream is given up instead.
func TestDeregisterIsIgnored(t *testing.T) {
	c := newCluster(t, clusterOptions{store: storeOptions{ignoreDeregister: true}})
	c.split(c.region, "m")
	out := newRecorder(t)
	c.start(func(cfg *puller.Config) {
		cfg.SilentRegionTimeout = 200 * time.Millisecond
		cfg.DeregisterTimeout = 20 * time.Millisecond
	}).Subscribe(span("a", "z"), 50, out)
	reqs := c.stores[0].nextOf("a-m", "m-z")
	for _, r := range reqs {
		r.initialized()
	}
	reqs[0].heartbeats(110)
	for _, r := range c.stores[0].nextOf("a-m", "m-z") {
		r.initialized()
		r.heartbeats(120)
	}
	out.awaitResolved(120)
}

// A row that breaks the protocol is not delivered; the region is subscribed again.
func TestProtocolViolation(t *testing.T) {
	for name, bad := range map[string]*cdcpb.Event_Row{
		"commit ts below resolved ts": committed("k", "v", 90, 95),
		"commit without prewrite":     commit("k", 110, 120),
		"put without a value":         commit("p", 105, 120),
		"unknown operation":           {Type: cdcpb.Event_COMMITTED, Key: []byte("k"), Value: []byte("v"), StartTs: 110, CommitTs: 120},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, clusterOptions{})
			out := newRecorder(t)
			sub := c.start(nil).Subscribe(span("a", "z"), 50, out)
			r := c.stores[0].next("a-z", 50)
			r.initialized()
			r.resolved(100)
			fake := prewrite("p", "", 105)
			fake.OpType = cdcpb.Event_Row_PUT
			r.rows(fake, committed("good", "v", 101, 102), bad, committed("dropped", "v", 103, 104))
			r.rows(committed("dropped", "v", 103, 104))
			r = c.stores[0].next("a-z", 100)
			r.rows(committed("k", "v", 110, 120))
			r.initialized()
			r.resolved(130)
			out.awaitResolved(130)
			out.awaitRows("good=v@102", "k=v@120")
			if n := sub.PendingBytes(); n != 0 {
				t.Errorf("%d bytes pending, want 0", n)
			}
		})
	}
}
