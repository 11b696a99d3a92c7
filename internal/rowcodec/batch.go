package rowcodec

import (
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Batch holds decoded rows in slabs that its next use overwrites: the
// [event.RowChanged] structs and their Value slices belong to the batch, while
// keys, texts and the like point into the changes they were decoded from. The
// zero Batch is ready for use. It is not safe for concurrent use.
//
// A batch keeps the largest size it had. Reusing one makes decoding free of
// allocations, except for texts of more than eight bytes that stand in the key
// of a clustered primary key only.
type Batch struct {
	rows   []event.RowChanged
	refs   []*event.RowChanged
	values []event.Value // free ones are values[used:]
	used   int
	keys   arena
	plan   *Plan
}

// Begin empties the batch and makes room for n rows.
func (b *Batch) Begin(n int) {
	// What the last use left behind would keep its changes in memory.
	clear(b.rows)
	clear(b.values[:b.used])
	b.used = 0
	if cap(b.rows) < n {
		b.rows = make([]event.RowChanged, 0, n)
		b.refs = make([]*event.RowChanged, 0, n)
	}
	b.rows, b.refs = b.rows[:0], b.refs[:0]
}

// Rows returns the rows added since Begin, in that order.
func (b *Batch) Rows() []*event.RowChanged { return b.refs }

// Plan returns the plan of the last row added, or nil: the caller's short cut
// to the plan of the next row.
func (b *Batch) Plan() *Plan { return b.plan }

// take returns n Values to be overwritten.
func (b *Batch) take(n int) []event.Value {
	if b.used+n > len(b.values) {
		// Rows hold parts of the old slab, so it is left to them.
		b.values = make([]event.Value, max(2*len(b.values), cap(b.rows)*n))
		b.used = 0
	}
	vs := b.values[b.used : b.used+n : b.used+n]
	b.used += n
	return vs
}

// Add decodes one change of the plan's table. It must not be called more often
// than [Batch.Begin] made room for.
//
// A put needs a value. A delete's old image comes from the old value and the
// key; if the old value is empty, because TiKV has garbage-collected it, from
// the key alone, see [Plan.DecodeKey].
func (b *Batch) Add(p *Plan, kv *event.RawKV) (*event.RowChanged, error) {
	id, err := PhysicalTableID(kv.Key)
	if err != nil {
		return nil, err
	}
	if len(b.rows) == cap(b.rows) {
		return nil, errors.New("batch is full")
	}
	b.plan = p
	row := event.RowChanged{
		StartTs: kv.StartTs, CommitTs: kv.CommitTs, Table: p.table, PhysicalTableID: id, Key: kv.Key,
	}
	n := len(p.columns)
	switch {
	case kv.Op == event.OpPut:
		row.Columns = b.take(n)
		if err := p.decode(row.Columns, kv.Key, kv.Value, &b.keys); err != nil {
			return nil, err
		}
	case kv.Op != event.OpDelete:
		return nil, fmt.Errorf("change is neither put nor delete: %d", kv.Op)
	case len(kv.OldValue) == 0:
		row.PreColumns = b.take(n)
		if err := p.decodeKey(row.PreColumns, kv.Key, &b.keys); err != nil {
			return nil, err
		}
	}
	if len(kv.OldValue) > 0 {
		row.PreColumns = b.take(n)
		if err := p.decode(row.PreColumns, kv.Key, kv.OldValue, &b.keys); err != nil {
			return nil, fmt.Errorf("old value: %w", err)
		}
	}
	b.rows = append(b.rows, row)
	r := &b.rows[len(b.rows)-1]
	b.refs = append(b.refs, r)
	return r, nil
}
