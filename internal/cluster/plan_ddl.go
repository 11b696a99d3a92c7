package cluster

import (
	"maps"
	"math"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// finishDDLs notes what has been executed, takes away the spans that end with it,
// and forgets what the checkpoint has passed.
func (p *planner) finishDDLs() {
	changed := false
	for _, ts := range p.executed {
		i := slices.Index(p.ddls.Executing, ts)
		if i < 0 {
			continue
		}
		p.ddls.Executing = slices.Delete(p.ddls.Executing, i, i+1)
		p.ddls.Done = append(p.ddls.Done, ts)
		changed = true
		for _, d := range p.pending {
			if d.commitTs == ts {
				p.endSpans(d)
			}
		}
	}
	slices.Sort(p.ddls.Done)
	// Few at a time would be as many writes.
	if n := len(p.ddls.Done); changed || n > 0 && p.ddls.Done[n-1] <= p.checkpoint {
		p.ddls.Done = slices.DeleteFunc(p.ddls.Done, func(ts event.Ts) bool { return ts <= p.checkpoint })
		changed = true
	}
	if changed {
		p.out.ddls = &p.ddls
	}
}

func (p *planner) endSpans(d pendingDDL) {
	for _, id := range d.removed {
		if m, ok := p.holder(id); ok {
			p.remove(m, id)
		}
	}
}

// isExecuted reports whether a DDL has been executed: the checkpoint never passes
// one that has not.
func (p *planner) isExecuted(commitTs event.Ts) bool {
	return commitTs <= p.checkpoint || slices.Contains(p.ddls.Done, commitTs)
}

// forgetDropped leaves out of tables what executed DDLs have dropped, where the
// owner's own pipeline does not know yet that they are executed. A table that a
// later DDL brought back under the same id is found when it does.
func (p *planner) forgetDropped() {
	cloned := false
	for _, d := range p.pending {
		if len(d.removed) == 0 || !p.isExecuted(d.commitTs) {
			continue
		}
		if !cloned {
			p.tables, cloned, p.complete = maps.Clone(p.tables), true, false
		}
		for _, id := range d.removed {
			delete(p.tables, id)
		}
	}
}

// beginDDLs has DDLs executed whose rows below are all written.
func (p *planner) beginDDLs() {
	for _, d := range p.pending {
		if d.behind || p.awaitsSave(d) || p.isExecuted(d.commitTs) || slices.Contains(p.ddls.Executing, d.commitTs) || !p.canBegin(d) {
			continue
		}
		for _, id := range d.touched {
			// Whoever holds it has reached the DDL, so its assignment stays the same one.
			if m, ok := p.holder(id); ok && p.assignments[m].Spans[id] < d.commitTs {
				p.copied(m).Spans[id] = d.commitTs
			}
		}
		p.ddls.Executing = append(p.ddls.Executing, d.commitTs)
		p.out.ddls = &p.ddls
	}
}

// awaitsSave reports whether a DDL cannot be begun yet because of the stored
// checkpoint: the changefeed may be stopped or lost at any time, starts at that
// checkpoint again, and would bring rows from before the DDL after it.
func (p *planner) awaitsSave(d pendingDDL) bool {
	return d.awaitsSave && p.checkpoint < d.commitTs-1
}

// canBegin reports whether every span that a DDL touches is known to be at it. What
// changes in this very plan has to be acknowledged first.
func (p *planner) canBegin(d pendingDDL) bool {
	for _, id := range d.touched {
		m, ok := p.holder(id)
		switch {
		case !ok:
			// Not assigned yet: the DDL creates it, or it waits to be assigned.
			if from, known := p.tables[id]; known && from < d.commitTs {
				return false
			}
		case p.assignments[m].Spans[id] >= d.commitTs:
		case !p.current(m) || p.assignments[m].Rev != p.before[m].Rev:
			return false
		case slices.Contains(p.assignments[m].Stop, id) || !slices.Contains(p.positions[m].Reached, d.commitTs):
			return false
		}
	}
	return true
}

// reached is the checkpoint: everything at or below it is acknowledged.
func (p *planner) reached() event.Ts {
	ts := p.ddlResolved
	if p.target != 0 {
		ts = min(ts, p.target)
	}
	for _, d := range p.ddls.Executing {
		ts = min(ts, d-1)
	}
	for _, d := range p.pending {
		if !p.isExecuted(d.commitTs) {
			ts = min(ts, d.commitTs-1)
			break
		}
	}
	// The state before this plan: it is what positions speak of.
	for m, a := range p.before {
		if len(a.Spans) == 0 {
			continue
		}
		if !p.current(m) {
			return p.checkpoint
		}
		ts = min(ts, p.positions[m].CheckpointTs)
		for _, stopped := range p.positions[m].Stopped {
			ts = min(ts, stopped)
		}
	}
	if !p.out.complete {
		ts = min(ts, p.unassigned())
	}
	return max(ts, p.checkpoint)
}

// unassigned is where the first table begins that nobody had before this plan.
func (p *planner) unassigned() event.Ts {
	assigned := map[int64]bool{}
	for _, a := range p.before {
		for id := range a.Spans {
			assigned[id] = true
		}
	}
	ts := event.Ts(math.MaxUint64)
	for id, from := range p.tables {
		if !assigned[id] {
			ts = min(ts, from)
		}
	}
	return ts
}
