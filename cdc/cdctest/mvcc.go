package cdctest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// opKind is what a lock or a version does to its key.
type opKind byte

const (
	opPut opKind = iota + 1
	opDelete
	opLock        // nothing: a locked but unchanged key
	opPessimistic // a lock before prewrite
	opRollback    // a version only
)

// shortValue is the longest value that TiKV puts into a commit record.
const shortValue = 255

// lock is a transaction's claim on a key.
type lock struct {
	op          opKind
	value       []byte
	startTs     event.Ts
	forUpdateTs event.Ts
	minCommitTs event.Ts
	ttl         uint64 // milliseconds
	primary     []byte
	async       bool
	secondaries [][]byte
	source      uint64
}

// version is a record of a finished transaction.
type version struct {
	op                opKind
	value             []byte
	startTs, commitTs event.Ts
	source            uint64
}

// entry is a key with its lock and versions, the newest last.
type entry struct {
	key      []byte
	lock     *lock
	versions []version
}

// mvcc is TiKV's store of versions, without anything about regions. The caller
// holds Cluster.mu. Its steps return the row that an observer of the raft log
// would make of them, nil for none.
type mvcc struct {
	entries map[string]*entry
	keys    []string // of entries, sorted if sorted is set
	sorted  bool
	locked  map[event.Ts]*lockSet // by start ts
}

// lockSet is the keys that a transaction has locked.
type lockSet struct {
	entries   map[string]*entry
	low, high []byte // of all keys that ever were in the set
}

func (l *lockSet) add(e *entry) {
	if l.low == nil || bytes.Compare(e.key, l.low) < 0 {
		l.low = e.key
	}
	if bytes.Compare(e.key, l.high) > 0 {
		l.high = e.key
	}
	l.entries[string(e.key)] = e
}

// blocks reports whether a lock in the span holds a resolved ts back.
func (l *lockSet) blocks(span event.Span) bool {
	if bytes.Compare(l.high, span.Start) < 0 || len(span.End) > 0 && bytes.Compare(l.low, span.End) >= 0 {
		return false
	}
	for _, e := range l.entries {
		if (e.lock.op == opPut || e.lock.op == opDelete) && span.Contains(e.key) {
			return true
		}
	}
	return false
}

func newMVCC() *mvcc {
	return &mvcc{entries: map[string]*entry{}, locked: map[event.Ts]*lockSet{}}
}

func (m *mvcc) entry(key []byte) *entry {
	e := m.entries[string(key)]
	if e == nil {
		e = &entry{key: bytes.Clone(key)}
		m.entries[string(key)] = e
		m.keys = append(m.keys, string(key))
		m.sorted = false
	}
	return e
}

// scan calls fn for the keys of a span in order, until it returns false.
func (m *mvcc) scan(span event.Span, fn func(*entry) bool) {
	if !m.sorted {
		slices.Sort(m.keys)
		m.sorted = true
	}
	for _, k := range m.keys[sort.SearchStrings(m.keys, string(span.Start)):] {
		if e := m.entries[k]; !span.Contains(e.key) || !fn(e) {
			return
		}
	}
}

// at returns the version of a key that a reader at ts sees, nil for none.
func (e *entry) at(ts event.Ts) *version {
	for i := len(e.versions) - 1; i >= 0; i-- {
		v := &e.versions[i]
		if v.commitTs > ts || v.op != opPut && v.op != opDelete {
			continue
		}
		if v.op == opDelete {
			return nil
		}
		return v
	}
	return nil
}

func (e *entry) valueAt(ts event.Ts) []byte {
	if v := e.at(ts); v != nil {
		return v.value
	}
	return nil
}

// finished returns the record of a transaction at a key, nil if there is none.
func (e *entry) finished(startTs event.Ts) *version {
	// A transaction's commit ts is not below its start ts. Some keys have very many versions.
	first := sort.Search(len(e.versions), func(i int) bool { return e.versions[i].commitTs >= startTs })
	for i := first; i < len(e.versions); i++ {
		if e.versions[i].startTs == startTs {
			return &e.versions[i]
		}
	}
	return nil
}

// add inserts a version in commit ts order.
func (e *entry) add(v version) {
	i, _ := slices.BinarySearchFunc(e.versions, v.commitTs, func(o version, ts event.Ts) int { return cmp.Compare(o.commitTs, ts+1) })
	e.versions = slices.Insert(e.versions, i, v)
}

func (m *mvcc) setLock(e *entry, l *lock) {
	m.unlock(e)
	e.lock = l
	set := m.locked[l.startTs]
	if set == nil {
		set = &lockSet{entries: map[string]*entry{}}
		m.locked[l.startTs] = set
	}
	set.add(e)
}

// lockedBy returns the keys of a transaction.
func (m *mvcc) lockedBy(startTs event.Ts) map[string]*entry {
	if set := m.locked[startTs]; set != nil {
		return set.entries
	}
	return nil
}

func (m *mvcc) unlock(e *entry) {
	if e.lock == nil {
		return
	}
	set := m.locked[e.lock.startTs]
	delete(set.entries, string(e.key))
	if len(set.entries) == 0 {
		delete(m.locked, e.lock.startTs)
	}
	e.lock = nil
}

// minLock returns the least start ts among the locks in a span that hold a
// resolved ts back, or 0.
func (m *mvcc) minLock(span event.Span) event.Ts {
	var least event.Ts
	for ts, set := range m.locked {
		if (least == 0 || ts < least) && set.blocks(span) {
			least = ts
		}
	}
	return least
}

// prewrite locks a key for a transaction. A pessimistic lock of the same
// transaction is replaced; another transaction's lock or newer version refuses.
func (m *mvcc) prewrite(key []byte, l *lock) (*cdcpb.Event_Row, error) {
	e := m.entry(key)
	if e.lock != nil && e.lock.startTs != l.startTs {
		return nil, fmt.Errorf("prewrite key %x at ts %d: locked by the transaction of ts %d", key, l.startTs, e.lock.startTs)
	}
	if v := e.finished(l.startTs); v != nil {
		return nil, fmt.Errorf("prewrite key %x at ts %d: the transaction is over, commit ts %d", key, l.startTs, v.commitTs)
	}
	snapshot := max(l.startTs, l.forUpdateTs)
	if n := len(e.versions); n > 0 && l.op != opPessimistic && e.versions[n-1].op != opRollback && e.versions[n-1].commitTs > snapshot {
		return nil, fmt.Errorf("prewrite key %x at ts %d: write conflict with commit ts %d", key, l.startTs, e.versions[n-1].commitTs)
	}
	m.setLock(e, l)
	return e.lockRow(), nil
}

// lockRow is the PREWRITE of a key's lock.
func (e *entry) lockRow() *cdcpb.Event_Row {
	l := e.lock
	if l == nil || l.op != opPut && l.op != opDelete {
		return nil
	}
	return &cdcpb.Event_Row{
		Type: cdcpb.Event_PREWRITE, OpType: rowOp(l.op), StartTs: uint64(l.startTs), Key: e.key, Value: l.value,
		OldValue: e.valueAt(max(l.startTs, l.forUpdateTs)), TxnSource: l.source,
	}
}

// commit turns a lock into a version.
func (m *mvcc) commit(key []byte, startTs, commitTs event.Ts) (*cdcpb.Event_Row, error) {
	e := m.entries[string(key)]
	if e == nil || e.lock == nil || e.lock.startTs != startTs {
		return nil, fmt.Errorf("commit key %x of the transaction of ts %d: no lock of it", key, startTs)
	}
	l := e.lock
	if commitTs <= startTs || commitTs < l.minCommitTs {
		return nil, fmt.Errorf("commit key %x of the transaction of ts %d: commit ts %d is too small", key, startTs, commitTs)
	}
	m.unlock(e)
	if l.op == opPessimistic {
		return nil, nil
	}
	e.add(version{op: l.op, value: l.value, startTs: startTs, commitTs: commitTs, source: l.source})
	if l.op == opLock {
		return nil, nil
	}
	row := &cdcpb.Event_Row{
		Type: cdcpb.Event_COMMIT, OpType: rowOp(l.op), StartTs: uint64(startTs), CommitTs: uint64(commitTs), Key: e.key, TxnSource: l.source,
	}
	if len(l.value) <= shortValue {
		row.Value = l.value
	}
	return row, nil
}

// rollback ends a transaction at a key without a change. protected leaves a
// record, as primary keys do.
func (m *mvcc) rollback(key []byte, startTs event.Ts) *cdcpb.Event_Row {
	e := m.entry(key)
	pessimistic := false
	if e.lock != nil && e.lock.startTs == startTs {
		pessimistic = e.lock.op == opPessimistic
		m.unlock(e)
	}
	if e.finished(startTs) != nil {
		return nil
	}
	e.add(version{op: opRollback, startTs: startTs, commitTs: startTs})
	if pessimistic {
		return nil
	}
	return &cdcpb.Event_Row{Type: cdcpb.Event_ROLLBACK, StartTs: uint64(startTs), Key: e.key}
}

// onePhase writes a version without a lock.
func (m *mvcc) onePhase(key []byte, op opKind, value []byte, startTs, commitTs event.Ts, source uint64) (*cdcpb.Event_Row, error) {
	e := m.entry(key)
	if e.lock != nil && e.lock.startTs != startTs {
		return nil, fmt.Errorf("write key %x at ts %d: locked by the transaction of ts %d", key, startTs, e.lock.startTs)
	}
	m.unlock(e)
	v := version{op: op, value: value, startTs: startTs, commitTs: commitTs, source: source}
	row := e.committedRow(&v)
	e.add(v)
	return row, nil
}

// committedRow is the COMMITTED of a version.
func (e *entry) committedRow(v *version) *cdcpb.Event_Row {
	return &cdcpb.Event_Row{
		Type: cdcpb.Event_COMMITTED, OpType: rowOp(v.op), StartTs: uint64(v.startTs), CommitTs: uint64(v.commitTs),
		Key: e.key, Value: v.value, OldValue: e.valueAt(v.commitTs - 1), TxnSource: v.source,
	}
}

// delta is what an incremental scan sends: by key, the lock, and then the
// versions above a ts, the newest first.
func (m *mvcc) delta(span event.Span, above event.Ts) []*cdcpb.Event_Row {
	var rows []*cdcpb.Event_Row
	m.scan(span, func(e *entry) bool {
		if row := e.lockRow(); row != nil {
			rows = append(rows, row)
		}
		for i := len(e.versions) - 1; i >= 0 && e.versions[i].commitTs > above; i-- {
			if v := &e.versions[i]; v.op == opPut || v.op == opDelete {
				rows = append(rows, e.committedRow(v))
			}
		}
		return true
	})
	return rows
}

// gc drops the versions that no reader at ts or above can see.
func (m *mvcc) gc(ts event.Ts) {
	for _, e := range m.entries {
		visible := e.at(ts)
		e.versions = slices.DeleteFunc(e.versions, func(v version) bool {
			return v.commitTs <= ts && (visible == nil || v.commitTs != visible.commitTs)
		})
	}
}

func rowOp(op opKind) cdcpb.Event_Row_OpType {
	if op == opDelete {
		return cdcpb.Event_Row_DELETE
	}
	return cdcpb.Event_Row_PUT
}
