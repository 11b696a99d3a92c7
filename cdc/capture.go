package cdc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/tidbcdc/tidbcdc/internal/cluster"
)

// Capture is a node that runs many changefeeds, each described by a Spec. Use
// NewCapture. It keeps them in a directory, with their states and checkpoints, so
// that those that ran go on when it is started again.
//
// With CaptureConfig.Etcd it is one of a cluster of captures, which share the tables
// of all changefeeds. One of them, the owner, decides about changefeeds; the others'
// methods about them return ErrNotOwner, and Owner tells whom to ask. When a capture
// ends or dies, its tables go on elsewhere from their last checkpoint.
//
// A changefeed that fails is started again, with a wait that grows from 10 s to
// 10 min, unless the error cannot be mended so or Spec.ErrorStuckDuration has
// passed without progress; then it is in the state failed until it is resumed.
//
// Methods may be called from any goroutine. Those about changefeeds return
// ErrNotReady while Run does not run.
type Capture struct {
	cfg CaptureConfig

	mu struct {
		sync.Mutex
		running bool
		owner   *owner        // while it decides, and has loaded its changefeeds
		node    *cluster.Node // in a cluster, while it runs
	}
}

// NewCapture validates cfg. It does no I/O and starts nothing.
func NewCapture(cfg CaptureConfig) (*Capture, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("new capture: %w", err)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("new capture: %w", err)
	}
	cfg.Logger = cfg.Logger.With("capture", cfg.ID)
	return &Capture{cfg: cfg}, nil
}

// Run runs the changefeeds until ctx ends, and returns its cause. When it returns,
// everything that it started has ended and checkpoints are stored. It fails at
// once if another process uses the directory, or what is in it cannot be read.
func (c *Capture) Run(ctx context.Context) (err error) {
	c.mu.Lock()
	running := c.mu.running
	c.mu.running = true
	c.mu.Unlock()
	if running {
		return fmt.Errorf("run capture: %w", ErrRunning)
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.mu.running = false
	}()
	unlock, err := lockDataDir(c.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("run capture: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if c.cfg.Etcd != nil {
		return c.runInCluster(ctx)
	}
	store, err := newDirStore(filepath.Join(c.cfg.DataDir, "changefeeds"))
	if err != nil {
		return fmt.Errorf("run capture: %w", err)
	}
	source := &upstreamSource{c.cfg.Upstream, c.cfg.ClusterID, c.cfg.Logger}
	return c.lead(ctx, &owner{
		cfg: &c.cfg, log: c.cfg.Logger,
		store: store, source: source,
		launcher:   &localLauncher{&c.cfg, source.safePointService},
		scheduling: localScheduling{c.info},
	})
}

// lead is what a capture does while it decides about changefeeds.
func (c *Capture) lead(ctx context.Context, o *owner) error {
	if err := o.load(ctx); err != nil {
		return err
	}
	c.setOwner(o)
	defer c.setOwner(nil)
	return o.run(ctx)
}

func (c *Capture) setOwner(o *owner) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.owner = o
}

// lockDataDir makes sure that no other process uses a directory, which it creates.
func lockDataDir(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if ok, err := tryLock(f); err != nil || !ok {
		if err == nil {
			err = fmt.Errorf("%s is in use by another process: give each its own", dir)
		}
		return nil, errors.Join(fmt.Errorf("lock data directory: %w", err), f.Close())
	}
	return f.Close, nil
}

// owned returns the owner that is in this process.
func (c *Capture) owned() (*owner, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mu.owner != nil:
		return c.mu.owner, nil
	case c.mu.node != nil:
		return nil, ErrNotOwner
	}
	return nil, fmt.Errorf("%w: it is starting or ending", ErrNotReady)
}

// ownedFeed returns a changefeed.
func (c *Capture) ownedFeed(id string) (*owner, *feed, error) {
	o, err := c.owned()
	if err != nil {
		return nil, nil, err
	}
	f, err := o.feed(id)
	return o, f, err
}
