package mysql

import (
	"bytes"
	"hash/maphash"
	"strings"
	"unicode/utf8"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func isText(c *event.ColumnInfo) bool {
	switch c.Type {
	case event.TypeVarchar, event.TypeVarString, event.TypeString, event.TypeTinyBlob, event.TypeMediumBlob, event.TypeLongBlob, event.TypeBlob:
		return !c.Binary()
	}
	return false
}

func newKeyColumn(c *event.ColumnInfo, i event.IndexColumn) keyColumn {
	text := isText(c)
	return keyColumn{
		offset: i.Offset, prefix: i.Length, pad: text,
		fold: text && c.Collation != "binary" && !strings.HasSuffix(c.Collation, "_bin"),
	}
}

// hasher makes conflict keys: numbers of 64 bits that are the same for values
// that a unique index holds for the same, and rarely for others.
type hasher struct {
	seed maphash.Seed
	// blind: a value was met of which a collation's opinion is unknown, such as é,
	// which may be e. Then values of such columns do not count at all, which
	// brings too many rows together and never too few.
	blind bool
}

func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// key returns the conflict key of an image in a unique index, the n-th of its
// table; false if a NULL keeps the row out of conflicts.
func (h *hasher) key(n int, key uniqueKey, image []event.Value) (uint64, bool) {
	sum := mix(uint64(n)+1, 0x517cc1b727220a95)
	for i := range key {
		v := image[key[i].offset]
		switch v.Kind() {
		case event.KindNull:
			return 0, false
		case event.KindText, event.KindBytes:
			if !key[i].fold || !h.blind {
				sum = mix(sum, h.text(&key[i], v.Bytes()))
			}
		case event.KindInt64, event.KindUint64, event.KindBit, event.KindEnum, event.KindSet:
			sum = mix(sum, v.Uint64())
		default:
			var scratch [64]byte
			text := v.AppendText(scratch[:0])
			if v.Kind() == event.KindFloat32 || v.Kind() == event.KindFloat64 {
				text = bytes.TrimPrefix(text, []byte("-")) // there are two zeros
			}
			sum = mix(sum, maphash.Bytes(h.seed, text))
		}
	}
	return sum, true
}

func (h *hasher) text(c *keyColumn, b []byte) uint64 {
	if c.prefix >= 0 && c.prefix < len(b) {
		b = firstCharacters(b, c.prefix, c.pad)
	}
	if c.pad {
		b = bytes.TrimRight(b, " ")
	}
	if !c.fold {
		return maphash.Bytes(h.seed, b)
	}
	var scratch [128]byte
	folded := scratch[:0]
	for i := 0; i < len(b); {
		switch ch := b[i]; {
		case 'a' <= ch && ch <= 'z':
			folded = append(folded, ch-'a'+'A')
			i++
		case ' ' <= ch && ch < utf8.RuneSelf-1:
			folded = append(folded, ch)
			i++
		default:
			r, size := utf8.DecodeRune(b[i:])
			// Ideographs of the main blocks are equal to nothing else in any collation.
			if r < 0x4e00 || r > 0x9fff {
				h.blind = true
				return 0
			}
			folded = append(folded, b[i:i+size]...)
			i += size
		}
	}
	return maphash.Bytes(h.seed, folded)
}

// firstCharacters returns the first n characters: runes of a text, else bytes.
func firstCharacters(b []byte, n int, text bool) []byte {
	if !text {
		return b[:n]
	}
	end := 0
	for ; n > 0 && end < len(b); n-- {
		_, size := utf8.DecodeRune(b[end:])
		end += size
	}
	return b[:end]
}

// slots is a hash table from 64-bit keys to numbers, for one batch at a time.
type slots struct {
	keys   []uint64
	values []int32 // 0 is a free slot; n stands for n-1
	mask   uint64
}

// reset makes the table empty, with room for n keys.
func (t *slots) reset(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	if cap(t.keys) < size {
		t.keys, t.values = make([]uint64, size), make([]int32, size)
	}
	t.keys, t.values, t.mask = t.keys[:size], t.values[:size], uint64(size-1)
	clear(t.values)
}

// claim returns the number that the key belongs to: n if it was free.
func (t *slots) claim(key uint64, n int32) int32 {
	for i := (key ^ key>>32) & t.mask; ; i = (i + 1) & t.mask {
		switch {
		case t.values[i] == 0:
			t.keys[i], t.values[i] = key, n+1
			return n
		case t.keys[i] == key:
			return t.values[i] - 1
		}
	}
}

// groups is a partition of the numbers 0…n-1 into sets that conflict (union-find).
type groups []int32

func newGroups(g groups, n int) groups {
	g = g[:0]
	for i := range int32(n) {
		g = append(g, i)
	}
	return g
}

func (g groups) find(i int32) int32 {
	for g[i] != i {
		g[i] = g[g[i]]
		i = g[i]
	}
	return i
}

// join brings two numbers together, under the smaller root.
func (g groups) join(a, b int32) {
	a, b = g.find(a), g.find(b)
	g[max(a, b)] = min(a, b)
}
