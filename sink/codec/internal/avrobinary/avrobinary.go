// Package avrobinary writes and reads the primitive values of Avro's binary
// encoding (the Avro 1.11 specification, "Binary Encoding"): numbers of variable
// length, strings and bytes with a length in front, floats in little-endian.
// Records are their fields one after another, a union's value follows the index
// of its branch, and an array or map is blocks, each with its count in front,
// that end with an empty one.
package avrobinary

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// AppendLong appends an int or a long: zigzag, then seven bits in each byte.
func AppendLong(dst []byte, n int64) []byte {
	u := uint64(n)<<1 ^ uint64(n>>63)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// AppendBytes appends bytes, or a string that is held as bytes.
func AppendBytes(dst, b []byte) []byte { return append(AppendLong(dst, int64(len(b))), b...) }

// AppendString appends a string.
func AppendString(dst []byte, s string) []byte { return append(AppendLong(dst, int64(len(s))), s...) }

// AppendBool appends a boolean.
func AppendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendFloat appends a float.
func AppendFloat(dst []byte, f float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(f))
}

// AppendDouble appends a double.
func AppendDouble(dst []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
}

// InsertLength writes, in front of what follows start in dst, its length: a
// string that was rendered before its length was known becomes an Avro string.
func InsertLength(dst []byte, start int) []byte {
	n := len(dst) - start
	if n < 64 { // the length takes one byte
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = byte(n << 1)
		return dst
	}
	var buf [binary.MaxVarintLen64]byte
	length := AppendLong(buf[:0], int64(n))
	dst = append(dst, length...)
	copy(dst[start+len(length):], dst[start:])
	copy(dst[start:], length)
	return dst
}

var errShort = errors.New("the data ends too early")

// Reader reads values from the front of a slice. After the first error, which
// Err returns, every read returns a zero value.
type Reader struct {
	data []byte
	err  error
}

// NewReader returns a Reader of data. What it returns aliases data.
func NewReader(data []byte) *Reader { return &Reader{data: data} }

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// Len returns the number of bytes that have not been read.
func (r *Reader) Len() int { return len(r.data) }

// Fail makes err the Reader's error, unless it has one.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err, r.data = err, nil
	}
}

// Long reads an int or a long.
func (r *Reader) Long() int64 {
	u, n := binary.Uvarint(r.data)
	if n <= 0 {
		if n == 0 {
			r.Fail(errShort)
		} else {
			r.Fail(errors.New("a number of more than 64 bits"))
		}
		return 0
	}
	r.data = r.data[n:]
	return int64(u>>1) ^ -int64(u&1)
}

// Int reads an int of 32 bits.
func (r *Reader) Int() int32 {
	n := r.Long()
	if n < math.MinInt32 || n > math.MaxInt32 {
		r.Fail(fmt.Errorf("the int %d has more than 32 bits", n))
		return 0
	}
	return int32(n)
}

// Index reads the index of a union's branch or of an enum's symbol, of which
// there are n.
func (r *Reader) Index(n int) int {
	i := r.Long()
	if i < 0 || i >= int64(n) {
		r.Fail(fmt.Errorf("branch or symbol %d of %d", i, n))
		return 0
	}
	return int(i)
}

// Bytes reads bytes or a string.
func (r *Reader) Bytes() []byte {
	n := r.Long()
	if n < 0 {
		r.Fail(fmt.Errorf("a length of %d", n))
		return nil
	}
	return r.next(n)
}

// String reads a string.
func (r *Reader) String() string { return string(r.Bytes()) }

// Bool reads a boolean.
func (r *Reader) Bool() bool {
	b := r.next(1)
	if len(b) == 1 && b[0] > 1 {
		r.Fail(fmt.Errorf("%#x is not a boolean", b[0]))
	}
	return len(b) == 1 && b[0] == 1
}

// Float reads a float.
func (r *Reader) Float() float32 {
	if b := r.next(4); b != nil {
		return math.Float32frombits(binary.LittleEndian.Uint32(b))
	}
	return 0
}

// Double reads a double.
func (r *Reader) Double() float64 {
	if b := r.next(8); b != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// Items reads the blocks of an array or a map and calls item for each item.
func (r *Reader) Items(item func()) {
	for r.err == nil {
		n := r.Long()
		if n == 0 {
			return
		}
		if n < 0 { // a block that tells its size, for those who skip it
			if n = -n; n < 0 {
				r.Fail(errors.New("a block with too many items"))
				return
			}
			r.Long()
		}
		// An item takes at least a byte here, so a forged count does not make a long loop.
		if n > int64(len(r.data)) {
			r.Fail(errShort)
			return
		}
		for range n {
			if r.err != nil {
				return
			}
			item()
		}
	}
}

// next takes n bytes off the front, nil if there are fewer.
func (r *Reader) next(n int64) []byte {
	if r.err == nil && n > int64(len(r.data)) {
		r.Fail(errShort)
	}
	if r.err != nil {
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}
