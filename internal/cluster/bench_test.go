package cluster

import (
	"fmt"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// BenchmarkPlan is a look of the owner at many tables when nothing is to be done.
func BenchmarkPlan(b *testing.B) {
	const tables, members = 100_000, 4
	s := state{
		members: map[Member]bool{}, positions: map[Member]position{}, assignments: map[Member]assignment{},
		checkpoint: 150, ddlResolved: 200, tables: map[int64]event.Ts{},
	}
	for i := range members {
		m := Member(fmt.Sprint("m", i))
		s.members[m], s.positions[m] = false, position{Rev: 1, CheckpointTs: 160, Running: true}
		s.assignments[m] = assignment{Rev: 1, Spans: SpanSet{}}
	}
	for id := range int64(tables) {
		s.tables[id] = 100
		s.assignments[Member(fmt.Sprint("m", id%members))].Spans[id] = 100
	}
	s.complete = plan(s).complete
	b.ReportAllocs()
	for b.Loop() {
		if d := plan(s); !d.complete || len(d.put) > 0 || d.checkpoint != 160 {
			b.Fatalf("%+v", d)
		}
	}
}
