package rowcodec

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// op says how a column's bytes are read.
type op uint8

const (
	opInt op = iota
	opUint
	opText
	opBytes
	opDate
	opDatetime
	opTimestamp
	opDuration
	opDecimal
	opFloat32
	opFloat64
	opEnum
	opSet
	opBit
	opJSON
	opVector
)

// column is what decoding needs to know of a column.
type column struct {
	op op
	// scale is the digits after the second or the point; the width of a BIT.
	scale int
	elems []string
}

func newColumn(info *event.ColumnInfo) (column, error) {
	c := column{scale: info.Decimal, elems: info.Elems}
	switch info.Type {
	case event.TypeTiny, event.TypeShort, event.TypeInt24, event.TypeLong, event.TypeLonglong:
		c.op = opInt
		if info.Unsigned() {
			c.op = opUint
		}
	case event.TypeYear:
		c.op = opInt // YEAR carries the unsigned flag but is written signed
	case event.TypeFloat:
		c.op = opFloat32
	case event.TypeDouble:
		c.op = opFloat64
	case event.TypeNewDecimal:
		c.op = opDecimal
	case event.TypeVarchar, event.TypeVarString, event.TypeString,
		event.TypeTinyBlob, event.TypeBlob, event.TypeMediumBlob, event.TypeLongBlob:
		c.op = opText
		if info.Binary() {
			c.op = opBytes
		}
	case event.TypeDate, event.TypeNewDate:
		c.op = opDate
	case event.TypeDatetime:
		c.op = opDatetime
	case event.TypeTimestamp:
		c.op = opTimestamp
	case event.TypeDuration:
		c.op = opDuration
	case event.TypeEnum:
		c.op = opEnum
	case event.TypeSet:
		c.op = opSet
	case event.TypeBit:
		c.op, c.scale = opBit, info.Length
	case event.TypeJSON:
		c.op = opJSON
	case event.TypeVector:
		c.op = opVector
	default:
		return c, fmt.Errorf("type %d is not known", info.Type)
	}
	return c, nil
}

// decode reads the value that row format v2 stores in row[start:end].
func (c *column) decode(dst *event.Value, row []byte, start, end int) (err error) {
	switch c.op {
	case opText:
		*dst = event.TextBytesValue(row[start:end:end])
		return nil
	case opBytes:
		*dst = event.BytesValue(row[start:end:end])
		return nil
	case opJSON:
		*dst, err = event.JSONValue(row[start:end:end])
		return err
	case opDecimal:
		*dst, err = event.DecimalValue(row[start:end:end], c.scale)
		return err
	case opVector:
		*dst, err = event.VectorValue(row[start:end:end])
		return err
	case opFloat32, opFloat64:
		if end-start != 8 {
			return errWidth(end - start)
		}
		*dst, err = c.float(decodeFloat(row[start:end]))
		return err
	}
	// All others are a number of 1, 2, 4 or 8 bytes. Its last eight bytes of
	// room are always within the row, whose header is that long, so one load
	// and a shift read any width.
	width := end - start
	if width&(width-1) != 0 || uint(width-1) > 7 {
		return errWidth(width)
	}
	n := binary.LittleEndian.Uint64(row[end-8 : end])
	shift := uint(64-8*width) & 63
	switch c.op {
	case opInt:
		*dst = event.Int64Value(int64(n) >> shift)
		return nil
	case opUint:
		*dst = event.Uint64Value(n >> shift)
		return nil
	case opDuration:
		n = uint64(int64(n) >> shift)
	default:
		n >>= shift
	}
	*dst, err = c.number(n)
	return err
}

// number makes the value of a column that is stored as an integer.
func (c *column) number(n uint64) (event.Value, error) {
	switch c.op {
	case opInt:
		return event.Int64Value(int64(n)), nil
	case opUint:
		return event.Uint64Value(n), nil
	case opDate:
		return event.PackedTimeValue(event.KindDate, n, 0)
	case opDatetime:
		return event.PackedTimeValue(event.KindDatetime, n, c.scale)
	case opTimestamp:
		return event.PackedTimeValue(event.KindTimestamp, n, c.scale)
	case opDuration:
		return event.DurationValue(time.Duration(n), c.scale), nil
	case opEnum:
		return event.EnumValue(n, c.elems), nil
	case opSet:
		if bits := uint(len(c.elems)); bits < 64 && n>>bits != 0 {
			return event.Value{}, fmt.Errorf("set %#x has more than its %d elements", n, bits)
		}
		return event.SetValue(n, c.elems), nil
	case opBit:
		return event.BitValue(n, c.scale), nil
	}
	return event.Value{}, fmt.Errorf("holds an integer, which the column's type does not allow")
}

// bytes makes the value of a column that is stored as bytes.
func (c *column) bytes(b []byte) (event.Value, error) {
	switch c.op {
	case opText:
		return event.TextBytesValue(b), nil
	case opBytes:
		return event.BytesValue(b), nil
	}
	return event.Value{}, fmt.Errorf("holds bytes, which the column's type does not allow")
}

// float makes the value of a column that is stored as a float64.
func (c *column) float(f float64) (event.Value, error) {
	switch c.op {
	case opFloat32:
		return event.Float32Value(float32(f)), nil
	case opFloat64:
		return event.Float64Value(f), nil
	}
	return event.Value{}, fmt.Errorf("holds a float, which the column's type does not allow")
}

// decimal makes the value of a column that is stored as a decimal.
func (c *column) decimal(b []byte) (event.Value, error) {
	if c.op != opDecimal {
		return event.Value{}, fmt.Errorf("holds a decimal, which the column's type does not allow")
	}
	return event.DecimalValue(b, c.scale)
}

// decodeFloat reads the form that compares like the number: the sign bit is
// inverted, and so are all others of a negative number.
func decodeFloat(b []byte) float64 {
	n := binary.BigEndian.Uint64(b)
	if n&signMask != 0 {
		n &^= signMask
	} else {
		n = ^n
	}
	return math.Float64frombits(n)
}

func errWidth(n int) error { return fmt.Errorf("%d bytes do not fit the column's type", n) }
