package spill

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Config describes a Store.
type Config struct {
	// Dir is where the store's directory is made when something is first written.
	// It is made too if it does not exist.
	Dir string
	// Name tells whose the store's directory is, which is called
	// tidbcdc.{Name}.{random digits}. A name has no dot, slash or star.
	Name string
	// Files defaults to the operating system's.
	Files Files
}

// Store keeps files in a directory of its own. Create it with [NewStore].
// Its methods may be called from any goroutine.
type Store struct {
	cfg    Config
	bytes  atomic.Int64 // in files
	closed atomic.Bool

	mu struct {
		sync.Mutex
		dir   string    // "" until the first file is made
		lock  io.Closer // held while the directory is in use
		files int       // made so far
	}
}

// NewStore returns a Store that has done no I/O.
func NewStore(cfg Config) *Store {
	if cfg.Files == nil {
		cfg.Files = osFiles{}
	}
	return &Store{cfg: cfg}
}

// Bytes returns the size of the files that hold runs.
func (s *Store) Bytes() int64 { return s.bytes.Load() }

// Create begins a new file.
func (s *Store) Create() (*Writer, error) {
	name, err := s.newName()
	if err != nil {
		return nil, err
	}
	out, err := s.cfg.Files.Create(name)
	if err != nil {
		return nil, wrap("create", name, 0, err)
	}
	w := &Writer{out: out, file: &file{store: s, name: name}}
	w.file.runs.Store(1) // the writer counts as a run until it is closed
	return w, nil
}

// newName makes the directory if it is the first of its names.
func (s *Store) newName() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return "", ErrClosed
	}
	if s.mu.dir == "" {
		dir, lock, err := makeLockedDir(s.cfg.Dir, "tidbcdc."+s.cfg.Name+".*")
		if err != nil {
			return "", fmt.Errorf("make spill directory in %s: %w", s.cfg.Dir, err)
		}
		s.mu.dir, s.mu.lock = dir, lock
	}
	s.mu.files++
	return filepath.Join(s.mu.dir, fmt.Sprintf("%06d.spill", s.mu.files)), nil
}

// Stop makes writing end soon, with ErrClosed.
func (s *Store) Stop() { s.closed.Store(true) }

// Close removes the directory and all in it. Writers should be closed before,
// and no run may be read any more. Closing again is harmless.
func (s *Store) Close() error {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.dir == "" {
		return nil
	}
	err := errors.Join(removeDir(s.mu.dir), s.mu.lock.Close())
	s.mu.dir = ""
	return err
}

// RemoveStale removes the directories of the store's name that no process uses.
func (s *Store) RemoveStale() error {
	dirs, err := filepath.Glob(filepath.Join(escapeGlob(s.cfg.Dir), "tidbcdc."+s.cfg.Name+".*"))
	if err != nil {
		return fmt.Errorf("look for stale spill directories in %s: %w", s.cfg.Dir, err)
	}
	var errs []error
	for _, dir := range dirs {
		if err := removeUnlocked(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove stale spill directory %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// file is what a Writer has written. The last of its runs to be released takes
// it with it; each before gives its room back, if the system can do that: one run that
// waits for long, of a table that is held up, must not hold the rest.
type file struct {
	store     *Store
	name      string
	size      int64        // counted in store.bytes; grows until the writer is closed
	discarded atomic.Int64 // of size, and not counted any more
	runs      atomic.Int64
}

// release gives up one of the runs, which is at offset, or the writer if length is 0.
func (f *file) release(offset, length int64) error {
	// What is counted here is seen by whoever releases the last.
	if length > 0 && f.runs.Load() > 1 && !f.store.closed.Load() {
		if d, ok := f.store.cfg.Files.(Discarder); ok && d.Discard(f.name, offset, length) {
			f.discarded.Add(length)
			f.store.bytes.Add(-length)
		}
	}
	if f.runs.Add(-1) > 0 {
		return nil
	}
	f.store.bytes.Add(f.discarded.Load() - f.size)
	if f.store.closed.Load() {
		return nil // Close removes it
	}
	if err := f.store.cfg.Files.Remove(f.name); err != nil {
		return wrap("remove", f.name, 0, err)
	}
	return nil
}
