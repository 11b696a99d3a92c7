package mysql

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// batch reduces rows of one table version to what they amount to: one net change
// per row of the table, in shards that do not conflict. Its buffers are reused.
//
// What a row went through in between is left out, but for the handle keys that it
// had: an earlier run may have stopped there, so they are deleted too. All
// deletes of a shard come before all that it writes; since the table's unique
// keys hold before and after the batch, nothing then meets a row that is still
// there, also when rows swap their keys.
type batch struct {
	plan *plan
	tail *tail // of a table whose handle keys wander, else nil
	rows []*event.RowChanged
	// earlier is, for each row, its previous change in rows, or -1.
	earlier []int32
	// changeOf is, for each row, its change.
	changeOf []int32
	changes  []change
	// order holds the changes, shard by shard; ends are where each shard ends.
	order []int32
	ends  []int32

	hash   hasher
	slots  slots
	groups groups
	heads  []int32 // of each group's list of members, and its last
	next   []int32
}

// change is the net change of one row: that between the old image of the first
// and the new image of the last of rows.
type change struct {
	first, last int32
	kind        changeKind
}

type changeKind uint8

const (
	changeDelete changeKind = iota
	changeInsert
	// changeUpdate leaves all unique keys as they are.
	changeUpdate
	// changeMove is an update of a unique key: a delete and an insert.
	changeMove
)

func (b *batch) before(c *change) []event.Value { return b.rows[c.first].PreColumns }
func (b *batch) after(c *change) []event.Value  { return b.rows[c.last].Columns }

// reset takes rows that are all of the plan's table version.
func (b *batch) reset(p *plan, t *tail, rows []*event.RowChanged) {
	b.plan, b.tail, b.rows = p, t, rows
	b.changes, b.earlier, b.changeOf = b.changes[:0], b.earlier[:0], b.changeOf[:0]
	b.order, b.ends = b.order[:0], b.ends[:0]
	b.slots.reset(len(rows))
	for i, row := range rows {
		b.add(int32(i), row)
	}
	for i := range b.changes {
		c := &b.changes[i]
		switch before, after := b.before(c), b.after(c); {
		case after == nil:
			c.kind = changeDelete
		case before == nil:
			c.kind = changeInsert
		case p.moves(before, after):
			c.kind = changeMove
		default:
			c.kind = changeUpdate
		}
	}
}

// add finds the change that a row belongs to, by TiKV's key.
func (b *batch) add(i int32, row *event.RowChanged) {
	sum := maphash.Bytes(b.hash.seed, row.Key)
	for {
		c := b.slots.claim(sum, int32(len(b.changes)))
		if int(c) == len(b.changes) {
			b.changes = append(b.changes, change{first: i, last: i})
			b.earlier, b.changeOf = append(b.earlier, -1), append(b.changeOf, c)
			return
		}
		if bytes.Equal(b.rows[b.changes[c].last].Key, row.Key) {
			b.earlier, b.changeOf = append(b.earlier, b.changes[c].last), append(b.changeOf, c)
			b.changes[c].last = i
			return
		}
		sum = mix(sum, 1)
	}
}

// shard fills order and ends: shards of about size changes, of which no two
// conflict. whole keeps what a transaction did in one.
func (b *batch) shard(size int, whole bool) {
	b.divide(size, whole)
	// In the middle of a transaction that was cut, two rows may hold the same key.
	// The later one is to keep it; the other gives it up in the next call.
	byLast := func(x, y int32) int { return cmp.Compare(b.changes[x].last, b.changes[y].last) }
	for members := range b.shards {
		if !slices.IsSortedFunc(members, byLast) {
			slices.SortFunc(members, byLast)
		}
	}
}

func (b *batch) divide(size int, whole bool) {
	if len(b.changes) <= size || b.plan.hidden || b.plan.keyless {
		for i := range b.changes {
			b.order = append(b.order, int32(i))
		}
		b.ends = append(b.ends, int32(len(b.order)))
		return
	}
	b.groups = newGroups(b.groups, len(b.changes))
	b.conflicts()
	if whole {
		for i := 1; i < len(b.rows); i++ {
			if b.rows[i].StartTs == b.rows[i-1].StartTs && b.rows[i].CommitTs == b.rows[i-1].CommitTs {
				b.groups.join(b.changeOf[i], b.changeOf[i-1])
			}
		}
	}
	b.fill(size)
}

// conflicts joins the changes that share a unique key's value, in any image that
// their rows had.
func (b *batch) conflicts() {
	if len(b.plan.unique) == 0 {
		return // each row has a key of its own, TiKV's
	}
	for again := true; again; {
		blind := b.hash.blind
		b.slots.reset(2 * len(b.plan.unique) * len(b.rows))
		for i, row := range b.rows {
			c := b.changeOf[i]
			if row.Columns != nil {
				b.claim(c, row.Columns)
			}
			if row.PreColumns != nil && (row.Columns == nil || b.changes[c].kind != changeUpdate || b.earlier[i] >= 0 || b.changes[c].last != int32(i)) {
				b.claim(c, row.PreColumns)
			}
		}
		again = b.hash.blind != blind
	}
	b.hash.blind = false
}

func (b *batch) claim(c int32, image []event.Value) {
	for n, key := range b.plan.unique {
		if sum, ok := b.hash.key(n, key, image); ok {
			if owner := b.slots.claim(sum, c); owner != c {
				b.groups.join(owner, c)
			}
		}
	}
}

// fill puts whole groups into shards, in the order of their first members.
func (b *batch) fill(size int) {
	n := len(b.changes)
	b.heads, b.next = b.heads[:0], b.next[:0]
	for range n {
		b.heads, b.next = append(b.heads, -1), append(b.next, -1)
	}
	// The last member of a root's list; members are linked in order.
	for i := range int32(n) {
		root := b.groups.find(i)
		if last := b.heads[root]; last >= 0 {
			b.next[last] = i
		}
		b.heads[root] = i
	}
	from := int32(0)
	for i := range int32(n) {
		if b.groups[i] != i {
			continue // its root, which is smaller, has brought it along
		}
		for j := i; j >= 0; j = b.next[j] {
			b.order = append(b.order, j)
		}
		if int32(len(b.order))-from >= int32(size) {
			from = int32(len(b.order))
			b.ends = append(b.ends, from)
		}
	}
	if from < int32(len(b.order)) {
		b.ends = append(b.ends, int32(len(b.order)))
	}
}

// shards yields the members of each shard.
func (b *batch) shards(yield func(members []int32) bool) {
	from := int32(0)
	for _, end := range b.ends {
		if !yield(b.order[from:end]) {
			return
		}
		from = end
	}
}

// deletes yields the images that a change removes. hash is the caller's own,
// because shards are written at the same time.
func (b *batch) deletes(hash *hasher, c *change, yield func(image []event.Value)) {
	after := b.after(c)
	if b.plan.clustered || b.plan.keyless {
		// All images have the same handle key, or as much of it as a prefix, or it is
		// the first that is there.
		switch {
		case c.kind == changeDelete && b.plan.keyless:
			if before := b.before(c); before != nil {
				yield(before)
			}
		case c.kind == changeDelete && (b.plan.whole || b.plan.prefixed):
			// The downstream has the first image, or a later one from an earlier run.
			for i := c.last; i >= 0; i = b.earlier[i] {
				if image := b.rows[i].PreColumns; image != nil {
					yield(image)
				}
			}
		case c.kind == changeDelete:
			yield(b.rows[c.last].PreColumns)
		case c.kind == changeMove:
			yield(b.before(c))
		}
		return
	}
	for i := c.last; i >= 0; i = b.earlier[i] {
		image := b.rows[i].PreColumns
		if image == nil || after != nil && b.plan.sameHandle(image, after) && (i != c.first || c.kind != changeMove) {
			continue
		}
		if !b.tail.wrote(hash, b.plan, b.rows[i]) {
			yield(image)
		}
	}
}
