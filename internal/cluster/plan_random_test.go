package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// sim is a cluster of captures that do at random moments what they do, with an
// owner that follows plan. What they tell each other stands in for etcd.
type sim struct {
	t   *testing.T
	rng *rand.Rand
	now event.Ts
	log []simDDL

	// etcd
	state state // members, positions, assignments, ddls, checkpoint

	captures map[Member]*simCapture
	names    int
	owner    Member
	// executing are DDLs that the present owner executes.
	executing map[event.Ts]bool

	// The truth: up to where each table's changes are acknowledged, without a gap, and
	// how often each DDL was executed.
	acked    map[int64]event.Ts
	begun    map[event.Ts]bool
	executed map[event.Ts]int
	tables   int64
	// matched is what the last plan found complete.
	matched string
}

type simDDL struct {
	ts             event.Ts
	create, remove bool
	waits          bool // for the checkpoint to be stored
	table          int64
}

// simCapture is a member with its pipeline.
type simCapture struct {
	start       event.Ts
	ddlResolved event.Ts
	finished    map[event.Ts]bool
	confirmed   event.Ts
	rev         int64
	assigned    assignment
	spans       SpanSet // written up to
	stopped     SpanSet
}

func (s *sim) failf(format string, args ...any) { s.t.Helper(); s.t.Fatalf(format, args...) }

// pending are the DDLs that a capture knows and that are not finished.
func (s *sim) pending(c *simCapture) []simDDL {
	var out []simDDL
	for _, d := range s.log {
		if d.ts > c.start && d.ts <= c.ddlResolved && d.ts > c.confirmed && !c.finished[d.ts] {
			out = append(out, d)
		}
	}
	return out
}

// limit is up to where a capture may write a span.
func (s *sim) limit(c *simCapture, table int64) event.Ts {
	for _, d := range s.pending(c) {
		if d.table == table && d.ts >= c.spans[table] {
			return min(d.ts, c.ddlResolved)
		}
	}
	return c.ddlResolved
}

// write acknowledges a span's changes up to ts.
func (s *sim) write(m Member, table int64, ts event.Ts) {
	c := s.captures[m]
	from := c.spans[table]
	if ts <= from {
		return
	}
	for other, o := range s.captures {
		if _, ok := o.spans[table]; ok && other != m {
			s.failf("table %d has two writers, %s and %s", table, m, other)
		}
	}
	if from > s.acked[table] {
		s.failf("table %d is written from %d by %s: changes from %d are lost", table, from, m, s.acked[table])
	}
	for _, d := range s.log {
		switch {
		case d.table != table || d.create:
		case from < d.ts && s.begun[d.ts]:
			s.failf("table %d is written from %d, below the DDL of %d, which has been begun", table, from, d.ts)
		case ts > d.ts && s.executed[d.ts] == 0:
			s.failf("table %d is written up to %d, above the DDL of %d, which has not been executed", table, ts, d.ts)
		}
	}
	s.acked[table] = max(s.acked[table], ts)
	c.spans[table] = ts
}

// follow takes over what the owner wrote, as a processor does.
func (s *sim) follow(m Member) {
	c := s.captures[m]
	for _, ts := range s.state.ddls.Done {
		c.finished[ts] = true
	}
	c.confirmed = max(c.confirmed, s.state.checkpoint)
	for _, d := range s.log {
		if d.remove && d.ts <= c.ddlResolved && (c.finished[d.ts] || d.ts <= c.confirmed) {
			delete(c.spans, d.table)
		}
	}
	a := s.state.assignments[m]
	if a.Rev == c.rev {
		return
	}
	c.rev, c.assigned = a.Rev, assignment{Rev: a.Rev, Spans: maps.Clone(a.Spans), Stop: slices.Clone(a.Stop)}
	for id, written := range c.spans {
		if _, ok := a.Spans[id]; !ok {
			delete(c.spans, id)
		} else if slices.Contains(a.Stop, id) {
			c.stopped[id] = written
			delete(c.spans, id)
		}
	}
	for id, start := range a.Spans {
		_, has := c.spans[id]
		switch _, stopped := c.stopped[id]; {
		case slices.Contains(a.Stop, id):
			if !stopped {
				c.stopped[id] = start
			}
		case !has:
			c.spans[id] = start
		}
	}
	for id := range c.stopped {
		if !slices.Contains(a.Stop, id) {
			delete(c.stopped, id)
		}
	}
}

func (s *sim) report(m Member) {
	c := s.captures[m]
	pos := position{Rev: c.rev, CheckpointTs: c.ddlResolved, Stopped: maps.Clone(c.stopped), Running: true}
	for _, d := range s.pending(c) {
		pos.CheckpointTs = min(pos.CheckpointTs, d.ts-1)
		if written, ok := c.spans[d.table]; !ok || written >= d.ts {
			pos.Reached = append(pos.Reached, d.ts)
		}
	}
	for _, written := range c.spans {
		pos.CheckpointTs = min(pos.CheckpointTs, written)
	}
	s.state.positions[m] = pos
}

// lead is one look of the owner.
func (s *sim) lead() {
	c := s.captures[s.owner]
	st := s.state
	st.ddlResolved = c.ddlResolved
	st.tables = map[int64]event.Ts{}
	for _, d := range s.log {
		switch {
		case d.ts > c.ddlResolved:
		case d.create:
			st.tables[d.table] = max(d.ts, c.start)
		case d.remove && (d.ts <= c.start || d.ts <= c.confirmed || c.finished[d.ts]):
			delete(st.tables, d.table)
		}
	}
	local := func(d simDDL) bool { return !d.create && !d.remove }
	pending := s.pending(c)
	for i, d := range pending {
		behind := i > 0 && !local(d) || slices.ContainsFunc(pending[:i], func(e simDDL) bool { return !local(e) || e.table == d.table })
		p := pendingDDL{commitTs: d.ts, behind: behind, awaitsSave: d.waits, touched: []int64{d.table}}
		if d.remove {
			p.removed = p.touched
		}
		st.pending = append(st.pending, p)
	}
	for ts := range s.executing {
		if s.rng.IntN(3) == 0 {
			st.executed = append(st.executed, ts)
			s.executed[ts]++
			delete(s.executing, ts)
		}
	}
	st.rebalance = s.rng.IntN(10) == 0
	key := fmt.Sprint(st.tables, s.owner)
	for _, m := range slices.Sorted(maps.Keys(st.assignments)) {
		key += fmt.Sprint(m, st.assignments[m].Rev)
	}
	st.complete = s.matched == key
	d := plan(st)
	if d.complete {
		s.matched = key
	}
	s.commit(d, pending)
}

func (s *sim) commit(d decision, pending []simDDL) {
	for m, a := range d.put {
		s.state.assignments[m] = a
	}
	for _, m := range d.gone {
		delete(s.state.assignments, m)
		delete(s.state.positions, m)
	}
	if d.ddls != nil {
		s.state.ddls = *d.ddls
	}
	for _, ts := range s.state.ddls.Executing {
		s.begun[ts] = true
		s.bear(ts)
		if slices.ContainsFunc(pending, func(d simDDL) bool { return d.ts == ts }) {
			s.executing[ts] = true
		}
	}
	if d.checkpoint < s.state.checkpoint {
		s.failf("the checkpoint goes back from %d to %d", s.state.checkpoint, d.checkpoint)
	}
	for id, acked := range s.acked {
		if acked < d.checkpoint {
			s.failf("checkpoint %d passes table %d, acknowledged up to %d", d.checkpoint, id, acked)
		}
	}
	for _, e := range s.log {
		if e.ts <= d.checkpoint && s.executed[e.ts] == 0 {
			s.failf("checkpoint %d passes the DDL of %d", d.checkpoint, e.ts)
		}
	}
	if d.hurry || s.rng.IntN(4) == 0 {
		s.state.checkpoint = d.checkpoint
	}
}

// bear looks whether a DDL that has been begun bears a restart of the changefeed.
func (s *sim) bear(commitTs event.Ts) {
	for _, d := range s.log {
		if d.ts == commitTs && d.waits && s.state.checkpoint < d.ts-1 {
			s.failf("the DDL of %d has been begun, the stored checkpoint is %d", d.ts, s.state.checkpoint)
		}
	}
}

// restart stops the changefeed, and starts it again at the stored checkpoint.
func (s *sim) restart() {
	s.state.positions, s.state.assignments, s.state.ddls = map[Member]position{}, map[Member]assignment{}, ddls{}
	s.matched = ""
	for _, d := range s.log {
		if d.ts <= s.state.checkpoint {
			continue
		}
		if d.remove && s.executed[d.ts] > 0 {
			s.acked[d.table] = s.state.checkpoint // whoever begins again has it
		}
		s.executed[d.ts] = 0
		delete(s.begun, d.ts)
	}
	for _, m := range slices.Sorted(maps.Keys(s.captures)) {
		s.captures[m] = s.newCapture()
	}
	s.elect()
}

func (s *sim) join() {
	s.names++
	m := Member(fmt.Sprintf("m%02d", s.names))
	s.state.members[m] = false
	s.captures[m] = s.newCapture()
	if s.owner == "" {
		s.elect()
	}
}

func (s *sim) newCapture() *simCapture {
	return &simCapture{
		start: s.state.checkpoint, ddlResolved: s.state.checkpoint, confirmed: s.state.checkpoint,
		finished: map[event.Ts]bool{}, spans: SpanSet{}, stopped: SpanSet{},
	}
}

func (s *sim) elect() {
	live := slices.Sorted(maps.Keys(s.captures))
	s.owner = live[s.rng.IntN(len(live))]
	s.executing = map[event.Ts]bool{}
}

func (s *sim) crash(m Member) {
	delete(s.captures, m)
	delete(s.state.members, m)
	if s.owner == m {
		s.elect()
	}
}

// ddl commits a DDL of a table that exists, or a new one.
func (s *sim) ddl() {
	s.now++
	existing := slices.Sorted(maps.Keys(s.acked))
	d := simDDL{ts: s.now, waits: s.rng.IntN(2) == 0}
	switch kind := s.rng.IntN(4); {
	case kind == 0 || len(existing) == 0:
		s.tables++
		d.create, d.waits, d.table = true, false, s.tables
		s.acked[d.table] = d.ts
	case kind == 1 && len(existing) > 3 && !s.dropping(existing[0]):
		d.remove, d.waits, d.table = true, true, existing[0]
	default:
		d.table = existing[s.rng.IntN(len(existing))]
		if s.dropping(d.table) {
			return
		}
	}
	s.log = append(s.log, d)
}

func (s *sim) dropping(table int64) bool {
	return slices.ContainsFunc(s.log, func(d simDDL) bool { return d.remove && d.table == table })
}

// advance lets a capture come further, in one way or another.
func (s *sim) advance(m Member) {
	c := s.captures[m]
	switch s.rng.IntN(4) {
	case 0:
		c.ddlResolved = min(s.now, c.ddlResolved+event.Ts(s.rng.IntN(20)))
	case 1:
		s.follow(m)
	case 2:
		for id := range maps.Clone(c.spans) {
			if limit := s.limit(c, id); limit > c.spans[id] {
				s.write(m, id, c.spans[id]+1+event.Ts(s.rng.Uint64N(uint64(limit-c.spans[id]))))
			}
		}
	default:
		s.report(m)
	}
	// A table whose end has been executed counts no more.
	for _, d := range s.log {
		if d.remove && s.executed[d.ts] > 0 {
			delete(s.acked, d.table)
		}
	}
}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: 100, captures: map[Member]*simCapture{},
		acked: map[int64]event.Ts{}, begun: map[event.Ts]bool{}, executed: map[event.Ts]int{}, executing: map[event.Ts]bool{},
	}
	s.state = state{
		members: map[Member]bool{}, positions: map[Member]position{}, assignments: map[Member]assignment{}, checkpoint: 100,
	}
	for range 8 {
		s.tables++
		s.acked[s.tables] = 100
		s.log = append(s.log, simDDL{ts: 50, create: true, table: s.tables})
	}
	s.executed[50] = 1
	s.join()
	return s
}

// TestRandomHistories: whatever happens in whatever order, a table has one writer,
// nothing is lost, DDLs and rows keep their order, and in the end all is well.
func TestRandomHistories(t *testing.T) {
	base := rand.Uint64()
	t.Logf("seed %d", base)
	runs := 100
	if testing.Short() {
		runs = 20
	}
	for run := range runs {
		s := newSim(t, base+uint64(run))
		t.Logf("run %d", run)
		for range 600 {
			s.step()
		}
		s.calm()
	}
}

func (s *sim) step() {
	members := slices.Sorted(maps.Keys(s.captures))
	m := members[s.rng.IntN(len(members))]
	switch n := s.rng.IntN(100); {
	case n < 2 && len(members) < 5:
		s.join()
	case n < 4 && len(members) > 1:
		s.crash(m)
	case n < 5:
		s.state.members[m] = !s.state.members[m]
	case n < 6:
		s.state.moves = map[int64]Member{int64(1 + s.rng.IntN(10)): m}
	case n < 7:
		if s.rng.IntN(4) == 0 {
			s.restart()
		}
		s.elect()
	case n < 12:
		s.ddl()
	case n < 20:
		s.now += 5
	case n < 45:
		s.lead()
	default:
		s.advance(m)
	}
}

// calm lets everything come to rest, without faults, and looks at the result.
func (s *sim) calm() {
	s.state.moves = nil
	for m := range s.state.members {
		s.state.members[m] = false
	}
	for range 4000 {
		members := slices.Sorted(maps.Keys(s.captures))
		s.advance(members[s.rng.IntN(len(members))])
		if s.rng.IntN(3) == 0 {
			s.lead()
		}
		if s.state.checkpoint == s.now {
			break
		}
	}
	if s.state.checkpoint != s.now {
		s.failf("the checkpoint stays at %d of %d: %+v", s.state.checkpoint, s.now, s.state)
	}
	held := map[int64]Member{}
	for m, a := range s.state.assignments {
		if _, live := s.captures[m]; !live {
			s.failf("%s has died and still has %v", m, a.Spans)
		}
		for id := range a.Spans {
			if held[id] != "" {
				s.failf("table %d is assigned to %s and %s", id, m, held[id])
			}
			held[id] = m
		}
	}
	for id := range s.acked {
		if held[id] == "" {
			s.failf("table %d is assigned to nobody", id)
		}
	}
}
