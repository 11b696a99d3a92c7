package column

import (
	"strconv"
	"time"
	"unsafe"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// AppendJSONString appends the text of a value, a TIMESTAMP in loc, as a JSON
// string.
func AppendJSONString(dst []byte, v event.Value, loc *time.Location) []byte {
	switch v.Kind() {
	case event.KindText, event.KindEnum:
		return jsontext.AppendString(dst, v.Text())
	case event.KindSet, event.KindJSON, event.KindBytes:
		start := len(dst)
		return EscapeFrom(v.AppendText(dst), start)
	}
	// Numbers, times and vectors have no character that needs an escape.
	dst = append(dst, '"')
	dst = v.AppendTextIn(dst, loc)
	return append(dst, '"')
}

// EscapeFrom turns what follows start in dst into a JSON string.
func EscapeFrom(dst []byte, start int) []byte {
	end := len(dst)
	// The string is written behind its source and then moved there; if the buffer
	// grows, the source stays in the old one.
	dst = jsontext.AppendString(dst, unsafe.String(unsafe.SliceData(dst[start:]), end-start))
	return append(dst[:start], dst[end:]...)
}

// AppendFloat appends a FLOAT or DOUBLE with the shortest digits that read back as
// the same and never an exponent.
func AppendFloat(dst []byte, v event.Value) []byte {
	bits := 64
	if v.Kind() == event.KindFloat32 {
		bits = 32
	}
	return strconv.AppendFloat(dst, v.Float64(), 'f', -1, bits)
}

// AppendJSONFloat appends a FLOAT or DOUBLE as encoding/json does: with an exponent
// from 1e21 up and below 1e-6.
func AppendJSONFloat(dst []byte, v event.Value) []byte {
	bits := 64
	if v.Kind() == event.KindFloat32 {
		bits = 32
	}
	f, format := v.Float64(), byte('f')
	const first, last = 1e-6, 1e21
	if abs := max(f, -f); abs != 0 && (abs < first || abs >= last) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}
