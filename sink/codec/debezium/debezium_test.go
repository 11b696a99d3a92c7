package debezium_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/debezium"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
)

var (
	_ codec.Encoder = (*debezium.Encoder)(nil)
	_ codec.Decoder = (*debezium.Decoder)(nil)
)

var configs = map[string]debezium.Config{
	"schema":    {},
	"noschema":  {DisableSchema: true, NoOldValue: true, ClusterID: "cluster-1", DecimalAsString: true},
	"extension": {TiDBExtension: true, IncludeStartTs: true},
	"bare":      {TiDBExtension: true, DisableSchema: true},
}

func encoder(cfg debezium.Config) *debezium.Encoder {
	cfg.Now = func() time.Time { return time.UnixMilli(rowtest.Now) }
	return debezium.NewEncoder(cfg)
}

func allCases() []rowtest.Case {
	cases := append(rowtest.Cases(), rowtest.Pairs()...)
	keyless := rowtest.Pair(event.Insert)
	table := *keyless.Table
	table.HandleKey, table.Table = nil, "keyless"
	keyless.Table = &table
	return append(cases, rowtest.Case{Name: "no key", Row: keyless})
}

func ddls() []*event.DDL {
	pair, every := rowtest.Composite(), rowtest.Table()
	bit, now, expression := "\x02\xa5", "CURRENT_TIMESTAMP", "uuid()"
	every.Columns[16].Default, every.Columns[21].Default = &bit, &now
	every.Columns[26].Default, every.Columns[26].DefaultIsExpr = &expression, true
	other := *pair
	other.Table = "other"
	return []*event.DDL{
		{Type: event.DDLCreateSchema, Query: "CREATE DATABASE test", Schema: "test"},
		{Type: event.DDLCreateTable, Query: "CREATE TABLE `every type` (…)", Schema: "test", Table: every},
		{Type: event.DDLAddColumn, Query: "ALTER TABLE pair ADD \"x\" INT", Schema: "test", Table: pair, PreTable: pair},
		{Type: event.DDLRenameTables, Query: "RENAME TABLE pair TO other, other TO pair", Schema: "test", Table: &other, PreTable: pair, Changes: []event.TableChange{
			{Before: pair, After: &other}, {Before: &other, After: pair},
		}},
		{Type: event.DDLTruncateTable, Query: "TRUNCATE TABLE pair", Schema: "test", Table: pair, PreTable: pair},
		{Type: event.DDLDropTable, Query: "DROP TABLE pair", Schema: "test", PreTable: pair},
		{Type: 199, Query: "SOMETHING NEW", Schema: "test", Table: pair, PreTable: pair},
	}
}

// everything appends a message of every kind and names them.
func everything(t testing.TB, cfg debezium.Config) (*codec.Messages, []string) {
	t.Helper()
	e := encoder(cfg)
	var ms codec.Messages
	var names []string
	add := func(name string, err error) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	for _, c := range allCases() {
		add(c.Name, e.AppendRows(&ms, "t", []*event.RowChanged{c.Row}))
	}
	for _, ddl := range ddls() {
		ddl.CommitTs = rowtest.CommitTs
		add(ddl.Query, e.AppendDDL(&ms, "t", ddl))
	}
	if err := e.AppendWatermark(&ms, "t", rowtest.CommitTs); err != nil {
		t.Fatal(err)
	}
	if cfg.TiDBExtension {
		add("watermark", nil)
	}
	if ms.Len() != len(names) {
		t.Fatalf("%d messages, want %d", ms.Len(), len(names))
	}
	return &ms, names
}

func TestGolden(t *testing.T) {
	for name, cfg := range configs {
		ms, names := everything(t, cfg)
		var out []byte
		for i := range ms.Len() {
			var one codec.Messages
			m := ms.At(i)
			keyBytes := -1
			if m.Key != nil {
				keyBytes = len(m.Key)
			}
			one.Append(append(slices.Clone(m.Key), m.Value...), keyBytes, len(m.Value), m.Rows, m.CommitTs)
			out = rowtest.Dump(out, names[i], &one)
		}
		rowtest.Golden(t, "testdata/"+name+".golden", out)
	}
}

// TestSchema: every message is JSON, and each payload has what its schema says, as
// Kafka Connect would read it.
func TestSchema(t *testing.T) {
	for name, cfg := range configs {
		ms, names := everything(t, cfg)
		for i := range ms.Len() {
			m := ms.At(i)
			for part, b := range map[string][]byte{"key": m.Key, "value": m.Value} {
				if b == nil {
					continue
				}
				d := json.NewDecoder(strings.NewReader(string(b)))
				d.UseNumber()
				var message map[string]any
				if err := d.Decode(&message); err != nil {
					t.Fatalf("%s, %s %s: %v\n%s", name, names[i], part, err, b)
				}
				if (message["schema"] == nil) != cfg.DisableSchema {
					t.Errorf("%s, %s %s: schema %v", name, names[i], part, message["schema"])
				}
				if !cfg.DisableSchema {
					connect(t, name+", "+names[i]+" "+part, message["schema"].(map[string]any), message["payload"])
				}
			}
		}
	}
}

// connect checks a value against a schema of Kafka Connect.
func connect(t *testing.T, what string, schema map[string]any, value any) {
	t.Helper()
	if value == nil {
		if schema["optional"] != true {
			t.Errorf("%s: null, but not optional", what)
		}
		return
	}
	var ok bool
	switch schema["type"] {
	case "struct":
		members, isObject := value.(map[string]any)
		if ok = isObject; ok {
			for _, f := range schema["fields"].([]any) {
				field := f.(map[string]any)
				name := field["field"].(string)
				connect(t, what+"."+name, field, members[name])
			}
		}
	case "array":
		elements, isArray := value.([]any)
		if ok = isArray; ok {
			for _, e := range elements {
				connect(t, what+"[]", schema["items"].(map[string]any), e)
			}
		}
	case "boolean":
		_, ok = value.(bool)
	case "string", "bytes":
		_, ok = value.(string)
	case "int16", "int32", "int64":
		n, isNumber := value.(json.Number)
		ok = isNumber && !strings.ContainsAny(n.String(), ".e")
	case "float", "double":
		_, ok = value.(json.Number)
	default:
		ok = false
	}
	if !ok {
		t.Errorf("%s: %v is not %v", what, value, schema["type"])
	}
}

// same compares values as far as the protocol carries them.
func same(cfg debezium.Config) func(c *event.ColumnInfo, got, want event.Value) bool {
	return func(c *event.ColumnInfo, got, want event.Value) bool {
		switch want.Kind() {
		case event.KindDate, event.KindDatetime, event.KindTimestamp:
			if _, exists := want.Time(nil); !exists {
				return got.IsNull() // or 1970 in a NOT NULL column
			}
			return rowtest.AnyFsp(c, got, want)
		case event.KindDuration:
			return rowtest.AnyFsp(c, got, want)
		case event.KindUint64, event.KindInt64:
			// Without TiDB's type the sign is not known.
			return got.Int64() == want.Int64()
		case event.KindDecimal:
			if !cfg.TiDBExtension {
				return got.Float64() == want.Float64()
			}
		}
		return got.Kind() == want.Kind() && got.Text() == want.Text()
	}
}

func TestRoundTrip(t *testing.T) {
	tables := func(schema, table string) *event.TableInfo {
		for _, c := range allCases() {
			if c.Row.Table.Table == table {
				return c.Row.Table
			}
		}
		return nil
	}
	for name, cfg := range configs {
		d := debezium.NewDecoder(debezium.DecoderConfig{Table: tables})
		ms, names := everything(t, cfg)
		cases := allCases()
		for i := range ms.Len() {
			what := name + ", " + names[i]
			m := ms.At(i)
			events, err := d.Decode(m.Key, m.Value)
			if err != nil || len(events) != 1 {
				t.Fatalf("%s: %d events, %v", what, len(events), err)
			}
			switch {
			case i < len(cases):
				checkRow(t, what, cfg, events[0].Row, cases[i].Row)
			case names[i] == "watermark":
				if events[0].Watermark != rowtest.CommitTs {
					t.Errorf("%s: %+v", what, events[0])
				}
			default:
				checkDDL(t, what, events[0].DDL, ddls()[i-len(cases)])
			}
		}
	}
}

func checkRow(t *testing.T, what string, cfg debezium.Config, got, want *event.RowChanged) {
	t.Helper()
	keys := slices.Sorted(slices.Values(want.Table.HandleKey))
	if got.CommitTs != want.CommitTs || got.Table.Name() != want.Table.Name() || cfg.IncludeStartTs != (got.StartTs == want.StartTs) ||
		!slices.Equal(slices.Sorted(slices.Values(got.Table.HandleKey)), keys) {
		t.Errorf("%s: %+v of %+v", what, got, got.Table)
	}
	before := want.PreColumns
	if cfg.NoOldValue && want.Kind() == event.Update {
		before = nil
	}
	rowtest.Diff(t, what, got.Table, got.Columns, want.Table, want.Columns, same(cfg))
	rowtest.Diff(t, what, got.Table, got.PreColumns, want.Table, before, same(cfg))
}

func checkDDL(t *testing.T, what string, got, want *event.DDL) {
	t.Helper()
	changes := len(want.Changes)
	if changes == 0 && (want.Table != nil || want.PreTable != nil) && want.Type != event.DDLTruncateTable {
		changes = 1
	}
	if got.Query != want.Query || got.CommitTs != rowtest.CommitTs || got.Schema != "test" || len(got.Changes) != changes {
		t.Fatalf("%s: %+v", what, got)
	}
	if changes == 0 {
		return
	}
	if (got.Table == nil) != (want.Table == nil) || (got.PreTable == nil) != (want.PreTable == nil) ||
		got.PreTable != nil && got.PreTable.Name() != want.PreTable.Name() {
		t.Errorf("%s: %+v", what, got)
	}
	if got.Table == nil {
		return
	}
	if got.Table.Name() != want.Table.Name() {
		t.Errorf("%s: table %s", what, got.Table.Name())
	}
	for i := range want.Table.Columns {
		g, w := got.Table.Columns[i], want.Table.Columns[i]
		if g.Name != w.Name || g.Type != w.Type || g.NotNull() != w.NotNull() || g.Unsigned() != w.Unsigned() || g.Binary() != w.Binary() && g.Charset != "" ||
			!slices.Equal(g.Elems, w.Elems) {
			t.Errorf("%s: column %+v, want %+v", what, g, w)
		}
	}
}

// TestGuess: without a schema and without knowing the table a row still has names
// and values.
func TestGuess(t *testing.T) {
	ms, _ := everything(t, debezium.Config{DisableSchema: true})
	m := ms.At(0)
	events, err := debezium.NewDecoder(debezium.DecoderConfig{}).Decode(m.Key, m.Value)
	if err != nil {
		t.Fatal(err)
	}
	row := events[0].Row
	want := rowtest.Cases()[0].Row
	for _, name := range []string{"id", "c_ubigint", "c_double", "c_varchar", "c_enum", "c_bit1"} {
		got := row.Columns[row.Table.ColumnOffset(name)]
		if w := want.Columns[want.Table.ColumnOffset(name)]; got.Text() != w.Text() {
			t.Errorf("%s is %q, want %q", name, got.Text(), w.Text())
		}
	}
	if len(row.Table.HandleKey) != 1 || row.Table.Columns[row.Table.HandleKey[0]].Name != "id" {
		t.Errorf("handle key %v", row.Table.HandleKey)
	}
}

func TestNotNullDates(t *testing.T) {
	row := rowtest.Cases()[1].Row
	table := *row.Table
	table.Columns = slices.Clone(table.Columns)
	for i := range table.Columns {
		table.Columns[i].Flag |= event.FlagNotNull
	}
	row.Table = &table
	var ms codec.Messages
	if err := encoder(debezium.Config{DisableSchema: true}).AppendRows(&ms, "", []*event.RowChanged{row}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"c_date":0,`, `"c_datetime":0,`, `"c_timestamp":"1970-01-01T00:00:00Z",`} {
		if !strings.Contains(string(ms.At(0).Value), want) {
			t.Errorf("no %s in %s", want, ms.At(0).Value)
		}
	}
}

func TestErrors(t *testing.T) {
	e := encoder(debezium.Config{})
	good, short, strange := rowtest.Pair(event.Insert), rowtest.Pair(event.Insert), rowtest.Pair(event.Insert)
	short.Columns = short.Columns[:1]
	table := *strange.Table
	table.Columns = slices.Clone(table.Columns)
	table.Columns[0].Type = 255
	strange.Table = &table
	for _, bad := range []*event.RowChanged{short, strange} {
		var ms codec.Messages
		if err := e.AppendRows(&ms, "", []*event.RowChanged{good, bad}); err == nil || !strings.Contains(err.Error(), "test.pair at") || ms.Len() != 0 {
			t.Errorf("got %v", err)
		}
	}
	const source = `{"payload":{"source":{"db":"d","table":"t","commit_ts":1},`
	schema := func(field string) string {
		return source + `"op":"c","after":{"a":"secret"}},"schema":{"type":"struct","fields":[{"field":"after","fields":[` + field + `]}]}}`
	}
	d := debezium.NewDecoder(debezium.DecoderConfig{})
	for _, text := range []string{
		``, `{`, `[]`, source + `"op":"x"}}`, source + `"op":"c"}}`, source + `"op":"c","after":1}}`,
		`{"payload":{"source":{"commit_ts":"x"},"op":"m"}}`,
		source + `"ddl":"x","tableChanges":[{"id":"nonsense"}]}}`,
		schema(`{"field":"a","type":"int32"}`), schema(`{"field":"a","type":"map"}`), schema(`{"field":"b","type":"string"}`),
		schema(`{"field":"a","type":"boolean"}`), schema(`{"field":"a","type":"int32","name":"io.debezium.time.Date"}`),
		strings.Replace(schema(""), "after\",\"fields", "x\",\"fields", 1),
	} {
		if events, err := d.Decode(nil, []byte(text)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v", text, events, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, cfg := range configs {
		ms, _ := everything(f, cfg)
		for i := range ms.Len() {
			f.Add(ms.At(i).Key, ms.At(i).Value)
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		events, err := debezium.NewDecoder(debezium.DecoderConfig{}).Decode(key, value)
		if err != nil || events[0].Row == nil {
			return
		}
		// What was decoded can be encoded.
		var ms codec.Messages
		if err := encoder(debezium.Config{}).AppendRows(&ms, "", []*event.RowChanged{events[0].Row}); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(ms.At(0).Value) {
			t.Fatalf("%s", ms.At(0).Value)
		}
	})
}

func TestAllocations(t *testing.T) {
	rowtest.CheckAllocs(t, 1, func(*event.TableInfo) codec.Encoder { return debezium.NewEncoder(debezium.Config{}) })
}

func BenchmarkDebezium(b *testing.B) {
	peer := map[string]float64{"narrow.insert": 7340, "narrow.update": 8293, "wide.insert": 42470, "wide.update": 61759}
	rowtest.Bench(b, 1, peer, func(*event.TableInfo) codec.Encoder { return debezium.NewEncoder(debezium.Config{}) })
}

func BenchmarkDebeziumNoSchema(b *testing.B) {
	peer := map[string]float64{"narrow.insert": 1907, "narrow.update": 3228, "wide.insert": 23451, "wide.update": 46745}
	rowtest.Bench(b, 1, peer, func(*event.TableInfo) codec.Encoder {
		return debezium.NewEncoder(debezium.Config{DisableSchema: true})
	})
}
