package kvnode

import (
	"fmt"
	"slices"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/metapb"
)

// FailureKind is an error that a registration can be made to end with.
type FailureKind string

// The kinds, named like the errors of the protocol.
const (
	NotLeader         FailureKind = "NotLeader"
	EpochNotMatch     FailureKind = "EpochNotMatch"
	RegionNotFound    FailureKind = "RegionNotFound"
	ServerIsBusy      FailureKind = "ServerIsBusy"
	Congested         FailureKind = "Congested"
	DuplicateRequest  FailureKind = "DuplicateRequest"
	ClusterIDMismatch FailureKind = "ClusterIDMismatch"
	Compatibility     FailureKind = "Compatibility"
)

var failureKinds = []FailureKind{
	NotLeader, EpochNotMatch, RegionNotFound, ServerIsBusy, Congested, DuplicateRequest, ClusterIDMismatch, Compatibility,
}

// requiredVersion is what a Compatibility error asks for.
const requiredVersion = "6.2.0"

// Failure is what happens to the next Count registrations.
type Failure struct {
	Count   int
	Kind    FailureKind
	Backoff time.Duration // of ServerIsBusy
}

// faults is guarded by hub.mu.
type faults struct {
	failures []Failure // used from the front
	heldAll  hold
	held     map[uint64]hold // by region id
}

type hold struct{ on, silent bool }

func newFaults() faults { return faults{held: map[uint64]hold{}} }

func (f *faults) holds(region uint64) (held, silent bool) {
	r := f.held[region]
	return f.heldAll.on || r.on, f.heldAll.silent || r.silent
}

// next takes one failure.
func (f *faults) next() (Failure, bool) {
	if len(f.failures) == 0 {
		return Failure{}, false
	}
	first := &f.failures[0]
	fail := *first
	if first.Count--; first.Count <= 0 {
		f.failures = f.failures[1:]
	}
	return fail, true
}

// event is the error for one request. r is the region asked for, nil if unknown.
func (f Failure) event(req *cdcpb.ChangeDataRequest, clusterID uint64, r *region) *cdcpb.Error {
	id := req.RegionId
	switch f.Kind {
	case NotLeader:
		return &cdcpb.Error{NotLeader: &errorpb.NotLeader{RegionId: id}}
	case EpochNotMatch:
		e := &errorpb.EpochNotMatch{}
		if r != nil {
			e.CurrentRegions = []*metapb.Region{r.meta}
		}
		return &cdcpb.Error{EpochNotMatch: e}
	case ServerIsBusy:
		return &cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{Reason: "asked to be busy", BackoffMs: uint64(f.Backoff.Milliseconds())}}
	case Congested:
		return &cdcpb.Error{XXX_unrecognized: congested(id)}
	case DuplicateRequest:
		return &cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{RegionId: id}}
	case ClusterIDMismatch:
		return &cdcpb.Error{ClusterIdMismatch: &cdcpb.ClusterIDMismatch{Current: clusterID, Request: req.GetHeader().GetClusterId()}}
	case Compatibility:
		return &cdcpb.Error{Compatibility: &cdcpb.Compatibility{RequiredVersion: requiredVersion}}
	default:
		return &cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{RegionId: id}}
	}
}

// FailRegistrations makes the next f.Count registrations end with an error. A
// count of 0 takes all earlier orders back.
func (c *Cluster) FailRegistrations(f Failure) error {
	if f.Count < 0 {
		return fmt.Errorf("fail %d registrations: %w", f.Count, ErrInvalid)
	}
	if f.Count > 0 && !slices.Contains(failureKinds, f.Kind) {
		return fmt.Errorf("fail registrations with %q: want one of %v: %w", f.Kind, failureKinds, ErrInvalid)
	}
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if f.Count == 0 {
		c.hub.faults.failures = nil
	} else {
		c.hub.faults.failures = append(c.hub.faults.failures, f)
	}
	return nil
}

// HoldResolved stops the resolved ts of a region, or of all regions for region 0.
// The ts is still sent each tick, unless silent.
func (c *Cluster) HoldResolved(region uint64, silent bool) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	h := hold{on: true, silent: silent}
	if region == 0 {
		c.hub.faults.heldAll = h
	} else {
		c.hub.faults.held[region] = h
	}
}

// ReleaseResolved undoes HoldResolved; region 0 releases all.
func (c *Cluster) ReleaseResolved(region uint64) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if region == 0 {
		c.hub.faults.heldAll = hold{}
		clear(c.hub.faults.held)
	} else {
		delete(c.hub.faults.held, region)
	}
}

// DelayEvents makes everything that is queued from now on wait before it is
// sent. The order is kept. 0 ends it.
func (c *Cluster) DelayEvents(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("delay events by %v: %w", d, ErrInvalid)
	}
	c.hub.delay.Store(int64(d))
	return nil
}
