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

func (c *Cluster) regionLocked(id uint64) *region {
	for _, r := range c.regions {
		if r.id == id {
			return r
		}
	}
	return nil
}

func (c *Cluster) mustRegionLocked(id uint64) *region {
	r := c.regionLocked(id)
	if r == nil {
		mistake("there is no region %d", id)
	}
	return r
}

// regionAtLocked finds the region of a raw key.
func regionAt(regions []*region, key []byte) *region {
	// The first region that ends above the key.
	i, _ := slices.BinarySearchFunc(regions, key, func(r *region, key []byte) int {
		if len(r.span.End) > 0 && bytes.Compare(r.span.End, key) <= 0 {
			return -1
		}
		return 1
	})
	if i == len(regions) {
		return nil
	}
	return regions[i]
}

// replaceLocked puts new states in the place of regions.
func (c *Cluster) replaceLocked(old []*region, states ...*region) {
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

// Split divides the region of a raw key at that key. The left part keeps the
// stores and leader and gets a new id; the right part keeps the id, as in TiKV.
func (c *Cluster) Split(key []byte) (left, right Region) {
	c.update(func() {
		old := regionAt(c.regions, key)
		if len(key) == 0 || bytes.Equal(old.span.Start, key) {
			mistake("region %d begins at %x already", old.id, key)
		}
		var stores []uint64
		for _, p := range old.peers {
			stores = append(stores, p.StoreId)
		}
		l := c.newRegion(event.Span{Start: old.span.Start, End: bytes.Clone(key)}, stores)
		if old.leader != nil {
			l.leader = l.peerOn(old.leader.StoreId)
		}
		r := *old
		r.span.Start = bytes.Clone(key)
		r.epoch.Version++
		l.epoch = r.epoch
		c.replaceLocked([]*region{old}, l, &r)
		c.endRegionLocked(old.id, &cdcpb.Error{EpochNotMatch: &errorpb.EpochNotMatch{CurrentRegions: []*metapb.Region{l.meta(), r.meta()}}})
		left, right = l.describe(), r.describe()
	})
	return left, right
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
