package rawkv_test

import (
	"reflect"
	"testing"
	"unsafe"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

func TestEntryKeepsAll(t *testing.T) {
	for _, kv := range []event.RawKV{
		{Op: event.OpPut, Key: []byte("k"), Value: []byte("value"), StartTs: 1, CommitTs: 2},
		{Op: event.OpPut, Key: []byte("key"), Value: []byte("v"), OldValue: []byte("old"), StartTs: 1 << 60, CommitTs: 1<<60 + 1},
		{Op: event.OpDelete, Key: []byte("key"), OldValue: []byte("old"), StartTs: 3, CommitTs: 4},
		{Op: event.OpDelete, Key: []byte("key"), StartTs: 3, CommitTs: 4},
	} {
		e, err := rawkv.Pack(&kv)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.RawKV(); !reflect.DeepEqual(got, kv) {
			t.Errorf("got %+v, want %+v", got, kv)
		}
		if want := rawkv.SizeOf(int64(len(kv.Key) + len(kv.Value) + len(kv.OldValue))); e.Size() != want {
			t.Errorf("%d bytes, want %d", e.Size(), want)
		}
		if string(e.Bytes()) != string(kv.Key)+string(kv.Value)+string(kv.OldValue) {
			t.Errorf("bytes %q", e.Bytes())
		}
	}
}

// TestDeleteWithValue: a store may send one with a delete, which nobody is to see.
func TestDeleteWithValue(t *testing.T) {
	e := rawkv.New(event.OpDelete, 1, 2, []byte("keyvalueold"), 3, 5)
	want := event.RawKV{Op: event.OpDelete, Key: []byte("key"), OldValue: []byte("old"), StartTs: 1, CommitTs: 2}
	if got := e.RawKV(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestAppendCopies: whoever appends to a part does not write over the next.
func TestAppendCopies(t *testing.T) {
	e := rawkv.New(event.OpPut, 1, 2, []byte("keyvalueold"), 3, 5)
	_, _ = append(e.Key(), 'x'), append(e.Value(), 'x')
	if string(e.Bytes()) != "keyvalueold" {
		t.Errorf("overwritten: %q", e.Bytes())
	}
}

func TestEntryIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(rawkv.Entry{}); size != 40 {
		t.Errorf("an entry takes %d bytes, want 40", size)
	}
}
