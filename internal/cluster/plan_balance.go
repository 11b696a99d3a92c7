package cluster

import (
	"maps"
	"slices"
)

// balance asks members to stop spans that are to be elsewhere: because a user wants
// so, because the member leaves, or because it has more than its part.
func (p *planner) balance(takers []Member) {
	budget := mostMoves
	stop := func(m Member, ids []int64) {
		ids = ids[:min(len(ids), budget)]
		if len(ids) == 0 {
			return
		}
		budget -= len(ids)
		a := p.edit(m)
		a.Stop = append(a.Stop, ids...)
		slices.Sort(a.Stop)
		p.assignments[m] = *a
	}
	p.moveAsked(takers, stop)
	for _, m := range slices.Sorted(maps.Keys(p.assignments)) {
		if !slices.Contains(takers, m) && p.canStop(m) {
			stop(m, p.free(m))
		}
	}
	if budget == mostMoves {
		p.even(takers, stop)
	}
}

// moveAsked stops what users want to be moved.
func (p *planner) moveAsked(takers []Member, stop func(Member, []int64)) {
	for _, id := range slices.Sorted(maps.Keys(p.moves)) {
		target := p.moves[id]
		from, ok := p.holder(id)
		if !ok || from == target || !slices.Contains(takers, target) {
			p.out.moved = append(p.out.moved, id)
			continue
		}
		if p.canStop(from) {
			stop(from, []int64{id})
		}
	}
}

func (p *planner) holder(id int64) (Member, bool) {
	for m, a := range p.assignments {
		if _, ok := a.Spans[id]; ok {
			return m, true
		}
	}
	return "", false
}

// canStop reports whether a member can be asked to stop anything: one that has
// ended is given up when it dies.
func (p *planner) canStop(m Member) bool { return !p.positions[m].Ended }

// free are a member's spans that are not being stopped, in order.
func (p *planner) free(m Member) []int64 {
	a := p.assignments[m]
	var ids []int64
	for _, id := range slices.Sorted(maps.Keys(a.Spans)) {
		if !slices.Contains(a.Stop, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// even takes spans from members that have more than their part. Unless a user asks
// for it, a small unevenness is left alone: moving costs.
func (p *planner) even(takers []Member, stop func(Member, []int64)) {
	total, most, least := 0, 0, int(^uint(0)>>1)
	for _, m := range takers {
		n := len(p.assignments[m].Spans)
		total += n
		most, least = max(most, n), min(least, n)
	}
	p.out.rebalanced = most-least <= 1
	tolerated := 1
	if !p.rebalance {
		tolerated = max(1, total/len(takers)/5)
	}
	if most-least <= tolerated {
		return
	}
	part, rest := total/len(takers), total%len(takers)
	for _, m := range takers {
		n := len(p.assignments[m].Spans) - part
		if n > 0 && rest > 0 {
			n, rest = n-1, rest-1
		}
		if n > 0 {
			stop(m, p.free(m)[:n])
		}
	}
}
