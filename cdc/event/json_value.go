package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// TiDB's binary JSON: a type byte, then the value.
//
//	literal     1 byte: 0 null, 1 true, 2 false
//	numbers     8 bytes, little-endian
//	string      length as uvarint, bytes
//	opaque      MySQL type byte, length as uvarint, bytes
//	times       8 bytes, little-endian: see coreTime
//	duration    nanoseconds in 8 bytes, digits after the second in 4, little-endian
//	array       count u32, size u32, count value entries, values
//	object      count u32, size u32, count key entries, count value entries, keys, values
//
// A value entry is a type byte and a u32: a literal itself, or where the value
// starts, counted from the start of its array or object. A key entry is u32
// where and u16 how long. size covers the whole array or object.
const (
	jsonObject    = 0x01
	jsonArray     = 0x03
	jsonLiteral   = 0x04
	jsonInt64     = 0x09
	jsonUint64    = 0x0a
	jsonFloat64   = 0x0b
	jsonString    = 0x0c
	jsonOpaque    = 0x0d
	jsonDate      = 0x0e
	jsonDatetime  = 0x0f
	jsonTimestamp = 0x10
	jsonDuration  = 0x11

	jsonNull  = 0
	jsonTrue  = 1
	jsonFalse = 2

	jsonHeader     = 8
	jsonKeyEntry   = 6
	jsonValueEntry = 5

	// maxJSONDepth bounds recursion. MySQL and TiDB refuse documents deeper than 100.
	maxJSONDepth = 1000
)

var (
	errJSONShort   = errors.New("cut short")
	errJSONOverlap = errors.New("parts overlap")
)

// JSONValue returns a KindJSON value from TiDB's binary JSON, which it aliases
// and which must not change afterwards. The whole document is checked, so that
// rendering it cannot fail, in time proportional to its length.
func JSONValue(bin []byte) (Value, error) {
	if len(bin) == 0 {
		return Value{}, fmt.Errorf("read JSON: %w", errJSONShort)
	}
	c := jsonChecker{budget: len(bin)}
	if err := c.check(bin[0], bin[1:], 0); err != nil {
		return Value{}, fmt.Errorf("read JSON: %w", err)
	}
	return Value{kind: KindJSON, data: unsafe.SliceData(bin), size: uint32(len(bin))}, nil
}

// jsonChecker validates a document. In a sound one no two parts share a byte,
// so the bytes of all parts together are at most the document's; the budget
// holds a crafted one to that, which else could blow up when it is rendered.
type jsonChecker struct{ budget int }

func (c *jsonChecker) spend(n, have int) error {
	if n > have {
		return errJSONShort
	}
	if c.budget -= n; c.budget < 0 {
		return errJSONOverlap
	}
	return nil
}

func (c *jsonChecker) check(tp byte, b []byte, depth int) error {
	switch tp {
	case jsonString:
		n, width := binary.Uvarint(b)
		if width <= 0 || n > uint64(len(b)) {
			return errJSONShort
		}
		return c.spend(width+int(n), len(b))
	case jsonInt64, jsonUint64:
		return c.spend(8, len(b))
	case jsonObject, jsonArray:
		return c.checkContainer(tp, b, depth)
	case jsonLiteral:
		if len(b) > 0 && b[0] > jsonFalse {
			return fmt.Errorf("unknown literal %d", b[0])
		}
		return c.spend(1, len(b))
	case jsonFloat64:
		if len(b) < 8 {
			return errJSONShort
		}
		if f := math.Float64frombits(binary.LittleEndian.Uint64(b)); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("number is %v", f)
		}
		return c.spend(8, len(b))
	case jsonOpaque:
		if len(b) == 0 {
			return errJSONShort
		}
		n, width := binary.Uvarint(b[1:])
		if width <= 0 || n > uint64(len(b)) {
			return errJSONShort
		}
		return c.spend(1+width+int(n), len(b))
	case jsonDate, jsonDatetime, jsonTimestamp:
		if len(b) < 8 {
			return errJSONShort
		}
		if t := coreTime(binary.LittleEndian.Uint64(b)); !t.valid() {
			return fmt.Errorf("time out of range: %+v", t)
		}
		return c.spend(8, len(b))
	case jsonDuration:
		return c.spend(12, len(b))
	}
	return fmt.Errorf("unknown type %#x", tp)
}

func (c *jsonChecker) checkContainer(tp byte, b []byte, depth int) error {
	if depth >= maxJSONDepth {
		return fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	if len(b) < jsonHeader {
		return errJSONShort
	}
	count := int(binary.LittleEndian.Uint32(b))
	size := int(binary.LittleEndian.Uint32(b[4:]))
	// The sums below stay within an int, of 32 bits too.
	if size < jsonHeader || size > len(b) || uint(count) > uint(size)/jsonValueEntry {
		return errJSONShort
	}
	b = b[:size]
	values := jsonHeader // where the value entries start
	if tp == jsonObject {
		values += count * jsonKeyEntry
	}
	start := values + count*jsonValueEntry // where keys and values may start
	if err := c.spend(start, size); err != nil {
		return err
	}
	for e := jsonHeader; e < values; e += jsonKeyEntry {
		off, n := int(binary.LittleEndian.Uint32(b[e:])), int(binary.LittleEndian.Uint16(b[e+4:]))
		if off < start || off > size {
			return errJSONShort
		}
		if err := c.spend(n, size-off); err != nil {
			return err
		}
	}
	for e := values; e < start; e += jsonValueEntry {
		if b[e] == jsonLiteral {
			if b[e+1] > jsonFalse {
				return fmt.Errorf("unknown literal %d", b[e+1])
			}
			continue
		}
		off := int(binary.LittleEndian.Uint32(b[e+1:]))
		// Values start behind the entries, so nesting always moves forward and ends.
		if off < start || off > size {
			return errJSONShort
		}
		if err := c.check(b[e], b[off:], depth+1); err != nil {
			return err
		}
	}
	return nil
}

// coreTime unpacks a time within JSON, where TiDB stores the fields of its
// in-memory form: year 14 bits, month 4, day 5, hour 5, minute 6, second 6,
// microsecond 20, and 4 bits that say nothing here.
func coreTime(n uint64) DateTime {
	return DateTime{
		Year: int(n >> 50), Month: int(n >> 46 & 15), Day: int(n >> 41 & 31),
		Hour: int(n >> 36 & 31), Minute: int(n >> 30 & 63), Second: int(n >> 24 & 63),
		Microsecond: int(n >> 4 & (1<<20 - 1)),
	}
}
