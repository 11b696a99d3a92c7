package cdctest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"golang.org/x/mod/semver"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

const streamMultiplexing = "stream-multiplexing"

// feedServer is a store's ChangeData service.
type feedServer struct{ store *store }

// feedCall is what both RPCs have in common.
type feedCall interface {
	Send(*cdcpb.ChangeDataEvent) error
	Recv() (*cdcpb.ChangeDataRequest, error)
	Context() context.Context
}

// EventFeed implements cdcpb.ChangeDataServer. It ignores request headers.
func (f *feedServer) EventFeed(call cdcpb.ChangeData_EventFeedServer) error {
	return f.serve(call, false)
}

// EventFeedV2 implements cdcpb.ChangeDataServer.
func (f *feedServer) EventFeedV2(call cdcpb.ChangeData_EventFeedV2Server) error {
	if f.store.cluster.cfg.Old.NoMultiplexing {
		return status.Error(codes.Unimplemented, "unknown method EventFeedV2 for service cdcpb.ChangeData")
	}
	md, _ := metadata.FromIncomingContext(call.Context())
	multiplexing := false
	var unknown []string
	for _, header := range md.Get("features") {
		for name := range strings.SplitSeq(header, ",") {
			if name = strings.TrimSpace(name); name == streamMultiplexing {
				multiplexing = true
			} else {
				unknown = append(unknown, name)
			}
		}
	}
	if len(unknown) > 0 {
		return status.Error(codes.Unimplemented, strings.Join(unknown, ","))
	}
	return f.serve(call, multiplexing)
}

// serve runs one stream. It ends with OK when the client closes its side.
func (f *feedServer) serve(call feedCall, multiplexing bool) error {
	c := f.store.cluster
	st := &feedStream{
		store: f.store, cluster: c, multiplexing: multiplexing,
		subs: map[subKey]*Subscription{}, wake: make(chan struct{}, 1), broken: make(chan error, 1),
	}
	c.update(func() { f.store.streams = append(f.store.streams, st) })
	defer c.update(func() {
		f.store.streams = slices.DeleteFunc(f.store.streams, func(s *feedStream) bool { return s == st })
		for _, s := range st.subs {
			s.removeLocked()
		}
	})
	// Both goroutines end with the call, whose end they may be the cause of.
	ended := make(chan error, 2)
	c.wg.Go(func() { ended <- st.receive(call) })
	c.wg.Go(func() { ended <- st.send(call) })
	select {
	case err := <-ended:
		return err
	case err := <-st.broken:
		if errors.Is(err, errEndOfStream) {
			return nil
		}
		return err
	}
}

// subKey identifies a subscription within its stream.
type subKey struct{ request, region uint64 }

// feedStream is one stream of a client. Its fields are guarded by Cluster.mu.
type feedStream struct {
	store        *store
	cluster      *Cluster
	multiplexing bool

	started      bool // the first request has been read
	batched      bool // resolved ts may be batched
	checkCluster bool

	subs   map[subKey]*Subscription
	scans  []*Subscription // whose scan has not ended, the oldest first
	queue  []*cdcpb.ChangeDataEvent
	bytes  int // of rows in queue
	wake   chan struct{}
	broken chan error
}

// poke tells the sending goroutine that there may be something to send.
func (st *feedStream) poke() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// endLocked breaks the stream.
func (st *feedStream) endLocked(err error) {
	select {
	case st.broken <- err:
	default: // broken already
	}
}

func (st *feedStream) receive(call feedCall) error {
	for {
		req, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		st.cluster.update(func() { st.handleLocked(req) })
	}
}

func (st *feedStream) send(call feedCall) error {
	for {
		st.cluster.mu.Lock()
		msg := st.nextLocked()
		st.cluster.mu.Unlock()
		if msg != nil {
			if err := call.Send(msg); err != nil {
				return err
			}
			continue
		}
		select {
		case <-st.wake:
		case <-call.Context().Done():
			return call.Context().Err()
		}
	}
}

// nextLocked returns what to send next, nil for nothing: live rows, or a piece
// of a scan. Their order among each other is free.
func (st *feedStream) nextLocked() *cdcpb.ChangeDataEvent {
	if st.store.paused {
		return nil
	}
	scanFirst := st.cluster.random != nil && st.cluster.random.IntN(2) == 0
	if len(st.queue) > 0 && !scanFirst {
		return st.popLocked()
	}
	for _, s := range st.scans { // which scanLocked changes, but then the loop ends
		if msg := s.scanLocked(); msg != nil {
			st.cluster.touchLocked()
			return msg
		}
	}
	return st.popLocked()
}

func (st *feedStream) popLocked() *cdcpb.ChangeDataEvent {
	if len(st.queue) == 0 {
		return nil
	}
	msg := st.queue[0]
	st.queue[0] = nil
	st.queue = st.queue[1:]
	st.bytes -= eventBytes(msg)
	return msg
}

func (st *feedStream) pushLocked(msg *cdcpb.ChangeDataEvent) {
	st.queue = append(st.queue, msg)
	st.bytes += eventBytes(msg)
	st.poke()
}

// eventBytes is the size of the rows in a message.
func eventBytes(msg *cdcpb.ChangeDataEvent) int {
	n := 0
	for _, e := range msg.Events {
		for _, row := range e.GetEntries().GetEntries() {
			n += rowBytes(row)
		}
	}
	return n
}

func rowBytes(row *cdcpb.Event_Row) int {
	return len(row.Key) + len(row.Value) + len(row.OldValue)
}

// handleLocked serves one request.
func (st *feedStream) handleLocked(req *cdcpb.ChangeDataRequest) {
	if !st.started {
		st.started = true
		st.negotiate(req.GetHeader().GetTicdcVersion())
	}
	st.checkHeader(req)
	if req.GetDeregister() != nil {
		for _, s := range st.subs {
			if s.RequestID == req.RequestId && (req.RegionId == 0 || s.RegionID == req.RegionId) {
				s.failLocked(RegionNotFound(s.RegionID))
			}
		}
		return
	}
	if req.GetExtraOp() != kvrpcpb.ExtraOp_ReadOldValue || req.RegionId == 0 || req.RegionEpoch == nil {
		st.cluster.violate("incomplete registration of region %d, request %d", req.RegionId, req.RequestId)
	}
	s := st.newSubscription(req)
	if err := st.refuseLocked(s, req); err != nil {
		s.state = subEnded
		s.pushLocked(&cdcpb.Event{Event: &cdcpb.Event_Error{Error: err}})
		return
	}
	s.startLocked()
}

// negotiate derives from the client's version what the stream may carry. The
// version must be strict semver without a leading "v".
func (st *feedStream) negotiate(version string) {
	v := "v" + version
	if !semver.IsValid(v) || strings.Count(strings.SplitN(version, "-", 2)[0], ".") != 2 {
		st.cluster.violate("client version %q is not strict semver: a store would never send it a resolved ts", version)
		v = "v0.0.0"
	}
	st.batched = semver.Compare(v, "v4.0.8") >= 0 && !st.cluster.cfg.Old.SingleResolved
	st.checkCluster = semver.Compare(v, "v5.3.0") >= 0
}

// checkHeader holds every request against what the client promised to send.
func (st *feedStream) checkHeader(req *cdcpb.ChangeDataRequest) {
	if h := req.GetHeader(); h.GetClusterId() == 0 || h.GetTicdcVersion() == "" {
		st.cluster.violate("request %d for region %d has the header %v: cluster id and version belong into each", req.RequestId, req.RegionId, h)
	}
}

func (st *feedStream) newSubscription(req *cdcpb.ChangeDataRequest) *Subscription {
	s := &Subscription{
		RequestID: req.RequestId, RegionID: req.RegionId, CheckpointTs: event.Ts(req.CheckpointTs),
		FilterLoop: req.FilterLoop, Store: st.store.id, stream: st, cluster: st.cluster,
	}
	for _, k := range []struct {
		encoded []byte
		raw     *[]byte
	}{{req.StartKey, &s.Span.Start}, {req.EndKey, &s.Span.End}} {
		raw, err := decodeKey(k.encoded)
		if err != nil {
			st.cluster.violate("registration of region %d, request %d: %v", req.RegionId, req.RequestId, err)
		}
		*k.raw = raw
	}
	return s
}

// refuseLocked checks a registration in TiKV's order; the first failure counts.
func (st *feedStream) refuseLocked(s *Subscription, req *cdcpb.ChangeDataRequest) *cdcpb.Error {
	c := st.cluster
	if fn := c.faults.onRegister; fn != nil {
		if err := fn(s); err != nil {
			return err
		}
	}
	r := c.regionLocked(s.RegionID)
	switch {
	case st.checkCluster && req.GetHeader().GetClusterId() != c.cfg.ClusterID:
		return ClusterIDMismatch(c.cfg.ClusterID, req.GetHeader().GetClusterId())
	case req.KvApi == cdcpb.ChangeDataRequest_TxnKV:
		return Compatibility("6.2.0")
	case r == nil || r.peerOn(st.store.id) == nil:
		return RegionNotFound(s.RegionID)
	case st.subs[s.key()] != nil:
		c.violate("region %d is registered twice under request %d", s.RegionID, s.RequestID)
		return DuplicateRequest(s.RegionID)
	case !st.multiplexing && st.hasRegion(s.RegionID):
		c.violate("region %d is registered twice on a stream without multiplexing", s.RegionID)
	case !r.ledBy(st.store.id):
		return &cdcpb.Error{NotLeader: &errorpb.NotLeader{RegionId: r.id, Leader: r.leader}}
	case r.merging:
		return EpochNotMatch()
	case r.epoch.Version != req.GetRegionEpoch().GetVersion():
		return &cdcpb.Error{EpochNotMatch: &errorpb.EpochNotMatch{CurrentRegions: []*metapb.Region{r.meta()}}}
	}
	s.Span = intersect(r.span, s.Span)
	s.observed = s.Span
	if c.cfg.Old.WholeRegion {
		s.observed = r.span
	}
	return nil
}

func (st *feedStream) hasRegion(id uint64) bool {
	for key := range st.subs {
		if key.region == id {
			return true
		}
	}
	return false
}
