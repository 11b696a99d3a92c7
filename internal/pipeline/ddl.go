package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/schema"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
)

// pendingDDL is a schema change that is known and not yet executed: a barrier
// for the spans it touches.
type pendingDDL struct {
	event *event.DDL
	// deliver: the sink gets it; otherwise it only changes which spans exist.
	// awaitsSave: not before a restart would begin at it.
	deliver, awaitsSave bool
	// touched are the spans that wait for it, those it creates among them; removed
	// are those of them that end with it.
	touched, removed []*tableSpan
	// touchedIDs and removedIDs are the same for all physical tables that are
	// wanted, whoever writes them.
	touchedIDs, removedIDs []int64
	// ready: handed to the workers, or to Config.ReadyDDL.
	ready bool
}

// ddlSource receives the rows of one table that holds DDL jobs.
type ddlSource struct {
	pipeline *Pipeline
	sorter   *sorter.Sorter
	sub      Subscription // guarded by pipeline.mu
}

// Receive implements puller.Receiver.
func (d *ddlSource) Receive(kvs []rawkv.Entry) {
	if err := d.sorter.Add(kvs); err != nil {
		d.pipeline.fail(fmt.Errorf("hold DDL jobs: %w", err))
	}
}

// Resolve implements puller.Receiver.
func (d *ddlSource) Resolve(ts event.Ts) {
	d.sorter.Resolve(ts)
	d.pipeline.notify()
}

// Fail implements puller.Receiver.
func (d *ddlSource) Fail(err error) { d.pipeline.fail(fmt.Errorf("follow DDL jobs: %w", err)) }

// applyDDLs brings the schema up to the resolved ts of the DDL spans, sets up
// barriers and spans for what it finds, and raises the spans' limits.
func (p *Pipeline) applyDDLs(ctx context.Context) error {
	resolved := p.ddlSources[0].sorter.ResolvedTs()
	for _, d := range p.ddlSources[1:] {
		resolved = min(resolved, d.sorter.ResolvedTs())
	}
	if resolved <= p.ddlResolvedTs() {
		return nil
	}
	jobs, err := p.takeJobs(ctx, resolved)
	if err != nil {
		return err
	}
	for _, job := range jobs {
		ddl, err := p.cfg.Schema.Apply(job)
		if err != nil {
			return err
		}
		if ddl == nil || p.cfg.TargetTs != 0 && ddl.CommitTs > p.cfg.TargetTs {
			continue
		}
		if err := p.addDDL(ddl); err != nil {
			return err
		}
	}
	p.cfg.Schema.Advance(resolved)
	p.raiseLimits(resolved)
	return nil
}

// takeJobs returns the jobs with a commit ts up to resolved, in commit ts order.
func (p *Pipeline) takeJobs(ctx context.Context, resolved event.Ts) ([]*schema.Job, error) {
	const all = 1 << 30
	var kvs []rawkv.Entry
	for _, d := range p.ddlSources {
		var err error
		if kvs, _, err = d.sorter.Take(kvs, resolved, all, all); err != nil {
			return nil, fmt.Errorf("sort DDL jobs: %w", err)
		}
	}
	slices.SortStableFunc(kvs, func(a, b rawkv.Entry) int { return cmp.Compare(a.CommitTs, b.CommitTs) })
	var jobs []*schema.Job
	for i := range kvs {
		kv := kvs[i].RawKV()
		job, err := p.cfg.ParseJob(&kv)
		if err != nil {
			return nil, fmt.Errorf("read DDL job committed at %d: %w", kvs[i].CommitTs, err)
		}
		if job == nil {
			continue
		}
		if job.Incomplete() {
			if err := p.cfg.CompleteJob(ctx, job); err != nil {
				return nil, err
			}
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// addDDL creates the spans that a DDL brings, notes the ones that it ends, and
// makes it a barrier for all of them.
func (p *Pipeline) addDDL(ddl *event.DDL) error {
	verdict, err := p.cfg.Filter.DDL(ddl)
	if err != nil {
		return err
	}
	deliver := verdict == filter.Deliver
	if verdict == filter.Ignore {
		p.log.Info("DDL is not delivered: an event filter ignores it", "commit_ts", ddl.CommitTs, "query", ddl.Query)
	}
	// Also a DDL that is left out changes which spans there are and what their
	// rows look like.
	before, after := p.spansOf(ddl)
	if err := p.checkTables(after); err != nil {
		return fmt.Errorf("follow DDL %q of commit ts %d: %w", ddl.Query, ddl.CommitTs, err)
	}
	if deliver {
		if err := p.cutDDL(ddl); err != nil {
			return err
		}
	}

	d := &pendingDDL{event: ddl, deliver: deliver, awaitsSave: deliver && awaitsSave(ddl)}
	p.mu.Lock()
	creates := p.changeTablesLocked(d, before, after)
	created := p.touchSpansLocked(d, after)
	barrier := deliver || creates > 0 || len(d.removedIDs) > 0
	if barrier {
		for _, s := range d.touched {
			s.ddls = append(s.ddls, d)
		}
		p.mu.ddls = append(p.mu.ddls, d)
	}
	_, finished := p.mu.finished[ddl.CommitTs]
	finished = finished || ddl.CommitTs <= p.mu.confirmed
	p.mu.Unlock()

	p.subscribe(created, ddl.CommitTs)
	if barrier && finished {
		p.finishDDL(d)
	}
	return nil
}

// changeTablesLocked notes which tables a DDL touches, creates and removes. It
// returns the number of those that it creates.
func (p *Pipeline) changeTablesLocked(d *pendingDDL, before, after map[int64]*event.TableInfo) (creates int) {
	for id := range before {
		t, ok := p.mu.tables[id]
		if !ok {
			continue
		}
		d.touchedIDs = append(d.touchedIDs, id)
		if a := after[id]; a == nil || a.Schema != t.info.Schema || a.Table != t.info.Table {
			p.mu.former = append(p.mu.former, formerTable{t.info, d.event.CommitTs})
		}
		if after[id] == nil {
			d.removedIDs = append(d.removedIDs, id)
			delete(p.mu.tables, id)
			p.mu.dropped[id] = t
		}
	}
	for id, table := range after {
		t, ok := p.mu.tables[id]
		if !ok {
			creates++
			t.from = d.event.CommitTs
		}
		if !ok || before[id] == nil {
			d.touchedIDs = append(d.touchedIDs, id)
		}
		p.mu.tables[id] = wantedTable{info: table, from: t.from}
	}
	if creates > 0 || len(d.removedIDs) > 0 {
		p.mu.tablesVersion++
	}
	if len(d.touchedIDs) > 0 {
		p.mu.namesVersion++
	}
	return creates
}

// touchSpansLocked finds the pipeline's own spans that a DDL touches. Unless they
// are assigned by somebody else, it makes and returns those that the DDL creates.
func (p *Pipeline) touchSpansLocked(d *pendingDDL, after map[int64]*event.TableInfo) (created []*tableSpan) {
	for _, id := range d.touchedIDs {
		s := p.mu.spans[id]
		if s == nil && after[id] != nil && !p.cfg.Assigned {
			s = p.newSpanLocked(id, after[id], d.event.CommitTs)
			created = append(created, s)
		}
		// A span that was added beyond the DDL comes from a pipeline that knew it to
		// be executed.
		if s != nil && s.written <= d.event.CommitTs {
			d.touched = append(d.touched, s)
			if after[id] == nil {
				d.removed = append(d.removed, s)
				delete(p.mu.spans, id)
				p.mu.ending[s] = struct{}{}
			}
		}
	}
	for id, table := range after {
		if s := p.mu.spans[id]; s != nil {
			s.table = table
		}
	}
	return created
}

// checkTables makes sure that the filter's expressions fit tables, before a row
// of them comes.
func (p *Pipeline) checkTables(tables map[int64]*event.TableInfo) error {
	for _, t := range tables {
		if err := p.cfg.Filter.Check(t); err != nil {
			return err
		}
	}
	return nil
}

// cutDDL leaves in a DDL only the tables whose change is to be delivered.
func (p *Pipeline) cutDDL(ddl *event.DDL) error {
	var kept []event.TableChange
	for _, c := range ddl.Changes {
		verdict, err := p.cfg.Filter.Change(ddl, c)
		if err != nil {
			return err
		}
		if verdict == filter.Deliver {
			kept = append(kept, c)
		}
	}
	if len(kept) == len(ddl.Changes) {
		return nil
	}
	ddl.Changes = kept
	// A DDL on a database names no table, and need not have any.
	if ddl.PreTable != nil || ddl.Table != nil {
		ddl.PreTable, ddl.Table = nil, nil
		if len(kept) > 0 {
			ddl.PreTable, ddl.Table = kept[0].Before, kept[0].After
		}
	}
	return nil
}

// spansOf returns the physical tables that a DDL's tables consist of before and
// after it. After it, only those that are to be replicated count.
func (p *Pipeline) spansOf(ddl *event.DDL) (before, after map[int64]*event.TableInfo) {
	before, after = map[int64]*event.TableInfo{}, map[int64]*event.TableInfo{}
	for _, c := range ddl.Changes {
		if c.Before != nil {
			for _, id := range c.Before.PhysicalIDs() {
				before[id] = c.Before
			}
		}
		if c.After != nil && p.wanted(c.After) {
			for _, id := range c.After.PhysicalIDs() {
				after[id] = c.After
			}
		}
	}
	return before, after
}

// wanted reports whether a table's rows are to be replicated, and says so once
// if they are not for want of a key.
func (p *Pipeline) wanted(t *event.TableInfo) bool {
	if t.View || t.Sequence || !p.cfg.Filter.Table(t.Schema, t.Table) {
		return false
	}
	if !t.HasHandleKey() && !p.cfg.ForceReplicate {
		p.log.Warn("table is not replicated: it has neither a primary key nor a unique key over NOT NULL columns; add one or set ForceReplicate",
			"table", t.Name(), "table_id", t.ID)
		return false
	}
	return true
}

// readyDDLsLocked hands the DDLs whose turn has come to the workers, or returns
// them for Config.ReadyDDL. A DDL waits for the rows of its tables up to its
// commit ts, for earlier DDLs that it could interfere with, and if rows from before
// it must not come again, for the checkpoint below it to be stored.
func (p *Pipeline) readyDDLsLocked() []*event.DDL {
	var outside []*event.DDL
	for i, d := range p.mu.ddls {
		if d.ready || !d.reachedLocked() || p.interferesLocked(i) {
			continue
		}
		if p.cfg.WholeTransactions && (i > 0 || p.behindLocked(d.event.CommitTs)) {
			break
		}
		if d.awaitsSave && !p.cfg.Assigned && p.mu.saved < d.event.CommitTs-1 {
			if p.mu.checkpoint >= d.event.CommitTs-1 {
				p.hurrySave()
			}
			continue
		}
		d.ready = true
		if p.cfg.ReadyDDL != nil {
			outside = append(outside, d.event)
			continue
		}
		p.mu.tasks = append(p.mu.tasks, task{ddl: d})
		p.mu.cond.Signal()
	}
	return outside
}

// reachedLocked reports whether all rows up to the DDL have been written.
func (d *pendingDDL) reachedLocked() bool {
	for _, s := range d.touched {
		if s.written < d.event.CommitTs || s.running {
			return false
		}
	}
	return true
}

// behindLocked reports whether any span has rows up to ts that are not written.
func (p *Pipeline) behindLocked(ts event.Ts) bool {
	return slices.ContainsFunc(p.allSpansLocked(), func(s *tableSpan) bool { return s.written < ts || s.running })
}

// interferesLocked reports whether DDL i must wait for an earlier one: one of
// the same table, or any at all if either changes more than one table's inside.
func (p *Pipeline) interferesLocked(i int) bool {
	if i == 0 {
		return false
	}
	d := p.mu.ddls[i]
	if !tableLocal(d.event) {
		return true
	}
	for _, earlier := range p.mu.ddls[:i] {
		if !tableLocal(earlier.event) || earlier.event.Table.ID == d.event.Table.ID {
			return true
		}
	}
	return false
}

// tableLocal reports whether a DDL changes the inside of one table: it keeps
// its id and its name.
func tableLocal(ddl *event.DDL) bool {
	b, a := ddl.PreTable, ddl.Table
	return len(ddl.Changes) == 1 && b != nil && a != nil &&
		b.ID == a.ID && b.Schema == a.Schema && b.Table == a.Table
}

// finishDDL lifts the barrier of an executed DDL.
func (p *Pipeline) finishDDL(d *pendingDDL) {
	p.mu.Lock()
	p.mu.ddls = slices.DeleteFunc(p.mu.ddls, func(e *pendingDDL) bool { return e == d })
	for _, s := range d.touched {
		s.ddls = slices.DeleteFunc(s.ddls, func(e *pendingDDL) bool { return e == d })
	}
	for _, id := range d.removedIDs {
		// A later DDL may have brought the table back, and ended it again.
		if !slices.ContainsFunc(p.mu.ddls, func(e *pendingDDL) bool { return slices.Contains(e.removedIDs, id) }) {
			delete(p.mu.dropped, id)
		}
	}
	if len(d.removedIDs) > 0 {
		p.mu.tablesVersion++
	}
	for _, s := range d.removed {
		s.closed = true
		delete(p.mu.ending, s)
		delete(p.mu.blocked, s)
	}
	for _, s := range d.touched {
		p.queueLocked(s)
	}
	if p.cfg.WholeTransactions {
		p.wakeTransactionsLocked() // every table has waited
	}
	p.mu.Unlock()
	for _, s := range d.removed {
		p.endSpan(s)
	}
	p.notify()
}
