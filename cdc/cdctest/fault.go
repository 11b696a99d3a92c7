package cdctest

import (
	"github.com/pingcap/kvproto/pkg/cdcpb"
)

// faults is what the test has ordered. Guarded by Cluster.mu.
type faults struct {
	onRegister  func(*Subscription) *cdcpb.Error
	holdScans   bool
	frozen      map[uint64]bool // by region id; 0 is all
	silent      map[uint64]bool
	lockScans   int
	regionScans int
	txnChecks   int
	pdPaused    chan struct{} // closed by ResumePD; nil: PD answers
}

func (f *faults) init() {
	f.frozen, f.silent = map[uint64]bool{}, map[uint64]bool{}
}

// OnRegister makes fn decide about every registration that the protocol would
// accept or refuse by itself: an error refuses it, nil leaves it to the
// protocol. fn is called under the cluster's lock, so it must not call the
// cluster. Nil removes it.
func (c *Cluster) OnRegister(fn func(*Subscription) *cdcpb.Error) {
	c.update(func() { c.faults.onRegister = fn })
}

// HoldScans keeps the incremental scan of later registrations back: nothing of
// it is sent, though live rows are, until [Subscription.Scan],
// [Subscription.FinishScan] or ReleaseScans.
func (c *Cluster) HoldScans() {
	c.update(func() { c.faults.holdScans = true })
}

// ReleaseScans undoes HoldScans, for subscriptions that wait as well.
func (c *Cluster) ReleaseScans() {
	c.update(func() {
		c.faults.holdScans = false
		for _, s := range c.subscriptionsLocked() {
			s.budget = unlimited
			s.stream.poke()
		}
	})
}

// FreezeResolved keeps the resolved ts of regions, of all if none is named, where
// they are. They are still sent.
func (c *Cluster) FreezeResolved(regions ...uint64) { c.set(c.faults.frozen, regions, true) }

// ThawResolved undoes FreezeResolved for the regions that it was told; without
// any, for all.
func (c *Cluster) ThawResolved(regions ...uint64) { c.set(c.faults.frozen, regions, false) }

// Silence keeps stores from sending any resolved ts for regions, for all if none is named.
func (c *Cluster) Silence(regions ...uint64) { c.set(c.faults.silent, regions, true) }

// Unsilence undoes Silence for the regions that it was told; without any, for all.
func (c *Cluster) Unsilence(regions ...uint64) { c.set(c.faults.silent, regions, false) }

func (c *Cluster) set(faults map[uint64]bool, regions []uint64, on bool) {
	c.update(func() {
		switch {
		case len(regions) == 0 && on:
			faults[0] = true
		case len(regions) == 0:
			clear(faults)
		}
		for _, r := range regions {
			faults[r] = on
		}
	})
}
