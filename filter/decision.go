package filter

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// decision is what a filter has to say of the rows of one table version.
type decision struct {
	table *event.TableInfo
	// err: an expression does not fit the table.
	err error
	// drop are the kinds of rows that are never delivered, all if the table rules
	// exclude the table.
	drop [event.Delete + 1]bool
	// look: rows must be looked at.
	look                                 bool
	insert, updateNew, updateOld, delete []*tableExpression
	// onlyColumns holds, for each event filter that lists columns, which of the
	// table's are listed.
	onlyColumns [][]bool
}

// decide makes the decision for a table.
func (f *Filter) decide(table *event.TableInfo) *decision {
	d := &decision{table: table}
	if !f.Table(table.Schema, table.Table) {
		d.drop = [event.Delete + 1]bool{true, true, true, true}
		return d
	}
	add := func(list *[]*tableExpression, e *valueExpression) {
		if e == nil || d.err != nil {
			return
		}
		compiled, err := e.compile(table)
		if err != nil {
			d.err = err
			return
		}
		*list, d.look = append(*list, compiled), true
	}
	for _, e := range f.events {
		if !e.tables.matchTable(table.Schema, table.Table) {
			continue
		}
		for kind, drop := range e.rows {
			d.drop[kind] = d.drop[kind] || drop
		}
		add(&d.insert, e.insert)
		add(&d.updateNew, e.updateNew)
		add(&d.updateOld, e.updateOld)
		add(&d.delete, e.delete)
		if len(e.onlyColumns) > 0 {
			listed := make([]bool, len(table.Columns))
			for i := range table.Columns {
				listed[i] = e.onlyColumns[strings.ToLower(table.Columns[i].Name)]
			}
			d.onlyColumns, d.look = append(d.onlyColumns, listed), true
		}
	}
	return d
}

// ignores reports whether an expression or the columns that changed leave out a row.
func (d *decision) ignores(row *event.RowChanged) (bool, error) {
	for _, image := range [2][]event.Value{row.Columns, row.PreColumns} {
		if image != nil && len(image) != len(d.table.Columns) {
			return false, fmt.Errorf("filter row of %s with commit ts %d: it has %d values, the table %d columns",
				d.table.Name(), row.CommitTs, len(image), len(d.table.Columns))
		}
	}
	switch row.Kind() {
	case event.Insert:
		return anyTrue(d.insert, row.Columns, row)
	case event.Delete:
		return anyTrue(d.delete, row.PreColumns, row)
	}
	for _, listed := range d.onlyColumns {
		if changesOnly(row, listed) {
			return true, nil
		}
	}
	if yes, err := anyTrue(d.updateNew, row.Columns, row); yes || err != nil {
		return yes, err
	}
	return anyTrue(d.updateOld, row.PreColumns, row)
}

// changesOnly reports whether an update changes something, and only listed columns.
func changesOnly(row *event.RowChanged, listed []bool) bool {
	changes := false
	for i := range row.Columns {
		if !event.Equal(row.Columns[i], row.PreColumns[i]) {
			if !listed[i] {
				return false
			}
			changes = true
		}
	}
	return changes
}

// decisions caches the decision of every table version. Reading takes no lock.
type decisions struct {
	// recent holds the last decision asked for, by a hash of the address.
	recent [recentDecisions]atomic.Pointer[decision]
	// all is emptied when it holds maxDecisions, so that versions that are gone do
	// not stay for ever.
	all   sync.Map // *event.TableInfo -> *decision
	count atomic.Int64
}

const (
	recentDecisions = 256
	maxDecisions    = 1 << 16
)

// decision returns the decision for a table version.
func (f *Filter) decision(table *event.TableInfo) *decision {
	// TableInfo is larger than 256 bytes, so that lower bits of addresses say little.
	h := uintptr(unsafe.Pointer(table))
	slot := &f.decisions.recent[(h>>8^h>>16)%recentDecisions]
	if d := slot.Load(); d != nil && d.table == table {
		return d
	}
	d := f.lookUpDecision(table)
	slot.Store(d)
	return d
}

func (f *Filter) lookUpDecision(table *event.TableInfo) *decision {
	c := &f.decisions
	if d, ok := c.all.Load(table); ok {
		return d.(*decision)
	}
	d, loaded := c.all.LoadOrStore(table, f.decide(table))
	if !loaded && c.count.Add(1) > maxDecisions {
		c.count.Store(0)
		c.all.Clear()
	}
	return d.(*decision)
}
