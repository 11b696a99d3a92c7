package dispatcher

import (
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// plan is what the rules come to for one table version.
type plan struct {
	table  *event.TableInfo
	number int // of the rule
	topic  string
	kind   Kind
	// err: the rule does not fit the table.
	err error
	// base is the sum of the table's names.
	base uint32
	// columns are the columns that are hashed.
	columns []hashedColumn
}

// hashedColumn is a column's offset and the sum of its name, which the sum of its
// value goes on from.
type hashedColumn struct {
	offset int
	sum    uint32
}

// newPlan applies the rules to a table.
func (d *Dispatcher) newPlan(table *event.TableInfo) *plan {
	r := d.match(table.Schema, table.Table)
	p := &plan{
		table: table, number: r.number, kind: r.kind,
		topic: r.topic.name(table.Schema, table.Table),
		base:  crc32.ChecksumIEEE([]byte(table.Schema + table.Table)),
	}
	if r.bySingleIndex && uniqueIndexes(table) == 1 {
		p.kind = ByIndex
	}
	var offsets []int
	var reason string
	switch {
	case p.kind == ByIndex && r.index != "":
		offsets, reason = indexOffsets(table, r.index)
	case p.kind == ByIndex:
		offsets = table.HandleKey
	case p.kind == ByColumns:
		offsets, reason = columnOffsets(table, r.columns)
	}
	if reason != "" {
		p.err = &TableError{Table: table.Name(), Number: r.number, Reason: reason}
		return p
	}
	for _, offset := range offsets {
		p.columns = append(p.columns, hashedColumn{offset, crc32.ChecksumIEEE([]byte(table.Columns[offset].Name))})
	}
	return p
}

// uniqueIndexes counts the unique indexes, the primary key among them.
func uniqueIndexes(table *event.TableInfo) int {
	n := 0
	if table.PKIsHandle {
		n++ // it has no index of its own
	}
	for i := range table.Indexes {
		if table.Indexes[i].Unique || table.Indexes[i].Primary {
			n++
		}
	}
	return n
}

// indexOffsets returns the columns of a unique index, or why it will not do.
func indexOffsets(table *event.TableInfo, name string) (offsets []int, reason string) {
	if table.PKIsHandle && strings.EqualFold(name, "primary") {
		return table.HandleKey, ""
	}
	for i := range table.Indexes {
		index := &table.Indexes[i]
		if !strings.EqualFold(index.Name, name) {
			continue
		}
		if !index.Unique && !index.Primary {
			return nil, fmt.Sprintf("index %s is not unique", name)
		}
		for _, c := range index.Columns {
			if c.Offset < 0 {
				return nil, fmt.Sprintf("column %s of index %s is a virtual generated column, which rows do not hold", c.Name, name)
			}
			offsets = append(offsets, c.Offset)
		}
		return offsets, ""
	}
	return nil, fmt.Sprintf("there is no index %s", name)
}

// columnOffsets returns the places of columns, or which one will not do.
func columnOffsets(table *event.TableInfo, names []string) (offsets []int, reason string) {
	for _, name := range names {
		offset := table.ColumnOffset(name)
		if offset < 0 {
			return nil, fmt.Sprintf("there is no column %s, or it is a virtual generated one", name)
		}
		offsets = append(offsets, offset)
	}
	return offsets, ""
}

// plans caches the plan of every table version. Reading takes no lock.
type plans struct {
	// recent holds the last plan asked for, by a hash of the address.
	recent [recentPlans]atomic.Pointer[plan]
	// all is emptied when it holds maxPlans, so that versions that are gone do not
	// stay for ever.
	all   sync.Map // *event.TableInfo -> *plan
	count atomic.Int64
}

const (
	recentPlans = 256
	maxPlans    = 1 << 16
)

// plan returns the plan of a table version.
func (d *Dispatcher) plan(table *event.TableInfo) *plan {
	// TableInfo is larger than 256 bytes, so that lower bits of addresses say little.
	h := uintptr(unsafe.Pointer(table))
	slot := &d.plans.recent[(h>>8^h>>16)%recentPlans]
	if p := slot.Load(); p != nil && p.table == table {
		return p
	}
	p, ok := d.plans.all.Load(table)
	if !ok {
		var loaded bool
		if p, loaded = d.plans.all.LoadOrStore(table, d.newPlan(table)); !loaded && d.plans.count.Add(1) > maxPlans {
			d.plans.count.Store(0)
			d.plans.all.Clear()
		}
	}
	slot.Store(p.(*plan))
	return p.(*plan)
}
