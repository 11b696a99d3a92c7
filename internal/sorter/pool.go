package sorter

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// Pool is the memory that the sorters of one changefeed share, and the disk that
// takes what exceeds it. Create it with [NewPool].
//
// When an Add makes the sorters exceed their share of the quota, its goroutine
// writes the changes of those that hold most to one file, until half of the
// share is free, and the other goroutines that add wait for it. So the disk's
// speed bounds the speed of reading, but nobody ever waits for the sink: a
// transaction may be larger than memory.
type Pool struct {
	quota int64
	store *spill.Store

	held     atomic.Int64 // by sorters, buffers for reading back included
	reserved atomic.Int64
	failed   atomic.Pointer[error]

	// spilling is held by the goroutine that spills. It is locked before
	// Sorter.take, and that before the locks of pool and sorter.
	spilling sync.Mutex

	mu struct {
		sync.Mutex
		sorters map[*Sorter]struct{}
	}
}

// NewPool returns a pool of quota bytes, 0 for no bound, that has done no I/O.
// disk says where the rest goes.
func NewPool(quota int64, disk spill.Config) *Pool {
	p := &Pool{quota: quota, store: spill.NewStore(disk)}
	p.mu.sorters = map[*Sorter]struct{}{}
	return p
}

// New returns a sorter as the function [New] does, that shares the pool's memory.
func (p *Pool) New(startTs event.Ts) *Sorter {
	s := New(startTs)
	s.pool = p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.sorters[s] = struct{}{}
	return s
}

// Reserve takes bytes from the quota for something else, such as a batch that is
// being written, or gives them back if bytes is negative. It never waits: the
// sorters make room when changes are added next.
func (p *Pool) Reserve(bytes int64) { p.reserved.Add(bytes) }

// Usage returns the bytes of memory that count against the quota, and the size
// of the files on disk.
func (p *Pool) Usage() (memory, disk int64) {
	return p.held.Load() + p.reserved.Load(), p.store.Bytes()
}

// RemoveStale removes files that a process has left behind that was killed.
func (p *Pool) RemoveStale() error { return p.store.RemoveStale() }

// Close removes the files. It waits for a goroutine that is spilling, which ends
// soon. The sorters should be closed before; Add does nothing afterwards.
func (p *Pool) Close() error {
	p.fail(errClosed)
	p.store.Stop()
	p.spilling.Lock()
	defer p.spilling.Unlock()
	return p.store.Close()
}

// share is how much the sorters may hold in memory: three eighths of what others
// have not reserved. The rest is for what they have let go of and the collector
// has not found yet, which is most just after spilling, and for records that are
// being sorted: measured, with it the process grows by less than twice the quota
// while changes come as fast as they can. The least share keeps runs long when others take all the quota.
func (p *Pool) share() int64 {
	return max((p.quota-p.reserved.Load())/8*3, p.quota/8)
}

// over reports whether the sorters hold more than their share.
func (p *Pool) over() bool {
	return p != nil && p.quota > 0 && p.held.Load() > p.share()
}

// add notes that a sorter holds more, or less. The pool may be nil.
func (p *Pool) add(bytes int64) {
	if p != nil && bytes != 0 {
		p.held.Add(bytes)
	}
}

// fail makes everything that follows fail with err, unless it does already.
func (p *Pool) fail(err error) {
	if p != nil {
		p.failed.CompareAndSwap(nil, &err)
	}
}

// failure returns why changes are on disk no more, or never got there.
func (p *Pool) failure() error {
	if p == nil {
		return nil
	}
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// spill brings the sorters below their share if they are over it.
func (p *Pool) spill() error {
	if !p.over() {
		return p.failure()
	}
	p.spilling.Lock()
	defer p.spilling.Unlock()
	if err := p.failure(); err != nil || !p.over() {
		return err
	}
	err := p.spillLargest(p.held.Load() - p.share()/2)
	if err != nil {
		p.fail(err)
	}
	return p.failure()
}

// spillLargest writes to one file what the sorters hold that hold most, until
// that is size bytes.
func (p *Pool) spillLargest(size int64) (err error) {
	type holder struct {
		sorter *Sorter
		bytes  int64
	}
	var holders []holder
	p.mu.Lock()
	for s := range p.mu.sorters {
		if bytes := s.inMemory(); bytes > 0 {
			holders = append(holders, holder{s, bytes})
		}
	}
	p.mu.Unlock()
	slices.SortFunc(holders, func(a, b holder) int { return cmp.Compare(b.bytes, a.bytes) })

	w, err := p.store.Create()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, h := range holders {
		freed, err := h.sorter.spill(w)
		if err != nil {
			return err
		}
		if size -= freed; size <= 0 {
			break
		}
	}
	return nil
}

// drop forgets a sorter that is closed.
func (p *Pool) drop(s *Sorter) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.sorters, s)
}

// readAhead is how many bytes to read at a time of each of so many runs.
func (p *Pool) readAhead(runs int) int {
	const most = 256 << 10
	return int(min(p.quota/16/int64(runs), most))
}
