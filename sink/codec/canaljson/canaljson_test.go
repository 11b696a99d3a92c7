package canaljson_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/canaljson"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
)

var (
	_ codec.LargeRowEncoder = (*canaljson.Encoder)(nil)
	_ codec.Decoder         = (*canaljson.Decoder)(nil)
)

var shanghai = time.FixedZone("UTC+8", 8*3600)

func newEncoder(cfg canaljson.Config) *canaljson.Encoder {
	cfg.Now = func() time.Time { return time.UnixMilli(rowtest.Now) }
	return canaljson.NewEncoder(cfg)
}

func encode(t testing.TB, cfg canaljson.Config, rows ...*event.RowChanged) *codec.Messages {
	t.Helper()
	return rowtest.Encode(t, newEncoder(cfg), rows...)
}

// TestGolden has the bytes of every type and operation, and of everything else.
func TestGolden(t *testing.T) {
	configs := map[string]canaljson.Config{
		"plain":     {},
		"full":      {TiDBExtension: true, ContentCompatible: true, RowKey: true, TimeZone: shanghai},
		"selective": {TiDBExtension: true, OnlyOutputUpdatedColumns: true, DeleteOnlyHandleKey: true},
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			var out []byte
			for _, c := range rowtest.Cases() {
				out = rowtest.Dump(out, c.Name, encode(t, cfg, c.Row))
			}
			for _, c := range rowtest.Pairs() {
				out = rowtest.Dump(out, "pair "+c.Row.Kind().String(), encode(t, cfg, c.Row))
			}
			e := newEncoder(cfg)
			for _, ddl := range rowtest.DDLs() {
				var ms codec.Messages
				if err := e.AppendDDL(&ms, "topic", ddl); err != nil {
					t.Fatal(err)
				}
				out = rowtest.Dump(out, ddl.Type.String(), &ms)
			}
			if cfg.TiDBExtension {
				var ms codec.Messages
				for _, err := range []error{
					e.AppendWatermark(&ms, "topic", rowtest.CommitTs),
					e.AppendHandleKey(&ms, "topic", rowtest.Pair(event.Update)),
					e.AppendClaimCheck(&ms, "topic", rowtest.Pair(event.Delete), "s3://bucket/\"1\".json"),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				out = rowtest.Dump(out, "watermark and large rows", &ms)
			}
			for line := range bytes.Lines(out) {
				if value, ok := bytes.CutPrefix(line, []byte("value ")); ok && !json.Valid(value) {
					t.Errorf("not JSON: %s", value)
				}
			}
			rowtest.Golden(t, "testdata/"+name+".golden", out)
		})
	}
}

// TestRoundTrip decodes what was encoded: exactly what it was, if types are full.
func TestRoundTrip(t *testing.T) {
	for _, loc := range []*time.Location{nil, shanghai} {
		cfg := canaljson.Config{TiDBExtension: true, ContentCompatible: true, TimeZone: loc}
		d := canaljson.NewDecoder(canaljson.DecoderConfig{TimeZone: loc})
		for _, c := range rowtest.Cases() {
			row := decodeRow(t, d, encode(t, cfg, c.Row)).Row
			checkRow(t, c, row, rowtest.Exact)
			for i, want := range c.Row.Table.Columns {
				got := row.Table.Columns[i]
				if got.Name != want.Name || got.Type != want.Type || got.Unsigned() != want.Unsigned() ||
					!slices.Equal(got.Elems, want.Elems) || got.Binary() && !want.Binary() {
					t.Errorf("column %s became %+v", want.Name, got)
				}
			}
			if !slices.Equal(row.Table.HandleKey, c.Row.Table.HandleKey) {
				t.Errorf("handle key is %v", row.Table.HandleKey)
			}
		}
		for _, c := range rowtest.Pairs() {
			row := decodeRow(t, d, encode(t, cfg, c.Row)).Row
			if row.Kind() != c.Row.Kind() || !slices.Equal(row.Table.HandleKey, []int{0, 1}) {
				t.Errorf("%s became %s with handle key %v", c.Row.Kind(), row.Kind(), row.Table.HandleKey)
			}
		}
	}
}

// TestRoundTripOfShortTypes has what is lost without lengths and elements.
func TestRoundTripOfShortTypes(t *testing.T) {
	d := canaljson.NewDecoder(canaljson.DecoderConfig{})
	for _, c := range rowtest.Cases() {
		for _, updated := range []bool{false, true} {
			row := decodeRow(t, d, encode(t, canaljson.Config{OnlyOutputUpdatedColumns: updated}, c.Row)).Row
			row.CommitTs |= c.Row.CommitTs & (1<<18 - 1) // es has no more than milliseconds
			checkRow(t, c, row, rowtest.Numbers)
		}
	}
}

func decodeRow(t testing.TB, d *canaljson.Decoder, ms *codec.Messages) codec.Event {
	t.Helper()
	if ms.Len() != 1 || ms.At(0).Key != nil {
		t.Fatalf("%d messages, key %q", ms.Len(), ms.At(0).Key)
	}
	return decodeOne(t, d, ms.At(0).Value)
}

func decodeOne(t testing.TB, d *canaljson.Decoder, value []byte) codec.Event {
	t.Helper()
	events, err := d.Decode(nil, value)
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events: %v", len(events), err)
	}
	return events[0]
}

func checkRow(t testing.TB, c rowtest.Case, row *event.RowChanged, same func(*event.ColumnInfo, event.Value, event.Value) bool) {
	t.Helper()
	if row == nil || row.Kind() != c.Row.Kind() || row.CommitTs != c.Row.CommitTs || row.Table.Name() != c.Row.Table.Name() {
		t.Fatalf("%s: got %+v", c.Name, row)
	}
	rowtest.DiffRow(t, c.Name, row, c.Row, same)
}

func TestDecodeOther(t *testing.T) {
	e, d := newEncoder(canaljson.Config{TiDBExtension: true}), canaljson.NewDecoder(canaljson.DecoderConfig{})
	for _, want := range rowtest.DDLs() {
		var ms codec.Messages
		if err := e.AppendDDL(&ms, "", want); err != nil {
			t.Fatal(err)
		}
		got := decodeOne(t, d, ms.At(0).Value).DDL
		if got == nil || got.Query != want.Query || got.CommitTs != want.CommitTs || got.Schema != "test" ||
			(got.Table == nil) != (want.Table == nil) || (got.PreTable == nil) != (want.PreTable == nil) ||
			got.Type != want.Type && got.Type != event.DDLMultiSchemaChange {
			t.Errorf("%s became %+v", want.Type, got)
		}
	}
	var ms codec.Messages
	for _, err := range []error{
		e.AppendWatermark(&ms, "", 42),
		e.AppendHandleKey(&ms, "", rowtest.Pair(event.Update)),
		e.AppendClaimCheck(&ms, "", rowtest.Pair(event.Insert), "file:///1.json"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := decodeOne(t, d, ms.At(0).Value); got.Watermark != 42 || got.Row != nil {
		t.Errorf("watermark: %+v", got)
	}
	if got := decodeOne(t, d, ms.At(1).Value); !got.HandleKeyOnly || got.ClaimCheck != "" || len(got.Row.Columns) != 2 || got.Row.Kind() != event.Update {
		t.Errorf("handle key: %+v", got)
	}
	if got := decodeOne(t, d, ms.At(2).Value); got.HandleKeyOnly || got.ClaimCheck != "file:///1.json" || len(got.Row.Columns) != 2 {
		t.Errorf("claim check: %+v", got)
	}
	if m := ms.At(1); m.Rows != 1 || m.CommitTs != rowtest.CommitTs || ms.At(0).Rows != 0 {
		t.Errorf("message: %+v", m)
	}
}

// TestDecodeForeign reads what other programs write.
func TestDecodeForeign(t *testing.T) {
	d := canaljson.NewDecoder(canaljson.DecoderConfig{})
	// Alibaba Canal: two rows, old with what changed, other members.
	events, err := d.Decode(nil, []byte(`{"data":[{"id":"1","v":"a"},{"id":"2","v":null}],"database":"d","es":1716300000000,"id":9,"gtid":"",
		"isDdl":false,"mysqlType":{"v":"varchar(10)","id":"int(11) unsigned"},"old":[{"v":"b"},{"v":"c"}],"pkNames":["id"],
		"sql":"","sqlType":{"id":4,"v":12},"table":"t","ts":1,"type":"UPDATE"}`))
	if err != nil || len(events) != 2 {
		t.Fatalf("%d events: %v", len(events), err)
	}
	second := events[1].Row
	if second.Table != events[0].Row.Table || second.Columns[0].Uint64() != 2 || !second.Columns[1].IsNull() ||
		second.PreColumns[1].Text() != "c" || second.CommitTs.Physical() != 1716300000000 || !slices.Equal(second.Table.HandleKey, []int{0}) {
		t.Errorf("got %+v", second)
	}
	// TiCDC before 6.0: a DELETE repeats the row in old; null for what is not there.
	got := decodeOne(t, d, []byte(`{"database":"d","table":"t","type":"DELETE","mysqlType":{"id":"int"},"data":[{"id":"1"}],"old":[{"id":"1"}]}`))
	if got.Row.Kind() != event.Delete || got.Row.PreColumns[0].Int64() != 1 {
		t.Errorf("got %+v", got.Row)
	}
	got = decodeOne(t, d, []byte(`{"database":"d","table":"t","type":"INSERT","mysqlType":{"id":"int"},"data":[{"id":"1"}],"old":[null]}`))
	if got.Row.Kind() != event.Insert {
		t.Errorf("got %+v", got.Row)
	}
}

func TestDecodeErrors(t *testing.T) {
	d := canaljson.NewDecoder(canaljson.DecoderConfig{})
	many := `{"type":"INSERT","mysqlType":{},"pkNames":[` + strings.Repeat(`"a",`, 5000) + `"a"]}`
	for text, want := range map[string]string{
		`{"secret"`:         "not valid JSON",
		`["secret"]`:        "want a JSON object",
		`{"type":"secret"}`: "the type is not known",
		`{"es":"secret"}`:   "es is not an integer",
		many:                "more than 4096 columns",
		`{"type":"INSERT","mysqlType":{"a":"int"},"data":[{"a":"secret"}]}`:              "column a: not a int",
		`{"type":"INSERT","mysqlType":{"a":"varbinary"},"data":[{"a":"数"}]}`:             "column a: not a varbinary",
		`{"type":"INSERT","mysqlType":{"a":"enum"},"data":[{"a":"secret"}]}`:             "column a: not a number of a enum",
		`{"type":"INSERT","mysqlType":{"a":"enum('a''"},"data":[{"a":"1"}]}`:             "malformed",
		`{"type":"INSERT","mysqlType":{"a":"geometry"},"data":[{"a":"1"}]}`:              "not known",
		`{"type":"INSERT","mysqlType":{"a":"int big"},"data":[{"a":"1"}]}`:               "not known",
		`{"type":"INSERT","mysqlType":{},"data":[{"a":"1"}]}`:                            "column a is not in mysqlType",
		`{"type":"UPDATE","mysqlType":{"a":"int"},"data":[{"a":"1"}],"old":[{"b":"1"}]}`: "column b is not in mysqlType",
		`{"type":"INSERT","mysqlType":{"a":"int"},"data":[null]}`:                        "a row without columns",
		`{"type":"INSERT","mysqlType":[],"data":[{"a":"1"}]}`:                            "mysqlType: want a JSON object",
		`{"type":"INSERT","data":{"a":"1"}}`:                                             "want a JSON array",
		`{"type":"TIDB_WATERMARK"}`:                                                      "without _tidb.watermarkTs",
		`{"type":"INSERT","_tidb":{"commitTs":"secret"}}`:                                "_tidb.commitTs is not a ts",
	} {
		events, err := d.Decode(nil, []byte(text))
		if err == nil || events != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.100s: got %v, %v; want %q", text, events, err, want)
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
	e := newEncoder(canaljson.Config{})
	if err := e.AppendRows(&ms, "", []*event.RowChanged{good}); err != nil {
		t.Fatal(err)
	}
	before := ms.Bytes()
	large := newEncoder(canaljson.Config{TiDBExtension: true})
	for want, err := range map[string]error{
		"has 1 values":              e.AppendRows(&ms, "", []*event.RowChanged{good, bad}),
		"neither a new nor an old":  e.AppendRows(&ms, "", []*event.RowChanged{{Table: good.Table}}),
		"set enable-tidb-extension": e.AppendHandleKey(&ms, "", good),
		"has no handle key":         large.AppendHandleKey(&ms, "", keyless),
		"it has 1 values":           large.AppendClaimCheck(&ms, "", bad, "x"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "test.pair") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if ms.Len() != 1 || ms.Bytes() != before {
		t.Errorf("%d messages of %d bytes are left", ms.Len(), ms.Bytes())
	}
}

// TestPromotion has the Java types of unsigned integers at their limits.
func TestPromotion(t *testing.T) {
	for _, tt := range []struct {
		column       string
		small, great uint64
		java, wide   string
	}{
		{"c_utinyint", 127, 128, "-6", "5"},
		{"c_usmallint", 32767, 32768, "5", "4"},
		{"c_umediumint", 8388607, 16777215, "4", "4"},
		{"c_uint", 2147483647, 2147483648, "4", "-5"},
		{"c_ubigint", 9223372036854775807, 9223372036854775808, "-5", "3"},
	} {
		for value, want := range map[uint64]string{tt.small: tt.java, tt.great: tt.wide} {
			row := rowtest.Cases()[3].Row.Clone()
			row.Columns[row.Table.ColumnOffset(tt.column)] = event.Uint64Value(value)
			var m struct{ SQLType map[string]json.Number }
			if err := json.Unmarshal(encode(t, canaljson.Config{}, row).At(0).Value, &m); err != nil {
				t.Fatal(err)
			}
			if got := m.SQLType[tt.column]; string(got) != want {
				t.Errorf("%s %d: got %s, want %s", tt.column, value, got, want)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	rowtest.CheckNoAllocs(t, newEncoder(canaljson.Config{TiDBExtension: true}))
}

func FuzzDecode(f *testing.F) {
	for _, c := range rowtest.Cases() {
		for _, full := range []bool{false, true} {
			f.Add(encode(f, canaljson.Config{TiDBExtension: true, ContentCompatible: full}, c.Row).At(0).Value)
		}
	}
	f.Add([]byte(`{"type":"TIDB_WATERMARK","_tidb":{"watermarkTs":1}}`))
	f.Add([]byte(`{"type":"QUERY","isDdl":true,"sql":"create schema a"}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		events, err := canaljson.NewDecoder(canaljson.DecoderConfig{}).Decode(nil, value)
		if err != nil {
			return
		}
		// What was understood can be encoded, and means the same then.
		for _, ev := range events {
			if ev.Row == nil {
				continue
			}
			again := encode(t, canaljson.Config{TiDBExtension: true, ContentCompatible: true}, ev.Row)
			if _, err := canaljson.NewDecoder(canaljson.DecoderConfig{}).Decode(nil, again.At(0).Value); err != nil {
				t.Fatalf("%s: %v", again.At(0).Value, err)
			}
		}
	})
}

// BenchmarkRows compares with TiCDC's canal-json.
func BenchmarkRows(b *testing.B) {
	for name, bb := range map[string]struct {
		cfg   canaljson.Config
		ticdc map[string]float64
	}{
		"plain": {canaljson.Config{}, map[string]float64{
			"narrow.insert": 3058, "narrow.update": 4378, "wide.insert": 29498, "wide.update": 45252,
		}},
		"extension": {canaljson.Config{TiDBExtension: true}, map[string]float64{
			"narrow.insert": 2848, "narrow.update": 4669, "wide.insert": 28745, "wide.update": 44947,
		}},
	} {
		b.Run(name, func(b *testing.B) {
			rowtest.Bench(b, 16, bb.ticdc, func(*event.TableInfo) codec.Encoder { return canaljson.NewEncoder(bb.cfg) })
		})
	}
}
