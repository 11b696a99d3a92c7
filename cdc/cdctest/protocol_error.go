package cdctest

import (
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
)

// The errors that a subscription can end with, for [Subscription.Fail] and
// [Cluster.OnRegister].

// NotLeader says that the store does not lead the region and knows nobody who does.
func NotLeader(region uint64) *cdcpb.Error {
	return &cdcpb.Error{NotLeader: &errorpb.NotLeader{RegionId: region}}
}

// EpochNotMatch says that the region has changed, and not to what.
func EpochNotMatch() *cdcpb.Error {
	return &cdcpb.Error{EpochNotMatch: &errorpb.EpochNotMatch{}}
}

// RegionNotFound says that the region is not on the store.
func RegionNotFound(region uint64) *cdcpb.Error {
	return &cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{RegionId: region}}
}

// ServerIsBusy asks the client to wait; backoff may be 0.
func ServerIsBusy(backoff time.Duration) *cdcpb.Error {
	return &cdcpb.Error{ServerIsBusy: &errorpb.ServerIsBusy{
		Reason: "too many pending incremental scans", BackoffMs: uint64(backoff.Milliseconds()),
	}}
}

// Congested says that the client reads too slowly.
func Congested(region uint64) *cdcpb.Error {
	return &cdcpb.Error{Congested: &cdcpb.Congested{RegionId: region}}
}

// DuplicateRequest says that the region is already subscribed under this request id.
func DuplicateRequest(region uint64) *cdcpb.Error {
	return &cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{RegionId: region}}
}

// Compatibility says that the client is too old.
func Compatibility(required string) *cdcpb.Error {
	return &cdcpb.Error{Compatibility: &cdcpb.Compatibility{RequiredVersion: required}}
}

// ClusterIDMismatch says that the request is for another cluster than current.
func ClusterIDMismatch(current, request uint64) *cdcpb.Error {
	return &cdcpb.Error{ClusterIdMismatch: &cdcpb.ClusterIDMismatch{Current: current, Request: request}}
}
