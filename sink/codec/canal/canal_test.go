package canal_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/canal"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
)

var (
	_ codec.Encoder = (*canal.Encoder)(nil)
	_ codec.Decoder = (*canal.Decoder)(nil)
)

var shanghai = time.FixedZone("UTC+8", 8*3600)

func encode(t testing.TB, cfg canal.Config, rows ...*event.RowChanged) *codec.Messages {
	t.Helper()
	return rowtest.Encode(t, canal.NewEncoder(cfg), rows...)
}

func encodeDDL(t testing.TB, ddl *event.DDL) codec.Message {
	t.Helper()
	var ms codec.Messages
	e := canal.NewEncoder(canal.Config{})
	if err := e.AppendDDL(&ms, "topic", ddl); err != nil {
		t.Fatal(err)
	}
	if err := e.AppendWatermark(&ms, "topic", 1); err != nil || ms.Len() != 1 {
		t.Fatalf("%d messages: %v", ms.Len(), err)
	}
	return ms.At(0)
}

// TestGolden has every type and operation, as protobuf's own code reads it, which
// would also write the same bytes.
func TestGolden(t *testing.T) {
	for name, cfg := range map[string]canal.Config{
		"plain": {},
		"full":  {ContentCompatible: true, DeleteOnlyHandleKey: true, TimeZone: shanghai},
	} {
		t.Run(name, func(t *testing.T) {
			var out []byte
			for _, c := range rowtest.Cases() {
				out = append(out, "# "+c.Name+"\n"...)
				out = append(out, packetText(t, encode(t, cfg, c.Row).At(0).Value)...)
			}
			out = append(append(out, "# a batch\n"...), packetText(t, encode(t, cfg, rowtest.Rows(rowtest.Pairs())...).At(0).Value)...)
			for _, ddl := range rowtest.DDLs() {
				out = append(append(out, "# "+ddl.Type.String()+"\n"...), packetText(t, encodeDDL(t, ddl).Value)...)
			}
			rowtest.Golden(t, "testdata/"+name+".golden", out)
		})
	}
}

// TestText has what is not UTF-8.
func TestText(t *testing.T) {
	row := rowtest.Pair(event.Insert)
	row.Columns = slices.Clone(row.Columns)
	row.Columns[0] = event.TextValue("a\xffb")
	table := *row.Table
	table.Table = "\xfe"
	row.Table = &table
	text := packetText(t, encode(t, canal.Config{}, row).At(0).Value)
	if !bytes.Contains(text, []byte("a\ufffdb")) || !bytes.Contains(text, []byte("tableName:\"\ufffd\"")) {
		t.Errorf("got %s", text)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, cfg := range []canal.Config{{}, {ContentCompatible: true, TimeZone: shanghai}} {
		d := canal.NewDecoder(canal.DecoderConfig{TimeZone: cfg.TimeZone})
		rows := rowtest.Rows(rowtest.Cases())
		m := encode(t, cfg, rows...).At(0)
		events, err := d.Decode(nil, m.Value)
		if err != nil || len(events) != len(rows) || m.Rows != len(rows) || m.Key != nil {
			t.Fatalf("%d events: %v", len(events), err)
		}
		same := rowtest.Numbers
		if cfg.ContentCompatible {
			same = rowtest.Exact
		}
		for i, c := range rowtest.Cases() {
			row := events[i].Row
			if row.Kind() != c.Row.Kind() || row.CommitTs.Physical() != c.Row.CommitTs.Physical() || row.Table.Name() != c.Row.Table.Name() ||
				row.Table != events[0].Row.Table || !slices.Equal(row.Table.HandleKey, []int{0}) {
				t.Fatalf("%s: got %+v", c.Name, row)
			}
			rowtest.DiffRow(t, c.Name, row, c.Row, same)
		}
	}
	d := canal.NewDecoder(canal.DecoderConfig{})
	for _, want := range rowtest.DDLs() {
		events, err := d.Decode(nil, encodeDDL(t, want).Value)
		if err != nil || len(events) != 1 {
			t.Fatal(err)
		}
		got, kind := events[0].DDL, want.Type
		if kind == event.DDLAddColumn {
			kind = event.DDLMultiSchemaChange // the protocol says no more than ALTER
		}
		if got.Query != want.Query || got.Type != kind || got.CommitTs.Physical() != want.CommitTs.Physical() || got.Schema != "test" ||
			(got.Table == nil) != (want.Table == nil) || (got.PreTable == nil) != (want.PreTable == nil) {
			t.Errorf("%s became %+v", want.Type, got)
		}
	}
}

// TestBatches splits rows over messages by number and by size, in their order.
func TestBatches(t *testing.T) {
	var rows []*event.RowChanged
	for i := range 40 {
		row := rowtest.Pair(event.Insert)
		row.CommitTs += event.Ts(i) << 18
		rows = append(rows, row)
	}
	three := encode(t, canal.Config{}, rows[:3]...).Bytes()
	for _, cfg := range []canal.Config{{}, {MaxBatchSize: 1}, {MaxBatchSize: 40}, {MaxMessageBytes: three + 36 + 16}, {MaxMessageBytes: 1}} {
		ms := encode(t, cfg, rows...)
		next := 0
		for i := range ms.Len() {
			m := ms.At(i)
			events, err := canal.NewDecoder(canal.DecoderConfig{}).Decode(nil, m.Value)
			if err != nil || len(events) != m.Rows {
				t.Fatalf("%d events of %d rows: %v", len(events), m.Rows, err)
			}
			for _, ev := range events {
				if ev.Row.CommitTs.Physical() != rows[next].CommitTs.Physical() {
					t.Fatalf("%+v: row %d is another", cfg, next)
				}
				next++
			}
			if m.CommitTs != rows[next-1].CommitTs {
				t.Errorf("commit ts %d of a message that ends with %d", m.CommitTs, rows[next-1].CommitTs)
			}
			if limit := cfg.MaxMessageBytes; m.Rows > 1 && limit > 0 && m.Size()+36 > limit {
				t.Errorf("%+v: %d rows take %d bytes", cfg, m.Rows, m.Size())
			}
		}
		want := map[int]int{0: 3, 1: 40, 40: 1}[cfg.MaxBatchSize]
		switch cfg.MaxMessageBytes {
		case 1:
			want = 40
		case three + 36 + 16:
			want = 14
		}
		if next != len(rows) || ms.Len() != want {
			t.Errorf("%+v: %d rows in %d messages, want %d", cfg, next, ms.Len(), want)
		}
	}
}

// part is a field of a message, for messages by hand.
func part(field int, value any) []byte {
	switch v := value.(type) {
	case int:
		return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(field)<<3), uint64(v))
	case string:
		return append(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(field)<<3|2), uint64(len(v))), v...)
	}
	return part(field, string(bytes.Join(value.([][]byte), nil)))
}

// packet wraps a RowChange.
func packet(change ...[]byte) []byte {
	header := [][]byte{part(6, 1716300000000), part(8, "s"), part(9, "t"), part(11, 1), part(40, "new")}
	entry := [][]byte{part(1, header), part(2, 2), part(3, change)}
	return bytes.Join([][]byte{part(3, 7), part(4, 1), part(5, [][]byte{part(2, entry)})}, nil)
}

func TestDecodeForeign(t *testing.T) {
	column := func(name, value, kind string) []byte {
		return part(2, [][]byte{part(1, 0), part(3, name), part(4, 1), part(8, value), part(10, kind)})
	}
	two := [][]byte{part(2, 1), {0x79, 1, 2, 3, 4, 5, 6, 7, 8}, part(12, [][]byte{column("a", "1", "int(11)")}), part(12, [][]byte{column("a", "2", "int(11)")})}
	events, err := canal.NewDecoder(canal.DecoderConfig{}).Decode(nil, packet(two...))
	if err != nil || len(events) != 2 || events[1].Row.Columns[0].Int64() != 2 || events[1].Row.Table.Name() != "s.t" {
		t.Errorf("got %+v, %v", events, err)
	}
	begin := part(2, [][]byte{part(2, 1), part(3, "x")})
	value := bytes.Join([][]byte{part(3, 7), part(5, [][]byte{begin})}, nil)
	if events, err = canal.NewDecoder(canal.DecoderConfig{}).Decode(nil, value); err != nil || len(events) != 0 {
		t.Errorf("the beginning of a transaction: %v, %v", events, err)
	}
}

func TestDecodeErrors(t *testing.T) {
	row := func(parts ...[]byte) []byte { return packet(part(2, 1), part(12, parts)) }
	column := func(value, kind string) []byte {
		return part(2, [][]byte{part(3, "a"), part(8, value), part(10, kind)})
	}
	for _, tt := range []struct {
		value []byte
		want  string
	}{
		{nil, "a packet of type 0"},
		{part(3, 11), "a packet of type 11"},
		{append(part(3, 7), part(4, 3)...), "the compression 3"},
		{[]byte{0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, "cut off"},
		{[]byte{0x2a, 5, 1}, "cut off"},
		{[]byte{0x19, 5, 1}, "cut off"},
		{[]byte{0x80}, "cut off"},
		{[]byte{0x18}, "cut off"},
		{[]byte{0x00, 0x01}, "cut off"},
		{[]byte{0x1b}, "unknown type"},
		{packet(part(2, 99)), "s.t: the kind 99"},
		{packet(part(10, 1), part(2, 99)), "the kind 99 of a DDL"},
		{packet(part(10, 1)), "the kind 1 of a DDL"},
		{row(), "a row without columns"},
		{row(column("secret", "int")), "column a: not a int"},
		{row(column("secret", "geometry")), "not known"},
		{row(bytes.Repeat(column("1", "int"), 5000)), "more than 4096 columns"},
		{packet(part(2, 2), part(12, [][]byte{column("1", "int"), part(1, [][]byte{part(3, "b")})})), "column b is not in the new image"},
	} {
		events, err := canal.NewDecoder(canal.DecoderConfig{}).Decode(nil, tt.value)
		if err == nil || events != nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.40x: got %v, %v; want %q", tt.value, events, err, tt.want)
		}
	}
}

// TestEncodeErrors leaves nothing of a batch with a bad row.
func TestEncodeErrors(t *testing.T) {
	good, bad := rowtest.Pair(event.Insert), rowtest.Pair(event.Insert)
	bad.Columns = bad.Columns[:1]
	e := canal.NewEncoder(canal.Config{MaxBatchSize: 1})
	var ms codec.Messages
	for want, err := range map[string]error{
		"has 1 values":             e.AppendRows(&ms, "", []*event.RowChanged{good, good, bad}),
		"neither a new nor an old": e.AppendRows(&ms, "", []*event.RowChanged{{Table: good.Table}}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "test.pair") || ms.Len() != 0 {
			t.Errorf("got %v, want %q; %d messages", err, want, ms.Len())
		}
	}
}

func TestNoAllocations(t *testing.T) { rowtest.CheckNoAllocs(t, canal.NewEncoder(canal.Config{})) }

func FuzzDecode(f *testing.F) {
	for _, c := range rowtest.Cases() {
		for _, full := range []bool{false, true} {
			f.Add(encode(f, canal.Config{ContentCompatible: full}, c.Row).At(0).Value)
		}
	}
	for _, ddl := range rowtest.DDLs() {
		f.Add(encodeDDL(f, ddl).Value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		events, err := canal.NewDecoder(canal.DecoderConfig{}).Decode(nil, value)
		if err != nil {
			return
		}
		// What was understood can be encoded, and is understood again.
		for _, ev := range events {
			if ev.Row == nil {
				continue
			}
			again := encode(t, canal.Config{ContentCompatible: true}, ev.Row).At(0).Value
			if _, err := canal.NewDecoder(canal.DecoderConfig{}).Decode(nil, again); err != nil {
				t.Fatalf("%x: %v", again, err)
			}
		}
	})
}

// BenchmarkRows compares with TiCDC's canal.
func BenchmarkRows(b *testing.B) {
	ticdc := map[string]float64{"narrow.insert": 4919, "narrow.update": 8129, "wide.insert": 35251, "wide.update": 59078}
	rowtest.Bench(b, 16, ticdc, func(*event.TableInfo) codec.Encoder { return canal.NewEncoder(canal.Config{}) })
}
