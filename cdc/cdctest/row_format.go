package cdctest

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Rows are written in TiDB's row format v2: 0x80, flags, counts of the columns
// that are not NULL and that are, their ids in ascending order, the end offsets
// of the values, the values. With an id above 255 or more than 64 KiB of
// values, ids and offsets have four bytes (flag 1) instead of one and two.
const (
	rowFormatV2 = 0x80
	flagLarge   = 0x01
)

// encodeRow encodes a row but its integer primary key, which stands in the key.
func encodeRow(columns []Column, values []any) ([]byte, error) {
	type cell struct {
		id   int64
		data []byte
	}
	var set []cell
	var nulls []int64
	size := 0
	for i := range columns {
		c := &columns[i]
		switch {
		case c.isKey():
		case values[i] == nil && c.isNotNull():
			return nil, fmt.Errorf("column %s is NOT NULL", c.Name)
		case values[i] == nil:
			nulls = append(nulls, c.id)
		default:
			data, err := encodeValue(c, values[i])
			if err != nil {
				return nil, err
			}
			set = append(set, cell{c.id, data})
			size += len(data)
		}
	}
	slices.SortFunc(set, func(a, b cell) int { return int(a.id - b.id) })
	slices.Sort(nulls)
	large := size > math.MaxUint16
	for _, c := range columns {
		large = large || c.id > math.MaxUint8
	}
	flags := byte(0)
	if large {
		flags = flagLarge
	}
	row := []byte{rowFormatV2, flags}
	row = binary.LittleEndian.AppendUint16(row, uint16(len(set)))
	row = binary.LittleEndian.AppendUint16(row, uint16(len(nulls)))
	appendID := func(id int64) {
		if large {
			row = binary.LittleEndian.AppendUint32(row, uint32(id))
		} else {
			row = append(row, byte(id))
		}
	}
	for _, c := range set {
		appendID(c.id)
	}
	for _, id := range nulls {
		appendID(id)
	}
	end := 0
	for _, c := range set {
		end += len(c.data)
		if large {
			row = binary.LittleEndian.AppendUint32(row, uint32(end))
		} else {
			row = binary.LittleEndian.AppendUint16(row, uint16(end))
		}
	}
	for _, c := range set {
		row = append(row, c.data...)
	}
	return row, nil
}

func encodeValue(c *Column, v any) ([]byte, error) {
	switch {
	case c.Type == event.TypeDouble:
		f, ok := v.(float64)
		if !ok {
			break
		}
		bits := math.Float64bits(f)
		if bits>>63 == 0 {
			bits |= 1 << 63
		} else {
			bits = ^bits
		}
		return binary.BigEndian.AppendUint64(nil, bits), nil
	case c.Type == event.TypeLonglong:
		n, ok := integer(v)
		if !ok {
			break
		}
		if c.Flag&event.FlagUnsigned != 0 {
			return shortUint(uint64(n)), nil
		}
		return shortInt(n), nil
	default:
		switch v := v.(type) {
		case string:
			return []byte(v), nil
		case []byte:
			return slices.Clone(v), nil
		}
	}
	return nil, fmt.Errorf("column %s: cannot hold a %T", c.Name, v)
}

// integer returns v as an int64; an unsigned one keeps its bits.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(v), true
	}
	return 0, false
}

func shortInt(n int64) []byte {
	switch {
	case int64(int8(n)) == n:
		return []byte{byte(n)}
	case int64(int16(n)) == n:
		return binary.LittleEndian.AppendUint16(nil, uint16(n))
	case int64(int32(n)) == n:
		return binary.LittleEndian.AppendUint32(nil, uint32(n))
	}
	return binary.LittleEndian.AppendUint64(nil, uint64(n))
}

func shortUint(n uint64) []byte {
	switch {
	case n <= math.MaxUint8:
		return []byte{byte(n)}
	case n <= math.MaxUint16:
		return binary.LittleEndian.AppendUint16(nil, uint16(n))
	case n <= math.MaxUint32:
		return binary.LittleEndian.AppendUint32(nil, uint32(n))
	}
	return binary.LittleEndian.AppendUint64(nil, n)
}

// decodeRow undoes encodeRow, for columns of possibly another schema version:
// what the row does not have is the column's origin default. handle is the
// primary key's value.
func decodeRow(columns []Column, handle int64, row []byte) ([]event.Value, error) {
	const header = 6
	if len(row) < header || row[0] != rowFormatV2 {
		return nil, fmt.Errorf("decode row %x: not in row format v2", row)
	}
	idSize, endSize := 1, 2
	if row[1]&flagLarge != 0 {
		idSize, endSize = 4, 4
	}
	set, nulls := int(binary.LittleEndian.Uint16(row[2:])), int(binary.LittleEndian.Uint16(row[4:]))
	endsAt := header + (set+nulls)*idSize
	dataAt := endsAt + set*endSize
	if len(row) < dataAt {
		return nil, fmt.Errorf("decode row %x: too short", row)
	}
	number := func(at, size int) int64 {
		switch size {
		case 1:
			return int64(row[at])
		case 2:
			return int64(binary.LittleEndian.Uint16(row[at:]))
		}
		return int64(binary.LittleEndian.Uint32(row[at:]))
	}
	cells := map[int64][]byte{} // nil for NULL
	start := int64(0)
	for i := range set {
		end := number(endsAt+i*endSize, endSize)
		if end < start || int64(dataAt)+end > int64(len(row)) {
			return nil, fmt.Errorf("decode row %x: offsets out of range", row)
		}
		data := row[int64(dataAt)+start : int64(dataAt)+end : int64(dataAt)+end]
		cells[number(header+i*idSize, idSize)] = data
		start = end
	}
	for i := range nulls {
		cells[number(header+(set+i)*idSize, idSize)] = nil
	}
	values := make([]event.Value, len(columns))
	for i := range columns {
		c := &columns[i]
		data, ok := cells[c.id]
		var err error
		switch {
		case c.isKey():
			values[i] = intValue(c, handle)
		case ok && data != nil:
			values[i], err = decodeValue(c, data)
		case !ok:
			values[i], err = c.originDefault()
		}
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

func intValue(c *Column, n int64) event.Value {
	if c.Flag&event.FlagUnsigned != 0 {
		return event.Uint64Value(uint64(n))
	}
	return event.Int64Value(n)
}

func decodeValue(c *Column, data []byte) (event.Value, error) {
	switch c.Type {
	case event.TypeDouble:
		if len(data) != 8 {
			break
		}
		bits := binary.BigEndian.Uint64(data)
		if bits>>63 == 1 {
			bits &^= 1 << 63
		} else {
			bits = ^bits
		}
		return event.Float64Value(math.Float64frombits(bits)), nil
	case event.TypeLonglong:
		var n uint64
		switch len(data) {
		case 1, 2, 4, 8:
		default:
			return event.Value{}, fmt.Errorf("decode column %s: an integer of %d bytes", c.Name, len(data))
		}
		for i := range data {
			n |= uint64(data[i]) << (8 * i)
		}
		if c.Flag&event.FlagUnsigned == 0 {
			shift := 64 - 8*len(data)
			return event.Int64Value(int64(n<<shift) >> shift), nil
		}
		return event.Uint64Value(n), nil
	case event.TypeBlob:
		if c.Charset == "binary" {
			return event.BytesValue(data), nil
		}
		return event.TextBytesValue(data), nil
	}
	return event.Value{}, fmt.Errorf("decode column %s of type %d: %x", c.Name, c.Type, data)
}

// originDefault is the value in rows that are older than the column.
func (c *Column) originDefault() (event.Value, error) {
	if c.origin == nil {
		return c.zero(), nil
	}
	switch {
	case c.Type == event.TypeDouble:
		f, err := strconv.ParseFloat(*c.origin, 64)
		return event.Float64Value(f), err
	case c.Type == event.TypeLonglong && c.Flag&event.FlagUnsigned != 0:
		n, err := strconv.ParseUint(*c.origin, 10, 64)
		return event.Uint64Value(n), err
	case c.Type == event.TypeLonglong:
		n, err := strconv.ParseInt(*c.origin, 10, 64)
		return event.Int64Value(n), err
	case c.Charset == "binary":
		return event.BytesValue([]byte(*c.origin)), nil
	}
	return event.TextValue(*c.origin), nil
}

// zero is NULL, or of a NOT NULL column its type's zero.
func (c *Column) zero() event.Value {
	switch {
	case !c.isNotNull():
		return event.Value{}
	case c.Type == event.TypeDouble:
		return event.Float64Value(0)
	case c.Type == event.TypeLonglong:
		return intValue(c, 0)
	case c.Charset == "binary":
		return event.BytesValue(nil)
	}
	return event.TextValue("")
}
