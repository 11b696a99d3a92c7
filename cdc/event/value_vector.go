package event

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unsafe"
)

// maxVectorDimension is the largest VECTOR that TiDB allows.
const maxVectorDimension = 16383

// VectorValue returns a KindVector value from TiDB's binary form: the dimension
// and that many float32, all of four bytes, little-endian. It aliases bin,
// which must not change afterwards.
func VectorValue(bin []byte) (Value, error) {
	if len(bin) < 4 {
		return Value{}, fmt.Errorf("read vector: %d bytes, want at least 4", len(bin))
	}
	n := binary.LittleEndian.Uint32(bin)
	if n > maxVectorDimension || len(bin) != 4+4*int(n) {
		return Value{}, fmt.Errorf("read vector: %d bytes do not hold %d dimensions", len(bin), n)
	}
	return Value{kind: KindVector, data: unsafe.SliceData(bin), size: uint32(len(bin))}, nil
}

// ParseVector reads a vector as TiDB prints it: [1,2.5].
func ParseVector(text string) (Value, error) {
	inner, ok := strings.CutPrefix(strings.TrimSpace(text), "[")
	if ok {
		inner, ok = strings.CutSuffix(inner, "]")
	}
	if !ok {
		return Value{}, fmt.Errorf("parse vector %q: want [1,2.5]", text)
	}
	bin := make([]byte, 4)
	if strings.TrimSpace(inner) != "" {
		for part := range strings.SplitSeq(inner, ",") {
			f, err := strconv.ParseFloat(strings.TrimSpace(part), 32)
			if err != nil {
				return Value{}, fmt.Errorf("parse vector %q: %w", text, err)
			}
			bin = binary.LittleEndian.AppendUint32(bin, math.Float32bits(float32(f)))
		}
	}
	binary.LittleEndian.PutUint32(bin, uint32(len(bin)/4-1))
	return VectorValue(bin)
}

// Vector returns the elements of a KindVector in a new slice, else nil.
func (v Value) Vector() []float32 {
	if v.kind != KindVector {
		return nil
	}
	b := v.bytes()[4:]
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

func (v Value) appendVector(dst []byte) []byte {
	dst = append(dst, '[')
	b := v.bytes()[4:]
	for i := 0; i < len(b); i += 4 {
		if i > 0 {
			dst = append(dst, ',')
		}
		f := math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))
		dst = strconv.AppendFloat(dst, float64(f), 'f', -1, 32)
	}
	return append(dst, ']')
}
