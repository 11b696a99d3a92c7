package cluster

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// state is all that the owner knows of a running changefeed.
type state struct {
	// members are the live ones; the value tells that it is being drained.
	members     map[Member]bool
	positions   map[Member]position
	assignments map[Member]assignment
	ddls        ddls
	// checkpoint is the stored one.
	checkpoint event.Ts
	target     event.Ts // 0 for none

	// What the owner's own pipeline knows. Every table up to ddlResolved is in tables.
	tables      map[int64]event.Ts
	ddlResolved event.Ts
	pending     []pendingDDL
	// complete: an earlier decision found that tables and assignments, which have not
	// changed since, match. It saves comparing them.
	complete bool
	// executed are DDLs whose execution has succeeded just now.
	executed []event.Ts

	// requests of users.
	moves     map[int64]Member
	rebalance bool
}

// pendingDDL is a DDL that has not been finished, in commit ts order.
type pendingDDL struct {
	commitTs         event.Ts
	behind           bool // an earlier one comes first
	awaitsSave       bool // the stored checkpoint must have come up to it first
	touched, removed []int64
}

// decision is what changes.
type decision struct {
	put map[Member]assignment
	// gone are members whose assignment and position are deleted: they have died.
	gone []Member
	// ddls is nil for no change.
	ddls       *ddls
	checkpoint event.Ts
	// hurry: a DDL waits for the checkpoint to be stored.
	hurry bool
	// complete: every table of the state is assigned, and nothing else is.
	complete bool
	// moved are the requests for moves that are done with, and rebalanced that there
	// is nothing left to balance.
	moved      []int64
	rebalanced bool
}

// mostMoves is the number of spans that are in motion at a time: each has to be
// read again from its checkpoint by who takes it over.
const mostMoves = 256

// planner works a decision out.
type planner struct {
	state   // its assignments are copies, which change
	before  map[Member]assignment
	own     map[Member]bool // whose spans are copies
	out     decision
	changed map[Member]bool
	// orphans are spans that nobody writes, and where they go on.
	orphans SpanSet
}

// plan decides what the owner does next. It does not change s.
func plan(s state) decision {
	p := &planner{state: s, before: s.assignments, changed: map[Member]bool{}, own: map[Member]bool{}, orphans: SpanSet{}}
	p.assignments = map[Member]assignment{}
	for m, a := range s.assignments {
		p.assignments[m] = a
	}
	p.ddls = ddls{Executing: slices.Clone(s.ddls.Executing), Done: slices.Clone(s.ddls.Done)}

	p.finishDDLs()
	p.forgetDropped()
	if takers := p.takers(); len(takers) > 0 {
		p.collectDead()
		p.collectStopped()
		p.collectTables()
		p.place(takers)
		if !p.inMotion() {
			p.balance(takers)
		}
	}
	p.beginDDLs()
	p.out.checkpoint = p.reached()
	p.out.hurry = slices.ContainsFunc(p.pending, func(d pendingDDL) bool {
		return p.awaitsSave(d) && p.out.checkpoint >= d.commitTs-1
	})
	p.out.put = map[Member]assignment{}
	for m := range p.changed {
		p.out.put[m] = p.assignments[m]
	}
	return p.out
}

// knowsTables reports whether tables says which tables there are: those at the
// checkpoint may have been dropped since by DDLs that are executed.
func (p *planner) knowsTables() bool {
	known := p.checkpoint
	for _, ts := range p.ddls.Done {
		known = max(known, ts)
	}
	return p.ddlResolved >= known
}

// takers are the members that spans may be given to: the ones that stay, or if
// there are none, any.
func (p *planner) takers() []Member {
	var stay, any []Member
	for m, draining := range p.members {
		if pos := p.positions[m]; !pos.Running || pos.Ended {
			continue
		}
		any = append(any, m)
		if !draining {
			stay = append(stay, m)
		}
	}
	if len(stay) == 0 {
		stay = any
	}
	slices.Sort(stay)
	return stay
}

// edit returns a member's assignment for changes of which spans it has.
func (p *planner) edit(m Member) *assignment {
	a := p.copied(m)
	a.Rev = p.before[m].Rev + 1
	return &a
}

// copied returns a member's assignment, which will be written, with spans that may
// be changed.
func (p *planner) copied(m Member) assignment {
	a := p.assignments[m]
	if !p.own[m] {
		a.Spans, a.Stop = maps.Clone(a.Spans), slices.Clone(a.Stop)
		if a.Spans == nil {
			a.Spans = SpanSet{}
		}
		p.own[m], p.assignments[m] = true, a
	}
	p.changed[m] = true
	return a
}

func (p *planner) remove(m Member, ids ...int64) {
	a := p.edit(m)
	for _, id := range ids {
		delete(a.Spans, id)
	}
	a.Stop = slices.DeleteFunc(a.Stop, func(id int64) bool { return slices.Contains(ids, id) })
	p.assignments[m] = *a
}

// current reports whether a member's position speaks of the assignment that it has.
func (p *planner) current(m Member) bool {
	a, ok := p.before[m]
	return ok && p.positions[m].Rev == a.Rev
}

// restart is where a span of a member goes on if the member has died: at what it
// reported, at what is known to be acknowledged by everybody, or where it began.
// That a span was stopped at a checkpoint is true whatever the member was assigned
// later; what it reports of all its spans together is about those it had then.
func (p *planner) restart(m Member, id int64) event.Ts {
	ts := max(p.assignments[m].Spans[id], p.checkpoint)
	if stopped, ok := p.positions[m].Stopped[id]; ok {
		return max(ts, stopped)
	}
	if p.current(m) {
		ts = max(ts, p.positions[m].CheckpointTs)
	}
	return ts
}

// collectDead makes orphans of the spans of members that have died.
func (p *planner) collectDead() {
	for _, m := range slices.Sorted(maps.Keys(p.assignments)) {
		if _, live := p.members[m]; live {
			continue
		}
		for id := range p.assignments[m].Spans {
			p.orphans[id] = p.restart(m, id)
		}
		delete(p.assignments, m)
		delete(p.changed, m)
		p.out.gone = append(p.out.gone, m)
	}
	for _, m := range slices.Sorted(maps.Keys(p.positions)) {
		_, live := p.members[m]
		if _, assigned := p.before[m]; !live && !assigned {
			p.out.gone = append(p.out.gone, m)
		}
	}
}

// collectStopped makes orphans of spans that their members have stopped.
func (p *planner) collectStopped() {
	for _, m := range slices.Sorted(maps.Keys(p.assignments)) {
		if !p.current(m) {
			continue
		}
		var stopped []int64
		for _, id := range p.assignments[m].Stop {
			if ts, ok := p.positions[m].Stopped[id]; ok {
				p.orphans[id] = max(ts, p.assignments[m].Spans[id])
				stopped = append(stopped, id)
			}
		}
		if len(stopped) > 0 {
			p.remove(m, stopped...)
		}
	}
}

// collectTables makes orphans of tables that are new, and lets go of those that are
// no more.
func (p *planner) collectTables() {
	if p.complete || !p.knowsTables() {
		p.out.complete = p.complete
		return
	}
	untouched := len(p.changed) == 0 && len(p.out.gone) == 0 && len(p.orphans) == 0
	assigned := map[int64]bool{}
	for m, a := range p.assignments {
		var lost []int64
		for id, start := range a.Spans {
			assigned[id] = true
			if _, ok := p.tables[id]; !ok && start <= p.ddlResolved {
				lost = append(lost, id)
			}
		}
		if len(lost) > 0 {
			p.remove(m, lost...)
		}
	}
	for id, ts := range p.orphans {
		if _, ok := p.tables[id]; !ok && ts <= p.ddlResolved {
			delete(p.orphans, id)
		}
	}
	for id, from := range p.tables {
		if _, orphan := p.orphans[id]; !orphan && !assigned[id] {
			p.orphans[id] = max(from, p.checkpoint)
		}
	}
	p.out.complete = untouched && len(p.changed) == 0 && len(p.orphans) == 0 && len(assigned) == len(p.tables)
}

// place gives orphans to those who have least, or to whom a user wants to have them.
func (p *planner) place(takers []Member) {
	count := map[Member]int{}
	for _, m := range takers {
		count[m] = len(p.assignments[m].Spans)
	}
	edits := map[Member]*assignment{}
	for _, id := range slices.Sorted(maps.Keys(p.orphans)) {
		m, asked := p.moves[id]
		if asked {
			p.out.moved = append(p.out.moved, id)
		}
		if !asked || !slices.Contains(takers, m) {
			m = slices.MinFunc(takers, func(a, b Member) int {
				return cmp.Or(cmp.Compare(count[a], count[b]), cmp.Compare(a, b))
			})
		}
		if edits[m] == nil {
			edits[m] = p.edit(m)
		}
		edits[m].Spans[id] = p.orphans[id]
		count[m]++
	}
	for m, a := range edits {
		p.assignments[m] = *a
	}
	p.orphans = SpanSet{}
}

// inMotion reports whether a span is on its way, or a member has yet to take one.
func (p *planner) inMotion() bool {
	for m, a := range p.assignments {
		if len(a.Stop) > 0 || p.positions[m].Rev != a.Rev {
			return true
		}
	}
	return false
}
