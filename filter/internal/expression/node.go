package expression

import (
	"time"
	"unsafe"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// kind is the type that an expression is evaluated as.
type kind uint8

const (
	kindNull     kind = iota // the literal NULL
	kindInt                  // signed or unsigned, see node.unsigned
	kindReal                 // float64
	kindDecimal              // exact
	kindString               // text or bytes, see node.collation
	kindTime                 // DATE, DATETIME, TIMESTAMP: packed, in the session's zone
	kindDuration             // TIME: nanoseconds
)

func (k kind) String() string {
	return [...]string{"NULL", "an integer", "a float", "a decimal", "a string", "a date", "a time of day"}[k]
}

// node is a compiled expression: a kind, what MySQL's typing rules need to know
// of it, and a function of the kind. A function returns false for NULL.
type node struct {
	kind kind
	// tp is MySQL's type: of a column its own, of a literal what MySQL takes it for.
	tp       event.ColumnType
	unsigned bool
	// scale is the digits after the point or the second, -1 if unknown.
	scale     int
	collation collation
	strength  strength
	// column and constant: the node is just that.
	column, constant bool
	// offset is the column's.
	offset int
	// binaryLiteral: written as 0x41 or b'1'. It is a number among numbers.
	binaryLiteral bool
	// textOnly: the node is text, but made of an ENUM or SET, of which MySQL would
	// take the number among numbers.
	textOnly bool
	// quotient: the result of a division, which becomes a float with all its digits,
	// not only those that it shows.
	quotient bool
	// unsure: a decimal whose digits after the point depend on which of several
	// results it is, which a division would show.
	unsure bool
	// rounded: written as CAST(… AS DECIMAL). Versions of TiDB differ in whether
	// it is still rounded when it becomes a float.
	rounded bool
	// inexactText: how many digits the text would have is not known.
	inexactText bool
	at          int // offset in the source, for messages

	ints      func(*machine) (int64, bool)
	reals     func(*machine) (float64, bool)
	decimals  func(*machine) (decimal, bool)
	strings   func(*machine) (string, bool)
	times     func(*machine) (packedTime, bool)
	durations func(*machine) (time.Duration, bool)
}

// hybrid columns are strings and numbers at once.
func (n *node) hybrid() bool {
	return n.tp == event.TypeEnum || n.tp == event.TypeSet || n.tp == event.TypeBit
}

// stringKind: what MySQL compares as strings, or as times among strings.
func (n *node) stringKind() bool {
	return n.kind == kindString || n.kind == kindTime || n.kind == kindDuration
}

func (n *node) temporal() bool { return n.kind == kindTime || n.kind == kindDuration }

// machine is the state of one evaluation.
type machine struct {
	row []event.Value
	// buf holds the bytes of strings that were made; they live until reset.
	buf []byte
	// err is the first error; what is computed after it counts for nothing.
	err error
}

// maxBuffer is how much memory a machine keeps for later rows.
const maxBuffer = 1 << 16

func (m *machine) reset() {
	m.row, m.err = nil, nil
	if m.buf = m.buf[:0]; cap(m.buf) > maxBuffer {
		m.buf = nil
	}
}

func (m *machine) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// made returns what was appended to buf, which the caller has stored back, from
// start on.
func (m *machine) made(start int) string { return bytesText(m.buf[start:]) }

// bytesText is the string of bytes that will not change.
func bytesText(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func newInt(f func(*machine) (int64, bool)) *node {
	return &node{kind: kindInt, tp: event.TypeLonglong, ints: f, strength: numeric, collation: binaryCollation}
}

func newReal(f func(*machine) (float64, bool)) *node {
	return &node{kind: kindReal, tp: event.TypeDouble, scale: -1, reals: f, strength: numeric, collation: binaryCollation}
}

func newDecimal(scale int, f func(*machine) (decimal, bool)) *node {
	return &node{kind: kindDecimal, tp: event.TypeNewDecimal, scale: scale, decimals: f, strength: numeric, collation: binaryCollation}
}

func newString(c collation, s strength, f func(*machine) (string, bool)) *node {
	return &node{kind: kindString, tp: event.TypeVarString, scale: -1, collation: c, strength: s, strings: f}
}

func newTime(tp event.ColumnType, fsp int, f func(*machine) (packedTime, bool)) *node {
	return &node{kind: kindTime, tp: tp, scale: fsp, times: f, strength: numeric, collation: binaryCollation}
}

func newDuration(fsp int, f func(*machine) (time.Duration, bool)) *node {
	return &node{kind: kindDuration, tp: event.TypeDuration, scale: fsp, durations: f, strength: numeric, collation: binaryCollation}
}

func newNull() *node {
	return &node{kind: kindNull, tp: event.TypeNull, constant: true, strength: ignorable, collation: binaryCollation}
}

// fold evaluates n now if all of args are constants.
func fold(n *node, args ...*node) (*node, error) {
	for _, a := range args {
		if !a.constant {
			return n, nil
		}
	}
	m := &machine{}
	switch n.kind {
	case kindInt:
		v, ok := n.ints(m)
		n.ints = func(*machine) (int64, bool) { return v, ok }
	case kindReal:
		v, ok := n.reals(m)
		n.reals = func(*machine) (float64, bool) { return v, ok }
	case kindDecimal:
		v, ok := n.decimals(m)
		n.decimals = func(*machine) (decimal, bool) { return v, ok }
	case kindString:
		v, ok := n.strings(m)
		n.strings = func(*machine) (string, bool) { return v, ok }
	case kindTime:
		v, ok := n.times(m)
		n.times = func(*machine) (packedTime, bool) { return v, ok }
	case kindDuration:
		v, ok := n.durations(m)
		n.durations = func(*machine) (time.Duration, bool) { return v, ok }
	}
	n.constant = true
	return n, m.err
}

// isNull reports whether a constant is NULL.
func (n *node) isNull() bool {
	if !n.constant {
		return false
	}
	var ok bool
	switch n.kind {
	case kindInt:
		_, ok = n.ints(nil)
	case kindReal:
		_, ok = n.reals(nil)
	case kindDecimal:
		_, ok = n.decimals(nil)
	case kindString:
		_, ok = n.strings(nil)
	case kindTime:
		_, ok = n.times(nil)
	case kindDuration:
		_, ok = n.durations(nil)
	}
	return !ok
}

// present is the function that tells whether the node is not NULL.
func (n *node) present() func(*machine) bool {
	switch n.kind {
	case kindInt:
		f := n.ints
		return func(m *machine) bool { _, ok := f(m); return ok }
	case kindReal:
		f := n.reals
		return func(m *machine) bool { _, ok := f(m); return ok }
	case kindDecimal:
		f := n.decimals
		return func(m *machine) bool { _, ok := f(m); return ok }
	case kindString:
		f := n.strings
		return func(m *machine) bool { _, ok := f(m); return ok }
	case kindTime:
		f := n.times
		return func(m *machine) bool { _, ok := f(m); return ok }
	case kindDuration:
		f := n.durations
		return func(m *machine) bool { _, ok := f(m); return ok }
	}
	return func(*machine) bool { return false }
}
