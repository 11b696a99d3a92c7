package spill

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// ErrCorrupt means that what was read back is not what was written.
var ErrCorrupt = errors.New("corrupt data")

// ErrClosed means that the store was closed while something was written to it.
var ErrClosed = errors.New("the store is closed")

// Error is why changes could not be written to disk or read back.
type Error struct {
	Op     string // such as "write"
	File   string
	Offset int64 // in the file
	Err    error // satisfies errors.Is with ErrCorrupt, or comes from the operating system
}

// Error implements error.
func (e *Error) Error() string {
	msg := fmt.Sprintf("%s %s at offset %d: %v", e.Op, e.File, e.Offset, e.Err)
	switch {
	case errors.Is(e.Err, ErrCorrupt):
		return msg + ": check the disk"
	case errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT):
		return msg + ": free some, choose a spill directory with more, or raise the memory quota"
	}
	return msg
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// wrap makes an Error of err, which may name the file itself.
func wrap(op, file string, offset int64, err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	return &Error{Op: op, File: file, Offset: offset, Err: err}
}
