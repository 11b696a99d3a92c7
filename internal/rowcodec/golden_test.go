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
			"json", event.ColumnInfo{Type: event.TypeJSON},
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
