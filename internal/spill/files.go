package spill

import (
	"errors"
	"io"
	"os"
)

// Files are the operations on files that a [Store] needs.
type Files interface {
	// Create makes a file that does not exist yet.
	Create(name string) (io.WriteCloser, error)
	// ReadAt reads len(b) bytes, or fewer with an error: io.EOF at the end.
	ReadAt(name string, b []byte, offset int64) (int, error)
	Remove(name string) error
}

// Discarder is an optional interface of [Files]: Discard gives the room of a part of
// a file back, which then reads as zeros, and reports whether it could.
type Discarder interface {
	Discard(name string, offset, length int64) bool
}

// osFiles are the operating system's. No file is held open between two reads,
// because there can be more of them than a process may open: a read takes some
// microseconds longer, and reads are large.
type osFiles struct{}

func (osFiles) Create(name string) (io.WriteCloser, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (osFiles) ReadAt(name string, b []byte, offset int64) (n int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.ReadAt(b, offset)
}

func (osFiles) Remove(name string) error { return os.Remove(name) }
