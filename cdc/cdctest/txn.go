package cdctest

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Txn is a transaction, step by step. It may be left at any step, as a client
// that dies would leave it. It is for one goroutine.
type Txn struct {
	// StartTs is its identity.
	StartTs event.Ts
	// TTL is for how long its locks live before others may roll it back. The
	// default of Begin is 3 s.
	TTL time.Duration
	// Source marks who wrote it: bits 0 to 7 a change data capture, 8 to 15 the
	// reorganisation of a lossy DDL, 16 a bulk load.
	Source uint64
	// ForUpdateTs, above StartTs, is when its pessimistic locks were taken.
	ForUpdateTs event.Ts
	// AsyncCommit: it has succeeded as soon as all keys are prewritten.
	AsyncCommit bool

	cluster     *Cluster
	muts        []mutation
	prewritten  int            // of muts
	buffered    map[string]int // by key: which of the others
	pessimistic [][]byte       // locked keys
}

type mutation struct {
	op         opKind
	key, value []byte
}

// Begin starts a transaction.
func (c *Cluster) Begin() *Txn {
	return &Txn{StartTs: c.oracle.Now(), TTL: 3 * time.Second, cluster: c}
}

// Put writes a key. The transaction keeps copies.
func (t *Txn) Put(key, value []byte) *Txn { return t.add(opPut, key, value) }

// Delete removes a key.
func (t *Txn) Delete(key []byte) *Txn { return t.add(opDelete, key, nil) }

// Lock keeps others from writing a key and changes nothing.
func (t *Txn) Lock(key []byte) *Txn { return t.add(opLock, key, nil) }

func (t *Txn) add(op opKind, key, value []byte) *Txn {
	m := mutation{op, bytes.Clone(key), bytes.Clone(value)}
	// A later write of a key replaces the earlier one, as in a client's buffer.
	if i, ok := t.buffered[string(key)]; ok {
		t.muts[i] = m
		return t
	}
	if t.buffered == nil {
		t.buffered = map[string]int{}
	}
	t.buffered[string(key)] = len(t.muts)
	t.muts = append(t.muts, m)
	return t
}

// LockPessimistic takes pessimistic locks, as SELECT FOR UPDATE does.
func (t *Txn) LockPessimistic(keys ...[]byte) *Txn {
	t.pessimistic = append(t.pessimistic, keys...)
	t.step(func() []*cdcpb.Event_Row {
		for _, key := range keys {
			l := t.lock(mutation{op: opPessimistic, key: key})
			l.primary = t.pessimistic[0]
			t.must(t.cluster.kv.prewrite(key, l))
		}
		return nil
	})
	return t
}

func (t *Txn) lock(m mutation) *lock {
	return &lock{
		op: m.op, value: m.value, startTs: t.StartTs, forUpdateTs: t.ForUpdateTs,
		ttl: uint64(t.TTL.Milliseconds()), source: t.Source,
	}
}

// Primary returns the key whose record decides about the transaction: the first
// that was written.
func (t *Txn) Primary() []byte {
	if len(t.muts) == 0 {
		mistake("transaction %d has no keys", t.StartTs)
	}
	return t.muts[0].key
}

// step runs one command of the transaction and routes its rows.
func (t *Txn) step(fn func() []*cdcpb.Event_Row) {
	t.cluster.update(func() { t.cluster.routeLocked(fn()...) })
}

// must is for a store's answer to a script.
func (t *Txn) must(row *cdcpb.Event_Row, err error) *cdcpb.Event_Row {
	if err != nil {
		mistake("%v", err)
	}
	return row
}

// Prewrite locks the keys that were written since the last Prewrite.
func (t *Txn) Prewrite() *Txn {
	t.step(t.prewriteLocked)
	return t
}

func (t *Txn) prewriteLocked() []*cdcpb.Event_Row {
	var rows []*cdcpb.Event_Row
	primary := t.Primary()
	var secondaries [][]byte
	if t.AsyncCommit {
		for _, m := range t.muts[1:] {
			secondaries = append(secondaries, m.key)
		}
	}
	for _, m := range t.muts[t.prewritten:] {
		l := t.lock(m)
		l.primary = primary
		if t.AsyncCommit {
			l.async, l.minCommitTs = true, t.cluster.oracle.Now()
			if bytes.Equal(m.key, primary) {
				l.secondaries = secondaries
			}
		}
		rows = append(rows, t.must(t.cluster.kv.prewrite(m.key, l)))
	}
	t.prewritten, t.buffered = len(t.muts), nil
	return rows
}

// Heartbeat rewrites the lock of the primary key with a longer TTL. Only an old
// TiKV lets it be seen.
func (t *Txn) Heartbeat(ttl time.Duration) *Txn {
	t.TTL = ttl
	t.cluster.update(func() {
		e := t.cluster.kv.entry(t.Primary())
		if e.lock == nil || e.lock.startTs != t.StartTs {
			mistake("transaction %d does not hold its primary lock", t.StartTs)
		}
		e.lock.ttl = uint64(ttl.Milliseconds())
		t.cluster.rewriteLocked(e)
	})
	return t
}

// rewriteLocked tells of a lock that was written again: a PREWRITE without a
// value in old versions, nothing in newer ones.
func (c *Cluster) rewriteLocked(e *entry) {
	if row := e.lockRow(); row != nil && c.cfg.Old.FakePrewrites {
		row.Value = nil
		c.routeLocked(row)
	}
}

// Commit prewrites what is left and commits all keys, at one new ts.
func (t *Txn) Commit() event.Ts {
	var ts event.Ts
	t.cluster.update(func() {
		t.cluster.routeLocked(t.prewriteLocked()...)
		ts = t.commitTsLocked()
		t.cluster.routeLocked(t.commitLocked(ts, t.keys()...)...)
	})
	return ts
}

// commitTsLocked is a new ts, or of an async commit the greatest that the store
// has promised.
func (t *Txn) commitTsLocked() event.Ts {
	if !t.AsyncCommit {
		return t.cluster.oracle.Now()
	}
	var ts event.Ts
	for _, e := range t.cluster.kv.lockedBy(t.StartTs) {
		ts = max(ts, e.lock.minCommitTs)
	}
	return ts
}

// CommitKeys commits some prewritten keys at a ts. The rest waits for another
// call, or for somebody who resolves their locks.
func (t *Txn) CommitKeys(ts event.Ts, keys ...[]byte) {
	t.step(func() []*cdcpb.Event_Row { return t.commitLocked(ts, keys...) })
}

// CommitPrimary commits the primary key alone, which decides about the others.
func (t *Txn) CommitPrimary() event.Ts {
	ts := t.cluster.oracle.Now()
	t.CommitKeys(ts, t.Primary())
	return ts
}

func (t *Txn) commitLocked(ts event.Ts, keys ...[]byte) []*cdcpb.Event_Row {
	var rows []*cdcpb.Event_Row
	for _, key := range keys {
		rows = append(rows, t.must(t.cluster.kv.commit(key, t.StartTs, ts)))
	}
	return rows
}

// keys are all that the transaction has claimed.
func (t *Txn) keys() [][]byte {
	var keys [][]byte
	for _, m := range t.muts {
		keys = append(keys, m.key)
	}
	for _, key := range t.pessimistic {
		if !slices.ContainsFunc(t.muts, func(m mutation) bool { return bytes.Equal(m.key, key) }) {
			keys = append(keys, key)
		}
	}
	return keys
}

// OnePhase writes all keys at once, without locks, at one new ts.
func (t *Txn) OnePhase() event.Ts {
	var ts event.Ts
	t.step(func() []*cdcpb.Event_Row {
		ts = t.cluster.oracle.Now()
		var rows []*cdcpb.Event_Row
		for _, m := range t.muts {
			if m.op != opLock {
				rows = append(rows, t.must(t.cluster.kv.onePhase(m.key, m.op, m.value, t.StartTs, ts, t.Source)))
			}
		}
		return rows
	})
	return ts
}

// Rollback removes all locks of the transaction.
func (t *Txn) Rollback() {
	t.step(func() []*cdcpb.Event_Row {
		var rows []*cdcpb.Event_Row
		for _, key := range t.keys() {
			rows = append(rows, t.cluster.kv.rollback(key, t.StartTs))
		}
		return rows
	})
}

// OverlapRollback rolls back, at a key, a transaction whose start ts is the
// commit ts of another one there. TiKV notes it in that commit record and so
// sends a ROLLBACK for a transaction that never had a PREWRITE.
func (c *Cluster) OverlapRollback(key []byte, commitTs event.Ts) {
	c.update(func() {
		e := c.kv.entry(key)
		if !slices.ContainsFunc(e.versions, func(v version) bool { return v.commitTs == commitTs }) {
			mistake("key %x has no version of commit ts %d", key, commitTs)
		}
		c.routeLocked(&cdcpb.Event_Row{Type: cdcpb.Event_ROLLBACK, StartTs: uint64(commitTs), Key: e.key})
	})
}

// Put writes one key in a transaction of its own and returns the commit ts.
func (c *Cluster) Put(key, value []byte) event.Ts { return c.Begin().Put(key, value).Commit() }

// Delete removes one key in a transaction of its own.
func (c *Cluster) Delete(key []byte) event.Ts { return c.Begin().Delete(key).Commit() }

// Locked returns how many keys are locked.
func (c *Cluster) Locked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, set := range c.kv.locked {
		n += len(set.entries)
	}
	return n
}

// History returns all changes of a span with a commit ts in (after, upTo],
// ordered by commit ts and key: what a client must receive.
func (c *Cluster) History(span event.Span, after, upTo event.Ts) []event.RawKV {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []event.RawKV
	c.kv.scan(span, func(e *entry) bool {
		for i := range e.versions {
			v := &e.versions[i]
			if v.commitTs <= after || v.commitTs > upTo || v.op != opPut && v.op != opDelete || v.source>>8 != 0 {
				continue
			}
			kv := event.RawKV{Op: event.OpPut, Key: e.key, Value: v.value, OldValue: e.valueAt(v.commitTs - 1), StartTs: v.startTs, CommitTs: v.commitTs}
			if v.op == opDelete {
				kv.Op = event.OpDelete
			}
			out = append(out, kv)
		}
		return true
	})
	slices.SortStableFunc(out, func(a, b event.RawKV) int {
		if a.CommitTs != b.CommitTs {
			return int(int64(a.CommitTs) - int64(b.CommitTs))
		}
		return bytes.Compare(a.Key, b.Key)
	})
	return out
}

// Empty reports whether nothing has been written.
func (t *Txn) Empty() bool { return len(t.muts) == 0 }

// Writes reports whether the transaction has written a key.
func (t *Txn) Writes(key []byte) bool {
	return slices.ContainsFunc(t.muts, func(m mutation) bool { return bytes.Equal(m.key, key) })
}

// String names the transaction, for messages.
func (t *Txn) String() string { return fmt.Sprintf("transaction of ts %d", t.StartTs) }
