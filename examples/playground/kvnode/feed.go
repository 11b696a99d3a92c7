package kvnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/coreos/go-semver/semver"
	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/log"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	featuresHeader     = "features"
	streamMultiplexing = "stream-multiplexing"
	// maxPendingScans is the number of registrations in initialisation from which
	// a store says that it is busy.
	maxPendingScans = 10000
)

// Client versions from which a stream gets batched resolved ts, and from which
// its cluster id is checked.
var (
	versionBatchResolved = *semver.New("4.0.8")
	versionCheckCluster  = *semver.New("5.3.0")
)

// feedService is one store's ChangeData service.
type feedService struct {
	store  *store
	v1Only bool
}

var _ cdcpb.ChangeDataServer = (*feedService)(nil)

// feedCall is what both RPCs have in common.
type feedCall interface {
	Send(*cdcpb.ChangeDataEvent) error
	Recv() (*cdcpb.ChangeDataRequest, error)
	Context() context.Context
}

// EventFeed implements cdcpb.ChangeDataServer. It ignores request headers.
func (f *feedService) EventFeed(call cdcpb.ChangeData_EventFeedServer) error {
	return f.serve(call, false)
}

// EventFeedV2 implements cdcpb.ChangeDataServer.
func (f *feedService) EventFeedV2(call cdcpb.ChangeData_EventFeedV2Server) error {
	if f.v1Only {
		return status.Error(codes.Unimplemented, "unknown method EventFeedV2 for service cdcpb.ChangeData")
	}
	multiplexing, err := features(call.Context())
	if err != nil {
		return err
	}
	return f.serve(call, multiplexing)
}

// features reads the features that a client requires. An unknown one, also the
// empty name, ends the call.
func features(ctx context.Context) (multiplexing bool, err error) {
	md, _ := metadata.FromIncomingContext(ctx)
	var unknown []string
	for _, header := range md.Get(featuresHeader) {
		for name := range strings.SplitSeq(header, ",") {
			if name = strings.TrimSpace(name); name == streamMultiplexing {
				multiplexing = true
			} else {
				unknown = append(unknown, name)
			}
		}
	}
	if len(unknown) > 0 {
		return false, status.Error(codes.Unimplemented, strings.Join(unknown, ","))
	}
	return multiplexing, nil
}

// serve runs one stream. It ends with OK when the client closes its side, and
// with an error when the stream fails or is broken on purpose.
func (f *feedService) serve(call feedCall, multiplexing bool) error {
	st := newFeedStream(f.store, multiplexing)
	h := st.hub
	h.openStream(st)
	defer h.closeStream(st)
	results := make(chan error, 2) // one from each goroutine: both end with the call
	go func() { results <- st.sendLoop(call.Context(), call.Send) }()
	go func() { results <- f.receive(st, call) }()
	select {
	case err := <-results:
		return err
	case err := <-st.broken:
		return err
	}
}

func (f *feedService) receive(st *feedStream, call feedCall) error {
	for {
		req, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f.handle(st, req)
	}
}

func (h *hub) openStream(st *feedStream) {
	h.stats.streams.Add(1)
	h.stats.opened.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams = append(h.streams, st)
}

func (h *hub) closeStream(st *feedStream) {
	h.stats.streams.Add(-1)
	h.mu.Lock()
	defer h.mu.Unlock()
	st.ended = true
	h.streams = slices.DeleteFunc(h.streams, func(s *feedStream) bool { return s == st })
	for _, s := range st.subs {
		h.dropLocked(s)
	}
	st.forget()
}

// BreakStreams aborts up to count streams of a store, the oldest first; store 0
// means any. It returns how many it broke.
func (c *Cluster) BreakStreams(store uint64, count int) (int, error) {
	if store != 0 && c.store(store) == nil {
		return 0, fmt.Errorf("break streams of store %d: %w", store, ErrNoStore)
	}
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	broken := 0
	for _, st := range c.hub.streams {
		if broken == count {
			break
		}
		if store != 0 && st.store.id() != store {
			continue
		}
		select {
		case st.broken <- status.Error(codes.Unavailable, "stream broken on purpose"):
			broken++
		default: // broken already, not yet gone
		}
	}
	c.hub.stats.broken.Add(int64(broken))
	return broken, nil
}

// handle processes one request. Requests of a stream are handled in order.
func (f *feedService) handle(st *feedStream, req *cdcpb.ChangeDataRequest) {
	if !st.versioned {
		st.setVersion(req.GetHeader().GetTicdcVersion())
	}
	switch {
	case req.GetDeregister() != nil:
		st.hub.deregister(st, req)
	case req.GetNotifyTxnStatus() != nil: // TiKV has no use for it either
	default:
		f.register(st, req)
	}
}

// setVersion sets the gates from the client's version. What is not strict semver
// counts as 0.0.0.
func (st *feedStream) setVersion(version string) {
	st.versioned = true
	v, err := semver.NewVersion(version)
	if err != nil {
		log.Warn("client version is not a semantic version", zap.String("version", version), zap.Error(err))
		v = &semver.Version{}
	}
	st.batchResolved = !v.LessThan(versionBatchResolved)
	st.checkCluster = !v.LessThan(versionCheckCluster)
}

func (h *hub) deregister(st *feedStream, req *cdcpb.ChangeDataRequest) {
	h.stats.deregistrations.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, s := range st.subs {
		if k.request == req.RequestId && (req.RegionId == 0 || k.region == req.RegionId) {
			h.endLocked(s, &cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{RegionId: k.region}})
		}
	}
}

// register checks a registration in TiKV's order and starts its scan. From the
// moment the subscription exists changes flow to it; the locks of that moment
// and the versions above the checkpoint come from the scan.
func (f *feedService) register(st *feedStream, req *cdcpb.ChangeDataRequest) {
	h := st.hub
	h.stats.registrations.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if st.ended {
		return
	}
	r, e := f.checkLocked(st, req)
	if e != nil {
		st.pushError(req.RegionId, req.RequestId, e)
		return
	}
	s := newSubscription(st, r, req)
	h.addLocked(s)
	var locks []*trackedLock
	h.locks.AscendGreaterOrEqual(&trackedLock{key: s.start}, func(l *trackedLock) bool {
		if !s.covers(l.key) {
			return false
		}
		locks = append(locks, l)
		return true
	})
	h.stats.scanning.Add(1)
	go func() { // ends with the scan, or with the subscription
		defer h.stats.scanning.Add(-1)
		h.scan(s, locks, f.store.scans)
	}()
}

// checkLocked finds the region of a registration, or the error it ends with.
func (f *feedService) checkLocked(st *feedStream, req *cdcpb.ChangeDataRequest) (*region, *cdcpb.Error) {
	h, regions := st.hub, f.store.cluster.regions
	clusterID := f.store.cluster.pd.clusterID
	if fail, ok := h.faults.next(); ok {
		return nil, fail.event(req, clusterID, regions.get(req.RegionId))
	}
	if got := req.GetHeader().GetClusterId(); st.checkCluster && got != clusterID {
		return nil, &cdcpb.Error{ClusterIdMismatch: &cdcpb.ClusterIDMismatch{Current: clusterID, Request: got}}
	}
	if req.KvApi != cdcpb.ChangeDataRequest_TiDB {
		return nil, &cdcpb.Error{Compatibility: &cdcpb.Compatibility{RequiredVersion: requiredVersion}}
	}
	if h.stats.scanning.Load() >= maxPendingScans {
		return nil, &cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{Reason: "too many pending incremental scans"}}
	}
	if regions.get(req.RegionId) == nil {
		return nil, &cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{RegionId: req.RegionId}}
	}
	if st.subs[subKey{req.RegionId, req.RequestId}] != nil {
		return nil, &cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{RegionId: req.RegionId}}
	}
	r, e := regions.check(req.RegionId, req.RegionEpoch, f.store.id(), true)
	if e != nil {
		return nil, feedError(e)
	}
	return r, nil
}
