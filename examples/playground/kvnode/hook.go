package kvnode

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pingcap/badger"
	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
)

// hookWriter wraps the engine's writer. Every change of MVCC state (prewrite,
// commit, 1PC, rollback, rollback of an expired lock, resolved lock, flush) is
// one Write of one batch, made while the latches of its keys are held.
//
//	batch.Prewrite of a put or delete          PREWRITE
//	batch.Commit of a tracked lock             COMMIT
//	batch.Commit without one                   COMMITTED (one-phase commit)
//	batch.Rollback                             ROLLBACK
//	batch.PessimisticLock                      nothing: also how the engine rewrites
//	                                           a lock for a heartbeat or a push
//	batch.PessimisticRollback, Op_Lock,
//	DeleteRange                                nothing, as in TiKV
type hookWriter struct {
	inner mvcc.DBWriter
	hub   *hub
	db    *badger.DB
}

var _ mvcc.DBWriter = (*hookWriter)(nil)

type opKind uint8

const (
	opPrewrite opKind = iota
	opCommit
	opRollback
)

// hookOp is one key's change within a batch.
type hookOp struct {
	kind     opKind
	key      []byte
	op       cdcpb.Event_Row_OpType
	value    []byte
	oldValue []byte
}

type hookBatch struct {
	inner             mvcc.WriteBatch
	startTs, commitTs uint64
	txnSource         uint64
	ops               []hookOp
}

var _ mvcc.WriteBatch = (*hookBatch)(nil)

// Open implements mvcc.DBWriter.
func (w *hookWriter) Open() { w.inner.Open() }

// Close implements mvcc.DBWriter.
func (w *hookWriter) Close() { w.inner.Close() }

// DeleteRange implements mvcc.DBWriter.
func (w *hookWriter) DeleteRange(start, end []byte, l mvcc.LatchHandle) error {
	return w.inner.DeleteRange(start, end, l)
}

// NewWriteBatch implements mvcc.DBWriter.
func (w *hookWriter) NewWriteBatch(startTs, commitTs uint64, ctx *kvrpcpb.Context) mvcc.WriteBatch {
	return &hookBatch{
		inner:   w.inner.NewWriteBatch(startTs, commitTs, ctx),
		startTs: startTs, commitTs: commitTs, txnSource: ctx.GetTxnSource(),
	}
}

func isRowLock(l *mvcc.Lock) bool {
	return l.Op == uint8(kvrpcpb.Op_Put) || l.Op == uint8(kvrpcpb.Op_Del)
}

func opType(l *mvcc.Lock) cdcpb.Event_Row_OpType {
	if l.Op == uint8(kvrpcpb.Op_Del) {
		return cdcpb.Event_Row_DELETE
	}
	return cdcpb.Event_Row_PUT
}

// Prewrite implements mvcc.WriteBatch.
func (b *hookBatch) Prewrite(key []byte, lock *mvcc.Lock) {
	b.inner.Prewrite(key, lock)
	if isRowLock(lock) {
		b.ops = append(b.ops, hookOp{kind: opPrewrite, key: slices.Clone(key), op: opType(lock), value: lock.Value})
	}
}

// Commit implements mvcc.WriteBatch.
func (b *hookBatch) Commit(key []byte, lock *mvcc.Lock) {
	b.inner.Commit(key, lock)
	if isRowLock(lock) {
		b.ops = append(b.ops, hookOp{kind: opCommit, key: slices.Clone(key), op: opType(lock), value: lock.Value})
	}
}

// Rollback implements mvcc.WriteBatch.
func (b *hookBatch) Rollback(key []byte, deleteLock bool) {
	b.inner.Rollback(key, deleteLock)
	b.ops = append(b.ops, hookOp{kind: opRollback, key: slices.Clone(key)})
}

// PessimisticLock implements mvcc.WriteBatch.
func (b *hookBatch) PessimisticLock(key []byte, lock *mvcc.Lock) { b.inner.PessimisticLock(key, lock) }

// PessimisticRollback implements mvcc.WriteBatch.
func (b *hookBatch) PessimisticRollback(key []byte) { b.inner.PessimisticRollback(key) }

// Write implements mvcc.DBWriter.
func (w *hookWriter) Write(batch mvcc.WriteBatch) error {
	b, ok := batch.(*hookBatch)
	if !ok {
		return fmt.Errorf("write batch of type %T", batch)
	}
	if len(b.ops) == 0 {
		return w.inner.Write(b.inner)
	}
	if err := w.readOldValues(b); err != nil {
		return err
	}
	w.hub.beforeWrite(b)
	err := w.inner.Write(b.inner)
	w.hub.afterWrite(b, err)
	return err
}

// readOldValues reads the newest version of every key that a prewrite or a
// one-phase commit is about to cover. The latches make it the version below, and
// the newest version is what the engine's point reads get right (see read.go).
func (w *hookWriter) readOldValues(b *hookBatch) error {
	txn := w.db.NewTransaction(false)
	defer txn.Discard()
	for i := range b.ops {
		op := &b.ops[i]
		if op.kind == opRollback || (op.kind == opCommit && w.hub.tracks(op.key, b.startTs)) {
			continue
		}
		item, err := txn.Get(op.key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read old value of %x: %w", op.key, err)
		}
		if op.oldValue, err = item.ValueCopy(nil); err != nil {
			return fmt.Errorf("read old value of %x: %w", op.key, err)
		}
	}
	return nil
}
