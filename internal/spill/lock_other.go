//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package spill

import (
	"os"
	"path/filepath"
)

// tryLock cannot tell whether another process has the file. The maker of a
// directory gets it, and nobody else, so that what a killed process has left
// stays until somebody removes it.
func tryLock(f *os.File) (bool, error) {
	entries, err := os.ReadDir(filepath.Dir(f.Name()))
	if err != nil {
		return false, err
	}
	info, err := f.Stat()
	if err != nil || info.Size() > 0 || len(entries) > 1 {
		return false, err
	}
	_, err = f.WriteString("in use, or left behind\n")
	return err == nil, err
}
