package dispatcher

import (
	"hash/crc32"
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

// addUint goes on with a sum over a number in decimal. Most keys are such, so it
// has no buffer on the heap, where crc32.Update would put one.
func addUint(sum uint32, n uint64, negative bool) uint32 {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			break
		}
	}
	sum = ^sum
	if negative {
		sum = crc32.IEEETable[byte(sum)^'-'] ^ sum>>8
	}
	for _, c := range digits[i:] {
		sum = crc32.IEEETable[byte(sum)^c] ^ sum>>8
	}
	return ^sum
}
