package maxwell_test

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
	"github.com/tidbcdc/tidbcdc/sink/codec/maxwell"
)

var (
	_ codec.Encoder = (*maxwell.Encoder)(nil)
	_ codec.Decoder = (*maxwell.Decoder)(nil)
)

var tokyo = time.FixedZone("UTC+9", 9*3600)

func allCases() []rowtest.Case {
	cases := append(rowtest.Cases(), rowtest.Pairs()...)
	same := rowtest.Pair(event.Update)
	same.PreColumns = same.Columns
	return append(cases, rowtest.Case{Name: "update of nothing", Row: same})
}

func ddls() []*event.DDL {
	pair, every := rowtest.Composite(), rowtest.Table()
	return []*event.DDL{
		{Type: event.DDLCreateSchema, Query: "CREATE DATABASE test", Schema: "test"},
		{Type: event.DDLDropSchema, Query: "DROP DATABASE test", Schema: "test"},
		{Type: event.DDLModifySchemaCharset, Query: "ALTER DATABASE test …", Schema: "test"},
		{Type: event.DDLCreateTable, Query: "CREATE TABLE `every type` (…)", Schema: "test", Table: every},
		{Type: event.DDLMultiSchemaChange, Query: "ALTER TABLE pair ADD \"x\" INT", Schema: "test", Table: pair, PreTable: pair},
		{Type: event.DDLDropTable, Query: "DROP TABLE pair", Schema: "test", PreTable: pair},
		{Type: event.DDLCreateView, Query: "CREATE VIEW v AS SELECT 1", Schema: "test", Table: pair},
	}
}

// everything appends a message of every kind and names them.
func everything(t testing.TB, cfg maxwell.Config) (*codec.Messages, []string) {
	t.Helper()
	e := maxwell.NewEncoder(cfg)
	var ms codec.Messages
	var names []string
	for _, c := range allCases() {
		if err := e.AppendRows(&ms, "t", []*event.RowChanged{c.Row}); err != nil {
			t.Fatal(err)
		}
		names = append(names, c.Name)
	}
	for _, ddl := range ddls() {
		ddl.CommitTs = rowtest.CommitTs
		if err := e.AppendDDL(&ms, "t", ddl); err != nil {
			t.Fatal(err)
		}
		names = append(names, ddl.Query)
	}
	if err := e.AppendWatermark(&ms, "t", 7); err != nil || ms.Len() != len(names) {
		t.Fatalf("%d messages, %v", ms.Len(), err)
	}
	return &ms, names
}

func TestGolden(t *testing.T) {
	ms, names := everything(t, maxwell.Config{TimeZone: tokyo, DeleteOnlyHandleKey: true})
	var out []byte
	for i := range ms.Len() {
		var one codec.Messages
		m := ms.At(i)
		one.Append(append(slices.Clone(m.Key), m.Value...), len(m.Key), len(m.Value), m.Rows, m.CommitTs)
		out = rowtest.Dump(out, names[i], &one)
	}
	rowtest.Golden(t, "testdata/maxwell.golden", out)
}

func TestRoundTrip(t *testing.T) {
	known := func(schema, table string) *event.TableInfo {
		for _, c := range rowtest.Cases()[:1] {
			if table == c.Row.Table.Table {
				return c.Row.Table
			}
		}
		return rowtest.Composite()
	}
	d := maxwell.NewDecoder(maxwell.DecoderConfig{Table: known, TimeZone: tokyo})
	ms, names := everything(t, maxwell.Config{TimeZone: tokyo})
	cases := allCases()
	for i := range ms.Len() {
		m := ms.At(i)
		events, err := d.Decode(m.Key, m.Value)
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: %d events, %v", names[i], len(events), err)
		}
		if i >= len(cases) {
			checkDDL(t, names[i], events[0].DDL, ddls()[i-len(cases)])
			continue
		}
		got, want := events[0].Row, cases[i].Row
		if got.CommitTs.Physical() != want.CommitTs.Physical()/1000*1000 || got.Table.Name() != want.Table.Name() {
			t.Errorf("%s: %+v", names[i], got)
		}
		rowtest.DiffRow(t, names[i], got, want, rowtest.Exact)
	}
}

func checkDDL(t *testing.T, what string, got, want *event.DDL) {
	t.Helper()
	if got.Query != want.Query || got.CommitTs != rowtest.CommitTs || got.Schema != "test" ||
		(got.Table == nil) != (want.Table == nil) || (got.PreTable == nil) != (want.PreTable == nil) {
		t.Fatalf("%s: %+v", what, got)
	}
	if want.Type != event.DDLCreateView && got.Type != want.Type {
		t.Errorf("%s: %s", what, got.Type)
	}
	if got.Table != nil && (got.Table.Name() != want.Table.Name() || len(got.Table.Columns) != len(want.Table.Columns)+len(want.Table.VirtualColumns)) {
		t.Errorf("%s: %+v", what, got.Table)
	}
}

// TestGuess: without knowing the table a row still has names and values.
func TestGuess(t *testing.T) {
	ms, _ := everything(t, maxwell.Config{})
	d := maxwell.NewDecoder(maxwell.DecoderConfig{})
	cases := allCases()
	var first *event.TableInfo
	for i, c := range cases {
		events, err := d.Decode(nil, ms.At(i).Value)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		row := events[0].Row
		if i == 0 {
			first = row.Table
		}
		if c.Name == "delete" && row.Table != first {
			t.Error("rows with the same columns have different tables")
		}
		for _, name := range []string{"id", "c_ubigint", "c_varchar", "c_decimal", "b"} {
			at := c.Row.Table.ColumnOffset(name)
			if at < 0 {
				continue
			}
			if got, want := row.Image()[row.Table.ColumnOffset(name)], c.Row.Image()[at]; got.Text() != want.Text() {
				t.Errorf("%s: %s is %q, want %q", c.Name, name, got.Text(), want.Text())
			}
		}
	}
}

// TestBatches: a message holds as many rows as its limit allows.
func TestBatches(t *testing.T) {
	const limit = 2000
	e := maxwell.NewEncoder(maxwell.Config{MaxMessageBytes: limit})
	var rows []*event.RowChanged
	for i := range 100 {
		if i == 50 {
			rows = append(rows, rowtest.Cases()[5].Row) // is larger than a message may be
		}
		rows = append(rows, rowtest.Pair(event.Update))
	}
	var ms codec.Messages
	if err := e.AppendRows(&ms, "", rows); err != nil {
		t.Fatal(err)
	}
	d := maxwell.NewDecoder(maxwell.DecoderConfig{})
	total, large := 0, 0
	for i := range ms.Len() {
		m := ms.At(i)
		if m.Size() > limit {
			large++
			if m.Rows != 1 {
				t.Errorf("message %d has %d bytes and %d rows", i, m.Size(), m.Rows)
			}
		}
		if !bytes.Equal(m.Key, []byte{0, 0, 0, 0, 0, 0, 0, 1}) || m.CommitTs != rowtest.CommitTs {
			t.Errorf("message %d: key %x", i, m.Key)
		}
		events, err := d.Decode(m.Key, m.Value)
		if err != nil || len(events) != m.Rows {
			t.Fatalf("message %d: %d events of %d, %v", i, len(events), m.Rows, err)
		}
		for _, e := range events {
			if want := rows[total].Table.Table; e.Row.Table.Table != want {
				t.Errorf("row %d is of %s, want %s", total, e.Row.Table.Table, want)
			}
			total++
		}
	}
	if total != len(rows) || large != 1 || ms.Len() < 4 || ms.Len() > 10 {
		t.Errorf("%d rows in %d messages, %d of them too large", total, ms.Len(), large)
	}
}

// TestJSON: the objects are JSON, one after another.
func TestJSON(t *testing.T) {
	e := maxwell.NewEncoder(maxwell.Config{})
	var ms codec.Messages
	row := rowtest.Pair(event.Delete)
	if err := e.AppendRows(&ms, "", []*event.RowChanged{row, row}); err != nil {
		t.Fatal(err)
	}
	const object = `{"database":"test","table":"pair","type":"delete","ts":1716297533,"old":{"a":"k","b":7,"c":1}}`
	if got := string(ms.At(0).Value); got != object+object {
		t.Errorf("got %s", got)
	}
	all, _ := everything(t, maxwell.Config{})
	for i := range all.Len() {
		d := json.NewDecoder(bytes.NewReader(all.At(i).Value))
		var v any
		if err := d.Decode(&v); err != nil {
			t.Errorf("%s: %v", all.At(i).Value, err)
		}
		if err := d.Decode(&v); err != io.EOF {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

func TestErrors(t *testing.T) {
	e := maxwell.NewEncoder(maxwell.Config{MaxMessageBytes: 1})
	good, short := rowtest.Pair(event.Insert), rowtest.Pair(event.Insert)
	short.Columns = short.Columns[:1]
	var ms codec.Messages
	if err := e.AppendRows(&ms, "", []*event.RowChanged{good, good, short}); err == nil || !strings.Contains(err.Error(), "test.pair at") || ms.Len() != 0 {
		t.Errorf("got %v", err)
	}
	d := maxwell.NewDecoder(maxwell.DecoderConfig{Table: func(string, string) *event.TableInfo { return rowtest.Composite() }})
	const head = `{"database":"test","table":"pair","type":`
	for _, text := range []string{
		``, `{`, `[]`, head + `"x"}`, head + `"insert"}`, head + `"delete","data":{}}`, head + `"insert","ts":"x"}`,
		head + `"insert","data":{"x":1}}`, head + `"insert","data":{"b":"secret"}}`, head + `"insert","data":{"a":"k"}} x`,
		head + `"table-alter","sql":"x","def":{"table":"t","columns":[{"type":"geometry"}]}}`,
	} {
		if events, err := d.Decode(nil, []byte(text)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v", text, events, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	ms, _ := everything(f, maxwell.Config{})
	for i := range ms.Len() {
		f.Add(ms.At(i).Value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		events, err := maxwell.NewDecoder(maxwell.DecoderConfig{}).Decode(nil, value)
		if err != nil {
			return
		}
		for _, e := range events {
			if e.Row == nil {
				continue
			}
			var ms codec.Messages
			if err := maxwell.NewEncoder(maxwell.Config{}).AppendRows(&ms, "", []*event.RowChanged{e.Row}); err != nil {
				t.Fatal(err)
			}
			if !json.Valid(ms.At(0).Value) {
				t.Fatalf("%s", ms.At(0).Value)
			}
		}
	})
}

func TestAllocations(t *testing.T) {
	rowtest.CheckAllocs(t, 1, func(*event.TableInfo) codec.Encoder { return maxwell.NewEncoder(maxwell.Config{}) })
}

func BenchmarkMaxwell(b *testing.B) {
	peer := map[string]float64{"narrow.insert": 3110, "narrow.update": 4341, "wide.insert": 28199}
	rowtest.Bench(b, 1, peer, func(*event.TableInfo) codec.Encoder { return maxwell.NewEncoder(maxwell.Config{}) })
}
