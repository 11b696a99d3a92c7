package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// errSpanStopped ends the attempts to write rows of a span that is leaving.
var errSpanStopped = errors.New("the span is written elsewhere")

// AddSpan makes an Assigned pipeline write a physical table's changes above
// startTs, which is not below any confirmed checkpoint. The table may be one that
// the pipeline does not know yet. It waits for the DDLs that touch it like any
// other. AddSpan does nothing if the pipeline has the span already, or has stopped
// and not released it. False means that the pipeline has ended and will not write
// the span. AddSpan may be called before Run, which must follow then.
func (p *Pipeline) AddSpan(physicalID int64, startTs event.Ts) bool {
	p.control.Lock()
	defer p.control.Unlock()
	if p.control.closed {
		return false
	}
	p.mu.Lock()
	if p.hasSpanLocked(physicalID, startTs) {
		p.mu.Unlock()
		return true
	}
	s := p.newSpanLocked(physicalID, p.tableLocked(physicalID), startTs)
	for _, d := range p.mu.ddls {
		// Below startTs, a DDL has been executed: otherwise it had stopped the span.
		if d.event.CommitTs < startTs || !slices.Contains(d.touchedIDs, physicalID) {
			continue
		}
		s.ddls = append(s.ddls, d)
		d.touched = append(d.touched, s)
		d.ready = d.ready && d.event.CommitTs == startTs
		if slices.Contains(d.removedIDs, physicalID) {
			// What comes later under this id is another table.
			delete(p.mu.spans, physicalID)
			p.mu.ending[s] = struct{}{}
			d.removed = append(d.removed, s)
			break
		}
	}
	p.mu.Unlock()
	p.subscribe([]*tableSpan{s}, startTs)
	p.notify()
	return true
}

// hasSpanLocked reports whether a span is here that AddSpan would add. One that
// ends with a DDL above startTs is the one that is meant.
func (p *Pipeline) hasSpanLocked(physicalID int64, startTs event.Ts) bool {
	if p.mu.spans[physicalID] != nil || p.mu.leaving[physicalID] != nil {
		return true
	}
	s := p.endingLocked(physicalID)
	return s != nil && startTs <= s.ddls[len(s.ddls)-1].event.CommitTs
}

func (p *Pipeline) endingLocked(physicalID int64) *tableSpan {
	for s := range p.mu.ending {
		if s.physicalID == physicalID {
			return s
		}
	}
	return nil
}

// tableLocked returns what is known of a wanted table, nil for nothing.
func (p *Pipeline) tableLocked(physicalID int64) *event.TableInfo {
	if t, ok := p.mu.dropped[physicalID]; ok {
		return t.info
	}
	return p.mu.tables[physicalID].info
}

// StopSpan makes the pipeline stop to write a span. It does not wait: Progress
// tells when a write that is under way has ended, and the span's last checkpoint,
// until ReleaseSpan. A write that is being retried is not tried again. StopSpan
// reports whether the pipeline had the span.
func (p *Pipeline) StopSpan(physicalID int64) bool {
	p.control.Lock()
	defer p.control.Unlock()
	p.mu.Lock()
	s := p.mu.spans[physicalID]
	if s == nil {
		s = p.endingLocked(physicalID)
	}
	if s == nil || p.control.closed {
		p.mu.Unlock()
		return false
	}
	s.refreshLocked()
	s.closed = true
	if p.mu.spans[physicalID] == s {
		delete(p.mu.spans, physicalID)
	}
	delete(p.mu.ending, s)
	delete(p.mu.blocked, s)
	p.mu.leaving[physicalID] = s
	for _, d := range s.ddls {
		d.touched = without(d.touched, s)
		d.removed = without(d.removed, s)
	}
	s.ddls = nil
	running, interrupt := s.running, s.interrupt
	p.mu.Unlock()
	if interrupt != nil {
		interrupt(errSpanStopped)
	}
	if !running {
		p.endSpan(s)
	}
	p.notify()
	return true
}

func without(spans []*tableSpan, s *tableSpan) []*tableSpan {
	return slices.DeleteFunc(spans, func(t *tableSpan) bool { return t == s })
}

// ReleaseSpan forgets a span that StopSpan has stopped: from now on the
// checkpoint does not wait for it. It does nothing while Progress does not show
// the span as stopped.
func (p *Pipeline) ReleaseSpan(physicalID int64) {
	p.control.Lock()
	defer p.control.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.mu.leaving[physicalID]; s != nil && !s.running {
		delete(p.mu.leaving, physicalID)
		p.notify()
	}
}

// beginSpan starts a write of a span that next has returned, unless the span is
// leaving. The context that it returns ends when the span leaves.
func (p *Pipeline) beginSpan(ctx context.Context, s *tableSpan) (_ context.Context, limit event.Ts, begun bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.closed {
		return ctx, 0, false
	}
	if p.cfg.Assigned {
		ctx, s.interrupt = context.WithCancelCause(ctx)
	}
	return ctx, s.limitLocked(), true
}

// ExecuteDDL writes to the sink a DDL that Config.ReadyDDL was called with, and
// returns when that has succeeded, or has failed as rows would: then Run fails
// too. A DDL that is not to be delivered, because an event filter says so, is
// skipped. Cancelling ctx ends the wait, not the execution.
func (p *Pipeline) ExecuteDDL(ctx context.Context, commitTs event.Ts) error {
	p.mu.Lock()
	d := p.pendingLocked(commitTs)
	switch {
	case d == nil:
		p.mu.Unlock()
		return fmt.Errorf("execute DDL of commit ts %d: the pipeline has no such DDL pending", commitTs)
	case !d.deliver:
		p.mu.Unlock()
		return nil
	}
	result := make(chan error, 1)
	p.mu.tasks = append(p.mu.tasks, task{ddl: d, result: result})
	p.mu.cond.Signal()
	p.mu.Unlock()
	select {
	case err := <-result:
		return err
	case <-p.ended:
		select {
		case err := <-result:
			return err
		default:
			return fmt.Errorf("execute DDL of commit ts %d: the pipeline has ended", commitTs)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// FinishDDL lifts the barrier of a DDL that has been executed. It may name one
// that the pipeline does not know yet, also before Run.
func (p *Pipeline) FinishDDL(commitTs event.Ts) {
	p.control.Lock()
	defer p.control.Unlock()
	if p.control.closed {
		return
	}
	p.mu.Lock()
	d := p.pendingLocked(commitTs)
	if _, again := p.mu.finished[commitTs]; again {
		d = nil
	}
	p.mu.finished[commitTs] = struct{}{}
	p.mu.Unlock()
	if d != nil {
		p.finishDDL(d)
	}
}

func (p *Pipeline) pendingLocked(commitTs event.Ts) *pendingDDL {
	for _, d := range p.mu.ddls {
		if d.event.CommitTs == commitTs {
			return d
		}
	}
	return nil
}

// ConfirmCheckpoint tells an Assigned pipeline the checkpoint of all the
// changefeed's spans, wherever they are written. It means that DDLs up to it have
// been executed, and that no span will be added below it, so that older schemas
// are forgotten. If tell is set, the sink learns of it, once its turn has come and
// if it wants to know.
func (p *Pipeline) ConfirmCheckpoint(ts event.Ts, tell bool) {
	p.mu.Lock()
	p.mu.confirmed = max(p.mu.confirmed, ts)
	var finished []event.Ts
	for _, d := range p.mu.ddls {
		if d.event.CommitTs <= ts {
			finished = append(finished, d.event.CommitTs)
		}
	}
	p.mu.Unlock()
	for _, commitTs := range finished {
		p.FinishDDL(commitTs)
	}
	p.mu.Lock()
	maps.DeleteFunc(p.mu.finished, func(commitTs event.Ts, _ struct{}) bool { return commitTs <= ts })
	p.mu.Unlock()
	p.cfg.Schema.Forget(ts)
	if tell {
		p.reportCheckpoint(ts)
		return
	}
	p.mu.Lock() // another pipeline's sink is told
	defer p.mu.Unlock()
	p.passedLocked(ts)
}

// Progress is what an Assigned pipeline tells those who share the changefeed, all
// of one moment.
type Progress struct {
	// CheckpointTs: everything of the pipeline's spans at or below it is
	// acknowledged by the sink, stopped ones included, and no DDL at or below it
	// waits. Without spans it is as far as DDLs are known.
	CheckpointTs event.Ts
	// ResolvedTs: everything of the spans at or below it has been received, and
	// DDLResolvedTs says that for DDLs.
	ResolvedTs, DDLResolvedTs event.Ts
	// Spans is the number of those that are written.
	Spans int
	// Stopped are the checkpoints of spans that have been stopped and not released;
	// Stopping are those that a worker has not given back yet.
	Stopped  map[int64]event.Ts
	Stopping []int64
	// DDLs wait, in commit ts order. Only the first few hundred are listed.
	DDLs []DDLProgress
	// TablesVersion changes with what Tables returns.
	TablesVersion uint64
}

// DDLProgress is a DDL that has been received and not finished.
type DDLProgress struct {
	CommitTs event.Ts
	// Reached: all rows of the pipeline's own spans up to it are written.
	Reached bool
	// Behind: an earlier DDL must be finished first.
	Behind bool
	// AwaitsSave: a checkpoint of CommitTs − 1 at least must have been stored first,
	// because rows from before the DDL must not come again after it.
	AwaitsSave bool
	// Touched are the physical tables that wait for it, Removed those of them that
	// end with it, whoever writes them. The slices are not to be changed.
	Touched, Removed []int64
}

// mostDDLs is the number of DDLs that Progress lists: they are executed in order,
// so those far behind do not matter yet.
const mostDDLs = 256

// Progress looks at every span. It may be called from any goroutine, also after Run.
func (p *Pipeline) Progress() Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	pr := Progress{
		DDLResolvedTs: p.mu.ddlResolved, ResolvedTs: p.mu.ddlResolved,
		Spans: len(p.mu.spans) + len(p.mu.ending), TablesVersion: p.mu.tablesVersion,
		Stopped: map[int64]event.Ts{},
	}
	pr.CheckpointTs, _ = p.reachedLocked()
	for _, s := range p.mu.spans {
		pr.ResolvedTs = min(pr.ResolvedTs, s.sorter.ResolvedTs())
	}
	for id, s := range p.mu.leaving {
		if s.running {
			pr.Stopping = append(pr.Stopping, id)
		} else {
			pr.Stopped[id] = s.written
		}
	}
	for i, d := range p.mu.ddls[:min(len(p.mu.ddls), mostDDLs)] {
		pr.DDLs = append(pr.DDLs, DDLProgress{
			CommitTs: d.event.CommitTs, Reached: d.reachedLocked(), Behind: p.interferesLocked(i),
			AwaitsSave: d.awaitsSave, Touched: d.touchedIDs, Removed: d.removedIDs,
		})
	}
	return pr
}

// SpanIDs returns the physical tables that the pipeline writes, in no order.
func (p *Pipeline) SpanIDs() []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]int64, 0, len(p.mu.spans)+len(p.mu.ending))
	for id := range p.mu.spans {
		ids = append(ids, id)
	}
	for s := range p.mu.ending {
		ids = append(ids, s.physicalID)
	}
	return ids
}

// Checkpoints returns the checkpoint of every span that the pipeline has, stopped and
// not released ones included.
func (p *Pipeline) Checkpoints() map[int64]event.Ts {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[int64]event.Ts, len(p.mu.spans))
	for _, s := range p.allSpansLocked() {
		s.refreshLocked()
		out[s.physicalID] = s.written
	}
	return out
}

// Tables returns the physical tables that the changefeed wants, as far as DDLs
// are known, and the ts above which their changes are: the start ts, or the
// commit ts of the DDL that created them. Those whose end waits for a DDL count.
func (p *Pipeline) Tables() map[int64]event.Ts {
	p.mu.Lock()
	defer p.mu.Unlock()
	tables := make(map[int64]event.Ts, len(p.mu.tables)+len(p.mu.dropped))
	for id, t := range p.mu.tables {
		tables[id] = t.from
	}
	for id, t := range p.mu.dropped {
		tables[id] = t.from
	}
	return tables
}
