package event

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// appendJSON renders a checked value as TiDB prints JSON: a space after every
// comma and colon, keys in the order of their bytes, times with six digits
// after the second, and opaque values as "base64:type<number>:<data>".
func appendJSON(dst []byte, tp byte, b []byte) []byte {
	switch tp {
	case jsonObject:
		return appendJSONObject(dst, b)
	case jsonArray:
		return appendJSONArray(dst, b)
	case jsonLiteral:
		return appendJSONLiteral(dst, b[0])
	case jsonInt64:
		return strconv.AppendInt(dst, int64(binary.LittleEndian.Uint64(b)), 10)
	case jsonUint64:
		return strconv.AppendUint(dst, binary.LittleEndian.Uint64(b), 10)
	case jsonFloat64:
		return appendJSONFloat(dst, math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case jsonString:
		n, width := binary.Uvarint(b)
		return appendJSONString(dst, b[width:width+int(n)])
	case jsonOpaque:
		n, width := binary.Uvarint(b[1:])
		dst = append(dst, `"base64:type`...)
		dst = strconv.AppendUint(dst, uint64(b[0]), 10)
		dst = append(dst, ':')
		dst = base64.StdEncoding.AppendEncode(dst, b[1+width:1+width+int(n)])
		return append(dst, '"')
	case jsonDate, jsonDatetime, jsonTimestamp:
		t := coreTime(binary.LittleEndian.Uint64(b))
		dst = t.appendDate(append(dst, '"'))
		if tp != jsonDate {
			dst = t.appendClock(append(dst, ' '), maxFsp)
		}
		return append(dst, '"')
	case jsonDuration:
		dst = appendDuration(append(dst, '"'), time.Duration(binary.LittleEndian.Uint64(b)), maxFsp)
		return append(dst, '"')
	}
	return dst
}

func appendJSONObject(dst, b []byte) []byte {
	count := int(binary.LittleEndian.Uint32(b))
	values := jsonHeader + count*jsonKeyEntry
	dst = append(dst, '{')
	for i := range count {
		if i > 0 {
			dst = append(dst, ',', ' ')
		}
		entry := b[jsonHeader+i*jsonKeyEntry:]
		off, n := int(binary.LittleEndian.Uint32(entry)), int(binary.LittleEndian.Uint16(entry[4:]))
		dst = appendJSONString(dst, b[off:off+n])
		dst = append(dst, ':', ' ')
		dst = appendJSONEntry(dst, b, values+i*jsonValueEntry)
	}
	return append(dst, '}')
}

func appendJSONArray(dst, b []byte) []byte {
	dst = append(dst, '[')
	for i := range int(binary.LittleEndian.Uint32(b)) {
		if i > 0 {
			dst = append(dst, ',', ' ')
		}
		dst = appendJSONEntry(dst, b, jsonHeader+i*jsonValueEntry)
	}
	return append(dst, ']')
}

// appendJSONEntry renders the value whose entry stands at e within its container b.
func appendJSONEntry(dst, b []byte, e int) []byte {
	if b[e] == jsonLiteral {
		return appendJSONLiteral(dst, b[e+1])
	}
	return appendJSON(dst, b[e], b[binary.LittleEndian.Uint32(b[e+1:]):])
}

func appendJSONLiteral(dst []byte, literal byte) []byte {
	switch literal {
	case jsonTrue:
		return append(dst, "true"...)
	case jsonFalse:
		return append(dst, "false"...)
	}
	return append(dst, "null"...)
}

// appendJSONFloat uses an exponent from 1e21 up and below 1e-6, as JavaScript
// and TiDB do.
func appendJSONFloat(dst []byte, f float64) []byte {
	if abs := math.Abs(f); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// 1e-07 is written 1e-7.
	if n := len(dst); dst[n-2] == '0' && dst[n-3] == '-' {
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst
}

// appendJSONString quotes s and escapes what JSON demands. Bytes that are not
// UTF-8, and the line separators U+2028 and U+2029, become \u escapes.
func appendJSONString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0 // of what is not yet copied
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			if c >= ' ' && c != '"' && c != '\\' {
				continue
			}
			dst = append(dst, s[start:i-1]...)
			start = i
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			dst = append(append(dst, s[start:i]...), '\\', 'u', '2', '0', '2', hex[r&15])
			start = i + size
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
