package event

import (
	"bytes"
	"slices"
)

// Kind says what happened to a row.
type Kind uint8

const (
	// Insert is a row that did not exist before.
	Insert Kind = iota + 1
	// Update is a row that existed before and after.
	Update
	// Delete is a row that no longer exists.
	Delete
)

// String returns "insert", "update" or "delete".
func (k Kind) String() string {
	switch k {
	case Insert:
		return "insert"
	case Update:
		return "update"
	case Delete:
		return "delete"
	}
	return "unknown kind"
}

// RowChanged is one committed change of one row.
type RowChanged struct {
	StartTs, CommitTs Ts
	// Table is the table's schema as of the change. It is immutable.
	Table *TableInfo
	// PhysicalTableID is the partition's id for a partitioned table, else Table.ID.
	PhysicalTableID int64
	// Key is TiKV's raw key of the row. It identifies the row among all tables,
	// also in a table without a primary key.
	Key []byte
	// Columns is the new image, aligned with Table.Columns; nil for a delete.
	Columns []Value
	// PreColumns is the old image, aligned with Table.Columns; nil for an insert.
	PreColumns []Value
}

// Kind tells inserts, updates and deletes apart.
func (r *RowChanged) Kind() Kind {
	switch {
	case r.Columns == nil:
		return Delete
	case r.PreColumns == nil:
		return Insert
	}
	return Update
}

// Image returns the new image, or the old one of a delete.
func (r *RowChanged) Image() []Value {
	if r.Columns == nil {
		return r.PreColumns
	}
	return r.Columns
}

// Clone returns a copy that shares nothing with the batch r came from, except
// the immutable Table.
func (r *RowChanged) Clone() *RowChanged {
	c := *r
	c.Key = bytes.Clone(r.Key)
	c.Columns = cloneValues(r.Columns)
	c.PreColumns = cloneValues(r.PreColumns)
	return &c
}

func cloneValues(vs []Value) []Value {
	out := slices.Clone(vs)
	for i := range out {
		out[i] = out[i].Clone()
	}
	return out
}
