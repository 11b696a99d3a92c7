package sorter

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// record stands for a change while it is sorted: 16 bytes are moved instead of
// a hundred. Its key is the commit ts, except within [sortTransaction].
type record struct {
	key uint64
	kv  *rawkv.Entry
}

// Changes lie in memory as they came, so that to go through them in order misses
// the cache at each. The two functions below load several in advance: loads that
// do not wait for each other overlap. That saves a tenth to a quarter of the time.

// prefetchAhead is how many records that is worth for.
const prefetchAhead = 16

// prefetch loads both cache lines of each change.
//
//go:noinline
func prefetch(records []record) (sum uint64) {
	for _, r := range records {
		sum += uint64(r.kv.Op) + uint64(r.kv.CommitTs)
	}
	return sum // for the compiler, which else would not load
}

// prefetchKeys loads what compare looks at.
//
//go:noinline
func prefetchKeys(records []record) (sum uint64) {
	for _, r := range records {
		if key := r.kv.Key(); len(key) > 0 {
			sum += uint64(key[len(key)-1]) + uint64(r.kv.CommitTs)
		}
	}
	return sum
}

// compare is the order of delivery.
func compare(a, b *rawkv.Entry) int {
	switch {
	case a.CommitTs != b.CommitTs:
		return cmp.Compare(a.CommitTs, b.CommitTs)
	case a.StartTs != b.StartTs:
		return cmp.Compare(a.StartTs, b.StartTs)
	case a.Op != b.Op:
		// A delete goes first so that a unique value may move from one row to
		// another within a transaction.
		return cmp.Compare(b.Op, a.Op)
	}
	return bytes.Compare(a.Key(), b.Key())
}

// compareHead is compare for a change on disk.
func compareHead(a *event.RawKV, b *rawkv.Entry) int {
	kv := b.RawKV()
	return compareHeads(a, &kv)
}

// compareHeads is compare for two changes on disk.
func compareHeads(a, b *event.RawKV) int {
	switch {
	case a.CommitTs != b.CommitTs:
		return cmp.Compare(a.CommitTs, b.CommitTs)
	case a.StartTs != b.StartTs:
		return cmp.Compare(a.StartTs, b.StartTs)
	case a.Op != b.Op:
		return cmp.Compare(b.Op, a.Op)
	}
	return bytes.Compare(a.Key, b.Key)
}

// arrange puts records, whose keys are commit ts, in the order of delivery and
// drops repeats. It returns how many those were, and their bytes.
func arrange(records []record) (kept []record, rows int, size int64) {
	sortByKey(records)
	kept = records[:0]
	for from := 0; from < len(records); {
		commitTs := records[from].key
		to := from + 1
		for to < len(records) && records[to].key == commitTs {
			to++
		}
		sortCommit(records[from:to])
		kept = append(kept, records[from])
		for i := from + 1; i < to; i++ {
			last := &kept[len(kept)-1]
			if records[i].key == last.key && compare(records[i].kv, last.kv) == 0 {
				rows++
				size += records[i].kv.Size()
				*records[i].kv = rawkv.Entry{}
				continue
			}
			last.key = commitTs
			kept = append(kept, records[i])
		}
		kept[len(kept)-1].key = commitTs
		from = to
	}
	clear(records[len(kept):])
	return kept, rows, size
}

// sortCommit sorts records of one commit ts: a transaction, or rarely several.
// It may leave other keys in them, that are equal in equal changes.
func sortCommit(records []record) {
	if len(records) == 1 {
		return
	}
	prefetchKeys(records)
	if slices.IsSortedFunc(records, compareRecords) {
		return
	}
	const few = 32
	start := records[0].kv.StartTs
	if len(records) <= few || slices.ContainsFunc(records, func(r record) bool { return r.kv.StartTs != start }) {
		slices.SortStableFunc(records, compareRecords)
		return
	}
	sortTransaction(records)
}

func compareRecords(a, b record) int { return compare(a.kv, b.kv) }

// sortTransaction sorts the records of one large transaction. Rows of one table
// agree in a long prefix of their keys, so the eight bytes behind it nearly
// always decide, and a million rows need not be compared through two pointers each.
// The keys are left at those bytes.
func sortTransaction(records []record) {
	deletes := 0
	for i := range records {
		if records[i].kv.Op == event.OpDelete {
			records[deletes], records[i] = records[i], records[deletes]
			deletes++
		}
	}
	for _, part := range [][]record{records[:deletes], records[deletes:]} {
		prefix := commonPrefix(part)
		for i := range part {
			part[i].key = keyWord(part[i].kv.Key()[prefix:])
		}
		sortByKey(part)
		for from := 0; from < len(part); {
			to := from + 1
			for to < len(part) && part[to].key == part[from].key {
				to++
			}
			slices.SortStableFunc(part[from:to], compareRecords)
			from = to
		}
	}
}

// commonPrefix returns how many leading bytes all keys share.
func commonPrefix(records []record) int {
	if len(records) == 0 {
		return 0
	}
	prefix := records[0].kv.Key()
	for _, r := range records[1:] {
		key := r.kv.Key()
		n := min(len(prefix), len(key))
		if bytes.Equal(prefix[:n], key[:n]) {
			prefix = prefix[:n]
			continue
		}
		i := 0
		for prefix[i] == key[i] {
			i++
		}
		prefix = prefix[:i]
	}
	return len(prefix)
}

// keyWord returns the first eight bytes of b as a number that orders like them.
// A shorter b is filled up with zeros, so equal numbers leave the order open.
func keyWord(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var word [8]byte
	copy(word[:], b)
	return binary.BigEndian.Uint64(word[:])
}

// sortByKey sorts by key and keeps equal keys in their order. It is a radix
// sort from the low digit up, over digits of eight bits that begin at the lowest
// bit in which keys still differ: a TSO has long runs of constant bits between
// its logical counter and its milliseconds.
func sortByKey(records []record) {
	const few = 128 // below, counting 256 values costs more than comparing
	if len(records) <= few {
		slices.SortStableFunc(records, func(a, b record) int { return cmp.Compare(a.key, b.key) })
		return
	}
	inOrder, differ := true, uint64(0)
	for i := 1; i < len(records); i++ {
		differ |= records[i].key ^ records[0].key
		inOrder = inOrder && records[i-1].key <= records[i].key
	}
	if inOrder {
		return
	}
	from, to := records, make([]record, len(records))
	for differ != 0 {
		shift := bits.TrailingZeros64(differ)
		differ &^= 0xff << shift
		var places [256]int
		for i := range from {
			places[uint8(from[i].key>>shift)]++
		}
		sum := 0
		for i, n := range places {
			places[i] = sum
			sum += n
		}
		for i := range from {
			digit := uint8(from[i].key >> shift)
			to[places[digit]] = from[i]
			places[digit]++
		}
		from, to = to, from
	}
	if &from[0] != &records[0] {
		copy(records, from)
	}
}
