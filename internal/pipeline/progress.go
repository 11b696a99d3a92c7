package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// progressInterval is the least time between two computations of the
// checkpoint, which look at every span.
const progressInterval = 10 * time.Millisecond

// progressShare: computing the checkpoint takes one part of the time in so many,
// so that it is computed seldom when there are very many spans.
const progressShare = 20

// coordinate applies DDL jobs and computes the checkpoint whenever something
// has moved. It ends with errFinished at the target ts.
func (p *Pipeline) coordinate(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-p.failed:
			return err
		case <-p.dirty:
		}
		if err := p.applyDDLs(ctx); err != nil {
			return err
		}
		began := time.Now()
		if p.advance() {
			return errFinished
		}
		wait := max(progressInterval, progressShare*time.Since(began))
		// Moves that happen meanwhile are seen by one computation together.
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// advance computes the checkpoint, hands out what its rise allows, and reports
// whether the target has been reached.
func (p *Pipeline) advance() (finished bool) {
	p.mu.Lock()
	checkpoint, pulled := p.reachedLocked()
	p.reservePulledLocked(pulled)
	// Spans that are added may be behind the others.
	if checkpoint > p.mu.checkpoint || p.cfg.Assigned {
		p.mu.checkpoint = checkpoint
		select {
		case p.saves <- struct{}{}:
		default:
		}
	}
	ready := p.readyDDLsLocked()
	finished = p.cfg.TargetTs != 0 && p.mu.checkpoint >= p.cfg.TargetTs && !p.cfg.Assigned
	p.mu.Unlock()
	p.announce(ready)
	if p.cfg.Changed != nil {
		p.cfg.Changed()
	}
	return finished
}

// announce tells whoever executes DDLs which ones are ready.
func (p *Pipeline) announce(ready []*event.DDL) {
	for _, ddl := range ready {
		p.cfg.ReadyDDL(ddl)
	}
}

// reachedLocked looks at every span. It returns the ts at or below which
// everything is acknowledged, and the memory that subscriptions hold.
func (p *Pipeline) reachedLocked() (checkpoint event.Ts, pulled int64) {
	checkpoint = p.mu.ddlResolved
	if t := p.cfg.TargetTs; t != 0 {
		checkpoint = min(checkpoint, t)
	}
	look := func(s *tableSpan) {
		s.refreshLocked()
		checkpoint = min(checkpoint, s.written)
		if s.sub != nil && !s.ended {
			pulled += s.sub.PendingBytes()
		}
	}
	for _, s := range p.mu.spans {
		look(s)
	}
	for s := range p.mu.ending {
		look(s)
	}
	for _, s := range p.mu.leaving {
		look(s)
	}
	if len(p.mu.ddls) > 0 {
		checkpoint = min(checkpoint, p.mu.ddls[0].event.CommitTs-1)
	}
	return checkpoint, pulled
}

// save makes the checkpoint durable and lets the sink know it, as it rises.
func (p *Pipeline) save(ctx context.Context) error {
	saved := p.cfg.StartTs
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.saves:
		}
		ts := p.CheckpointTs()
		p.reportCheckpoint(ts)
		if ts > saved {
			if err := p.saveWithRetry(ctx, ts); err != nil {
				return err
			}
			saved = ts
			p.noteSaved(ts)
			p.cfg.Schema.Forget(ts)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.urgent:
		case <-time.After(p.cfg.CheckpointInterval):
		}
	}
}

// hurrySave lets the next save be made at once: whoever calls it has seen a
// checkpoint that is not saved, and so has let the saver know of it.
func (p *Pipeline) hurrySave() {
	select {
	case p.urgent <- struct{}{}:
	default:
	}
}

// noteSaved lets the DDLs go on that have waited for a checkpoint to be stored.
func (p *Pipeline) noteSaved(ts event.Ts) {
	p.mu.Lock()
	p.mu.saved = ts
	ready := p.readyDDLsLocked()
	p.mu.Unlock()
	p.announce(ready)
}

func (p *Pipeline) saveWithRetry(ctx context.Context, ts event.Ts) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, p.cfg.SaveCheckpoint(ctx, ts)
	},
		backoff.WithMaxElapsedTime(p.cfg.RetryTimeout),
		backoff.WithNotify(func(err error, wait time.Duration) {
			p.log.Warn("checkpoint not saved, will retry", "checkpoint_ts", ts, "wait", wait, "error", err)
		}),
	)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("save checkpoint ts %d: %w", ts, err)
}

// saveLast saves what the workers have reached when they have ended, and at the
// target ts lets the sink know it.
func (p *Pipeline) saveLast(ctx context.Context) error {
	p.advance()
	ts := p.CheckpointTs()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DrainTimeout)
	defer cancel()
	p.mu.Lock()
	unreported := p.mu.reported < ts
	p.mu.Unlock()
	if w, ok := p.cfg.Sink.(sink.CheckpointWriter); ok && unreported && ts == p.cfg.TargetTs {
		if tables, _ := p.untoldTables(); tables != nil {
			if err := p.cfg.Sink.(sink.TablesWriter).WriteTables(ctx, tables); err != nil {
				return fmt.Errorf("tell which tables are followed: %w", err)
			}
		}
		if err := w.WriteCheckpoint(ctx, ts); err != nil {
			return fmt.Errorf("write checkpoint ts %d: %w", ts, p.sinkError("WriteCheckpoint", err))
		}
	}
	if err := p.cfg.SaveCheckpoint(ctx, ts); err != nil {
		return fmt.Errorf("save checkpoint ts %d: %w", ts, err)
	}
	return nil
}

// reportCheckpoint queues a checkpoint for the sink if it wants it and none is
// on its way.
func (p *Pipeline) reportCheckpoint(ts event.Ts) {
	if _, ok := p.cfg.Sink.(sink.CheckpointWriter); !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.reporting || ts <= p.mu.reported {
		return
	}
	p.mu.reporting = true
	p.mu.tasks = append(p.mu.tasks, task{checkpoint: ts})
	p.mu.cond.Signal()
}

// reported notes that the sink knows a checkpoint.
func (p *Pipeline) reported(ts event.Ts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.reporting, p.mu.reported = false, ts
	p.passedLocked(ts)
}

// passedLocked forgets the tables that are gone, when the sink knows a checkpoint.
func (p *Pipeline) passedLocked(ts event.Ts) {
	n := len(p.mu.former)
	p.mu.former = slices.DeleteFunc(p.mu.former, func(f formerTable) bool { return f.until <= ts })
	if len(p.mu.former) < n {
		p.mu.namesVersion++
	}
}

// untoldTables returns what the sink must be told before the next checkpoint, nil for
// nothing, and the version of that for toldTables.
func (p *Pipeline) untoldTables() ([]*event.TableInfo, uint64) {
	if _, ok := p.cfg.Sink.(sink.TablesWriter); !ok {
		return nil, 0
	}
	p.mu.Lock()
	version := p.mu.namesVersion
	if p.mu.namesTold == version {
		p.mu.Unlock()
		return nil, 0
	}
	seen := make(map[*event.TableInfo]struct{}, len(p.mu.tables))
	for _, t := range p.mu.tables { // of a partitioned table, each partition is one
		seen[t.info] = struct{}{}
	}
	for _, f := range p.mu.former {
		seen[f.info] = struct{}{}
	}
	p.mu.Unlock()
	tables := make([]*event.TableInfo, 0, len(seen)) // not nil
	for t := range seen {
		tables = append(tables, t)
	}
	slices.SortFunc(tables, func(a, b *event.TableInfo) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Table, b.Table), cmp.Compare(a.ID, b.ID), cmp.Compare(a.UpdateTs, b.UpdateTs))
	})
	return tables, version
}

// toldTables notes that the sink knows what untoldTables returned.
func (p *Pipeline) toldTables(version uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.namesTold = version
}

// CheckpointTs returns the ts at or below which everything is acknowledged.
func (p *Pipeline) CheckpointTs() event.Ts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.checkpoint
}
