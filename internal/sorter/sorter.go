package sorter

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// Sorter orders the changes of one span. Create it with [New].
//
// A change passes through two places:
//
//	Add → mu.batches                    commit ts above sorted, in no order
//	         │  Take, once resolved has passed sorted
//	         ▼
//	       ready                        commit ts at or below sorted, in order
//
// Add drops what is at or below the resolved ts, and sorted never exceeds it,
// so whatever is sorted later follows what is in ready: nothing is merged.
//
// That changes when the [Pool] runs out of memory: both places are emptied into
// a run on disk, and Take merges the runs with ready.
type Sorter struct {
	mu struct {
		sync.Mutex
		batches  []batch
		resolved event.Ts
		rows     int   // in batches, in ready and on disk
		bytes    int64 // of the same
		onDisk   int64 // of bytes
		closed   bool
	}
	pool *Pool // nil if memory has no bound

	// take is held by Take, and while the sorter is spilled. It guards the rest.
	take sync.Mutex

	ready  []record // in order; emptied from the front
	spare  []record // to be filled when ready is empty, while more can be sorted
	sorted event.Ts // every change at or below it is in ready, on disk or was taken
	disk   *disk    // nil if nothing is
}

// batch is a slice given to Add, with the range of its commit ts.
type batch struct {
	kvs      []rawkv.Entry
	min, max event.Ts
}

var errClosed = errors.New("the sorter is closed")

// New returns a sorter whose resolved ts is startTs: the first change it will
// deliver has a commit ts above that.
func New(startTs event.Ts) *Sorter {
	s := &Sorter{sorted: startTs}
	s.mu.resolved = startTs
	return s
}

// Add takes over kvs: the array and the bytes it points to belong to the sorter
// until Take hands them out, so a caller should not give a small slice of a
// large array. Changes with a commit ts at or below the last Resolve are
// dropped: they were delivered before, because a new subscription to a region
// repeats rows. Add may be called from any goroutine, also from several at once.
//
// Add may write to disk, or wait for another goroutine that does, when the
// pool's memory is exceeded. An error means that this, or something before it,
// failed: the sorters of the pool then take in nothing more, and neither their
// resolved ts nor what they give out moves on.
func (s *Sorter) Add(kvs []rawkv.Entry) error {
	if err := s.pool.failure(); err != nil {
		return err
	}
	s.add(kvs)
	return s.pool.spill()
}

func (s *Sorter) add(kvs []rawkv.Entry) {
	b, bytes := newBatch(kvs)

	s.mu.Lock()
	defer s.mu.Unlock()
	if b.min <= s.mu.resolved {
		resolved := s.mu.resolved
		b, bytes = newBatch(slices.DeleteFunc(kvs, func(kv rawkv.Entry) bool { return kv.CommitTs <= resolved }))
	}
	if len(b.kvs) == 0 || s.mu.closed {
		return
	}
	s.mu.batches = append(s.mu.batches, b)
	s.mu.rows += len(b.kvs)
	s.mu.bytes += bytes
	s.pool.add(bytes)
}

// newBatch also returns the bytes that kvs hold in memory.
func newBatch(kvs []rawkv.Entry) (b batch, bytes int64) {
	if len(kvs) == 0 {
		return batch{}, 0
	}
	b = batch{kvs: kvs, min: kvs[0].CommitTs, max: kvs[0].CommitTs}
	for i := range kvs {
		b.min = min(b.min, kvs[i].CommitTs)
		b.max = max(b.max, kvs[i].CommitTs)
		bytes += kvs[i].Size()
	}
	return b, bytes
}

// Resolve says that every change with a commit ts at or below ts has been added.
// It may be called from any goroutine. The resolved ts never goes back: a lower
// value is ignored.
func (s *Sorter) Resolve(ts event.Ts) {
	if s.pool.failure() != nil {
		return // changes below it may have been lost
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.resolved = max(s.mu.resolved, ts)
}

// ResolvedTs returns the highest ts given to Resolve, or the start ts. It may be
// called from any goroutine.
func (s *Sorter) ResolvedTs() event.Ts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.resolved
}

// Pending returns how many changes the sorter holds, in memory and on disk, and
// their bytes as [rawkv.Entry.Size] counts them. Duplicates count until Take
// comes upon them. It may be called from any goroutine.
func (s *Sorter) Pending() (rows int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.rows, s.mu.bytes
}

// inMemory returns the bytes of the changes in memory.
func (s *Sorter) inMemory() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.bytes - s.mu.onDisk
}

// Take removes changes with a commit ts at or below min(limit, resolved ts) and
// appends them to dst in order, without repeats of the same key, start ts and
// commit ts. It stops at maxRows changes, or before one that would exceed
// maxBytes, but takes one if there is any.
//
// through is the ts up to which everything has been taken. It is min(limit,
// resolved ts) if nothing at or below that is left. Otherwise it is the last
// taken change's commit ts, less one if changes with the same commit ts are left.
//
// One goroutine at a time may call Take. An error means that changes could not
// be written to disk or read back, which every later Take of the pool's sorters
// repeats, or that the sorter is closed; without a pool only the latter occurs.
// Then dst is returned as it was.
func (s *Sorter) Take(dst []rawkv.Entry, limit event.Ts, maxRows int, maxBytes int64) (rows []rawkv.Entry, through event.Ts, err error) {
	s.take.Lock()
	defer s.take.Unlock()
	s.mu.Lock()
	limit = min(limit, s.mu.resolved)
	closed := s.mu.closed
	s.mu.Unlock()
	if closed {
		return dst, 0, errClosed
	}
	if err := s.pool.failure(); err != nil {
		return dst, 0, err
	}
	if s.disk == nil {
		rows, through = s.takeMemory(dst, limit, maxRows, maxBytes)
		return rows, through, nil
	}
	if rows, through, err = s.takeMerged(dst, limit, maxRows, maxBytes); err != nil {
		s.pool.fail(err)
		return dst, 0, err
	}
	return rows, through, nil
}

// takeMemory is Take when nothing is on disk.
func (s *Sorter) takeMemory(dst []rawkv.Entry, limit event.Ts, maxRows int, maxBytes int64) (rows []rawkv.Entry, through event.Ts) {
	n, size := 0, int64(0)
	for {
		if len(s.ready) == 0 && s.sorted < limit {
			s.sortResolved()
		}
		if len(s.ready) == 0 || event.Ts(s.ready[0].key) > limit {
			through = limit
			break
		}
		if n%prefetchAhead == 0 {
			prefetch(s.ready[:min(prefetchAhead, len(s.ready))])
		}
		next := &s.ready[0]
		bytes := next.kv.Size()
		if n > 0 && (n >= maxRows || size+bytes > maxBytes) {
			through = dst[len(dst)-1].CommitTs
			if event.Ts(next.key) == through {
				through--
			}
			break
		}
		dst = append(dst, *next.kv)
		n++
		size += bytes
		// The batch may outlive this change by far; what it points to need not.
		*next.kv = rawkv.Entry{}
		*next = record{}
		s.ready = s.ready[1:]
	}
	if len(s.ready) == 0 {
		s.ready = nil
	}
	s.release(n, size, 0)
	return dst, through
}

// sortResolved fills ready, which is empty, with what has become final since
// the last time, or a part of it: then sorted stays below the resolved ts.
func (s *Sorter) sortResolved() {
	due, n, through, all := s.dueBatches()
	s.sorted = through
	records := slices.Grow(s.spare, n)
	if s.spare = records; all {
		s.spare = nil
	}
	var rest []batch
	for _, b := range due {
		final := b.kvs
		if b.max > through {
			var others []rawkv.Entry
			final, others = splitFinal(b.kvs, through)
			r, _ := newBatch(others)
			rest = append(rest, r)
		}
		for i := range final {
			records = append(records, record{uint64(final[i].CommitTs), &final[i]})
		}
	}
	if len(rest) > 0 {
		s.mu.Lock()
		s.mu.batches = append(s.mu.batches, rest...)
		s.mu.Unlock()
	}
	var rows int
	var bytes int64
	s.ready, rows, bytes = arrange(records)
	s.release(rows, bytes, 0)
}

// dueBatches removes the batches that hold a change at or below through, which is
// the resolved ts if all is true. n is an upper bound of the number of such changes.
func (s *Sorter) dueBatches() (due []batch, n int, through event.Ts, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	through = s.mu.resolved
	count, n := s.dueLocked(through)
	if n > leastPart {
		if through = s.cutLocked(n); through < s.mu.resolved {
			count, n = s.dueLocked(through)
		}
	}
	all = through == s.mu.resolved
	if count == len(s.mu.batches) {
		due, s.mu.batches = s.mu.batches, nil
		return due, n, through, all
	}
	due = make([]batch, 0, count)
	rest := make([]batch, 0, len(s.mu.batches)-count) // anew, to give a burst's array back
	for _, b := range s.mu.batches {
		if b.min <= through {
			due = append(due, b)
		} else {
			rest = append(rest, b)
		}
	}
	s.mu.batches = rest
	return due, n, through, all
}

// dueLocked counts the batches that hold a change at or below ts, and their changes.
func (s *Sorter) dueLocked(ts event.Ts) (count, n int) {
	for i := range s.mu.batches {
		if s.mu.batches[i].min <= ts {
			count++
			n += len(s.mu.batches[i].kvs)
		}
	}
	return count, n
}

// leastPart is how many changes are worth to be sorted by themselves.
const leastPart = 32 << 10

// cutLocked returns the ts up to which changes should be sorted next, of n that
// could be. It is less than the resolved ts if an eighth of them are in batches that
// end there and overlap with few others, as do those of a scan of rows that were
// written in the order of their keys: records are then needed for an eighth of them
// at a time, and the first leave sooner. Else nearly all would have to be gone
// through for every part.
func (s *Sorter) cutLocked(n int) event.Ts {
	batches := s.mu.batches
	// Those that are equal stay as they came, which is mostly as they lie in memory: to
	// go through them in another order would cost half as much again.
	slices.SortStableFunc(batches, func(a, b batch) int { return cmp.Or(cmp.Compare(a.min, b.min), cmp.Compare(a.max, b.max)) })
	var cut event.Ts
	ended, touched, next := 0, 0, 0 // changes of batches up to i; of those up to next, which cut concerns
	for i := range batches {
		cut = max(cut, batches[i].max)
		if cut >= s.mu.resolved {
			break
		}
		ended += len(batches[i].kvs)
		for next < len(batches) && batches[next].min <= cut {
			touched += len(batches[next].kvs)
			next++
		}
		if ended >= max(leastPart, n/8) && touched <= 2*ended {
			return cut
		}
	}
	return s.mu.resolved
}

// splitFinal moves the changes at or below resolved to the front of kvs, in their
// order, and returns them and the others.
func splitFinal(kvs []rawkv.Entry, resolved event.Ts) (final, rest []rawkv.Entry) {
	end := 0
	for i := range kvs {
		if kvs[i].CommitTs > resolved {
			continue
		}
		if i > end {
			kvs[i], kvs[end] = kvs[end], kvs[i]
		}
		end++
	}
	return kvs[:end], kvs[end:]
}

// release notes that changes are gone, of which so many bytes were on disk.
func (s *Sorter) release(rows int, bytes, onDisk int64) {
	if rows == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return
	}
	s.mu.rows -= rows
	s.mu.bytes -= bytes
	s.mu.onDisk -= onDisk
	s.pool.add(onDisk - bytes)
}

// Close lets go of everything that was not taken. Add and Resolve may overlap
// with it, and do nothing afterwards; Take waits, and fails. Closing again is
// harmless. An error means that a file is left to the pool's Close.
func (s *Sorter) Close() error {
	s.take.Lock()
	defer s.take.Unlock()
	s.pool.drop(s)
	s.closeMemory()
	s.ready, s.spare = nil, nil
	if s.disk == nil {
		return nil
	}
	s.suspend()
	var errs []error
	for _, r := range s.disk.waiting {
		errs = append(errs, r.Release())
	}
	s.disk = nil
	return errors.Join(errs...)
}

func (s *Sorter) closeMemory() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool.add(s.mu.onDisk - s.mu.bytes)
	s.mu.closed = true
	s.mu.batches = nil
	s.mu.rows, s.mu.bytes, s.mu.onDisk = 0, 0, 0
}
