package event

import (
	"bytes"
	"math"
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
// nor copies. The zero Value is SQL NULL. Accessors never panic: asked for
// what the kind does not hold, they return the zero of their type.
type Value struct {
	data *byte  // KindText, KindBytes, KindDecimal, KindJSON, KindVector: the bytes; KindEnum, KindSet: the name
	num  uint64 // numbers, float bits, packed times, nanoseconds, enum ordinal, set and bit mask
	size uint32 // length of data
	kind ValueKind
	fsp  uint8 // digits after the second for temporal kinds
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

// bytes returns the data as a slice; it must not be written to.
func (v Value) bytes() []byte { return unsafe.Slice(v.data, v.size) }

// string returns the data as a string.
func (v Value) string() string { return unsafe.String(v.data, v.size) }

// Clone returns a copy that shares no memory with v.
func (v Value) Clone() Value {
	if v.data != nil {
		v.data = unsafe.SliceData(bytes.Clone(v.bytes()))
	}
	return v
}
