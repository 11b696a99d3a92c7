package puller_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidbcdc/tidbcdc/internal/puller"
)

// Scenarios of the initial scan and of streams that end. The comments give their
// numbers in the protocol's list of scenarios.

// 1
func TestBasic(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	sub := c.start(nil).Subscribe(span("a", "z"), 100, out)
	r := c.stores[0].next("a-z", 100)
	r.rows(committed("k", "v2", 110, 120), committed("k", "v1", 101, 105))
	r.initialized()
	out.awaitResolved(100)
	r.rows(prewrite("l", "x", 130))
	r.resolved(130)
	out.awaitResolved(130)
	r.rows(commit("l", 130, 140))
	r.resolved(150)
	out.awaitResolved(150)
	out.awaitRows("k=v2@120", "k=v1@105", "l=x@140")
	want := puller.Progress{Ranges: 1, Locked: 1, Initialized: 1, ResolvedTs: 150}
	if got := sub.Progress(); got != want {
		t.Errorf("progress %+v, want %+v", got, want)
	}
}

// A subscription may be older than Run, and the whole key space.
func TestSubscribeBeforeRun(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	client := puller.New(puller.Config{Store: c.kv})
	out := newRecorder(t)
	client.Subscribe(span("", ""), 100, out)
	c.run(client)
	r := c.stores[0].next("-", 100)
	r.initialized()
	out.awaitResolved(100)
	if err := client.Run(t.Context()); err == nil {
		t.Error("Run twice: no error")
	}
	if err := puller.New(puller.Config{}).Run(t.Context()); err == nil {
		t.Error("Run without a store: no error")
	}
}

// One message is one call of Receive per subscription, whatever the number of rows.
func TestReceiveIsBatched(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 100, out)
	r := c.stores[0].next("a-z", 100)
	events := make([]*cdcpb.Event, 3)
	for i := range events {
		events[i] = &cdcpb.Event{Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{
			Entries: []*cdcpb.Event_Row{committed("k", "v", 110, 120), committed("l", "v", 110, 120)},
		}}}
	}
	r.send(events...)
	out.await("rows have not come", func() bool { return len(out.rows) == 6 })
	if out.batches != 1 {
		t.Errorf("%d calls of Receive, want 1", out.batches)
	}
}

// 2
func TestSplitDuringScan(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 100, out)
	r := c.stores[0].next("a-z", 100)
	r.rows(committed("k", "v", 110, 120))
	c.split(c.region, "m")
	r.fail(epochNotMatch())
	parts := c.stores[0].nextOf("a-m", "m-z")
	for _, p := range parts {
		if p.CheckpointTs != 100 {
			t.Errorf("checkpoint of %s is %d, want 100", p.span(), p.CheckpointTs)
		}
	}
	parts[0].rows(committed("k", "v", 110, 120))
	parts[0].initialized()
	parts[0].resolved(200)
	parts[0].rows(committed("b", "v", 201, 210))
	out.awaitRows("k=v@120", "k=v@120", "b=v@210")
	if out.calls != 0 {
		t.Error("resolved ts before both parts were initialised")
	}
	parts[1].initialized()
	out.awaitResolved(100)
	parts[1].resolved(150)
	out.awaitResolved(150)
}

// 3
func TestSplitAfterInit(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	r := c.stores[0].next("a-z", 50)
	r.initialized()
	r.resolved(100)
	out.awaitResolved(100)
	c.split(c.region, "m")
	r.fail(epochNotMatch())
	parts := c.stores[0].nextOf("a-m", "m-z")
	for _, p := range parts {
		if p.CheckpointTs != 100 {
			t.Errorf("checkpoint of %s is %d, want 100", p.span(), p.CheckpointTs)
		}
		p.initialized()
	}
	parts[0].resolved(130)
	parts[1].resolved(120)
	out.awaitResolved(120)
	parts[1].resolved(140)
	out.awaitResolved(130)
}

// 4
func TestMerge(t *testing.T) {
	for _, targetFirst := range []bool{false, true} {
		c := newCluster(t, clusterOptions{})
		out := newRecorder(t)
		right := c.split(c.region, "m")
		sub := c.start(nil).Subscribe(span("a", "z"), 50, out)
		parts := c.stores[0].nextOf("a-m", "m-z")
		for _, p := range parts {
			p.initialized()
		}
		parts[0].resolved(100)
		parts[1].resolved(110)
		out.awaitResolved(100)
		// The merge has been prepared, and PD does not know yet.
		source := parts[1]
		for _, err := range []*cdcpb.Error{epochNotMatch(), regionNotFound(right)} {
			source.fail(err)
			source = c.stores[0].next("m-z", 110)
		}
		c.mock.Merge(c.region, right)
		if targetFirst {
			parts[0].fail(epochNotMatch())
			source.fail(epochNotMatch())
		} else {
			source.fail(epochNotMatch())
			parts[0].fail(epochNotMatch())
		}
		merged := c.stores[0].next("a-z", 100)
		merged.initialized()
		merged.resolved(200)
		out.awaitResolved(200)
		if p := sub.Progress(); p.Ranges != 1 || p.Locked != 1 {
			t.Errorf("target first %v: progress %+v", targetFirst, p)
		}
		if n := len(c.stores[0].registers); n != 0 {
			t.Errorf("target first %v: %d requests too many", targetFirst, n)
		}
	}
}

// 7, 8, and a store that ends a stream because its consumer is slow
func TestStreamEnds(t *testing.T) {
	for name, end := range map[string]error{
		"reset": status.Error(codes.Unavailable, "connection reset by peer"),
		"EOF":   nil,
		"slow":  status.Error(codes.Unknown, "connection cancelled"),
	} {
		t.Run(name, func(t *testing.T) {
			pd := new(tapPD)
			c := newCluster(t, clusterOptions{hijackPD: pd.hijack})
			client := c.start(nil)
			out, other := newRecorder(t), newRecorder(t)
			client.Subscribe(span("a", "m"), 100, out)
			client.Subscribe(span("m", "z"), 100, other)
			reqs := c.stores[0].nextOf("a-m", "m-z")
			reqs[0].rows(committed("k", "v1", 101, 110), prewrite("l", "lost", 120))
			reqs[1].initialized()
			reqs[1].resolved(130)
			out.awaitRows("k=v1@110")
			other.awaitResolved(130)
			scans := pd.scans.Load()
			reqs[0].feed.close(end)
			reqs = c.stores[0].nextOf("a-m", "m-z")
			if reqs[0].CheckpointTs != 100 || reqs[1].CheckpointTs != 130 {
				t.Errorf("checkpoints %d, %d, want 100, 130", reqs[0].CheckpointTs, reqs[1].CheckpointTs)
			}
			reqs[0].rows(committed("k", "v1", 101, 110), prewrite("l", "x", 120))
			reqs[0].initialized()
			reqs[0].rows(commit("l", 120, 130))
			reqs[0].resolved(140)
			out.awaitResolved(140)
			out.awaitRows("k=v1@110", "k=v1@110", "l=x@130")
			reqs[1].initialized()
			reqs[1].resolved(150)
			other.awaitResolved(150)
			if n := c.stores[0].streams(); n != 2 {
				t.Errorf("%d streams, want 2: one, and one after its end", n)
			}
			if n := pd.scans.Load() - scans; n != 0 {
				t.Errorf("%d questions to PD, want none: regions have not changed", n)
			}
		})
	}
}

// 9
func TestStoreIsReplaced(t *testing.T) {
	c := newCluster(t, clusterOptions{stores: 2})
	right := c.mock.AllocID()
	peers := c.mock.AllocIDs(2)
	c.mock.Split(c.region, right, []byte("m"), peers, peers[1])
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	dying, alive := c.stores[0].next("a-m", 50), c.stores[1].next("m-z", 50)
	for _, r := range []*request{dying, alive} {
		r.initialized()
		r.resolved(100)
	}
	out.awaitResolved(100)
	c.stores[0].stop()
	replacement := newStore(t, storeOptions{})
	c.mock.UpdateStoreAddr(c.ids[0], replacement.addr)
	r := replacement.next("a-m", 100)
	r.initialized()
	r.resolved(200)
	alive.resolved(150)
	out.awaitResolved(150)
	if n := len(c.stores[1].registers); n != 0 {
		t.Errorf("%d requests to the other store, want none", n)
	}
}

// 18
func TestLargeRow(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 100, out)
	value := strings.Repeat("x", 7<<20)
	r := c.stores[0].next("a-z", 100)
	r.rows(committed("k", value, 110, 120))
	out.await("row has not come", func() bool { return len(out.rows) == 1 })
	if want := "k=" + value + "@120"; out.rows[0] != want {
		t.Errorf("row of %d bytes, want %d", len(out.rows[0]), len(want))
	}
}

// 12, 13
func TestFatalErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		err  *cdcpb.Error
		want []string
	}{
		"duplicate request": {
			&cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{RegionId: 3}},
			[]string{"duplicate request", "region 3", "request 1"},
		},
		"compatibility": {
			&cdcpb.Error{Compatibility: &cdcpb.Compatibility{RequiredVersion: "6.2.0"}},
			[]string{"6.2.0"},
		},
		"cluster id mismatch": {
			&cdcpb.Error{ClusterIdMismatch: &cdcpb.ClusterIDMismatch{Current: 77, Request: 1}},
			[]string{"cluster 77", "cluster 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, clusterOptions{})
			out := newRecorder(t)
			sub := c.start(nil).Subscribe(span("a", "z"), 100, out)
			r := c.stores[0].next("a-z", 100)
			r.initialized()
			out.awaitResolved(100)
			r.fail(tc.err)
			out.await("failure has not come", func() bool { return out.failure != nil })
			for _, want := range tc.want {
				if !strings.Contains(out.failure.Error(), want) {
					t.Errorf("error %q does not say %q", out.failure, want)
				}
			}
			<-sub.Done()
			sub.Close()
			if n := len(c.stores[0].registers); n != 0 {
				t.Errorf("%d requests after the end", n)
			}
		})
	}
}

// 15, one region
func TestServerIsBusy(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 100, out)
	const backoff = 200 * time.Millisecond
	r := c.stores[0].next("a-z", 100)
	start := time.Now()
	r.fail(&cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{Reason: "too many", BackoffMs: uint64(backoff.Milliseconds())}})
	r = c.stores[0].next("a-z", 100)
	if d := time.Since(start); d < backoff {
		t.Errorf("asked again after %s, want at least %s", d, backoff)
	}
	r.fail(&cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{Reason: "too many"}})
	r = c.stores[0].next("a-z", 100)
	r.initialized()
	out.awaitResolved(100)
}

var errTest = errors.New("not now")
