package spill

import (
	"errors"
	"fmt"
	"io"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// Run is a sequence of changes in a file, and how far it has been read. While it
// is suspended, as it is at first, it holds no memory to speak of. One goroutine
// at a time may use it.
type Run struct {
	file        *file
	start       int64 // of the run
	offset, end int64 // of the blocks that have not been read to their end
	index       int   // of the next change, in the first of them
	rows        int   // in the whole run
	next        event.Ts
	reading     *reading // nil while suspended
}

// reading is a window on the file, and what has been read in it.
type reading struct {
	space   []byte
	lo, hi  int    // space[lo:hi] is the file from run.offset on
	values  int    // length of the values behind the first block
	behind  int64  // length of the block and of those values
	head    entry  // the next change
	entries []byte // of the first block, after head
}

// Reader returns a run with the changes that r has not come to, which is read by
// itself, more than once if need be: they stay on disk until r is released, and what
// Reader returns is never released. It is suspended at first. Another goroutine may
// release r meanwhile; then reading fails.
func (r *Run) Reader() *Run {
	return &Run{file: r.file, start: r.start, offset: r.offset, end: r.end, index: r.index, rows: r.rows, next: r.next}
}

// Rows returns how many changes were written.
func (r *Run) Rows() int { return r.rows }

// NextTs returns the commit ts of the next change.
func (r *Run) NextTs() event.Ts { return r.next }

// Open reads ahead up to about size bytes, and one block at least, so that the
// next change is at hand. Opening an open run does nothing.
func (r *Run) Open(size int) error {
	if r.reading != nil {
		return nil
	}
	size = int(min(int64(max(size, BlockSize)), r.end-r.offset))
	r.reading = &reading{space: make([]byte, size)}
	err := r.loadBlock()
	for i := 0; err == nil && i <= r.index; i++ {
		err = r.readHead()
	}
	if err != nil {
		r.reading = nil
	}
	return err
}

// Buffered returns the memory that an open run holds.
func (r *Run) Buffered() int64 {
	if r.reading == nil {
		return 0
	}
	return int64(len(r.reading.space))
}

// Suspend lets go of that memory. The run goes on at the same change when it is
// opened again.
func (r *Run) Suspend() { r.reading = nil }

// Head returns the next change of an open run, for its order: its bytes are
// those of a buffer, and large values are missing.
func (r *Run) Head() *event.RawKV { return &r.reading.head.kv }

// HeadSize returns [rawkv.Entry.Size] of the next change, large values included.
func (r *Run) HeadSize() int64 { return r.reading.head.size() }

// Take returns the next change of an open run, with bytes of its own.
func (r *Run) Take() (rawkv.Entry, error) {
	e := &r.reading.head
	if !e.apart {
		return e.clone(nil), nil
	}
	data := make([]byte, len(e.kv.Key)+e.valueLen+e.oldLn)
	copy(data, e.kv.Key)
	values := data[len(e.kv.Key):]
	// An entry with values behind the block is its last.
	offset := r.offset + r.reading.behind - int64(len(values))
	if err := r.file.read(values, offset); err != nil {
		return rawkv.Entry{}, err
	}
	if got := crc(0, values); got != e.valuesSum {
		return rawkv.Entry{}, wrap("read", r.file.name, offset,
			fmt.Errorf("%w: checksum of values %08x, want %08x", ErrCorrupt, got, e.valuesSum))
	}
	return e.clone(data), nil
}

// Next goes on to the change after the next. False means that there is none.
func (r *Run) Next() (bool, error) {
	r.index++
	if len(r.reading.entries) == 0 {
		in := r.reading
		r.offset += in.behind
		r.index = 0
		in.lo = min(in.hi, in.lo+int(in.behind))
		if r.offset == r.end {
			return false, nil
		}
		if err := r.loadBlock(); err != nil {
			return false, err
		}
	}
	return true, r.readHead()
}

// Release gives the run up, which may remove its file.
func (r *Run) Release() error {
	r.reading = nil
	return r.file.release(r.start, r.end-r.start)
}

func (r *Run) readHead() error {
	in := r.reading
	rest, err := readEntry(in.entries, &in.head)
	if err != nil {
		return wrap("read", r.file.name, r.offset, err)
	}
	if in.head.apart && (len(rest) > 0 || in.head.valueLen+in.head.oldLn != in.values) {
		return wrap("read", r.file.name, r.offset,
			fmt.Errorf("%w: entry with values of %d and %d bytes, %d behind the block", ErrCorrupt, in.head.valueLen, in.head.oldLn, in.values))
	}
	in.entries, r.next = rest, in.head.kv.CommitTs
	return nil
}

// loadBlock reads and checks the block at offset.
func (r *Run) loadBlock() error {
	in := r.reading
	if err := r.fill(headerSize); err != nil {
		return err
	}
	block, values := blockLength(in.space[in.lo:])
	if block == headerSize || r.offset+block+values > r.end {
		return wrap("read", r.file.name, r.offset,
			fmt.Errorf("%w: block of %d and %d bytes in a run that ends at offset %d", ErrCorrupt, block, values, r.end))
	}
	if err := r.fill(int(block)); err != nil {
		return err
	}
	entries, err := openBlock(r.offset, in.space[in.lo:in.lo+int(block)])
	if err != nil {
		return wrap("read", r.file.name, r.offset, err)
	}
	in.entries, in.values, in.behind = entries, int(values), block+values
	return nil
}

// fill gets n bytes into the window, and more if there is room.
func (r *Run) fill(n int) error {
	in := r.reading
	if in.hi-in.lo >= n {
		return nil
	}
	space := in.space
	if n > len(space) {
		space = make([]byte, n)
	}
	in.hi = copy(space, in.space[in.lo:in.hi])
	in.space, in.lo = space, 0
	unread := r.offset + int64(in.hi)
	more := int(min(int64(len(space)-in.hi), r.end-unread))
	if in.hi+more < n {
		return wrap("read", r.file.name, r.offset, fmt.Errorf("%w: the run ends at offset %d within a block", ErrCorrupt, r.end))
	}
	if err := r.file.read(space[in.hi:in.hi+more], unread); err != nil {
		return err
	}
	in.hi += more
	return nil
}

// read fills b from an offset of the file.
func (f *file) read(b []byte, offset int64) error {
	_, err := f.store.cfg.Files.ReadAt(f.name, b, offset)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: the file ends before offset %d", ErrCorrupt, offset+int64(len(b)))
	}
	if err != nil {
		return wrap("read", f.name, offset, err)
	}
	return nil
}
