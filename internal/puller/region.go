package puller

import (
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/util/codec"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// region is one attempt to follow one region for one subscription: from the
// lock of its range to its first error. A new attempt is a new region.
type region struct {
	keyRange
	sub     *Subscription
	verID   tikv.RegionVerID
	attempt int // quick failures before this attempt, see backoff

	// Set before the region is given to a stream, and constant from then on.
	segment    *segment
	checkpoint event.Ts
	rpc        *tikv.RPCContext // the peer that the request goes to
	epoch      *metapb.RegionEpoch
	stream     *stream

	// Guarded by stream.mu.
	state     regionState
	scanning  bool          // counted in stream.mu.scanning
	sent      bool          // the request has been sent, or is about to be
	lastSeen  time.Duration // stream clock: the last message about the region
	stopErr   *regionError  // why it is stopping
	stoppedAt time.Duration // stream clock

	// Owned by the stream's receiving goroutine.
	matcher   matcher
	initAt    time.Duration // client clock, when initialised
	accounted int64         // bytes of the matcher that the subscription knows of
}

// regionState only goes up.
type regionState uint8

const (
	regionNormal   regionState = iota
	regionStopping             // the client gave it up and waits for the store to say so; rows are dropped
	regionRemoved              // its error has been taken, once
)

func (r *region) id() uint64      { return r.verID.GetID() }
func (r *region) version() uint64 { return r.verID.GetVer() }

// request returns the message that registers the region.
func (r *region) request(h *cdcpb.Header) *cdcpb.ChangeDataRequest {
	return &cdcpb.ChangeDataRequest{
		Header:       h,
		RegionId:     r.id(),
		RegionEpoch:  r.epoch,
		CheckpointTs: uint64(r.checkpoint),
		StartKey:     encodeKey(r.start),
		EndKey:       encodeKey(r.end),
		RequestId:    r.sub.id,
		ExtraOp:      kvrpcpb.ExtraOp_ReadOldValue,
		FilterLoop:   r.sub.filterLoop,
		Request:      &cdcpb.ChangeDataRequest_Register_{Register: &cdcpb.ChangeDataRequest_Register{}},
	}
}

// encodeKey gives a raw key the memcomparable form of region boundaries. An
// empty key is unbounded in both.
func encodeKey(key []byte) []byte {
	if len(key) == 0 {
		return nil
	}
	return codec.EncodeBytes(nil, key)
}
