package spill

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

const (
	// BlockSize is what a block takes at most, unless a key is larger: it is the
	// least that reading a run takes in memory.
	BlockSize = 16 << 10
	// largeValues is from where on values stand behind the block.
	largeValues = BlockSize / 2

	headerSize = 12
	entrySize  = 1 + 8 + 8 + 4 + 4 + 4 // without key and values
	apart      = 0x80                  // set in an op: the values stand behind the block
)

// crc is CRC-32C, which processors compute; MakeTable returns a shared one.
func crc(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// blockSum returns the checksum of a block at an offset of its file. Its bytes
// for the checksum itself do not count.
func blockSum(offset int64, block []byte) uint32 {
	var place [16]byte
	binary.LittleEndian.PutUint64(place[:], uint64(offset))
	copy(place[8:], block[:4])
	copy(place[12:], block[8:headerSize])
	return crc(crc(0, place[:]), block[headerSize:])
}

// sealBlock fills in the header of a block that begins with room for it.
func sealBlock(offset int64, block []byte, valuesBehind int) {
	binary.LittleEndian.PutUint32(block, uint32(len(block)-headerSize))
	binary.LittleEndian.PutUint32(block[8:], uint32(valuesBehind))
	binary.LittleEndian.PutUint32(block[4:], blockSum(offset, block))
}

// blockLength returns the length of the block that begins with header, and of
// the values behind it. Neither is to be trusted before openBlock.
func blockLength(header []byte) (block, valuesBehind int64) {
	return headerSize + int64(binary.LittleEndian.Uint32(header)), int64(binary.LittleEndian.Uint32(header[8:]))
}

// openBlock checks a block and returns its entries.
func openBlock(offset int64, block []byte) ([]byte, error) {
	want, got := binary.LittleEndian.Uint32(block[4:]), blockSum(offset, block)
	if want != got {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	return block[headerSize:], nil
}

// entry is a change in a block. Its bytes alias the block; if values stand
// behind it, then Value and OldValue are missing from kv.
type entry struct {
	kv              event.RawKV
	apart           bool
	valuesSum       uint32 // if apart
	valueLen, oldLn int
}

// size is what the change will hold in memory.
func (e *entry) size() int64 {
	return rawkv.SizeOf(int64(len(e.kv.Key)) + int64(e.valueLen) + int64(e.oldLn))
}

// appendEntry appends a change to the entries of a block.
func appendEntry(b []byte, kv *event.RawKV, large bool) []byte {
	op := byte(kv.Op)
	if large {
		op |= apart
	}
	b = append(b, op)
	b = binary.LittleEndian.AppendUint64(b, uint64(kv.StartTs))
	b = binary.LittleEndian.AppendUint64(b, uint64(kv.CommitTs))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(kv.Key)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(kv.Value)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(kv.OldValue)))
	b = append(b, kv.Key...)
	if large {
		return binary.LittleEndian.AppendUint32(b, crc(crc(0, kv.Value), kv.OldValue))
	}
	b = append(b, kv.Value...)
	return append(b, kv.OldValue...)
}

// fits reports whether the lengths of a change can be written.
func fits(kv *event.RawKV) bool {
	return len(kv.Key) <= math.MaxInt32 && int64(len(kv.Value))+int64(len(kv.OldValue)) <= math.MaxInt32
}

// readEntry reads the first of entries, and returns the others. The checksum has
// been checked, so that an error means that the block was written wrongly.
func readEntry(entries []byte, e *entry) (rest []byte, err error) {
	if len(entries) < entrySize {
		return nil, fmt.Errorf("%w: %d bytes where an entry begins", ErrCorrupt, len(entries))
	}
	op := entries[0]
	key := uint64(binary.LittleEndian.Uint32(entries[17:]))
	value := uint64(binary.LittleEndian.Uint32(entries[21:]))
	old := uint64(binary.LittleEndian.Uint32(entries[25:]))
	e.kv = event.RawKV{
		Op:       event.Op(op &^ apart),
		StartTs:  event.Ts(binary.LittleEndian.Uint64(entries[1:])),
		CommitTs: event.Ts(binary.LittleEndian.Uint64(entries[9:])),
	}
	e.apart, e.valueLen, e.oldLn = op&apart != 0, int(value), int(old)
	inline := value + old
	if e.apart {
		inline = 4
	}
	entries = entries[entrySize:]
	if key+inline > uint64(len(entries)) {
		return nil, fmt.Errorf("%w: entry of %d bytes in a block with %d left", ErrCorrupt, key+inline, len(entries))
	}
	e.kv.Key = entries[:key:key]
	if e.apart {
		e.valuesSum = binary.LittleEndian.Uint32(entries[key:])
		return entries[key+4:], nil
	}
	e.kv.Value = entries[key : key+value : key+value]
	e.kv.OldValue = entries[key+value : key+inline : key+inline]
	return entries[key+inline:], nil
}

// clone returns the change with bytes of its own: data, in which the key, the value
// and the old value lie, or a copy of the block's if data is nil.
func (e *entry) clone(data []byte) rawkv.Entry {
	if data == nil {
		data = slices.Concat(e.kv.Key, e.kv.Value, e.kv.OldValue)
	}
	return rawkv.New(e.kv.Op, e.kv.StartTs, e.kv.CommitTs, data, uint32(len(e.kv.Key)), uint32(e.valueLen)) //nolint:gosec // see fits
}
