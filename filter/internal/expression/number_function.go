package expression

import (
	"errors"
	"fmt"
	"math"
)

// numeric converts to the kind that functions of numbers calculate in.
func (n *node) number() (*node, error) {
	switch n.kind {
	case kindInt, kindDecimal:
		return n, nil
	}
	return n.asReal()
}

func abs(a []*node) (*node, error) {
	n, err := a[0].number()
	if err != nil {
		return nil, err
	}
	out := *n
	out.column, out.quotient, out.collation, out.strength = false, false, binaryCollation, numeric
	switch n.kind {
	case kindInt:
		f := n.ints
		if n.unsigned {
			return withKind(n), nil
		}
		out.ints = func(m *machine) (int64, bool) {
			v, ok := f(m)
			if v == math.MinInt64 && ok {
				m.fail(errOverflow(false))
				return 0, false
			}
			return max(v, -v), ok
		}
	case kindReal:
		f := n.reals
		out.reals = func(m *machine) (float64, bool) { v, ok := f(m); return math.Abs(v), ok }
	case kindDecimal:
		f := n.decimals
		out.decimals = func(m *machine) (decimal, bool) {
			v, ok := f(m)
			v.negative = false
			return v, ok
		}
	}
	return fold(&out, n)
}

func sign(a []*node) (*node, error) {
	n, err := a[0].asReal()
	if err != nil {
		return nil, err
	}
	f := n.reals
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		return int64(compareOrdered(v, 0)), ok
	}), n)
}

// toWhole compiles CEIL and FLOOR.
func toWhole(n *node, up bool) (*node, error) {
	n, err := n.number()
	if err != nil {
		return nil, err
	}
	switch n.kind {
	case kindInt:
		return withKind(n), nil
	case kindReal:
		f := n.reals
		return fold(newReal(func(m *machine) (float64, bool) {
			v, ok := f(m)
			if up {
				return math.Ceil(v), ok
			}
			return math.Floor(v), ok
		}), n)
	}
	f := n.decimals
	return fold(newDecimal(0, func(m *machine) (decimal, bool) {
		v, ok := f(m)
		whole := v.truncated(0)
		if c := compareDecimals(v, whole); c > 0 && up {
			whole, _ = addDecimals(whole, decimalOfInt(1))
		} else if c < 0 && !up {
			whole, _ = addDecimals(whole, decimalOfInt(-1))
		}
		return whole, ok
	}), n)
}

// rounded compiles ROUND and TRUNCATE.
func rounded(a []*node, half bool) (*node, error) {
	digits := 0
	if len(a) == 2 {
		var ok bool
		if digits, ok = smallInt(a[1]); !ok || digits > maxScale || digits < -maxScale {
			return nil, errors.New("the number of digits must be a literal, at most 30")
		}
	}
	n, err := a[0].number()
	if err != nil {
		return nil, err
	}
	shift := math.Pow10(digits)
	switch n.kind {
	case kindInt:
		if digits >= 0 && !half || len(a) == 1 {
			return withKind(n), nil
		}
		return roundedInt(n, digits, half)
	case kindReal:
		f := n.reals
		return fold(newReal(func(m *machine) (float64, bool) {
			v, ok := f(m)
			return roundFloat(v, shift, half), ok
		}), n)
	}
	f := n.decimals
	scale := max(digits, 0)
	return fold(newDecimal(scale, func(m *machine) (decimal, bool) {
		v, ok := f(m)
		if digits < 0 {
			return roundTens(v, -digits, half), ok
		}
		if v.shown = v.scale; !half {
			if int(v.scale) >= scale {
				return v.truncated(scale), ok
			}
			v, _ = v.withScale(scale)
			return v, ok
		}
		v, fits := v.withScale(scale)
		if !fits {
			m.fail(errRange)
		}
		return v, ok && fits
	}), n)
}

// roundTens rounds to a multiple of 10^n.
func roundTens(v decimal, n int, half bool) decimal {
	first, _ := v.quoPow10(int(v.scale) + n)
	if half && first >= 5 {
		v.mulAdd(1, 1)
	}
	v.scale, v.shown = 0, 0
	v.mulPow10(n)
	return v.normal()
}

// roundedInt rounds an integer as TiDB does: as a float, unless it truncates.
func roundedInt(n *node, digits int, half bool) (*node, error) {
	f, unsigned := n.ints, n.unsigned
	shift := math.Pow10(digits)
	if digits < -18 {
		return nil, fmt.Errorf("an integer does not have %d digits", -digits)
	}
	out := newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		switch {
		case half:
			return int64(roundFloat(float64(v), shift, true)), ok
		case unsigned:
			return int64(uint64(v) / pow10[-digits] * pow10[-digits]), ok
		}
		return v / int64(pow10[-digits]) * int64(pow10[-digits]), ok
	})
	out.unsigned = unsigned
	return fold(out, n)
}

func roundFloat(f, shift float64, half bool) float64 {
	shifted := f * shift
	if math.IsInf(shifted, 0) {
		return f
	}
	if half {
		shifted = math.RoundToEven(shifted)
	} else {
		shifted = math.Trunc(shifted)
	}
	if out := shifted / shift; !math.IsNaN(out) {
		return out
	}
	return 0
}

func squareRoot(a []*node) (*node, error) {
	n, err := a[0].asReal()
	if err != nil {
		return nil, err
	}
	f := n.reals
	return fold(newReal(func(m *machine) (float64, bool) {
		v, ok := f(m)
		return math.Sqrt(v), ok && v >= 0
	}), n)
}

func power(a []*node) (*node, error) {
	x, y, err := pair(kindReal, a[0], a[1])
	if err != nil {
		return nil, err
	}
	return calculate(kindReal, x, y, calculation{reals: math.Pow})
}
