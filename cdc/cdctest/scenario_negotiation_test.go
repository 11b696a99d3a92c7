package cdctest_test

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/internal/puller"
)

// 14 a, d: stores that cannot multiplex, and that send a resolved ts for each
// region alone; every span then has a stream of its own.
func TestOldStreams(t *testing.T) {
	tests := map[string]cdctest.Old{
		"no multiplexing":    {NoMultiplexing: true, Version: "6.5.0"},
		"single resolved ts": {NoMultiplexing: true, SingleResolved: true, Version: "5.3.0"},
	}
	for name, old := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cdctest.Config{Old: old})
			other := w.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey())
			w.start = w.Oracle().Now()
			w.table.Insert(1, "a")
			w.run(nil)
			w.verify()
			w.Begin().Insert(w.table, 2, "b").Insert(other, 2).Commit()
			w.verify()
			if n := w.Streams(); n != 4 { // two tables, two tables of DDL jobs
				t.Errorf("%d streams, want one per span: 4", n)
			}
			w.BreakStreams(0)
			other.Insert(3)
			w.verify()
		})
	}
}

// rawFeed opens a change data stream as a client that is not this module's.
func rawFeed(t *testing.T, w *world, features ...string) cdcpb.ChangeData_EventFeedV2Client {
	t.Helper()
	store, err := w.pd.GetStore(t.Context(), w.Stores()[0])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(store.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx := t.Context()
	for _, f := range features {
		ctx = metadata.AppendToOutgoingContext(ctx, "features", f)
	}
	feed, err := cdcpb.NewChangeDataClient(conn).EventFeedV2(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

// 14 b: a feature that the store does not know.
func TestUnknownFeature(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	for _, features := range []string{"time-travel", "stream-multiplexing, time-travel", ""} {
		_, err := rawFeed(t, w, features).Recv()
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("features %q: %v", features, err)
		}
	}
}

// 14 c: a version that is not strict semver gets no resolved ts; the cluster
// notes that a client sent it. The other tests see that this module does not.
func TestVersionWithLeadingV(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	for version, want := range map[string]bool{"8.5.0": true, "v8.5.0": false, "4.0.7": false, "": false} {
		feed := rawFeed(t, w, "stream-multiplexing")
		r := w.RegionAt(w.table.Span().Start)
		region, err := w.pd.GetRegionByID(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		err = feed.Send(&cdcpb.ChangeDataRequest{
			Header: &cdcpb.Header{ClusterId: w.ID(), TicdcVersion: version}, RequestId: 1, RegionId: r.ID,
			RegionEpoch: &metapb.RegionEpoch{Version: region.Meta.RegionEpoch.Version}, ExtraOp: kvrpcpb.ExtraOp_ReadOldValue,
			Request: &cdcpb.ChangeDataRequest_Register_{Register: &cdcpb.ChangeDataRequest_Register{}},
		})
		if err != nil {
			t.Fatal(err)
		}
		s := w.normal(r.ID, nil)
		for range 3 {
			w.Tick()
		}
		s.SendRows(&cdcpb.Event_Row{Type: cdcpb.Event_ROLLBACK, StartTs: 1, Key: w.table.Key(1)}) // comes last
		got := false
		for {
			msg, err := feed.Recv()
			if err != nil {
				t.Fatal(err)
			}
			got = got || msg.ResolvedTs != nil
			if len(msg.Events) > 0 && msg.Events[0].GetEntries().GetEntries()[0].Type == cdcpb.Event_ROLLBACK {
				break
			}
		}
		if got != want {
			t.Errorf("version %q: resolved ts came: %t, want %t", version, got, want)
		}
		if err := feed.CloseSend(); err != nil {
			t.Fatal(err)
		}
		w.await("the end of the stream", func() bool { return w.Streams() == 0 })
	}
	if err := w.Err(); err == nil || !strings.Contains(err.Error(), `"v8.5.0"`) {
		t.Errorf("the cluster has noted %v", err)
	}
}

// splitTable divides the table into n regions, by keys.
func (w *world) splitTable(n int) {
	var keys [][]byte
	for i := 1; i < n; i++ {
		keys = append(keys, w.table.Key(int64(i)))
	}
	w.SplitMany(keys...)
}

// regionsOfTable returns how many subscriptions the table has, and how many are initialised.
func (w *world) regionsOfTable() (all, normal int) {
	span := w.table.Span()
	for _, s := range w.Subscriptions() {
		if span.Contains(s.Span.Start) {
			all++
			if s.Initialized() {
				normal++
			}
		}
	}
	return all, normal
}

// 15: stores that are busy, with and without an advice to wait. No region is asked
// for again at once, no more are asked for than the window has room for, and all come
// in the end.
func TestServerIsBusy(t *testing.T) {
	regions, refusals := 10_001, 3
	if testing.Short() {
		regions = 1001
	}
	const window = 256 // puller.Config.ScanWindow
	for _, backoff := range []time.Duration{0, 500 * time.Millisecond} {
		t.Run(backoff.String(), func(t *testing.T) {
			w := newWorld(t, cdctest.Config{ResolvedTsInterval: 200 * time.Millisecond})
			w.splitTable(regions)
			w.table.Insert(5, "a")
			type key struct{ request, region uint64 }
			refused := map[key]int{}
			last := map[key]time.Time{}
			var early, asked atomic.Int64
			w.OnRegister(func(s *cdctest.Subscription) *cdcpb.Error {
				k := key{s.RequestID, s.RegionID}
				n := refused[k]
				asked.Add(1)
				if n > 0 && time.Since(last[k]) < backoff {
					early.Add(1)
				}
				if n == refusals || backoff > 0 && n == 1 {
					return nil
				}
				refused[k], last[k] = n+1, time.Now()
				return cdctest.ServerIsBusy(backoff)
			})
			w.HoldScans()
			w.run(nil)
			w.await("a full window", func() bool { return len(w.Subscriptions()) >= window })
			for range 5 {
				w.Tick()
			}
			if n := len(w.Subscriptions()); n > window {
				t.Errorf("%d scans are under way in one stream, want %d at most", n, window)
			}
			w.ReleaseScans()
			w.await("all regions", func() bool { _, n := w.regionsOfTable(); return n == regions })
			if n := early.Load(); n > 0 {
				t.Errorf("%d registrations before the time that the store asked for", n)
			}
			w.verify()
			// Those of the tables of DDL jobs are among them.
			if most := int64(regions+10) * int64(refusals+1); asked.Load() > most {
				t.Errorf("%d registrations for %d regions", asked.Load(), regions)
			}
		})
	}
}

// 16: congested while scanning and live.
func TestCongested(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	for i := range int64(5) {
		w.table.Insert(i, "a")
	}
	w.HoldScans()
	w.run(nil)
	s := w.sub(w.region, nil)
	s.Scan(2)
	w.await("a piece of the scan", func() bool { return s.ScanRows() == 3 })
	s.Fail(cdctest.Congested(w.region))
	s = w.sub(w.region, s)
	w.ReleaseScans()
	w.normal(w.region, nil)
	txn := w.Begin().Insert(w.table, 10, "across").Prewrite()
	s.Fail(cdctest.Congested(w.region))
	txn.Commit()
	w.verify()
}

// 16, 36: a stream that is not read: the store gives its regions up when its
// memory is full, and afterwards nothing is missing.
func TestCongestedForReal(t *testing.T) {
	w := newWorld(t, cdctest.Config{QueueBytes: 20 << 10})
	w.run(nil)
	old := w.normal(w.region, nil)
	w.PauseStreams(0)
	value := strings.Repeat("x", 1<<10)
	for i := range int64(50) {
		w.table.Insert(i, value)
	}
	if !old.Ended() {
		t.Error("the store has queued more than it has room for")
	}
	w.ResumeStreams(0)
	w.verify()
}

// 39: many regions at once. Loading, subscribing and one tick must cost little
// for each; verify waits for the least of all resolved ts. The stores' ticks are so far
// apart that, under the race detector, they leave time for registrations.
func TestManyRegions(t *testing.T) {
	regions := 100_000
	if testing.Short() {
		regions = 2000
	}
	w := newWorld(t, cdctest.Config{ResolvedTsInterval: 2 * time.Second}, func(cfg *puller.Config) {
		cfg.ResolveLockAfter, cfg.ResolveLockInterval = 4*time.Second, 10*time.Second
	})
	w.splitTable(regions)
	began := time.Now()
	w.run(nil)
	p := w.tapOf(w.table.Span())
	w.await("all regions", func() bool { return p.resolvedTs() > 0 })
	if _, n := w.regionsOfTable(); n != regions {
		t.Errorf("resolved ts with %d of %d regions initialised", n, regions)
	}
	t.Logf("%d regions initialised after %v", regions, time.Since(began))
	for range 100 {
		w.table.Insert(rand.Int64N(1<<60), "anywhere")
	}
	w.verify()
	if n := w.Streams(); n != 1 {
		t.Errorf("%d streams to one store", n)
	}
}
