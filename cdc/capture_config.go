package cdc

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidbcdc/tidbcdc/sink"
)

// CaptureConfig describes a Capture.
type CaptureConfig struct {
	// Upstream is the cluster that changefeeds follow. Required.
	Upstream *Upstream
	// Openers are the sinks that changefeeds may have. Required. Calls of a sink
	// overlap, each for another table, see WriteConcurrency.
	Openers sink.Openers
	// DataDir keeps changefeeds with their checkpoints, unless Etcd does, and in tmp
	// what exceeds memory. It is for one process alone, which Run makes sure of, and
	// for nobody else's eyes: sinks' passwords are in it. Required.
	DataDir string
	// Etcd, unless nil, makes the capture one of a cluster: all that have the same
	// ClusterID there share their changefeeds and the tables of these. It is usually
	// the one in PD, see DialEtcd. What is said of changefeeds is kept there, sinks'
	// passwords too. Whoever made the client closes it, after Run.
	Etcd *clientv3.Client
	// SessionTTL is for how long a capture of a cluster may be silent before others
	// take over its tables, in whole seconds. It stops by itself before. Defaults to
	// 10 s; 2 s at least.
	SessionTTL time.Duration

	// ID names the capture. Defaults to a new UUID.
	ID string
	// Address is where the capture's API is reached, host:port.
	Address string
	// ClusterID names the captures that work together. Defaults to "default".
	ClusterID string
	// Version and GitHash are what the capture says of itself.
	Version, GitHash string

	// GCTTL is for how long PD keeps changes for a changefeed that does not come
	// further: one that is paused or failed for longer cannot be resumed. Defaults
	// to 24 h.
	GCTTL time.Duration
	// TimeZone is where TIMESTAMP values become text, unless a Spec says otherwise.
	// Defaults to UTC.
	TimeZone *time.Location
	// MemoryQuota is that of a changefeed whose Spec has none. Defaults to 1 GiB.
	MemoryQuota int64
	// WriteConcurrency is Config.WriteConcurrency of changefeeds. Defaults to 16.
	WriteConcurrency int
	// RetryTimeout is for how long a failing write is repeated before the changefeed
	// is stopped, its sink closed, and both are started again. Defaults to 1 min.
	RetryTimeout time.Duration
	// DrainTimeout is Config.DrainTimeout of changefeeds.
	DrainTimeout time.Duration
	// CheckpointInterval is Config.CheckpointInterval of changefeeds.
	CheckpointInterval time.Duration
	// OpenTimeout bounds the opening of a sink. Defaults to 30 s.
	OpenTimeout time.Duration

	// ErrorCode names kinds of errors, for RunningError.Code; package apiserver has
	// TiCDC's names. By default there is no code.
	ErrorCode func(error) string
	// Logger gets the messages of the capture and of its changefeeds. Defaults to
	// the Upstream's.
	Logger *slog.Logger
}

// minSessionTTL is what a lease can be renewed in, with some attempts.
const minSessionTTL = 2 * time.Second

func (c *CaptureConfig) validate() error {
	switch {
	case c.Upstream == nil:
		return errors.New("CaptureConfig.Upstream is nil: get one from Dial")
	case len(c.Openers) == 0:
		return errors.New("CaptureConfig.Openers is empty: list the sinks that changefeeds may have")
	case c.DataDir == "":
		return errors.New("CaptureConfig.DataDir is empty: name a directory to keep changefeeds in")
	case c.GCTTL != 0 && c.GCTTL < 2*safePointInterval:
		return fmt.Errorf("CaptureConfig.GCTTL %v: want %v at least, because it is renewed every %v", c.GCTTL, 2*safePointInterval, safePointInterval)
	case c.MemoryQuota != 0 && c.MemoryQuota < minMemoryQuota:
		return fmt.Errorf("CaptureConfig.MemoryQuota %d: want %d bytes at least", c.MemoryQuota, minMemoryQuota)
	case c.SessionTTL != 0 && c.SessionTTL < minSessionTTL || c.SessionTTL%time.Second != 0:
		return fmt.Errorf("CaptureConfig.SessionTTL %v: want whole seconds, %v at least", c.SessionTTL, minSessionTTL)
	case c.WriteConcurrency < 0:
		return fmt.Errorf("CaptureConfig.WriteConcurrency %d must not be negative", c.WriteConcurrency)
	case c.RetryTimeout < 0 || c.DrainTimeout < 0 || c.CheckpointInterval < 0 || c.OpenTimeout < 0:
		return fmt.Errorf("CaptureConfig.RetryTimeout %v, DrainTimeout %v, CheckpointInterval %v and OpenTimeout %v must not be negative",
			c.RetryTimeout, c.DrainTimeout, c.CheckpointInterval, c.OpenTimeout)
	}
	if c.ID != "" {
		if err := ValidateID(c.ID); err != nil {
			return fmt.Errorf("CaptureConfig.ID: %w", err)
		}
	}
	return nil
}

// withDefaults returns c with every zero field at its documented default.
func (c CaptureConfig) withDefaults() (CaptureConfig, error) {
	if c.ID == "" {
		id, err := uuid.NewRandom()
		if err != nil {
			return c, fmt.Errorf("make capture id: %w", err)
		}
		c.ID = id.String()
	}
	if c.TimeZone == nil {
		c.TimeZone = time.UTC
	}
	if c.ErrorCode == nil {
		c.ErrorCode = func(error) string { return "" }
	}
	if c.Logger == nil {
		c.Logger = c.Upstream.log
	}
	setDefault(&c.ClusterID, "default")
	setDefault(&c.GCTTL, 24*time.Hour)
	setDefault(&c.MemoryQuota, 1<<30)
	setDefault(&c.WriteConcurrency, 16)
	setDefault(&c.RetryTimeout, time.Minute)
	setDefault(&c.OpenTimeout, 30*time.Second)
	setDefault(&c.SessionTTL, 10*time.Second)
	return c, nil
}

// spillDir is where changefeeds put what exceeds memory.
func (c *CaptureConfig) spillDir() string { return filepath.Join(c.DataDir, "tmp", "sorter") }
