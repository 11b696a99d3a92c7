package expression

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func errOverflow(unsigned bool) error {
	if unsigned {
		return fmt.Errorf("a BIGINT UNSIGNED value is out of range")
	}
	return fmt.Errorf("a BIGINT value is out of range")
}

// numericKind is as what kind an operand of arithmetic counts.
func (n *node) numericKind() kind {
	switch {
	case n.kind == kindTime && n.tp == event.TypeDate:
		return kindInt
	case n.temporal() && n.scale > 0:
		return kindDecimal
	case n.temporal() || n.binaryLiteral:
		return kindInt
	case n.kind == kindInt || n.kind == kindDecimal:
		return n.kind
	}
	return kindReal
}

// arithmeticKind is the kind of the result of +, - and *.
func arithmeticKind(a, b *node) kind {
	x, y := a.numericKind(), b.numericKind()
	switch {
	case x == kindReal || y == kindReal:
		return kindReal
	case x == kindDecimal || y == kindDecimal:
		return kindDecimal
	}
	return kindInt
}

// pair converts both operands.
func pair(k kind, a, b *node) (x, y *node, err error) {
	if x, err = a.as(k); err != nil {
		return nil, nil, err
	}
	y, err = b.as(k)
	return x, y, err
}

// calculation is what an operator does for each kind. Functions of integers and
// floats return false if the result is out of range, as do those of decimals.
type calculation struct {
	ints     func(a, b int64) (int64, bool)
	reals    func(a, b float64) float64
	decimals func(a, b decimal) (decimal, bool)
	unsigned bool // of ints
	scale    int  // of decimals
}

// calculate compiles an operator for operands of kind k.
func calculate(k kind, x, y *node, op calculation) (*node, error) {
	switch k {
	case kindInt:
		f, g, unsigned := x.ints, y.ints, op.unsigned
		n := newInt(func(m *machine) (int64, bool) {
			v, ok := f(m)
			if !ok {
				return 0, false
			}
			w, ok := g(m)
			if !ok {
				return 0, false
			}
			r, fits := op.ints(v, w)
			if !fits {
				m.fail(errOverflow(unsigned))
			}
			return r, fits
		})
		n.unsigned = unsigned
		return fold(n, x, y)
	case kindReal:
		f, g := x.reals, y.reals
		return fold(newReal(func(m *machine) (float64, bool) {
			v, ok := f(m)
			if !ok {
				return 0, false
			}
			w, ok := g(m)
			if !ok {
				return 0, false
			}
			r := op.reals(v, w)
			if math.IsInf(r, 0) || math.IsNaN(r) {
				m.fail(fmt.Errorf("a DOUBLE value is out of range"))
				return 0, false
			}
			return r, true
		}), x, y)
	}
	f, g := x.decimals, y.decimals
	n := newDecimal(op.scale, func(m *machine) (decimal, bool) {
		v, ok := f(m)
		if !ok {
			return v, false
		}
		w, ok := g(m)
		if !ok {
			return w, false
		}
		r, fits := op.decimals(v, w)
		if !fits {
			m.fail(fmt.Errorf("a DECIMAL value is out of range"))
		}
		return r, fits
	})
	n.inexactText, n.unsure = x.inexactText || y.inexactText, x.unsure || y.unsure
	return fold(n, x, y)
}

func add(a, b *node) (*node, error) {
	k := arithmeticKind(a, b)
	x, y, err := pair(k, a, b)
	if err != nil {
		return nil, err
	}
	op := calculation{
		unsigned: a.unsigned || b.unsigned, scale: max(x.scale, y.scale), decimals: addDecimals,
		reals: func(v, w float64) float64 { return v + w },
	}
	switch {
	case x.unsigned && y.unsigned:
		op.ints = func(v, w int64) (int64, bool) { return v + w, uint64(v)+uint64(w) >= uint64(v) }
	case x.unsigned:
		op.ints = addSigned
	case y.unsigned:
		op.ints = func(v, w int64) (int64, bool) { return addSigned(w, v) }
	default:
		op.ints = func(v, w int64) (int64, bool) {
			r := v + w
			return r, (r > v) == (w > 0)
		}
	}
	op.unsigned = x.unsigned || y.unsigned
	return calculate(k, x, y, op)
}

// addSigned adds a signed number to an unsigned one.
func addSigned(u, s int64) (int64, bool) {
	if s < 0 {
		return u + s, uint64(-s) <= uint64(u)
	}
	return u + s, uint64(u)+uint64(s) >= uint64(u)
}

func subtractNodes(a, b *node) (*node, error) {
	k := arithmeticKind(a, b)
	x, y, err := pair(k, a, b)
	if err != nil {
		return nil, err
	}
	op := calculation{
		unsigned: x.unsigned || y.unsigned, scale: max(x.scale, y.scale),
		reals:    func(v, w float64) float64 { return v - w },
		decimals: func(v, w decimal) (decimal, bool) { return addDecimals(v, w.negated()) },
	}
	switch {
	case x.unsigned && y.unsigned:
		op.ints = func(v, w int64) (int64, bool) { return v - w, uint64(v) >= uint64(w) }
	case x.unsigned:
		op.ints = func(v, w int64) (int64, bool) {
			if w < 0 {
				return v - w, uint64(v) <= math.MaxUint64-uint64(-w)
			}
			return v - w, uint64(v) >= uint64(w)
		}
	case y.unsigned:
		op.ints = func(v, w int64) (int64, bool) { return v - w, v >= 0 && uint64(v) >= uint64(w) }
	default:
		op.ints = func(v, w int64) (int64, bool) {
			r := v - w
			return r, (r < v) == (w > 0)
		}
	}
	return calculate(k, x, y, op)
}

func multiply(a, b *node) (*node, error) {
	k := arithmeticKind(a, b)
	x, y, err := pair(k, a, b)
	if err != nil {
		return nil, err
	}
	op := calculation{
		unsigned: x.unsigned || y.unsigned, scale: min(x.scale+y.scale, maxScale), decimals: mulDecimals,
		reals: func(v, w float64) float64 { return v * w },
		ints: func(v, w int64) (int64, bool) {
			r := v * w
			return r, v == 0 || r/v == w && (v != -1 || w != math.MinInt64)
		},
	}
	if op.unsigned {
		// A negative operand counts as a number that is too large, unless the other is 0 or 1.
		op.ints = func(v, w int64) (int64, bool) {
			hi, lo := bits.Mul64(uint64(v), uint64(w))
			return int64(lo), hi == 0
		}
	}
	return calculate(k, x, y, op)
}

// divide compiles /, which is exact for exact operands. By zero it is NULL.
func divide(a, b *node) (*node, error) {
	k := kindDecimal
	if a.numericKind() == kindReal || b.numericKind() == kindReal {
		k = kindReal
	}
	x, y, err := pair(k, a, b)
	if err != nil {
		return nil, err
	}
	if k == kindDecimal && (x.unsure || y.unsure) {
		return nil, errDigits
	}
	y = withoutZero(k, y)
	n, err := calculate(k, x, y, calculation{
		scale: min(x.scale+divisionDigits, maxScale), decimals: divDecimals,
		reals: func(v, w float64) float64 { return v / w },
	})
	if err == nil && k == kindDecimal {
		n.inexactText, n.quotient = true, true
	}
	return n, err
}

// withoutZero makes zero NULL.
func withoutZero(k kind, n *node) *node {
	out := *n
	out.column = false
	switch k {
	case kindInt:
		f := n.ints
		out.ints = func(m *machine) (int64, bool) { v, ok := f(m); return v, ok && v != 0 }
	case kindReal:
		f := n.reals
		out.reals = func(m *machine) (float64, bool) { v, ok := f(m); return v, ok && v != 0 }
	case kindDecimal:
		f := n.decimals
		out.decimals = func(m *machine) (decimal, bool) { v, ok := f(m); return v, ok && !v.isZero() }
	}
	return &out
}

// modulo compiles %, whose result has the sign of the first operand.
func modulo(a, b *node) (*node, error) {
	k := arithmeticKind(a, b)
	x, y, err := pair(k, a, b)
	if err != nil {
		return nil, err
	}
	y = withoutZero(k, y)
	op := calculation{unsigned: x.unsigned, scale: max(x.scale, y.scale), decimals: modDecimals, reals: math.Mod}
	xu, yu := x.unsigned, y.unsigned
	op.ints = func(v, w int64) (int64, bool) {
		r := int64(magnitude(v, xu) % magnitude(w, yu))
		if v < 0 && !xu {
			r = -r
		}
		return r, true
	}
	n, err := calculate(k, x, y, op)
	if err == nil && k == kindDecimal {
		n.inexactText = true
	}
	return n, err
}

func magnitude(v int64, unsigned bool) uint64 {
	if v < 0 && !unsigned {
		return -uint64(v)
	}
	return uint64(v)
}

// integerDivide compiles DIV.
func integerDivide(a, b *node) (*node, error) {
	if a.numericKind() != kindInt || b.numericKind() != kindInt {
		return integerDivideDecimals(a, b)
	}
	x, y, err := pair(kindInt, a, b)
	if err != nil {
		return nil, err
	}
	y = withoutZero(kindInt, y)
	xu, yu := x.unsigned, y.unsigned
	op := calculation{unsigned: xu || yu}
	op.ints = func(v, w int64) (int64, bool) {
		q := magnitude(v, xu) / magnitude(w, yu)
		negative := (v < 0 && !xu) != (w < 0 && !yu)
		switch {
		case !negative:
			return int64(q), xu || yu || q <= math.MaxInt64
		case xu || yu:
			return 0, q == 0
		}
		return -int64(q), true
	}
	return calculate(kindInt, x, y, op)
}

func integerDivideDecimals(a, b *node) (*node, error) {
	x, y, err := pair(kindDecimal, a, b)
	if err != nil {
		return nil, err
	}
	if x.unsure || y.unsure {
		return nil, errDigits
	}
	f, g := x.decimals, withoutZero(kindDecimal, y).decimals
	unsigned := x.unsigned || y.unsigned
	n := newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		if !ok {
			return 0, false
		}
		w, ok := g(m)
		if !ok {
			return 0, false
		}
		q, fits := divDecimals(v, w)
		q = q.truncated(0)
		if unsigned {
			u, ok := q.uint64()
			if !ok || !fits {
				m.fail(errOverflow(true))
			}
			return int64(u), ok && fits
		}
		i, ok := q.int64()
		if !ok || !fits {
			m.fail(errOverflow(false))
		}
		return i, ok && fits
	})
	n.unsigned = unsigned
	return fold(n, x, y)
}

// negated compiles the unary minus.
func negated(n *node) (*node, error) {
	switch {
	case n.kind == kindNull && !n.unusable():
		return n, nil
	case n.kind == kindInt && n.constant && !n.isNull():
		// Beyond BIGINT a literal becomes a decimal.
		if v, _ := n.ints(nil); n.unsigned && uint64(v) > 1<<63 || !n.unsigned && v == math.MinInt64 {
			d, err := n.asDecimal()
			if err != nil {
				return nil, err
			}
			return negated(d)
		}
		fallthrough
	case n.kind == kindInt:
		f, unsigned := n.ints, n.unsigned
		return fold(newInt(func(m *machine) (int64, bool) {
			v, ok := f(m)
			if ok && (unsigned && uint64(v) > 1<<63 || !unsigned && v == math.MinInt64) {
				m.fail(errOverflow(false))
				return 0, false
			}
			return -v, ok
		}), n)
	case n.kind == kindDecimal || n.temporal():
		d, err := n.asDecimal()
		if err != nil {
			return nil, err
		}
		f := d.decimals
		out := newDecimal(d.scale, func(m *machine) (decimal, bool) {
			v, ok := f(m)
			return v.negated(), ok
		})
		out.inexactText, out.unsure = d.inexactText, d.unsure
		return fold(out, d)
	}
	r, err := n.asReal()
	if err != nil {
		return nil, err
	}
	f := r.reals
	return fold(newReal(func(m *machine) (float64, bool) {
		v, ok := f(m)
		return -v, ok
	}), r)
}

// bitwise compiles &, |, ^, << and >>, of 64 bits without a sign.
func bitwise(op opcode.Op, a, b *node) (*node, error) {
	x, y, err := pair(kindInt, a, b)
	if err != nil {
		return nil, err
	}
	calc := calculation{unsigned: true}
	switch op {
	case opcode.And:
		calc.ints = func(v, w int64) (int64, bool) { return v & w, true }
	case opcode.Or:
		calc.ints = func(v, w int64) (int64, bool) { return v | w, true }
	case opcode.Xor:
		calc.ints = func(v, w int64) (int64, bool) { return v ^ w, true }
	case opcode.LeftShift:
		calc.ints = func(v, w int64) (int64, bool) { return int64(uint64(v) << uint64(w)), true }
	default:
		calc.ints = func(v, w int64) (int64, bool) { return int64(uint64(v) >> uint64(w)), true }
	}
	return calculate(kindInt, x, y, calc)
}

func bitwiseNot(n *node) (*node, error) {
	x, err := n.asInt()
	if err != nil {
		return nil, err
	}
	f := x.ints
	out := newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		return ^v, ok
	})
	out.unsigned = true
	return fold(out, x)
}
