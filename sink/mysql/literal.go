package mysql

import (
	"bytes"
	"strconv"
	"time"
	"unsafe"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// appendLiteral appends v as an SQL literal that reads back exactly, in a session
// with rowSQLMode, utf8mb4 and the time zone UTC.
func appendLiteral(dst []byte, v event.Value) []byte {
	switch v.Kind() {
	case event.KindNull:
		return append(dst, "NULL"...)
	case event.KindInt64:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case event.KindUint64, event.KindBit, event.KindEnum, event.KindSet:
		// ENUM and SET by number: their names need not be unique to a collation.
		return strconv.AppendUint(dst, v.Uint64(), 10)
	case event.KindFloat32, event.KindFloat64:
		// The exponent makes it a DOUBLE and not a DECIMAL. A FLOAT is compared as a
		// DOUBLE, so that it needs the digits of one.
		return strconv.AppendFloat(dst, v.Float64(), 'e', -1, 64)
	case event.KindDecimal:
		return v.AppendText(dst)
	case event.KindText:
		return appendQuoted(dst, v.Bytes())
	case event.KindBytes:
		// The introducer keeps the server from checking the bytes as text.
		return appendQuoted(append(dst, "_binary"...), v.Bytes())
	case event.KindJSON:
		return appendQuoted(dst, v.AppendText(nil))
	default: // dates, times and vectors have nothing to escape
		dst = append(dst, '\'')
		dst = v.AppendTextIn(dst, time.UTC)
		return append(dst, '\'')
	}
}

// appendQuoted appends b as a string literal. In UTF-8 no byte of a longer
// character looks like a quote or a backslash.
func appendQuoted(dst, b []byte) []byte {
	dst = append(dst, '\'')
	if bytes.IndexByte(b, '\'') < 0 && bytes.IndexByte(b, '\\') < 0 && bytes.IndexByte(b, 0) < 0 {
		dst = append(dst, b...)
		return append(dst, '\'')
	}
	for _, c := range b {
		switch c {
		case '\'', '\\':
			dst = append(dst, '\\', c)
		case 0:
			dst = append(dst, '\\', '0')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '\'')
}

// appendName appends an identifier.
func appendName(dst []byte, name string) []byte {
	dst = append(dst, '`')
	for i := range len(name) {
		if name[i] == '`' {
			dst = append(dst, '`')
		}
		dst = append(dst, name[i])
	}
	return append(dst, '`')
}

// appendText renders the values that a parameter of a prepared statement needs as
// text to arena, and returns the parameter.
func parameter(arena []byte, v event.Value) ([]byte, any) {
	switch v.Kind() {
	case event.KindNull:
		return arena, nil
	case event.KindInt64:
		return arena, v.Int64()
	case event.KindUint64, event.KindBit, event.KindEnum, event.KindSet:
		return arena, v.Uint64()
	case event.KindFloat32, event.KindFloat64:
		return arena, v.Float64()
	case event.KindText, event.KindBytes:
		return arena, v.Text()
	default:
		from := len(arena)
		arena = v.AppendTextIn(arena, time.UTC)
		return arena, viewString(arena[from:])
	}
}

// viewString is the string that shares b's memory, which must stay as it is for
// as long as the string is used.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
