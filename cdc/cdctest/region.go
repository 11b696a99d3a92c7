package cdctest

import (
	"bytes"
	"slices"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/metapb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// region is one state of a region. It is immutable: a change replaces it.
type region struct {
	id      uint64
	span    event.Span // of raw keys
	epoch   metapb.RegionEpoch
	peers   []*metapb.Peer
	leader  *metapb.Peer // nil during an election
	merging bool         // PrepareMerge has been applied
}

// Region describes a region.
type Region struct {
	ID uint64
	// Start and End are raw keys, half-open; an empty End is unbounded.
	Start, End []byte
	// Leader is the store of the leader, 0 during an election.
	Leader uint64
}

func (r *region) describe() Region {
	out := Region{ID: r.id, Start: r.span.Start, End: r.span.End}
	if r.leader != nil {
		out.Leader = r.leader.StoreId
	}
	return out
}

// meta is the region as PD and stores describe it.
func (r *region) meta() *metapb.Region {
	epoch := r.epoch
	m := &metapb.Region{Id: r.id, RegionEpoch: &epoch, Peers: r.peers, StartKey: encodeKey(r.span.Start), EndKey: encodeKey(r.span.End)}
	return m
}

func (r *region) peerOn(store uint64) *metapb.Peer {
	for _, p := range r.peers {
		if p.StoreId == store {
			return p
		}
	}
	return nil
}

func (r *region) ledBy(store uint64) bool { return r.leader != nil && r.leader.StoreId == store }

// newRegion has a peer on each of the stores and is led by the first.
func (c *Cluster) newRegion(span event.Span, stores []uint64) *region {
	r := &region{id: c.allocID(), span: span, epoch: metapb.RegionEpoch{ConfVer: 1, Version: 1}}
	for _, s := range stores {
		r.peers = append(r.peers, &metapb.Peer{Id: c.allocID(), StoreId: s})
	}
	r.leader = r.peers[0]
	return r
}

// regionLocked returns a region by id, nil if there is none.
func (c *Cluster) regionLocked(id uint64) *region { return c.regionByID[id] }

func (c *Cluster) mustRegionLocked(id uint64) *region {
	r := c.regionLocked(id)
	if r == nil {
		mistake("there is no region %d", id)
	}
	return r
}

// indexAt finds the first of regions in key order that ends above a raw key.
func indexAt(regions []*region, key []byte) int {
	i, _ := slices.BinarySearchFunc(regions, key, func(r *region, key []byte) int {
		if len(r.span.End) > 0 && bytes.Compare(r.span.End, key) <= 0 {
			return -1
		}
		return 1
	})
	return i
}

// regionAt finds the region of a raw key among those in key order.
func regionAt(regions []*region, key []byte) *region {
	i := indexAt(regions, key)
	if i == len(regions) {
		return nil
	}
	return regions[i]
}

// replaceLocked puts new states in the place of regions.
func (c *Cluster) replaceLocked(old []*region, states ...*region) {
	for _, r := range old {
		delete(c.regionByID, r.id)
	}
	for _, r := range states {
		c.regionByID[r.id] = r
	}
	c.regions = slices.DeleteFunc(slices.Clone(c.regions), func(r *region) bool { return slices.Contains(old, r) })
	c.regions = append(c.regions, states...)
	slices.SortFunc(c.regions, func(a, b *region) int { return bytes.Compare(a.span.Start, b.span.Start) })
}

// Regions returns all regions in key order.
func (c *Cluster) Regions() []Region {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Region
	for _, r := range c.regions {
		out = append(out, r.describe())
	}
	return out
}

// RegionAt returns the region that a raw key lies in.
func (c *Cluster) RegionAt(key []byte) Region {
	c.mu.Lock()
	defer c.mu.Unlock()
	return regionAt(c.regions, key).describe()
}

// Split divides the region of a raw key at that key. The right part keeps the
// id; the left one is new and has its peers on the same stores, as in TiKV.
func (c *Cluster) Split(key []byte) (left, right Region) {
	c.update(func() {
		parts := c.splitLocked(regionAt(c.regions, key), [][]byte{bytes.Clone(key)})
		left, right = parts[0].describe(), parts[1].describe()
	})
	return left, right
}

// SplitMany divides regions at all the keys at once.
func (c *Cluster) SplitMany(keys ...[]byte) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, bytes.Compare)
	c.update(func() {
		for len(keys) > 0 {
			old := regionAt(c.regions, keys[0])
			n := 1
			for n < len(keys) && old.span.Contains(keys[n]) {
				n++
			}
			c.splitLocked(old, keys[:n])
			keys = keys[n:]
		}
	})
}

// splitLocked cuts a region at keys in order. The last part keeps the id.
func (c *Cluster) splitLocked(old *region, keys [][]byte) []*region {
	var stores []uint64
	for _, p := range old.peers {
		stores = append(stores, p.StoreId)
	}
	epoch := old.epoch
	epoch.Version += uint64(len(keys))
	var parts []*region
	start := old.span.Start
	for _, key := range keys {
		if bytes.Compare(key, start) <= 0 {
			mistake("a region begins at %x already", key)
		}
		r := c.newRegion(event.Span{Start: start, End: key}, stores)
		r.epoch, r.leader = epoch, nil
		if old.leader != nil {
			r.leader = r.peerOn(old.leader.StoreId)
		}
		parts = append(parts, r)
		start = key
	}
	last := *old
	last.span.Start, last.epoch = start, epoch
	parts = append(parts, &last)
	c.replaceLocked([]*region{old}, parts...)
	mismatch := &errorpb.EpochNotMatch{}
	for _, r := range parts {
		mismatch.CurrentRegions = append(mismatch.CurrentRegions, r.meta())
	}
	c.endRegionLocked(old.id, &cdcpb.Error{EpochNotMatch: mismatch})
	return parts
}

// PrepareMerge is the first half of a merge: the source's subscriptions end, and
// it takes no new ones, while PD still knows both regions.
func (c *Cluster) PrepareMerge(source uint64) {
	c.update(func() {
		old := c.mustRegionLocked(source)
		r := *old
		r.merging = true
		r.epoch.Version++
		r.epoch.ConfVer++
		c.replaceLocked([]*region{old}, &r)
		if c.stale == nil {
			c.stale = slices.Clone(c.regions)
			c.stale[slices.Index(c.stale, &r)] = old
		}
		c.endRegionLocked(source, EpochNotMatch())
	})
}

// CommitMerge is the second half: the target takes over the source's keys.
func (c *Cluster) CommitMerge(source, target uint64) Region {
	var merged region
	c.update(func() {
		src, dst := c.mustRegionLocked(source), c.mustRegionLocked(target)
		merged = *dst
		merged.epoch.Version = max(src.epoch.Version, dst.epoch.Version) + 1
		switch {
		case len(src.span.End) > 0 && bytes.Equal(src.span.End, dst.span.Start):
			merged.span.Start = src.span.Start
		case len(dst.span.End) > 0 && bytes.Equal(dst.span.End, src.span.Start):
			merged.span.End = src.span.End
		default:
			mistake("regions %d and %d are not neighbours", source, target)
		}
		c.replaceLocked([]*region{src, dst}, &merged)
		c.stale = nil
		c.endRegionLocked(source, EpochNotMatch())
		c.endRegionLocked(target, EpochNotMatch())
	})
	return merged.describe()
}

// Merge merges a region into its neighbour.
func (c *Cluster) Merge(source, target uint64) Region {
	c.PrepareMerge(source)
	return c.CommitMerge(source, target)
}

// TransferLeader moves the leader of a region. Its subscriptions are told where.
func (c *Cluster) TransferLeader(id, store uint64) {
	c.update(func() {
		old := c.mustRegionLocked(id)
		r := *old
		if r.leader = old.peerOn(store); r.leader == nil {
			mistake("region %d has no peer on store %d", id, store)
		}
		c.replaceLocked([]*region{old}, &r)
		c.endRegionLocked(id, &cdcpb.Error{NotLeader: &errorpb.NotLeader{RegionId: id, Leader: r.leader}})
	})
}

// LoseLeader begins an election that TransferLeader ends.
func (c *Cluster) LoseLeader(id uint64) {
	c.update(func() {
		old := c.mustRegionLocked(id)
		r := *old
		r.leader = nil
		c.replaceLocked([]*region{old}, &r)
		c.endRegionLocked(id, NotLeader(id))
	})
}

// MoveRegion moves a region to other stores and away from all others; the first
// becomes its leader.
func (c *Cluster) MoveRegion(id uint64, stores ...uint64) {
	c.update(func() {
		old := c.mustRegionLocked(id)
		r := *old
		r.peers = nil
		for _, s := range stores {
			peer := old.peerOn(s)
			if peer == nil {
				peer = &metapb.Peer{Id: c.allocID(), StoreId: s}
			}
			r.peers = append(r.peers, peer)
		}
		if len(r.peers) == 0 {
			mistake("region %d needs a store", id)
		}
		r.leader = r.peers[0]
		r.epoch.ConfVer++
		c.replaceLocked([]*region{old}, &r)
		c.endRegionLocked(id, RegionNotFound(id))
	})
}

// FreezePD makes PD answer with the regions as they are now until ThawPD.
func (c *Cluster) FreezePD() {
	c.update(func() { c.stale = slices.Clone(c.regions) })
}

// ThawPD undoes FreezePD.
func (c *Cluster) ThawPD() {
	c.update(func() { c.stale = nil })
}

// knownToPD are the regions that PD answers with.
func (c *Cluster) knownToPD() []*region {
	if c.stale != nil {
		return c.stale
	}
	return c.regions
}
