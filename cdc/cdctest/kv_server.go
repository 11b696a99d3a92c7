package cdctest

import (
	"context"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/tikvpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// kvServer is the part of a store's KV service that readers of meta keys and
// resolvers of locks need.
type kvServer struct {
	tikvpb.UnimplementedTikvServer
	store   *store
	cluster *Cluster
}

// checkLocked returns what is wrong with the region of a request, nil if nothing.
func (s *kvServer) checkLocked(ctx *kvrpcpb.Context) (*region, *errorpb.Error) {
	id := ctx.GetRegionId()
	r := s.cluster.regionLocked(id)
	switch {
	case r == nil || r.peerOn(s.store.id) == nil:
		return nil, &errorpb.Error{Message: "region not found", RegionNotFound: &errorpb.RegionNotFound{RegionId: id}}
	case !r.ledBy(s.store.id):
		return nil, &errorpb.Error{Message: "not leader", NotLeader: &errorpb.NotLeader{RegionId: id, Leader: r.leader}}
	case r.epoch.Version != ctx.GetRegionEpoch().GetVersion():
		return nil, &errorpb.Error{Message: "epoch not match", EpochNotMatch: &errorpb.EpochNotMatch{CurrentRegions: []*metapb.Region{r.meta()}}}
	}
	return r, nil
}

func (e *entry) lockInfo() *kvrpcpb.LockInfo {
	l := e.lock
	info := &kvrpcpb.LockInfo{
		Key: e.key, PrimaryLock: l.primary, LockVersion: uint64(l.startTs), LockTtl: l.ttl, LockForUpdateTs: uint64(l.forUpdateTs),
		UseAsyncCommit: l.async, MinCommitTs: uint64(l.minCommitTs), Secondaries: l.secondaries,
	}
	switch l.op {
	case opDelete:
		info.LockType = kvrpcpb.Op_Del
	case opLock:
		info.LockType = kvrpcpb.Op_Lock
	case opPessimistic:
		info.LockType = kvrpcpb.Op_PessimisticLock
	}
	return info
}

// blocks reports whether a reader at ts must wait for the key's lock.
func (e *entry) blocks(ts event.Ts) bool {
	l := e.lock
	return l != nil && l.startTs <= ts && (l.op == opPut || l.op == opDelete) && l.minCommitTs <= ts
}

// pair is what a reader at ts gets of a key, nil for nothing.
func (e *entry) pair(ts event.Ts) *kvrpcpb.KvPair {
	if e.blocks(ts) {
		return &kvrpcpb.KvPair{Key: e.key, Error: &kvrpcpb.KeyError{Locked: e.lockInfo()}}
	}
	if v := e.at(ts); v != nil {
		return &kvrpcpb.KvPair{Key: e.key, Value: v.value, CommitTs: uint64(v.commitTs)}
	}
	return nil
}

// KvGet implements tikvpb.TikvServer.
func (s *kvServer) KvGet(_ context.Context, req *kvrpcpb.GetRequest) (*kvrpcpb.GetResponse, error) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	if _, err := s.checkLocked(req.Context); err != nil {
		return &kvrpcpb.GetResponse{RegionError: err}, nil
	}
	var p *kvrpcpb.KvPair
	if e := s.cluster.kv.entries[string(req.Key)]; e != nil {
		p = e.pair(event.Ts(req.Version))
	}
	switch {
	case p == nil:
		return &kvrpcpb.GetResponse{NotFound: true}, nil
	case p.Error != nil:
		return &kvrpcpb.GetResponse{Error: p.Error}, nil
	}
	return &kvrpcpb.GetResponse{Value: p.Value, CommitTs: p.CommitTs}, nil
}

// KvBatchGet implements tikvpb.TikvServer.
func (s *kvServer) KvBatchGet(_ context.Context, req *kvrpcpb.BatchGetRequest) (*kvrpcpb.BatchGetResponse, error) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	if _, err := s.checkLocked(req.Context); err != nil {
		return &kvrpcpb.BatchGetResponse{RegionError: err}, nil
	}
	resp := &kvrpcpb.BatchGetResponse{}
	for _, key := range req.Keys {
		if e := s.cluster.kv.entries[string(key)]; e != nil {
			if p := e.pair(event.Ts(req.Version)); p != nil {
				resp.Pairs = append(resp.Pairs, p)
			}
		}
	}
	return resp, nil
}

// KvScan implements tikvpb.TikvServer, forward only.
func (s *kvServer) KvScan(_ context.Context, req *kvrpcpb.ScanRequest) (*kvrpcpb.ScanResponse, error) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	r, err := s.checkLocked(req.Context)
	if err != nil {
		return &kvrpcpb.ScanResponse{RegionError: err}, nil
	}
	resp := &kvrpcpb.ScanResponse{}
	span := intersect(r.span, event.Span{Start: req.StartKey, End: req.EndKey})
	s.cluster.kv.scan(span, func(e *entry) bool {
		if p := e.pair(event.Ts(req.Version)); p != nil {
			if req.KeyOnly {
				p.Value = nil
			}
			resp.Pairs = append(resp.Pairs, p)
		}
		return len(resp.Pairs) < int(req.Limit)
	})
	return resp, nil
}

// KvScanLock implements tikvpb.TikvServer.
func (s *kvServer) KvScanLock(_ context.Context, req *kvrpcpb.ScanLockRequest) (*kvrpcpb.ScanLockResponse, error) {
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.touchLocked()
	if highest := c.oracle.highest(); event.Ts(req.MaxVersion) > highest {
		// The store would take this for a read, and let async commits happen above it only.
		c.violate("ScanLock up to ts %d, while PD has only reached %d", req.MaxVersion, highest)
	}
	r, err := s.checkLocked(req.Context)
	if err != nil {
		return &kvrpcpb.ScanLockResponse{RegionError: err}, nil
	}
	c.faults.lockScans++
	resp := &kvrpcpb.ScanLockResponse{}
	c.kv.scan(intersect(r.span, event.Span{Start: req.StartKey, End: req.EndKey}), func(e *entry) bool {
		if e.lock != nil && e.lock.startTs <= event.Ts(req.MaxVersion) {
			resp.Locks = append(resp.Locks, e.lockInfo())
		}
		return req.Limit == 0 || len(resp.Locks) < int(req.Limit)
	})
	return resp, nil
}

// LockScans returns how often stores have been asked for locks.
func (c *Cluster) LockScans() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults.lockScans
}

// TxnChecks returns how often stores have been asked for the status of a transaction.
func (c *Cluster) TxnChecks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults.txnChecks
}

// KvCheckTxnStatus implements tikvpb.TikvServer.
func (s *kvServer) KvCheckTxnStatus(_ context.Context, req *kvrpcpb.CheckTxnStatusRequest) (*kvrpcpb.CheckTxnStatusResponse, error) {
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.touchLocked()
	c.faults.txnChecks++
	if _, err := s.checkLocked(req.Context); err != nil {
		return &kvrpcpb.CheckTxnStatusResponse{RegionError: err}, nil
	}
	startTs := event.Ts(req.LockTs)
	e := c.kv.entry(req.PrimaryKey)
	if e.lock != nil && e.lock.startTs == startTs {
		return c.checkLockLocked(e, req), nil
	}
	v := e.finished(startTs)
	switch {
	case v != nil && v.op != opRollback:
		return &kvrpcpb.CheckTxnStatusResponse{CommitVersion: uint64(v.commitTs)}, nil
	case v != nil:
		return &kvrpcpb.CheckTxnStatusResponse{}, nil
	case !req.RollbackIfNotExist:
		return &kvrpcpb.CheckTxnStatusResponse{Error: &kvrpcpb.KeyError{
			TxnNotFound: &kvrpcpb.TxnNotFound{StartTs: req.LockTs, PrimaryKey: req.PrimaryKey},
		}}, nil
	}
	c.routeLocked(c.kv.rollback(req.PrimaryKey, startTs))
	return &kvrpcpb.CheckTxnStatusResponse{Action: kvrpcpb.Action_LockNotExistRollback}, nil
}

// checkLockLocked answers for a primary key that is locked: the lock is rolled
// back if it has expired, except of an async commit, which may have succeeded.
func (c *Cluster) checkLockLocked(e *entry, req *kvrpcpb.CheckTxnStatusRequest) *kvrpcpb.CheckTxnStatusResponse {
	l := e.lock
	expired := l.startTs.Physical()+int64(l.ttl) < event.Ts(req.CurrentTs).Physical()
	if l.async && !req.ForceSyncCommit || !expired {
		resp := &kvrpcpb.CheckTxnStatusResponse{LockTtl: l.ttl, LockInfo: e.lockInfo()}
		if !l.async && event.Ts(req.CallerStartTs) >= l.minCommitTs && req.CallerStartTs != 0 {
			l.minCommitTs = event.Ts(req.CallerStartTs) + 1
			resp.Action = kvrpcpb.Action_MinCommitTSPushed
			c.rewriteLocked(e)
		}
		return resp
	}
	action := kvrpcpb.Action_TTLExpireRollback
	if l.op == opPessimistic {
		action = kvrpcpb.Action_TTLExpirePessimisticRollback
	}
	c.routeLocked(c.kv.rollback(e.key, l.startTs))
	return &kvrpcpb.CheckTxnStatusResponse{Action: action}
}

// KvCheckSecondaryLocks implements tikvpb.TikvServer. A key that is not locked and
// has no record is rolled back, so that the transaction cannot lock it later.
func (s *kvServer) KvCheckSecondaryLocks(_ context.Context, req *kvrpcpb.CheckSecondaryLocksRequest) (*kvrpcpb.CheckSecondaryLocksResponse, error) {
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.touchLocked()
	if _, err := s.checkLocked(req.Context); err != nil {
		return &kvrpcpb.CheckSecondaryLocksResponse{RegionError: err}, nil
	}
	resp := &kvrpcpb.CheckSecondaryLocksResponse{}
	startTs := event.Ts(req.StartVersion)
	for _, key := range req.Keys {
		e := c.kv.entry(key)
		if e.lock != nil && e.lock.startTs == startTs {
			resp.Locks = append(resp.Locks, e.lockInfo())
			continue
		}
		if v := e.finished(startTs); v == nil {
			c.routeLocked(c.kv.rollback(key, startTs))
		} else if v.op != opRollback {
			resp.CommitTs = uint64(v.commitTs)
		}
		resp.Locks = nil
		break
	}
	return resp, nil
}

// KvResolveLock implements tikvpb.TikvServer.
func (s *kvServer) KvResolveLock(_ context.Context, req *kvrpcpb.ResolveLockRequest) (*kvrpcpb.ResolveLockResponse, error) {
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.touchLocked()
	r, err := s.checkLocked(req.Context)
	if err != nil {
		return &kvrpcpb.ResolveLockResponse{RegionError: err}, nil
	}
	outcomes := map[event.Ts]event.Ts{event.Ts(req.StartVersion): event.Ts(req.CommitVersion)}
	for _, txn := range req.TxnInfos {
		outcomes[event.Ts(txn.Txn)] = event.Ts(txn.Status)
	}
	keys := map[string]bool{}
	for _, k := range req.Keys {
		keys[string(k)] = true
	}
	var rows []*cdcpb.Event_Row
	for startTs, commitTs := range outcomes {
		for k, e := range c.kv.lockedBy(startTs) {
			if !r.span.Contains(e.key) || len(keys) > 0 && !keys[k] {
				continue
			}
			if commitTs == 0 {
				rows = append(rows, c.kv.rollback(e.key, startTs))
				continue
			}
			row, cerr := c.kv.commit(e.key, startTs, commitTs)
			if cerr != nil {
				return &kvrpcpb.ResolveLockResponse{Error: &kvrpcpb.KeyError{Abort: cerr.Error()}}, nil
			}
			rows = append(rows, row)
		}
	}
	c.routeLocked(rows...)
	return &kvrpcpb.ResolveLockResponse{}, nil
}

// GetHealthFeedback implements tikvpb.TikvServer.
func (s *kvServer) GetHealthFeedback(context.Context, *kvrpcpb.GetHealthFeedbackRequest) (*kvrpcpb.GetHealthFeedbackResponse, error) {
	return &kvrpcpb.GetHealthFeedbackResponse{HealthFeedback: &kvrpcpb.HealthFeedback{StoreId: s.store.id}}, nil
}

// GetStoreSafeTS implements tikvpb.TikvServer: stale reads are not offered.
func (s *kvServer) GetStoreSafeTS(context.Context, *kvrpcpb.StoreSafeTSRequest) (*kvrpcpb.StoreSafeTSResponse, error) {
	return &kvrpcpb.StoreSafeTSResponse{}, nil
}
