package expression

import (
	"cmp"
	"math"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// outcome is a set of results of a comparison: it tells an operator.
type outcome uint8

const (
	less outcome = 1 << iota
	equal
	greater

	lessOrEqual    = less | equal
	greaterOrEqual = greater | equal
	notEqual       = less | greater
)

// has reports whether the result of a comparison, -1, 0 or 1, is in the set.
func (o outcome) has(c int) int64 { return int64(o >> uint(c+1) & 1) }

// collationOf is sharedCollation, with an error that says what to do.
func collationOf(nodes ...*node) (collation, strength, error) {
	c, s, ok := sharedCollation(nodes...)
	switch {
	case !ok:
		return c, s, errCollation
	case c.unknown:
		return c, s, errUnknownCollation(c.name)
	}
	return c, s, nil
}

// baseKind is as what kind two operands compare before columns and literals
// get a special treatment.
func baseKind(a, b *node) kind {
	aInt := a.kind == kindInt || a.hybrid()
	bInt := b.kind == kindInt || b.hybrid()
	switch {
	case a.kind == kindNull && b.kind == kindNull:
		return kindString
	case a.kind == kindNull:
		return baseKind(b, b)
	case b.kind == kindNull:
		return baseKind(a, a)
	case a.stringKind() && b.stringKind():
		return kindString
	case aInt && bInt:
		return kindInt
	case a.kind == kindDecimal && b.stringKind() || a.stringKind() && b.kind == kindDecimal:
		return kindReal
	case (aInt || a.kind == kindDecimal) && (bInt || b.kind == kindDecimal):
		return kindDecimal
	}
	return kindReal
}

// compareKind is as what kind two operands compare.
func compareKind(a, b *node) (kind, error) {
	k := baseKind(a, b)
	switch {
	case a.unusable() || b.unusable():
		return k, errJSONValue
	case (a.tp == event.TypeYear && b.kind == kindTime) || (b.tp == event.TypeYear && a.kind == kindTime):
		return k, errYearText
	case k == kindString && (a.kind == kindTime || b.kind == kindTime):
		return kindTime, nil
	case a.kind == kindDuration && b.kind == kindDuration:
		return kindDuration, nil
	case k == kindReal || k == kindString:
		switch {
		case a.kind == kindDecimal && !a.constant && b.kind == kindString && b.constant,
			b.kind == kindDecimal && !b.constant && a.kind == kindString && a.constant:
			return kindDecimal, nil
		case a.kind == kindDuration && a.column && b.constant, b.kind == kindDuration && b.column && a.constant:
			return kindDuration, nil
		}
	}
	return k, nil
}

// refine replaces a literal that is compared with an integer or a date by one
// of that kind, if that changes nothing.
func refine(n, literal *node) (*node, error) {
	if n.constant || !literal.constant || literal.kind == kindNull || literal.isNull() {
		return literal, nil
	}
	switch {
	case n.tp == event.TypeYear && n.column:
		if literal.kind == kindString {
			return nil, errYearText
		}
		if literal.kind == kindInt {
			if y, _ := literal.ints(nil); y > 0 && y < 100 {
				return nil, errYearText
			}
		}
	case n.kind == kindInt && literal.kind == kindString:
		switch {
		case literal.binaryLiteral:
			return literal.asInt()
		case n.tp == event.TypeBit:
			return nil, errUnknownBits
		}
		// A string that is an integer compares exactly, not as a float.
		s, _ := literal.strings(nil)
		d, ok := parseDecimal(s)
		if s = strings.TrimSpace(s); ok && s != "" && strings.Trim(strings.TrimLeft(s, "+-"), "0123456789") == "" {
			if i, fits := d.int64(); fits {
				return constantInt(i, false), nil
			}
			if u, fits := d.uint64(); fits {
				return constantInt(int64(u), true), nil
			}
		}
	case n.kind == kindInt && literal.kind == kindReal:
		// So does a float that is one.
		if f, _ := literal.reals(nil); f == math.Trunc(f) && math.Abs(f) < 1<<63 {
			return constantInt(int64(f), false), nil
		}
	case n.kind == kindTime && (n.tp == event.TypeDatetime || n.tp == event.TypeTimestamp) && literal.kind != kindString && literal.kind != kindTime:
		// A number that is a date is one.
		if p, err := literal.asTime(); err == nil {
			return p, nil
		}
		return nil, errDateLiteral
	}
	return literal, nil
}

func constantInt(i int64, unsigned bool) *node {
	n := newInt(func(*machine) (int64, bool) { return i, true })
	n.constant, n.unsigned = true, unsigned
	return n
}

// compare compiles a comparison. nullSafe is <=>, of which NULL is a value.
func compare(o outcome, nullSafe bool, a, b *node) (*node, error) {
	var err error
	if b, err = refine(a, b); err != nil {
		return nil, err
	}
	if a, err = refine(b, a); err != nil {
		return nil, err
	}
	if o == equal && (neverEqual(a, b) || neverEqual(b, a)) {
		return constantInt(0, false), nil
	}
	k, err := compareKind(a, b)
	if err != nil {
		return nil, err
	}
	return compareAs(k, o, nullSafe, a, b)
}

// neverEqual reports whether a literal is beyond what a signed column can hold:
// TiDB then says false, also of NULL.
func neverEqual(n, literal *node) bool {
	if !n.column || n.kind != kindInt || n.unsigned || !literal.constant || literal.kind != kindInt || !literal.unsigned || literal.isNull() {
		return false
	}
	v, _ := literal.ints(nil)
	return v < 0
}

// compareAs compiles a comparison as values of a kind.
func compareAs(k kind, o outcome, nullSafe bool, a, b *node) (*node, error) {
	if k == kindString {
		if _, _, err := collationOf(a, b); err != nil {
			return nil, err
		}
	}
	x, err := a.as(k)
	if err != nil {
		return nil, err
	}
	y, err := b.as(k)
	if err != nil {
		return nil, err
	}
	result, err := comparison(k, x, y, a, b)
	if err != nil {
		return nil, err
	}
	var n *node
	if nullSafe {
		px, py := x.present(), y.present()
		n = newInt(func(m *machine) (int64, bool) {
			if c, ok := result(m); ok {
				return o.has(c), true
			}
			return truth(!px(m) && !py(m)), true
		})
	} else {
		n = newInt(func(m *machine) (int64, bool) {
			c, ok := result(m)
			return o.has(c), ok
		})
		if k == kindInt && x.unsigned == y.unsigned && !x.unsigned {
			n.ints = intComparison(o, x, y)
		}
	}
	return fold(n, x, y)
}

// intComparison is the fast way for signed integers.
func intComparison(o outcome, x, y *node) func(*machine) (int64, bool) {
	f := x.ints
	if y.constant && !y.isNull() {
		c, _ := y.ints(nil)
		if x.column {
			offset := x.offset
			return func(m *machine) (int64, bool) {
				v := &m.row[offset]
				return o.has(cmp.Compare(v.Int64(), c)), !v.IsNull()
			}
		}
		return func(m *machine) (int64, bool) {
			v, ok := f(m)
			return o.has(cmp.Compare(v, c)), ok
		}
	}
	g := y.ints
	return func(m *machine) (int64, bool) {
		v, ok := f(m)
		if !ok {
			return 0, false
		}
		w, ok := g(m)
		return o.has(cmp.Compare(v, w)), ok
	}
}

// comparison is a function that compares two nodes of kind k. a and b are what
// they were before they became that kind.
func comparison(k kind, x, y, a, b *node) (func(*machine) (int, bool), error) {
	switch k {
	case kindInt:
		return compareInts(x, y), nil
	case kindReal:
		return comparing(x.reals, y.reals, cmp.Compare[float64]), nil
	case kindDecimal:
		return comparing(x.decimals, y.decimals, compareDecimals), nil
	case kindTime:
		return comparing(x.times, y.times, cmp.Compare[packedTime]), nil
	case kindDuration:
		return comparing(x.durations, y.durations, cmp.Compare[time.Duration]), nil
	}
	c, _, err := collationOf(a, b)
	if err != nil {
		return nil, err
	}
	return comparing(x.strings, y.strings, c.compare), nil
}

// comparing joins two functions by a third, unless one yields NULL.
func comparing[T any](f, g func(*machine) (T, bool), compare func(T, T) int) func(*machine) (int, bool) {
	return func(m *machine) (int, bool) {
		v, ok := f(m)
		if !ok {
			return 0, false
		}
		w, ok := g(m)
		if !ok {
			return 0, false
		}
		return compare(v, w), true
	}
}

func compareInts(x, y *node) func(*machine) (int, bool) {
	switch {
	case x.unsigned && y.unsigned:
		return comparing(x.ints, y.ints, func(v, w int64) int { return cmp.Compare(uint64(v), uint64(w)) })
	case x.unsigned:
		return comparing(x.ints, y.ints, compareUnsigned)
	case y.unsigned:
		return comparing(x.ints, y.ints, func(v, w int64) int { return -compareUnsigned(w, v) })
	}
	return comparing(x.ints, y.ints, cmp.Compare[int64])
}

// compareUnsigned compares an unsigned number with a signed one.
func compareUnsigned(u, s int64) int {
	if s < 0 {
		return 1
	}
	return cmp.Compare(uint64(u), uint64(s))
}

// between compiles a BETWEEN, whose three operands compare as one kind.
func between(n, low, high *node) (*node, error) {
	k := baseKind(n, low)
	k = baseKind(&node{kind: k}, high)
	temporal := n.kind == kindTime || low.temporal() || high.temporal()
	switch {
	case n.unusable() || low.unusable() || high.unusable():
		return nil, errJSONValue
	case n.tp == event.TypeYear:
		return nil, errYearText
	case n.hybrid() || low.hybrid() || high.hybrid():
		// As the two comparisons that it stands for.
		return both(n, low, high, compare)
	case n.kind == kindInt && low.kind == kindInt && high.kind == kindInt:
		k = kindInt
	case k == kindString && n.kind == kindDuration:
		k = kindDuration
	case k == kindString && temporal:
		k = kindTime
	}
	return both(n, low, high, func(o outcome, nullSafe bool, a, b *node) (*node, error) {
		return compareAs(k, o, nullSafe, a, b)
	})
}

func both(n, low, high *node, compare func(outcome, bool, *node, *node) (*node, error)) (*node, error) {
	ge, err := compare(greaterOrEqual, false, n, low)
	if err != nil {
		return nil, err
	}
	le, err := compare(lessOrEqual, false, n, high)
	if err != nil {
		return nil, err
	}
	return and(ge, le)
}

func compareOrdered[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }
