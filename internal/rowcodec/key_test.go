package rowcodec_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
)

func TestPhysicalTableID(t *testing.T) {
	for _, tc := range []struct {
		key string
		id  int64
	}{
		{"7480000000000000685f728000000000000001", 104},
		{"7480000000000000685f727ffffffffffffffe", 104},
		{"7480000000000000685f72 016162630000000000fa 038000000000000007", 104},
		{"7480000000000000685f72 010000000000000000f7", 104},
		{"7480 00fffffffffffe 5f72 8000000000000001", 1<<48 - 2},
	} {
		id, err := rowcodec.PhysicalTableID(fromHex(t, tc.key))
		if err != nil || id != tc.id {
			t.Errorf("%s: got %d, %v, want %d", tc.key, id, err, tc.id)
		}
	}
	for _, key := range []string{
		"", "74", "7480000000000000685f72", "7480000000000000685f7280000000000000", // too short
		"7480000000000000685f698000000000000001038000000000000001", // an index
		"6d44427300000000fa0000000000000068",                       // meta
		"7480000000000000ff685f728000000000ff0000010000000000fa",   // as PD and regions write it
	} {
		if id, err := rowcodec.PhysicalTableID(fromHex(t, key)); !errors.Is(err, rowcodec.ErrNotRow) {
			t.Errorf("%s: got %d, %v", key, id, err)
		}
	}
}

// decodeKeyOf decodes the handle of a table whose clustered key has the columns.
func decodeKeyOf(t *testing.T, handle string, columns ...event.ColumnInfo) ([]event.Value, error) {
	t.Helper()
	p, err := rowcodec.NewPlan(clustered(columns...))
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]event.Value, len(columns))
	return dst, p.DecodeKey(dst, fromHex(t, "7480000000000000685f72"+handle))
}

// clustered returns a table with a clustered primary key over all its columns.
func clustered(columns ...event.ColumnInfo) *event.TableInfo {
	info := &event.TableInfo{ID: 104, Schema: "test", Table: "t", IsCommonHandle: true}
	pk := event.IndexInfo{Name: "PRIMARY", Primary: true, Unique: true}
	for i, c := range columns {
		c.ID, c.Name, c.Flag = int64(i+1), string(rune('a'+i)), c.Flag|event.FlagNotNull
		info.Columns = append(info.Columns, c)
		pk.Columns = append(pk.Columns, event.IndexColumn{Name: c.Name, Offset: i, Length: -1})
	}
	info.Indexes = []event.IndexInfo{pk}
	return info
}

func TestDecodeKey(t *testing.T) {
	binText := event.ColumnInfo{Type: event.TypeVarchar, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	ciText := event.ColumnInfo{Type: event.TypeVarchar, Charset: "utf8mb4", Collation: "utf8mb4_general_ci"}
	number := event.ColumnInfo{Type: event.TypeLonglong}
	for _, tc := range []struct {
		handle  string
		columns []event.ColumnInfo
		want    string
	}{
		{"016162630000000000fa 038000000000000007", []event.ColumnInfo{binText, number}, "abc|7"},
		{"010000000000000000f7", []event.ColumnInfo{binText}, ""},
		{"016162636465666768ff 0000000000000000f7", []event.ColumnInfo{binText}, "abcdefgh"},
		{"016162636465666768ff 6900000000000000f8 037fffffffffffffff", []event.ColumnInfo{binText, number}, "abcdefghi|-1"},
		{"016162630000000000fa 038000000000000007", []event.ColumnInfo{ciText, number}, "NULL|7"},
		{"0603018f0500000000", []event.ColumnInfo{{Type: event.TypeNewDecimal, Decimal: 1}}, "15.5"},
		{"05bff8000000000000", []event.ColumnInfo{{Type: event.TypeFloat}}, "1.5"},
		{"077ffffcb9cf476000", []event.ColumnInfo{{Type: event.TypeDuration}}, "-01:00:00"},
		{"0419b3ec10830001c8", []event.ColumnInfo{{Type: event.TypeDatetime, Decimal: 6}}, "2024-07-22 01:02:03.000456"},
		{"04ffffffffffffffff", []event.ColumnInfo{{Type: event.TypeLonglong, Flag: event.FlagUnsigned}}, "18446744073709551615"},
	} {
		got, err := decodeKeyOf(t, tc.handle, tc.columns...)
		if err != nil {
			t.Errorf("%s: %v", tc.handle, err)
			continue
		}
		var texts []string
		for _, v := range got {
			if v.IsNull() {
				texts = append(texts, "NULL")
				continue
			}
			texts = append(texts, v.Text())
		}
		if s := strings.Join(texts, "|"); s != tc.want {
			t.Errorf("%s: got %s, want %s", tc.handle, s, tc.want)
		}
	}
}

func TestDecodeKeyErrors(t *testing.T) {
	text := event.ColumnInfo{Type: event.TypeVarchar, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	number := event.ColumnInfo{Type: event.TypeLonglong}
	decimal := event.ColumnInfo{Type: event.TypeNewDecimal}
	for _, tc := range []struct {
		name, handle string
		columns      []event.ColumnInfo
	}{
		{"second value missing", "016162630000000000fa", []event.ColumnInfo{text, number}},
		{"int cut short", "0180000000000000f7 0380", []event.ColumnInfo{text, number}},
		{"bytes cut short", "016162636465666768ff", []event.ColumnInfo{text}},
		{"bytes with marker 0x10", "01616263000000000010", []event.ColumnInfo{text}},
		{"bytes padded with ones", "016162630000000001fa", []event.ColumnInfo{text}},
		{"text where a number should be", "016162630000000000fa", []event.ColumnInfo{number}},
		{"number where a text should be", "038000000000000007", []event.ColumnInfo{text}},
		{"decimal where a number should be", "06020180050000000000", []event.ColumnInfo{number}},
		{"number where a decimal should be", "038000000000000007", []event.ColumnInfo{decimal}},
		{"float where a decimal should be", "05bff8000000000000", []event.ColumnInfo{decimal}},
		{"decimal cut short", "0641208000000000", []event.ColumnInfo{decimal}},
		{"unknown flag", "990000000000000000", []event.ColumnInfo{number}},
	} {
		if got, err := decodeKeyOf(t, tc.handle, tc.columns...); err == nil {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
}

// A delete whose old value is gone tells no more than its key does.
func TestDecodeKeyOfIntHandle(t *testing.T) {
	info := &event.TableInfo{ID: 104, Schema: "test", Table: "t", PKIsHandle: true, Columns: []event.ColumnInfo{
		{ID: 1, Name: "a", Type: event.TypeLong},
		{ID: 2, Name: "id", Type: event.TypeLonglong, Flag: event.FlagPrimaryKey | event.FlagNotNull | event.FlagUnsigned},
	}}
	p, err := rowcodec.NewPlan(info)
	if err != nil {
		t.Fatal(err)
	}
	dst := []event.Value{event.Int64Value(9), event.Int64Value(9)}
	if err := p.DecodeKey(dst, fromHex(t, "7480000000000000685f727ffffffffffffffe")); err != nil {
		t.Fatal(err)
	}
	if !dst[0].IsNull() || dst[1].Text() != "18446744073709551614" {
		t.Errorf("got %q, %q", dst[0].Text(), dst[1].Text())
	}
	if err := p.DecodeKey(dst, fromHex(t, "7480000000000000685f72 016162630000000000fa")); err == nil {
		t.Error("a common handle was read as an integer")
	}
}

func TestDecodeErrors(t *testing.T) {
	p, err := rowcodec.NewPlan(abTable())
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]event.Value, 3)
	for _, tc := range []struct{ name, row string }{
		{"empty", ""},
		{"v2 header cut short", "8000"},
		{"v2 ids cut short", "800003000000"},
		{"v2 offset beyond the end", "8000 0100 0000 01 0200 01"},
		{"v2 offsets going back", "8000 0200 0000 01 02 0200 0100 0102"},
		{"v2 int of three bytes", "8000 0100 0000 01 0300 010203"},
		{"v2 int of no bytes", "8000 0100 0000 01 0000"},
		{"v2 full row, offset beyond the end", "8000 0300 0000 010204 0100 0200 0900 010203"},
		{"v2 full row, bad int", "8000 0300 0000 010204 0300 0400 0500 0102030405"},
		{"v2 large cut short", "8001 0100 0000 01000000"},
		{"v2 large, offset beyond the end", "8001 0100 0000 01000000 02000000 01"},
		{"v2 large, bad int", "8001 0100 0000 01000000 03000000 010203"},
		{"v1 without an id", "0302"},
		{"v1 id cut short", "0880"},
		{"v1 negative id", "0801 0802"},
		{"v1 value missing", "0802"},
		{"v1 unknown flag", "0802 99"},
		{"v1 text where a number should be", "0802 020261"},
		{"v1 number where a text should be", "0808 0802"},
		{"v1 JSON where a number should be", "0802 0a0402"},
		{"v1 vector where a number should be", "0802 1400000000"},
		{"v1 bytes beyond the end", "0808 0220 61"},
		{"v1 unknown column cut short", "0806 02086162"},
		{"v1 flag cut short", "0806 08"},
		{"v1 comparable bytes cut short", "0806 01 6162636465666768ff"},
		{"v1 decimal cut short", "0806 060a02"},
		{"v1 vector cut short", "0806 140100"},
		{"v1 vector too long", "0806 14ffffffff"},
		{"v1 JSON missing", "0806 0a"},
		{"v1 JSON array cut short", "0806 0a0300"},
		{"v1 JSON array too long", "0806 0a03000000 00ffffffff"},
		{"v1 JSON string too long", "0806 0a0c0561"},
		{"v1 JSON opaque cut short", "0806 0a0d"},
		{"v1 JSON opaque too long", "0806 0a0dfd05"},
		{"v1 JSON of an unknown type", "0806 0a7f"},
	} {
		if err := p.Decode(dst, fromHex(t, rowKey), fromHex(t, tc.row)); err == nil {
			t.Errorf("%s: got %v", tc.name, dst)
		} else if !strings.Contains(err.Error(), "test.t") {
			t.Errorf("%s: error does not name the table: %v", tc.name, err)
		}
	}
	if err := p.Decode(dst[:2], fromHex(t, rowKey), fromHex(t, "800000000000")); err == nil {
		t.Error("two Values took three columns")
	}
	if err := p.Decode(dst, fromHex(t, "6d"), fromHex(t, "800000000000")); !errors.Is(err, rowcodec.ErrNotRow) {
		t.Errorf("got %v", err)
	}
}

func TestPrefixKeyNeedsItsRow(t *testing.T) {
	info := clustered(event.ColumnInfo{Type: event.TypeVarchar, Charset: "binary", Collation: "binary"})
	info.Indexes[0].Columns[0].Length = 3
	p, err := rowcodec.NewPlan(info)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]event.Value, 1)
	key := fromHex(t, "7480000000000000685f72 016162630000000000fa")
	if err := p.Decode(dst, key, fromHex(t, "800000000000")); err == nil {
		t.Errorf("the prefix was taken for the value: %s", dst[0].Text())
	}
	if err := p.DecodeKey(dst, key); err != nil || !dst[0].IsNull() {
		t.Errorf("got %s, %v", dst[0].Text(), err)
	}
}

func TestNewPlanErrors(t *testing.T) {
	bad := "x"
	for name, change := range map[string]func(*event.TableInfo){
		"view":                   func(i *event.TableInfo) { i.View = true },
		"unknown type":           func(i *event.TableInfo) { i.Columns[0].Type = 99 },
		"unreadable default":     func(i *event.TableInfo) { i.Columns[0].OriginDefault = &bad },
		"column id twice":        func(i *event.TableInfo) { i.Columns[0].ID = 2 },
		"column id out of range": func(i *event.TableInfo) { i.Columns[0].ID = -1 },
		"no integer key":         func(i *event.TableInfo) { i.PKIsHandle = true },
		"no clustered key":       func(i *event.TableInfo) { i.IsCommonHandle = true },
	} {
		info := abTable()
		change(info)
		if _, err := rowcodec.NewPlan(info); err == nil || !strings.Contains(err.Error(), "test.t") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A TIMESTAMP default of a column that an old TiDB added is noted in the
// cluster's zone; every later one in UTC.
func TestOriginDefaultZone(t *testing.T) {
	text, zero := "2024-01-02 03:04:05", "0000-00-00 00:00:00"
	shanghai := time.FixedZone("+08", 8*3600)
	for _, tc := range []struct {
		version uint64
		text    *string
		want    string
	}{
		{0, &text, "2024-01-01 19:04:05"},
		{1, &text, "2024-01-02 03:04:05"},
		{2, &text, "2024-01-02 03:04:05"},
		{0, &zero, "0000-00-00 00:00:00"},
	} {
		info := abTable()
		info.Columns = append(info.Columns, event.ColumnInfo{
			ID: 9, Name: "ts", Type: event.TypeTimestamp, Version: tc.version, OriginDefault: tc.text,
		})
		p, err := rowcodec.NewPlanIn(info, shanghai)
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]event.Value, 4)
		if err := p.Decode(dst, fromHex(t, rowKey), fromHex(t, "800000000000")); err != nil {
			t.Fatal(err)
		}
		if got := dst[3].Text(); got != tc.want {
			t.Errorf("version %d: got %s, want %s", tc.version, got, tc.want)
		}
	}
}

// What a column is in rows that lack it, if it has no origin default.
func TestAbsentWithoutOriginDefault(t *testing.T) {
	elems := []string{"x", "y"}
	for _, tc := range []struct {
		col  event.ColumnInfo
		kind event.ValueKind
		want string
	}{
		{event.ColumnInfo{Type: event.TypeLong}, event.KindInt64, "0"},
		{event.ColumnInfo{Type: event.TypeLong, Flag: event.FlagUnsigned}, event.KindUint64, "0"},
		{event.ColumnInfo{Type: event.TypeYear}, event.KindInt64, "0"},
		{event.ColumnInfo{Type: event.TypeFloat}, event.KindFloat32, "0"},
		{event.ColumnInfo{Type: event.TypeDouble}, event.KindFloat64, "0"},
		{event.ColumnInfo{Type: event.TypeNewDecimal, Decimal: 2}, event.KindDecimal, "0.00"},
		{event.ColumnInfo{Type: event.TypeVarchar, Charset: "utf8mb4"}, event.KindText, ""},
		{event.ColumnInfo{Type: event.TypeVarchar, Charset: "binary", Length: 2}, event.KindBytes, ""},
		{event.ColumnInfo{Type: event.TypeString, Charset: "binary", Length: 2}, event.KindBytes, "\x00\x00"},
		{event.ColumnInfo{Type: event.TypeDate}, event.KindDate, "0000-00-00"},
		{event.ColumnInfo{Type: event.TypeDatetime, Decimal: 2}, event.KindDatetime, "0000-00-00 00:00:00.00"},
		{event.ColumnInfo{Type: event.TypeTimestamp}, event.KindTimestamp, "0000-00-00 00:00:00"},
		{event.ColumnInfo{Type: event.TypeDuration}, event.KindDuration, "00:00:00"},
		{event.ColumnInfo{Type: event.TypeBit, Length: 3}, event.KindBit, "0"},
		{event.ColumnInfo{Type: event.TypeEnum, Elems: elems}, event.KindEnum, "x"},
		{event.ColumnInfo{Type: event.TypeSet, Elems: elems}, event.KindSet, ""},
		{event.ColumnInfo{Type: event.TypeJSON}, event.KindJSON, "null"},
		{event.ColumnInfo{Type: event.TypeVector}, event.KindVector, "[]"},
	} {
		if v := decodeOne(t, tc.col, "800000000000"); !v.IsNull() {
			t.Errorf("nullable %s: got %s %q", tc.kind, v.Kind(), v.Text())
		}
		tc.col.Flag |= event.FlagNotNull
		if v := decodeOne(t, tc.col, "800000000000"); v.Kind() != tc.kind || v.Text() != tc.want {
			t.Errorf("%s NOT NULL: got %s %q, want %q", tc.kind, v.Kind(), v.Text(), tc.want)
		}
	}
}

// ENUM and SET defaults are names, or the numbers behind them.
func TestElementDefaults(t *testing.T) {
	elems := []string{"x", "y", "1"}
	for _, tc := range []struct {
		tp   event.ColumnType
		text string
		want uint64
	}{
		{event.TypeEnum, "Y", 2},
		{event.TypeEnum, "2", 2},
		{event.TypeEnum, "1", 3}, // a name before a number
		{event.TypeEnum, "", 0},
		{event.TypeSet, "y,x", 3},
		{event.TypeSet, "", 0},
		{event.TypeSet, "6", 6},
	} {
		v := decodeOne(t, event.ColumnInfo{Type: tc.tp, Elems: elems, OriginDefault: &tc.text}, "800000000000")
		if v.Uint64() != tc.want {
			t.Errorf("type %d, %q: got %d, want %d", tc.tp, tc.text, v.Uint64(), tc.want)
		}
	}
}

func TestOriginDefaultErrors(t *testing.T) {
	elems := []string{"x", "y"}
	for _, c := range []event.ColumnInfo{
		{Type: event.TypeLong},
		{Type: event.TypeLong, Flag: event.FlagUnsigned},
		{Type: event.TypeDouble},
		{Type: event.TypeNewDecimal},
		{Type: event.TypeDate},
		{Type: event.TypeDatetime},
		{Type: event.TypeTimestamp},
		{Type: event.TypeDuration},
		{Type: event.TypeEnum, Elems: elems},
		{Type: event.TypeSet, Elems: elems},
		{Type: event.TypeJSON},
		{Type: event.TypeVector},
	} {
		bad := "not a value"
		c.ID, c.Name, c.OriginDefault = 1, "c", &bad
		info := &event.TableInfo{ID: 1, Schema: "test", Table: "t", Columns: []event.ColumnInfo{c}}
		if _, err := rowcodec.NewPlan(info); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("type %d: got %v", c.Type, err)
		}
	}
}

// Texts that are put together from a key are not overwritten by later ones.
func TestKeyTextsStay(t *testing.T) {
	p, err := rowcodec.NewPlan(clustered(event.ColumnInfo{Type: event.TypeVarchar, Charset: "binary", Collation: "binary"}))
	if err != nil {
		t.Fatal(err)
	}
	var b rowcodec.Batch
	var texts, want []string
	for i := range 1000 {
		c := byte('a' + i%26)
		key := append(fromHex(t, "7480000000000000685f72 01"), bytes.Repeat([]byte{c}, 8)...)
		key = append(key, 0xff, c, 0, 0, 0, 0, 0, 0, 0, 0xf8)
		b.Begin(1, 1)
		row, err := b.Add(p, &event.RawKV{Op: event.OpPut, Key: key, Value: fromHex(t, "800000000000")})
		if err != nil {
			t.Fatal(err)
		}
		texts, want = append(texts, row.Columns[0].Text()), append(want, strings.Repeat(string(c), 9))
	}
	for i := range texts {
		if texts[i] != want[i] {
			t.Fatalf("text %d is %q, want %q", i, texts[i], want[i])
		}
	}
}
