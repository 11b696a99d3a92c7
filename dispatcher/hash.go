package dispatcher

import (
	"hash/crc32"
	"math/bits"
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// hash returns the hash of a row's image.
func (d *Dispatcher) hash(p *plan, image []event.Value) uint32 {
	h := p.base
	for _, c := range p.columns {
		h ^= d.addValue(c.sum, &image[c.offset])
	}
	return h
}

// addValue goes on with a sum over the text of a value.
func (d *Dispatcher) addValue(sum uint32, v *event.Value) uint32 {
	switch v.Kind() {
	case event.KindInt64:
		return addInt(sum, v.Int64())
	case event.KindUint64, event.KindBit, event.KindEnum, event.KindSet:
		return addUint(sum, v.Uint64(), false)
	case event.KindText, event.KindBytes:
		return crc32.Update(sum, crc32.IEEETable, v.Bytes())
	}
	buf, _ := d.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new(make([]byte, 0, 64))
	}
	*buf = d.appendText((*buf)[:0], *v)
	sum = crc32.Update(sum, crc32.IEEETable, *buf)
	d.buffers.Put(buf)
	return sum
}

// appendText appends what is hashed of a value.
func (d *Dispatcher) appendText(dst []byte, v event.Value) []byte {
	switch v.Kind() {
	case event.KindNull:
		return append(dst, "null"...)
	case event.KindFloat32:
		return strconv.AppendFloat(dst, v.Float64(), 'f', -1, 32)
	case event.KindFloat64:
		return strconv.AppendFloat(dst, v.Float64(), 'f', -1, 64)
	}
	return v.AppendTextIn(dst, d.loc)
}

func addInt(sum uint32, n int64) uint32 {
	if n < 0 {
		return addUint(sum, -uint64(n), true)
	}
	return addUint(sum, uint64(n), false)
}

// addUint goes on with a sum over a number in decimal. Most keys are such, so its
// digits stay in registers, and four of them take one step.
func addUint(sum uint32, n uint64, negative bool) uint32 {
	sum = ^sum
	if negative {
		sum = crc32.IEEETable[byte(sum)^'-'] ^ sum>>8
	}
	const eight = 100_000_000
	if n < eight {
		return ^addFirst(sum, n)
	}
	if high := n / eight; high < eight {
		sum = addFirst(sum, high)
	} else {
		sum = addEight(addFirst(sum, high/eight), high%eight)
	}
	return ^addEight(sum, n%eight)
}

// digitsOf returns the eight digits of a number below 1e8, the first in the lowest byte.
func digitsOf(n uint64) uint64 {
	d := n/10_000 | n%10_000<<32
	hundreds := d * 10486 >> 20 & 0x7f0000007f // d/100, in both halves at once
	d = hundreds | (d-100*hundreds)<<16
	tens := d * 103 >> 10 & 0x000f000f000f000f
	return tens | (d-10*tens)<<8
}

const zeroDigits = 0x3030303030303030

// addFirst goes on with the digits of a number below 1e8, without leading zeros.
func addFirst(sum uint32, n uint64) uint32 {
	d := digitsOf(n)
	leading := bits.TrailingZeros64(d|1<<56) &^ 7
	d = (d + zeroDigits) >> leading
	left := 64 - leading
	if left >= 32 {
		sum = addFour(sum ^ uint32(d))
		d >>= 32
		left -= 32
	}
	for ; left > 0; left -= 8 {
		sum = crc32.IEEETable[byte(sum)^byte(d)] ^ sum>>8
		d >>= 8
	}
	return sum
}

// addEight goes on with the digits of a number below 1e8, with leading zeros.
func addEight(sum uint32, n uint64) uint32 {
	d := digitsOf(n) + zeroDigits
	return addFour(addFour(sum^uint32(d)) ^ uint32(d>>32))
}

// addFour goes on with four bytes, which have been added to the sum.
func addFour(sum uint32) uint32 {
	return zeros[2][byte(sum)] ^ zeros[1][byte(sum>>8)] ^ zeros[0][byte(sum>>16)] ^ crc32.IEEETable[sum>>24]
}

// zeros are crc32.IEEETable with 1, 2 and 3 zero bytes behind each byte.
var zeros = func() (out [3][256]uint32) {
	for i, sum := range crc32.IEEETable {
		for n := range out {
			sum = crc32.IEEETable[byte(sum)] ^ sum>>8
			out[n][i] = sum
		}
	}
	return out
}()
