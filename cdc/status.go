package cdc

import (
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
)

// State is what a changefeed is doing, in TiCDC's words.
type State string

// The states of a Changefeed.
const (
	// StateNormal: Run delivers changes.
	StateNormal State = "normal"
	// StateWarning: Run is retrying a write that failed; Status.Err tells which.
	StateWarning State = "warning"
	// StateStopped: Run has not been called, or was cancelled.
	StateStopped State = "stopped"
	// StateFailed: Run returned an error.
	StateFailed State = "failed"
	// StateFinished: the target ts has been reached.
	StateFinished State = "finished"
)

// Status is a picture of a changefeed.
type Status struct {
	State State
	// CheckpointTs: everything at or below it has been acknowledged by the sink.
	CheckpointTs event.Ts
	// SavedTs is the checkpoint that the store holds.
	SavedTs event.Ts
	// ResolvedTs: everything at or below it has been received from the cluster.
	ResolvedTs event.Ts
	// BarrierTs is the commit ts of the first DDL that waits for rows before it, or
	// else the ts up to which there is none. Tables that it touches wait there.
	BarrierTs event.Ts
	// Tables are the physical tables (tables and partitions) that are followed.
	Tables int
	// Regions is the number of regions of these tables, as far as they are known;
	// ScannedRegions of them have delivered all changes from before they were
	// subscribed, so catching up has ended when the two are equal.
	Regions, ScannedRegions int
	// CatchUp is an estimate of how long it will take to deliver what has been
	// committed until now, from the speed of the last seconds in which Status was
	// called; 0 if that has been delivered, negative if nothing can be said.
	CatchUp time.Duration
	// PendingRows and PendingBytes have been received and wait for the sink, or
	// for their transactions to be resolved, in memory or on disk.
	PendingRows  int
	PendingBytes int64
	// MemoryBytes are what counts against Config.MemoryQuota now.
	MemoryBytes int64
	// SpilledBytes are the size of the files in Config.SpillDir: 0 as long as
	// everything fits into the quota.
	SpilledBytes int64
	// Received are the rows that have come from the cluster in this Run, before rows
	// are filtered; Rows and DDLs are those that the sink has acknowledged.
	Received, Rows, DDLs int64
	// PendingDDLs wait for the rows before them.
	PendingDDLs int
	// Slowest are the tables with the least checkpoint ts, ten at most.
	Slowest []TableStatus
	// Err is why the changefeed failed, or the error that is being retried; ErrTime is
	// when that was met.
	Err     error
	ErrTime time.Time
}

// TableStatus is how far one physical table has come.
type TableStatus struct {
	Table string
	// PhysicalID is the partition's id for a partitioned table.
	PhysicalID               int64
	CheckpointTs, ResolvedTs event.Ts
	PendingRows              int
}

// CheckpointLag is how far the checkpoint is behind now, by this machine's clock.
func (s *Status) CheckpointLag(now time.Time) time.Duration { return lag(s.CheckpointTs, now) }

// ResolvedLag is how far reading is behind now; the rest of CheckpointLag is
// spent in sorting, mounting and the sink.
func (s *Status) ResolvedLag(now time.Time) time.Duration { return lag(s.ResolvedTs, now) }

func lag(ts event.Ts, now time.Time) time.Duration {
	if ts == 0 {
		return 0
	}
	return max(0, now.Sub(ts.Time()))
}

// Status may be called from any goroutine at any time.
func (c *Changefeed) Status() Status {
	c.mu.Lock()
	st := Status{State: c.mu.state, SavedTs: c.mu.saved, Err: c.mu.err, ErrTime: c.mu.errAt}
	p := c.mu.pipeline
	c.mu.Unlock()
	if p == nil {
		st.CheckpointTs = st.SavedTs
		return st
	}
	st.describe(p)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.pipeline == p {
		c.mu.catchUp.observe(now, &st)
		st.CatchUp = c.mu.catchUp.remaining(now, &st)
	}
	return st
}

// describe fills in how far a pipeline is.
func (s *Status) describe(p *pipeline.Pipeline) {
	const slowest = 10
	ps := p.Status(slowest)
	s.CheckpointTs, s.ResolvedTs, s.BarrierTs = ps.CheckpointTs, ps.ResolvedTs, ps.BarrierTs
	s.Regions, s.ScannedRegions = ps.Regions, ps.ScannedRegions
	s.Tables, s.PendingRows, s.PendingBytes = ps.Spans, ps.PendingRows, ps.PendingBytes
	s.MemoryBytes, s.SpilledBytes = ps.MemoryBytes, ps.SpilledBytes
	s.Received, s.Rows, s.DDLs, s.PendingDDLs = ps.Received, ps.Rows, ps.DDLs, ps.PendingDDLs
	for _, span := range ps.Slowest {
		s.Slowest = append(s.Slowest, TableStatus(span))
	}
	if s.State == StateNormal && ps.Err != nil {
		s.State, s.Err, s.ErrTime = StateWarning, ps.Err, ps.ErrTime
	}
}
