package event

import (
	"encoding/json"
	"math"
	"math/bits"
	"strconv"
	"time"
)

// String returns the SQL name of the type a kind comes from, in lower case.
func (k ValueKind) String() string {
	names := [...]string{
		"null", "int", "unsigned int", "float", "double", "decimal", "text", "bytes", "date", "datetime",
		"timestamp", "time", "bit", "enum", "set", "json", "vector",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown kind " + strconv.Itoa(int(k))
}

// Text returns the value as [Value.AppendText] renders it. For KindText,
// KindBytes and KindEnum the string aliases the value's memory without a copy.
func (v Value) Text() string {
	switch v.kind {
	case KindNull:
		return ""
	case KindText, KindBytes, KindEnum:
		return v.string()
	}
	var buf [64]byte
	return string(v.AppendText(buf[:0]))
}

// AppendText appends the value as MySQL and TiDB print it:
//
//   - NULL: nothing.
//   - Integers, YEAR and BIT in decimal.
//   - FLOAT and DOUBLE: the shortest digits that read back as the same 32 or 64
//     bits, with an exponent (1e20, 1.5e-16) from 1e15 up and below 1e-15.
//   - DECIMAL: exact, with as many digits after the point as the column declares.
//   - Text and bytes: as they are.
//   - DATE 2024-07-22; DATETIME and TIMESTAMP 2024-07-22 01:02:03.000456 with
//     as many digits after the second as the column declares; a timestamp in UTC.
//   - TIME: -01:00:00.
//   - ENUM: its name. SET: its names, joined by commas.
//   - JSON: {"a": [1, "x", null]}. VECTOR: [1,2.5].
func (v Value) AppendText(dst []byte) []byte { return v.AppendTextIn(dst, time.UTC) }

// AppendTextIn is [Value.AppendText], but shows a timestamp as clocks in loc
// show it. A zero timestamp is the same everywhere.
func (v Value) AppendTextIn(dst []byte, loc *time.Location) []byte {
	switch v.kind {
	case KindInt64:
		return strconv.AppendInt(dst, int64(v.num), 10)
	case KindUint64, KindBit:
		return strconv.AppendUint(dst, v.num, 10)
	case KindFloat32:
		return appendFloat(dst, float64(v.float32()), 32)
	case KindFloat64:
		return appendFloat(dst, math.Float64frombits(v.num), 64)
	case KindText, KindBytes, KindEnum:
		return append(dst, v.string()...)
	case KindDecimal:
		return v.appendDecimal(dst)
	case KindDate, KindDatetime, KindTimestamp:
		return v.appendTemporal(dst, loc)
	case KindDuration:
		return appendDuration(dst, time.Duration(v.num), v.scale)
	case KindSet:
		return v.appendSet(dst)
	case KindJSON:
		return appendJSON(dst, *v.data, v.bytes()[1:])
	case KindVector:
		return v.appendVector(dst)
	}
	return dst
}

// appendFloat switches to an exponent where MySQL does.
func appendFloat(dst []byte, f float64, bitSize int) []byte {
	const first, last = 1e-15, 1e15
	if abs := math.Abs(f); abs == 0 || abs >= first && abs < last {
		return strconv.AppendFloat(dst, f, 'f', -1, bitSize)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, bitSize)
	// strconv writes e+20 where MySQL writes e20.
	for i := start; i < len(dst)-1; i++ {
		if dst[i] == 'e' && dst[i+1] == '+' {
			return append(dst[:i+1], dst[i+2:]...)
		}
	}
	return dst
}

func (v Value) appendSet(dst []byte) []byte {
	elems := v.elems()
	start := len(dst)
	for mask := v.num; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros64(mask)
		if i >= len(elems) {
			break
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, elems[i]...)
	}
	return dst
}

// Any returns the value as an ordinary Go value:
//
//   - nil for NULL
//   - int64, uint64, float32, float64 for numbers
//   - string for text, DECIMAL, the temporal kinds (a timestamp in UTC), ENUM and SET, as [Value.Text] has it
//   - []byte for KindBytes (not a copy: do not change it) and KindBit, as [Value.Bytes] has it
//   - json.RawMessage for JSON
//   - []float32 for VECTOR
//
// It allocates; code on a hot path uses the typed accessors.
func (v Value) Any() any {
	switch v.kind {
	case KindNull:
		return nil
	case KindInt64:
		return int64(v.num)
	case KindUint64:
		return v.num
	case KindFloat32:
		return v.float32()
	case KindFloat64:
		return math.Float64frombits(v.num)
	case KindBytes, KindBit:
		return v.Bytes()
	case KindJSON:
		return json.RawMessage(v.AppendText(nil))
	case KindVector:
		return v.Vector()
	}
	return v.Text()
}
