package sorter

import (
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// disk is what a sorter has on disk: runs, each in order, whose changes overlap
// with one another's. Those with changes to be taken are open and read side by
// side.
type disk struct {
	waiting []*spill.Run
	open    []*spill.Run // a heap by their next change
	buffers int64        // memory of those that are open
}

// spill writes what the sorter holds in memory to w, as one run, and returns the
// bytes that were freed. After an error the changes are lost, so the pool must
// fail.
func (s *Sorter) spill(w *spill.Writer) (freed int64, err error) {
	s.take.Lock()
	defer s.take.Unlock()
	s.mu.Lock()
	batches := s.mu.batches
	s.mu.batches = nil
	s.mu.Unlock()

	n := 0
	for _, b := range batches {
		n += len(b.kvs)
	}
	records := make([]record, 0, n)
	for _, b := range batches {
		for i := range b.kvs {
			records = append(records, record{uint64(b.kvs[i].CommitTs), &b.kvs[i]})
		}
	}
	records, repeats, freed := arrange(records)
	s.release(repeats, freed, 0)

	var written int64
	// What is in ready lies below all batches, so that both make one run.
	for _, part := range [][]record{s.ready, records} {
		for _, r := range part {
			kv := r.kv.RawKV()
			if err := w.Append(&kv); err != nil {
				return freed, err
			}
			written += r.kv.Size()
		}
	}
	run, err := w.EndRun()
	if err != nil || run == nil {
		return freed, err
	}
	s.ready, s.spare = nil, nil
	if s.disk == nil {
		s.disk = &disk{}
	}
	s.disk.waiting = append(s.disk.waiting, run)
	s.suspend()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.onDisk += written
	s.pool.add(-written)
	return freed + written, nil
}

// openRuns opens the runs that have changes up to limit.
func (s *Sorter) openRuns(limit event.Ts) error {
	d := s.disk
	due := len(d.open)
	for _, r := range d.waiting {
		if r.NextTs() <= limit {
			due++
		}
	}
	if due == len(d.open) {
		return nil
	}
	size := s.pool.readAhead(due)
	rest := d.waiting[:0]
	for i, r := range d.waiting {
		if r.NextTs() > limit {
			rest = append(rest, r)
			continue
		}
		if err := r.Open(size); err != nil {
			d.waiting = append(rest, d.waiting[i:]...)
			return err
		}
		d.buffers += r.Buffered()
		s.pool.add(r.Buffered())
		d.open = append(d.open, r)
	}
	clear(d.waiting[len(rest):])
	d.waiting = rest
	for i := len(d.open)/2 - 1; i >= 0; i-- {
		d.siftDown(i)
	}
	return nil
}

// suspend lets go of the memory of open runs.
func (s *Sorter) suspend() {
	d := s.disk
	if d == nil {
		return
	}
	for _, r := range d.open {
		r.Suspend()
	}
	d.waiting = append(d.waiting, d.open...)
	d.open = nil
	s.pool.add(-d.buffers)
	d.buffers = 0
}

// siftDown restores the heap after its element at i has grown.
func (d *disk) siftDown(i int) {
	h := d.open
	for {
		least := 2*i + 1
		if least >= len(h) {
			return
		}
		if right := least + 1; right < len(h) && compareHeads(h[right].Head(), h[least].Head()) < 0 {
			least = right
		}
		if compareHeads(h[i].Head(), h[least].Head()) <= 0 {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// advance goes on to the next change of the first open run. A run that has come
// to its end is given up.
func (s *Sorter) advance() error {
	d := s.disk
	r := d.open[0]
	before := r.Buffered()
	more, err := r.Next()
	if err != nil {
		return err
	}
	grown := r.Buffered() - before // for a key larger than a block
	if !more {
		last := len(d.open) - 1
		d.open[0], d.open[last] = d.open[last], nil
		d.open = d.open[:last]
		grown = -before
		err = r.Release()
	}
	d.siftDown(0)
	d.buffers += grown
	s.pool.add(grown)
	return err
}

// takeMerged is Take when changes are on disk.
func (s *Sorter) takeMerged(dst []rawkv.Entry, limit event.Ts, maxRows int, maxBytes int64) (rows []rawkv.Entry, through event.Ts, err error) {
	if err := s.openRuns(limit); err != nil {
		return nil, 0, err
	}
	var t taken
	for {
		next, size, onDisk := s.least()
		if size == 0 || next > min(limit, s.sorted) {
			if s.sorted < limit {
				s.sortResolved()
				continue
			}
			through = limit
			break
		}
		if t.rows > 0 && (t.rows >= maxRows || t.bytes+size > maxBytes) {
			through = dst[len(dst)-1].CommitTs
			if next == through {
				through--
			}
			break
		}
		var kv rawkv.Entry
		if onDisk {
			kv, err = s.disk.open[0].Take()
		} else {
			kv = *s.ready[0].kv
		}
		if err != nil {
			return nil, 0, err
		}
		dst = append(dst, kv)
		t.rows, t.bytes = t.rows+1, t.bytes+size
		if err := s.pass(&dst[len(dst)-1], &t); err != nil {
			return nil, 0, err
		}
	}
	s.release(t.rows+t.repeats, t.bytes+t.repeated, t.onDisk)
	if through == limit || s.pool.over() {
		s.suspend()
	}
	if len(s.disk.open)+len(s.disk.waiting) == 0 {
		s.disk = nil
	}
	return dst, through, nil
}

// taken is what a Take has taken.
type taken struct {
	rows, repeats           int
	bytes, repeated, onDisk int64 // onDisk includes repeats there
}

// least returns the commit ts of the next change of ready and of the open runs, and
// its size: 0 if there is none.
func (s *Sorter) least() (commitTs event.Ts, size int64, onDisk bool) {
	var kv *rawkv.Entry
	if len(s.ready) > 0 {
		kv = s.ready[0].kv
	}
	if open := s.disk.open; len(open) > 0 && (kv == nil || compareHead(open[0].Head(), kv) < 0) {
		return open[0].Head().CommitTs, open[0].HeadSize(), true
	}
	if kv == nil {
		return 0, 0, false
	}
	return kv.CommitTs, kv.Size(), false
}

// pass goes past kv, which was taken, and its repeats in other runs.
func (s *Sorter) pass(kv *rawkv.Entry, t *taken) error {
	copies := 0
	if len(s.ready) > 0 && compare(s.ready[0].kv, kv) == 0 {
		*s.ready[0].kv = rawkv.Entry{}
		s.ready[0] = record{}
		if s.ready = s.ready[1:]; len(s.ready) == 0 {
			s.ready = nil
		}
		copies++
	}
	for len(s.disk.open) > 0 && compareHead(s.disk.open[0].Head(), kv) == 0 {
		t.onDisk += s.disk.open[0].HeadSize()
		if err := s.advance(); err != nil {
			return err
		}
		copies++
	}
	t.repeats += copies - 1
	t.repeated += int64(copies-1) * kv.Size()
	return nil
}
