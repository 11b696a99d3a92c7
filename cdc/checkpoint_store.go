package cdc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// CheckpointStore keeps the checkpoint ts of changefeeds, so that they resume
// where they stopped. Methods may be called from any goroutine.
type CheckpointStore interface {
	// Load returns the last checkpoint saved for a changefeed, or 0 if there is none.
	Load(ctx context.Context, changefeed string) (event.Ts, error)
	// Save replaces it. The checkpoint is durable when Save returns nil.
	Save(ctx context.Context, changefeed string, ts event.Ts) error
}

// MemoryCheckpoints is a CheckpointStore that lasts as long as the process. The
// zero value is ready for use.
type MemoryCheckpoints struct {
	mu struct {
		sync.Mutex
		ts map[string]event.Ts
	}
}

// Load implements CheckpointStore.
func (m *MemoryCheckpoints) Load(_ context.Context, changefeed string) (event.Ts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.ts[changefeed], nil
}

// Save implements CheckpointStore.
func (m *MemoryCheckpoints) Save(_ context.Context, changefeed string, ts event.Ts) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.ts == nil {
		m.mu.ts = map[string]event.Ts{}
	}
	m.mu.ts[changefeed] = ts
	return nil
}

// DirCheckpoints is a CheckpointStore of one small file per changefeed in a
// directory: the changefeed's id plus ".checkpoint", holding the ts in decimal.
// A save writes a new file, syncs it and renames it over the old one, so that a
// crash leaves one or the other whole.
type DirCheckpoints struct {
	dir string
	// unfinished is held while a file is written, or those of killed processes are removed.
	unfinished sync.Mutex
}

// NewDirCheckpoints returns a store in dir, which it creates if need be.
func NewDirCheckpoints(dir string) (*DirCheckpoints, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create checkpoint directory: %w", err)
	}
	return &DirCheckpoints{dir: dir}, nil
}

func (d *DirCheckpoints) file(changefeed string) string {
	return filepath.Join(d.dir, changefeed+".checkpoint")
}

// Load implements CheckpointStore. It removes what a killed process has left of a
// Save of the changefeed.
func (d *DirCheckpoints) Load(_ context.Context, changefeed string) (event.Ts, error) {
	if err := d.removeUnfinished(changefeed); err != nil {
		return 0, fmt.Errorf("load checkpoint: %w", err)
	}
	data, err := os.ReadFile(d.file(changefeed))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("load checkpoint: %w", err)
	}
	ts, err := event.ParseTs(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("load checkpoint from %s: %w", d.file(changefeed), err)
	}
	return ts, nil
}

func (d *DirCheckpoints) removeUnfinished(changefeed string) error {
	d.unfinished.Lock()
	defer d.unfinished.Unlock()
	names, err := filepath.Glob(filepath.Join(escapeGlob(d.dir), escapeGlob(changefeed)+".*.tmp"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// Save implements CheckpointStore.
func (d *DirCheckpoints) Save(_ context.Context, changefeed string, ts event.Ts) error {
	d.unfinished.Lock()
	defer d.unfinished.Unlock()
	f, err := os.CreateTemp(d.dir, changefeed+".*.tmp")
	if err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	_, err = f.WriteString(ts.String() + "\n")
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), d.file(changefeed))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("save checkpoint: %w", err), os.Remove(f.Name()))
	}
	return syncDir(d.dir)
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync checkpoint directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync checkpoint directory: %w", err)
	}
	return nil
}
