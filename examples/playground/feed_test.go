package playground_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	pd "github.com/tikv/pd/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tidbcdc/tidbcdc/examples/playground/kvnode"
)

const wait = 20 * time.Second

// call is what both versions of the RPC have in common.
type call interface {
	Send(*cdcpb.ChangeDataRequest) error
	Recv() (*cdcpb.ChangeDataEvent, error)
	CloseSend() error
}

// feed is one event feed stream of one store.
type feed struct {
	call
	version string
	pending []item
}

// item is an event or a resolved ts.
type item struct {
	event    *cdcpb.Event
	resolved *cdcpb.ResolvedTs
}

func (i item) row() *cdcpb.Event_Row {
	if rows := i.event.GetEntries().GetEntries(); len(rows) > 0 {
		return rows[0]
	}
	return nil
}

func (i item) is(typ cdcpb.Event_LogType) bool { return i.row() != nil && i.row().Type == typ }

type feedOptions struct {
	v1       bool
	features []string // header values; none: no header
	version  string
}

var multiplexed = feedOptions{features: []string{"stream-multiplexing"}, version: "8.2.0"}

func dialStore(t *testing.T, store uint64) cdcpb.ChangeDataClient {
	t.Helper()
	conn, err := grpc.NewClient(addrOf(t, store), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return cdcpb.NewChangeDataClient(conn)
}

func openFeed(t *testing.T, store uint64, o feedOptions) *feed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	for _, f := range o.features {
		ctx = metadata.AppendToOutgoingContext(ctx, "features", f)
	}
	f := &feed{version: o.version}
	var err error
	if cli := dialStore(t, store); o.v1 {
		f.call, err = cli.EventFeed(ctx)
	} else {
		f.call, err = cli.EventFeedV2(ctx)
	}
	if err != nil {
		t.Fatalf("open event feed: %v", err)
	}
	return f
}

func (f *feed) send(t *testing.T, req *cdcpb.ChangeDataRequest) {
	t.Helper()
	if req.Header == nil {
		req.Header = &cdcpb.Header{ClusterId: env.info.ClusterID, TicdcVersion: f.version}
	}
	if err := f.Send(req); err != nil {
		t.Fatalf("send request: %v", err)
	}
}

func (f *feed) register(t *testing.T, r *pd.Region, request, checkpoint uint64) {
	t.Helper()
	f.send(t, registration(r, request, checkpoint))
}

func registration(r *pd.Region, request, checkpoint uint64) *cdcpb.ChangeDataRequest {
	return &cdcpb.ChangeDataRequest{
		RegionId: r.Meta.Id, RegionEpoch: r.Meta.RegionEpoch, RequestId: request, CheckpointTs: checkpoint,
		StartKey: r.Meta.StartKey, EndKey: r.Meta.EndKey,
		Request: &cdcpb.ChangeDataRequest_Register_{Register: &cdcpb.ChangeDataRequest_Register{}},
	}
}

// next returns the next item; rows come one by one.
func (f *feed) next() (item, error) {
	for len(f.pending) == 0 {
		msg, err := f.Recv()
		if err != nil {
			return item{}, err
		}
		if msg.ResolvedTs != nil {
			f.pending = append(f.pending, item{resolved: msg.ResolvedTs})
		}
		for _, e := range msg.Events {
			rows := e.GetEntries().GetEntries()
			for _, row := range rows {
				f.pending = append(f.pending, item{event: &cdcpb.Event{
					RegionId: e.RegionId, RequestId: e.RequestId,
					Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: []*cdcpb.Event_Row{row}}},
				}})
			}
			if len(rows) == 0 {
				f.pending = append(f.pending, item{event: e})
			}
		}
	}
	first := f.pending[0]
	f.pending = f.pending[1:]
	return first, nil
}

// until reads to the first item that want accepts, and returns it and those
// before it.
func (f *feed) until(t *testing.T, what string, want func(item) bool) (before []item, last item) {
	t.Helper()
	deadline := time.Now().Add(wait)
	for time.Now().Before(deadline) {
		i, err := f.next()
		if err != nil {
			t.Fatalf("wait for %s: %v (after %d items)", what, err, len(before))
		}
		if want(i) {
			return before, i
		}
		before = append(before, i)
	}
	t.Fatalf("no %s within %v", what, wait)
	return nil, item{}
}

func (f *feed) untilInitialized(t *testing.T) []item {
	t.Helper()
	before, last := f.until(t, "INITIALIZED", func(i item) bool { return i.is(cdcpb.Event_INITIALIZED) || i.event.GetError() != nil })
	if last.event.GetError() != nil {
		t.Fatalf("registration ended with %v", last.event)
	}
	return before
}

func (f *feed) untilError(t *testing.T) (*cdcpb.Event, *cdcpb.Error) {
	t.Helper()
	_, i := f.until(t, "an error", func(i item) bool { return i.event.GetError() != nil })
	return i.event, i.event.GetError()
}

func (f *feed) untilResolved(t *testing.T, ts uint64) {
	t.Helper()
	f.until(t, fmt.Sprintf("a resolved ts above %d", ts), func(i item) bool { return i.resolved.GetTs() > ts })
}

// broken reads to the end of the stream and returns its status.
func (f *feed) broken(t *testing.T) codes.Code {
	t.Helper()
	for {
		if _, err := f.next(); err != nil {
			return status.Code(err)
		}
	}
}

// subscribe registers the region of a table and waits for INITIALIZED.
func subscribe(t *testing.T, table int64) (*feed, *pd.Region) {
	t.Helper()
	start, _ := tableSpan(table)
	r := regionOf(t, start)
	f := openFeed(t, r.Leader.StoreId, multiplexed)
	f.register(t, r, 1, now(t))
	f.untilInitialized(t)
	return f, r
}

func TestScanAndLiveRows(t *testing.T) {
	name, id := createTable(t, "id BIGINT PRIMARY KEY, v VARCHAR(20)")
	checkpoint := now(t)
	exec(t, "INSERT INTO "+name+" VALUES (1, 'a')")
	exec(t, "UPDATE "+name+" SET v = 'b' WHERE id = 1")
	start, _ := tableSpan(id)
	r := regionOf(t, start)
	f := openFeed(t, r.Leader.StoreId, multiplexed)
	f.register(t, r, 7, checkpoint)

	scanned := f.untilInitialized(t)
	if len(scanned) != 2 || !scanned[0].is(cdcpb.Event_COMMITTED) || !scanned[1].is(cdcpb.Event_COMMITTED) {
		t.Fatalf("scan sent %v, want two committed versions", scanned)
	}
	newer, older := scanned[0].row(), scanned[1].row()
	if newer.CommitTs <= older.CommitTs {
		t.Errorf("versions %d, %d are not newest first", newer.CommitTs, older.CommitTs)
	}
	if string(newer.OldValue) != string(older.Value) || len(older.OldValue) != 0 {
		t.Errorf("old values %x and %x, want %x and none", newer.OldValue, older.OldValue, older.Value)
	}
	if got := string(newer.Key); got != string(rowKey(id, 1)) {
		t.Errorf("key %x, want %x", got, rowKey(id, 1))
	}

	exec(t, "DELETE FROM "+name+" WHERE id = 1")
	_, i := f.until(t, "the deletion", func(i item) bool { return i.is(cdcpb.Event_COMMITTED) || i.is(cdcpb.Event_PREWRITE) })
	if row := i.row(); row.OpType != cdcpb.Event_Row_DELETE || string(row.OldValue) != string(newer.Value) {
		t.Errorf("live row %v, want a deletion with the last value as old value", row)
	}
	f.untilResolved(t, now(t))
}

func TestTwoPhaseCommit(t *testing.T) {
	name, id := createTable(t, "id BIGINT PRIMARY KEY, v VARCHAR(1000)")
	f, _ := subscribe(t, id)
	conn, err := env.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	long := strings.Repeat("x", 500)
	for _, stmt := range []string{
		"SET tidb_enable_async_commit = 0", "SET tidb_enable_1pc = 0",
		"INSERT INTO " + name + " VALUES (1, 'short'), (2, '" + long + "')",
	} {
		if _, err := conn.ExecContext(t.Context(), stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	values := map[string][]byte{}
	for range 2 {
		_, i := f.until(t, "a PREWRITE", func(i item) bool { return i.is(cdcpb.Event_PREWRITE) })
		values[string(i.row().Key)] = i.row().Value
	}
	for range 2 {
		_, i := f.until(t, "a COMMIT", func(i item) bool { return i.is(cdcpb.Event_COMMIT) })
		key := string(i.row().Key)
		want := string(values[key])
		if key == string(rowKey(id, 2)) {
			want = "" // too long to be in the write record
		}
		if got := string(i.row().Value); got != want {
			t.Errorf("COMMIT of %x has value %x, want %x", key, got, want)
		}
	}
}

func TestSplitAndMerge(t *testing.T) {
	name, id := createTable(t, "id BIGINT PRIMARY KEY, v INT")
	f, r := subscribe(t, id)
	start, _ := tableSpan(id)

	var parts struct{ Regions []kvnode.Region }
	post(t, "/regions/split", map[string]any{"key": hexKey(rowKey(id, 100))}, &parts)
	e, ferr := f.untilError(t)
	if e.RegionId != r.Meta.Id || len(ferr.GetEpochNotMatch().GetCurrentRegions()) != 2 {
		t.Fatalf("split ended region %d with %v, want epoch_not_match with two regions", e.RegionId, ferr)
	}
	left, right := regionOf(t, start), regionOf(t, rowKey(id, 100))
	if right.Meta.Id != r.Meta.Id || left.Meta.RegionEpoch.Version != r.Meta.RegionEpoch.Version+1 {
		t.Errorf("split gave %v and %v, want the old id on the right and the next version", left.Meta, right.Meta)
	}

	// A registration with the old epoch fails, with the new one it succeeds.
	f.register(t, r, 2, now(t))
	if _, ferr = f.untilError(t); ferr.GetEpochNotMatch() == nil {
		t.Fatalf("stale registration ended with %v, want epoch_not_match", ferr)
	}
	f.register(t, left, 3, now(t))
	f.untilInitialized(t)
	f.register(t, right, 4, now(t))
	f.untilInitialized(t)

	var merged kvnode.Region
	post(t, "/regions/merge", map[string]any{"source": left.Meta.Id, "target": right.Meta.Id}, &merged)
	ended := map[uint64]bool{}
	for range 2 {
		e, ferr := f.untilError(t)
		if ferr.GetEpochNotMatch() == nil || len(ferr.GetEpochNotMatch().CurrentRegions) != 0 {
			t.Errorf("merge ended region %d with %v, want epoch_not_match without regions", e.RegionId, ferr)
		}
		ended[e.RegionId] = true
	}
	if !ended[left.Meta.Id] || !ended[right.Meta.Id] {
		t.Errorf("merge ended %v, want both regions", ended)
	}
	if want := left.Meta.RegionEpoch.Version + 1; merged.Version != want || merged.ID != right.Meta.Id {
		t.Errorf("merged into %+v, want version %d", merged, want)
	}
	whole := regionOf(t, start)
	if whole.Meta.Id != right.Meta.Id {
		t.Errorf("pd has region %d at the start, want %d", whole.Meta.Id, right.Meta.Id)
	}
	exec(t, "INSERT INTO "+name+" VALUES (1, 1), (200, 2)")
}

func TestTransferLeader(t *testing.T) {
	_, id := createTable(t, "id BIGINT PRIMARY KEY")
	f, r := subscribe(t, id)
	to := otherStore(r.Leader.StoreId)
	post(t, "/regions/transfer", map[string]any{"region": r.Meta.Id, "store": to}, nil)
	if _, ferr := f.untilError(t); ferr.GetNotLeader().GetLeader().GetStoreId() != to {
		t.Fatalf("transfer ended with %v, want not_leader with store %d", ferr, to)
	}
	start, _ := tableSpan(id)
	if got := regionOf(t, start).Leader.StoreId; got != to {
		t.Errorf("pd has the leader on store %d, want %d", got, to)
	}
	f.register(t, r, 2, now(t))
	if _, ferr := f.untilError(t); ferr.GetNotLeader() == nil {
		t.Errorf("registration at the old leader ended with %v, want not_leader", ferr)
	}
}

func otherStore(id uint64) uint64 {
	for _, s := range env.info.Stores {
		if s.ID != id {
			return s.ID
		}
	}
	return 0
}

func TestStopAndStartStore(t *testing.T) {
	name, id := createTable(t, "id BIGINT PRIMARY KEY")
	f, r := subscribe(t, id)
	store := r.Leader.StoreId
	post(t, fmt.Sprintf("/stores/%d/stop", store), map[string]any{"transfer": true}, nil)
	if code := f.broken(t); code != codes.Unavailable {
		t.Errorf("stream of a stopped store ended with %v, want Unavailable", code)
	}
	for _, r := range regions(t, nil, nil) {
		if r.LeaderStore == store {
			t.Fatalf("region %d has its leader on the stopped store", r.ID)
		}
	}
	exec(t, "INSERT INTO "+name+" VALUES (1)")
	post(t, fmt.Sprintf("/stores/%d/start", store), nil, nil)

	// Without the transfer the leaders stay, and the store's address too.
	f, r = subscribe(t, id)
	store = r.Leader.StoreId
	post(t, fmt.Sprintf("/stores/%d/stop", store), nil, nil)
	f.broken(t)
	post(t, fmt.Sprintf("/stores/%d/start", store), nil, nil)
	f, _ = subscribe(t, id)
	exec(t, "INSERT INTO "+name+" VALUES (2)")
	f.untilResolved(t, now(t))
}

func TestBreakStreams(t *testing.T) {
	_, id := createTable(t, "id BIGINT PRIMARY KEY")
	f, r := subscribe(t, id)
	var out struct{ Broken int }
	post(t, "/streams/break", map[string]any{"store": r.Leader.StoreId, "count": 1}, &out)
	if out.Broken != 1 {
		t.Errorf("broke %d streams, want 1", out.Broken)
	}
	if code := f.broken(t); code != codes.Unavailable {
		t.Errorf("broken stream ended with %v, want Unavailable", code)
	}
}

func TestFailRegistrations(t *testing.T) {
	_, id := createTable(t, "id BIGINT PRIMARY KEY")
	start, _ := tableSpan(id)
	r := regionOf(t, start)
	f := openFeed(t, r.Leader.StoreId, multiplexed)
	for _, tc := range []struct {
		kind string
		ok   func(*cdcpb.Error) bool
	}{
		{"NotLeader", func(e *cdcpb.Error) bool { return e.NotLeader.GetRegionId() == r.Meta.Id }},
		{"EpochNotMatch", func(e *cdcpb.Error) bool { return len(e.EpochNotMatch.GetCurrentRegions()) == 1 }},
		{"RegionNotFound", func(e *cdcpb.Error) bool { return e.RegionNotFound.GetRegionId() == r.Meta.Id }},
		{"ServerIsBusy", func(e *cdcpb.Error) bool { return e.ServerIsBusy.GetBackoffMs() == 30 }},
		{"Congested", func(e *cdcpb.Error) bool { return isCongested(e) }},
		{"DuplicateRequest", func(e *cdcpb.Error) bool { return e.DuplicateRequest.GetRegionId() == r.Meta.Id }},
		{"ClusterIDMismatch", func(e *cdcpb.Error) bool { return e.ClusterIdMismatch.GetCurrent() == env.info.ClusterID }},
		{"Compatibility", func(e *cdcpb.Error) bool { return e.Compatibility.GetRequiredVersion() != "" }},
	} {
		post(t, "/registrations/fail", map[string]any{"count": 2, "error": tc.kind, "backoff_ms": 30}, nil)
		for range 2 {
			f.register(t, r, 1, now(t))
			if _, e := f.untilError(t); !tc.ok(e) {
				t.Errorf("%s: registration ended with %v", tc.kind, e)
			}
		}
	}
	post(t, "/registrations/fail", map[string]any{"count": 5, "error": "NotLeader"}, nil)
	post(t, "/registrations/fail", map[string]any{"count": 0}, nil)
	f.register(t, r, 1, now(t))
	f.untilInitialized(t)
	request(t, http.MethodPost, "/registrations/fail", map[string]any{"count": 1, "error": "Nonsense"}, http.StatusBadRequest, nil)
}

// isCongested looks for field 8, which this version of the protocol does not name.
func isCongested(e *cdcpb.Error) bool {
	return len(e.XXX_unrecognized) > 0 && e.XXX_unrecognized[0] == 8<<3|2
}

func TestHoldAndReleaseResolved(t *testing.T) {
	_, id := createTable(t, "id BIGINT PRIMARY KEY")
	f, r := subscribe(t, id)
	f.untilResolved(t, 0)
	for _, region := range []uint64{0, r.Meta.Id} {
		post(t, "/resolved/hold", map[string]any{"region": region}, nil)
		held := now(t)
		var last uint64
		for n := 0; n < 4; n++ {
			_, i := f.until(t, "a resolved ts", func(i item) bool { return i.resolved != nil })
			last = i.resolved.Ts
		}
		if last > held {
			t.Errorf("region %d: resolved ts %d passed %d, where it was held", region, last, held)
		}
		post(t, "/resolved/release", map[string]any{"region": region}, nil)
		f.untilResolved(t, now(t))
	}
}

func TestLockHoldsResolved(t *testing.T) {
	name, id := createTable(t, "id BIGINT PRIMARY KEY, v INT")
	exec(t, "INSERT INTO "+name+" VALUES (1, 1)")
	f, _ := subscribe(t, id)
	tx, err := env.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("UPDATE " + name + " SET v = 2 WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	f.untilResolved(t, now(t)) // a pessimistic lock holds nothing
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	f.untilResolved(t, now(t))
}

func TestDelayEvents(t *testing.T) {
	name, id := createTable(t, "id BIGINT PRIMARY KEY")
	f, _ := subscribe(t, id)
	const delay = 700 * time.Millisecond
	post(t, "/events/delay", map[string]any{"duration": delay.String()}, nil)
	start := time.Now()
	exec(t, "INSERT INTO "+name+" VALUES (1)")
	f.until(t, "the row", func(i item) bool { return i.row() != nil })
	if d := time.Since(start); d < delay {
		t.Errorf("row came after %v, want at least %v", d, delay)
	}
	post(t, "/events/delay", map[string]any{"duration": "0s"}, nil)
	request(t, http.MethodPost, "/events/delay", map[string]any{"duration": "soon"}, http.StatusBadRequest, nil)
}

func TestFeatures(t *testing.T) {
	for _, header := range []string{"nonsense", "", "stream-multiplexing, nonsense"} {
		f := openFeed(t, env.info.Stores[0].ID, feedOptions{features: []string{header}})
		if code := f.broken(t); code != codes.Unimplemented {
			t.Errorf("features %q: stream ended with %v, want Unimplemented", header, code)
		}
	}
}

func TestClientVersions(t *testing.T) {
	name, id := createTable(t, "id BIGINT PRIMARY KEY")
	start, _ := tableSpan(id)
	r := regionOf(t, start)
	open := func(t *testing.T, o feedOptions) *feed {
		f := openFeed(t, r.Leader.StoreId, o)
		f.register(t, r, 5, now(t))
		f.untilInitialized(t)
		return f
	}
	t.Run("v1", func(t *testing.T) {
		f := open(t, feedOptions{v1: true, version: "8.2.0"})
		_, i := f.until(t, "a resolved ts", func(i item) bool { return i.resolved != nil })
		if i.resolved.RequestId != 0 || !slices.Contains(i.resolved.Regions, r.Meta.Id) {
			t.Errorf("resolved ts %v, want the region and request 0", i.resolved)
		}
	})
	t.Run("multiplexed", func(t *testing.T) {
		_, i := open(t, multiplexed).until(t, "a resolved ts", func(i item) bool { return i.resolved != nil })
		if i.resolved.RequestId != 5 {
			t.Errorf("resolved ts %v, want request 5", i.resolved)
		}
	})
	t.Run("old", func(t *testing.T) {
		f := open(t, feedOptions{v1: true, version: "4.0.7"})
		f.until(t, "an event with a resolved ts", func(i item) bool { return i.event.GetResolvedTs() > 0 })
	})
	t.Run("unparsable", func(t *testing.T) {
		f := open(t, feedOptions{features: multiplexed.features, version: "v8.2.0"})
		time.Sleep(time.Second) // time for some ticks
		exec(t, "INSERT INTO "+name+" VALUES (1)")
		before, _ := f.until(t, "the row", func(i item) bool { return i.row() != nil })
		if len(before) != 0 {
			t.Errorf("got %v, want no resolved ts", before)
		}
	})
}

func TestRegistrationErrors(t *testing.T) {
	_, id := createTable(t, "id BIGINT PRIMARY KEY")
	f, r := subscribe(t, id)
	f.register(t, r, 1, now(t))
	if _, e := f.untilError(t); e.DuplicateRequest.GetRegionId() != r.Meta.Id {
		t.Errorf("second registration ended with %v, want duplicate_request", e)
	}
	req := registration(r, 2, now(t))
	req.Header = &cdcpb.Header{ClusterId: 42}
	f.send(t, req)
	if _, e := f.untilError(t); e.ClusterIdMismatch.GetRequest() != 42 {
		t.Errorf("registration of another cluster ended with %v, want cluster_id_mismatch", e)
	}
	req = registration(r, 3, now(t))
	req.KvApi = cdcpb.ChangeDataRequest_TxnKV
	f.send(t, req)
	if _, e := f.untilError(t); e.Compatibility == nil {
		t.Errorf("registration of TxnKV ended with %v, want compatibility", e)
	}
	f.send(t, &cdcpb.ChangeDataRequest{RequestId: 1, Request: &cdcpb.ChangeDataRequest_Deregister_{Deregister: &cdcpb.ChangeDataRequest_Deregister{}}})
	if e, ferr := f.untilError(t); ferr.RegionNotFound == nil || e.RequestId != 1 {
		t.Errorf("deregistration answered %v, want region_not_found of request 1", e)
	}
	f.register(t, r, 1, now(t))
	f.untilInitialized(t)
	if err := f.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if code := f.broken(t); code != codes.Unknown { // io.EOF
		t.Errorf("closed stream ended with %v, want EOF", code)
	}
}

// A client that does not read gets congested for live rows, and all rows of a
// scan once it reads.
func TestFlowControl(t *testing.T) {
	name, id := createTable(t, "id BIGINT PRIMARY KEY, v MEDIUMBLOB")
	checkpoint := now(t)
	f, _ := subscribe(t, id)
	before := stats(t).Congested
	const rows, size = 24, 512 << 10 // three times the quota
	value := make([]byte, size)
	for i := range rows {
		exec(t, "INSERT INTO "+name+" VALUES (?, ?)", i, value)
	}
	if _, e := f.untilError(t); !isCongested(e) {
		t.Fatalf("slow stream ended with %v, want congested", e)
	}
	if got := stats(t).Congested; got != before+1 {
		t.Errorf("counted %d congested subscriptions, want 1", got-before)
	}

	start, _ := tableSpan(id)
	r := regionOf(t, start)
	f = openFeed(t, r.Leader.StoreId, multiplexed)
	f.register(t, r, 1, checkpoint)
	time.Sleep(500 * time.Millisecond) // the scan fills the queue
	if s := stats(t); s.QueuedBytes > 2*streamQuota {
		t.Errorf("%d bytes are queued, want about %d", s.QueuedBytes, streamQuota)
	}
	scanned := 0
	for _, i := range f.untilInitialized(t) {
		if i.is(cdcpb.Event_COMMITTED) {
			scanned++
		}
	}
	if scanned != rows {
		t.Errorf("scanned %d rows, want %d", scanned, rows)
	}
}
