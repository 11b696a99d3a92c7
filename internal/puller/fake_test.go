package puller_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/tikv/client-go/v2/testutils"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/util/codec"
	pd "github.com/tikv/pd/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tidbcdc/tidbcdc/internal/puller"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

const fakeClusterID = 1

// cluster is client-go's mock of PD and the region cache in front of it, with
// stores that speak the change data protocol as a test tells them.
type cluster struct {
	t      testing.TB
	mock   *testutils.MockCluster
	kv     *tikv.KVStore
	stores []*store
	ids    []uint64 // of stores
	region uint64   // the first, which covers everything
	peers  []uint64 // of the first region
}

type clusterOptions struct {
	stores   int // default 1
	store    storeOptions
	hijackPD func(pd.Client) pd.Client
	hijackKV func(tikv.Client) tikv.Client
}

func newCluster(t testing.TB, o clusterOptions) *cluster {
	t.Helper()
	client, mock, pdClient, err := testutils.NewMockTiKV("", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, mock: mock}
	c.ids, c.peers, c.region, _ = testutils.BootstrapWithMultiStores(mock, max(o.stores, 1))
	for _, id := range c.ids {
		s := newStore(t, o.store)
		c.stores = append(c.stores, s)
		mock.UpdateStoreAddr(id, s.addr)
	}
	c.kv, err = tikv.NewTestTiKVStore(client, pdClient, o.hijackKV, o.hijackPD, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.kv.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// split divides the region at a raw key and returns the id of the right part.
func (c *cluster) split(region uint64, key string) uint64 {
	id := c.mock.AllocID()
	peers := c.mock.AllocIDs(len(c.ids))
	c.mock.Split(region, id, []byte(key), peers, peers[0])
	return id
}

// start runs a client until the test ends.
func (c *cluster) start(change func(*puller.Config)) *puller.Client {
	c.t.Helper()
	cfg := puller.Config{
		Store: c.kv, ClusterID: fakeClusterID,
		Logger:    slog.New(slog.NewTextHandler(testWriter{c.t}, nil)),
		RetryBase: time.Millisecond, RetryMax: 20 * time.Millisecond, ReconnectDelay: 5 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	client := puller.New(cfg)
	c.run(client)
	return client
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

type storeOptions struct {
	noV2             bool // answers UNIMPLEMENTED to EventFeedV2
	ignoreDeregister bool
	creds            grpc.ServerOption
}

// store is a ChangeData server that checks what every client must do, and hands
// requests to the test.
type store struct {
	cdcpb.UnimplementedChangeDataServer
	t           testing.TB
	opts        storeOptions
	addr        string
	server      *grpc.Server
	registers   chan *request
	deregisters chan *cdcpb.ChangeDataRequest

	mu     sync.Mutex
	feeds  int // streams opened
	answer func(*request)
}

func newStore(t testing.TB, o storeOptions) *store {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &store{
		t: t, opts: o, addr: l.Addr().String(),
		registers: make(chan *request, 1<<15), deregisters: make(chan *cdcpb.ChangeDataRequest, 1<<10),
	}
	s.serve(l)
	t.Cleanup(func() { s.server.Stop() })
	return s
}

func (s *store) serve(l net.Listener) {
	opts := []grpc.ServerOption{grpc.MaxSendMsgSize(1 << 30)}
	if s.opts.creds != nil {
		opts = append(opts, s.opts.creds)
	}
	s.server = grpc.NewServer(opts...)
	cdcpb.RegisterChangeDataServer(s.server, s)
	go s.server.Serve(l) //nolint:errcheck // ends with Stop
}

// stop kills the store and all its streams.
func (s *store) stop() { s.server.Stop() }

// answerWith makes the store handle registrations itself.
func (s *store) answerWith(f func(*request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

func (s *store) streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feeds
}

func (s *store) EventFeed(f cdcpb.ChangeData_EventFeedServer) error { return s.feed(f, false) }

func (s *store) EventFeedV2(f cdcpb.ChangeData_EventFeedV2Server) error {
	if s.opts.noV2 {
		return status.Error(codes.Unimplemented, "unknown method EventFeedV2")
	}
	md, _ := metadata.FromIncomingContext(f.Context())
	if got := md.Get("features"); !slices.Equal(got, []string{"stream-multiplexing"}) {
		s.t.Errorf("features = %q", got)
		return status.Error(codes.Unimplemented, "unknown features")
	}
	return s.feed(f, true)
}

type serverFeed interface {
	Send(*cdcpb.ChangeDataEvent) error
	Recv() (*cdcpb.ChangeDataRequest, error)
	Context() context.Context
}

// feed is one stream, seen by the store.
type feed struct {
	store       *store
	multiplexed bool
	end         chan error

	mu   sync.Mutex
	raw  serverFeed
	subs map[[2]uint64]*request
}

func (s *store) feed(raw serverFeed, multiplexed bool) error {
	f := &feed{store: s, multiplexed: multiplexed, raw: raw, end: make(chan error, 1), subs: make(map[[2]uint64]*request)}
	s.mu.Lock()
	s.feeds++
	s.mu.Unlock()
	go func() {
		for {
			req, err := raw.Recv()
			if err != nil {
				if err == io.EOF {
					err = nil
				}
				f.close(err)
				return
			}
			f.handle(req)
		}
	}()
	select {
	case err := <-f.end:
		return err
	case <-raw.Context().Done():
		return raw.Context().Err()
	}
}

// close ends the stream from the store's side; nil is a clean EOF.
func (f *feed) close(err error) {
	select {
	case f.end <- err:
	default:
	}
}

func (f *feed) send(e *cdcpb.ChangeDataEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// The client may be gone, which is none of the store's business.
	_ = f.raw.Send(e)
}

func (f *feed) handle(req *cdcpb.ChangeDataRequest) {
	t := f.store.t
	if h := req.GetHeader(); h.GetClusterId() != fakeClusterID || h.GetTicdcVersion() == "" || strings.HasPrefix(h.GetTicdcVersion(), "v") {
		t.Errorf("header = %v", h)
	}
	if req.GetDeregister() != nil {
		f.store.deregisters <- req
		if f.store.opts.ignoreDeregister {
			return
		}
		for _, r := range f.take(req.RequestId, req.RegionId) {
			r.send(&cdcpb.Event{Event: &cdcpb.Event_Error{Error: &cdcpb.Error{
				RegionNotFound: &errorpb.RegionNotFound{RegionId: r.RegionId},
			}}})
		}
		return
	}
	if req.RegionId == 0 || req.RegionEpoch == nil || req.ExtraOp != 1 || req.GetRegister() == nil {
		t.Errorf("incomplete request %v", req)
	}
	r := &request{ChangeDataRequest: req, feed: f}
	f.mu.Lock()
	key := [2]uint64{req.RequestId, req.RegionId}
	if f.subs[key] != nil {
		t.Errorf("region %d is registered twice under request %d", req.RegionId, req.RequestId)
	}
	f.subs[key] = r
	f.mu.Unlock()
	f.store.mu.Lock()
	answer := f.store.answer
	f.store.mu.Unlock()
	if answer != nil {
		answer(r)
		return
	}
	f.store.registers <- r
}

// take removes and returns one region of a request, or all if region is 0.
func (f *feed) take(requestID, region uint64) []*request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var taken []*request
	for key, r := range f.subs {
		if key[0] == requestID && (region == 0 || key[1] == region) {
			taken = append(taken, r)
			delete(f.subs, key)
		}
	}
	return taken
}

// request is a registration. Its methods are what the store answers.
type request struct {
	*cdcpb.ChangeDataRequest
	feed *feed
}

// span returns the requested range of raw keys.
func (r *request) span() string {
	raw := func(k []byte) string {
		if len(k) == 0 {
			return ""
		}
		_, raw, err := codec.DecodeBytes(k, nil)
		if err != nil {
			r.feed.store.t.Errorf("key %x is not memcomparable: %v", k, err)
		}
		return string(raw)
	}
	return raw(r.StartKey) + "-" + raw(r.EndKey)
}

func (r *request) send(events ...*cdcpb.Event) {
	for _, e := range events {
		e.RegionId, e.RequestId = r.RegionId, r.RequestId
	}
	r.feed.send(&cdcpb.ChangeDataEvent{Events: events})
}

func (r *request) rows(rows ...*cdcpb.Event_Row) {
	r.send(&cdcpb.Event{Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: rows}}})
}

func (r *request) initialized() { r.rows(&cdcpb.Event_Row{Type: cdcpb.Event_INITIALIZED}) }

// resolved sends a resolved ts for the region, or for the given ones instead.
func (r *request) resolved(ts uint64, regions ...uint64) {
	if len(regions) == 0 {
		regions = []uint64{r.RegionId}
	}
	m := &cdcpb.ResolvedTs{Regions: regions, Ts: ts}
	if r.feed.multiplexed {
		m.RequestId = r.RequestId
	}
	r.feed.send(&cdcpb.ChangeDataEvent{ResolvedTs: m})
}

// fail ends the registration, as every error does.
func (r *request) fail(err *cdcpb.Error) {
	r.feed.take(r.RequestId, r.RegionId)
	r.send(&cdcpb.Event{Event: &cdcpb.Event_Error{Error: err}})
}

func epochNotMatch() *cdcpb.Error {
	return &cdcpb.Error{EpochNotMatch: &errorpb.EpochNotMatch{}}
}

func notLeader(region uint64, leader *metapb.Peer) *cdcpb.Error {
	return &cdcpb.Error{NotLeader: &errorpb.NotLeader{RegionId: region, Leader: leader}}
}

func regionNotFound(region uint64) *cdcpb.Error {
	return &cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{RegionId: region}}
}

// next returns the next registration, which must be for the span and checkpoint.
func (s *store) next(span string, checkpoint uint64) *request {
	s.t.Helper()
	r := s.register()
	if r.span() != span || r.CheckpointTs != checkpoint {
		s.t.Fatalf("request for %s from %d, want %s from %d", r.span(), r.CheckpointTs, span, checkpoint)
	}
	return r
}

func (s *store) register() *request {
	s.t.Helper()
	select {
	case r := <-s.registers:
		return r
	case <-time.After(patience):
		s.t.Fatal("no registration has come")
		return nil
	}
}

// nextOf returns registrations for the given spans, in the order of the spans.
func (s *store) nextOf(spans ...string) []*request {
	s.t.Helper()
	found := make([]*request, len(spans))
	for range spans {
		r := s.register()
		i := slices.Index(spans, r.span())
		if i < 0 || found[i] != nil {
			s.t.Fatalf("request for %s, want one of %v", r.span(), spans)
		}
		found[i] = r
	}
	return found
}
