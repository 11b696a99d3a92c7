package rowcodec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Row format v2:
//
//	0x80 | flags | n u16 | m u16 | n ids | m ids of NULLs | n end offsets | data [| checksum]
//
// Ids ascend within each list and take one byte, offsets two; both take four in
// a large row. All numbers are little-endian.
const (
	rowV2       = 0x80
	v2Header    = 6
	v2FlagLarge = 0x01
)

var errShortRow = errors.New("row is cut short")

// decodeV2 fills dst; columns that the row does not hold get their absent value.
func (p *Plan) decodeV2(dst []event.Value, row []byte) error {
	if len(row) < v2Header {
		return errShortRow
	}
	n, m := int(binary.LittleEndian.Uint16(row[2:])), int(binary.LittleEndian.Uint16(row[4:]))
	if row[1]&v2FlagLarge != 0 {
		return p.decodeLarge(dst, row, n, m)
	}
	if m == 0 && len(row) > v2Header+n && string(row[v2Header:v2Header+n]) == p.fullIDs {
		return p.decodeFull(dst, row)
	}
	return p.decodeSmall(dst, row, n, m)
}

// decodeFull decodes a small row that holds exactly the columns that the table
// stores: the ids are known, so the columns need not be looked up, and all of
// dst is written but for the key's columns.
func (p *Plan) decodeFull(dst []event.Value, row []byte) error {
	offsets := v2Header + len(p.full)
	data := offsets + 2*len(p.full)
	if data > len(row) {
		return errShortRow
	}
	ends := row[offsets:data]
	start := data
	for i, slot := range p.full {
		end := data + int(binary.LittleEndian.Uint16(ends[2*i:]))
		if end < start || end > len(row) {
			return p.errLayout(i, p.table.Columns[slot].ID)
		}
		if err := p.columns[slot].decode(&dst[slot], row, start, end); err != nil {
			return p.columnError(int(slot), err)
		}
		start = end
	}
	for i := range p.handle.columns {
		if k := &p.handle.columns[i]; !k.stored {
			dst[k.slot] = event.Value{}
		}
	}
	return nil
}

// decodeSmall decodes a row with ids of one byte.
func (p *Plan) decodeSmall(dst []event.Value, row []byte, n, m int) error {
	nulls := v2Header + n
	offsets := nulls + m
	data := offsets + 2*n
	if data > len(row) {
		return errShortRow
	}
	copy(dst, p.absent)
	slots := (*[minSlots]uint16)(p.slots)
	ends := row[offsets:data]
	start := data
	for i, id := range row[v2Header:nulls] {
		end := data + int(binary.LittleEndian.Uint16(ends[2*i:]))
		if end < start || end > len(row) {
			return p.errLayout(i, int64(id))
		}
		if slot := int(slots[id]) - 1; slot >= 0 {
			if err := p.columns[slot].decode(&dst[slot], row, start, end); err != nil {
				return p.columnError(slot, err)
			}
		}
		start = end
	}
	for _, id := range row[nulls:offsets] {
		if slot := int(slots[id]) - 1; slot >= 0 {
			dst[slot] = event.Value{}
		}
	}
	return nil
}

// decodeLarge is decodeSmall for ids and offsets of four bytes.
func (p *Plan) decodeLarge(dst []event.Value, row []byte, n, m int) error {
	nulls := v2Header + 4*n
	offsets := nulls + 4*m
	data := offsets + 4*n
	if data > len(row) {
		return errShortRow
	}
	copy(dst, p.absent)
	start := data
	for i := range n {
		id := binary.LittleEndian.Uint32(row[v2Header+4*i:])
		end := data + int(binary.LittleEndian.Uint32(row[offsets+4*i:]))
		if end < start || end > len(row) {
			return p.errLayout(i, int64(id))
		}
		if slot := int(p.slot(id)) - 1; slot >= 0 {
			if err := p.columns[slot].decode(&dst[slot], row, start, end); err != nil {
				return p.columnError(slot, err)
			}
		}
		start = end
	}
	for i := range m {
		id := binary.LittleEndian.Uint32(row[nulls+4*i:])
		if slot := int(p.slot(id)) - 1; slot >= 0 {
			dst[slot] = event.Value{}
		}
	}
	return nil
}

func (p *Plan) errLayout(i int, id int64) error {
	return fmt.Errorf("value %d of the row, of column id %d, ends outside of it", i, id)
}
