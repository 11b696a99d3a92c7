package rowcodec

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

const (
	// minSlots makes every id of a small row (one byte) index slots without a bounds check.
	minSlots = 256
	// maxSlots bounds the direct table: ids grow with every ADD COLUMN and never shrink.
	maxSlots = 4096
)

// Plan decodes the rows of one version of a table. It is immutable and safe
// for concurrent use.
type Plan struct {
	table   *event.TableInfo
	columns []column // aligned with table.Columns
	// slots maps a column id below its length to 1 + the place in columns, 0
	// meaning "no such column"; far does so for larger ids.
	slots []uint16
	far   map[uint32]uint16
	// absent are the values of columns that a row does not store.
	absent []event.Value
	handle handle
	// fullIDs are the ids of a small row that stores every column it can, as the
	// row lists them; hasFull is false if some do not fit a small row.
	fullIDs string
	hasFull bool
}

// NewPlan makes the plan of a table, with UTC as the zone that [NewPlanIn] asks for.
func NewPlan(t *event.TableInfo) (*Plan, error) { return NewPlanIn(t, time.UTC) }

// NewPlanIn makes the plan of a table. zone is the cluster's time zone (TiDB's
// system_time_zone); it matters only to a TIMESTAMP column that a TiDB before
// v2.1 added to a table that held rows, because the origin default of such a
// column is noted in that zone.
func NewPlanIn(t *event.TableInfo, zone *time.Location) (*Plan, error) {
	if t.View || t.Sequence {
		return nil, fmt.Errorf("plan rows of %s: a view or sequence has none", t.Name())
	}
	n := len(t.Columns)
	p := &Plan{
		table: t, columns: make([]column, n), absent: make([]event.Value, n),
		slots: make([]uint16, minSlots),
	}
	for i := range t.Columns {
		info := &t.Columns[i]
		c, err := newColumn(info)
		if err == nil {
			p.absent[i], err = absentValue(info, zone)
		}
		if err == nil {
			err = p.place(info.ID, i)
		}
		if err != nil {
			return nil, fmt.Errorf("plan rows of %s: column %q: %w", t.Name(), info.Name, err)
		}
		p.columns[i] = c
	}
	var err error
	if p.handle, err = newHandle(t); err != nil {
		return nil, fmt.Errorf("plan rows of %s: %w", t.Name(), err)
	}
	p.planFull()
	return p, nil
}

// planFull notes the ids of a row that stores every column it can: all but
// those that the key supplies.
func (p *Plan) planFull() {
	fromKey := make(map[int]bool)
	for _, k := range p.handle.columns {
		fromKey[k.slot] = !k.stored
		p.absent[k.slot] = event.Value{} // a sign that the key is to be asked
	}
	var ids []int64
	for i := range p.columns {
		if !fromKey[i] {
			ids = append(ids, p.table.Columns[i].ID)
		}
	}
	slices.Sort(ids)
	list := make([]byte, len(ids))
	for i, id := range ids {
		list[i] = byte(id)
	}
	p.fullIDs = string(list)
	p.hasFull = len(ids) == 0 || ids[len(ids)-1] < minSlots
}

// Table returns the table version that the plan decodes.
func (p *Plan) Table() *event.TableInfo { return p.table }

// place enters a column into the id tables.
func (p *Plan) place(id int64, i int) error {
	if id <= 0 || id > 1<<32-1 || i >= 1<<16-1 {
		return fmt.Errorf("id %d is out of range", id)
	}
	if p.slot(uint32(id)) != 0 {
		return fmt.Errorf("id %d occurs twice", id)
	}
	if id >= maxSlots {
		if p.far == nil {
			p.far = make(map[uint32]uint16)
		}
		p.far[uint32(id)] = uint16(i + 1)
		return nil
	}
	if more := int(id) + 1 - len(p.slots); more > 0 {
		p.slots = append(p.slots, make([]uint16, more)...)
	}
	p.slots[id] = uint16(i + 1)
	return nil
}

// slot returns 1 + the place of a column, or 0.
func (p *Plan) slot(id uint32) uint16 {
	if int(id) < len(p.slots) {
		return p.slots[id]
	}
	return p.far[id]
}

// Decode decodes one image of a row into dst, which has one Value per
// Table().Columns. key is the raw key t{id}_r{handle}, value the row in format
// v1 or v2. The Values alias key and value, which must not change while they
// are in use. After an error dst is undefined.
func (p *Plan) Decode(dst []event.Value, key, value []byte) error {
	var a arena
	if err := p.checkTarget(dst); err != nil {
		return err
	}
	if err := p.decode(dst, key, value, &a); err != nil {
		return fmt.Errorf("decode row of %s: %w", p.table.Name(), err)
	}
	return nil
}

// DecodeKey decodes what the key alone tells of a row: the columns of a
// clustered primary key. All others become NULL, and so do key columns that
// the key does not hold completely: indexed by a prefix, or a text whose
// collation is not a binary one. A text with a binary collation may lack its
// trailing spaces.
func (p *Plan) DecodeKey(dst []event.Value, key []byte) error {
	var a arena
	if err := p.checkTarget(dst); err != nil {
		return err
	}
	if err := p.decodeKey(dst, key, &a); err != nil {
		return fmt.Errorf("decode row of %s: %w", p.table.Name(), err)
	}
	return nil
}

func (p *Plan) checkTarget(dst []event.Value) error {
	if len(dst) != len(p.columns) {
		return fmt.Errorf("decode row of %s: room for %d columns, want %d", p.table.Name(), len(dst), len(p.columns))
	}
	return nil
}

func (p *Plan) decode(dst []event.Value, key, value []byte, a *arena) error {
	if len(value) == 0 {
		return fmt.Errorf("row is empty")
	}
	rest, err := handleBytes(key)
	if err != nil {
		return err
	}
	if value[0] == rowV2 {
		err = p.decodeV2(dst, value)
	} else {
		err = p.decodeV1(dst, value)
	}
	if err != nil {
		return err
	}
	return p.fillFromHandle(dst, rest, a)
}

// columnError names the column in an error of its value.
func (p *Plan) columnError(i int, err error) error {
	return fmt.Errorf("column %q: %w", p.table.Columns[i].Name, err)
}
