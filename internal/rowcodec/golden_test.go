package rowcodec_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
)

// fromHex reads hex with spaces between its parts.
func fromHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rowKey is the key of handle 1 in table 104.
const rowKey = "7480000000000000685f728000000000000001"

// decodeOne decodes a row of a table with one column, id 2, and a hidden row id.
func decodeOne(t *testing.T, c event.ColumnInfo, row string) event.Value {
	t.Helper()
	c.ID, c.Name = 2, "c"
	p, err := rowcodec.NewPlan(&event.TableInfo{ID: 104, Schema: "test", Table: "t", Columns: []event.ColumnInfo{c}})
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]event.Value, 1)
	if err := p.Decode(dst, fromHex(t, rowKey), fromHex(t, row)); err != nil {
		t.Fatal(err)
	}
	return dst[0]
}

// The rows below were written by TiDB's own encoder.
func TestGoldenRowsV2(t *testing.T) {
	for _, tc := range []struct {
		name string
		col  event.ColumnInfo
		row  string
		kind event.ValueKind
		want string
	}{
		{"int 1", event.ColumnInfo{Type: event.TypeLong}, "80000100000002010001", event.KindInt64, "1"},
		{"int -1", event.ColumnInfo{Type: event.TypeLong}, "800001000000020100ff", event.KindInt64, "-1"},
		{"int 300", event.ColumnInfo{Type: event.TypeLong}, "8000010000000202002c01", event.KindInt64, "300"},
		{"min bigint", event.ColumnInfo{Type: event.TypeLonglong}, "8000010000000208000000000000000080", event.KindInt64, "-9223372036854775808"},
		{"uint 255", event.ColumnInfo{Type: event.TypeLong, Flag: event.FlagUnsigned}, "800001000000020100ff", event.KindUint64, "255"},
		{"uint 65536", event.ColumnInfo{Type: event.TypeLong, Flag: event.FlagUnsigned}, "80000100000002040000000100", event.KindUint64, "65536"},
		{"double 1.5", event.ColumnInfo{Type: event.TypeDouble}, "800001000000020800bff8000000000000", event.KindFloat64, "1.5"},
		{"double -1.5", event.ColumnInfo{Type: event.TypeDouble}, "8000010000000208004007ffffffffffff", event.KindFloat64, "-1.5"},
		{"float 1.5", event.ColumnInfo{Type: event.TypeFloat}, "800001000000020800bff8000000000000", event.KindFloat32, "1.5"},
		{"decimal", event.ColumnInfo{Type: event.TypeNewDecimal, Length: 10, Decimal: 2}, "8000010000000207000a027ffffff3dd", event.KindDecimal, "-12.34"},
		{"varchar", event.ColumnInfo{Type: event.TypeVarchar, Charset: "utf8mb4"}, "8000010000000202006869", event.KindText, "hi"},
		{"varbinary", event.ColumnInfo{Type: event.TypeVarchar, Charset: "binary"}, "8000010000000202006869", event.KindBytes, "hi"},
		{"datetime(6)", event.ColumnInfo{Type: event.TypeDatetime, Decimal: 6}, "800001000000020800c801008310ecb319", event.KindDatetime, "2024-07-22 01:02:03.000456"},
		{"time", event.ColumnInfo{Type: event.TypeDuration}, "800001000000020800006047cfb9fcffff", event.KindDuration, "-01:00:00"},
		{"enum", event.ColumnInfo{Type: event.TypeEnum, Elems: []string{"a", "b"}}, "80000100000002010002", event.KindEnum, "b"},
		{"bit", event.ColumnInfo{Type: event.TypeBit, Length: 8}, "80000100000002010005", event.KindBit, "5"},
		{
			"json",
			event.ColumnInfo{Type: event.TypeJSON},
			"800001000000023600010100000035000000130000000100031400000061030000002100000009170000000c1f000000040000000001000000000000000178",
			event.KindJSON, `{"a": [1, "x", null]}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := decodeOne(t, tc.col, tc.row)
			if v.Kind() != tc.kind || v.Text() != tc.want {
				t.Errorf("got %s %q, want %s %q", v.Kind(), v.Text(), tc.kind, tc.want)
			}
		})
	}
}

// abTable has an int column of id 1, one of id 2 and a varchar of id 4.
func abTable() *event.TableInfo {
	return &event.TableInfo{ID: 104, Schema: "test", Table: "t", Columns: []event.ColumnInfo{
		{ID: 1, Name: "a", Type: event.TypeLong},
		{ID: 2, Name: "b", Type: event.TypeLong},
		{ID: 4, Name: "c", Type: event.TypeVarchar, Charset: "utf8mb4"},
	}}
}

func TestGoldenRowLayouts(t *testing.T) {
	wide := abTable()
	wide.Columns[1].ID = 300
	far := abTable()
	far.Columns[1].ID = 5000 // beyond the direct table of ids
	text := func(s string) *string { return &s }
	for _, tc := range []struct {
		name  string
		table *event.TableInfo
		row   string
		want  []*string
	}{
		{"v2", abTable(), "80000200010001040201000300016162", []*string{text("1"), nil, text("ab")}},
		{"v2 large", wide, "800101000100010000002c0100000100000001", []*string{text("1"), nil, nil}},
		{"v2 large, id 5000", far, "8001 0200 0000 01000000 88130000 01000000 02000000 01 07", []*string{text("1"), text("7"), nil}},
		{"v2 empty", abTable(), "800000000000", []*string{nil, nil, nil}},
		{"v2 with an unknown column", abTable(), "8000 0200 0000 01 03 0100 0200 01 ff", []*string{text("1"), nil, nil}},
		{"v2 full, with an unknown NULL", abTable(), "8000 0300 0100 010204 09 0100 0200 0400 01 02 6162", []*string{text("1"), text("2"), text("ab")}},
		{"v2 large with an unknown column", wide, "8001 0200 0000 01000000 03000000 01000000 02000000 01 ff", []*string{text("1"), nil, nil}},
		{"v2 small row of a table with a large id", wide, "8000 0300 0000 01042c 0100 0200 0300 01 61 05", []*string{text("1"), nil, text("a")}},
		{"v1", abTable(), "08020802080400080802046162", []*string{text("1"), nil, text("ab")}},
		{"v1 empty", abTable(), "00", []*string{nil, nil, nil}},
		{"v1 with unknown columns", abTable(), "0802 0802" + // 1: 1
			"0806 0904" + // 3: uint
			"080a 02046162" + // 5: bytes
			"080c 05bff8000000000000" + // 6: float
			"080e 060a027ffffff3dd" + // 7: decimal
			"0810 0a0300000000 08000000" + // 8: JSON array
			"0812 0a0402" + // 9: JSON literal
			"0814 0a0c0161" + // 10: JSON string
			"0816 0a0dfd0161" + // 11: JSON opaque
			"0818 0a110000000000000000 00000000" + // 12: JSON duration
			"081a 0a090000000000000000" + // 13: JSON number
			"081c 14010000000000803f" + // 14: vector
			"081e 016162630000000000fa" + // 15: comparable bytes
			"0820 00" + // 16: NULL
			"0804 0804", []*string{text("1"), text("2"), nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := rowcodec.NewPlan(tc.table)
			if err != nil {
				t.Fatal(err)
			}
			dst := []event.Value{event.TextValue("stale"), event.TextValue("stale"), event.TextValue("stale")}
			if err := p.Decode(dst, fromHex(t, rowKey), fromHex(t, tc.row)); err != nil {
				t.Fatal(err)
			}
			compareImage(t, tc.table, dst, tc.want)
		})
	}
}

func TestVectorColumn(t *testing.T) {
	c := event.ColumnInfo{Type: event.TypeVector}
	if got := decodeOne(t, c, "8000 0100 0000 02 0c00 02000000 0000803f 00002040").Text(); got != "[1,2.5]" {
		t.Errorf("v2: got %s", got)
	}
	if got := decodeOne(t, c, "0804 14 02000000 0000803f 00002040").Text(); got != "[1,2.5]" {
		t.Errorf("v1: got %s", got)
	}
}

// The forms that v1 also allows for a column, besides those of recorded rows.
func TestV1Flags(t *testing.T) {
	for _, tc := range []struct {
		name string
		col  event.ColumnInfo
		row  string
		want string
	}{
		{"comparable int", event.ColumnInfo{Type: event.TypeLong}, "0804 03 7fffffffffffffff", "-1"},
		{"comparable uint", event.ColumnInfo{Type: event.TypeLong, Flag: event.FlagUnsigned}, "0804 04 00000000000000ff", "255"},
		{"comparable bytes", event.ColumnInfo{Type: event.TypeVarchar}, "0804 01 6162636465666768ff 6900000000000000f8", "abcdefghi"},
		{"duration", event.ColumnInfo{Type: event.TypeDuration}, "0804 07 7ffffcb9cf476000", "-01:00:00"},
		{"duration as varint", event.ColumnInfo{Type: event.TypeDuration}, "0804 08 ffffc48bc6d101", "-01:00:00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := decodeOne(t, tc.col, tc.row).Text(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
