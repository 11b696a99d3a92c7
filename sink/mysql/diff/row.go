package diff

import (
	"database/sql"
	"encoding/binary"
	"math"
	"sync"
)

// image is a row: one value per column of the plan, nil for NULL.
type image [][]byte

// rowBuffer holds the rows of a chunk one behind the other, so that two chunks
// are compared as a whole.
type rowBuffer struct {
	// data has for each value its length, null for NULL, and its bytes.
	data []byte
	// ends are where rows end in data.
	ends []int
}

const null = math.MaxUint32

// rowPool keeps buffers for the next chunks.
type rowPool struct{ pool sync.Pool }

func (p *rowPool) get() *rowBuffer {
	if b, ok := p.pool.Get().(*rowBuffer); ok {
		return b
	}
	return &rowBuffer{}
}

// put takes a buffer back. Nothing that its row method returned may be used.
func (p *rowPool) put(b *rowBuffer) {
	b.data, b.ends = b.data[:0], b.ends[:0]
	p.pool.Put(b)
}

func (b *rowBuffer) add(values []sql.RawBytes) {
	for _, v := range values {
		if v == nil {
			b.data = binary.LittleEndian.AppendUint32(b.data, null)
			continue
		}
		b.data = append(appendLength(b.data, len(v)), v...)
	}
	b.ends = append(b.ends, len(b.data))
}

func appendLength(b []byte, n int) []byte { return binary.LittleEndian.AppendUint32(b, uint32(n)) }

// row returns row i, in the memory of into if that is not nil. Its values are the
// buffer's.
func (b *rowBuffer) row(i int, into image) image {
	into = into[:0]
	at := 0
	if i > 0 {
		at = b.ends[i-1]
	}
	for at < b.ends[i] {
		n := binary.LittleEndian.Uint32(b.data[at:])
		at += 4
		if n == null {
			into = append(into, nil)
			continue
		}
		into = append(into, b.data[at:at+int(n):at+int(n)])
		at += int(n)
	}
	return into
}
