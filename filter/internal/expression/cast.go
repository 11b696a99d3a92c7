package expression

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// What MySQL calls a cast happens in two ways: because somebody wrote CAST, and
// because an operator wants another kind. The functions here are the second;
// they return an error if the conversion is not one that can be done exactly.

func (n *node) unusable() bool { return n.kind == kindNull && n.inexactText }

// checkNumber refuses what cannot be a number.
func (n *node) checkNumber() error {
	switch {
	case n.unusable():
		return errJSONValue
	case n.textOnly:
		return errTextOnly
	}
	return nil
}

// asInt converts to an integer: a number is rounded, a string's digits count.
func (n *node) asInt() (*node, error) {
	if err := n.checkNumber(); err != nil {
		return nil, err
	}
	out := *n
	out.kind, out.tp, out.scale, out.column, out.collation, out.strength = kindInt, event.TypeLonglong, 0, false, binaryCollation, numeric
	switch n.kind {
	case kindInt:
		return n, nil
	case kindNull:
		out.ints = func(*machine) (int64, bool) { return 0, false }
	case kindReal:
		f, unsigned := n.reals, n.unsigned
		out.ints = func(m *machine) (int64, bool) {
			v, ok := f(m)
			return roundReal(v, unsigned), ok
		}
	case kindDecimal:
		f, unsigned := n.decimals, n.unsigned
		out.ints = func(m *machine) (int64, bool) {
			v, ok := f(m)
			if unsigned {
				u, _ := v.uint64()
				return int64(u), ok
			}
			i, _ := v.int64()
			return i, ok
		}
	case kindString:
		f := n.strings
		switch {
		case n.ints != nil:
			out.unsigned = true
		case n.binaryLiteral:
			out.unsigned = true
			out.ints = func(m *machine) (int64, bool) {
				s, ok := f(m)
				return bigEndian(s), ok
			}
		default:
			out.unsigned = false
			out.ints = func(m *machine) (int64, bool) {
				s, ok := f(m)
				return intPrefix(s), ok
			}
		}
	case kindTime:
		f, date := n.times, n.tp == event.TypeDate
		out.ints = func(m *machine) (int64, bool) {
			p, ok := f(m)
			p, _ = p.round(0)
			return p.number(date), ok
		}
	case kindDuration:
		f := n.durations
		out.ints = func(m *machine) (int64, bool) {
			d, ok := f(m)
			i, _ := decimalOfDuration(roundDuration(d, 0), 0).int64()
			return i, ok
		}
	}
	return fold(&out, n)
}

func roundReal(f float64, unsigned bool) int64 {
	f = math.RoundToEven(f)
	switch {
	case unsigned && f < 0:
		return int64(f)
	case unsigned && f >= math.MaxUint64:
		return -1
	case unsigned:
		return int64(uint64(f))
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}

func bigEndian(s string) (n int64) {
	for i := range len(s) {
		n = n<<8 | int64(s[i])
	}
	return n
}

// intPrefix reads the digits that a string begins with, as CAST does. What is
// above the range is the largest number; as BIGINT that is -1.
func intPrefix(s string) int64 {
	s = strings.TrimSpace(s)
	negative := len(s) > 1 && s[0] == '-'
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		s = s[1:]
	}
	var n uint64
	for i := 0; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		d := uint64(s[i] - '0')
		if n > (math.MaxUint64-d)/10 {
			n = math.MaxUint64
			break
		}
		n = 10*n + d
	}
	switch {
	case negative && n > 1<<63:
		return math.MinInt64
	case negative:
		return -int64(n)
	}
	return int64(n)
}

// asReal converts to a float: of a string the number it begins with.
func (n *node) asReal() (*node, error) {
	if err := n.checkNumber(); err != nil {
		return nil, err
	}
	out := *n
	out.kind, out.tp, out.scale, out.column, out.collation, out.strength = kindReal, event.TypeDouble, -1, false, binaryCollation, numeric
	switch n.kind {
	case kindReal:
		return n, nil
	case kindNull:
		out.reals = func(*machine) (float64, bool) { return 0, false }
	case kindInt:
		f, unsigned := n.ints, n.unsigned
		out.reals = func(m *machine) (float64, bool) {
			i, ok := f(m)
			if unsigned {
				return float64(uint64(i)), ok
			}
			return float64(i), ok
		}
	case kindDecimal:
		if n.rounded && !n.constant {
			return nil, errRounded
		}
		f, quotient := n.decimals, n.quotient
		out.quotient = false
		out.reals = func(m *machine) (float64, bool) {
			d, ok := f(m)
			if quotient {
				d.shown = d.scale
			}
			return d.float64(), ok
		}
	case kindString:
		f := n.strings
		switch {
		case n.ints != nil:
			f := n.ints
			out.reals = func(m *machine) (float64, bool) {
				i, ok := f(m)
				return float64(uint64(i)), ok
			}
		case n.binaryLiteral:
			out.reals = func(m *machine) (float64, bool) {
				s, ok := f(m)
				return float64(uint64(bigEndian(s))), ok
			}
		default:
			out.reals = func(m *machine) (float64, bool) {
				s, ok := f(m)
				return realPrefix(s), ok
			}
		}
	case kindTime, kindDuration:
		d, err := n.asDecimal()
		if err != nil {
			return nil, err
		}
		return d.asReal()
	}
	return fold(&out, n)
}

// realPrefix reads the number that a string begins with.
func realPrefix(s string) float64 {
	s = strings.TrimSpace(s)
	end, exponent := 0, -1
	point, digit := false, false
scan:
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			digit, end = true, i+1
		case c == '+' || c == '-':
			if i != 0 && i != exponent+1 {
				break scan
			}
		case c == '.':
			if point || exponent > 0 {
				break scan
			}
			if point = true; digit {
				end = i + 1
			}
		case c == 'e' || c == 'E':
			if !digit || exponent != -1 {
				break scan
			}
			exponent = i
		default:
			break scan
		}
	}
	if end == 0 {
		return 0
	}
	f, _ := strconv.ParseFloat(s[:end], 64) // the only error is that of range
	return min(max(f, -math.MaxFloat64), math.MaxFloat64)
}

// asDecimal converts to an exact number.
func (n *node) asDecimal() (*node, error) {
	if err := n.checkNumber(); err != nil {
		return nil, err
	}
	out := *n
	out.kind, out.tp, out.column, out.collation, out.strength = kindDecimal, event.TypeNewDecimal, false, binaryCollation, numeric
	switch n.kind {
	case kindDecimal:
		return n, nil
	case kindNull:
		out.decimals = func(*machine) (decimal, bool) { return decimal{}, false }
	case kindInt:
		f, unsigned := n.ints, n.unsigned
		out.scale = 0
		out.decimals = func(m *machine) (decimal, bool) {
			i, ok := f(m)
			if unsigned {
				return decimalOfUint(uint64(i)), ok
			}
			return decimalOfInt(i), ok
		}
	case kindReal:
		f := n.reals
		out.scale, out.inexactText = -1, true
		out.decimals = func(m *machine) (decimal, bool) {
			v, ok := f(m)
			return decimalOfReal(m, v), ok
		}
	case kindString:
		if n.hybrid() || n.binaryLiteral {
			i, err := n.asInt()
			if err != nil {
				return nil, err
			}
			return i.asDecimal()
		}
		f := n.strings
		out.scale, out.inexactText = -1, true
		out.decimals = func(m *machine) (decimal, bool) {
			s, ok := f(m)
			d, fits := parseDecimal(s)
			if !fits && ok {
				m.fail(errRange)
			}
			return d, ok && fits
		}
	case kindTime:
		f, date, fsp := n.times, n.tp == event.TypeDate, max(n.scale, 0)
		out.decimals = func(m *machine) (decimal, bool) {
			p, ok := f(m)
			return decimalOfTime(p, date, fsp), ok
		}
	case kindDuration:
		f, fsp := n.durations, max(n.scale, 0)
		out.decimals = func(m *machine) (decimal, bool) {
			d, ok := f(m)
			return decimalOfDuration(d, fsp), ok
		}
	}
	return fold(&out, n)
}

func decimalOfReal(m *machine, f float64) decimal {
	var buf [32]byte
	d, ok := parseDecimal(strconv.AppendFloat(buf[:0], f, 'g', -1, 64))
	if !ok {
		m.fail(errRange)
	}
	return d
}

// asString converts to text, as MySQL prints the value.
func (n *node) asString() (*node, error) {
	switch {
	case n.unusable():
		return nil, errJSONValue
	case n.kind == kindString:
		return n, nil
	case n.inexactText:
		return nil, errDigits
	case n.tp == event.TypeBit:
		return nil, errBitText
	}
	out := *n
	out.kind, out.tp, out.scale, out.column, out.collation, out.strength = kindString, event.TypeVarString, -1, false, textCollation, numeric
	appendText := n.appender()
	if appendText == nil {
		out.strings = func(*machine) (string, bool) { return "", false }
	} else {
		out.strings = func(m *machine) (string, bool) {
			start := len(m.buf)
			if !appendText(m) {
				return "", false
			}
			return m.made(start), true
		}
	}
	return fold(&out, n)
}

// appender is a function that appends the value's text to the machine's buffer,
// nil for NULL.
func (n *node) appender() func(*machine) bool {
	switch n.kind {
	case kindInt:
		f, unsigned, year := n.ints, n.unsigned, n.tp == event.TypeYear
		return func(m *machine) bool {
			i, ok := f(m)
			switch {
			case year && i == 0:
				m.buf = append(m.buf, "0000"...)
			case unsigned:
				m.buf = strconv.AppendUint(m.buf, uint64(i), 10)
			default:
				m.buf = strconv.AppendInt(m.buf, i, 10)
			}
			return ok
		}
	case kindReal:
		f, bits := n.reals, 64
		if n.tp == event.TypeFloat {
			bits = 32
		}
		return func(m *machine) bool {
			v, ok := f(m)
			m.buf = strconv.AppendFloat(m.buf, v, 'f', -1, bits)
			return ok
		}
	case kindDecimal:
		f := n.decimals
		return func(m *machine) bool {
			d, ok := f(m)
			m.buf = d.appendText(m.buf)
			return ok
		}
	case kindTime:
		f, tp, fsp := n.times, n.tp, max(n.scale, 0)
		return func(m *machine) bool {
			p, ok := f(m)
			m.buf = p.appendText(m.buf, tp, fsp)
			return ok
		}
	case kindDuration:
		f, fsp := n.durations, max(n.scale, 0)
		return func(m *machine) bool {
			d, ok := f(m)
			m.buf = event.DurationValue(d, fsp).AppendText(m.buf)
			return ok
		}
	}
	return nil
}

// asTime converts to a DATETIME.
func (n *node) asTime() (*node, error) {
	switch n.kind {
	case kindTime:
		return n, nil
	case kindNull:
		if n.unusable() {
			return nil, errJSONValue
		}
		return newConstantTime(event.TypeDatetime, 0, 0, false), nil
	case kindDuration:
		return nil, errMixedTime
	}
	if !n.constant {
		return nil, errTimeText
	}
	if n.isNull() {
		return newConstantTime(event.TypeDatetime, 0, 0, false), nil
	}
	text, err := n.asString()
	if err != nil {
		return nil, err
	}
	s, _ := text.strings(nil)
	p, _, fsp, ok := parseTime(s)
	if !ok {
		return nil, errDateLiteral
	}
	out := newConstantTime(event.TypeDatetime, fsp, p, true)
	out.at = n.at
	return out, nil
}

func newConstantTime(tp event.ColumnType, fsp int, p packedTime, known bool) *node {
	out := newTime(tp, fsp, func(*machine) (packedTime, bool) { return p, known })
	out.constant = true
	return out
}

// asDuration converts to a TIME.
func (n *node) asDuration() (*node, error) {
	known := n.kind != kindNull && !n.isNull()
	var d time.Duration
	var fsp int
	switch {
	case n.unusable():
		return nil, errJSONValue
	case n.kind == kindDuration:
		return n, nil
	case !known && n.constant:
	case n.kind != kindString:
		return nil, errMixedTime
	case !n.constant:
		return nil, errTimeText
	default:
		s, _ := n.strings(nil)
		var ok bool
		if d, fsp, ok = parseDuration(s); !ok {
			return nil, errTimeLiteral
		}
	}
	out := newDuration(fsp, func(*machine) (time.Duration, bool) { return d, known })
	out.constant, out.at = true, n.at
	return out, nil
}

// as converts to a kind.
func (n *node) as(k kind) (*node, error) {
	switch k {
	case kindInt:
		return n.asInt()
	case kindReal:
		return n.asReal()
	case kindDecimal:
		return n.asDecimal()
	case kindString:
		return n.asString()
	case kindTime:
		return n.asTime()
	case kindDuration:
		return n.asDuration()
	}
	return n, nil
}

// asTruth converts to 0 and 1: what is not zero is true.
func (n *node) asTruth() (*node, error) {
	switch {
	case n.unusable():
		return nil, errJSONValue
	case n.kind == kindDecimal:
		f := n.decimals
		return fold(newInt(func(m *machine) (int64, bool) {
			d, ok := f(m)
			return truth(!d.isZero()), ok
		}), n)
	case n.kind == kindInt:
		f := n.ints
		return fold(newInt(func(m *machine) (int64, bool) {
			i, ok := f(m)
			return truth(i != 0), ok
		}), n)
	}
	r, err := n.asReal()
	if err != nil {
		return nil, err
	}
	f := r.reals
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		return truth(v != 0), ok
	}), n)
}

func truth(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
