package kvnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/log"
	"github.com/pingcap/tidb/pkg/util/codec"
	"go.uber.org/zap"
)

// pdTimeout bounds one conversation with PD about a split.
const pdTimeout = 10 * time.Second

// Errors of region and store operations that a caller may want to tell apart.
var (
	ErrNoRegion = errors.New("no such region")
	ErrNoStore  = errors.New("no such store")
	ErrChanged  = errors.New("the region changed meanwhile")
	ErrInvalid  = errors.New("invalid request")
)

// change is one step of the region map: regions go, regions come, and the
// subscriptions of some regions end with an error.
type change struct {
	from   []*region // must still be current
	remove []uint64
	put    []*region
	ends   map[uint64]*errorpb.Error // by region id
}

// replaceRegions makes a change under both locks and tells PD the new regions.
func (c *Cluster) replaceRegions(ch change) error {
	if err := c.replaceLocked(ch); err != nil {
		return err
	}
	for _, r := range ch.put {
		c.heartbeat(r)
	}
	return nil
}

func (c *Cluster) replaceLocked(ch change) error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	for _, r := range ch.from {
		if c.regions.get(r.meta.Id) != r {
			return fmt.Errorf("change region %d: %w", r.meta.Id, ErrChanged)
		}
	}
	c.regions.replace(ch.remove, ch.put)
	for id, e := range ch.ends {
		c.hub.endRegionLocked(id, e)
	}
	return nil
}

// split cuts a region at the keys that are inside it, as TiKV does: the version
// grows by the number of new regions and the old id keeps the rightmost part. It
// returns all parts in key order.
func (c *Cluster) split(old *region, raw [][]byte) ([]*metapb.Region, error) {
	keys := slices.Clone(raw)
	slices.SortFunc(keys, bytes.Compare)
	keys = slices.CompactFunc(keys, bytes.Equal)
	keys = slices.DeleteFunc(keys, func(k []byte) bool { return len(k) == 0 || !old.contains(k) || bytes.Equal(k, old.start) })
	if len(keys) == 0 {
		return []*metapb.Region{old.meta}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), pdTimeout) // the engine's interface has no context
	defer cancel()
	ids, err := c.pd.askBatchSplit(ctx, old.meta, len(keys))
	if err != nil {
		return nil, err
	}
	epoch := metapb.RegionEpoch{ConfVer: old.meta.RegionEpoch.ConfVer, Version: old.meta.RegionEpoch.Version + uint64(len(keys))}
	var (
		parts []*region
		metas []*metapb.Region
		start = old.meta.StartKey
	)
	for i := range len(keys) + 1 {
		meta := &metapb.Region{Id: old.meta.Id, StartKey: start, EndKey: old.meta.EndKey, Peers: old.meta.Peers}
		meta.RegionEpoch = &metapb.RegionEpoch{ConfVer: epoch.ConfVer, Version: epoch.Version}
		leader := old.leader
		if i < len(keys) {
			meta.Id, meta.EndKey = ids[i].NewRegionId, codec.EncodeBytes(nil, keys[i])
			meta.Peers, leader = newPeers(old, ids[i].NewPeerIds)
		}
		part, err := newRegion(meta, leader, c.regions.latches)
		if err != nil {
			return nil, err
		}
		parts, metas, start = append(parts, part), append(metas, meta), meta.EndKey
	}
	err = c.replaceRegions(change{from: []*region{old}, put: parts, ends: map[uint64]*errorpb.Error{
		old.meta.Id: {EpochNotMatch: &errorpb.EpochNotMatch{CurrentRegions: metas}},
	}})
	if err != nil {
		return nil, err
	}
	if err := c.pd.reportBatchSplit(ctx, metas); err != nil {
		// Only a hint for PD: the heartbeats say the same.
		log.Warn("report split to pd", zap.Uint64("region", old.meta.Id), zap.Error(err))
	}
	return metas, nil
}

// newPeers gives the ids to new peers on the stores of old, and returns the one
// on the store of old's leader.
func newPeers(old *region, ids []uint64) (peers []*metapb.Peer, leader *metapb.Peer) {
	for i, p := range old.meta.Peers {
		peer := &metapb.Peer{Id: ids[i], StoreId: p.StoreId}
		peers = append(peers, peer)
		if p.Id == old.leader.Id {
			leader = peer
		}
	}
	return peers, leader
}

// Split cuts the region that holds a raw key at that key and returns the parts.
func (c *Cluster) Split(key []byte) ([]Region, error) {
	old := c.regions.byKey(key)
	switch {
	case len(key) == 0 || old == nil || !old.contains(key):
		return nil, fmt.Errorf("split at %x: key outside of all regions: %w", key, ErrInvalid)
	case bytes.Equal(key, old.start):
		return nil, fmt.Errorf("split at %x: key is the start of region %d: %w", key, old.meta.Id, ErrInvalid)
	}
	metas, err := c.split(old, [][]byte{key})
	if err != nil {
		return nil, fmt.Errorf("split region %d: %w", old.meta.Id, err)
	}
	var parts []Region
	for _, m := range metas {
		if r := c.regions.get(m.Id); r != nil {
			parts = append(parts, r.describe())
		}
	}
	return parts, nil
}

// Merge merges source into target, its neighbour. As in TiKV the subscriptions of
// both end with an epoch_not_match that names no regions.
func (c *Cluster) Merge(source, target uint64) (Region, error) {
	src, dst := c.regions.get(source), c.regions.get(target)
	if src == nil || dst == nil {
		return Region{}, fmt.Errorf("merge region %d into %d: %w", source, target, ErrNoRegion)
	}
	meta := &metapb.Region{
		Id: target, StartKey: dst.meta.StartKey, EndKey: dst.meta.EndKey, Peers: dst.meta.Peers,
		RegionEpoch: &metapb.RegionEpoch{
			ConfVer: dst.meta.RegionEpoch.ConfVer,
			Version: max(src.meta.RegionEpoch.Version, dst.meta.RegionEpoch.Version) + 1,
		},
	}
	switch {
	case source != target && len(src.meta.EndKey) > 0 && bytes.Equal(src.meta.EndKey, dst.meta.StartKey):
		meta.StartKey = src.meta.StartKey
	case source != target && len(dst.meta.EndKey) > 0 && bytes.Equal(dst.meta.EndKey, src.meta.StartKey):
		meta.EndKey = src.meta.EndKey
	default:
		return Region{}, fmt.Errorf("merge region %d into %d: not neighbours: %w", source, target, ErrInvalid)
	}
	merged, err := newRegion(meta, dst.leader, c.regions.latches)
	if err != nil {
		return Region{}, err
	}
	err = c.replaceRegions(change{
		from: []*region{src, dst}, remove: []uint64{source}, put: []*region{merged},
		ends: map[uint64]*errorpb.Error{
			source: {EpochNotMatch: &errorpb.EpochNotMatch{}},
			target: {EpochNotMatch: &errorpb.EpochNotMatch{}},
		},
	})
	if err != nil {
		return Region{}, err
	}
	return merged.describe(), nil
}

// Transfer moves the leader of a region to another store. It does nothing when
// the leader is there already.
func (c *Cluster) Transfer(id, store uint64) (Region, error) {
	old := c.regions.get(id)
	if old == nil {
		return Region{}, fmt.Errorf("transfer leader of region %d: %w", id, ErrNoRegion)
	}
	leader := old.peerOn(store)
	if leader == nil {
		return Region{}, fmt.Errorf("transfer leader of region %d to store %d: %w", id, store, ErrNoStore)
	}
	if leader.Id == old.leader.Id {
		return old.describe(), nil
	}
	moved, err := newRegion(old.meta, leader, c.regions.latches)
	if err != nil {
		return Region{}, err
	}
	err = c.replaceRegions(change{from: []*region{old}, put: []*region{moved}, ends: map[uint64]*errorpb.Error{
		id: {NotLeader: &errorpb.NotLeader{RegionId: id, Leader: leader}},
	}})
	if err != nil {
		return Region{}, err
	}
	return moved.describe(), nil
}
