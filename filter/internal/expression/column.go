package expression

import (
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// column compiles a column by its place in the row.
func column(info *event.ColumnInfo, offset int, zone *time.Location) (*node, string) {
	n := &node{tp: info.Type, column: true, offset: offset, scale: max(info.Decimal, 0), strength: numeric, collation: binaryCollation}
	switch info.Type {
	case event.TypeTiny, event.TypeShort, event.TypeInt24, event.TypeLong, event.TypeLonglong, event.TypeYear, event.TypeBit:
		n.kind, n.scale = kindInt, 0
		n.unsigned = info.Unsigned() || info.Type == event.TypeBit
		n.ints = func(m *machine) (int64, bool) {
			v := &m.row[offset]
			return v.Int64(), !v.IsNull()
		}
	case event.TypeFloat, event.TypeDouble:
		n.kind, n.scale, n.unsigned = kindReal, info.Decimal, info.Unsigned()
		n.reals = func(m *machine) (float64, bool) {
			v := &m.row[offset]
			return v.Float64(), !v.IsNull()
		}
	case event.TypeNewDecimal:
		n.kind, n.unsigned = kindDecimal, info.Unsigned()
		n.decimals = func(m *machine) (decimal, bool) {
			v := &m.row[offset]
			if v.IsNull() {
				return decimal{}, false
			}
			start := len(m.buf)
			m.buf = v.AppendText(m.buf)
			d, _ := parseDecimal(m.buf[start:]) // its text is a number in range
			m.buf = m.buf[:start]
			return d, true
		}
	case event.TypeDate, event.TypeNewDate, event.TypeDatetime, event.TypeTimestamp:
		n.kind = kindTime
		if info.Type != event.TypeTimestamp {
			zone = nil
		}
		n.times = func(m *machine) (packedTime, bool) {
			v := &m.row[offset]
			if v.IsNull() {
				return 0, false
			}
			return unpackColumn(v, zone), true
		}
	case event.TypeDuration:
		n.kind = kindDuration
		n.durations = func(m *machine) (time.Duration, bool) {
			v := &m.row[offset]
			return v.Duration(), !v.IsNull()
		}
	case event.TypeVarchar, event.TypeVarString, event.TypeString, event.TypeBlob, event.TypeTinyBlob, event.TypeMediumBlob,
		event.TypeLongBlob, event.TypeEnum, event.TypeSet:
		return stringColumn(n, info, offset)
	default:
		what := "JSON"
		if info.Type == event.TypeVector {
			what = "VECTOR"
		}
		// Only whether it is NULL can be asked.
		n.kind, n.tp, n.inexactText = kindNull, info.Type, true
		n.strings = func(m *machine) (string, bool) { return "", !m.row[offset].IsNull() }
		return n, what
	}
	return n, ""
}

// stringColumn completes a column of text or bytes, an ENUM or a SET. If its
// collation cannot be evaluated, only what does not depend on it may be asked.
func stringColumn(n *node, info *event.ColumnInfo, offset int) (*node, string) {
	n.kind, n.scale, n.strength = kindString, -1, implicit
	name := info.Collation
	if info.Binary() {
		name = "binary"
	}
	var ok bool
	if n.collation, ok = collationByName(name); !ok {
		n.collation = collation{name: name, unknown: true}
	}
	n.strings = func(m *machine) (string, bool) {
		v := &m.row[offset]
		switch v.Kind() {
		case event.KindText, event.KindBytes, event.KindEnum:
			return v.Text(), true
		case event.KindSet:
			start := len(m.buf)
			m.buf = v.AppendText(m.buf)
			return m.made(start), true
		}
		return "", false
	}
	if info.Type == event.TypeEnum || info.Type == event.TypeSet {
		n.ints = func(m *machine) (int64, bool) {
			v := &m.row[offset]
			return v.Int64(), !v.IsNull()
		}
	}
	return n, ""
}
