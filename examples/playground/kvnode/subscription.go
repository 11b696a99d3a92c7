package kvnode

import (
	"bytes"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/tidb/pkg/util/codec"
)

// Bits of a transaction source: 0 to 7 name a replication cluster, 8 to 15 mark
// lossy DDL, 16 marks physical import.
const (
	sourceCDC    = 1<<8 - 1
	sourceHidden = ^uint64(sourceCDC)
)

type subKey struct{ region, request uint64 }

// subscription is one registered region of one stream. The fields below the
// blank line are guarded by hub.mu.
type subscription struct {
	stream     *feedStream
	regionID   uint64
	requestID  uint64
	start, end []byte // raw, within the region
	checkpoint uint64
	filterLoop bool
	done       chan struct{} // closed with the subscription

	closed      bool
	initialized bool
	resolved    uint64
	sentLive    map[version]struct{} // versions sent live before INITIALIZED
}

func newSubscription(st *feedStream, r *region, req *cdcpb.ChangeDataRequest) *subscription {
	s := &subscription{
		stream: st, regionID: req.RegionId, requestID: req.RequestId, start: r.start, end: r.end,
		checkpoint: req.CheckpointTs, filterLoop: req.FilterLoop,
		done: make(chan struct{}), sentLive: map[version]struct{}{},
	}
	// A key that cannot be decoded stands for the bound of the region, as in TiKV.
	if _, raw, err := codec.DecodeBytes(req.StartKey, nil); err == nil && bytes.Compare(raw, s.start) > 0 {
		s.start = raw
	}
	if len(req.EndKey) > 0 {
		if _, raw, err := codec.DecodeBytes(req.EndKey, nil); err == nil && bytes.Compare(raw, s.end) < 0 {
			s.end = raw
		}
	}
	return s
}

func (s *subscription) key() subKey { return subKey{s.regionID, s.requestID} }

func (s *subscription) covers(raw []byte) bool {
	return bytes.Compare(raw, s.start) >= 0 && bytes.Compare(raw, s.end) < 0
}

// wants reports whether a row's source lets it pass. A ROLLBACK has no source.
func (s *subscription) wants(row *cdcpb.Event_Row) bool {
	return row.TxnSource&sourceHidden == 0 && (!s.filterLoop || row.TxnSource&sourceCDC == 0)
}

// push queues rows in events of about eventBytes. The rows are shared with other
// subscriptions: they must not be changed.
func (s *subscription) push(rows []*cdcpb.Event_Row) {
	var (
		batch []*cdcpb.Event_Row
		size  int
	)
	flush := func() {
		if len(batch) > 0 {
			s.stream.pushRows(s.regionID, s.requestID, batch, size)
		}
		batch, size = nil, 0
	}
	for _, row := range rows {
		if !s.wants(row) {
			continue
		}
		batch = append(batch, row)
		if size += rowBytes(row); size >= eventBytes {
			flush()
		}
	}
	flush()
}

func rowBytes(row *cdcpb.Event_Row) int {
	return len(row.Key) + len(row.Value) + len(row.OldValue) + 32
}
