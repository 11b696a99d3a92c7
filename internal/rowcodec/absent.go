package rowcodec

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// absentValue returns the value of a column in rows that do not store it, as
// TiDB reads them: the origin default, which is the default at the time of the
// ADD COLUMN; without one NULL; or, if the column forbids NULL, the type's zero.
func absentValue(info *event.ColumnInfo, zone *time.Location) (event.Value, error) {
	if info.OriginDefault == nil {
		if !info.NotNull() {
			return event.Value{}, nil
		}
		return zeroValue(info)
	}
	v, err := originDefault(info, *info.OriginDefault, zone)
	if err != nil {
		return v, fmt.Errorf("origin default %q: %w", *info.OriginDefault, err)
	}
	return v, nil
}

func originDefault(info *event.ColumnInfo, text string, zone *time.Location) (event.Value, error) {
	c, err := newColumn(info)
	if err != nil {
		return event.Value{}, err
	}
	switch c.op {
	case opInt:
		n, err := strconv.ParseInt(text, 10, 64)
		return event.Int64Value(n), err
	case opUint:
		n, err := strconv.ParseUint(text, 10, 64)
		return event.Uint64Value(n), err
	case opFloat32, opFloat64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return event.Value{}, fmt.Errorf("not a number")
		}
		return c.float(f)
	case opDecimal:
		return event.ParseDecimal(text, info.Decimal)
	case opText:
		return event.TextValue(text), nil
	case opBytes:
		return event.BytesValue(padBinary(info, text)), nil
	case opDate:
		return event.ParseTemporal(event.KindDate, text, 0)
	case opDatetime:
		return event.ParseTemporal(event.KindDatetime, text, c.scale)
	case opTimestamp:
		if info.Version >= 1 {
			zone = time.UTC
		}
		return timestampIn(text, c.scale, zone)
	case opDuration:
		return event.ParseDuration(text, c.scale)
	case opBit:
		return event.BitValue(bigEndian(text), c.scale), nil
	case opEnum:
		return enumByName(info.Elems, text)
	case opSet:
		return setByNames(info.Elems, text)
	case opJSON:
		return event.ParseJSON(text)
	}
	return event.ParseVector(text)
}

// zeroValue is what TiDB fills in for a NOT NULL column without a default. An
// ENUM's is its first element, as in MySQL.
func zeroValue(info *event.ColumnInfo) (event.Value, error) {
	c, err := newColumn(info)
	if err != nil {
		return event.Value{}, err
	}
	switch c.op {
	case opText:
		return event.TextValue(""), nil
	case opBytes:
		return event.BytesValue(padBinary(info, "")), nil
	case opFloat32, opFloat64:
		return c.float(0)
	case opDecimal:
		return event.ParseDecimal("0", info.Decimal)
	case opJSON:
		return event.ParseJSON("null")
	case opVector:
		return event.ParseVector("[]")
	case opEnum:
		return event.EnumValue(1, info.Elems), nil
	}
	return c.number(0)
}

// padBinary returns the text as bytes, which in a BINARY(n) are always n.
func padBinary(info *event.ColumnInfo, text string) []byte {
	b := []byte(text)
	if info.Type == event.TypeString {
		for len(b) < info.Length {
			b = append(b, 0)
		}
	}
	return b
}

// timestampIn reads a timestamp that is noted in zone.
func timestampIn(text string, fsp int, zone *time.Location) (event.Value, error) {
	v, err := event.ParseTemporal(event.KindDatetime, text, fsp)
	if err != nil {
		return v, err
	}
	if t, ok := v.Time(zone); ok {
		return event.TimestampValue(t, fsp)
	}
	// The zero timestamp is the same in every zone.
	return event.TemporalValue(event.KindTimestamp, v.DateTime(), fsp)
}

// bigEndian reads a BIT, which TiDB notes as its bytes.
func bigEndian(text string) (n uint64) {
	for i := range len(text) {
		n = n<<8 | uint64(text[i])
	}
	return n
}

// enumByName finds an element; MySQL compares them without regard to case, and
// takes a number for the ordinal if no element has that name.
func enumByName(elems []string, name string) (event.Value, error) {
	for i, e := range elems {
		if strings.EqualFold(e, name) {
			return event.EnumValue(uint64(i+1), elems), nil
		}
	}
	n, err := strconv.ParseUint(name, 10, 64)
	if name != "" && (err != nil || n > uint64(len(elems))) {
		return event.Value{}, fmt.Errorf("no such element")
	}
	return event.EnumValue(n, elems), nil
}

func setByNames(elems []string, names string) (event.Value, error) {
	var mask uint64
	if names == "" {
		return event.SetValue(0, elems), nil
	}
	for name := range strings.SplitSeq(names, ",") {
		v, err := enumByName(elems, name)
		if err != nil || v.Uint64() == 0 {
			// Like ENUM, but a number is the whole mask.
			n, err := strconv.ParseUint(names, 10, 64)
			if err != nil || len(elems) < 64 && n>>len(elems) != 0 {
				return event.Value{}, fmt.Errorf("no such element")
			}
			return event.SetValue(n, elems), nil
		}
		mask |= 1 << (v.Uint64() - 1)
	}
	return event.SetValue(mask, elems), nil
}
