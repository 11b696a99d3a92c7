package rowtest

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Case is a change with a name.
type Case struct {
	Name string
	Row  *event.RowChanged
}

// Cases returns changes of [Table]: every operation, with ordinary values, the
// ends of every range, NULL, and what needs escapes.
func Cases() []Case {
	t := Table()
	ordinary, least, greatest, null := ordinary(t), least(t), greatest(t), nulls(t)
	changed := slices.Clone(ordinary)
	changed[27] = event.TextValue("changed")
	return []Case{
		{"insert", row(t, 1, nil, ordinary)},
		{"insert of least values", row(t, 1, nil, least)},
		{"insert of greatest values", row(t, 1, nil, greatest)},
		{"insert of NULL", row(t, 1, nil, null)},
		{"update of one column", row(t, 1, ordinary, changed)},
		{"update of all columns", row(t, 1, least, greatest)},
		{"update to NULL", row(t, 1, ordinary, null)},
		{"delete", row(t, 1, ordinary, nil)},
		{"delete of NULL", row(t, 1, null, nil)},
	}
}

// Pair returns a change of [Composite].
func Pair(kind event.Kind) *event.RowChanged {
	before := []event.Value{event.TextValue("k"), event.Int64Value(7), event.Int64Value(1)}
	after := []event.Value{event.TextValue("k"), event.Int64Value(7), event.Int64Value(2)}
	switch kind {
	case event.Insert:
		before = nil
	case event.Delete:
		after = nil
	}
	return row(Composite(), 7, before, after)
}

// Pairs returns a change of [Composite] of every kind.
func Pairs() []Case {
	var out []Case
	for _, k := range []event.Kind{event.Insert, event.Update, event.Delete} {
		out = append(out, Case{k.String() + " with a key of two columns", Pair(k)})
	}
	return out
}

// Rows returns the changes of cases.
func Rows(cases []Case) []*event.RowChanged {
	var out []*event.RowChanged
	for _, c := range cases {
		out = append(out, c.Row)
	}
	return out
}

// DDLs returns statements with and without a table before and after.
func DDLs() []*event.DDL {
	table := Composite()
	return []*event.DDL{
		{CommitTs: CommitTs, Type: event.DDLCreateSchema, Query: "CREATE DATABASE `test`", Schema: "test"},
		{CommitTs: CommitTs, Type: event.DDLCreateTable, Query: "CREATE TABLE `pair` (\n\t`a` INT)", Schema: "test", Table: table},
		{CommitTs: CommitTs, Type: event.DDLAddColumn, Query: "ALTER TABLE `pair` ADD COLUMN `数` INT DEFAULT \"1\"", Schema: "test", PreTable: table, Table: table},
		{CommitTs: CommitTs, Type: event.DDLTruncateTable, Query: "TRUNCATE TABLE `pair`", Schema: "test", PreTable: table, Table: table},
		{CommitTs: CommitTs, Type: event.DDLDropTable, Query: "DROP TABLE `pair`", Schema: "test", PreTable: table},
	}
}

func row(t *event.TableInfo, handle uint64, before, after []event.Value) *event.RowChanged {
	return &event.RowChanged{
		StartTs: CommitTs - 1, CommitTs: CommitTs, Table: t, PhysicalTableID: t.ID,
		Key:     binary.BigEndian.AppendUint64(event.TableSpan(t.ID).Start, handle^1<<63),
		Columns: after, PreColumns: before,
	}
}

// must takes a value that is known to be right.
func must(v event.Value, err error) event.Value {
	if err != nil {
		panic(err)
	}
	return v
}

func dec(s string, scale int) event.Value { return must(event.ParseDecimal(s, scale)) }

func temporal(kind event.ValueKind, s string, fsp int) event.Value {
	return must(event.ParseTemporal(kind, s, fsp))
}

func elemsOf(t *event.TableInfo, name string) []string { return t.Columns[t.ColumnOffset(name)].Elems }

func ordinary(t *event.TableInfo) []event.Value {
	blob := func(s string) event.Value { return event.BytesValue([]byte(s)) }
	return []event.Value{
		event.Int64Value(1),
		event.Int64Value(-7), event.Uint64Value(200), event.Int64Value(-1234), event.Uint64Value(60000),
		event.Int64Value(-70000), event.Uint64Value(16000000), event.Int64Value(-2000000000), event.Uint64Value(4000000000),
		event.Int64Value(-9000000000), event.Uint64Value(9223372036854775808),
		event.Float32Value(3.14), event.Float64Value(2.718281828459045),
		dec("-1234567.891000", 6), dec("12345678901234567890.123456789", 30),
		event.BitValue(1, 1), event.BitValue(0x2a5, 10), event.BitValue(0xfedcba9876543210, 64),
		temporal(event.KindDate, "2024-02-29", 0), temporal(event.KindDatetime, "2024-05-21 14:02:03", 0),
		temporal(event.KindDatetime, "2024-05-21 14:02:03.000456", 6), temporal(event.KindTimestamp, "2024-05-21 14:02:03", 0),
		temporal(event.KindTimestamp, "2024-05-21 14:02:03.040", 3), event.DurationValue(-(time.Hour + 2*time.Minute + 3*time.Second), 0),
		event.DurationValue(26*time.Hour+1500*time.Microsecond, 6), event.Int64Value(2024),
		event.TextValue("plain"), event.TextValue("数据 😀 \"q\" \\ / ' , ; <&>\r\n\t\x01\u007f"),
		blob("\x00\xff\x80a"), blob("\x89PNG\r\n\x1a\n"),
		event.TextValue("tiny"), event.TextValue("text"), event.TextValue("medium"), event.TextValue(strings.Repeat("long ", 20)),
		blob("tiny\x00"), blob("\xde\xad\xbe\xef"), blob("medium"), blob(strings.Repeat("\x00\x01", 50)),
		event.EnumValue(2, elemsOf(t, "c_enum")), event.SetValue(0b011, elemsOf(t, "c_set")),
		must(event.ParseJSON(`{"a": [1, "x\"", null, 1.5], "b": {"c": true}}`)), must(event.ParseVector("[1,2.5,-3]")),
		event.Int64Value(42), event.TextValue("d"), event.TextValue("n"),
	}
}

func least(t *event.TableInfo) []event.Value {
	empty := func() event.Value { return event.BytesValue([]byte{}) }
	return []event.Value{
		event.Int64Value(math.MinInt64),
		event.Int64Value(-128), event.Uint64Value(0), event.Int64Value(-32768), event.Uint64Value(0),
		event.Int64Value(-8388608), event.Uint64Value(0), event.Int64Value(math.MinInt32), event.Uint64Value(0),
		event.Int64Value(math.MinInt64), event.Uint64Value(0),
		event.Float32Value(-math.MaxFloat32), event.Float64Value(-math.MaxFloat64),
		dec("-99999999999999.999999", 6), dec("-"+strings.Repeat("9", 35)+"."+strings.Repeat("9", 30), 30),
		event.BitValue(0, 1), event.BitValue(0, 10), event.BitValue(0, 64),
		temporal(event.KindDate, "0000-00-00", 0), temporal(event.KindDatetime, "0000-00-00 00:00:00", 0),
		temporal(event.KindDatetime, "1000-01-01 00:00:00.000001", 6), temporal(event.KindTimestamp, "0000-00-00 00:00:00", 0),
		temporal(event.KindTimestamp, "1970-01-01 00:00:01.000", 3), event.DurationValue(-(838*time.Hour + 59*time.Minute + 59*time.Second), 0),
		event.DurationValue(-time.Microsecond, 6), event.Int64Value(0),
		event.TextValue(""), event.TextValue(""),
		event.BytesValue(make([]byte, 4)), empty(),
		event.TextValue(""), event.TextValue(""), event.TextValue(""), event.TextValue(""),
		empty(), empty(), empty(), empty(),
		event.EnumValue(0, elemsOf(t, "c_enum")), event.SetValue(0, elemsOf(t, "c_set")),
		must(event.ParseJSON("null")), must(event.ParseVector("[]")),
		event.Int64Value(math.MinInt32), event.TextValue(""), event.TextValue(""),
	}
}

func greatest(t *event.TableInfo) []event.Value {
	values := ordinary(t)
	for i, v := range map[int]event.Value{
		0: event.Int64Value(math.MaxInt64), 1: event.Int64Value(127), 2: event.Uint64Value(255), 3: event.Int64Value(32767),
		4: event.Uint64Value(65535), 5: event.Int64Value(8388607), 6: event.Uint64Value(16777215), 7: event.Int64Value(math.MaxInt32),
		8: event.Uint64Value(math.MaxUint32), 9: event.Int64Value(math.MaxInt64), 10: event.Uint64Value(math.MaxUint64),
		11: event.Float32Value(math.MaxFloat32), 12: event.Float64Value(math.SmallestNonzeroFloat64),
		13: dec("99999999999999.999999", 6), 14: dec(strings.Repeat("9", 35)+"."+strings.Repeat("9", 30), 30),
		16: event.BitValue(0x3ff, 10), 17: event.BitValue(math.MaxUint64, 64),
		18: temporal(event.KindDate, "9999-12-31", 0), 19: temporal(event.KindDatetime, "9999-12-31 23:59:59", 0),
		20: temporal(event.KindDatetime, "9999-12-31 23:59:59.999999", 6), 21: temporal(event.KindTimestamp, "2038-01-19 03:14:07", 0),
		22: temporal(event.KindTimestamp, "2038-01-19 03:14:07.999", 3), 23: event.DurationValue(838*time.Hour+59*time.Minute+59*time.Second, 0),
		24: event.DurationValue(838*time.Hour+59*time.Minute+58*time.Second+999999*time.Microsecond, 6), 25: event.Int64Value(2155),
		38: event.EnumValue(3, elemsOf(t, "c_enum")), 39: event.SetValue(0b111, elemsOf(t, "c_set")),
		40: must(event.ParseJSON(`[18446744073709551615, -9223372036854775808, "😀"]`)), 42: event.Int64Value(math.MaxInt32),
	} {
		values[i] = v
	}
	return values
}

func nulls(t *event.TableInfo) []event.Value {
	values := make([]event.Value, len(t.Columns))
	for i, v := range ordinary(t) {
		if t.Columns[i].NotNull() {
			values[i] = v
		}
	}
	return values
}

// DiffRow is [Diff] of both images.
func DiffRow(t testing.TB, what string, got, want *event.RowChanged, same func(c *event.ColumnInfo, got, want event.Value) bool) {
	t.Helper()
	Diff(t, what, got.Table, got.Columns, want.Table, want.Columns, same)
	Diff(t, what+", old", got.Table, got.PreColumns, want.Table, want.PreColumns, same)
}

// Diff reports the columns, by name, in which got is not the image want. A got
// column may be at another place, and values are compared by same.
func Diff(t testing.TB, what string, table *event.TableInfo, got []event.Value, wantTable *event.TableInfo, want []event.Value,
	same func(c *event.ColumnInfo, got, want event.Value) bool,
) {
	t.Helper()
	if (got == nil) != (want == nil) || len(got) != len(want) || got != nil && len(got) != len(table.Columns) {
		t.Fatalf("%s: %d values of %d columns, want %d", what, len(got), len(table.Columns), len(want))
	}
	for i := range want {
		c := &wantTable.Columns[i]
		at := table.ColumnOffset(c.Name)
		if at < 0 {
			t.Errorf("%s: no column %s", what, c.Name)
			continue
		}
		if !same(c, got[at], want[i]) {
			t.Errorf("%s: %s is %s %q, want %s %q", what, c.Name, got[at].Kind(), got[at].Text(), want[i].Kind(), want[i].Text())
		}
	}
}

// Exact is the comparison for protocols that carry types: kind and text.
func Exact(_ *event.ColumnInfo, got, want event.Value) bool { return event.Equal(got, want) }

// Numbers is [Exact] for protocols that carry an ENUM and a SET as a number, and no
// length of a BIT.
func Numbers(_ *event.ColumnInfo, got, want event.Value) bool {
	switch want.Kind() {
	case event.KindEnum, event.KindSet:
		return got.Kind() == event.KindUint64 && got.Uint64() == want.Uint64()
	case event.KindBit:
		return got.Kind() == event.KindBit && got.Uint64() == want.Uint64()
	}
	return event.Equal(got, want)
}

// AnyFsp is [Exact] for protocols that do not tell how many digits after the second
// a column has.
func AnyFsp(_ *event.ColumnInfo, got, want event.Value) bool {
	switch want.Kind() {
	case event.KindDatetime, event.KindTimestamp, event.KindDuration:
		return got.Kind() == want.Kind() && got.DateTime() == want.DateTime() && got.Duration() == want.Duration()
	}
	return got.Kind() == want.Kind() && got.Text() == want.Text()
}
