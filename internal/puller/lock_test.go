package puller_test

import (
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/tikvrpc"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
)

// leaveLock prewrites a key for a transaction that nobody will end.
func (c *cluster) leaveLock(key, primary string, startTs event.Ts) {
	c.t.Helper()
	bo := tikv.NewBackofferWithVars(c.t.Context(), 1000, nil)
	loc, err := c.kv.GetRegionCache().LocateKey(bo, []byte(key))
	if err != nil {
		c.t.Fatal(err)
	}
	req := tikvrpc.NewRequest(tikvrpc.CmdPrewrite, &kvrpcpb.PrewriteRequest{
		Mutations:    []*kvrpcpb.Mutation{{Op: kvrpcpb.Op_Put, Key: []byte(key), Value: []byte("v")}},
		PrimaryLock:  []byte(primary),
		StartVersion: uint64(startTs),
		LockTtl:      1,
	})
	resp, err := c.kv.SendReq(bo, req, loc.Region, time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
	if errs := resp.Resp.(*kvrpcpb.PrewriteResponse).GetErrors(); len(errs) > 0 {
		c.t.Fatal(errs)
	}
}

func (c *cluster) now() event.Ts {
	c.t.Helper()
	physical, logical, err := c.kv.GetPDClient().GetTS(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return event.NewTs(time.UnixMilli(physical)) + event.Ts(logical)
}

func quickLocks(cfg *puller.Config) {
	cfg.ResolveLockAfter = 20 * time.Millisecond
	cfg.ResolveLockInterval = 20 * time.Millisecond
	cfg.StuckRegionTimeout = time.Hour
}

// 27
func TestLockOfDeadClient(t *testing.T) {
	kv := newTapKV()
	c := newCluster(t, clusterOptions{hijackKV: kv.hijack})
	c.split(c.region, "m")
	startTs := c.now()
	c.leaveLock("p", "p", startTs) // the primary is outside of the span
	c.leaveLock("b", "p", startTs)
	out := newRecorder(t)
	c.start(quickLocks).Subscribe(span("a", "m"), 50, out)
	r := c.stores[0].next("a-m", 50)
	r.rows(prewrite("b", "v", uint64(startTs)))
	r.initialized()
	r.heartbeats(uint64(startTs))
	resolve := <-kv.resolves
	if resolve.StartVersion != uint64(startTs) || resolve.CommitVersion != 0 {
		t.Errorf("resolved %v, want a rollback of %d", resolve, startTs)
	}
	scan := <-kv.scans
	if string(scan.EndKey) != "m" {
		t.Errorf("locks were looked for up to %q, want the region's end", scan.EndKey)
	}
	r.rows(rollback("b", uint64(startTs)))
	r.resolved(uint64(startTs) + 1)
	out.awaitResolved(startTs + 1)
}

// 28: the time of PD bounds what stores are told to have been read.
func TestLocksAreSearchedInPDTime(t *testing.T) {
	kv := newTapKV()
	pd := &tapPD{behind: time.Hour}
	c := newCluster(t, clusterOptions{hijackKV: kv.hijack, hijackPD: pd.hijack})
	out := newRecorder(t)
	c.start(quickLocks).Subscribe(span("a", "z"), 50, out)
	r := c.stores[0].next("a-z", 50)
	r.initialized()
	at := c.now()
	r.heartbeats(uint64(at))
	scan := <-kv.scans
	if now := c.now(); scan.MaxVersion > uint64(now) {
		t.Errorf("locks were looked for up to %d, later than PD's %d", scan.MaxVersion, now)
	}
	if want := at.Add(20 * time.Millisecond); scan.MaxVersion > uint64(want) {
		t.Errorf("locks were looked for up to %d, later than %d", scan.MaxVersion, want)
	}
}

// The local clock says that a region stands still, PD's does not: perhaps the
// former has jumped. Nothing is resolved.
func TestLocksAreNotSearchedEarly(t *testing.T) {
	kv := newTapKV()
	pd := &tapPD{times: make(chan struct{})}
	c := newCluster(t, clusterOptions{hijackKV: kv.hijack, hijackPD: pd.hijack})
	out := newRecorder(t)
	c.start(quickLocks).Subscribe(span("a", "z"), 50, out)
	r := c.stores[0].next("a-z", 50)
	at := c.now()
	pd.frozen.Store(at.Physical())
	r.initialized()
	r.heartbeats(uint64(at))
	for range 4 {
		<-pd.times
	}
	if n := len(kv.scans); n != 0 {
		t.Errorf("locks were looked for %d times", n)
	}
}

// 26: the store missed the end of a transaction. No lock is to be found, and
// only a new subscription helps.
func TestStuckRegion(t *testing.T) {
	kv := newTapKV()
	c := newCluster(t, clusterOptions{hijackKV: kv.hijack})
	out := newRecorder(t)
	sub := c.start(func(cfg *puller.Config) {
		quickLocks(cfg)
		cfg.StuckRegionTimeout = 100 * time.Millisecond
	}).Subscribe(span("a", "z"), 50, out)
	r := c.stores[0].next("a-z", 50)
	r.initialized()
	r.rows(prewrite("k", "v", 100))
	r.heartbeats(100)
	if d := <-c.stores[0].deregisters; d.RegionId != c.region {
		t.Errorf("deregistered %v, want region %d", d, c.region)
	}
	if n := len(kv.scans); n < 2 {
		t.Errorf("locks were looked for %d times, want at least 2", n)
	}
	r = c.stores[0].next("a-z", 100)
	r.initialized()
	r.resolved(200)
	out.awaitResolved(200)
	if n := sub.PendingBytes(); n != 0 {
		t.Errorf("%d bytes pending, want 0", n)
	}
}

// 26, first part: the record of an overlapped rollback concerns no prewrite.
func TestOverlappedRollback(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	r := c.stores[0].next("a-z", 50)
	r.initialized()
	r.rows(prewrite("k", "v", 60), commit("k", 60, 70), rollback("k", 70))
	r.rows(prewrite("k", "w", 80), rollback("k", 70), commit("k", 80, 90))
	r.resolved(100)
	out.awaitResolved(100)
	out.awaitRows("k=v@70", "k=w@90")
}
