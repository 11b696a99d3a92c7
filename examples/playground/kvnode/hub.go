package kvnode

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"
	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/tidb/pkg/util/codec"
)

const (
	lockTreeDegree = 32
	// shortValueLen is the longest value that TiKV keeps in the write record, and
	// so the longest that a COMMIT row carries.
	shortValueLen = 255
	// eventBytes is where TiKV cuts the rows of one Event.
	eventBytes = 32 << 10
)

// trackedLock is a put or delete lock, as PREWRITE shows it. It does not change.
type trackedLock struct {
	key       []byte
	startTs   uint64
	op        cdcpb.Event_Row_OpType
	value     []byte
	oldValue  []byte
	txnSource uint64
}

func (l *trackedLock) row() *cdcpb.Event_Row {
	return &cdcpb.Event_Row{
		Type: cdcpb.Event_PREWRITE, StartTs: l.startTs, OpType: l.op, Key: l.key,
		Value: l.value, OldValue: l.oldValue, TxnSource: l.txnSource,
	}
}

// version names one committed version of a key.
type version struct {
	key      string
	commitTs uint64
}

// hub sends the changes of the engine to the subscriptions of their region, and
// knows what holds a resolved ts back.
//
// Why a resolved ts R is safe. The tick takes R from PD first and then, under mu,
// lowers it to the start ts of every tracked lock in the range and of every
// prewrite in flight that may choose its own commit ts. A lock is tracked before
// the engine writes it and untracked under mu together with queueing its COMMIT
// or ROLLBACK; a prewrite in flight is entered before the engine asks PD for its
// commit ts and left after its rows are queued. So whatever commits at or below R
// was queued before R.
type hub struct {
	cluster *Cluster
	stats   *stats
	delay   atomic.Int64 // time.Duration that events wait before they are sent

	mu       sync.Mutex
	locks    *btree.BTreeG[*trackedLock]
	subs     map[uint64]map[*subscription]struct{} // by region id
	inflight map[uint64]uint64                     // async-commit and 1PC prewrites: sequence number to start ts
	seq      uint64
	sources  map[version]uint64 // non-zero transaction sources of committed versions
	streams  []*feedStream      // the oldest first
	faults   faults
}

func newHub(c *Cluster) *hub {
	return &hub{
		cluster:  c,
		stats:    &stats{},
		locks:    btree.NewG(lockTreeDegree, func(a, b *trackedLock) bool { return bytes.Compare(a.key, b.key) < 0 }),
		subs:     map[uint64]map[*subscription]struct{}{},
		inflight: map[uint64]uint64{},
		sources:  map[version]uint64{},
		faults:   newFaults(),
	}
}

// enterPrewrite must come before the engine fetches the min_commit_ts or the
// commit ts of a prewrite. The result is for leavePrewrite.
func (h *hub) enterPrewrite(startTs uint64) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	h.inflight[h.seq] = startTs
	return h.seq
}

func (h *hub) leavePrewrite(seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.inflight, seq)
}

func (h *hub) trackedLocked(key []byte, startTs uint64) *trackedLock {
	if l, ok := h.locks.Get(&trackedLock{key: key}); ok && l.startTs == startTs {
		return l
	}
	return nil
}

func (h *hub) tracks(key []byte, startTs uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trackedLocked(key, startTs) != nil
}

// beforeWrite tracks the locks of a batch.
func (h *hub) beforeWrite(b *hookBatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range b.ops {
		if op := &b.ops[i]; op.kind == opPrewrite {
			h.locks.ReplaceOrInsert(&trackedLock{
				key: op.key, startTs: b.startTs, op: op.op, value: op.value, oldValue: op.oldValue, txnSource: b.txnSource,
			})
		}
	}
}

// afterWrite queues the rows of a batch. The latches of its keys are still held,
// which keeps the rows of one key in order.
func (h *hub) afterWrite(b *hookBatch, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		for i := range b.ops {
			if op := &b.ops[i]; op.kind == opPrewrite {
				h.locks.Delete(&trackedLock{key: op.key})
			}
		}
		return
	}
	rows := map[*subscription][]*cdcpb.Event_Row{}
	for i := range b.ops {
		row := h.rowLocked(b, &b.ops[i])
		r := h.cluster.regions.byKey(row.Key)
		if r == nil {
			continue
		}
		for s := range h.subs[r.meta.Id] {
			if s.covers(row.Key) {
				rows[s] = append(rows[s], row)
			}
		}
	}
	for s, batch := range rows {
		h.pushLiveLocked(s, batch)
	}
}

// rowLocked makes the row of one change and untracks the lock it ends.
func (h *hub) rowLocked(b *hookBatch, op *hookOp) *cdcpb.Event_Row {
	row := &cdcpb.Event_Row{StartTs: b.startTs, Key: op.key, OpType: op.op}
	lock := h.trackedLocked(op.key, b.startTs)
	switch op.kind {
	case opPrewrite:
		row.Type, row.Value, row.OldValue, row.TxnSource = cdcpb.Event_PREWRITE, op.value, op.oldValue, b.txnSource
		return row
	case opRollback:
		row.Type = cdcpb.Event_ROLLBACK
	case opCommit:
		row.CommitTs = b.commitTs
		if lock == nil { // one-phase commit
			row.Type, row.Value, row.OldValue, row.TxnSource = cdcpb.Event_COMMITTED, op.value, op.oldValue, b.txnSource
		} else {
			row.Type, row.TxnSource = cdcpb.Event_COMMIT, lock.txnSource
			if len(lock.value) <= shortValueLen {
				row.Value = lock.value
			}
		}
		if row.TxnSource != 0 {
			h.sources[version{string(op.key), b.commitTs}] = row.TxnSource
		}
	}
	if lock != nil {
		h.locks.Delete(lock)
	}
	return row
}

// pushLiveLocked queues live rows for a subscription, or ends it with congested
// when its stream is over the quota.
func (h *hub) pushLiveLocked(s *subscription, rows []*cdcpb.Event_Row) {
	if !s.initialized {
		for _, row := range rows {
			if row.CommitTs != 0 {
				s.sentLive[version{string(row.Key), row.CommitTs}] = struct{}{}
			}
		}
	}
	if s.stream.full() {
		h.stats.congested.Add(1)
		h.endLocked(s, &cdcpb.Error{XXX_unrecognized: congested(s.regionID)})
		return
	}
	s.push(rows)
}

// congested is field 8 of cdcpb.Error, which this kvproto does not know yet: a
// message whose field 1 is the region id.
func congested(region uint64) []byte {
	body := codec.EncodeUvarint([]byte{1 << 3}, region)
	return append([]byte{8<<3 | 2, byte(len(body))}, body...)
}

func (h *hub) addLocked(s *subscription) {
	s.stream.subs[s.key()] = s
	if h.subs[s.regionID] == nil {
		h.subs[s.regionID] = map[*subscription]struct{}{}
	}
	h.subs[s.regionID][s] = struct{}{}
}

// dropLocked ends a subscription without a word.
func (h *hub) dropLocked(s *subscription) {
	if s.closed {
		return
	}
	s.closed = true
	close(s.done)
	delete(s.stream.subs, s.key())
	delete(h.subs[s.regionID], s)
	if len(h.subs[s.regionID]) == 0 {
		delete(h.subs, s.regionID)
	}
}

// endLocked ends a subscription with an error, its last event.
func (h *hub) endLocked(s *subscription, e *cdcpb.Error) {
	h.dropLocked(s)
	s.stream.pushError(s.regionID, s.requestID, e)
}

// endRegionLocked ends all subscriptions of a region.
func (h *hub) endRegionLocked(region uint64, e *errorpb.Error) {
	for s := range h.subs[region] {
		h.endLocked(s, feedError(e))
	}
}

func feedError(e *errorpb.Error) *cdcpb.Error {
	return &cdcpb.Error{
		NotLeader: e.NotLeader, RegionNotFound: e.RegionNotFound, EpochNotMatch: e.EpochNotMatch, ServerIsBusy: e.ServerIsBusy,
	}
}

// delayed is when an event queued now may be sent.
func (h *hub) delayed() time.Time {
	if d := time.Duration(h.delay.Load()); d > 0 {
		return time.Now().Add(d)
	}
	return time.Time{}
}
