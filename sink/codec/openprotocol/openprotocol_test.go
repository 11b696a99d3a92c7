package openprotocol_test

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
	"github.com/tidbcdc/tidbcdc/sink/codec/openprotocol"
)

var (
	_ codec.LargeRowEncoder = (*openprotocol.Encoder)(nil)
	_ codec.Decoder         = (*openprotocol.Decoder)(nil)
)

var shanghai = time.FixedZone("UTC+8", 8*3600)

func encode(t testing.TB, cfg openprotocol.Config, rows ...*event.RowChanged) *codec.Messages {
	t.Helper()
	return rowtest.Encode(t, openprotocol.NewEncoder(cfg), rows...)
}

// partitioned is a row of a partition of a table, with an index of two columns.
func partitioned() *event.RowChanged {
	row := rowtest.Pair(event.Insert)
	table := *row.Table
	table.Partition = &event.PartitionInfo{Definitions: []event.PartitionDefinition{{ID: 108, Name: "p0"}}}
	table.Columns = slices.Clone(table.Columns)
	table.Columns[2].Flag |= event.FlagUniqueKey | event.FlagMultipleKey | event.FlagUnsigned
	table.Columns[2].GeneratedExpr, table.Columns[2].Stored = "`b` % 7", true
	table.Indexes = append(slices.Clone(table.Indexes), event.IndexInfo{
		Name: "uk", Unique: true, Columns: []event.IndexColumn{{Name: "c", Offset: 2}, {Name: "v", Offset: -1}},
	})
	row.Table, row.PhysicalTableID, row.Key = &table, 108, []byte("t\x80\x00\x00\x00\x00\x00\x00\x6c_rabc")
	row.Columns = slices.Clone(row.Columns)
	row.Columns[2] = event.Uint64Value(2)
	return row
}

// text shows a message as lines of its parts, with their lengths checked.
func text(t testing.TB, name string, ms *codec.Messages) []byte {
	t.Helper()
	out := []byte("# " + name + "\n")
	for i := range ms.Len() {
		m := ms.At(i)
		if binary.BigEndian.Uint64(m.Key) != 1 {
			t.Fatalf("%s: version %x", name, m.Key[:8])
		}
		key, value := m.Key[8:], m.Value
		for len(key) > 0 {
			for _, part := range []*[]byte{&key, &value} {
				n := binary.BigEndian.Uint64(*part)
				content := (*part)[8 : 8+n]
				if n > 0 && !json.Valid(content) {
					t.Errorf("not JSON: %s", content)
				}
				out = append(append(out, content...), '\n')
				*part = (*part)[8+n:]
			}
		}
		if len(value) != 0 {
			t.Errorf("%s: %d bytes too many", name, len(value))
		}
		out = append(out, '\n')
	}
	return out
}

// TestGolden has the bytes of every type and operation, and of everything else.
func TestGolden(t *testing.T) {
	for name, cfg := range map[string]openprotocol.Config{
		"plain":     {},
		"selective": {OnlyOutputUpdatedColumns: true, DeleteOnlyHandleKey: true, TimeZone: shanghai},
		"new":       {WithoutOldValue: true},
	} {
		t.Run(name, func(t *testing.T) {
			var out []byte
			for _, c := range rowtest.Cases() {
				out = append(out, text(t, c.Name, encode(t, cfg, c.Row))...)
			}
			out = append(out, text(t, "a batch", encode(t, cfg, rowtest.Rows(rowtest.Pairs())...))...)
			out = append(out, text(t, "partitioned", encode(t, cfg, partitioned()))...)
			e := openprotocol.NewEncoder(cfg)
			var ms codec.Messages
			for _, ddl := range rowtest.DDLs() {
				if err := e.AppendDDL(&ms, "topic", ddl); err != nil {
					t.Fatal(err)
				}
			}
			out = append(out, text(t, "DDL", &ms)...)
			ms.Reset()
			for _, err := range []error{
				e.AppendWatermark(&ms, "topic", rowtest.CommitTs),
				e.AppendHandleKey(&ms, "topic", rowtest.Pair(event.Update)),
				e.AppendClaimCheck(&ms, "topic", rowtest.Pair(event.Delete), "s3://bucket/\"1\".json"),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			out = append(out, text(t, "watermark and large rows", &ms)...)
			rowtest.Golden(t, "testdata/"+name+".golden", out)
		})
	}
}

// TestBytes has the frame of a message.
func TestBytes(t *testing.T) {
	var ms codec.Messages
	if err := openprotocol.NewEncoder(openprotocol.Config{}).AppendWatermark(&ms, "", 7); err != nil {
		t.Fatal(err)
	}
	m := ms.At(0)
	want := "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x0e" + `{"ts":7,"t":3}`
	if string(m.Key) != want || string(m.Value) != strings.Repeat("\x00", 8) || m.Rows != 0 || m.CommitTs != 7 {
		t.Errorf("got %q, %q", m.Key, m.Value)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, cfg := range []openprotocol.Config{{}, {OnlyOutputUpdatedColumns: true, TimeZone: shanghai}} {
		d := openprotocol.NewDecoder(openprotocol.DecoderConfig{TimeZone: cfg.TimeZone})
		rows := rowtest.Rows(rowtest.Cases())
		ms := encode(t, cfg, rows...)
		events, err := d.Decode(ms.At(0).Key, ms.At(0).Value)
		if err != nil || len(events) != len(rows) || ms.Len() != 1 || ms.At(0).Rows != len(rows) {
			t.Fatalf("%d events: %v", len(events), err)
		}
		for i, c := range rowtest.Cases() {
			row := events[i].Row
			if row.Kind() != c.Row.Kind() || row.CommitTs != c.Row.CommitTs || row.Table.Name() != c.Row.Table.Name() || row.Table != events[0].Row.Table {
				t.Fatalf("%s: got %+v", c.Name, row)
			}
			rowtest.DiffRow(t, c.Name, row, c.Row, rowtest.Numbers)
		}
		table, want := events[0].Row.Table, rows[0].Table
		for i := range want.Columns {
			got, want := &table.Columns[i], &want.Columns[i]
			if got.Name != want.Name || got.Type != want.Type || got.Unsigned() != want.Unsigned() || got.NotNull() != want.NotNull() ||
				got.Binary() != want.Binary() {
				t.Errorf("column %s became %+v", want.Name, got)
			}
		}
		if !slices.Equal(table.HandleKey, want.HandleKey) {
			t.Errorf("handle key is %v", table.HandleKey)
		}
	}
}

func TestDecodeOther(t *testing.T) {
	d := openprotocol.NewDecoder(openprotocol.DecoderConfig{})
	e := openprotocol.NewEncoder(openprotocol.Config{})
	var ms codec.Messages
	for _, err := range []error{
		e.AppendWatermark(&ms, "", 42),
		e.AppendHandleKey(&ms, "", rowtest.Pair(event.Update)),
		e.AppendClaimCheck(&ms, "", rowtest.Pair(event.Insert), "file:///1.json"),
		e.AppendRows(&ms, "", []*event.RowChanged{partitioned()}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, ddl := range rowtest.DDLs() {
		if err := e.AppendDDL(&ms, "", ddl); err != nil {
			t.Fatal(err)
		}
	}
	var got []codec.Event
	for i := range ms.Len() {
		m := ms.At(i)
		events, err := d.Decode(m.Key, m.Value)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, events...)
	}
	if got[0].Watermark != 42 || got[0].Row != nil {
		t.Errorf("watermark: %+v", got[0])
	}
	if r := got[1].Row; !got[1].HandleKeyOnly || len(r.Columns) != 2 || r.Kind() != event.Update || !slices.Equal(r.Table.HandleKey, []int{0, 1}) {
		t.Errorf("handle key: %+v", got[1])
	}
	if got[2].HandleKeyOnly || got[2].ClaimCheck != "file:///1.json" || len(got[2].Row.Columns) != 2 {
		t.Errorf("claim check: %+v", got[2])
	}
	p := got[3].Row
	c := &p.Table.Columns[2]
	if p.PhysicalTableID != 108 || p.Table.Partition == nil || !c.Stored || !c.Unsigned() || c.Flag&event.FlagMultipleKey == 0 {
		t.Errorf("partitioned: %+v, %+v", p, c)
	}
	for i, want := range rowtest.DDLs() {
		ddl := got[4+i].DDL
		if ddl.Query != want.Query || ddl.Type != want.Type || ddl.CommitTs != want.CommitTs || ddl.Schema != want.Schema ||
			(ddl.Table == nil) != (want.Table == nil) || (ddl.PreTable == nil) != (want.PreTable == nil) {
			t.Errorf("%s became %+v", want.Type, ddl)
		}
	}
}

// TestBatches splits rows over messages by number and by size, in their order.
func TestBatches(t *testing.T) {
	var rows []*event.RowChanged
	for i := range 40 {
		row := rowtest.Pair(event.Insert)
		row.CommitTs += event.Ts(i)
		rows = append(rows, row)
	}
	long := rowtest.Pair(event.Insert)
	long.Columns = []event.Value{event.TextValue(strings.Repeat("long", 1000)), long.Columns[1], long.Columns[2]}
	rows = slices.Insert(rows, 21, long)
	one := encode(t, openprotocol.Config{}, rows[0]).At(0)
	size := one.Size() - 8 // without the version
	for _, tt := range []struct {
		cfg  openprotocol.Config
		want []int
	}{
		{openprotocol.Config{}, []int{16, 16, 9}},
		{openprotocol.Config{MaxBatchSize: 41}, []int{41}},
		{openprotocol.Config{MaxBatchSize: 1}, slices.Repeat([]int{1}, 41)},
		{openprotocol.Config{MaxMessageBytes: 36 + 8 + 5*size, MaxBatchSize: 100}, []int{5, 5, 5, 5, 1, 1, 5, 5, 5, 4}},
		{openprotocol.Config{MaxMessageBytes: 36 + 8 + 5*size - 1, MaxBatchSize: 100}, []int{4, 4, 4, 4, 4, 1, 1, 4, 4, 4, 4, 3}},
	} {
		ms := encode(t, tt.cfg, rows...)
		var got []int
		var order []event.Ts
		for i := range ms.Len() {
			m := ms.At(i)
			got = append(got, m.Rows)
			if m.Rows > 1 && tt.cfg.MaxMessageBytes > 0 && m.Size()+36 > tt.cfg.MaxMessageBytes {
				t.Errorf("%d rows take %d bytes", m.Rows, m.Size())
			}
			events, err := openprotocol.NewDecoder(openprotocol.DecoderConfig{}).Decode(m.Key, m.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range events {
				order = append(order, ev.Row.CommitTs)
			}
			if order[len(order)-1] != m.CommitTs {
				t.Errorf("message has commit ts %d, its last row %d", m.CommitTs, order[len(order)-1])
			}
		}
		want := make([]event.Ts, len(rows))
		for i := range rows {
			want[i] = rows[i].CommitTs
		}
		if !slices.Equal(got, tt.want) || !slices.Equal(order, want) {
			t.Errorf("%+v: messages of %v rows, want %v; order %v", tt.cfg, got, tt.want, order)
		}
	}
}

func frame(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

func TestDecodeErrors(t *testing.T) {
	d := openprotocol.NewDecoder(openprotocol.DecoderConfig{})
	v1 := string([]byte{0, 0, 0, 0, 0, 0, 0, 1})
	const row = `{"ts":1,"scm":"s","tbl":"t","t":1}`
	column := func(c string) string { return `{"u":{"a":` + c + `}}` }
	for _, tt := range []struct{ key, value, want string }{
		{"", "", "version 1"},
		{"\x00\x00\x00\x00\x00\x00\x00\x02", "", "version 1"},
		{v1, "", "holds no event"},
		{v1 + "\xff\xff\xff\xff\xff\xff\xff\xff{}", "", "the key is cut off"},
		{v1 + string(frame(row)), "", "the value is cut off"},
		{v1 + string(frame(row)), "\xff\xff\xff\xff\xff\xff\xff\xff", "the value is cut off"},
		{v1 + string(frame(`{"ts":1,"t":3}`)), string(frame("", "")), "more than the key"},
		{v1 + string(frame(`{"secret`)), string(frame("")), "key: not valid JSON"},
		{v1 + string(frame(row)), string(frame(`{"secret`)), "value: not valid JSON"},
		{v1 + string(frame(`{"ts":"secret"}`)), string(frame("")), "ts of the key is not an integer"},
		{v1 + string(frame(`{"t":9}`)), string(frame("{}")), "kind 9"},
		{v1 + string(frame(`{"t":2}`)), string(frame(`{"t":"secret"}`)), "not a number of its kind"},
		{v1 + string(frame(row)), string(frame(`{}`)), "a row without columns"},
		{v1 + string(frame(row)), string(frame(`{"u":1}`)), "want a JSON object"},
		{v1 + string(frame(row)), string(frame(column(`1`))), "column a: want a JSON object"},
		{v1 + string(frame(row)), string(frame(column(`{"t":"secret"}`))), "t is not a number"},
		{v1 + string(frame(row)), string(frame(column(`{"t":3,"f":"secret"}`))), "f is not a number"},
		{v1 + string(frame(row)), string(frame(column(`{"t":3,"f":0,"v":"secret"}`))), "s.t: column a: not a int"},
		{v1 + string(frame(row)), string(frame(column(`{"t":252,"f":1,"v":"secret!"}`))), "not a blob"},
		{v1 + string(frame(row)), string(frame(column(`{"t":15,"f":1,"v":"secret\\q"}`))), "not a varbinary"},
		{v1 + string(frame(row)), string(frame(column(`{"t":247,"f":1,"v":"secret"}`))), "not a enum"},
		{v1 + string(frame(row)), string(frame(`{"u":{"a":{"t":3,"v":1}},"p":{"b":{"t":3,"v":1}}}`)), "column b is not in u"},
		{v1 + string(frame(row)), string(frame(`{"u":{` + strings.Repeat(`"a":{},`, 5000) + `"a":{}}}`)), "more than 4096 columns"},
	} {
		events, err := d.Decode([]byte(tt.key), []byte(tt.value))
		if err == nil || events != nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.60q: %.60q: got %v, %v; want %q", tt.key, tt.value, events, err, tt.want)
		}
	}
}

// TestEncodeErrors leaves nothing of a batch with a bad row.
func TestEncodeErrors(t *testing.T) {
	good, bad := rowtest.Pair(event.Insert), rowtest.Pair(event.Insert)
	bad.Columns = bad.Columns[:1]
	keyless := rowtest.Pair(event.Insert)
	table := *keyless.Table
	table.HandleKey = nil
	keyless.Table = &table
	var ms codec.Messages
	e := openprotocol.NewEncoder(openprotocol.Config{MaxBatchSize: 1})
	if err := e.AppendRows(&ms, "", []*event.RowChanged{good}); err != nil {
		t.Fatal(err)
	}
	before := ms.Bytes()
	for want, err := range map[string]error{
		"has 1 values":             e.AppendRows(&ms, "", []*event.RowChanged{good, good, bad}),
		"neither a new nor an old": e.AppendRows(&ms, "", []*event.RowChanged{{Table: good.Table}}),
		"has no handle key":        e.AppendHandleKey(&ms, "", keyless),
		"it has 1 values":          e.AppendClaimCheck(&ms, "", bad, "x"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "test.pair") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if ms.Len() != 1 || ms.Bytes() != before {
		t.Errorf("%d messages of %d bytes are left", ms.Len(), ms.Bytes())
	}
}

func TestNoAllocations(t *testing.T) {
	rowtest.CheckNoAllocs(t, openprotocol.NewEncoder(openprotocol.Config{}))
}

func FuzzDecode(f *testing.F) {
	for _, c := range rowtest.Cases() {
		m := encode(f, openprotocol.Config{}, c.Row).At(0)
		f.Add(m.Key, m.Value)
	}
	f.Add(append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, frame(`{"ts":1,"t":2}`)...), frame(`{"q":"x","t":3}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		events, err := openprotocol.NewDecoder(openprotocol.DecoderConfig{}).Decode(key, value)
		if err != nil {
			return
		}
		// What was understood can be encoded, and means the same then.
		for _, ev := range events {
			if ev.Row == nil {
				continue
			}
			m := encode(t, openprotocol.Config{}, ev.Row).At(0)
			again, err := openprotocol.NewDecoder(openprotocol.DecoderConfig{}).Decode(m.Key, m.Value)
			if err != nil || again[0].Row.Kind() != ev.Row.Kind() {
				t.Fatalf("%q: %q: %v", m.Key, m.Value, err)
			}
		}
	})
}

// BenchmarkRows compares with TiCDC's open protocol, in its batches of 128.
func BenchmarkRows(b *testing.B) {
	ticdc := map[string]float64{"narrow.insert": 4537, "narrow.update": 8433, "wide.insert": 40549, "wide.update": 78083}
	rowtest.Bench(b, 128, ticdc, func(*event.TableInfo) codec.Encoder {
		return openprotocol.NewEncoder(openprotocol.Config{MaxBatchSize: 128})
	})
}
