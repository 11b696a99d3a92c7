package canalrow

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
)

// AppendText appends the text of a value that is neither NULL nor bytes: a
// timestamp as clocks in loc show it, ENUM, SET and BIT as numbers, FLOAT and
// DOUBLE without an exponent, all else as [event.Value.AppendText] has it.
func AppendText(dst []byte, v *event.Value, loc *time.Location) []byte {
	switch v.Kind() {
	case event.KindFloat32:
		return strconv.AppendFloat(dst, v.Float64(), 'f', -1, 32)
	case event.KindFloat64:
		return strconv.AppendFloat(dst, v.Float64(), 'f', -1, 64)
	case event.KindEnum, event.KindSet:
		return strconv.AppendUint(dst, v.Uint64(), 10)
	case event.KindTimestamp:
		return v.AppendTextIn(dst, loc)
	}
	return v.AppendText(dst)
}

// AppendLatin1 appends bytes as text: each byte is the character with its number.
func AppendLatin1(dst, b []byte) []byte {
	for _, c := range b {
		dst = utf8.AppendRune(dst, rune(c))
	}
	return dst
}

// ParseValue returns the value of a column from the text of a message. A number of
// an ENUM or SET whose elements are not known stays a number. The text is not part
// of errors.
func ParseValue(c *event.ColumnInfo, text string, loc *time.Location) (event.Value, error) {
	switch {
	case column.IsString(c) && c.Binary():
		b, ok := fromLatin1(text)
		if !ok {
			return event.Value{}, fmt.Errorf("column %s: not a %s", c.Name, column.TypeName(c))
		}
		return event.BytesValue(b), nil
	case c.Type == event.TypeEnum || c.Type == event.TypeSet:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return event.Value{}, fmt.Errorf("column %s: not a number of a %s", c.Name, column.TypeName(c))
		}
		return Elements(c, n), nil
	}
	exact := *c
	switch c.Type {
	case event.TypeDatetime, event.TypeTimestamp, event.TypeDuration:
		// Messages show as many digits as the column declares.
		_, fraction, _ := strings.Cut(text, ".")
		exact.Decimal = len(fraction)
	case event.TypeBit:
		if exact.Length <= 0 {
			exact.Length = 64
		}
	}
	return column.Parse(&exact, text, loc)
}

// Elements returns the value of an ENUM or SET by its number.
func Elements(c *event.ColumnInfo, n uint64) event.Value {
	switch {
	case c.Elems == nil:
		return event.Uint64Value(n)
	case c.Type == event.TypeEnum:
		return event.EnumValue(n, c.Elems)
	}
	return event.SetValue(n, c.Elems)
}

func fromLatin1(text string) ([]byte, bool) {
	b := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			return nil, false
		}
		b = append(b, byte(r))
	}
	return b, true
}
