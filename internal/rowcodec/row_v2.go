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
	return p.decodeSmall(dst, row, n, m)
}

// decodeSmall decodes a row with ids of one byte. This loop is where rows are
// decoded, so the commonest columns are decoded in it.
func (p *Plan) decodeSmall(dst []event.Value, row []byte, n, m int) error {
	nulls := v2Header + n
	offsets := nulls + m
	data := offsets + 2*n
	if data > len(row) {
		return errShortRow
	}
	if m == 0 && p.hasFull && string(row[v2Header:nulls]) == p.fullIDs {
		// The row writes all of dst but the key's columns.
		for i := range p.handle.columns {
			dst[p.handle.columns[i].slot] = event.Value{}
		}
	} else {
		copy(dst, p.absent)
	}
	slots := (*[minSlots]uint16)(p.slots)
	ends := row[offsets:data]
	start := data
	for i, id := range row[v2Header:nulls] {
		end := data + int(binary.LittleEndian.Uint16(ends[2*i:]))
		if end < start || end > len(row) {
			return p.errLayout(i, int64(id))
		}
		if slot := int(slots[id]) - 1; slot >= 0 {
			c := &p.columns[slot]
			switch c.op {
			case opText:
				dst[slot] = event.TextBytesValue(row[start:end:end])
			case opBytes:
				dst[slot] = event.BytesValue(row[start:end:end])
			default:
				if err := c.decode(&dst[slot], row, start, end); err != nil {
					return p.columnError(slot, err)
				}
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
