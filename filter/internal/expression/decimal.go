package expression

import (
	"cmp"
	"math"
	"math/bits"
	"strconv"
)

// decimal is an exact number: ±coef / 10^scale. 320 bits hold 96 digits, more
// than MySQL's 65 and TiDB's 81.
type decimal struct {
	coef  [decimalWords]uint64 // little-endian
	scale uint8
	// shown is how many digits after the point the number has when it becomes
	// text. A quotient has more digits than it shows.
	shown    uint8
	negative bool
}

const (
	decimalWords = 5
	// maxScale is how many digits after the point a product keeps.
	maxScale = 30
	// divisionDigits is how many digits a division adds (div_precision_increment).
	divisionDigits = 4
	// TiDB calculates in words of nine digits and keeps nine of them.
	wordDigits, maxWords = 9, 9
)

// pow10 are the powers of ten that fit a word.
var pow10 = [...]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

func decimalOfInt(n int64) decimal {
	d := decimalOfUint(uint64(n))
	if n < 0 {
		d.coef[0], d.negative = -uint64(n), true
	}
	return d
}

func decimalOfUint(n uint64) decimal { return decimal{coef: [decimalWords]uint64{n}} }

func (d *decimal) isZero() bool { return d.coef == [decimalWords]uint64{} }

// mulAdd sets coef to coef*m+a and reports whether it fits.
func (d *decimal) mulAdd(m, a uint64) bool {
	carry := a
	for i := range d.coef {
		hi, lo := bits.Mul64(d.coef[i], m)
		var c uint64
		d.coef[i], c = bits.Add64(lo, carry, 0)
		carry = hi + c
	}
	return carry == 0
}

// quoRem sets coef to coef/m and returns the remainder.
func (d *decimal) quoRem(m uint64) (rem uint64) {
	for i := decimalWords - 1; i >= 0; i-- {
		if rem|d.coef[i] != 0 {
			d.coef[i], rem = bits.Div64(rem, d.coef[i], m)
		}
	}
	return rem
}

// mulPow10 multiplies coef by 10^n.
func (d *decimal) mulPow10(n int) bool {
	for n > 0 {
		step := min(n, len(pow10)-1)
		if !d.mulAdd(pow10[step], 0) {
			return false
		}
		n -= step
	}
	return true
}

// quoPow10 divides coef by 10^n and returns the first digit that is cut off,
// and whether anything is.
func (d *decimal) quoPow10(n int) (first uint64, rest bool) {
	for ; n > 1; n -= min(n-1, len(pow10)-1) {
		rest = d.quoRem(pow10[min(n-1, len(pow10)-1)]) != 0 || rest
	}
	if n == 1 {
		first = d.quoRem(10)
	}
	return first, rest || first != 0
}

// withScale sets the scale; a lower one rounds half away from zero.
func (d decimal) withScale(scale int) (decimal, bool) {
	have := int(d.scale)
	d.scale, d.shown = uint8(scale), uint8(scale)
	if scale >= have {
		return d, d.mulPow10(scale - have)
	}
	if first, _ := d.quoPow10(have - scale); first >= 5 {
		d.mulAdd(1, 1)
	}
	return d.normal(), true
}

// truncated cuts off digits beyond a scale.
func (d decimal) truncated(scale int) decimal {
	if have := int(d.scale); scale < have {
		d.quoPow10(have - scale)
		d.scale, d.shown = uint8(scale), uint8(scale)
	}
	return d.normal()
}

// normal has no negative zero.
func (d decimal) normal() decimal {
	d.negative = d.negative && !d.isZero()
	return d
}

func compareCoef(a, b *[decimalWords]uint64) int {
	for i := decimalWords - 1; i >= 0; i-- {
		if a[i] != b[i] {
			return cmp.Compare(a[i], b[i])
		}
	}
	return 0
}

func compareDecimals(a, b decimal) int {
	if a.negative != b.negative {
		if a.negative {
			return -1
		}
		return 1
	}
	var c int
	switch {
	case a.scale < b.scale:
		if !a.mulPow10(int(b.scale - a.scale)) {
			c = 1
		} else {
			c = compareCoef(&a.coef, &b.coef)
		}
	case a.scale > b.scale:
		if !b.mulPow10(int(a.scale - b.scale)) {
			c = -1
		} else {
			c = compareCoef(&a.coef, &b.coef)
		}
	default:
		c = compareCoef(&a.coef, &b.coef)
	}
	if a.negative {
		return -c
	}
	return c
}

func addDecimals(a, b decimal) (decimal, bool) {
	shown := max(a.shown, b.shown)
	scale := max(a.scale, b.scale)
	if !a.mulPow10(int(scale-a.scale)) || !b.mulPow10(int(scale-b.scale)) {
		return a, false
	}
	a.scale, a.shown = scale, shown
	if a.negative == b.negative {
		var carry uint64
		for i := range a.coef {
			a.coef[i], carry = bits.Add64(a.coef[i], b.coef[i], carry)
		}
		return a.normal(), carry == 0
	}
	if compareCoef(&a.coef, &b.coef) < 0 {
		a.coef, b.coef, a.negative = b.coef, a.coef, b.negative
	}
	subtract(&a.coef, &b.coef)
	return a.normal(), true
}

// subtract sets a to a-b, where a >= b.
func subtract(a, b *[decimalWords]uint64) {
	var borrow uint64
	for i := range a {
		a[i], borrow = bits.Sub64(a[i], b[i], borrow)
	}
}

func (d decimal) negated() decimal {
	d.negative = !d.negative
	return d.normal()
}

func mulDecimals(a, b decimal) (decimal, bool) {
	out := decimal{scale: a.scale + b.scale, shown: min(a.shown+b.shown, maxScale), negative: a.negative != b.negative}
	for i, x := range a.coef {
		if x == 0 {
			continue
		}
		var carry uint64
		for j, y := range b.coef {
			hi, lo := bits.Mul64(x, y)
			if i+j >= decimalWords {
				if hi|lo|carry != 0 {
					return out, false
				}
				continue
			}
			var c uint64
			lo, c = bits.Add64(lo, carry, 0)
			hi += c
			out.coef[i+j], c = bits.Add64(out.coef[i+j], lo, 0)
			carry = hi + c
		}
		if carry != 0 {
			return out, false
		}
	}
	if out.scale > maxScale+1 {
		shown := out.shown
		out = out.truncated(maxScale + 1)
		out.shown = shown
	}
	return out.normal(), true
}

// words is how many words of nine digits hold n digits.
func words(n int) int { return (n + wordDigits - 1) / wordDigits }

// divDecimals divides as TiDB does, which calculates whole words of digits:
// there are more than the quotient shows, and the rest is cut off. b is not zero.
func divDecimals(a, b decimal) (decimal, bool) {
	fa, fb := words(int(a.scale))*wordDigits, words(int(b.scale))*wordDigits
	increment := max(0, divisionDigits-(fa-int(a.scale))-(fb-int(b.scale)))
	scale := words(fa+fb+increment) * wordDigits
	if whole := words(a.digits() - int(a.scale) - (b.digits() - int(b.scale)) + 1); whole > 0 && whole+scale/wordDigits > maxWords {
		scale = max(0, maxWords-whole) * wordDigits
	}
	out := decimal{scale: uint8(scale), shown: min(a.shown+divisionDigits, maxScale), negative: a.negative != b.negative}
	// a/10^sa : b/10^sb, times 10^scale.
	if shift := scale + int(b.scale) - int(a.scale); shift >= 0 {
		if !a.mulPow10(shift) {
			return out, false
		}
	} else if !b.mulPow10(-shift) {
		return out, false
	}
	out.coef, _ = divideCoef(a.coef, b.coef)
	return out.normal(), true
}

// modDecimals returns the remainder, with the sign of a. b is not zero.
func modDecimals(a, b decimal) (decimal, bool) {
	scale := max(a.scale, b.scale)
	if !a.mulPow10(int(scale-a.scale)) || !b.mulPow10(int(scale-b.scale)) {
		return a, false
	}
	_, a.coef = divideCoef(a.coef, b.coef)
	a.scale, a.shown = scale, max(a.shown, b.shown)
	return a.normal(), true
}

// divideCoef divides bit by bit, after skipping the bits that cannot matter.
func divideCoef(a, b [decimalWords]uint64) (quo, rem [decimalWords]uint64) {
	if b[1]|b[2]|b[3]|b[4] == 0 {
		d := decimal{coef: a}
		rem[0] = d.quoRem(b[0])
		return d.coef, rem
	}
	for i := bitLen(&a) - 1; i >= 0; i-- {
		overflow := rem[decimalWords-1] >> 63
		for w := decimalWords - 1; w > 0; w-- {
			rem[w] = rem[w]<<1 | rem[w-1]>>63
		}
		rem[0] = rem[0]<<1 | a[i/64]>>(i%64)&1
		if overflow != 0 || compareCoef(&rem, &b) >= 0 {
			subtract(&rem, &b)
			quo[i/64] |= 1 << (i % 64)
		}
	}
	return quo, rem
}

func bitLen(a *[decimalWords]uint64) int {
	for i := decimalWords - 1; i >= 0; i-- {
		if a[i] != 0 {
			return 64*i + bits.Len64(a[i])
		}
	}
	return 0
}

// digits is the number of decimal digits of coef, 0 for zero.
func (d *decimal) digits() int {
	rest := *d
	n := 0
	for rest.coef[1]|rest.coef[2]|rest.coef[3]|rest.coef[4] != 0 {
		rest.quoRem(pow10[len(pow10)-1])
		n += len(pow10) - 1
	}
	for v := rest.coef[0]; v != 0; v /= 10 {
		n++
	}
	return n
}

// appendText appends the number with the digits that it shows.
func (d decimal) appendText(dst []byte) []byte {
	if d.shown != d.scale {
		d, _ = d.withScale(int(d.shown))
	}
	var buf [100]byte
	i := len(buf)
	for n := 0; n <= int(d.scale) || !d.isZero(); n++ {
		if n == int(d.scale) && n > 0 {
			i--
			buf[i] = '.'
		}
		i--
		buf[i] = byte('0' + d.quoRem(10))
	}
	if d.negative {
		dst = append(dst, '-')
	}
	return append(dst, buf[i:]...)
}

// parseDecimal reads a number from the start of text: sign, digits, point,
// exponent. ok is false if it is too large. What follows the number is ignored,
// and no number is 0, as MySQL has it.
func parseDecimal[T string | []byte](text T) (d decimal, ok bool) {
	i, digits := 0, 0
	for i < len(text) && isSpace(text[i]) {
		i++
	}
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		d.negative = text[i] == '-'
		i++
	}
	point := false
	// Digits are gathered in a word, because multiplying all words takes longer.
	word, inWord := uint64(0), 0
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if inWord == len(pow10)-1 {
			if !d.mulAdd(pow10[inWord], word) {
				return d, false
			}
			word, inWord = 0, 0
		}
		word, inWord = 10*word+uint64(c-'0'), inWord+1
		digits++
		if point {
			d.scale++
		}
		if d.scale > 80 {
			return d, false
		}
	}
	if !d.mulAdd(pow10[inWord], word) {
		return d, false
	}
	exponent := 0
	if digits > 0 && i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		exponent = parseExponent(text[i+1:])
	}
	switch {
	case exponent > 100 || exponent < -100:
		return d, false
	case exponent > 0:
		n := min(exponent, int(d.scale))
		d.scale -= uint8(n)
		if !d.mulPow10(exponent - n) {
			return d, false
		}
	case exponent < 0:
		if int(d.scale)-exponent > 80 {
			return d, false
		}
		d.scale += uint8(-exponent)
	}
	d.shown = d.scale
	return d.normal(), true
}

func parseExponent[T string | []byte](text T) (n int) {
	i := 0
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		i++
	}
	for ; i < len(text) && '0' <= text[i] && text[i] <= '9' && n < 1000; i++ {
		n = 10*n + int(text[i]-'0')
	}
	if len(text) > 0 && text[0] == '-' {
		return -n
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// int64 returns the integer nearest to d, and false if it is out of range.
func (d decimal) int64() (int64, bool) {
	d, _ = d.withScale(0)
	n := d.coef[0]
	switch {
	case d.coef[1]|d.coef[2]|d.coef[3]|d.coef[4] != 0 || n > 1<<63 || n == 1<<63 && !d.negative:
		if d.negative {
			return math.MinInt64, false
		}
		return math.MaxInt64, false
	case d.negative:
		return -int64(n), true
	}
	return int64(n), true
}

// uint64 returns the integer nearest to d, and false if it is out of range.
func (d decimal) uint64() (uint64, bool) {
	d, _ = d.withScale(0)
	switch {
	case d.negative:
		return 0, false
	case d.coef[1]|d.coef[2]|d.coef[3]|d.coef[4] != 0:
		return math.MaxUint64, false
	}
	return d.coef[0], true
}

// float64 returns the float nearest to what d shows.
func (d decimal) float64() float64 {
	if d.shown != d.scale {
		d, _ = d.withScale(int(d.shown))
	}
	if d.coef[0] < 1<<53 && d.coef[1]|d.coef[2]|d.coef[3]|d.coef[4] == 0 && d.scale <= 15 {
		// Both are exact, so that the quotient is the nearest.
		f := float64(d.coef[0]) / float64(pow10[d.scale])
		if d.negative {
			return -f
		}
		return f
	}
	var buf [100]byte
	f, _ := strconv.ParseFloat(bytesText(d.appendText(buf[:0])), 64) // it is a number in range
	return f
}
