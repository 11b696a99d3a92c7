//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package cdc

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks a file until it is closed, or its process has ended. False means
// that it is locked already, be it by this process.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
