package jsontext

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Quote, backslash and control
// characters are escaped and nothing else: <, > and & are themselves. What is not
// UTF-8 becomes U+FFFD, as encoding/json has it.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = AppendEscaped(dst, s)
	return append(dst, '"')
}

// AppendEscaped is [AppendString] without the quotes around.
func AppendEscaped(dst []byte, s string) []byte {
	for {
		n := plainLength(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return dst
		}
		s = s[n:]
		if s[0] < utf8.RuneSelf {
			dst = appendEscape(dst, s[0])
			s = s[1:]
			continue
		}
		n = validLength(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; n == 0 {
			dst = append(dst, "\ufffd"...)
			s = s[1:]
		}
	}
}

// AppendBytes is [AppendString] for bytes.
func AppendBytes(dst, s []byte) []byte {
	return AppendString(dst, unsafe.String(unsafe.SliceData(s), len(s)))
}

// plainLength returns how many bytes s begins with that are ASCII and need no
// escape.
func plainLength(s string) int {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	for len(b) >= 32 {
		if special(b[0:8])|special(b[8:16])|special(b[16:24])|special(b[24:32]) != 0 {
			break
		}
		b = b[32:]
	}
	for len(b) >= 8 {
		if m := special(b[:8]); m != 0 {
			return len(s) - len(b) + bits.TrailingZeros64(m)/8
		}
		b = b[8:]
	}
	for i, c := range b {
		if c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return len(s) - len(b) + i
		}
	}
	return len(s)
}

// special returns the top bits of the bytes of a word that are beyond ASCII or
// have to be escaped. Such a bit is set, or becomes so when a byte that is too
// small borrows. A borrow also reaches the bytes above, so that only the lowest
// bit is sure.
func special(b []byte) uint64 {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	w := binary.LittleEndian.Uint64(b)
	return (w | (w - ones*' ') | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones)) & tops
}

// validLength returns how many bytes s begins with that are characters beyond
// ASCII in UTF-8.
func validLength(s string) int {
	n := 0
	for n < len(s) && s[n] >= utf8.RuneSelf {
		r, size := utf8.DecodeRuneInString(s[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// AppendLatin1 appends bytes as a JSON string of the code points U+0000 to
// U+00FF with the same numbers: bytes read as ISO-8859-1.
func AppendLatin1(dst []byte, s string) []byte {
	dst = append(dst, '"')
	const chunk = 128
	for len(s) > 0 {
		part := s[:min(len(s), chunk)]
		s = s[len(part):]
		dst = slices.Grow(dst, 8*chunk)
		n := len(dst)
		out := dst[n : n+8*chunk]
		n = 0
		for i := range len(part) {
			c := &latin1[part[i]]
			binary.LittleEndian.PutUint64(out[n:], c.text)
			n += c.size
		}
		dst = dst[:len(dst)+n]
	}
	return append(dst, '"')
}

// latin1 has the text of each byte: up to six characters of an escape, as a
// little-endian number. Bytes are as good as random, so that telling them apart by
// conditions would cost more than all else.
var latin1 = func() (table [256]struct {
	text uint64
	size int
},
) {
	for i := range table {
		var buf [8]byte
		text := buf[:0]
		switch c := byte(i); {
		case c >= utf8.RuneSelf:
			text = utf8.AppendRune(text, rune(c))
		case c < ' ' || c == '"' || c == '\\':
			text = appendEscape(text, c)
		default:
			text = append(text, c)
		}
		table[i].text, table[i].size = binary.LittleEndian.Uint64(buf[:]), len(text)
	}
	return table
}()

// AppendBase64 appends bytes as a JSON string in standard base64 with padding.
func AppendBase64(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// AppendFloat appends a number of 32 or 64 bits that is not infinite, as
// encoding/json has it: the shortest digits, with an exponent below 1e-6 and from
// 1e21 up.
func AppendFloat(dst []byte, f float64, bitSize int) []byte {
	abs := math.Abs(f)
	if bitSize == 32 && (float32(abs) >= 1e-6 && float32(abs) < 1e21) || bitSize == 64 && (abs >= 1e-6 && abs < 1e21) || abs == 0 {
		return strconv.AppendFloat(dst, f, 'f', -1, bitSize)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, bitSize)
	// e-09 is written e-9.
	if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}
