package jsontext

import (
	"encoding/base64"
	"encoding/binary"
	"math/bits"
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
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	i := 0
	for ; i+8 <= len(b); i += 8 {
		// The top bit of a byte tells whether it is special: it is set, or it becomes
		// so when a byte that is too small borrows. A borrow also reaches the bytes
		// above, so that only the lowest one is sure.
		w := binary.LittleEndian.Uint64(b[i:])
		quote, backslash := w^ones*'"', w^ones*'\\'
		if special := (w | (w - ones*' ') | (quote - ones) | (backslash - ones)) & tops; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			break
		}
	}
	return i
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
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			dst = append(dst, 0xc0|c>>6, 0x80|c&0x3f)
		case c < ' ' || c == '"' || c == '\\':
			dst = appendEscape(dst, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// AppendBase64 appends bytes as a JSON string in standard base64 with padding.
func AppendBase64(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}
