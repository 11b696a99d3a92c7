package kvnode

import (
	"bytes"
	"context"
	"math"
	"slices"

	"github.com/pingcap/badger"
	"github.com/pingcap/kvproto/pkg/coprocessor"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/tidb/pkg/kv"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/dbreader"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
)

// The engine's point reads are wrong for old versions. Badger's Txn.Get asks
// sstable.Table.Get, which finds a key through a hash index; when two keys of
// different blocks share a bucket it falls back to a seek by user key and takes
// the newest version in that table, whatever version was asked for. Memtables
// and iterators are right. So a snapshot read turned wrong once its key had been
// flushed: here every read of an old version goes through an iterator.
//
// Reads of the newest version (write conflicts, old values of a prewrite) stay
// with the engine: tables are searched newest first, so the fallback finds what
// was asked for.

// pointReader reads single keys at one ts, through an iterator.
type pointReader struct {
	txn  *badger.Txn
	iter *badger.Iterator
}

// pointReader opens a reader of the keys in [first, last]. The caller is inside
// enter, has checked the locks of its keys before, and closes the reader.
func (e *engine) pointReader(first, last []byte, ts uint64) *pointReader {
	txn := e.db.NewTransaction(false)
	txn.SetReadTS(ts)
	return &pointReader{txn: txn, iter: dbreader.NewIterator(txn, false, first, append(slices.Clone(last), 0))}
}

func (r *pointReader) close() {
	r.iter.Close()
	r.txn.Discard()
}

// get returns a copy of the value of key, nil if it has none.
func (r *pointReader) get(key []byte) ([]byte, error) {
	r.iter.Seek(key)
	if !r.iter.Valid() || !bytes.Equal(r.iter.Item().Key(), key) || r.iter.Item().IsEmpty() {
		return nil, nil
	}
	return r.iter.Item().ValueCopy(nil)
}

// readLock is the engine's check of a lock in the way of a snapshot read. A lock
// of a transaction the client knows to be committed gives its value.
func (e *engine) readLock(key []byte, ts uint64, ctx *kvrpcpb.Context) (value []byte, committed bool, blocked *kvrpcpb.KeyError) {
	if ctx.GetIsolationLevel() != kvrpcpb.IsolationLevel_SI {
		return nil, false, nil
	}
	data := e.locks.Get(key, nil)
	if len(data) == 0 {
		return nil, false, nil
	}
	lock := mvcc.DecodeLock(data)
	primaryAtMax := ts == math.MaxUint64 && bytes.Equal(lock.Primary, key) && !lock.UseAsyncCommit
	switch {
	case !isRowLock(&lock), lock.StartTS > ts, primaryAtMax, slices.Contains(ctx.GetResolvedLocks(), lock.StartTS):
		return nil, false, nil
	case !slices.Contains(ctx.GetCommittedLocks(), lock.StartTS):
		return nil, false, &kvrpcpb.KeyError{Locked: lock.ToLockInfo(slices.Clone(key))}
	case lock.Op == uint8(kvrpcpb.Op_Put):
		return lock.Value, true, nil
	default:
		return nil, true, nil
	}
}

// awaitCommits waits for prewrites of one-phase and async commits that are at work, as
// the start of every snapshot read. The engine asks PD for their commit ts before it
// writes a lock, where TiKV has locks in memory meanwhile; so a reader could have a
// later ts and find neither the lock nor the new version.
func (e *engine) awaitCommits() {
	e.committing.Lock()
	//lint:ignore SA2001 those that come later get a later commit ts
	e.committing.Unlock()
}

// KvScan reads keys in order.
func (s *storeService) KvScan(ctx context.Context, req *kvrpcpb.ScanRequest) (*kvrpcpb.ScanResponse, error) {
	s.engine.awaitCommits()
	return s.Server.KvScan(ctx, req)
}

// KvGet reads a key through an iterator.
func (s *storeService) KvGet(ctx context.Context, req *kvrpcpb.GetRequest) (*kvrpcpb.GetResponse, error) {
	s.engine.awaitCommits()
	if req.GetContext().GetIsolationLevel() == kvrpcpb.IsolationLevel_RCCheckTS {
		return s.Server.KvGet(ctx, req) // reads the newest version
	}
	if e := s.checkContext(req.GetContext()); e != nil {
		return &kvrpcpb.GetResponse{RegionError: e}, nil
	}
	if !s.engine.enter() {
		return nil, errEngineClosed
	}
	defer s.engine.leave()
	value, committed, blocked := s.engine.readLock(req.Key, req.Version, req.GetContext())
	if committed || blocked != nil {
		return &kvrpcpb.GetResponse{Value: value, NotFound: value == nil && blocked == nil, Error: blocked}, nil
	}
	r := s.engine.pointReader(req.Key, req.Key, req.Version)
	defer r.close()
	value, err := r.get(req.Key)
	if err != nil {
		return &kvrpcpb.GetResponse{Error: &kvrpcpb.KeyError{Abort: err.Error()}}, nil
	}
	return &kvrpcpb.GetResponse{Value: value, NotFound: value == nil}, nil
}

// KvBatchGet reads keys through one iterator.
func (s *storeService) KvBatchGet(ctx context.Context, req *kvrpcpb.BatchGetRequest) (*kvrpcpb.BatchGetResponse, error) {
	s.engine.awaitCommits()
	if len(req.Keys) == 0 || req.GetContext().GetIsolationLevel() == kvrpcpb.IsolationLevel_RCCheckTS {
		return s.Server.KvBatchGet(ctx, req)
	}
	if e := s.checkContext(req.GetContext()); e != nil {
		return &kvrpcpb.BatchGetResponse{RegionError: e}, nil
	}
	if !s.engine.enter() {
		return nil, errEngineClosed
	}
	defer s.engine.leave()
	keys := slices.Clone(req.Keys)
	slices.SortFunc(keys, bytes.Compare)
	resp := &kvrpcpb.BatchGetResponse{}
	unlocked := keys[:0:0]
	for _, key := range keys { // all locks before the first read
		value, committed, blocked := s.engine.readLock(key, req.Version, req.GetContext())
		switch {
		case blocked != nil:
			resp.Pairs = append(resp.Pairs, &kvrpcpb.KvPair{Key: key, Error: blocked})
		case !committed:
			unlocked = append(unlocked, key)
		case value != nil:
			resp.Pairs = append(resp.Pairs, &kvrpcpb.KvPair{Key: key, Value: value})
		}
	}
	if len(unlocked) == 0 {
		return resp, nil
	}
	r := s.engine.pointReader(unlocked[0], unlocked[len(unlocked)-1], req.Version)
	defer r.close()
	for _, key := range unlocked {
		value, err := r.get(key)
		if err != nil {
			resp.Pairs = append(resp.Pairs, &kvrpcpb.KvPair{Key: key, Error: &kvrpcpb.KeyError{Abort: err.Error()}})
		} else if value != nil {
			resp.Pairs = append(resp.Pairs, &kvrpcpb.KvPair{Key: key, Value: value})
		}
	}
	return resp, nil
}

// Coprocessor keeps the executor from point reads. The executor knows a point by
// the shape of its range, so such a range is cut in two that have another shape.
func (s *storeService) Coprocessor(ctx context.Context, req *coprocessor.Request) (*coprocessor.Response, error) {
	s.engine.awaitCommits()
	req.Ranges = cutPoints(req.Ranges)
	for _, t := range req.Tasks {
		t.Ranges = cutPoints(t.Ranges)
	}
	return s.Server.Coprocessor(ctx, req)
}

// cutPoints covers the same keys in the same order. A range [k, prefix-next of k)
// also looks like a point, but may hold every key that begins with k.
func cutPoints(ranges []*coprocessor.KeyRange) []*coprocessor.KeyRange {
	var out []*coprocessor.KeyRange
	for i, r := range ranges {
		kr := kv.KeyRange{StartKey: r.Start, EndKey: r.End}
		if !kr.IsPoint() {
			if out != nil {
				out = append(out, r)
			}
			continue
		}
		if out == nil {
			out = append(make([]*coprocessor.KeyRange, 0, len(ranges)+1), ranges[:i]...)
		}
		middle := append(slices.Clone(r.Start), 0, 0)
		out = append(out, &coprocessor.KeyRange{Start: r.Start, End: middle})
		if bytes.Compare(middle, r.End) < 0 {
			out = append(out, &coprocessor.KeyRange{Start: middle, End: r.End})
		}
	}
	if out == nil {
		return ranges
	}
	return out
}

// KvCommit tells a repeated commit from a failed one. The engine looks for the
// committed version with a point read at the commit ts, and so refuses to repeat
// a commit whose key was overwritten and flushed since.
func (s *storeService) KvCommit(ctx context.Context, req *kvrpcpb.CommitRequest) (*kvrpcpb.CommitResponse, error) {
	resp, err := s.Server.KvCommit(ctx, req)
	if err != nil || resp.GetError() == nil || resp.Error.CommitTsExpired != nil {
		return resp, err
	}
	left, err := s.engine.uncommitted(req.Keys, req.StartVersion, req.CommitVersion)
	if err != nil || len(left) == len(req.Keys) {
		return resp, err
	}
	if len(left) == 0 {
		return &kvrpcpb.CommitResponse{CommitVersion: req.CommitVersion}, nil
	}
	again := *req
	again.Keys = left
	return s.Server.KvCommit(ctx, &again)
}

// uncommitted returns those of keys that have no version of the transaction.
func (e *engine) uncommitted(keys [][]byte, startTs, commitTs uint64) ([][]byte, error) {
	if !e.enter() {
		return nil, errEngineClosed
	}
	defer e.leave()
	var left [][]byte
	for _, key := range keys {
		r := e.pointReader(key, key, commitTs)
		r.iter.Seek(key)
		done := r.iter.Valid() && bytes.Equal(r.iter.Item().Key(), key) &&
			mvcc.DBUserMeta(r.iter.Item().UserMeta()).StartTS() == startTs
		r.close()
		if !done {
			left = append(left, key)
		}
	}
	return left, nil
}
