package cdctest

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// gcWorker is the service name of TiDB's own GC safe point.
const gcWorker = "gc_worker"

// pdServer is a PD of one member.
type pdServer struct {
	pdpb.UnimplementedPDServer
	cluster *Cluster
	addr    string
	server  *grpc.Server // nil while it is stopped; guarded by Cluster.mu
}

// servePD starts a PD on loopback. Cluster.wg counts its goroutine.
func servePD(c *Cluster) (*pdServer, error) {
	p := &pdServer{cluster: c}
	return p, p.listen("")
}

func (p *pdServer) listen(addr string) error {
	l, err := listen(addr)
	if err != nil {
		return fmt.Errorf("listen as PD: %w", err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(p.pausable), grpc.KeepaliveEnforcementPolicy(keepalivePolicy))
	pdpb.RegisterPDServer(server, p)
	etcdserverpb.RegisterKVServer(server, &etcdKV{})
	etcdserverpb.RegisterClusterServer(server, &etcdCluster{pd: p})
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	p.cluster.update(func() {
		p.server = server
		if p.addr == "" { // it never changes afterwards, so it is read without the lock
			p.addr = l.Addr().String()
		}
	})
	p.cluster.wg.Go(func() {
		_ = server.Serve(l) // ends with stop
	})
	return nil
}

// stop breaks all connections and waits until PD's calls have returned.
func (p *pdServer) stop() {
	var server *grpc.Server
	p.cluster.update(func() { server, p.server = p.server, nil })
	if server != nil {
		server.Stop()
	}
}

// StopPD kills PD.
func (c *Cluster) StopPD() { c.pd.stop() }

// StartPD brings PD back at its old address.
func (c *Cluster) StartPD() error { return c.pd.listen(c.pd.addr) }

// PausePD makes PD answer nothing, timestamps included, until ResumePD.
func (c *Cluster) PausePD() {
	c.update(func() {
		if c.faults.pdPaused == nil {
			c.faults.pdPaused = make(chan struct{})
		}
	})
}

// ResumePD undoes PausePD: what was asked meanwhile is answered.
func (c *Cluster) ResumePD() {
	c.update(func() {
		if c.faults.pdPaused != nil {
			close(c.faults.pdPaused)
			c.faults.pdPaused = nil
		}
	})
}

// waitPaused waits while PD is paused.
func (p *pdServer) waitPaused(ctx context.Context) error {
	p.cluster.mu.Lock()
	paused := p.cluster.faults.pdPaused
	p.cluster.mu.Unlock()
	if paused == nil {
		return nil
	}
	select {
	case <-paused:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *pdServer) pausable(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := p.waitPaused(ctx); err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

// etcdCluster says who the members of PD's etcd are, which its clients ask for now and
// then.
type etcdCluster struct {
	etcdserverpb.UnimplementedClusterServer
	pd *pdServer
}

// MemberList implements etcdserverpb.ClusterServer.
func (e *etcdCluster) MemberList(context.Context, *etcdserverpb.MemberListRequest) (*etcdserverpb.MemberListResponse, error) {
	return &etcdserverpb.MemberListResponse{
		Header:  &etcdserverpb.ResponseHeader{},
		Members: []*etcdserverpb.Member{{ID: 1, Name: "pd", ClientURLs: []string{"http://" + e.pd.addr}}},
	}, nil
}

// etcdKV is the etcd inside PD, without keys: TiDB's GC worker has left no safe
// point there, which the TiKV client takes for "nothing was collected".
type etcdKV struct {
	etcdserverpb.UnimplementedKVServer
}

func (*etcdKV) Range(context.Context, *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{}}, nil
}

func (p *pdServer) header() *pdpb.ResponseHeader {
	return &pdpb.ResponseHeader{ClusterId: p.cluster.cfg.ClusterID}
}

// GetMembers implements pdpb.PDServer.
func (p *pdServer) GetMembers(context.Context, *pdpb.GetMembersRequest) (*pdpb.GetMembersResponse, error) {
	url := []string{"http://" + p.addr}
	m := &pdpb.Member{Name: "pd", MemberId: 1, ClientUrls: url, PeerUrls: url}
	return &pdpb.GetMembersResponse{Header: p.header(), Members: []*pdpb.Member{m}, Leader: m, EtcdLeader: m}, nil
}

// GetClusterInfo implements pdpb.PDServer.
func (p *pdServer) GetClusterInfo(context.Context, *pdpb.GetClusterInfoRequest) (*pdpb.GetClusterInfoResponse, error) {
	return &pdpb.GetClusterInfoResponse{Header: p.header(), ServiceModes: []pdpb.ServiceMode{pdpb.ServiceMode_PD_SVC_MODE}}, nil
}

// Tso implements pdpb.PDServer.
func (p *pdServer) Tso(stream pdpb.PD_TsoServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil // the client has gone
		}
		if p.waitPaused(stream.Context()) != nil {
			return nil
		}
		ts, ok := p.cluster.oracle.serve(int(req.Count))
		if !ok {
			return status.Error(codes.Unavailable, "no timestamp: the test says so")
		}
		err = stream.Send(&pdpb.TsoResponse{
			Header: p.header(), Count: req.Count,
			Timestamp: &pdpb.Timestamp{Physical: ts.Physical(), Logical: ts.Logical()},
		})
		if err != nil {
			return nil
		}
	}
}

func (p *pdServer) regionResponse(r *region) *pdpb.GetRegionResponse {
	resp := &pdpb.GetRegionResponse{Header: p.header()}
	if r != nil {
		resp.Region, resp.Leader = r.meta(), r.leader
	}
	return resp
}

// GetRegion implements pdpb.PDServer.
func (p *pdServer) GetRegion(_ context.Context, req *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	key, err := decodeKey(req.RegionKey)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	return p.regionResponse(regionAt(p.cluster.knownToPD(), key)), nil
}

// GetPrevRegion implements pdpb.PDServer.
func (p *pdServer) GetPrevRegion(_ context.Context, req *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	key, err := decodeKey(req.RegionKey)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	var prev *region
	for _, r := range p.cluster.knownToPD() {
		if len(r.span.End) == 0 || bytes.Compare(r.span.End, key) > 0 {
			break
		}
		prev = r
	}
	return p.regionResponse(prev), nil
}

// GetRegionByID implements pdpb.PDServer.
func (p *pdServer) GetRegionByID(_ context.Context, req *pdpb.GetRegionByIDRequest) (*pdpb.GetRegionResponse, error) {
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	for _, r := range p.cluster.knownToPD() {
		if r.id == req.RegionId {
			return p.regionResponse(r), nil
		}
	}
	return p.regionResponse(nil), nil
}

// scan returns up to limit regions of a range of encoded keys; 0 is no limit.
func (p *pdServer) scan(start, end []byte, limit int) ([]*pdpb.Region, error) {
	from, err := decodeKey(start)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	to, err := decodeKey(end)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	p.cluster.faults.regionScans++
	var out []*pdpb.Region
	regions := p.cluster.knownToPD()
	for _, r := range regions[indexAt(regions, from):] {
		if len(to) > 0 && bytes.Compare(r.span.Start, to) >= 0 || limit > 0 && len(out) == limit {
			break
		}
		out = append(out, &pdpb.Region{Region: r.meta(), Leader: r.leader})
	}
	return out, nil
}

// RegionScans returns how often PD has been asked for the regions of a range.
func (c *Cluster) RegionScans() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults.regionScans
}

// ScanRegions implements pdpb.PDServer.
func (p *pdServer) ScanRegions(_ context.Context, req *pdpb.ScanRegionsRequest) (*pdpb.ScanRegionsResponse, error) {
	regions, err := p.scan(req.StartKey, req.EndKey, int(req.Limit))
	if err != nil {
		return nil, err
	}
	resp := &pdpb.ScanRegionsResponse{Header: p.header(), Regions: regions}
	for _, r := range regions {
		resp.RegionMetas = append(resp.RegionMetas, r.Region)
		leader := r.Leader
		if leader == nil {
			leader = &metapb.Peer{}
		}
		resp.Leaders = append(resp.Leaders, leader)
	}
	return resp, nil
}

// BatchScanRegions implements pdpb.PDServer.
func (p *pdServer) BatchScanRegions(_ context.Context, req *pdpb.BatchScanRegionsRequest) (*pdpb.BatchScanRegionsResponse, error) {
	resp := &pdpb.BatchScanRegionsResponse{Header: p.header()}
	for _, r := range req.Ranges {
		limit := 0
		if req.Limit > 0 {
			if limit = int(req.Limit) - len(resp.Regions); limit <= 0 {
				break
			}
		}
		regions, err := p.scan(r.StartKey, r.EndKey, limit)
		if err != nil {
			return nil, err
		}
		// Two ranges may touch the same region.
		for _, r := range regions {
			if n := len(resp.Regions); n == 0 || resp.Regions[n-1].Region.Id != r.Region.Id {
				resp.Regions = append(resp.Regions, r)
			}
		}
	}
	return resp, nil
}

// GetStore implements pdpb.PDServer.
func (p *pdServer) GetStore(_ context.Context, req *pdpb.GetStoreRequest) (*pdpb.GetStoreResponse, error) {
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	for _, s := range p.cluster.stores {
		if s.id == req.StoreId {
			return &pdpb.GetStoreResponse{Header: p.header(), Store: s.metaLocked()}, nil
		}
	}
	header := p.header()
	header.Error = &pdpb.Error{Type: pdpb.ErrorType_UNKNOWN, Message: fmt.Sprintf("invalid store ID %d, not found", req.StoreId)}
	return &pdpb.GetStoreResponse{Header: header}, nil
}

// GetAllStores implements pdpb.PDServer.
func (p *pdServer) GetAllStores(_ context.Context, req *pdpb.GetAllStoresRequest) (*pdpb.GetAllStoresResponse, error) {
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	resp := &pdpb.GetAllStoresResponse{Header: p.header()}
	for _, s := range p.cluster.stores {
		if !s.tombstone || !req.ExcludeTombstoneStores {
			resp.Stores = append(resp.Stores, s.metaLocked())
		}
	}
	return resp, nil
}

// GetGCSafePoint implements pdpb.PDServer.
func (p *pdServer) GetGCSafePoint(context.Context, *pdpb.GetGCSafePointRequest) (*pdpb.GetGCSafePointResponse, error) {
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	return &pdpb.GetGCSafePointResponse{Header: p.header(), SafePoint: uint64(p.cluster.gc[gcWorker].ts)}, nil
}

// UpdateServiceGCSafePoint implements pdpb.PDServer. As in PD, a safe point below
// the least of all services is not stored, and the answer alone tells.
func (p *pdServer) UpdateServiceGCSafePoint(_ context.Context, req *pdpb.UpdateServiceGCSafePointRequest) (*pdpb.UpdateServiceGCSafePointResponse, error) {
	c, service, ts := p.cluster, string(req.ServiceId), event.Ts(req.SafePoint)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.touchLocked()
	c.expireLocked()
	switch {
	case req.TTL <= 0:
		delete(c.gc, service)
	case ts >= c.leastSafePointLocked():
		p := safePoint{ts: ts}
		if ttl := time.Duration(req.TTL) * time.Second; ttl/time.Second == time.Duration(req.TTL) {
			p.expires = c.oracle.Now().Add(ttl)
		}
		c.gc[service] = p
	}
	return &pdpb.UpdateServiceGCSafePointResponse{
		Header: p.header(), ServiceId: req.ServiceId, TTL: req.TTL, MinSafePoint: uint64(c.leastSafePointLocked()),
	}, nil
}

func (c *Cluster) leastSafePointLocked() event.Ts {
	least := c.gc[gcWorker].ts
	for _, p := range c.gc {
		least = min(least, p.ts)
	}
	return least
}
