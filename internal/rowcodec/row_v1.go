package rowcodec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// decodeV1 reads row format v1: pairs of a column id and a value, both with a
// flag in front; a single NULL flag is a row without columns. Values have lost
// their type: times and BIT, ENUM and SET are unsigned integers, TIME is a
// signed one.
func (p *Plan) decodeV1(dst []event.Value, row []byte) error {
	copy(dst, p.absent)
	if len(row) == 1 && row[0] == flagNull {
		return nil
	}
	for len(row) > 0 {
		if row[0] != flagVarint {
			return fmt.Errorf("row is of no known format: byte %#x stands where a column id should", row[0])
		}
		id, n := binary.Varint(row[1:])
		if n <= 0 || id < 0 || id > 1<<32-1 {
			return errors.New("a column id is malformed")
		}
		row = row[1+n:]
		slot := int(p.slot(uint32(id))) - 1
		if slot < 0 {
			n, err := sizeV1(row)
			if err != nil {
				return fmt.Errorf("value of column id %d: %w", id, err)
			}
			row = row[n:]
			continue
		}
		v, n, err := p.columns[slot].fromV1(row)
		if err != nil {
			return p.columnError(slot, err)
		}
		dst[slot] = v
		row = row[n:]
	}
	return nil
}

// fromV1 reads one flagged value and returns how many bytes it takes.
func (c *column) fromV1(b []byte) (v event.Value, n int, err error) {
	n, err = sizeV1(b)
	if err != nil {
		return v, 0, err
	}
	body := b[1:n:n]
	switch b[0] {
	case flagNull:
	case flagInt, flagDuration:
		v, err = c.number(binary.BigEndian.Uint64(body) ^ signMask)
	case flagUint:
		v, err = c.number(binary.BigEndian.Uint64(body))
	case flagVarint:
		i, _ := binary.Varint(body)
		v, err = c.number(uint64(i))
	case flagUvarint:
		u, _ := binary.Uvarint(body)
		v, err = c.number(u)
	case flagFloat:
		v, err = c.float(decodeFloat(body))
	case flagDecimal:
		v, err = c.decimal(body)
	case flagBytes:
		var a arena
		if body, _, err = decodeBytes(body, &a); err == nil {
			v, err = c.bytes(body)
		}
	case flagCompactBytes:
		_, width := binary.Varint(body)
		v, err = c.bytes(body[width:])
	case flagJSON:
		if c.op != opJSON {
			return v, 0, errors.New("holds JSON, which the column's type does not allow")
		}
		v, err = event.JSONValue(body)
	case flagVector:
		if c.op != opVector {
			return v, 0, errors.New("holds a vector, which the column's type does not allow")
		}
		v, err = event.VectorValue(body)
	}
	return v, n, err
}

// sizeV1 returns the length of the flagged value at the start of b, which is
// within b. It does not look inside the value.
func sizeV1(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, errShortRow
	}
	n, err := bodySizeV1(b[0], b[1:])
	if err != nil {
		return 0, err
	}
	if n < 0 || n > len(b)-1 {
		return 0, errShortRow
	}
	return 1 + n, nil
}

func bodySizeV1(flag byte, body []byte) (int, error) {
	switch flag {
	case flagNull:
		return 0, nil
	case flagInt, flagUint, flagFloat, flagDuration:
		return 8, nil
	case flagVarint, flagUvarint:
		_, n := binary.Uvarint(body) // zig-zag does not change the length
		return positive(n)
	case flagBytes:
		for n := bytesGroup + 1; n <= len(body); n += bytesGroup + 1 {
			if body[n-1] != 0xff {
				return n, nil
			}
		}
		return 0, errShortRow
	case flagCompactBytes:
		size, n := binary.Varint(body)
		if n <= 0 || size < 0 || size > int64(len(body)) {
			return 0, errShortRow
		}
		return n + int(size), nil
	case flagDecimal:
		return decimalSize(body)
	case flagJSON:
		return jsonSize(body)
	case flagVector:
		if len(body) < 4 {
			return 0, errShortRow
		}
		return 4 + 4*int(binary.LittleEndian.Uint32(body)), nil
	}
	return 0, fmt.Errorf("unknown flag %#x", flag)
}

// decimalSize returns the length of a binary decimal: a byte with the number of
// digits, one with those after the point, then words of nine digits in four
// bytes, fewer for the incomplete words on both ends.
func decimalSize(b []byte) (int, error) {
	partial := [...]int{0, 1, 1, 2, 2, 3, 3, 4, 4}
	if len(b) < 2 || b[0] < b[1] {
		return 0, errShortRow
	}
	frac := int(b[1])
	intg := int(b[0]) - frac
	n := 2 + partial[intg%9] + (intg/9+frac/9)*4 + partial[frac%9]
	if n > len(b) {
		return 0, errShortRow
	}
	return n, nil
}

// jsonSize returns the length of a binary JSON document, which format v1 does
// not note. See event's description of the form.
func jsonSize(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, errShortRow
	}
	body := b[1:]
	switch b[0] {
	case 0x01, 0x03: // object, array: the length follows the count
		if len(body) < 8 {
			return 0, errShortRow
		}
		return 1 + int(binary.LittleEndian.Uint32(body[4:])), nil
	case 0x04: // literal
		return 2, nil
	case 0x09, 0x0a, 0x0b, 0x0e, 0x0f, 0x10: // numbers and times
		return 9, nil
	case 0x0c: // string
		size, n := binary.Uvarint(body)
		if n <= 0 || size > uint64(len(body)) {
			return 0, errShortRow
		}
		return 1 + n + int(size), nil
	case 0x0d: // opaque: a type byte more
		if len(body) == 0 {
			return 0, errShortRow
		}
		size, n := binary.Uvarint(body[1:])
		if n <= 0 || size > uint64(len(body)) {
			return 0, errShortRow
		}
		return 2 + n + int(size), nil
	case 0x11: // duration
		return 13, nil
	}
	return 0, fmt.Errorf("unknown JSON type %#x", b[0])
}

func positive(n int) (int, error) {
	if n <= 0 {
		return 0, errShortRow
	}
	return n, nil
}
