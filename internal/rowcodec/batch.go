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
	refs   []*event.RowChanged // refs[i] is &rows[i], set once for a slab
	n      int                 // rows in use
	values []event.Value       // free ones are values[used:]
	used   int
	// dirtyRows and dirtyValues are how far earlier uses wrote the slabs.
	dirtyRows, dirtyValues int

	keys arena
	plan *Plan
}

// Begin empties the batch and makes room for n rows, together of the given
// number of values (columns of all images). More values are found room for as
// they come.
func (b *Batch) Begin(n, values int) {
	b.dirtyRows, b.dirtyValues = max(b.dirtyRows, b.n), max(b.dirtyValues, b.used)
	b.n, b.used = 0, 0
	if len(b.rows) < n {
		b.rows, b.refs, b.dirtyRows = make([]event.RowChanged, n), make([]*event.RowChanged, n), 0
		for i := range b.rows {
			b.refs[i] = &b.rows[i]
		}
	}
	if len(b.values) < values {
		b.values, b.dirtyValues = make([]event.Value, values), 0
	}
}

// Rows returns the rows added since Begin, in that order.
func (b *Batch) Rows() []*event.RowChanged {
	// What an earlier, larger use left behind would keep its changes in memory.
	if b.n < b.dirtyRows {
		clear(b.rows[b.n:b.dirtyRows])
		b.dirtyRows = b.n
	}
	if b.used < b.dirtyValues {
		clear(b.values[b.used:b.dirtyValues])
		b.dirtyValues = b.used
	}
	return b.refs[:b.n:b.n]
}

// Plan returns the plan of the last row added, or nil: the caller's short cut
// to the plan of the next row.
func (b *Batch) Plan() *Plan { return b.plan }

// take returns n Values with any content, never nil.
func (b *Batch) take(n int) []event.Value {
	if n == 0 {
		return []event.Value{}
	}
	if b.used+n > len(b.values) {
		// Rows hold parts of the old slab, so it is left to them.
		b.values = make([]event.Value, max(2*len(b.values), n))
		b.used, b.dirtyValues = 0, 0
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
	if b.n == len(b.rows) {
		return nil, errors.New("batch is full")
	}
	b.plan = p
	row := &b.rows[b.n]
	row.StartTs, row.CommitTs, row.Table, row.PhysicalTableID, row.Key = kv.StartTs, kv.CommitTs, p.table, id, kv.Key
	row.Columns, row.PreColumns = nil, nil
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
	b.n++
	return row, nil
}
