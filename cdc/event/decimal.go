package event

import (
	"fmt"
	"strings"
	"unsafe"
)

// A decimal stands in TiKV's form: a byte with the number of digits, a byte
// with the number of them after the point, then MySQL's binary decimal. That
// cuts the digits into words of nine, counted from the point outwards; each
// word is a big-endian number of four bytes, and the outermost words, which may
// have fewer digits, take fewer bytes. The first bit is inverted so that forms
// compare like their numbers; for a negative number all bits are inverted.
const (
	decimalHeader    = 2
	decimalWord      = 9
	maxDecimalDigits = 81 // what TiDB's decimal can hold; columns stop at 65
)

// decimalPartBytes is the width of a word with that many digits.
var decimalPartBytes = [decimalWord + 1]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}

// decimalLimit is the first number that does not fit a word with that many digits.
var decimalLimit = [decimalWord + 1]uint32{1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// DecimalValue returns a KindDecimal value from TiKV's binary form, which it
// aliases and which must not change afterwards. The value is rendered with
// scale digits after the point, rounded half away from zero if bin holds more;
// a negative scale keeps the digits of bin.
func DecimalValue(bin []byte, scale int) (Value, error) {
	if err := checkDecimal(bin); err != nil {
		return Value{}, fmt.Errorf("read decimal %x: %w", bin, err)
	}
	frac := int(bin[1])
	if scale < 0 {
		scale = frac
	}
	if scale > maxDecimalDigits {
		return Value{}, fmt.Errorf("read decimal %x: %d digits after the point are too many", bin, scale)
	}
	v := Value{kind: KindDecimal, data: unsafe.SliceData(bin), size: uint32(len(bin)), scale: uint8(max(scale, frac))}
	if scale < frac {
		return ParseDecimal(v.Text(), scale)
	}
	return v, nil
}

// checkDecimal makes sure that every word of the binary form is in range.
func checkDecimal(bin []byte) error {
	if len(bin) <= decimalHeader {
		return fmt.Errorf("%d bytes are too short", len(bin))
	}
	prec, frac := int(bin[0]), int(bin[1])
	if frac > prec || prec > maxDecimalDigits {
		return fmt.Errorf("%d digits, %d of them after the point", prec, frac)
	}
	body := bin[decimalHeader:]
	intg := prec - frac
	lead, tail := intg%decimalWord, frac%decimalWord
	leadBytes, tailBytes := decimalPartBytes[lead], decimalPartBytes[tail]
	words := intg/decimalWord + frac/decimalWord
	if want := leadBytes + 4*words + tailBytes; len(body) != want {
		return fmt.Errorf("%d bytes of digits, want %d", len(body), want)
	}
	var mask, flip uint32 = 0, 0x80
	if body[0]&0x80 == 0 {
		mask = ^uint32(0)
	}
	ok := true
	if lead > 0 {
		ok = decimalPart(body[:leadBytes], mask, flip) < decimalLimit[lead]
		body, flip = body[leadBytes:], 0
	}
	for range words {
		ok = ok && decimalPart(body[:4], mask, flip) < decimalLimit[decimalWord]
		body, flip = body[4:], 0
	}
	if tail > 0 {
		ok = ok && decimalPart(body, mask, flip) < decimalLimit[tail]
	}
	if !ok {
		return fmt.Errorf("digits out of range")
	}
	return nil
}

// decimalPart reads a word of 1 to 4 bytes. mask undoes the inversion of
// negative numbers; flip undoes that of the sign bit in the first byte.
func decimalPart(b []byte, mask, flip uint32) uint32 {
	switch len(b) {
	case 1:
		return uint32(b[0]) ^ mask&0xff ^ flip
	case 2:
		return (uint32(b[0])<<8 | uint32(b[1])) ^ mask&0xffff ^ flip<<8
	case 3:
		return (uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])) ^ mask&0xffffff ^ flip<<16
	}
	return (uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])) ^ mask ^ flip<<24
}

// appendDecimal renders the exact number: no exponent, no leading zeros but
// one, and as many digits after the point as the column declares.
func (v Value) appendDecimal(dst []byte) []byte {
	var buf [maxDecimalDigits]byte
	digits, negative := decimalDigits(v.bytes(), buf[:0])
	intg := int(*v.data) - int(v.bytes()[1])
	whole, frac := digits[:intg], digits[intg:]
	for len(whole) > 0 && whole[0] == '0' {
		whole = whole[1:]
	}
	if negative {
		dst = append(dst, '-')
	}
	if len(whole) == 0 {
		dst = append(dst, '0')
	}
	dst = append(dst, whole...)
	if v.scale == 0 {
		return dst
	}
	dst = append(dst, '.')
	dst = append(dst, frac...)
	for i := len(frac); i < int(v.scale); i++ {
		dst = append(dst, '0')
	}
	return dst
}

// decimalDigits appends all digits of a checked binary decimal to dst and tells
// whether the number is below zero (zero never is).
func decimalDigits(bin, dst []byte) (digits []byte, negative bool) {
	intg, frac := int(bin[0])-int(bin[1]), int(bin[1])
	body := bin[decimalHeader:]
	var mask, flip uint32 = 0, 0x80
	if body[0]&0x80 == 0 {
		mask = ^uint32(0)
	}
	var nonZero uint32
	part := func(n int) {
		size := decimalPartBytes[n]
		word := decimalPart(body[:size], mask, flip)
		body, flip = body[size:], 0
		nonZero |= word
		dst = appendPadded(dst, word, n)
	}
	if lead := intg % decimalWord; lead > 0 {
		part(lead)
	}
	for range intg/decimalWord + frac/decimalWord {
		part(decimalWord)
	}
	if tail := frac % decimalWord; tail > 0 {
		part(tail)
	}
	return dst, mask != 0 && nonZero != 0
}

// appendPadded appends n as exactly width decimal digits, with leading zeros.
func appendPadded(dst []byte, n uint32, width int) []byte {
	const zeros = "0000000000"
	dst = append(dst, zeros[:width]...)
	for i := len(dst) - 1; n > 0 && i >= len(dst)-width; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// ParseDecimal returns a KindDecimal value of a plain decimal number such as
// -12.34, with scale digits after the point, rounded half away from zero; a
// negative scale keeps the digits of text. Exponents are not accepted.
func ParseDecimal(text string, scale int) (Value, error) {
	digits := text
	negative := strings.HasPrefix(text, "-")
	if negative || strings.HasPrefix(text, "+") {
		digits = text[1:]
	}
	whole, frac, _ := strings.Cut(digits, ".")
	whole = strings.TrimLeft(whole, "0")
	if strings.Trim(whole, "0123456789") != "" || strings.Trim(frac, "0123456789") != "" || len(digits) == 0 || digits == "." {
		return Value{}, fmt.Errorf("parse decimal %q: want digits and at most one point", text)
	}
	if scale < 0 {
		scale = len(frac)
	}
	if n := len(whole) + scale; n > maxDecimalDigits-1 { // rounding may add one in front
		return Value{}, fmt.Errorf("parse decimal %q: %d digits are too many", text, n)
	}
	// One leading zero takes the carry of rounding and makes 0 a number with a digit.
	all := make([]byte, 1, maxDecimalDigits)
	all[0] = '0'
	all = append(all, whole...)
	all = append(all, frac[:min(scale, len(frac))]...)
	for range scale - len(frac) {
		all = append(all, '0')
	}
	if scale < len(frac) && frac[scale] >= '5' {
		roundUp(all)
	}
	bin := encodeDecimal(all, scale, negative)
	return Value{kind: KindDecimal, data: unsafe.SliceData(bin), size: uint32(len(bin)), scale: uint8(scale)}, nil
}

// roundUp adds one to the number in digits, whose first digit is below 9.
func roundUp(digits []byte) {
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i]++; digits[i] <= '9' {
			return
		}
		digits[i] = '0'
	}
}

// encodeDecimal builds the binary form of digits, frac of which follow the point.
func encodeDecimal(digits []byte, frac int, negative bool) []byte {
	bin := []byte{byte(len(digits)), byte(frac)}
	part := func(n int) {
		var word uint32
		for _, d := range digits[:n] {
			word = word*10 + uint32(d-'0')
		}
		digits = digits[n:]
		for size := decimalPartBytes[n] - 1; size >= 0; size-- {
			bin = append(bin, byte(word>>(8*size)))
		}
	}
	intg := len(digits) - frac
	if lead := intg % decimalWord; lead > 0 {
		part(lead)
	}
	for range intg/decimalWord + frac/decimalWord {
		part(decimalWord)
	}
	if tail := frac % decimalWord; tail > 0 {
		part(tail)
	}
	if negative {
		for i := decimalHeader; i < len(bin); i++ {
			bin[i] = ^bin[i]
		}
	}
	bin[decimalHeader] ^= 0x80
	return bin
}
