package puller

import (
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// segment is a part of a span that one region serves (locked) or nobody does
// (unlocked, owner is nil). It is guarded by its rangeLock.
type segment struct {
	keyRange
	// ts: every change up to it, in the range, has been received. When the
	// segment is unlocked, it is the checkpoint of the next request.
	ts event.Ts
	// covered says that a region has been initialised here once, so ts is more
	// than the subscription's start.
	covered bool

	owner       *region
	initialized bool
	advancedAt  time.Duration // when the segment was initialised or ts moved, on the client's clock
	lockTriedAt time.Duration // when locks were last looked for; zero: never
	emptyScans  int           // searches since advancedAt that found no lock

	heapTs  event.Ts // ts as the heap knows it, at most ts
	heapIdx int
}

// rangeLock divides the span of one subscription into segments, such that a key
// belongs to exactly one, and a region serves at most one. It replaces a
// frontier: the resolved ts of the span is the least ts of its segments.
//
// A range is locked before a request is sent for it and unlocked when that
// request has failed, so the ts of the next request comes from here and cannot
// be newer than what was received. A region is locked with its whole range within
// the span, whatever the task's range: after a merge the first of several tasks
// takes it all, and the others find their range covered.
type rangeLock struct {
	mu          sync.Mutex
	segments    []*segment // ordered, adjacent, covering the span
	heap        []*segment // binary min-heap by heapTs
	byRegion    map[uint64]*segment
	waiters     []waiter
	initialized int // locked segments whose scan has ended
	uncovered   int
	stopped     bool

	minTs       event.Ts
	minChanged  time.Duration // when minTs moved
	nextSuspect time.Duration // when to look for stuck segments again
}

// waiter is a task that found older holders in its way.
type waiter struct {
	keyRange
	regionID uint64
	task     *rangeTask
}

// newRangeLock returns a lock whose only segment is the span, unlocked at startTs.
func newRangeLock(span keyRange, startTs event.Ts) *rangeLock {
	l := &rangeLock{byRegion: make(map[uint64]*segment), minTs: startTs, uncovered: 1}
	s := &segment{keyRange: span, ts: startTs, heapTs: startTs}
	l.segments = []*segment{s}
	l.heapPush(s)
	return l
}

// lockResult is the outcome of lock. Exactly one of segment, waiting, stopped
// and stale is set.
type lockResult struct {
	segment    *segment
	checkpoint event.Ts // of the request, with segment
	waiting    bool     // the task will be returned by an unlock
	stopped    bool
	stale      bool
	uncovered  []keyRange // with stale: parts of the range that no newer holder serves
}

// lock gives range r, which must be a region's whole range within the span, to
// owner. If older versions of regions hold parts of it, task waits for them: the
// stores will report their end.
func (l *rangeLock) lock(r keyRange, owner *region, task *rangeTask) lockResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return lockResult{stopped: true}
	}
	i, j := l.overlapping(r)
	held, stale := false, false
	check := func(s *segment) {
		held = true
		stale = stale || s.owner.version() >= owner.version()
	}
	for _, s := range l.segments[i:j] {
		if s.owner != nil {
			check(s)
		}
	}
	// A store knows a subscription by region id, so two ranges of one region
	// cannot be held at once, even if they are apart.
	if s := l.byRegion[owner.id()]; s != nil {
		check(s)
	}
	switch {
	case stale:
		return lockResult{stale: true, uncovered: l.notNewer(r, owner.version(), l.segments[i:j])}
	case held:
		l.waiters = append(l.waiters, waiter{r, owner.id(), task})
		return lockResult{waiting: true}
	}
	s := l.replace(i, j, r)
	s.owner = owner
	l.byRegion[owner.id()] = s
	return lockResult{segment: s, checkpoint: s.ts}
}

// overlapping returns the index range of segments that overlap r.
func (l *rangeLock) overlapping(r keyRange) (i, j int) {
	i = sort.Search(len(l.segments), func(n int) bool { return !before(l.segments[n].end, r.start) })
	j = sort.Search(len(l.segments), func(n int) bool { return before(r.end, l.segments[n].start) })
	return i, max(i, j)
}

// notNewer returns the parts of r which are not held by a region of at least the version.
func (l *rangeLock) notNewer(r keyRange, version uint64, over []*segment) []keyRange {
	var parts []keyRange
	for _, s := range over {
		if s.owner != nil && s.owner.version() >= version {
			continue
		}
		p := s.keyRange.intersect(r)
		if n := len(parts); n > 0 && compareEnd(parts[n-1].end, p.start) == 0 {
			parts[n-1].end = p.end
			continue
		}
		parts = append(parts, p)
	}
	return parts
}

// replace puts one segment for r in the place of the unlocked segments [i, j),
// of which it keeps what lies outside r.
func (l *rangeLock) replace(i, j int, r keyRange) *segment {
	old := l.segments[i:j]
	s := &segment{keyRange: r, ts: old[0].ts, covered: true}
	for _, o := range old {
		s.ts = min(s.ts, o.ts)
		s.covered = s.covered && o.covered
	}
	var with []*segment
	first, last := old[0], old[len(old)-1]
	if left := (keyRange{first.start, r.start}); len(r.start) > 0 && !left.empty() {
		with = append(with, &segment{keyRange: left, ts: first.ts, covered: first.covered})
	}
	with = append(with, s)
	if len(r.end) > 0 && compareEnd(r.end, last.end) < 0 {
		with = append(with, &segment{keyRange: keyRange{r.end, last.end}, ts: last.ts, covered: last.covered})
	}
	for _, o := range old {
		l.heapRemove(o)
		l.countUncovered(o, -1)
	}
	for _, n := range with {
		n.heapTs = n.ts
		l.heapPush(n)
		l.countUncovered(n, 1)
	}
	l.segments = slices.Replace(l.segments, i, j, with...)
	return s
}

func (l *rangeLock) countUncovered(s *segment, n int) {
	if !s.covered {
		l.uncovered += n
	}
}

// unlock ends the owner's hold on its segment and returns the tasks that waited
// for it. A segment which is no longer owner's is left alone.
func (l *rangeLock) unlock(s *segment, owner *region) []*rangeTask {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.owner != owner || owner == nil {
		return nil
	}
	if s.initialized {
		l.initialized--
	}
	s.owner, s.initialized = nil, false
	delete(l.byRegion, owner.id())
	var woken []*rangeTask
	l.waiters = slices.DeleteFunc(l.waiters, func(w waiter) bool {
		if w.regionID == owner.id() || w.overlaps(s.keyRange) {
			woken = append(woken, w.task)
			return true
		}
		return false
	})
	return woken
}

// stop makes every later lock fail and forgets the waiters.
func (l *rangeLock) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.waiters = nil
}

// initialize notes that the scan of owner's segment has ended.
func (l *rangeLock) initialize(s *segment, owner *region, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.owner != owner || s.initialized {
		return
	}
	s.initialized = true
	s.advancedAt = now
	l.initialized++
	l.countUncovered(s, -1)
	s.covered = true
}

// advance notes that each region has received everything up to ts. A region
// that holds no segment any more is skipped. The result says that the span has
// not moved for so long that stuck regions should be looked for.
func (l *rangeLock) advance(regions []*region, ts event.Ts, now, resolveLockAfter time.Duration) (suspect bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range regions {
		s := r.segment
		if s.owner == r && ts > s.ts {
			s.ts = ts
			s.advancedAt = now
			s.emptyScans = 0
		}
	}
	if m := l.heapMin(); m != l.minTs {
		l.minTs = m
		l.minChanged = now
	}
	if now-l.minChanged < resolveLockAfter || now < l.nextSuspect {
		return false
	}
	l.nextSuspect = now + resolveLockAfter/2
	return true
}

// resolved returns the resolved ts of the span, and whether every part of it has
// been initialised once.
func (l *rangeLock) resolved() (ts event.Ts, covered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heapMin(), l.uncovered == 0
}

// stuck returns initialised regions whose resolved ts has stood still for
// `after` and which have not been searched for locks during `interval`.
func (l *rangeLock) stuck(now, after, interval time.Duration, limit int) []lockJob {
	l.mu.Lock()
	defer l.mu.Unlock()
	var jobs []lockJob
	for _, s := range l.segments {
		if s.initialized && now-s.advancedAt >= after && (s.lockTriedAt == 0 || now-s.lockTriedAt >= interval) {
			jobs = append(jobs, lockJob{region: s.owner, resolvedTs: s.ts})
			if len(jobs) == limit {
				break
			}
		}
	}
	return jobs
}

// lockTried notes that a search for locks in the region has been accepted.
func (l *rangeLock) lockTried(r *region, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.segment.lockTriedAt = now
}

// noLocks notes that a search found no lock, and reports whether the region has
// been stuck in this way for so long that only a new subscription can help.
func (l *rangeLock) noLocks(r *region, now, timeout time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := r.segment
	if s.owner != r || !s.initialized {
		return false
	}
	s.emptyScans++
	return s.emptyScans >= 2 && now-s.advancedAt >= timeout
}

// progress returns the number of segments, of locked ones and of initialised
// ones, and the resolved ts.
func (l *rangeLock) progress() (total, locked, initialized int, ts event.Ts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments), len(l.byRegion), l.initialized, l.heapMin()
}
