package spill

import (
	"errors"
	"fmt"
	"io"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Writer writes one file of runs. Runs that have been ended can be read while
// later ones are written. One goroutine at a time may use it. After an error,
// only Close is left to call.
type Writer struct {
	out  io.WriteCloser
	file *file

	buf   []byte // not written yet, from offset file.size on
	block int    // where in buf the present block begins, -1 if there is none
	run   Run    // the present one
	err   error
}

// flushSize is from how many bytes on they are written.
const flushSize = 256 << 10

// Append adds a change to the present run. Changes are added in the order in
// which they shall come back.
func (w *Writer) Append(kv *event.RawKV) error {
	if w.err != nil {
		return w.err
	}
	if !fits(kv) {
		return fmt.Errorf("write %s: change of %d bytes committed at %d is too large", w.file.name, len(kv.Key)+len(kv.Value)+len(kv.OldValue), kv.CommitTs)
	}
	values := len(kv.Value) + len(kv.OldValue)
	large := values > largeValues
	size := entrySize + len(kv.Key) + values
	if large {
		size += 4 - values
	}
	if w.run.rows == 0 {
		w.run.offset, w.run.next = w.offset(), kv.CommitTs
		w.run.start = w.run.offset
		w.block = -1
	}
	if w.block >= 0 && len(w.buf)-w.block+size > BlockSize {
		w.endBlock(0)
		if err := w.flushIfFull(); err != nil {
			return err
		}
	}
	if w.block < 0 {
		w.block = len(w.buf)
		w.buf = append(w.buf, make([]byte, headerSize)...)
	}
	w.buf = appendEntry(w.buf, kv, large)
	w.run.rows++
	if !large {
		return nil
	}
	w.endBlock(values)
	for _, v := range [][]byte{kv.Value, kv.OldValue} {
		if err := w.flushIfFull(); err != nil {
			return err
		}
		w.buf = append(w.buf, v...)
	}
	return w.flushIfFull()
}

// EndRun returns the run of all changes since the last EndRun, nil if there are
// none. It is on its way to the disk and can be read.
func (w *Writer) EndRun() (*Run, error) {
	if w.err != nil || w.run.rows == 0 {
		return nil, w.err
	}
	if w.block >= 0 {
		w.endBlock(0)
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	run := w.run
	run.file, run.end = w.file, w.offset()
	w.run = Run{}
	w.file.runs.Add(1)
	return &run, nil
}

// Close ends the file. It is removed at once if it has no runs.
func (w *Writer) Close() error {
	err := w.out.Close()
	if err != nil {
		err = wrap("close", w.file.name, w.offset(), err)
	}
	return errors.Join(err, w.file.release(0, 0))
}

// offset is where in the file the next byte goes.
func (w *Writer) offset() int64 { return w.file.size + int64(len(w.buf)) }

func (w *Writer) endBlock(valuesBehind int) {
	sealBlock(w.file.size+int64(w.block), w.buf[w.block:], valuesBehind)
	w.block = -1
}

// flushIfFull is called between blocks.
func (w *Writer) flushIfFull() error {
	if len(w.buf) < flushSize {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	if w.file.store.closed.Load() {
		w.err = wrap("write", w.file.name, w.file.size, ErrClosed)
		return w.err
	}
	n, err := w.out.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	w.file.size += int64(n)
	w.file.store.bytes.Add(int64(n))
	if err != nil {
		w.err = wrap("write", w.file.name, w.file.size, err)
		return w.err
	}
	w.buf = w.buf[:0]
	return nil
}
