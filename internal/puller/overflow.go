package puller

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// overflow is what a matcher has on disk: prewrites that memory had no room for,
// until their transactions end.
//
// Each time a region has to give memory back, all its prewrites are written in the
// order of (start ts, key), in chunks whose first and last keys are kept: an index
// of one entry for every chunkSize bytes. A COMMIT without a PREWRITE in memory is
// then kept for a while, and many of them are joined with the chunks at once, in
// the same order. As TiDB commits the keys of a large transaction in about that
// order too, a chunk is read once or twice.
type overflow struct {
	levels [][]chunk // oldest first; the chunks of one follow each other in order
	// minStart and maxStart bound the start ts of what is in levels.
	minStart, maxStart event.Ts
	// heldAt: while one of them is open, the region's resolved ts is not above it.
	heldAt event.Ts
	// flushed: prewrites of pipelined transactions are among them, whose start ts a
	// resolved ts may pass.
	flushed bool

	mu struct { // what another goroutine does when the subscription is closed
		sync.Mutex
		closed bool
		runs   []*spill.Run
	}
}

// chunkSize is how many bytes of rows, or one row, make a chunk.
const chunkSize = 64 << 10

// chunk is a part of a level.
type chunk struct {
	run         *spill.Run
	first, last txnKey
}

// chunkOverhead is the memory of a chunk beside its keys.
const chunkOverhead = 256

// txnKey is a key that a transaction writes.
type txnKey struct {
	startTs event.Ts
	key     []byte
}

func (k txnKey) compare(o txnKey) int {
	return cmp.Or(cmp.Compare(k.startTs, o.startTs), bytes.Compare(k.key, o.key))
}

// errOverflow wraps failures of the disk, which end a subscription.
type errOverflow struct{ err error }

func (e *errOverflow) Error() string { return "hold rows of open transactions: " + e.err.Error() }
func (e *errOverflow) Unwrap() error { return e.err }

// spill moves all prewrites of the matcher to w. After an error they are lost.
func (m *matcher) spill(w *spill.Writer) (o *overflow, err error) {
	entries := make([]*prewrite, 0, m.prewrites.n)
	for i := range m.prewrites.entries {
		if e := &m.prewrites.entries[i]; e.data != nil {
			entries = append(entries, e)
		}
	}
	key := func(e *prewrite) txnKey { return txnKey{e.startTs, e.key()} }
	slices.SortFunc(entries, func(a, b *prewrite) int { return key(a).compare(key(b)) })
	if m.overflow == nil {
		m.overflow = &overflow{minStart: ^event.Ts(0)}
	}
	o = m.overflow
	var level []chunk
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && size < chunkSize {
			e := entries[n]
			// The place of the commit ts is free for the generation.
			err := w.Append(&event.RawKV{
				Op: e.op, Key: e.key(), Value: e.value(), OldValue: e.old(), StartTs: e.startTs, CommitTs: event.Ts(e.generation),
			})
			if err != nil {
				return o, err
			}
			o.flushed = o.flushed || e.generation != 0
			m.bytes -= e.size()
			size += len(e.data)
			n++
		}
		run, err := w.EndRun()
		if err != nil {
			return o, err
		}
		first, last := key(entries[0]), key(entries[n-1])
		o.minStart, o.maxStart = min(o.minStart, first.startTs), max(o.maxStart, last.startTs)
		first.key, last.key = bytes.Clone(first.key), bytes.Clone(last.key)
		c := chunk{run, first, last}
		m.bytes += c.size()
		level = append(level, c)
		o.keep(run)
		entries = entries[n:]
	}
	o.levels = append(o.levels, level)
	o.heldAt = max(o.maxStart, m.resolvedTs)
	m.prewrites, m.arrived = prewriteTable{}, 0
	return o, nil
}

func (c *chunk) size() int64 { return int64(chunkOverhead + len(c.first.key) + len(c.last.key)) }

// keep notes a run, to be released. It is released at once if that has happened.
func (o *overflow) keep(run *spill.Run) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.closed {
		_ = run.Release() // the store's Close removes what this has left
		return
	}
	o.mu.runs = append(o.mu.runs, run)
}

// release gives the files up. It may be called from any goroutine, and again.
func (o *overflow) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.closed = true
	for _, r := range o.mu.runs {
		_ = r.Release()
	}
	o.mu.runs = nil
}

// dropOverflow gives up what is on disk.
func (m *matcher) dropOverflow() {
	if m.overflow == nil {
		return
	}
	m.overflow.release()
	for _, level := range m.overflow.levels {
		for i := range level {
			m.bytes -= level[i].size()
		}
	}
	m.overflow = nil
}

// holds reports whether a prewrite of a transaction may be on disk.
func (o *overflow) holds(startTs event.Ts) bool {
	return o != nil && startTs >= o.minStart && startTs <= o.maxStart
}

// overflowAge is how far, in PD's time, the resolved ts must have passed what a
// transaction on disk allows. It is there for orders of messages that nobody has
// thought of: giving up late costs room on the disk, giving up early a new scan.
const overflowAge = 5 * time.Second

// finished reports whether no transaction with a prewrite on disk can be open when
// the region's resolved ts is ts. A lock holds that at its start ts, or where it
// was when the transaction began to lock, which may be later.
func (o *overflow) finished(ts event.Ts) bool { return !o.flushed && ts > o.heldAt.Add(overflowAge) }

// join is a COMMIT whose PREWRITE may be on disk.
type join struct {
	keptRow
	best prewrite // what is known of it: that in memory, or none
	has  bool
}

func (j *join) txnKey() txnKey { return txnKey{j.startTs, j.key} }

func (j *join) size() int64 {
	const overhead = prewriteOverhead
	return j.keptRow.size() + int64(overhead+len(j.best.data))
}

// offer takes a prewrite that is newer than those before, unless they count for
// more, see matcher.prewrite.
func (j *join) offer(p prewrite) {
	if !j.has || p.generation >= j.best.generation && (p.valueLen > 0 || j.best.valueLen == 0) {
		j.best, j.has = p, true
	}
}

// joinBytes is how much COMMITs may hold before they are joined.
const joinBytes = 256 << 10

// deferCommit keeps a COMMIT, with the PREWRITE in slot i unless that is negative.
func (m *matcher) deferCommit(r *row, key []byte, i int) {
	j := join{keptRow: keptRow{startTs: r.startTs, commitTs: r.commitTs, op: r.op, key: bytes.Clone(key)}}
	if i >= 0 {
		j.best, j.has = *m.prewrites.at(i), true
		m.take(i)
	}
	m.addJoin(j)
}

func (m *matcher) addJoin(j join) {
	m.joins = append(m.joins, j)
	m.joinBytes += j.size()
	m.bytes += j.size()
	if m.joinTs == 0 || j.commitTs < m.joinTs {
		m.joinTs = j.commitTs
	}
}

// joinDue reports whether COMMITs have waited enough: there are many, or the
// resolved ts is to pass one.
func (m *matcher) joinDue(resolvedTs event.Ts) bool {
	return len(m.joins) > 0 && (m.joinBytes >= joinBytes || m.joinTs <= resolvedTs)
}

// join appends the changes of all kept COMMITs to rows. Whenever there are many,
// flush takes them and returns an empty slice. While the region is scanned, a
// COMMIT without a usable PREWRITE is kept for longer; last says that none follows.
func (m *matcher) join(rows []rawkv.Entry, last bool, flush func([]rawkv.Entry) []rawkv.Entry) ([]rawkv.Entry, error) {
	joins := m.joins
	m.bytes -= m.joinBytes
	m.joins, m.joinBytes, m.joinTs = nil, 0, 0
	for i := range joins {
		// What has come since the COMMIT, from the scan.
		j := &joins[i]
		if at := m.prewrites.find(hashPrewrite(m.seed, j.startTs, j.key), j.startTs, j.key); at >= 0 {
			j.offer(*m.prewrites.at(at))
			m.take(at)
		}
	}
	cursors := m.overflow.cursors()
	slices.SortStableFunc(joins, func(a, b join) int { return a.txnKey().compare(b.txnKey()) })
	for len(joins) > 0 {
		// Few at a time: their values are in memory together.
		some := joins[:min(fullBatch, len(joins))]
		joins = joins[len(some):]
		if err := fill(cursors, some); err != nil {
			return rows, err
		}
		for i := range some {
			var err error
			if rows, err = m.joined(rows, &some[i], last); err != nil {
				return rows, err
			}
			some[i] = join{}
		}
		if len(rows) >= fullBatch {
			rows = flush(rows)
		}
	}
	return rows, nil
}

// joined emits the change of one COMMIT, or decides as matcher.commit and
// matcher.initialize do about one without a PREWRITE.
func (m *matcher) joined(rows []rawkv.Entry, j *join, last bool) ([]rawkv.Entry, error) {
	complete := j.has && j.best.valueLen > 0 && j.best.generation == 0
	switch {
	case !m.initialized && !complete:
		if j.has {
			// For the end of the scan; what comes until then is newer.
			m.reinsert(j.best)
		}
		m.commits = append(m.commits, j.keptRow)
		m.bytes += j.keptRow.size()
		return rows, nil
	case last && (!j.has || j.op == event.OpPut && j.best.valueLen == 0):
		return rows, nil // it has come as COMMITTED
	case !j.has && j.commitTs <= m.startTs:
		return rows, nil
	case !j.has:
		return rows, m.violation("COMMIT without PREWRITE", j.key, j.startTs, j.commitTs)
	}
	return m.emit(rows, j.op, j.startTs, j.commitTs, &j.best.packed)
}

// reinsert puts a prewrite back into memory, unless a newer one is there.
func (m *matcher) reinsert(p prewrite) {
	hash := hashPrewrite(m.seed, p.startTs, p.key())
	if m.prewrites.find(hash, p.startTs, p.key()) < 0 {
		m.bytes += p.size()
		m.prewrites.insert(hash, p)
	}
}

// fill looks for the prewrites of COMMITs, which are in order, above those that the
// cursors have been used for.
func fill(cursors []cursor, joins []join) error {
	for i := range joins {
		j := &joins[i]
		inMemory := *j
		j.best, j.has = prewrite{}, false
		for c := range cursors {
			kv, err := cursors[c].find(j.txnKey())
			if err != nil {
				return &errOverflow{err}
			}
			if kv != nil {
				j.offer(prewriteOf(kv))
			}
		}
		if inMemory.has {
			j.offer(inMemory.best) // it is the newest
		}
	}
	return nil
}

// cursor reads a level from front to back, leaving out chunks that nobody wants.
type cursor struct {
	level []chunk // from the present chunk on
	run   *spill.Run
}

func (o *overflow) cursors() []cursor {
	if o == nil {
		return nil
	}
	cs := make([]cursor, len(o.levels))
	for i := range cs {
		cs[i].level = o.levels[i]
	}
	return cs
}

// find returns the row of a key, nil if there is none. Keys must not descend from
// call to call.
func (c *cursor) find(want txnKey) (*rawkv.Entry, error) {
	for {
		if c.run == nil {
			i := sort.Search(len(c.level), func(i int) bool { return c.level[i].last.compare(want) >= 0 })
			c.level = c.level[i:]
			if len(c.level) == 0 || c.level[0].first.compare(want) > 0 {
				return nil, nil
			}
			run := c.level[0].run.Reader()
			if err := run.Open(spill.BlockSize); err != nil {
				return nil, err
			}
			c.run = run
		}
		head := c.run.Head()
		switch order := (txnKey{head.StartTs, head.Key}).compare(want); {
		case order > 0:
			return nil, nil
		case order == 0:
			kv, err := c.run.Take()
			return &kv, err
		}
		more, err := c.run.Next()
		if err != nil {
			return nil, err
		}
		if !more {
			c.run, c.level = nil, c.level[1:]
		}
	}
}

// prewriteOf turns what spill has written back.
func prewriteOf(kv *rawkv.Entry) prewrite {
	return prewrite{
		packed:  packed{data: kv.Bytes(), keyLen: uint32(len(kv.Key())), valueLen: kv.ValueLen()},
		startTs: kv.StartTs, generation: uint64(kv.CommitTs), op: kv.Op,
	}
}

// isOverflow reports whether the disk is to blame.
func isOverflow(err error) bool {
	var e *errOverflow
	return errors.As(err, &e)
}
