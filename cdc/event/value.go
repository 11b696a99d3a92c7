package event

import (
	"bytes"
	"math"
	"strconv"
	"unsafe"
)

// ValueKind tells how a [Value] is to be read.
type ValueKind uint8

// The kinds of values, with the column types they come from.
const (
	// KindNull is SQL NULL.
	KindNull ValueKind = iota
	// KindInt64 is a signed integer or a YEAR.
	KindInt64
	// KindUint64 is an unsigned integer.
	KindUint64
	// KindFloat32 is a FLOAT.
	KindFloat32
	// KindFloat64 is a DOUBLE.
	KindFloat64
	// KindDecimal is a DECIMAL.
	KindDecimal
	// KindText is a CHAR, VARCHAR or TEXT, in UTF-8 (TiKV stores GBK columns as UTF-8 too).
	KindText
	// KindBytes is a BINARY, VARBINARY or BLOB.
	KindBytes
	// KindDate is a DATE.
	KindDate
	// KindDatetime is a DATETIME.
	KindDatetime
	// KindTimestamp is a TIMESTAMP, in UTC.
	KindTimestamp
	// KindDuration is a TIME: signed, up to 838:59:59.
	KindDuration
	// KindBit is a BIT.
	KindBit
	// KindEnum is an ENUM: a number, 1-based, and its name.
	KindEnum
	// KindSet is a SET: a bit mask and the names of its bits.
	KindSet
	// KindJSON is a JSON document.
	KindJSON
	// KindVector is a VECTOR of float32.
	KindVector
)

// Value is one column's value: a tagged union of 24 bytes that neither boxes
// nor copies. The zero Value is SQL NULL.
//
// Numbers and times are held in the Value itself; texts, bytes, decimals, JSON
// and vectors point into the row that TiKV sent and are rendered only when
// asked for. What a constructor accepted can always be rendered, so no accessor
// fails or panics: asked for what the kind does not hold, it returns the zero
// of its type.
type Value struct {
	// data points to the bytes of KindText, KindBytes, KindDecimal, KindJSON and
	// KindVector, to the name of KindEnum, and to the first of the column's
	// element names ([]string) of KindSet.
	data *byte
	// num holds numbers, float bits, packed times, nanoseconds, enum ordinal, set and bit masks.
	num uint64
	// size is the length of what data points to, in bytes; in names for KindSet.
	size uint32
	kind ValueKind
	// scale is the digits after the second of temporal kinds, the digits after
	// the point of KindDecimal, and the width in bits of KindBit.
	scale uint8
}

// Kind returns the value's kind.
func (v Value) Kind() ValueKind { return v.kind }

// IsNull reports whether v is SQL NULL.
func (v Value) IsNull() bool { return v.kind == KindNull }

// Int64Value returns a KindInt64 value.
func Int64Value(n int64) Value { return Value{kind: KindInt64, num: uint64(n)} }

// Uint64Value returns a KindUint64 value.
func Uint64Value(n uint64) Value { return Value{kind: KindUint64, num: n} }

// Float32Value returns a KindFloat32 value.
func Float32Value(f float32) Value {
	return Value{kind: KindFloat32, num: uint64(math.Float32bits(f))}
}

// Float64Value returns a KindFloat64 value.
func Float64Value(f float64) Value { return Value{kind: KindFloat64, num: math.Float64bits(f)} }

// TextValue returns a KindText value that aliases s.
func TextValue(s string) Value {
	return Value{kind: KindText, data: unsafe.StringData(s), size: uint32(len(s))}
}

// TextBytesValue returns a KindText value that aliases b, which must not change afterwards.
func TextBytesValue(b []byte) Value {
	return Value{kind: KindText, data: unsafe.SliceData(b), size: uint32(len(b))}
}

// BytesValue returns a KindBytes value that aliases b, which must not change afterwards.
func BytesValue(b []byte) Value {
	return Value{kind: KindBytes, data: unsafe.SliceData(b), size: uint32(len(b))}
}

// BitValue returns a KindBit value of BIT(width), 1 <= width <= 64. Bits above
// the width are kept.
func BitValue(bits uint64, width int) Value {
	return Value{kind: KindBit, num: bits, scale: uint8(min(max(width, 1), 64))}
}

// EnumValue returns a KindEnum value: the ordinal of an element, from 1 on, and
// the column's elements, whose string it aliases. Ordinal 0 is the empty string
// that MySQL stores for a wrong element; an ordinal without an element becomes
// 0, as TiDB reads it.
func EnumValue(ordinal uint64, elems []string) Value {
	if ordinal == 0 || ordinal > uint64(len(elems)) {
		return Value{kind: KindEnum}
	}
	name := elems[ordinal-1]
	return Value{kind: KindEnum, num: ordinal, data: unsafe.StringData(name), size: uint32(len(name))}
}

// SetValue returns a KindSet value: bit i of mask stands for elems[i]. It
// aliases elems, which must not change afterwards.
func SetValue(mask uint64, elems []string) Value {
	return Value{
		kind: KindSet, num: mask, size: uint32(len(elems)),
		data: (*byte)(unsafe.Pointer(unsafe.SliceData(elems))),
	}
}

// Int64 returns a KindInt64 as it is and the number within KindUint64, KindBit,
// KindEnum and KindSet reinterpreted as signed.
func (v Value) Int64() int64 { return int64(v.Uint64()) }

// Uint64 returns a KindUint64 as it is, the bits of KindBit, the ordinal of
// KindEnum (0 for the empty string), the mask of KindSet, and a KindInt64
// reinterpreted as unsigned.
func (v Value) Uint64() uint64 {
	switch v.kind {
	case KindInt64, KindUint64, KindBit, KindEnum, KindSet:
		return v.num
	}
	return 0
}

// Float64 returns a KindFloat64 or KindFloat32 as it is, and the nearest
// float64 to a KindInt64, KindUint64 or KindDecimal.
func (v Value) Float64() float64 {
	switch v.kind {
	case KindFloat64:
		return math.Float64frombits(v.num)
	case KindFloat32:
		return float64(v.float32())
	case KindInt64:
		return float64(int64(v.num))
	case KindUint64:
		return float64(v.num)
	case KindDecimal:
		f, _ := strconv.ParseFloat(v.Text(), 64) // its text is always a number within range
		return f
	}
	return 0
}

func (v Value) float32() float32 { return math.Float32frombits(uint32(v.num)) }

// Bytes returns the bytes of KindBytes and KindText without copying: they must
// not be changed. For KindBit it returns a new slice, big-endian and as long as
// the column's width needs, which is how MySQL sends a BIT. Other kinds: nil.
func (v Value) Bytes() []byte {
	switch v.kind {
	case KindBytes, KindText:
		return v.bytes()
	case KindBit:
		out := make([]byte, (v.scale+7)/8)
		for i := range out {
			out[len(out)-1-i] = byte(v.num >> (8 * i))
		}
		return out
	}
	return nil
}

// Equal reports whether two values of one column are the same: same kind and
// same text. It compares representations, so that 1.0 and 1.00 differ (they
// cannot both come from one column), and a NaN equals itself.
func Equal(a, b Value) bool {
	if a.kind != b.kind || a.num != b.num {
		return false
	}
	switch a.kind {
	case KindText, KindBytes, KindJSON, KindVector:
		return a.string() == b.string()
	case KindDecimal, KindEnum:
		return a.scale == b.scale && a.string() == b.string()
	case KindSet:
		return a.data == b.data || a.Text() == b.Text()
	}
	return a.scale == b.scale
}

// bytes returns the data as a slice; it must not be written to.
func (v Value) bytes() []byte { return unsafe.Slice(v.data, v.size) }

// string returns the data as a string.
func (v Value) string() string { return unsafe.String(v.data, v.size) }

// elems returns the element names of a KindSet.
func (v Value) elems() []string { return unsafe.Slice((*string)(unsafe.Pointer(v.data)), v.size) }

// Clone returns a copy that shares no memory with the row v came from. The
// names of ENUM and SET belong to the immutable [TableInfo] and stay shared.
func (v Value) Clone() Value {
	switch v.kind {
	case KindText, KindBytes, KindDecimal, KindJSON, KindVector:
		v.data = unsafe.SliceData(bytes.Clone(v.bytes()))
	}
	return v
}
