package pipeline

import (
	"cmp"
	"slices"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Status is how far a pipeline has come.
type Status struct {
	// CheckpointTs: everything at or below it is acknowledged by the sink.
	CheckpointTs event.Ts
	// ResolvedTs: everything at or below it has been received.
	ResolvedTs event.Ts
	// BarrierTs: the schema is known up to it and no DDL below it waits; nothing of a
	// table that a waiting DDL touches is written above it.
	BarrierTs event.Ts
	// Regions is the number of regions, as far as they are known; of these,
	// ScannedRegions have delivered everything from before they were subscribed.
	Regions, ScannedRegions int
	// Spans are the physical tables that are followed; PendingRows and
	// PendingBytes wait in their sorters, in memory or on disk.
	Spans        int
	PendingRows  int
	PendingBytes int64
	// MemoryBytes count against the memory quota; SpilledBytes are on disk.
	MemoryBytes, SpilledBytes int64
	// Received are the rows of tables that have come in; Rows and DDLs are those the
	// sink has acknowledged.
	Received, Rows, DDLs int64
	// PendingDDLs have been received and wait for rows below them.
	PendingDDLs int
	// Slowest are the spans with the least checkpoint ts, the least first.
	Slowest []SpanStatus
	// Err is the error of a write that is being retried, and ErrTime when it was met.
	Err     error
	ErrTime time.Time
}

// SpanStatus is the part of one physical table.
type SpanStatus struct {
	Table                    string
	PhysicalID               int64
	CheckpointTs, ResolvedTs event.Ts
	PendingRows              int
}

// Status returns a picture of the moment, with up to slowest spans.
func (p *Pipeline) Status(slowest int) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{
		CheckpointTs: p.mu.checkpoint, ResolvedTs: p.mu.ddlResolved,
		Spans:    len(p.mu.spans) + len(p.mu.ending) + len(p.mu.leaving),
		Received: p.received.Load(), Rows: p.rows.Load(), DDLs: p.ddls.Load(),
		BarrierTs: p.mu.ddlResolved, PendingDDLs: len(p.mu.ddls),
	}
	retried := p.retriedLocked()
	st.Err, st.ErrTime = retried.err, retried.at
	if len(p.mu.ddls) > 0 {
		st.BarrierTs = min(st.BarrierTs, p.mu.ddls[0].event.CommitTs)
	}
	st.MemoryBytes, st.SpilledBytes = p.cfg.Sorters.Usage()
	spans := make([]SpanStatus, 0, st.Spans)
	for _, s := range p.allSpansLocked() {
		s.refreshLocked()
		rows, bytes := s.sorter.Pending()
		st.PendingRows += rows
		st.PendingBytes += bytes
		if s.sub != nil && !s.ended {
			progress := s.sub.Progress()
			st.Regions += progress.Ranges
			st.ScannedRegions += progress.Initialized
		}
		resolved := s.sorter.ResolvedTs()
		st.ResolvedTs = min(st.ResolvedTs, resolved)
		spans = append(spans, SpanStatus{
			Table: s.name(), PhysicalID: s.physicalID,
			CheckpointTs: s.written, ResolvedTs: resolved, PendingRows: rows,
		})
	}
	slices.SortFunc(spans, func(a, b SpanStatus) int {
		return cmp.Or(cmp.Compare(a.CheckpointTs, b.CheckpointTs), cmp.Compare(a.PhysicalID, b.PhysicalID))
	})
	st.Slowest = spans[:min(slowest, len(spans))]
	return st
}
