package cluster

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// steady is a changefeed of two members that have acknowledged what they have.
func steady() state {
	return state{
		members: map[Member]bool{"a": false, "b": false},
		positions: map[Member]position{
			"a": {Rev: 1, CheckpointTs: 150, Running: true},
			"b": {Rev: 3, CheckpointTs: 160, Running: true},
		},
		assignments: map[Member]assignment{
			"a": {Rev: 1, Spans: SpanSet{1: 100, 2: 100}},
			"b": {Rev: 3, Spans: SpanSet{3: 100, 4: 120}},
		},
		checkpoint: 140, ddlResolved: 200,
		tables: map[int64]event.Ts{1: 100, 2: 100, 3: 100, 4: 100},
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name string
		// change the steady state
		change func(s *state)
		put    map[Member]assignment
		gone   []Member
		ddls   *ddls
		// checkpoint is 150 if not said otherwise.
		checkpoint event.Ts
		moved      []int64
		hurry      bool
	}{
		{name: "nothing to do", change: func(*state) {}},
		{
			name:       "the first assignments",
			change:     func(s *state) { s.assignments, s.checkpoint = nil, 100 },
			put:        map[Member]assignment{"a": {Rev: 1, Spans: SpanSet{1: 100, 3: 100}}, "b": {Rev: 1, Spans: SpanSet{2: 100, 4: 100}}},
			checkpoint: 100,
		},
		{
			name:       "an unacknowledged assignment holds up the checkpoint",
			change:     func(s *state) { s.positions["a"] = position{Rev: 0, CheckpointTs: 170, Running: true} },
			checkpoint: 140,
		},
		{
			name: "a member has died",
			change: func(s *state) {
				s.positions["b"] = position{Rev: 3, CheckpointTs: 155, Running: true}
				delete(s.members, "b")
			},
			put:  map[Member]assignment{"a": {Rev: 2, Spans: SpanSet{1: 100, 2: 100, 3: 155, 4: 155}}},
			gone: []Member{"b"},
		},
		{
			name: "a member has died before it acknowledged",
			change: func(s *state) {
				s.positions["b"] = position{Rev: 2, CheckpointTs: 190, Running: true}
				s.assignments["b"] = assignment{Rev: 3, Spans: SpanSet{3: 100, 4: 145}}
				delete(s.members, "b")
			},
			put:        map[Member]assignment{"a": {Rev: 2, Spans: SpanSet{1: 100, 2: 100, 3: 140, 4: 145}}},
			gone:       []Member{"b"},
			checkpoint: 140,
		},
		{
			name: "a member has died after it stopped a span",
			change: func(s *state) {
				s.assignments["b"] = assignment{Rev: 3, Spans: SpanSet{3: 100, 4: 120}, Stop: []int64{4}}
				s.positions["b"] = position{Rev: 3, CheckpointTs: 160, Stopped: SpanSet{4: 152}, Ended: true}
				delete(s.members, "b")
			},
			put:  map[Member]assignment{"a": {Rev: 2, Spans: SpanSet{1: 100, 2: 100, 3: 160, 4: 152}}},
			gone: []Member{"b"},
		},
		{
			name: "nobody is left to take over",
			change: func(s *state) {
				s.members = map[Member]bool{"c": false}
			},
		},
		{
			name: "a new table goes to who has less",
			change: func(s *state) {
				s.tables[5] = 180
				s.assignments["b"] = assignment{Rev: 3, Spans: SpanSet{3: 100}}
				delete(s.tables, 4)
			},
			put: map[Member]assignment{"b": {Rev: 4, Spans: SpanSet{3: 100, 5: 180}}},
		},
		{
			name: "the pipeline does not know yet which tables there are",
			change: func(s *state) {
				s.tables[5], s.ddlResolved = 100, 139
			},
			checkpoint: 140,
		},
		{
			name:   "a table is no more",
			change: func(s *state) { delete(s.tables, 2) },
			put:    map[Member]assignment{"a": {Rev: 2, Spans: SpanSet{1: 100}}},
		},
		{
			name: "a table that the pipeline has yet to hear of",
			change: func(s *state) {
				s.assignments["b"] = assignment{Rev: 3, Spans: SpanSet{3: 100, 4: 120, 5: 210}}
			},
		},
		{
			name: "a user moves a table",
			change: func(s *state) {
				s.moves = map[int64]Member{3: "a", 2: "a", 1: "nobody", 99: "a"}
			},
			put:   map[Member]assignment{"b": {Rev: 4, Spans: SpanSet{3: 100, 4: 120}, Stop: []int64{3}}},
			moved: []int64{1, 2, 99},
		},
		{
			name: "a stop that is not done yet",
			change: func(s *state) {
				s.assignments["b"] = assignment{Rev: 3, Spans: SpanSet{3: 100, 4: 120}, Stop: []int64{3}}
				s.moves = map[int64]Member{3: "a", 4: "a"}
			},
		},
		{
			name: "a stopped table is given to who was asked for",
			change: func(s *state) {
				s.assignments["b"] = assignment{Rev: 3, Spans: SpanSet{3: 100, 4: 120}, Stop: []int64{3}}
				s.positions["b"] = position{Rev: 3, CheckpointTs: 160, Stopped: SpanSet{3: 145}, Running: true}
				s.moves = map[int64]Member{3: "a"}
			},
			put: map[Member]assignment{
				"a": {Rev: 2, Spans: SpanSet{1: 100, 2: 100, 3: 145}}, "b": {Rev: 4, Spans: SpanSet{4: 120}, Stop: []int64{}},
			},
			checkpoint: 145,
			moved:      []int64{3},
		},
		{
			name:   "a member is drained",
			change: func(s *state) { s.members["a"] = true },
			put:    map[Member]assignment{"a": {Rev: 2, Spans: SpanSet{1: 100, 2: 100}, Stop: []int64{1, 2}}},
		},
		{
			name:   "all members are drained",
			change: func(s *state) { s.members["a"], s.members["b"] = true, true },
		},
		{
			name: "a member joins",
			change: func(s *state) {
				s.members["c"] = false
				s.positions["c"] = position{CheckpointTs: 150, Running: true}
			},
			put: map[Member]assignment{"b": {Rev: 4, Spans: SpanSet{3: 100, 4: 120}, Stop: []int64{3}}},
		},
		{
			name:   "a member that does not run yet gets nothing",
			change: func(s *state) { s.members["c"] = false },
		},
		{
			name: "a DDL that not everybody has reached",
			change: func(s *state) {
				s.pending = []pendingDDL{{commitTs: 170, touched: []int64{1, 3}}}
				s.reach("a", 170)
			},
		},
		{
			name: "a DDL that those who have its tables have reached",
			change: func(s *state) {
				s.pending = []pendingDDL{{commitTs: 170, touched: []int64{3}}}
				s.reach("b", 170)
			},
			put:  map[Member]assignment{"b": {Rev: 3, Spans: SpanSet{3: 170, 4: 120}}},
			ddls: &ddls{Executing: []event.Ts{170}},
		},
		{
			name: "a DDL behind another",
			change: func(s *state) {
				s.pending = []pendingDDL{{commitTs: 170, touched: []int64{1}}, {commitTs: 171, touched: []int64{3}, behind: true}, {commitTs: 172, touched: []int64{4}}}
				s.reach("b", 171, 172)
			},
			put:  map[Member]assignment{"b": {Rev: 3, Spans: SpanSet{3: 100, 4: 172}}},
			ddls: &ddls{Executing: []event.Ts{172}},
		},
		{
			name: "a DDL that waits until the others come up to it",
			change: func(s *state) {
				s.pending = []pendingDDL{{commitTs: 170, touched: []int64{3}, awaitsSave: true}}
				s.reach("b", 170)
			},
		},
		{
			name: "a DDL that waits until the checkpoint is stored",
			change: func(s *state) {
				s.pending = []pendingDDL{{commitTs: 151, touched: []int64{3}, awaitsSave: true}}
				s.reach("b", 151)
			},
			hurry: true,
		},
		{
			name: "a DDL that has waited until the checkpoint was stored, and one behind that has not",
			change: func(s *state) {
				s.pending = []pendingDDL{{commitTs: 151, touched: []int64{3}, awaitsSave: true}, {commitTs: 152, touched: []int64{4}, awaitsSave: true}}
				s.reach("b", 151, 152)
				s.checkpoint = 150
			},
			put:  map[Member]assignment{"b": {Rev: 3, Spans: SpanSet{3: 151, 4: 120}}},
			ddls: &ddls{Executing: []event.Ts{151}},
		},
		{
			name: "a DDL of a table that is being moved",
			change: func(s *state) {
				s.pending = []pendingDDL{{commitTs: 170, touched: []int64{3}}}
				s.assignments["b"] = assignment{Rev: 3, Spans: SpanSet{3: 100, 4: 120}, Stop: []int64{3}}
				s.reach("b", 170)
			},
		},
		{
			name: "a DDL is not executed again",
			change: func(s *state) {
				s.pending = []pendingDDL{{commitTs: 135}, {commitTs: 156}, {commitTs: 157}}
				s.ddls = ddls{Executing: []event.Ts{157}, Done: []event.Ts{156}}
			},
		},
		{
			name: "the checkpoint stays below a DDL",
			change: func(s *state) {
				s.ddls = ddls{Executing: []event.Ts{145}}
			},
			checkpoint: 144,
		},
		{
			name: "an executed DDL drops a table, which the pipeline has yet to learn",
			change: func(s *state) {
				s.pending = []pendingDDL{{commitTs: 150, touched: []int64{3}, removed: []int64{3}}}
				s.ddls = ddls{Executing: []event.Ts{150}, Done: []event.Ts{130}}
				s.executed = []event.Ts{150}
			},
			put:  map[Member]assignment{"b": {Rev: 4, Spans: SpanSet{4: 120}, Stop: []int64{}}},
			ddls: &ddls{Executing: []event.Ts{}, Done: []event.Ts{150}},
		},
		{
			name:   "executed DDLs below the checkpoint are forgotten",
			change: func(s *state) { s.ddls = ddls{Done: []event.Ts{130, 140}} },
			ddls:   &ddls{Done: []event.Ts{}},
		},
		{
			name:   "nothing above the target counts",
			change: func(s *state) { s.target = 145 }, checkpoint: 145,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := steady()
			c.change(&s)
			before := fmt.Sprint(s.assignments)
			got := plan(s)
			if c.put == nil {
				c.put = map[Member]assignment{}
			}
			if c.checkpoint == 0 {
				c.checkpoint = 150
			}
			for m, want := range c.put {
				if g := got.put[m]; g.Rev != want.Rev || !maps.Equal(g.Spans, want.Spans) || !slices.Equal(g.Stop, want.Stop) {
					t.Errorf("%s gets %+v, want %+v", m, g, want)
				}
			}
			if len(got.put) != len(c.put) {
				t.Errorf("assignments %+v, want %+v", got.put, c.put)
			}
			if got.hurry != c.hurry {
				t.Errorf("hurry is %v, want %v", got.hurry, c.hurry)
			}
			if !slices.Equal(got.gone, c.gone) || got.checkpoint != c.checkpoint || !slices.Equal(got.moved, c.moved) {
				t.Errorf("gone %v, checkpoint %d, moved %v, want %v, %d, %v", got.gone, got.checkpoint, got.moved, c.gone, c.checkpoint, c.moved)
			}
			if (got.ddls == nil) != (c.ddls == nil) || got.ddls != nil &&
				(!slices.Equal(got.ddls.Done, c.ddls.Done) || !slices.Equal(got.ddls.Executing, c.ddls.Executing)) {
				t.Errorf("DDLs %+v, want %+v", got.ddls, c.ddls)
			}
			if after := fmt.Sprint(s.assignments); after != before {
				t.Errorf("plan changed its input: %s, now %s", before, after)
			}
		})
	}
}

// reach makes a member report DDLs as reached.
func (s *state) reach(m Member, commitTs ...event.Ts) {
	p := s.positions[m]
	p.Reached = commitTs
	s.positions[m] = p
}

func TestRebalanceIsExact(t *testing.T) {
	s := steady()
	s.assignments["a"] = assignment{Rev: 1, Spans: SpanSet{}}
	s.assignments["b"] = assignment{Rev: 3, Spans: SpanSet{}}
	for id := range int64(40) {
		s.tables[id] = 100
		m := Member("a")
		if id > 21 {
			m = "b"
		}
		s.assignments[m].Spans[id] = 100
	}
	if d := plan(s); len(d.put) > 0 || d.rebalanced {
		t.Errorf("22 and 18 tables are moved unasked: %+v", d)
	}
	s.rebalance = true
	d := plan(s)
	if got := d.put["a"].Stop; !slices.Equal(got, []int64{0, 1}) || d.rebalanced {
		t.Errorf("a is to stop %v, want 0 and 1", got)
	}
	s.assignments["a"] = assignment{Rev: 1, Spans: maps.Clone(s.assignments["a"].Spans)}
	for id := range int64(2) {
		delete(s.assignments["a"].Spans, id)
		s.assignments["b"].Spans[id] = 100
	}
	if d := plan(s); len(d.put) > 0 || !d.rebalanced {
		t.Errorf("20 and 20 tables are not even: %+v", d)
	}
}

func TestStretch(t *testing.T) {
	for n, want := range map[int]time.Duration{0: 200, 1: 200, 10: 200, 11: 220, 1000: 20_000} {
		if got := stretch(200*time.Millisecond, n); got != want*time.Millisecond {
			t.Errorf("%d changefeeds report every %v, want %d ms", n, got, want)
		}
	}
}
