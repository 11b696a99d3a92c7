package spill

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// lockName is the file in a directory that is locked while a process uses it.
const lockName = "lock"

// makeLockedDir makes a directory in parent that no other process removes before
// the lock is closed.
func makeLockedDir(parent, pattern string) (dir string, lock io.Closer, err error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", nil, err
	}
	for {
		dir, err = os.MkdirTemp(parent, pattern)
		if err != nil {
			return "", nil, err
		}
		lock, err = lockNewDir(dir)
		if err == nil {
			return dir, lock, nil
		}
		// In between, another process may have found the directory unlocked and
		// removed it.
		if !errors.Is(err, errTaken) {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
}

// errTaken: another process is removing the directory.
var errTaken = errors.New("the directory is taken")

func lockNewDir(dir string) (lock io.Closer, err error) {
	name := filepath.Join(dir, lockName)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errTaken
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if ok, err := tryLock(f); err != nil || !ok {
		return nil, errors.Join(err, errTaken)
	}
	locked, err := f.Stat()
	if err != nil {
		return nil, err
	}
	present, err := os.Stat(name)
	if err != nil || !os.SameFile(locked, present) {
		return nil, errTaken
	}
	return f, nil
}

// removeUnlocked removes a directory unless a process uses it.
func removeUnlocked(dir string) error {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		// Nothing is in it yet: its maker died, or will make another.
		return os.Remove(dir)
	}
	if err != nil {
		return err
	}
	ok, err := tryLock(f)
	if ok && err == nil {
		err = removeDir(dir)
	}
	return errors.Join(err, f.Close())
}

// removeDir removes the lock after the other files, so that when it is cut short
// another attempt finds a lock to take.
func removeDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// escapeGlob returns a pattern that matches path alone.
func escapeGlob(path string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(path)
}
