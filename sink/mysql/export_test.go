package mysql

import (
	"hash/maphash"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Sharder finds which rows of a call conflict.
type Sharder struct{ b batch }

// NewSharder returns a Sharder.
func NewSharder() *Sharder {
	return &Sharder{batch{hash: hasher{seed: maphash.MakeSeed()}}}
}

// Shard puts rows of one table, each a change of another row, into shards of about
// size rows, and returns the number of each row's shard.
func (s *Sharder) Shard(p *Plan, rows []*event.RowChanged, size int) []int {
	s.Split(p, rows, size)
	out := make([]int, len(rows))
	n := 0
	for members := range s.b.shards {
		for _, i := range members {
			out[s.b.changes[i].first] = n
		}
		n++
	}
	return out
}

// Split is the part of Shard that a sink needs.
func (s *Sharder) Split(p *Plan, rows []*event.RowChanged, size int) {
	s.b.reset(p, nil, rows)
	s.b.shard(size, false)
}

// Plan is what a version of a table means for its rows.
type Plan = plan

// NewPlan returns the plan of a table on MariaDB.
func NewPlan(t *event.TableInfo) *Plan { return newPlan(t, &server{isMariaDB: true}) }
