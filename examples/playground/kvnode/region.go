package kvnode

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv"
	"github.com/pingcap/tidb/pkg/util/codec"
)

// region is one version of a region: it does not change, a change replaces it.
// It is the tikv.RegionCtx that the engine asks for.
type region struct {
	meta     *metapb.Region
	leader   *metapb.Peer
	start    []byte // raw
	end      []byte // raw, never empty: the last region ends at the engine's own keys
	written  int64  // the engine's count of written bytes
	latchTab *latches
}

var _ tikv.RegionCtx = (*region)(nil)

func newRegion(meta *metapb.Region, leader *metapb.Peer, l *latches) (*region, error) {
	r := &region{meta: meta, leader: leader, end: tikv.InternalKeyPrefix, latchTab: l}
	var err error
	if len(meta.StartKey) > 0 {
		if _, r.start, err = codec.DecodeBytes(meta.StartKey, nil); err != nil {
			return nil, fmt.Errorf("decode start key of region %d: %w", meta.Id, err)
		}
	}
	if len(meta.EndKey) > 0 {
		if _, r.end, err = codec.DecodeBytes(meta.EndKey, nil); err != nil {
			return nil, fmt.Errorf("decode end key of region %d: %w", meta.Id, err)
		}
	}
	return r, nil
}

// Meta implements tikv.RegionCtx.
func (r *region) Meta() *metapb.Region { return r.meta }

// Diff implements tikv.RegionCtx.
func (r *region) Diff() *int64 { return &r.written }

// RawStart implements tikv.RegionCtx.
func (r *region) RawStart() []byte { return r.start }

// RawEnd implements tikv.RegionCtx.
func (r *region) RawEnd() []byte { return r.end }

// AcquireLatches implements tikv.RegionCtx.
func (r *region) AcquireLatches(hashes []uint64) { r.latchTab.acquire(hashes) }

// ReleaseLatches implements tikv.RegionCtx.
func (r *region) ReleaseLatches(hashes []uint64) { r.latchTab.release(hashes) }

func (r *region) contains(raw []byte) bool {
	return bytes.Compare(raw, r.start) >= 0 && bytes.Compare(raw, r.end) < 0
}

func (r *region) peerOn(store uint64) *metapb.Peer {
	for _, p := range r.meta.Peers {
		if p.StoreId == store {
			return p
		}
	}
	return nil
}

// regionMap holds the regions and is the tikv.RegionManager of the engine. It is
// changed by Cluster.replaceRegions only.
type regionMap struct {
	cluster *Cluster
	latches *latches

	mu struct {
		sync.RWMutex
		byID   map[uint64]*region
		sorted []*region // by start
	}
}

var _ tikv.RegionManager = (*regionMap)(nil)

func newRegionMap(c *Cluster) *regionMap {
	m := &regionMap{cluster: c, latches: newLatches()}
	m.mu.byID = map[uint64]*region{}
	return m
}

// replace removes the ids and puts the regions. The result must cover all keys
// once; that is the caller's care.
func (m *regionMap) replace(remove []uint64, put []*region) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range remove {
		delete(m.mu.byID, id)
	}
	for _, r := range put {
		m.mu.byID[r.meta.Id] = r
	}
	sorted := make([]*region, 0, len(m.mu.byID))
	for _, r := range m.mu.byID {
		sorted = append(sorted, r)
	}
	slices.SortFunc(sorted, func(a, b *region) int { return bytes.Compare(a.start, b.start) })
	m.mu.sorted = sorted
}

// all returns the regions in key order. The slice is shared: do not change it.
func (m *regionMap) all() []*region {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.mu.sorted
}

func (m *regionMap) get(id uint64) *region {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.mu.byID[id]
}

func (m *regionMap) byKey(raw []byte) *region {
	sorted := m.all()
	i := sort.Search(len(sorted), func(i int) bool { return bytes.Compare(sorted[i].start, raw) > 0 })
	if i == 0 {
		return nil
	}
	return sorted[i-1]
}

// check finds the region of a request to a store. CDC compares the epoch by
// version alone, everything else by both numbers.
func (m *regionMap) check(id uint64, epoch *metapb.RegionEpoch, storeID uint64, byVersion bool) (*region, *errorpb.Error) {
	r := m.get(id)
	if r == nil {
		return nil, &errorpb.Error{Message: "region not found", RegionNotFound: &errorpb.RegionNotFound{RegionId: id}}
	}
	if storeID != 0 && r.leader.StoreId != storeID {
		return nil, &errorpb.Error{Message: "not leader", NotLeader: &errorpb.NotLeader{RegionId: id, Leader: r.leader}}
	}
	have := r.meta.RegionEpoch
	if have.Version != epoch.GetVersion() || (!byVersion && have.ConfVer != epoch.GetConfVer()) {
		return nil, &errorpb.Error{Message: "stale epoch", EpochNotMatch: &errorpb.EpochNotMatch{CurrentRegions: []*metapb.Region{r.meta}}}
	}
	return r, nil
}

// GetRegionFromCtx implements tikv.RegionManager.
func (m *regionMap) GetRegionFromCtx(ctx *kvrpcpb.Context) (tikv.RegionCtx, *errorpb.Error) {
	store := ctx.GetPeer().GetStoreId()
	if ctx.GetReplicaRead() || ctx.GetStaleRead() {
		store = 0 // any peer may answer
	}
	r, e := m.check(ctx.GetRegionId(), ctx.GetRegionEpoch(), store, false)
	if e != nil {
		return nil, e
	}
	return r, nil
}

// GetStoreInfoFromCtx implements tikv.RegionManager.
func (m *regionMap) GetStoreInfoFromCtx(ctx *kvrpcpb.Context) (string, uint64, *errorpb.Error) {
	id := ctx.GetPeer().GetStoreId()
	for _, s := range m.cluster.stores {
		if s.id() == id || id == 0 {
			return s.addr(), s.id(), nil
		}
	}
	return "", 0, &errorpb.Error{Message: "store not match", StoreNotMatch: &errorpb.StoreNotMatch{RequestStoreId: id}}
}

// GetStoreIDByAddr implements tikv.RegionManager.
func (m *regionMap) GetStoreIDByAddr(addr string) (uint64, error) {
	for _, s := range m.cluster.stores {
		if s.addr() == addr {
			return s.id(), nil
		}
	}
	return 0, fmt.Errorf("find store at %s: %w", addr, ErrNoStore)
}

// GetStoreAddrByStoreID implements tikv.RegionManager.
func (m *regionMap) GetStoreAddrByStoreID(id uint64) (string, error) {
	if s := m.cluster.store(id); s != nil {
		return s.addr(), nil
	}
	return "", fmt.Errorf("find store %d: %w", id, ErrNoStore)
}

// Close implements tikv.RegionManager.
func (m *regionMap) Close() error { return nil }

// SplitRegion implements tikv.RegionManager.
func (m *regionMap) SplitRegion(req *kvrpcpb.SplitRegionRequest) *kvrpcpb.SplitRegionResponse {
	ctx := req.GetContext()
	old, e := m.check(ctx.GetRegionId(), ctx.GetRegionEpoch(), ctx.GetPeer().GetStoreId(), false)
	if e != nil {
		return &kvrpcpb.SplitRegionResponse{RegionError: e}
	}
	keys := req.SplitKeys
	if len(req.SplitKey) > 0 { //nolint:staticcheck // old clients send it
		keys = append(slices.Clone(keys), req.SplitKey) //nolint:staticcheck // as above
	}
	metas, err := m.cluster.split(old, keys)
	if err != nil {
		return &kvrpcpb.SplitRegionResponse{RegionError: &errorpb.Error{Message: err.Error()}}
	}
	return &kvrpcpb.SplitRegionResponse{Regions: metas}
}
