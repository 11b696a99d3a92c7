package debezium

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// readImage reads an image of a row.
func readImage(t *event.TableInfo, v jsontext.Value) ([]event.Value, error) {
	if v.IsNull() {
		return nil, fmt.Errorf("an image is missing")
	}
	image := make([]event.Value, len(t.Columns))
	err := v.Members(func(name string, v jsontext.Value) error {
		i := t.ColumnOffset(name)
		if i < 0 {
			return fmt.Errorf("column %s is not in the table", name)
		}
		if v.IsNull() {
			return nil
		}
		value, ok := readValue(&t.Columns[i], v)
		if !ok {
			return fmt.Errorf("column %s: not a value of %s", name, column.TypeName(&t.Columns[i]))
		}
		image[i] = value
		return nil
	})
	return image, err
}

// readValue reads a value that is not null.
func readValue(c *event.ColumnInfo, v jsontext.Value) (_ event.Value, ok bool) {
	text := v.Text()
	switch c.Type {
	case event.TypeBit:
		return readBits(c, v)
	case event.TypeDate, event.TypeNewDate, event.TypeDatetime, event.TypeTimestamp, event.TypeDuration:
		return readTime(c, text)
	case event.TypeLonglong:
		// A schema does not tell BIGINT from BIGINT UNSIGNED, but a number may.
		if n, err := strconv.ParseUint(text, 10, 64); err == nil && (c.Unsigned() || n > 1<<63-1) {
			return event.Uint64Value(n), true
		}
	}
	if column.IsString(c) && c.Binary() {
		data, err := base64.StdEncoding.DecodeString(text)
		return event.BytesValue(data), err == nil
	}
	value, err := column.Parse(c, text, nil)
	if err != nil && c.Type == event.TypeNewDecimal {
		// TiCDC writes a DECIMAL as a double, with an exponent if it is large.
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			value, err = column.Parse(c, strconv.FormatFloat(f, 'f', -1, 64), nil)
			return value, err == nil
		}
	}
	return value, err == nil
}

// readBits reads a boolean, or bytes that are little-endian.
func readBits(c *event.ColumnInfo, v jsontext.Value) (event.Value, bool) {
	if !v.IsString() {
		n := uint64(0)
		if v.Bool() {
			n = 1
		}
		return event.BitValue(n, 1), v[0] == 't' || v[0] == 'f'
	}
	data, err := base64.StdEncoding.DecodeString(v.Text())
	if err != nil || len(data) > 8 {
		return event.Value{}, false
	}
	var n uint64
	for i, b := range data {
		n |= uint64(b) << (8 * i)
	}
	return event.BitValue(n, c.Length), true
}

// readTime reads the number or text of a time.
func readTime(c *event.ColumnInfo, text string) (event.Value, bool) {
	fsp := max(c.Decimal, 0)
	if c.Type == event.TypeTimestamp {
		text, ok := strings.CutSuffix(text, "Z")
		v, err := event.ParseTemporal(event.KindTimestamp, text, fsp)
		return v, ok && err == nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return event.Value{}, false
	}
	var t time.Time
	kind := event.KindDatetime
	switch {
	case c.Type == event.TypeDuration:
		const most = int64(1000 * time.Hour / time.Microsecond) // beyond what a TIME holds
		return event.DurationValue(time.Duration(n)*time.Microsecond, fsp), n > -most && n < most
	case c.Type == event.TypeDatetime && c.Decimal <= 3:
		t = time.UnixMilli(n).UTC()
	case c.Type == event.TypeDatetime:
		t = time.UnixMicro(n).UTC()
	default:
		const mostDays = 10000 * 366
		if n < -mostDays || n > mostDays {
			return event.Value{}, false
		}
		t, kind = time.Unix(n*secondsPerDay, 0).UTC(), event.KindDate
	}
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	v, err := event.TemporalValue(kind, event.DateTime{
		Year: year, Month: int(month), Day: day, Hour: hour, Minute: minute, Second: second, Microsecond: t.Nanosecond() / 1000,
	}, fsp)
	return v, err == nil
}
