package codec_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/canaljson"
)

func TestMessages(t *testing.T) {
	var ms codec.Messages
	add := func(key, value string, keyBytes, valueBytes int) {
		ms.Append(append(append(ms.Buffer(), key...), value...), keyBytes, valueBytes, 1, event.Ts(ms.Len()+1))
	}
	for range 2 { // the second time in the memory of the first
		ms.Reset()
		if ms.Len() != 0 || ms.Bytes() != 0 {
			t.Fatalf("%d messages of %d bytes after Reset", ms.Len(), ms.Bytes())
		}
		add("key", "value", 3, 5)
		add("", "no key", -1, 6)
		add("tombstone", "", 9, -1)
		add("", "", 0, 0)
		for i, want := range []struct {
			key, value       string
			noKey, tombstone bool
		}{{"key", "value", false, false}, {"", "no key", true, false}, {"tombstone", "", false, true}, {"", "", false, false}} {
			m := ms.At(i)
			if string(m.Key) != want.key || string(m.Value) != want.value || (m.Key == nil) != want.noKey || (m.Value == nil) != want.tombstone ||
				m.Size() != len(want.key)+len(want.value) || m.Rows != 1 || m.CommitTs != event.Ts(i+1) {
				t.Errorf("message %d is %+v, want %+v", i, m, want)
			}
		}
		// Appending to a message must not reach the next one.
		_ = append(ms.At(0).Key, "overwritten"...)
		_ = append(ms.At(0).Value, "overwritten"...)
		if got := ms.At(1).Value; string(got) != "no key" {
			t.Errorf("message 1 became %q", got)
		}
		ms.Truncate(9)
		if ms.Truncate(2); ms.Len() != 2 || ms.Bytes() != 14 {
			t.Errorf("%d messages of %d bytes are left", ms.Len(), ms.Bytes())
		}
	}
}

// A change becomes a message, and a change again.
func Example() {
	table := &event.TableInfo{
		Schema: "shop", Table: "orders", PKIsHandle: true, HandleKey: []int{0},
		Columns: []event.ColumnInfo{{Name: "id", Type: event.TypeLonglong}, {Name: "state", Type: event.TypeVarchar}},
	}
	row := &event.RowChanged{
		CommitTs: event.NewTs(time.UnixMilli(1716300000000)), Table: table,
		Columns: []event.Value{event.Int64Value(7), event.TextValue("paid")},
	}

	var encoder codec.Encoder = canaljson.NewEncoder(canaljson.Config{Now: func() time.Time { return time.UnixMilli(1716300000123) }})
	var messages codec.Messages
	if err := encoder.AppendRows(&messages, "orders", []*event.RowChanged{row}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(messages.At(0).Value))

	var decoder codec.Decoder = canaljson.NewDecoder(canaljson.DecoderConfig{})
	events, err := decoder.Decode(nil, messages.At(0).Value)
	if err != nil {
		fmt.Println(err)
		return
	}
	again := events[0].Row
	fmt.Println(again.Table.Name(), again.Kind(), again.Columns[1].Text())
	// Output:
	// {"id":0,"database":"shop","table":"orders","pkNames":["id"],"isDdl":false,"type":"INSERT","es":1716300000000,"ts":1716300000123,"sql":"","sqlType":{"id":-5,"state":12},"mysqlType":{"id":"bigint","state":"varchar"},"old":null,"data":[{"id":"7","state":"paid"}]}
	// shop.orders insert paid
}
