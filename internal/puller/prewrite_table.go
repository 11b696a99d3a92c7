package puller

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// packed is a copy of the bytes of a row, one after another: key, value, old
// value. It shares an array with other rows of an event or two.
type packed struct {
	data             []byte
	keyLen, valueLen uint32
}

func (p *packed) key() []byte   { return p.data[:p.keyLen:p.keyLen] }
func (p *packed) value() []byte { return p.data[p.keyLen:][:p.valueLen:p.valueLen] }
func (p *packed) old() []byte   { return p.data[p.keyLen+p.valueLen:] }

// arena is where the bytes of rows are packed. An event's rows share an array; what the
// allocator adds to it, by rounding up, is filled by those of the next event: of arrays
// of 28 KiB, which a scan fills, it is an eighth.
type arena struct {
	array  []byte // its capacity beyond its length is free
	needed int    // bytes of the event's rows that have not been packed
}

// pack copies the bytes of a row, which needed counts. It returns what the arena is
// then: kept in a field, it would be stored with a write barrier for every row.
func (a arena) pack(r *row, payload []byte) (arena, packed) {
	if size := r.size(); size > cap(a.array)-len(a.array) {
		a.array = slices.Grow([]byte(nil), a.needed)
	}
	start := len(a.array)
	a.array = append(a.array, r.key.of(payload)...)
	a.array = append(a.array, r.value.of(payload)...)
	a.array = append(a.array, r.old.of(payload)...)
	a.needed -= len(a.array) - start
	return a, packed{
		data:   a.array[start:len(a.array):len(a.array)],
		keyLen: r.key.end - r.key.start, valueLen: r.value.end - r.value.start,
	}
}

// prewrite is what a transaction wants to write to a key. It fits in a cache line.
type prewrite struct {
	packed
	startTs    event.Ts
	generation uint64
	op         event.Op
}

// prewriteOverhead is the memory of an entry beside its bytes: the struct and its slot.
const prewriteOverhead = 72

func (p *prewrite) size() int64 { return int64(prewriteOverhead + len(p.data)) }

// prewriteTable maps (start ts, key) to a prewrite. It is a hash table with open
// addressing over a slab of entries: a Go map would need a string per key, and a
// prewrite lives for milliseconds.
//
// The zero value is an empty table that holds no memory.
type prewriteTable struct {
	slots   []slot // length a power of two; idx 0 is empty
	entries []prewrite
	free    []uint32 // unused entries
	n       int
}

// slot refers to entries[idx-1]. The hash avoids looking at the entry, and gives
// the slot's home when its neighbour is deleted.
type slot struct {
	hash, idx uint32
}

const minSlots = 16

// hashPrewrite mixes the start ts in afterwards: keys of one transaction differ
// in the key, versions of one key in the start ts.
func hashPrewrite(seed maphash.Seed, startTs event.Ts, key []byte) uint32 {
	hi, lo := bits.Mul64(maphash.Bytes(seed, key)^uint64(startTs), 0x9e3779b97f4a7c15)
	return uint32(hi ^ lo)
}

// find returns the slot of an entry, or -1.
func (t *prewriteTable) find(hash uint32, startTs event.Ts, key []byte) int {
	if t.n == 0 {
		return -1
	}
	mask := uint32(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s.idx == 0 {
			return -1
		}
		if s.hash == hash {
			if e := &t.entries[s.idx-1]; e.startTs == startTs && bytes.Equal(e.key(), key) {
				return int(i)
			}
		}
	}
}

// A table that exceeds the caches costs three misses for a COMMIT, one after
// another: slot, entry, key. Loads for several rows at once, which do not wait for
// each other, overlap.
const (
	prefetchRows = 32
	prefetchFrom = 2048 // entries: fewer are in the cache of the core
)

// prefetch loads what find will look at for the rows.
//
//go:noinline
func (t *prewriteTable) prefetch(rows []row) (sum int) {
	if len(t.entries) < prefetchFrom {
		return 0
	}
	mask := uint32(len(t.slots) - 1)
	for len(rows) > 0 {
		some := rows[:min(prefetchRows, len(rows))]
		rows = rows[len(some):]
		var slots [prefetchRows]slot
		for i := range some {
			slots[i] = t.slots[some[i].hash&mask]
		}
		for i := range some {
			if s := slots[i]; s.idx != 0 && s.hash == some[i].hash {
				sum += len(t.entries[s.idx-1].data)
			}
		}
		for i := range some {
			if s := slots[i]; s.idx != 0 && s.hash == some[i].hash {
				if key := t.entries[s.idx-1].data; len(key) > 0 {
					sum += int(key[0])
				}
			}
		}
	}
	return sum // for the compiler, which else would not load
}

// at returns the entry in a slot that find has returned. The pointer is valid
// until the next insert or remove.
func (t *prewriteTable) at(i int) *prewrite { return &t.entries[t.slots[i].idx-1] }

// insert adds an entry, which must not be there.
func (t *prewriteTable) insert(hash uint32, p prewrite) {
	if 4*(t.n+1) > 3*len(t.slots) {
		t.grow()
	}
	var idx uint32
	if n := len(t.free); n > 0 {
		idx, t.free = t.free[n-1], t.free[:n-1]
		t.entries[idx-1] = p
	} else {
		t.entries = append(t.entries, p)
		idx = uint32(len(t.entries))
	}
	t.place(slot{hash, idx})
	t.n++
}

func (t *prewriteTable) place(s slot) {
	mask := uint32(len(t.slots) - 1)
	i := s.hash & mask
	for t.slots[i].idx != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

func (t *prewriteTable) grow() {
	old := t.slots
	t.slots = make([]slot, max(minSlots, 2*len(old)))
	for _, s := range old {
		if s.idx != 0 {
			t.place(s)
		}
	}
}

// remove deletes the entry in slot i, and moves entries behind it that would no
// longer be found.
func (t *prewriteTable) remove(i int) {
	idx := t.slots[i].idx
	t.entries[idx-1] = prewrite{}
	t.free = append(t.free, idx)
	t.n--
	mask := len(t.slots) - 1
	for j := (i + 1) & mask; t.slots[j].idx != 0; j = (j + 1) & mask {
		home := int(t.slots[j].hash) & mask
		// j may move into the hole unless its home lies behind the hole.
		if (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = slot{}
}

// repack copies the bytes of all entries, so that they hold no memory of rows
// that have gone.
func (t *prewriteTable) repack() {
	// As large as the events that stores send, so that the last one that is left
	// holds little in turn.
	const arenaSize = 32 << 10
	var arena []byte
	for i := range t.entries {
		p := &t.entries[i]
		if len(p.data) > cap(arena)-len(arena) {
			arena = make([]byte, 0, max(arenaSize, len(p.data)))
		}
		start := len(arena)
		arena = append(arena, p.data...)
		p.data = arena[start:len(arena):len(arena)]
	}
}
