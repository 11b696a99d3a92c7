package dispatcher_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/filter"
)

func newDispatcher(t testing.TB, cfg dispatcher.Config) *dispatcher.Dispatcher {
	t.Helper()
	d, err := dispatcher.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// all returns a Config with one rule for every table.
func all(r dispatcher.Rule) dispatcher.Config {
	r.Matcher = []string{"*.*"}
	return dispatcher.Config{DefaultTopic: "cdc", Rules: []dispatcher.Rule{r}}
}

// tableOf returns a table of BIGINT columns, the first keys of which are the handle key.
func tableOf(name string, keys int, columns ...string) *event.TableInfo {
	schema, table, _ := strings.Cut(name, ".")
	t := &event.TableInfo{Schema: schema, Table: table}
	for i, c := range columns {
		t.Columns = append(t.Columns, event.ColumnInfo{Name: c, Type: event.TypeLonglong})
		if i < keys {
			t.HandleKey = append(t.HandleKey, i)
		}
	}
	return t
}

func ints(values ...int64) []event.Value {
	var out []event.Value
	for _, v := range values {
		out = append(out, event.Int64Value(v))
	}
	return out
}

// TestKnownPartitions has the partitions of 16 that TiCDC is known to choose.
func TestKnownPartitions(t *testing.T) {
	one := tableOf("test.t1", 1, "a", "b")
	two := tableOf("test.t2", 2, "a", "b")
	swapped := tableOf("test.t2", 2, "b", "a")
	columns := tableOf("test.t1", 0, "col2", "col1", "col3")
	upper := tableOf("test.t1", 0, "COL2", "Col1", "col3")
	indexed := tableOf("test.t1", 0, "a")
	indexed.Indexes = []event.IndexInfo{{Name: "index1", Unique: true, Columns: []event.IndexColumn{{Name: "a"}}}}

	table := dispatcher.Rule{Partition: "table"}
	indexValue := dispatcher.Rule{Partition: "index-value"}
	byColumns := dispatcher.Rule{Partition: "columns", Columns: []string{"col2", "col1"}}
	tests := []struct {
		rule  dispatcher.Rule
		table *event.TableInfo
		row   []event.Value
		want  int32
	}{
		{table, tableOf("test.t1", 0), nil, 15},
		{table, tableOf("test.t2", 0), nil, 5},
		{table, tableOf("test.t3", 0), nil, 3},
		{indexValue, one, ints(11, 22), 2},
		{indexValue, one, ints(22, 22), 11},
		{indexValue, one, ints(11, 33), 2},
		{indexValue, two, ints(11, 22), 5},
		{indexValue, swapped, ints(22, 11), 5},
		{indexValue, two, ints(11, 0), 14},
		{indexValue, two, ints(11, 33), 2},
		{dispatcher.Rule{Partition: "index-value", Index: "index1"}, indexed, ints(11), 2},
		{byColumns, columns, ints(11, 22, 33), 15},
		{dispatcher.Rule{Partition: "columns", Columns: []string{"Col1", "COL2"}}, columns, ints(11, 22, 33), 15},
		{byColumns, upper, ints(11, 22, 33), 5},
		{indexValue, tableOf("test.t1", 0, "a"), ints(11), 15},
	}
	for _, tt := range tests {
		d := newDispatcher(t, all(tt.rule))
		row := &event.RowChanged{Table: tt.table, Columns: tt.row, PreColumns: []event.Value{}}
		if tt.row == nil {
			row.Columns = []event.Value{}
		}
		got, err := d.Partition(row, 16)
		if err != nil || got != tt.want {
			t.Errorf("%+v %s %v: got %d (%v), want %d", tt.rule, tt.table.Name(), tt.row, got, err, tt.want)
		}
	}
}

func must(t testing.TB, v event.Value, err error) event.Value {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestValueTexts has what is hashed of a value of each kind.
func TestValueTexts(t *testing.T) {
	shanghai := time.FixedZone("+8", 8*3600)
	value := func(v event.Value, err error) event.Value { return must(t, v, err) }
	elems := []string{"a", "b", "c"}
	tests := []struct {
		value event.Value
		text  string
	}{
		{event.Value{}, "null"},
		{event.Int64Value(-9223372036854775808), "-9223372036854775808"},
		{event.Uint64Value(18446744073709551615), "18446744073709551615"},
		{event.Float32Value(0.1), "0.1"},
		{event.Float32Value(1e20), "100000000000000000000"},
		{event.Float64Value(-1.5e-16), "-0.00000000000000015"},
		{value(event.ParseDecimal("-12.30", 2)), "-12.30"},
		{event.TextValue("数据\x00"), "数据\x00"},
		{event.BytesValue([]byte{0xff, 0}), "\xff\x00"},
		{event.TextValue(""), ""},
		{value(event.ParseTemporal(event.KindDate, "2024-07-22", 0)), "2024-07-22"},
		{value(event.ParseTemporal(event.KindDatetime, "2024-07-22 01:02:03.5", 1)), "2024-07-22 01:02:03.5"},
		{value(event.ParseTemporal(event.KindTimestamp, "2024-07-22 20:02:03", 0)), "2024-07-23 04:02:03"},
		{event.DurationValue(-time.Hour, 0), "-01:00:00"},
		{event.BitValue(5, 8), "5"},
		{event.EnumValue(2, elems), "2"},
		{event.SetValue(5, elems), "5"},
		{value(event.ParseJSON(`{"b":1,"a":null}`)), `{"a": null, "b": 1}`},
		{value(event.ParseVector("[1,2.5]")), "[1,2.5]"},
	}
	const partitions = 1<<31 - 1
	table := tableOf("s.t", 1, "k")
	cfg := all(dispatcher.Rule{Partition: "index-value"})
	cfg.TimeZone = shanghai
	d := newDispatcher(t, cfg)
	for _, tt := range tests {
		want := int32((crc32.ChecksumIEEE([]byte("st")) ^ crc32.ChecksumIEEE([]byte("k"+tt.text))) % partitions)
		got, err := d.Partition(&event.RowChanged{Table: table, Columns: []event.Value{tt.value}}, partitions)
		if err != nil || got != want {
			t.Errorf("%s %q: got %d (%v), want %d", tt.value.Kind(), tt.text, got, err, want)
		}
	}
}

// TestNumbers: integers of every length.
func TestNumbers(t *testing.T) {
	numbers := []uint64{0, math.MaxUint64, 1 << 63}
	for n := uint64(1); n < 1e19; n *= 10 {
		numbers = append(numbers, n-1, n, n+1, 9*n, 1234567890123456789%(10*n))
	}
	table := tableOf("s.t", 1, "k")
	d := newDispatcher(t, all(dispatcher.Rule{Partition: "index-value"}))
	const partitions = 1<<31 - 1
	for _, n := range numbers {
		values := []event.Value{event.Uint64Value(n), event.Int64Value(int64(n)), event.Int64Value(-int64(n))}
		for _, v := range values {
			want := int32((crc32.ChecksumIEEE([]byte("st")) ^ crc32.ChecksumIEEE([]byte("k"+v.Text()))) % partitions)
			got, err := d.Partition(&event.RowChanged{Table: table, Columns: []event.Value{v}}, partitions)
			if err != nil || got != want {
				t.Errorf("%s %s: got %d (%v), want %d", v.Kind(), v.Text(), got, err, want)
			}
		}
	}
}

// rich is a table with several unique indexes, one of them over a virtual column.
func rich() *event.TableInfo {
	t := tableOf("Shop.Orders", 1, "id", "Code", "region", "note")
	t.PKIsHandle = true
	column := func(offset int, name string) event.IndexColumn { return event.IndexColumn{Name: name, Offset: offset} }
	t.Indexes = []event.IndexInfo{
		{Name: "uk_code", Unique: true, Columns: []event.IndexColumn{column(2, "region"), column(1, "Code")}},
		{Name: "k_note", Columns: []event.IndexColumn{column(3, "note")}},
		{Name: "uk_virtual", Unique: true, Columns: []event.IndexColumn{column(-1, "v")}},
	}
	return t
}

// TestRules has what each rule hashes, as a list of texts.
func TestRules(t *testing.T) {
	row := &event.RowChanged{
		CommitTs: 1<<60 + 7, Table: rich(),
		Columns:    []event.Value{event.Int64Value(1), event.TextValue("éa"), {}, event.Int64Value(4)},
		PreColumns: []event.Value{event.Int64Value(1), event.TextValue("old"), event.Int64Value(3), event.Int64Value(4)},
	}
	deleted := &event.RowChanged{CommitTs: 8, Table: row.Table, PreColumns: row.PreColumns}
	names := "ShopOrders"
	tests := []struct {
		rule dispatcher.Rule
		row  *event.RowChanged
		kind dispatcher.Kind
		sums []string
	}{
		{dispatcher.Rule{}, row, dispatcher.ByTable, []string{names}},
		{dispatcher.Rule{Partition: "default"}, row, dispatcher.ByTable, []string{names}},
		{dispatcher.Rule{Dispatcher: "Table"}, row, dispatcher.ByTable, []string{names}},
		{dispatcher.Rule{Dispatcher: "rowid"}, row, dispatcher.ByIndex, []string{names, "id1"}},
		{dispatcher.Rule{Partition: "INDEX-VALUE"}, row, dispatcher.ByIndex, []string{names, "id1"}},
		{dispatcher.Rule{Partition: "index-value", Index: "primary"}, row, dispatcher.ByIndex, []string{names, "id1"}},
		{dispatcher.Rule{Partition: "index-value", Index: "UK_Code"}, row, dispatcher.ByIndex, []string{names, "Codeéa", "regionnull"}},
		{dispatcher.Rule{Partition: "index-value", Index: "uk_code"}, deleted, dispatcher.ByIndex, []string{names, "region3", "Codeold"}},
		{dispatcher.Rule{Partition: "columns", Columns: []string{"note", "CODE"}}, row, dispatcher.ByColumns, []string{names, "Codeéa", "note4"}},
		{dispatcher.Rule{Partition: "no such rule"}, row, dispatcher.ByTable, []string{names}},
	}
	for _, tt := range tests {
		d := newDispatcher(t, all(tt.rule))
		var h uint32
		for _, s := range tt.sums {
			h ^= crc32.ChecksumIEEE([]byte(s))
		}
		for _, n := range []int32{1, 3, 64} {
			got, err := d.Partition(tt.row, n)
			if want := int32(h % uint32(n)); err != nil || got != want {
				t.Errorf("%+v, %d partitions: got %d (%v), want %d", tt.rule, n, got, err, want)
			}
		}
		if got := d.Kind(row.Table); got != tt.kind {
			t.Errorf("%+v: got kind %s, want %s", tt.rule, got, tt.kind)
		}
		if unknown := tt.rule.Partition == "no such rule"; unknown != (len(d.Warnings()) == 1) {
			t.Errorf("%+v: warnings %q", tt.rule, d.Warnings())
		}
	}
	d := newDispatcher(t, all(dispatcher.Rule{Partition: "ts"}))
	if got, err := d.Partition(row, 10); err != nil || got != int32((uint64(1)<<60+7)%10) || d.Kind(row.Table) != dispatcher.ByTs {
		t.Errorf("ts: got %d, %v", got, err)
	}
}

// TestMultiByteNames: names are hashed as their bytes in UTF-8, whatever their case.
func TestMultiByteNames(t *testing.T) {
	table := tableOf("商店.Été", 1, "编号", "ПОЛЕ")
	row := &event.RowChanged{Table: table, Columns: ints(7, 8)}
	for _, tt := range []struct {
		rule dispatcher.Rule
		sums []string
	}{
		{dispatcher.Rule{Partition: "table"}, []string{"商店Été"}},
		{dispatcher.Rule{Partition: "index-value"}, []string{"商店Été", "编号7"}},
		{dispatcher.Rule{Partition: "columns", Columns: []string{"поле", "编号"}}, []string{"商店Été", "ПОЛЕ8", "编号7"}},
	} {
		tt.rule.Matcher = []string{"商店.ét?"}
		d := newDispatcher(t, dispatcher.Config{Rules: []dispatcher.Rule{tt.rule, {Matcher: []string{"*.*"}, Partition: "ts"}}})
		var h uint32
		for _, s := range tt.sums {
			h ^= crc32.ChecksumIEEE([]byte(s))
		}
		if got, err := d.Partition(row, 1000); err != nil || got != int32(h%1000) {
			t.Errorf("%+v: got %d (%v), want %d", tt.rule, got, err, h%1000)
		}
	}
}

// TestDefaultWithoutOldValue has the meaning that default once had.
func TestDefaultWithoutOldValue(t *testing.T) {
	unique := event.IndexInfo{Name: "u", Unique: true, Columns: []event.IndexColumn{{Name: "a"}}}
	primary := event.IndexInfo{Name: "PRIMARY", Unique: true, Primary: true, Columns: []event.IndexColumn{{Name: "a"}}}
	plain := event.IndexInfo{Name: "i", Columns: []event.IndexColumn{{Name: "a"}}}
	tests := []struct {
		name    string
		handle  bool
		indexes []event.IndexInfo
		want    dispatcher.Kind
	}{
		{"clustered integer", true, nil, dispatcher.ByIndex},
		{"clustered integer and an index", true, []event.IndexInfo{plain}, dispatcher.ByIndex},
		{"clustered integer and a unique index", true, []event.IndexInfo{unique}, dispatcher.ByTable},
		{"primary key", false, []event.IndexInfo{primary}, dispatcher.ByIndex},
		{"unique index", false, []event.IndexInfo{unique, plain}, dispatcher.ByIndex},
		{"primary key and unique index", false, []event.IndexInfo{primary, unique}, dispatcher.ByTable},
		{"no key", false, []event.IndexInfo{plain}, dispatcher.ByTable},
	}
	for _, tt := range tests {
		table := tableOf("s.t", 1, "a")
		table.PKIsHandle, table.Indexes = tt.handle, tt.indexes
		for _, rules := range [][]dispatcher.Rule{nil, {{Matcher: []string{"*.*"}, Dispatcher: "default"}}} {
			d := newDispatcher(t, dispatcher.Config{Rules: rules, WithoutOldValue: true})
			if got := d.Kind(table); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
			}
			d = newDispatcher(t, dispatcher.Config{Rules: rules})
			if got := d.Kind(table); got != dispatcher.ByTable {
				t.Errorf("%s with old values: got %s", tt.name, got)
			}
		}
	}
}

func TestFirstMatchWins(t *testing.T) {
	rules := []dispatcher.Rule{
		{Matcher: []string{"shop.orders*", "!shop.orders_old"}, Partition: "index-value", Topic: "orders"},
		{Matcher: []string{"shop.*"}, Partition: "ts"},
		{Matcher: []string{"shop.*", "Log.*"}, Topic: "{schema}.{table}"},
	}
	tests := []struct {
		table  string
		strict bool
		topic  string
		kind   dispatcher.Kind
	}{
		{"shop.orders", false, "orders", dispatcher.ByIndex},
		{"SHOP.ORDERS", false, "orders", dispatcher.ByIndex},
		{"SHOP.ORDERS", true, "cdc", dispatcher.ByTable},
		{"shop.orders_old", false, "cdc", dispatcher.ByTs},
		{"log.a b", false, "log.a_b", dispatcher.ByTable},
		{"log.a b", true, "cdc", dispatcher.ByTable},
		{"other.t", false, "cdc", dispatcher.ByTable},
	}
	for _, tt := range tests {
		d := newDispatcher(t, dispatcher.Config{DefaultTopic: "cdc", Rules: rules, CaseSensitive: tt.strict})
		table := tableOf(tt.table, 1, "id")
		topic := d.Topic(table.Schema, table.Table)
		if kind := d.Kind(table); topic != tt.topic || kind != tt.kind || d.TableTopic(table) != topic {
			t.Errorf("%s, case-sensitive %t: got %s, %s; want %s, %s", tt.table, tt.strict, topic, kind, tt.topic, tt.kind)
		}
	}
}

func TestTopicsOfTablesAndDDL(t *testing.T) {
	d := newDispatcher(t, dispatcher.Config{DefaultTopic: "cdc", Rules: []dispatcher.Rule{
		{Matcher: []string{"a.*"}, Topic: "{table}"}, {Matcher: []string{"b.*"}},
	}})
	a, b := tableOf("a.t", 1, "id"), tableOf("b.t", 1, "id")
	if got := d.Topics([]*event.TableInfo{a, b, a}); !slices.Equal(got, []string{"t", "cdc"}) {
		t.Errorf("got %q", got)
	}
	if got := d.Topics(nil); !slices.Equal(got, []string{"cdc"}) {
		t.Errorf("got %q", got)
	}
	for _, tt := range []struct {
		ddl  event.DDL
		want string
	}{
		{event.DDL{Type: event.DDLRenameTable, PreTable: b, Table: a}, "cdc"},
		{event.DDL{Type: event.DDLRenameTable, PreTable: a, Table: b}, "t"},
		{event.DDL{Type: event.DDLCreateTable, Table: a}, "t"},
		{event.DDL{Type: event.DDLDropTable, PreTable: a}, "t"},
		{event.DDL{Type: event.DDLDropSchema, Schema: "a"}, "cdc"},
	} {
		if got := d.DDLTopic(&tt.ddl); got != tt.want {
			t.Errorf("DDL of type %d: got %s, want %s", tt.ddl.Type, got, tt.want)
		}
	}
}

func TestMoves(t *testing.T) {
	table := rich()
	image := func(id, note int64) []event.Value {
		return []event.Value{event.Int64Value(id), {}, {}, event.Int64Value(note)}
	}
	byNote := dispatcher.Rule{Partition: "columns", Columns: []string{"note"}}
	tests := []struct {
		rule          dispatcher.Rule
		before, after []event.Value
		want          bool
	}{
		{byNote, image(1, 1), image(1, 2), true},
		{byNote, image(1, 1), image(2, 1), false},
		{byNote, nil, image(2, 1), false},
		{byNote, image(2, 1), nil, false},
		{dispatcher.Rule{Partition: "index-value"}, image(1, 1), image(2, 1), true},
		{dispatcher.Rule{Partition: "table"}, image(1, 1), image(2, 2), false},
		{dispatcher.Rule{Partition: "ts"}, image(1, 1), image(2, 2), false},
	}
	for _, tt := range tests {
		d := newDispatcher(t, all(tt.rule))
		got, err := d.Moves(&event.RowChanged{Table: table, PreColumns: tt.before, Columns: tt.after}, 1<<30)
		if err != nil || got != tt.want {
			t.Errorf("%+v: got %t, %v", tt, got, err)
		}
	}
	d := newDispatcher(t, all(byNote))
	if got, err := d.Moves(&event.RowChanged{Table: table, PreColumns: image(1, 1), Columns: image(1, 2)}, 1); got || err != nil {
		t.Errorf("one partition: got %t, %v", got, err)
	}
}

func TestConfigErrors(t *testing.T) {
	tests := []struct {
		rule     dispatcher.Rule
		protocol string
		want     string
	}{
		{dispatcher.Rule{}, "", "matcher is empty"},
		{dispatcher.Rule{Matcher: []string{"nodot"}}, "", "matcher: "},
		{dispatcher.Rule{Matcher: []string{"a.b"}, Partition: "ts", Dispatcher: "ts"}, "", "both partition (ts) and dispatcher (ts)"},
		{dispatcher.Rule{Matcher: []string{"a.b"}, Partition: "columns"}, "", "columns is empty"},
		{dispatcher.Rule{Matcher: []string{"a.b"}, Partition: "columns", Columns: []string{"a", "b", "A"}}, "", "column A is listed twice"},
		{dispatcher.Rule{Matcher: []string{"a.b"}, Topic: "{schema"}, "", `topic "{schema": there is no place for "{schema"`},
		{dispatcher.Rule{Matcher: []string{"a.b"}, Topic: "x{schema}"}, "avro", "{schema} and {table}"},
		{dispatcher.Rule{Matcher: []string{"a.b"}, Topic: "x"}, "flat-avro", "{schema} and {table}"},
	}
	for _, tt := range tests {
		rules := []dispatcher.Rule{{Matcher: []string{"*.*"}}, tt.rule}
		_, err := dispatcher.New(dispatcher.Config{Rules: rules, Protocol: tt.protocol})
		var ruleErr *dispatcher.RuleError
		if !errors.As(err, &ruleErr) || ruleErr.Number != 2 || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.rule, err, tt.want)
		}
		var topicErr *dispatcher.TopicError
		if errors.As(err, &topicErr) != (tt.rule.Topic != "") {
			t.Errorf("%+v: %v is a topic error: %t", tt.rule, err, topicErr != nil)
		}
		var filterErr *filter.RuleError
		if errors.As(err, &filterErr) != strings.HasPrefix(tt.want, "matcher: ") {
			t.Errorf("%+v: %v is a filter error: %t", tt.rule, err, filterErr != nil)
		}
	}
	cfg := all(dispatcher.Rule{Topic: "x{schema}-{table}"})
	cfg.Protocol = "avro"
	newDispatcher(t, cfg)
}

func TestTableErrors(t *testing.T) {
	indexed := func(name string) dispatcher.Rule { return dispatcher.Rule{Partition: "index-value", Index: name} }
	tests := []struct {
		rule dispatcher.Rule
		want string
	}{
		{indexed("nope"), "there is no index nope"},
		{indexed("k_note"), "index k_note is not unique"},
		{indexed("uk_virtual"), "column v of index uk_virtual is a virtual generated column"},
		{dispatcher.Rule{Partition: "columns", Columns: []string{"id", "nope"}}, "there is no column nope"},
	}
	for _, tt := range tests {
		d := newDispatcher(t, all(tt.rule))
		table := rich()
		_, err := d.Partition(&event.RowChanged{Table: table, Columns: ints(1, 2, 3, 4)}, 4)
		var tableErr *dispatcher.TableError
		if !errors.As(err, &tableErr) || tableErr.Table != "Shop.Orders" || tableErr.Number != 1 || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.rule, err, tt.want)
		}
		if got := d.Check(table); got != err {
			t.Errorf("Check: got %v", got)
		}
	}
	d := newDispatcher(t, dispatcher.Config{})
	if err := d.Check(rich()); err != nil {
		t.Error(err)
	}
	if _, err := d.Partition(&event.RowChanged{Table: rich(), Columns: ints(1, 2, 3, 4)}, 0); err == nil {
		t.Error("no error for a topic without partitions")
	}
	if _, err := d.Partition(&event.RowChanged{Table: rich(), Columns: ints(1)}, 1); err == nil {
		t.Error("no error for a row of too few values")
	}
}

// TestVersions gets a plan for each version of a table, also after many of them.
func TestVersions(t *testing.T) {
	d := newDispatcher(t, all(dispatcher.Rule{Partition: "columns", Columns: []string{"b"}}))
	with, without := tableOf("s.t", 1, "a", "b"), tableOf("s.t", 1, "a")
	for i := range 1000 {
		if d.Check(with) != nil || d.Check(without) == nil {
			t.Fatal("the plan of another version")
		}
		_ = d.Check(tableOf(fmt.Sprintf("s.t%d", i), 1, "b"))
	}
}

// TestConcurrent gives each goroutine the partitions of its own tables.
func TestConcurrent(t *testing.T) {
	d := newDispatcher(t, all(dispatcher.Rule{Partition: "index-value", Topic: "{schema}_{table}"}))
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range 500 {
				name := fmt.Sprintf("s%d.t%d", g, i%50)
				table := tableOf(name, 1, "id")
				row := &event.RowChanged{Table: table, Columns: []event.Value{event.Float64Value(float64(i))}}
				h := crc32.ChecksumIEEE([]byte(strings.Replace(name, ".", "", 1))) ^ crc32.ChecksumIEEE(fmt.Appendf(nil, "id%d", i))
				got, err := d.Partition(row, 1000)
				if err != nil || got != int32(h%1000) || d.TableTopic(table) != strings.Replace(name, ".", "_", 1) {
					t.Errorf("%s: partition %d of %s, %v", name, got, d.TableTopic(table), err)
				}
			}
		})
	}
	group.Wait()
}
