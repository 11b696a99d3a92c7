package spill

import (
	"os"
	"syscall"
)

const (
	fallocKeepSize  = 1
	fallocPunchHole = 2
)

// Discard implements [Discarder]. Not every file system can do it.
func (osFiles) Discard(name string, offset, length int64) bool {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	err = syscall.Fallocate(int(f.Fd()), fallocKeepSize|fallocPunchHole, offset, length)
	return f.Close() == nil && err == nil
}
