package puller

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/tidbcdc/tidbcdc/cdc/event"
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
	commits      []*cdcpb.Event_Row
	rollbacks    []*cdcpb.Event_Row
	bytes        int64 // held by all of the above
}

// emptyTableAge is how long an empty table of prewrites keeps its memory.
const emptyTableAge = 5 * time.Second

// protocolError is what a correct store never sends. The region is subscribed
// again from its resolved ts, rather than emitting something doubtful.
type protocolError struct {
	what string
	row  *cdcpb.Event_Row
	ts   event.Ts
}

func (e *protocolError) Error() string {
	return fmt.Sprintf("%s: key %x, start ts %d, commit ts %d, region resolved ts %d",
		e.what, e.row.GetKey(), e.row.GetStartTs(), e.row.GetCommitTs(), e.ts)
}

func (m *matcher) violation(what string, row *cdcpb.Event_Row) error {
	return &protocolError{what: what, row: row, ts: m.resolvedTs}
}

// prewrite keeps a PREWRITE until its COMMIT or ROLLBACK.
func (m *matcher) prewrite(row *cdcpb.Event_Row) {
	startTs := event.Ts(row.StartTs)
	hash := hashPrewrite(m.seed, startTs, row.Key)
	p := prewrite{
		startTs: startTs, generation: row.Generation,
		key: row.Key, value: row.Value, old: row.OldValue,
		op: opOf(row.OpType),
	}
	if i := m.prewrites.find(hash, startTs, row.Key); i >= 0 {
		e := m.prewrites.at(i)
		// An empty value is a lock that was rewritten (TiKV before v6.2); a lower
		// generation is an earlier flush of a pipelined transaction.
		if len(row.Value) == 0 || row.Generation < e.generation {
			return
		}
		m.bytes += p.size() - e.size()
		*e = p
		return
	}
	m.bytes += p.size()
	m.prewrites.insert(hash, p)
}

// commit appends the change of a COMMIT to rows, or keeps the COMMIT.
func (m *matcher) commit(rows []event.RawKV, row *cdcpb.Event_Row) ([]event.RawKV, error) {
	hash := hashPrewrite(m.seed, event.Ts(row.StartTs), row.Key)
	i := m.prewrites.find(hash, event.Ts(row.StartTs), row.Key)
	if !m.initialized {
		// An empty value may be a rewritten lock whose real PREWRITE, or whose
		// COMMITTED, comes from the scan; a generation may be followed by a higher one.
		if i < 0 || len(m.prewrites.at(i).value) == 0 || m.prewrites.at(i).generation != 0 {
			m.commits = append(m.commits, row)
			m.bytes += rowSize(row)
			return rows, nil
		}
	} else if i < 0 {
		if event.Ts(row.CommitTs) <= m.startTs {
			return rows, nil
		}
		return rows, m.violation("COMMIT without PREWRITE", row)
	}
	p := m.take(i)
	return m.emit(rows, row, p.value, p.old)
}

// take removes and returns the prewrite in slot i.
func (m *matcher) take(i int) prewrite {
	p := *m.prewrites.at(i)
	m.bytes -= p.size()
	m.prewrites.remove(i)
	return p
}

// committed appends a COMMITTED row: from the scan, or a one-phase commit.
func (m *matcher) committed(rows []event.RawKV, row *cdcpb.Event_Row) ([]event.RawKV, error) {
	return m.emit(rows, row, row.Value, row.OldValue)
}

// emit checks a change against the resolved ts and appends it.
func (m *matcher) emit(rows []event.RawKV, row *cdcpb.Event_Row, value, old []byte) ([]event.RawKV, error) {
	commitTs := event.Ts(row.CommitTs)
	if commitTs <= m.startTs {
		return rows, nil
	}
	if commitTs <= m.resolvedTs {
		return rows, m.violation("commit ts at or below the resolved ts", row)
	}
	op := opOf(row.OpType)
	switch {
	case op == event.OpPut && len(value) == 0:
		return rows, m.violation("put without a value", row)
	case op == event.OpDelete:
		value = nil
	case op != event.OpPut:
		return rows, m.violation("unknown operation", row)
	}
	return append(rows, event.RawKV{
		Op: op, Key: row.Key, Value: value, OldValue: old,
		StartTs: event.Ts(row.StartTs), CommitTs: commitTs,
	}), nil
}

// rollback forgets a transaction's PREWRITE of a key. There may be none: the
// record of an overlapped rollback, or a transaction that the store filtered.
func (m *matcher) rollback(row *cdcpb.Event_Row) {
	if !m.initialized {
		m.rollbacks = append(m.rollbacks, row)
		m.bytes += rowSize(row)
		return
	}
	hash := hashPrewrite(m.seed, event.Ts(row.StartTs), row.Key)
	if i := m.prewrites.find(hash, event.Ts(row.StartTs), row.Key); i >= 0 {
		m.take(i)
	}
}

// initialize ends the scan: it appends the changes of kept COMMITs whose
// PREWRITE has come, and applies the kept ROLLBACKs. A kept COMMIT that still has
// no PREWRITE, or only an empty one, has come as COMMITTED.
func (m *matcher) initialize(rows []event.RawKV) ([]event.RawKV, error) {
	m.initialized = true
	var err error
	for _, row := range m.commits {
		m.bytes -= rowSize(row)
		hash := hashPrewrite(m.seed, event.Ts(row.StartTs), row.Key)
		i := m.prewrites.find(hash, event.Ts(row.StartTs), row.Key)
		if i < 0 {
			continue
		}
		p := m.take(i)
		if opOf(row.OpType) == event.OpPut && len(p.value) == 0 {
			continue
		}
		if err == nil {
			rows, err = m.emit(rows, row, p.value, p.old)
		}
	}
	for _, row := range m.rollbacks {
		m.bytes -= rowSize(row)
		m.rollback(row)
	}
	m.commits, m.rollbacks = nil, nil
	return rows, err
}

// resolve moves the resolved ts, and returns the memory of a table that has been
// empty for a while: most regions of a cluster are idle.
func (m *matcher) resolve(ts event.Ts, now time.Duration) {
	m.resolvedTs = ts
	if m.prewrites.n == 0 && m.prewrites.slots != nil && now-m.lastPrewrite > emptyTableAge {
		m.prewrites = prewriteTable{}
	}
}

func rowSize(row *cdcpb.Event_Row) int64 {
	const overhead = 160 // the message and its pointer
	return int64(overhead + len(row.Key) + len(row.Value) + len(row.OldValue))
}

// opOf returns zero for an operation this client does not know.
func opOf(op cdcpb.Event_Row_OpType) event.Op {
	switch op {
	case cdcpb.Event_Row_PUT:
		return event.OpPut
	case cdcpb.Event_Row_DELETE:
		return event.OpDelete
	}
	return 0
}
