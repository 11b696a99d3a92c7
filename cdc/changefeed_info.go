package cdc

import (
	"math"
	"slices"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// More states, of changefeeds that a Capture runs.
const (
	// StatePending: an error ended the changefeed; it waits to be started again.
	StatePending State = "pending"
)

// ChangefeedInfo is a picture of a changefeed of a Capture.
type ChangefeedInfo struct {
	// Spec is without secrets.
	Spec Spec
	// State: normal; warning, started again after an error, or retrying a write;
	// pending, waiting to be started again; stopped by a user; failed; finished.
	State          State
	CreateTime     time.Time
	CreatorVersion string
	CheckpointTs   event.Ts
	// ResolvedTs is 0 while the changefeed does not run.
	ResolvedTs event.Ts
	// Error is the last error, nil in the states normal and finished.
	Error *RunningError
	// ErrorHistory are the times of the last errors that ended the changefeed's work
	// since it was created or resumed, the oldest first; it is started again after
	// most. There are 20 at most.
	ErrorHistory []time.Time
	// Tasks are what captures do for the changefeed, by capture id. Empty while it
	// does not run.
	Tasks []ProcessorInfo
	// Status has the figures of the part that runs in this process.
	Status Status
}

// RunningError is an error that a changefeed met. Its JSON form is stored.
type RunningError struct {
	Time time.Time `json:"time"`
	// Addr is the address of the capture that met it.
	Addr string `json:"addr"`
	// Code is what CaptureConfig.ErrorCode calls it, such as CDC:ErrStartTsBeforeGC.
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ProcessorInfo is the part of a changefeed that one capture does.
type ProcessorInfo struct {
	ChangefeedID, CaptureID  string
	CheckpointTs, ResolvedTs event.Ts
	// TableIDs are the physical tables, in order.
	TableIDs []int64
	// Error is nil if it is well.
	Error *RunningError
}

// CaptureInfo is a process that runs changefeeds.
type CaptureInfo struct {
	// ID is a UUID that the process has for its life.
	ID string
	// Address is where its API is reached, host:port.
	Address string
	IsOwner bool
	// ClusterID names the set of captures that work together.
	ClusterID string
	Version   string
}

// Liveness tells whether a capture stays.
type Liveness int

// What a capture's liveness may be, in the numbers of TiCDC's API.
const (
	Alive    Liveness = 0
	Stopping Liveness = 1 // it is being drained and takes no more tables
)

// NodeInfo is a CaptureInfo of this process.
type NodeInfo struct {
	CaptureInfo
	GitHash  string
	PID      int
	Liveness Liveness
	// UpstreamID is the id of the TiDB cluster that is followed.
	UpstreamID uint64
}

// TableIDs returns the ids of all physical tables that are followed now, in order.
func (c *Changefeed) TableIDs() []int64 {
	c.mu.Lock()
	p := c.mu.pipeline
	running := c.mu.running
	c.mu.Unlock()
	if p == nil || !running {
		return nil
	}
	spans := p.Status(math.MaxInt).Slowest
	ids := make([]int64, len(spans))
	for i, s := range spans {
		ids[i] = s.PhysicalID
	}
	slices.Sort(ids)
	return ids
}
