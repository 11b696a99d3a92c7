package avro

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/avrobinary"
)

// appendRecord appends the fields of a row.
func (e *Encoder) appendRecord(b []byte, fields []field, image []event.Value) ([]byte, error) {
	for i := range fields {
		f := &fields[i]
		if f.offset >= len(image) {
			return nil, fmt.Errorf("the row has %d columns and no %s", len(image), f.name)
		}
		v := image[f.offset]
		if v.IsNull() {
			if !f.nullable {
				return nil, fmt.Errorf("column %s is NOT NULL and its value is NULL", f.name)
			}
			b = append(b, f.nullBranch<<1)
			continue
		}
		if f.nullable {
			b = append(b, (1-f.nullBranch)<<1)
		}
		var ok bool
		if b, ok = e.appendValue(b, f, v); !ok {
			return nil, fmt.Errorf("column %s: a value of kind %s does not fit its type", f.name, v.Kind())
		}
	}
	return b, nil
}

// appendValue appends a value that is not NULL, if it is of a kind that the
// field's form can write.
func (e *Encoder) appendValue(b []byte, f *field, v event.Value) (_ []byte, ok bool) {
	kind := v.Kind()
	switch f.form {
	case formLong:
		return avrobinary.AppendLong(b, v.Int64()), kind == event.KindInt64 || kind == event.KindUint64
	case formString, formBytes:
		// In that order: most columns are text.
		return avrobinary.AppendBytes(b, v.Bytes()), kind == event.KindText || kind == event.KindBytes
	case formFloat:
		return avrobinary.AppendFloat(b, float32(v.Float64())), kind == event.KindFloat32
	case formDouble:
		return avrobinary.AppendDouble(b, v.Float64()), kind == event.KindFloat64 || kind == event.KindFloat32
	case formDecimal:
		if kind != event.KindDecimal {
			return nil, false
		}
		return appendDecimal(b, v, f.scale)
	case formBit:
		return appendBit(b, v.Uint64()), kind == event.KindBit
	}
	start := len(b)
	b = v.AppendTextIn(b, e.cfg.TimeZone)
	return avrobinary.InsertLength(b, start), true
}

// appendBit appends the bits as bytes, big-endian, without those that are zero in
// front, but at least one.
func appendBit(b []byte, n uint64) []byte {
	size := max((bits.Len64(n)+7)/8, 1)
	b = avrobinary.AppendLong(b, int64(size))
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], n)
	return append(b, buf[8-size:]...)
}

// decimalWords is enough for the 81 digits that TiDB's decimals may have, and a sign.
const decimalWords = 5

// appendDecimal appends the number without its point as a two's complement number,
// big-endian and as short as can be, which is what the logical type decimal wants.
func appendDecimal(b []byte, v event.Value, scale int) ([]byte, bool) {
	start := len(b)
	b = v.AppendText(b) // the digits stand where the number will
	text := b[start:]
	negative := text[0] == '-'
	if negative {
		text = text[1:]
	}
	// words is the number, the least significant word first.
	var words [decimalWords]uint64
	used, fraction, point := 1, 0, false
	var chunk, unit uint64 = 0, 1
	flush := func() {
		carry := chunk
		for i := range used {
			hi, lo := bits.Mul64(words[i], unit)
			var c uint64
			words[i], c = bits.Add64(lo, carry, 0)
			carry = hi + c
		}
		if carry != 0 && used < decimalWords {
			words[used] = carry
			used++
		}
		chunk, unit = 0, 1
	}
	digit := func(d byte) {
		chunk, unit = chunk*10+uint64(d-'0'), unit*10
		if unit == 1e18 {
			flush()
		}
	}
	for _, c := range text {
		if c == '.' {
			point = true
			continue
		}
		if point {
			fraction++
		}
		digit(c)
	}
	if fraction > scale {
		return nil, false
	}
	for ; fraction < scale; fraction++ {
		digit('0')
	}
	flush()
	return appendTwosComplement(b[:start], &words, negative), true
}

// appendTwosComplement appends the number that words hold, the least significant word
// first, as bytes with their length.
func appendTwosComplement(b []byte, words *[decimalWords]uint64, negative bool) []byte {
	if negative {
		carry := uint64(1)
		for i := range words {
			words[i], carry = bits.Add64(^words[i], 0, carry)
		}
	}
	var buf [8 * decimalWords]byte
	for i, w := range words {
		binary.BigEndian.PutUint64(buf[8*(decimalWords-1-i):], w)
	}
	// A byte in front can go as long as the next one keeps the sign.
	digits := buf[:]
	sign := byte(int8(digits[0]) >> 7)
	for len(digits) > 1 && digits[0] == sign && (digits[1]^sign)&0x80 == 0 {
		digits = digits[1:]
	}
	return avrobinary.AppendBytes(b, digits)
}
