package kvnode

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/pingcap/badger"
	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/log"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/dbreader"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
	"go.uber.org/zap"
)

const (
	// scanConcurrency is the number of scans that one store runs at a time.
	scanConcurrency = 6
	// A batch of scanned rows has up to scanRows rows and scanBytes bytes.
	scanRows  = 1024
	scanBytes = 1 << 20
)

// incrementalScan sends what a new subscription has missed: per key ascending
// the lock of the moment of registration, then the versions above the
// checkpoint, newest first.
type incrementalScan struct {
	hub   *hub
	sub   *subscription
	locks []*trackedLock    // ascending, those not yet sent
	sent  map[string]uint64 // start ts of the locks by key
	rows  []*cdcpb.Event_Row
	size  int
}

// scan waits for a permit, scans, and ends with INITIALIZED. If the scan fails
// the subscription ends with region_not_found.
func (h *hub) scan(s *subscription, locks []*trackedLock, permits chan struct{}) {
	select {
	case permits <- struct{}{}:
		defer func() { <-permits }()
	case <-s.done:
		return
	}
	sc := &incrementalScan{hub: h, sub: s, locks: locks, sent: make(map[string]uint64, len(locks))}
	for _, l := range locks {
		sc.sent[string(l.key)] = l.startTs
	}
	err := sc.run()
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return
	}
	if err != nil {
		log.Warn("incremental scan ended", zap.Uint64("region", s.regionID), zap.Error(err))
		h.endLocked(s, &cdcpb.Error{RegionNotFound: &errorpb.RegionNotFound{RegionId: s.regionID}})
		return
	}
	s.push([]*cdcpb.Event_Row{{Type: cdcpb.Event_INITIALIZED}})
	s.initialized = true
	s.sentLive = nil
	h.stats.initialized.Add(1)
}

func (sc *incrementalScan) run() error {
	if !sc.hub.cluster.engine.enter() {
		return errEngineClosed
	}
	defer sc.hub.cluster.engine.leave()
	txn := sc.hub.cluster.engine.db.NewTransaction(false)
	defer txn.Discard()
	txn.SetReadTS(math.MaxUint64)
	iter := dbreader.NewIterator(txn, false, sc.sub.start, sc.sub.end)
	defer iter.Close()
	iter.SetAllVersions(true)

	var last *cdcpb.Event_Row // waits for the next older version, its old value
	for iter.Seek(sc.sub.start); iter.Valid(); iter.Next() {
		item := iter.Item()
		if bytes.Compare(item.Key(), sc.sub.end) >= 0 {
			break
		}
		startTs, commitTs, ok := committedVersion(item)
		if !ok {
			continue
		}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("read version %d of %x: %w", commitTs, item.Key(), err)
		}
		if last != nil {
			if bytes.Equal(last.Key, item.Key()) {
				last.OldValue = value
			}
			if !sc.add(last) {
				return nil
			}
			last = nil
		}
		if commitTs <= sc.sub.checkpoint {
			continue
		}
		last = &cdcpb.Event_Row{
			Type: cdcpb.Event_COMMITTED, OpType: cdcpb.Event_Row_PUT, StartTs: startTs, CommitTs: commitTs,
			Key: slices.Clone(item.Key()), Value: value,
		}
		if len(value) == 0 {
			last.OpType = cdcpb.Event_Row_DELETE
		}
	}
	if last != nil && !sc.add(last) {
		return nil
	}
	if !sc.addLocks(nil) {
		return nil
	}
	sc.flush()
	return nil
}

// committedVersion tells a committed put or delete from tombstones of deleted
// ranges and from rollback and Op_Lock records.
func committedVersion(item *badger.Item) (startTs, commitTs uint64, ok bool) {
	if item.IsDeleted() || len(item.UserMeta()) < 16 {
		return 0, 0, false
	}
	meta := mvcc.DBUserMeta(item.UserMeta())
	return meta.StartTS(), meta.CommitTS(), meta.CommitTS() != 0 && meta.CommitTS() == item.Version()
}

// add queues a version, after the locks up to its key. It reports false when the
// subscription has ended.
func (sc *incrementalScan) add(row *cdcpb.Event_Row) bool {
	return sc.addLocks(row.Key) && sc.append(row)
}

// addLocks queues the locks up to key, or all of them for nil.
func (sc *incrementalScan) addLocks(key []byte) bool {
	for len(sc.locks) > 0 && (key == nil || bytes.Compare(sc.locks[0].key, key) <= 0) {
		row := sc.locks[0].row()
		sc.locks = sc.locks[1:]
		if !sc.append(row) {
			return false
		}
	}
	return true
}

func (sc *incrementalScan) append(row *cdcpb.Event_Row) bool {
	sc.rows = append(sc.rows, row)
	if sc.size += rowBytes(row); len(sc.rows) >= scanRows || sc.size >= scanBytes {
		return sc.flush()
	}
	return true
}

// flush waits for room and queues the batch. Left out are versions that were
// sent live meanwhile, and those of a lock that the scan shows: its COMMIT comes
// live.
func (sc *incrementalScan) flush() bool {
	if !sc.sub.stream.waitRoom(sc.sub.done) {
		return false
	}
	h, s := sc.hub, sc.sub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return false
	}
	rows := sc.rows[:0]
	for _, row := range sc.rows {
		if row.Type == cdcpb.Event_COMMITTED {
			v := version{string(row.Key), row.CommitTs}
			if _, live := s.sentLive[v]; live {
				continue
			}
			if startTs, locked := sc.sent[v.key]; locked && startTs == row.StartTs {
				continue
			}
			row.TxnSource = h.sources[v]
		}
		rows = append(rows, row)
	}
	s.push(rows)
	sc.rows, sc.size = nil, 0
	return true
}
