// Package rawkv holds changes in memory in less space than event.RawKV takes: what
// is received waits in millions between the puller and the sink.
package rawkv

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Entry is an event.RawKV in 40 bytes instead of 96, and with one pointer instead of
// three for the garbage collector to follow: key, value and old value lie one
// after another. Copies share these bytes, which nobody may write to.
type Entry struct {
	data              *byte
	StartTs, CommitTs event.Ts
	keyLen, valueLen  uint32
	oldLen            uint32
	Op                event.Op
}

// entryBytes is what an Entry takes in a slice.
const entryBytes = int64(unsafe.Sizeof(Entry{}))

// New returns the change whose key, value and old value are data, in this order; the
// first two are keyLen and valueLen long. It keeps data. Each must be shorter than
// 4 GiB.
func New(op event.Op, startTs, commitTs event.Ts, data []byte, keyLen, valueLen uint32) Entry {
	return Entry{
		data: unsafe.SliceData(data), StartTs: startTs, CommitTs: commitTs, Op: op,
		keyLen: keyLen, valueLen: valueLen, oldLen: uint32(len(data)) - keyLen - valueLen, //nolint:gosec // as said
	}
}

// Pack returns a copy of a change as an Entry. It fails if the change has 4 GiB.
func Pack(kv *event.RawKV) (Entry, error) {
	n := len(kv.Key) + len(kv.Value) + len(kv.OldValue)
	if uint64(n) > math.MaxUint32 {
		return Entry{}, fmt.Errorf("change of key %x at commit ts %d has %d bytes: want less than 4 GiB", kv.Key, kv.CommitTs, n)
	}
	data := make([]byte, 0, n)
	data = append(append(append(data, kv.Key...), kv.Value...), kv.OldValue...)
	return New(kv.Op, kv.StartTs, kv.CommitTs, data, uint32(len(kv.Key)), uint32(len(kv.Value))), nil //nolint:gosec // checked above
}

// Key is the raw key.
func (e *Entry) Key() []byte { return unsafe.Slice(e.data, e.keyLen) }

// Value is the new value; nil for a delete.
func (e *Entry) Value() []byte {
	if e.Op == event.OpDelete || e.valueLen == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e.data), e.keyLen)), e.valueLen)
}

// OldValue is the value before the change; nil if there was none.
func (e *Entry) OldValue() []byte {
	if e.oldLen == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e.data), uintptr(e.keyLen)+uintptr(e.valueLen))), e.oldLen)
}

// Bytes are key, value and old value one after another, a delete's value included.
func (e *Entry) Bytes() []byte {
	return unsafe.Slice(e.data, int(e.keyLen)+int(e.valueLen)+int(e.oldLen))
}

// ValueLen is the length of the value in Bytes.
func (e *Entry) ValueLen() uint32 { return e.valueLen }

// RawKV returns the change in its public form, which shares the bytes.
func (e *Entry) RawKV() event.RawKV {
	return event.RawKV{Op: e.Op, Key: e.Key(), Value: e.Value(), OldValue: e.OldValue(), StartTs: e.StartTs, CommitTs: e.CommitTs}
}

// Size returns the bytes that the change holds in memory, for quotas.
func (e *Entry) Size() int64 {
	n := int64(e.keyLen) + int64(e.oldLen)
	if e.Op != event.OpDelete { // as on disk, where a delete has no value
		n += int64(e.valueLen)
	}
	return SizeOf(n)
}

// SizeOf returns Entry.Size of a change whose key, value and old value have so many
// bytes together.
func SizeOf(bytes int64) int64 { return entryBytes + bytes }
