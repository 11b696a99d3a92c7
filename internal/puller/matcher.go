package puller

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// matcher joins the rows of one region into committed changes: a COMMIT says
// that a transaction succeeded, its PREWRITE what it wrote.
//
// While the region is scanned, live rows and scanned rows arrive in any relative
// order. So until INITIALIZED a COMMIT without a usable PREWRITE is kept, and
// so is every ROLLBACK: the PREWRITE may yet come from the scan.
//
// A matcher is used by one goroutine.
type matcher struct {
	seed        maphash.Seed
	startTs     event.Ts // of the subscription: changes up to it are not wanted
	resolvedTs  event.Ts // of the region: no change up to it may come any more
	initialized bool

	prewrites    prewriteTable
	lastPrewrite time.Duration // on the stream's clock
	commits      []keptRow
	rollbacks    []keptRow
	bytes        int64 // held in memory by all of this

	overflow  *overflow // prewrites on disk; nil if there are none
	joins     []join    // COMMITs that wait to be joined with them
	joinBytes int64     // held by joins
	joinTs    event.Ts  // the least commit ts of joins

	arrived    int64         // bytes of prewrites since repackedAt
	repackedAt time.Duration // on the stream's clock
}

// keptRow is a COMMIT or ROLLBACK that waits for the end of the scan.
type keptRow struct {
	startTs, commitTs event.Ts
	key               []byte
	op                event.Op
}

func keep(r *row, payload []byte) keptRow {
	return keptRow{startTs: r.startTs, commitTs: r.commitTs, op: r.op, key: bytes.Clone(r.key.of(payload))}
}

func (k *keptRow) size() int64 {
	const overhead = 48 // the struct
	return int64(overhead + len(k.key))
}

// protocolError is what a correct store never sends. The region is subscribed
// again from its resolved ts, rather than emitting something doubtful.
type protocolError struct {
	what                          string
	key                           string
	startTs, commitTs, resolvedTs event.Ts
}

func (e *protocolError) Error() string {
	return fmt.Sprintf("%s: key %x, start ts %d, commit ts %d, region resolved ts %d",
		e.what, e.key, e.startTs, e.commitTs, e.resolvedTs)
}

func (m *matcher) violation(what string, key []byte, startTs, commitTs event.Ts) error {
	return &protocolError{what: what, key: string(key), startTs: startTs, commitTs: commitTs, resolvedTs: m.resolvedTs}
}

// prepare hashes rows, before they are matched.
func (m *matcher) prepare(rows []row, payload []byte) {
	for i := range rows {
		switch r := &rows[i]; r.typ {
		case cdcpb.Event_PREWRITE, cdcpb.Event_COMMIT, cdcpb.Event_ROLLBACK:
			r.hash = hashPrewrite(m.seed, r.startTs, r.key.of(payload))
		}
	}
	m.prewrites.prefetch(rows)
}

// prewrite keeps a PREWRITE, whose bytes are p, until its COMMIT or ROLLBACK.
func (m *matcher) prewrite(r *row, p packed) {
	entry := prewrite{packed: p, startTs: r.startTs, generation: r.generation, op: r.op}
	m.arrived += int64(len(p.data))
	if i := m.prewrites.find(r.hash, r.startTs, p.key()); i >= 0 {
		e := m.prewrites.at(i)
		// An empty value is a lock that was rewritten (TiKV before v6.2); a lower
		// generation is an earlier flush of a pipelined transaction.
		if p.valueLen == 0 || r.generation < e.generation {
			return
		}
		m.bytes += entry.size() - e.size()
		*e = entry
		return
	}
	m.bytes += entry.size()
	m.prewrites.insert(r.hash, entry)
}

// commit appends the change of a COMMIT to rows, or keeps the COMMIT. The change
// has the bytes of the PREWRITE, so those of the COMMIT need no copy.
func (m *matcher) commit(rows []rawkv.Entry, r *row, payload []byte) ([]rawkv.Entry, error) {
	key := r.key.of(payload)
	i := m.prewrites.find(r.hash, r.startTs, key)
	if m.overflow.holds(r.startTs) && (i < 0 || m.prewrites.at(i).valueLen == 0 || m.prewrites.at(i).generation != 0) {
		m.deferCommit(r, key, i)
		return rows, nil
	}
	if !m.initialized {
		// An empty value may be a rewritten lock whose real PREWRITE, or whose
		// COMMITTED, comes from the scan; a generation may be followed by a higher one.
		if i < 0 || m.prewrites.at(i).valueLen == 0 || m.prewrites.at(i).generation != 0 {
			k := keep(r, payload)
			m.commits = append(m.commits, k)
			m.bytes += k.size()
			return rows, nil
		}
	} else if i < 0 {
		if r.commitTs <= m.startTs {
			return rows, nil
		}
		return rows, m.violation("COMMIT without PREWRITE", key, r.startTs, r.commitTs)
	}
	p := m.take(i)
	return m.emit(rows, r.op, r.startTs, r.commitTs, &p)
}

// take removes the prewrite in slot i and returns its bytes.
func (m *matcher) take(i int) packed {
	e := m.prewrites.at(i)
	p := e.packed
	m.bytes -= e.size()
	m.prewrites.remove(i)
	return p
}

// committed appends a COMMITTED row, whose bytes are p: from the scan, or a
// one-phase commit.
func (m *matcher) committed(rows []rawkv.Entry, r *row, p packed) ([]rawkv.Entry, error) {
	return m.emit(rows, r.op, r.startTs, r.commitTs, &p)
}

// emit checks a change against the resolved ts and appends it.
func (m *matcher) emit(rows []rawkv.Entry, op event.Op, startTs, commitTs event.Ts, p *packed) ([]rawkv.Entry, error) {
	if commitTs <= m.startTs {
		return rows, nil
	}
	if commitTs <= m.resolvedTs {
		return rows, m.violation("commit ts at or below the resolved ts", p.key(), startTs, commitTs)
	}
	switch {
	case op == event.OpPut && p.valueLen == 0:
		return rows, m.violation("put without a value", p.key(), startTs, commitTs)
	case op != event.OpPut && op != event.OpDelete:
		return rows, m.violation("unknown operation", p.key(), startTs, commitTs)
	}
	return append(rows, rawkv.New(op, startTs, commitTs, p.data, p.keyLen, p.valueLen)), nil
}

// rollback forgets a transaction's PREWRITE of a key. There may be none: the
// record of an overlapped rollback, or a transaction that the store filtered.
func (m *matcher) rollback(r *row, payload []byte) {
	if !m.initialized {
		k := keep(r, payload)
		m.rollbacks = append(m.rollbacks, k)
		m.bytes += k.size()
		return
	}
	m.forget(r.hash, r.startTs, r.key.of(payload))
}

func (m *matcher) forget(hash uint32, startTs event.Ts, key []byte) {
	if i := m.prewrites.find(hash, startTs, key); i >= 0 {
		m.take(i)
	}
}

// initialize ends the scan: it appends the changes of kept COMMITs whose
// PREWRITE has come, and applies the kept ROLLBACKs. A kept COMMIT that still has
// no PREWRITE, or only an empty one, has come as COMMITTED. As for flush, see join.
func (m *matcher) initialize(rows []rawkv.Entry, flush func([]rawkv.Entry) []rawkv.Entry) ([]rawkv.Entry, error) {
	m.initialized = true
	commits := m.commits
	m.commits = nil
	var err error
	for _, k := range commits {
		m.bytes -= k.size()
		i := m.prewrites.find(hashPrewrite(m.seed, k.startTs, k.key), k.startTs, k.key)
		if m.overflow.holds(k.startTs) {
			j := join{keptRow: k}
			if i >= 0 {
				j.best, j.has = *m.prewrites.at(i), true
				m.take(i)
			}
			m.addJoin(j)
			continue
		}
		if i < 0 {
			continue
		}
		p := m.take(i)
		if k.op == event.OpPut && p.valueLen == 0 {
			continue
		}
		if err == nil {
			rows, err = m.emit(rows, k.op, k.startTs, k.commitTs, &p)
		}
	}
	if err == nil {
		rows, err = m.join(rows, true, flush)
	}
	for _, k := range m.rollbacks {
		m.bytes -= k.size()
		m.forget(hashPrewrite(m.seed, k.startTs, k.key), k.startTs, k.key)
	}
	m.rollbacks = nil
	return rows, err
}

const (
	// emptyTableAge is how long an empty table of prewrites keeps its memory.
	emptyTableAge = 5 * time.Second
	// repackAge is how long a prewrite may hold the memory of rows that came with it.
	repackAge = 5 * time.Second
	// repackFrom is how many bytes that can be.
	repackFrom = 64 << 10
)

// resolve moves the resolved ts, and gives back memory: that of a table which has been
// empty for a while, since most regions of a cluster are idle; and that of events
// of which a transaction that takes long holds only a part.
func (m *matcher) resolve(ts event.Ts, now time.Duration) {
	m.resolvedTs = ts
	if m.overflow != nil && m.overflow.finished(ts) {
		m.dropOverflow()
	}
	if m.prewrites.slots == nil {
		return
	}
	if m.prewrites.n == 0 {
		m.arrived = 0
		if now-m.lastPrewrite > emptyTableAge {
			m.prewrites = prewriteTable{}
		}
		return
	}
	if m.arrived > 2*m.bytes+repackFrom && now-m.repackedAt > repackAge {
		m.prewrites.repack()
		m.arrived, m.repackedAt = 0, now
	}
}
