// Package column turns the texts by which protocols name types and write values
// back into an [event.ColumnInfo] and an [event.Value].
package column

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// names are TiDB's names of the types that do not depend on the charset.
var names = map[event.ColumnType]string{
	event.TypeTiny: "tinyint", event.TypeShort: "smallint", event.TypeInt24: "mediumint", event.TypeLong: "int",
	event.TypeLonglong: "bigint", event.TypeFloat: "float", event.TypeDouble: "double", event.TypeNewDecimal: "decimal",
	event.TypeDate: "date", event.TypeNewDate: "date", event.TypeDatetime: "datetime", event.TypeTimestamp: "timestamp",
	event.TypeDuration: "time", event.TypeYear: "year", event.TypeBit: "bit", event.TypeEnum: "enum", event.TypeSet: "set",
	event.TypeJSON: "json", event.TypeVector: "vector", event.TypeNull: "null",
}

// stringNames are those of text types, and of the same types when they hold bytes.
var stringNames = map[event.ColumnType][2]string{
	event.TypeString: {"char", "binary"}, event.TypeVarchar: {"varchar", "varbinary"},
	event.TypeVarString: {"varchar", "varbinary"}, event.TypeTinyBlob: {"tinytext", "tinyblob"},
	event.TypeBlob: {"text", "blob"}, event.TypeMediumBlob: {"mediumtext", "mediumblob"},
	event.TypeLongBlob: {"longtext", "longblob"},
}

// TypeName returns TiDB's name of a column's type, in lower case, without length
// and UNSIGNED: int, varbinary, text.
func TypeName(c *event.ColumnInfo) string {
	if pair, ok := stringNames[c.Type]; ok {
		if c.Binary() {
			return pair[1]
		}
		return pair[0]
	}
	if name, ok := names[c.Type]; ok {
		return name
	}
	return "type " + strconv.Itoa(int(c.Type))
}

// SetType gives c the type that [TypeName] calls name, and to a string column
// without a charset utf8mb4 or binary.
func SetType(c *event.ColumnInfo, name string) error {
	for t, pair := range stringNames {
		if t == event.TypeVarString || name != pair[0] && name != pair[1] {
			continue
		}
		c.Type = t
		if name == pair[1] {
			c.Charset, c.Collation = "binary", "binary"
			c.Flag |= event.FlagBinary
		} else if c.Charset == "" {
			c.Charset, c.Collation = "utf8mb4", "utf8mb4_bin"
		}
		return nil
	}
	for t, n := range names {
		if n == name && t != event.TypeNewDate {
			c.Type = t
			return nil
		}
	}
	return fmt.Errorf("the type %q of column %s is not known", name, c.Name)
}

// IsString reports whether a column holds text or bytes.
func IsString(c *event.ColumnInfo) bool {
	_, ok := stringNames[c.Type]
	return ok
}

// IsInteger reports whether a column holds integers other than YEAR and BIT.
func IsInteger(c *event.ColumnInfo) bool {
	switch c.Type {
	case event.TypeTiny, event.TypeShort, event.TypeInt24, event.TypeLong, event.TypeLonglong:
		return true
	}
	return false
}

// Parse returns the value of a column that [event.Value.AppendTextIn] writes as
// text in loc: the name of an ENUM, the decimal number of a BIT, bytes as they are.
// The text is not part of errors.
func Parse(c *event.ColumnInfo, text string, loc *time.Location) (event.Value, error) {
	v, err := parse(c, text, loc)
	if err != nil {
		return event.Value{}, fmt.Errorf("column %s: not a %s", c.Name, TypeName(c))
	}
	return v, nil
}

// parse is Parse without the column in errors, which may quote the text.
func parse(c *event.ColumnInfo, text string, loc *time.Location) (event.Value, error) {
	if IsString(c) {
		if c.Binary() {
			return event.BytesValue([]byte(text)), nil
		}
		return event.TextValue(text), nil
	}
	fsp := max(c.Decimal, 0)
	switch c.Type {
	case event.TypeTiny, event.TypeShort, event.TypeInt24, event.TypeLong, event.TypeLonglong, event.TypeYear:
		if c.Unsigned() && c.Type != event.TypeYear {
			n, err := strconv.ParseUint(text, 10, 64)
			return event.Uint64Value(n), err
		}
		n, err := strconv.ParseInt(text, 10, 64)
		return event.Int64Value(n), err
	case event.TypeFloat:
		f, err := strconv.ParseFloat(text, 32)
		return event.Float32Value(float32(f)), err
	case event.TypeDouble:
		f, err := strconv.ParseFloat(text, 64)
		return event.Float64Value(f), err
	case event.TypeNewDecimal:
		return event.ParseDecimal(text, c.Decimal)
	case event.TypeBit, event.TypeSet:
		n, err := strconv.ParseUint(text, 10, 64)
		if c.Type == event.TypeSet {
			if err != nil || c.Elems != nil {
				return Set(c, text)
			}
			return event.SetValue(n, c.Elems), nil
		}
		return event.BitValue(n, c.Length), err
	case event.TypeEnum:
		return Enum(c, text), nil
	case event.TypeDate, event.TypeNewDate:
		return event.ParseTemporal(event.KindDate, text, 0)
	case event.TypeDatetime:
		return event.ParseTemporal(event.KindDatetime, text, fsp)
	case event.TypeTimestamp:
		return Timestamp(text, fsp, loc)
	case event.TypeDuration:
		return event.ParseDuration(text, fsp)
	case event.TypeJSON:
		return event.ParseJSON(text)
	case event.TypeVector:
		return event.ParseVector(text)
	}
	return event.Value{}, fmt.Errorf("type %d", c.Type)
}

// Enum returns the value of an ENUM by its name; of a name that is not among the
// column's, for want of the whole definition, the text.
func Enum(c *event.ColumnInfo, name string) event.Value {
	if name == "" {
		return event.EnumValue(0, c.Elems)
	}
	for i, e := range c.Elems {
		if e == name {
			return event.EnumValue(uint64(i+1), c.Elems)
		}
	}
	return event.TextValue(name)
}

// Set returns the value of a SET by its names, joined by commas, or the text as
// [Enum] does.
func Set(c *event.ColumnInfo, text string) (event.Value, error) {
	var mask uint64
	for name := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		i := 0
		for i < len(c.Elems) && c.Elems[i] != name {
			i++
		}
		if i == len(c.Elems) || i > 63 {
			return event.TextValue(text), nil
		}
		mask |= 1 << i
	}
	return event.SetValue(mask, c.Elems), nil
}

// Timestamp returns the TIMESTAMP that clocks in loc show as text. Of an hour that
// they show twice it is one of the two, as of [time.Date].
func Timestamp(text string, fsp int, loc *time.Location) (event.Value, error) {
	local, err := event.ParseTemporal(event.KindDatetime, text, fsp)
	if err != nil {
		return event.Value{}, err
	}
	if loc != nil && loc != time.UTC {
		if t, ok := local.Time(loc); ok && t.UTC().Year() >= 0 && t.UTC().Year() <= 9999 {
			return event.TimestampValue(t, fsp)
		}
	}
	return event.TemporalValue(event.KindTimestamp, local.DateTime(), fsp)
}

// Number guesses a value and its type from a JSON number: an integer that fits 64
// bits, else a double.
func Number(c *event.ColumnInfo, text string) (event.Value, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		c.Type = event.TypeLonglong
		return event.Int64Value(n), nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		c.Type = event.TypeLonglong
		c.Flag |= event.FlagUnsigned
		return event.Uint64Value(n), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return event.Value{}, fmt.Errorf("column %s: not a number of 64 bits", c.Name)
	}
	c.Type = event.TypeDouble
	return event.Float64Value(f), nil
}
