package simple_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	hamba "github.com/hamba/avro/v2"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
	"github.com/tidbcdc/tidbcdc/sink/codec/simple"
)

var (
	_ codec.LargeRowEncoder = (*simple.Encoder)(nil)
	_ codec.Decoder         = (*simple.Decoder)(nil)
)

var tokyo = time.FixedZone("UTC+9", 9*3600)

var formats = map[string]simple.Format{"json": simple.JSON, "avro": simple.Avro}

func encoder(t testing.TB, f simple.Format) *simple.Encoder {
	t.Helper()
	e, err := simple.NewEncoder(simple.Config{Format: f, TimeZone: tokyo, Now: func() time.Time { return time.UnixMilli(rowtest.Now) }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func decoder(f simple.Format) *simple.Decoder {
	return simple.NewDecoder(simple.DecoderConfig{Format: f, TimeZone: tokyo})
}

// ddls are of each kind of message, with and without schemas.
func ddls() []*event.DDL {
	before, after := rowtest.Composite(), rowtest.Table()
	bit := "\x02\xa5"
	after.Columns[16].Default = &bit
	return []*event.DDL{
		{Type: event.DDLCreateSchema, Query: "CREATE DATABASE test", Schema: "test"},
		{Type: event.DDLCreateTable, Query: "CREATE TABLE `every type` (…)", Schema: "test", Table: after},
		{Type: event.DDLAddColumn, Query: "ALTER TABLE pair ADD \"x\" INT", Schema: "test", Table: before, PreTable: before},
		{Type: event.DDLRenameTable, Query: "RENAME TABLE pair TO other", Schema: "test", Table: after, PreTable: before},
		{Type: event.DDLAddIndex, Query: "CREATE INDEX i ON pair (c)", Schema: "test", Table: before, PreTable: before},
		{Type: event.DDLDropIndex, Query: "DROP INDEX i ON pair", Schema: "test", Table: before, PreTable: before},
		{Type: event.DDLTruncateTable, Query: "TRUNCATE TABLE pair", Schema: "test", Table: before, PreTable: before},
		{Type: event.DDLDropTable, Query: "DROP TABLE pair", Schema: "test", PreTable: before},
	}
}

func allCases() []rowtest.Case {
	return append(rowtest.Cases(), rowtest.Pairs()...)
}

// everything appends a message of every kind, the schemas first, and names them.
func everything(t testing.TB, e *simple.Encoder) (*codec.Messages, []string) {
	t.Helper()
	var ms codec.Messages
	var names []string
	add := func(name string, err error) {
		if err != nil {
			t.Fatal(err)
		}
		for len(names) < ms.Len() {
			names = append(names, name)
		}
	}
	for _, table := range []*event.TableInfo{rowtest.Table(), rowtest.Composite()} {
		add("bootstrap of "+table.Table, e.AppendBootstrap(&ms, "t", table))
	}
	for _, c := range allCases() {
		add(c.Name, e.AppendRows(&ms, "t", []*event.RowChanged{c.Row}))
	}
	add("handle key only", e.AppendHandleKey(&ms, "t", rowtest.Pair(event.Update)))
	add("claim check", e.AppendClaimCheck(&ms, "t", rowtest.Cases()[0].Row, "s3://bucket/a.json"))
	for _, ddl := range ddls() {
		ddl.CommitTs = rowtest.CommitTs
		add(ddl.Query, e.AppendDDL(&ms, "t", ddl))
	}
	add("watermark", e.AppendWatermark(&ms, "t", rowtest.CommitTs))
	return &ms, names
}

func TestGolden(t *testing.T) {
	for name, f := range formats {
		ms, names := everything(t, encoder(t, f))
		var out []byte
		for i := range ms.Len() {
			var one codec.Messages
			m := ms.At(i)
			one.Append(slices.Clone(m.Value), -1, len(m.Value), m.Rows, m.CommitTs)
			out = rowtest.Dump(out, names[i], &one)
		}
		rowtest.Golden(t, "testdata/"+name+".golden", out)
	}
}

// TestOracle: the JSON is valid, and another implementation of Avro reads each
// message with the schema that is published, and writes it again.
func TestOracle(t *testing.T) {
	ms, names := everything(t, encoder(t, simple.JSON))
	for i := range ms.Len() {
		if !json.Valid(ms.At(i).Value) {
			t.Errorf("%s: %s", names[i], ms.At(i).Value)
		}
	}
	schema, err := hamba.Parse(simple.AvroSchema)
	if err != nil {
		t.Fatal(err)
	}
	ms, names = everything(t, encoder(t, simple.Avro))
	for i := range ms.Len() {
		var got any
		if err := hamba.Unmarshal(schema, ms.At(i).Value, &got); err != nil {
			t.Fatalf("%s: %v", names[i], err)
		}
		message := got.(map[string]any)["com.pingcap.simple.avro.Message"].(map[string]any)
		checkAvro(t, names[i], message)
	}
}

func checkAvro(t *testing.T, name string, message map[string]any) {
	t.Helper()
	payload, ok := message["payload"].(map[string]any)
	if !ok {
		t.Fatalf("%s: %v", name, message)
	}
	if w, ok := payload["com.pingcap.simple.avro.Watermark"].(map[string]any); ok {
		if w["commitTs"] != int64(rowtest.CommitTs) || message["type"] != "WATERMARK" {
			t.Errorf("got %v", message)
		}
	}
	for _, c := range allCases() {
		if c.Name != name {
			continue
		}
		dml := payload["com.pingcap.simple.avro.DML"].(map[string]any)
		if dml["type"] != strings.ToUpper(c.Row.Kind().String()) || dml["commitTs"] != int64(rowtest.CommitTs) || dml["checksum"] != nil {
			t.Errorf("%s: %v", name, dml)
		}
		checkAvroImage(t, name+", data", dml["data"], c.Row.Table, c.Row.Columns)
		checkAvroImage(t, name+", old", dml["old"], c.Row.Table, c.Row.PreColumns)
	}
}

// checkAvroImage compares a map of columns with an image.
func checkAvroImage(t *testing.T, what string, got any, table *event.TableInfo, want []event.Value) {
	t.Helper()
	if want == nil {
		if got != nil {
			t.Errorf("%s: %v", what, got)
		}
		return
	}
	columns := got.(map[string]any)["map"].(map[string]any)
	if len(columns) != len(want) {
		t.Errorf("%s: %d columns", what, len(columns))
	}
	for i, v := range want {
		name := table.Columns[i].Name
		if v.IsNull() != (columns[name] == nil) {
			t.Errorf("%s: %s is %v", what, name, columns[name])
		}
		if v.IsNull() {
			continue
		}
		text := string(v.AppendTextIn(nil, tokyo))
		for branch, got := range columns[name].(map[string]any) {
			var ok bool
			switch branch {
			case "long":
				ok = got == v.Int64()
			case "com.pingcap.simple.avro.UnsignedBigint":
				ok = got.(map[string]any)["value"] == v.Int64()
			case "com.pingcap.simple.avro.Timestamp":
				ts := got.(map[string]any)
				ok = ts["location"] == "UTC+9" && ts["value"] == text
			case "float":
				ok = got == float32(v.Float64())
			case "double":
				ok = got == v.Float64()
			case "string":
				ok = got == text
			case "bytes":
				ok = string(got.([]byte)) == text
			}
			if !ok {
				t.Errorf("%s: %s is %s %v, want %q", what, name, branch, got, text)
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for name, f := range formats {
		e, d := encoder(t, f), decoder(f)
		ms, names := everything(t, e)
		cases := allCases()
		for i := range ms.Len() {
			events, err := d.Decode(nil, ms.At(i).Value)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, names[i], err)
			}
			what := name + ", " + names[i]
			switch {
			case i < 2:
				if len(events) != 0 {
					t.Errorf("%s: %d events", what, len(events))
				}
			case i < 2+len(cases):
				checkRow(t, what, events, cases[i-2].Row)
			case names[i] == "handle key only":
				if r := events[0].Row; !events[0].HandleKeyOnly || r.Columns[0].Text() != "k" || !r.PreColumns[2].IsNull() {
					t.Errorf("%s: %+v", what, r)
				}
			case names[i] == "claim check":
				if r := events[0].Row; events[0].ClaimCheck != "s3://bucket/a.json" || r.Columns[0].Int64() != 1 || !r.Columns[1].IsNull() {
					t.Errorf("%s: %+v", what, r)
				}
			case names[i] == "watermark":
				if events[0].Watermark != rowtest.CommitTs {
					t.Errorf("%s: %+v", what, events[0])
				}
			default:
				checkDDL(t, what, events, ddls()[i-4-len(cases)])
			}
		}
	}
}

func checkRow(t *testing.T, what string, events []codec.Event, want *event.RowChanged) {
	t.Helper()
	if len(events) != 1 {
		t.Fatalf("%s: %d events", what, len(events))
	}
	got := events[0].Row
	if got.CommitTs != want.CommitTs || got.PhysicalTableID != want.Table.ID || got.Table.Name() != want.Table.Name() ||
		!slices.Equal(got.Table.HandleKey, want.Table.HandleKey) || len(got.Table.VirtualColumns) != len(want.Table.VirtualColumns) {
		t.Errorf("%s: %+v of %+v", what, got, got.Table)
	}
	same := rowtest.AnyFsp
	if strings.HasPrefix(what, "json") {
		same = rowtest.Exact
	}
	rowtest.DiffRow(t, what, got, want, same)
}

func checkDDL(t *testing.T, what string, events []codec.Event, want *event.DDL) {
	t.Helper()
	got := events[0].DDL
	if got.Query != want.Query || got.CommitTs != rowtest.CommitTs || (got.Table == nil) != (want.Table == nil) || (got.PreTable == nil) != (want.PreTable == nil) {
		t.Fatalf("%s: %+v", what, got)
	}
	if want.Table == nil {
		return
	}
	for i := range want.Table.Columns {
		g, w := got.Table.Columns[i], want.Table.Columns[i]
		if g.Name != w.Name || g.Type != w.Type || g.NotNull() != w.NotNull() || g.Unsigned() != w.Unsigned() ||
			g.Binary() != w.Binary() || !slices.Equal(g.Elems, w.Elems) || (g.Default == nil) != (w.Default == nil) ||
			g.Default != nil && *g.Default != *w.Default || g.Length != w.Length {
			t.Errorf("%s: column %+v, want %+v", what, g, w)
		}
	}
}

// TestPending: rows wait for their schema, and what follows waits with them.
func TestPending(t *testing.T) {
	for name, f := range formats {
		e, d := encoder(t, f), decoder(f)
		var ms codec.Messages
		row, other := rowtest.Pair(event.Insert), rowtest.Cases()[0].Row
		if err := errors.Join(
			e.AppendRows(&ms, "", []*event.RowChanged{row}),
			e.AppendWatermark(&ms, "", 7),
			e.AppendBootstrap(&ms, "", other.Table),
			e.AppendRows(&ms, "", []*event.RowChanged{other, row}),
			e.AppendBootstrap(&ms, "", row.Table),
			e.AppendRows(&ms, "", []*event.RowChanged{row}),
		); err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{0, 0, 0, 0, 0, 4, 1} {
			events, err := d.Decode(nil, ms.At(i).Value)
			if err != nil || len(events) != want {
				t.Errorf("%s, message %d: %d events, %v", name, i, len(events), err)
			}
			if want == 4 && (events[0].Row == nil || events[1].Watermark != 7 || events[2].Row.Table.Table != "every type" || d.Pending() != 0) {
				t.Errorf("%s: got %+v", name, events)
			}
		}
		d = simple.NewDecoder(simple.DecoderConfig{Format: f, TimeZone: tokyo, MaxPending: 4*len(ms.At(0).Value) + 1})
		if _, err := d.Decode(nil, ms.At(0).Value); err != nil {
			t.Error(err)
		}
		if _, err := d.Decode(nil, ms.At(0).Value); err == nil || !strings.Contains(err.Error(), "test.pair") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestBootstraps(t *testing.T) {
	table := rowtest.Composite()
	next := *table
	now := time.UnixMilli(rowtest.Now)
	var s simple.Bootstraps
	for i, step := range []struct {
		table *event.TableInfo
		rows  int
		after time.Duration
		want  bool
	}{
		{table, 10, 0, true},
		{table, 9000, time.Second, false},
		{table, 5000, time.Second, false},
		{table, 1, time.Second, true}, // 10000 rows have been sent
		{table, 1, 119 * time.Second, false},
		{table, 1, time.Second, true}, // 120 seconds have passed
		{&next, 1, 0, true},           // another version
		{rowtest.Table(), 1, 0, true}, // another table
		{&next, 1, time.Second, false},
	} {
		now = now.Add(step.after)
		if got := s.Due(step.table, step.rows, now); got != step.want {
			t.Errorf("step %d: %t", i, got)
		}
	}
	never := simple.Bootstraps{Interval: -1, Rows: -1}
	if never.Due(table, 1, now) {
		t.Error("due though it is switched off")
	}
	byRows := simple.Bootstraps{Interval: -1, Rows: 2}
	if got := []bool{byRows.Due(table, 2, now), byRows.Due(table, 1, now), byRows.Due(table, 1, now.Add(time.Minute))}; !slices.Equal(got, []bool{true, true, false}) {
		t.Errorf("got %v", got)
	}
	if !byRows.Due(table, 0, now.Add(time.Hour)) {
		t.Error("a table is not forgotten")
	}
}

func TestErrors(t *testing.T) {
	for _, zone := range []*time.Location{time.Local, time.FixedZone("", 60)} {
		if _, err := simple.NewEncoder(simple.Config{TimeZone: zone}); err == nil {
			t.Errorf("zone %q: no error", zone)
		}
	}
	if _, err := simple.NewEncoder(simple.Config{Format: 9}); err == nil {
		t.Error("format 9: no error")
	}
	e := encoder(t, simple.JSON)
	var ms codec.Messages
	good, short := rowtest.Pair(event.Insert), rowtest.Pair(event.Insert)
	short.Columns = short.Columns[:2]
	if err := e.AppendRows(&ms, "", []*event.RowChanged{good, short}); err == nil || !strings.Contains(err.Error(), "test.pair at") || ms.Len() != 0 {
		t.Errorf("got %v", err)
	}
	table := *good.Table
	table.HandleKey = nil
	keyless := *good
	keyless.Table = &table
	if err := e.AppendHandleKey(&ms, "", &keyless); err == nil || ms.Len() != 0 {
		t.Error("no handle key: no error")
	}
	d := decoder(simple.JSON)
	if err := e.AppendBootstrap(&ms, "", good.Table); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(nil, ms.At(0).Value); err != nil {
		t.Fatal(err)
	}
	head := `{"type":"INSERT","database":"test","table":"pair","schemaVersion":` + good.Table.UpdateTs.String() + `,"data":`
	for _, text := range []string{
		`{`, `[]`, `{"type":"NEWS"}`, `{"type":"BOOTSTRAP"}`, `{"type":"WATERMARK","commitTs":-1}`,
		head + `{"nobody":"1"}}`, head + `{"b":"secret"}}`, head + `1}`,
	} {
		if events, err := d.Decode(nil, []byte(text)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v", text, events, err)
		}
	}
}

// TestForeign reads messages as TiCDC writes them: members sorted by name, a
// checksum, columns in another order than the table's.
func TestForeign(t *testing.T) {
	d := simple.NewDecoder(simple.DecoderConfig{})
	const schema = `{"schema":"s","table":"t","tableID":9,"version":7,"columns":[
		{"name":"id","dataType":{"mysqlType":"int","charset":"binary","collate":"binary","length":11},"nullable":false,"default":null},
		{"name":"at","dataType":{"mysqlType":"timestamp","charset":"binary","collate":"binary","length":19},"nullable":true,"default":null},
		{"name":"bits","dataType":{"mysqlType":"bit","charset":"binary","collate":"binary","length":10},"nullable":true,"default":677},
		{"name":"price","dataType":{"mysqlType":"decimal","charset":"binary","collate":"binary","length":10,"decimal":2},"nullable":true,"default":"1.50"}],
		"indexes":[{"name":"primary","unique":true,"primary":true,"nullable":false,"columns":["id"]}]}`
	if _, err := d.Decode(nil, []byte(`{"version":1,"type":"BOOTSTRAP","commitTs":0,"buildTs":1,"tableSchema":`+schema+`}`)); err != nil {
		t.Fatal(err)
	}
	events, err := d.Decode(nil, []byte(`{"version":1,"database":"s","table":"t","tableID":9,"type":"UPDATE","commitTs":8,"buildTs":2,"schemaVersion":7,
		"checksum":{"version":0,"corrupted":false,"current":1,"previous":2},
		"data":{"at":{"location":"Asia/Shanghai","value":"2024-05-21 22:02:03"},"bits":"3","id":"1","price":"90.50"},
		"old":{"at":null,"bits":null,"id":"1","price":"-0.01"}}`))
	if err != nil {
		t.Fatal(err)
	}
	row := events[0].Row
	var got []string
	for _, image := range [][]event.Value{row.Columns, row.PreColumns} {
		for _, v := range image {
			got = append(got, v.Text())
		}
	}
	if want := "1|2024-05-21 14:02:03|3|90.50|1|||-0.01"; strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "|"), want)
	}
	if table := row.Table; *table.Columns[2].Default != "\x02\xa5" || !slices.Equal(table.HandleKey, []int{0}) || table.UpdateTs != 7 {
		t.Errorf("table %+v", table)
	}
}

func fuzz(f *testing.F, format simple.Format) {
	ms, _ := everything(f, encoder(f, format))
	for i := range ms.Len() {
		f.Add(ms.At(i).Value, ms.At(0).Value)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := simple.NewDecoder(simple.DecoderConfig{Format: format, TimeZone: tokyo, MaxPending: 1 << 16})
		for _, b := range [][]byte{second, first, second} {
			_, _ = d.Decode(nil, b)
		}
	})
}

func FuzzJSON(f *testing.F) { fuzz(f, simple.JSON) }

func FuzzAvro(f *testing.F) { fuzz(f, simple.Avro) }

func TestAllocations(t *testing.T) {
	for _, f := range formats {
		rowtest.CheckAllocs(t, 1, func(*event.TableInfo) codec.Encoder { return encoder(t, f) })
	}
}

func bench(b *testing.B, f simple.Format, peer map[string]float64) {
	rowtest.Bench(b, 1, peer, func(*event.TableInfo) codec.Encoder {
		e, err := simple.NewEncoder(simple.Config{Format: f})
		if err != nil {
			b.Fatal(err)
		}
		return e
	})
}

func BenchmarkSimpleJSON(b *testing.B) {
	bench(b, simple.JSON, map[string]float64{"narrow.insert": 2906, "narrow.update": 4762, "wide.insert": 26812, "wide.update": 50172})
}

func BenchmarkSimpleAvro(b *testing.B) {
	bench(b, simple.Avro, map[string]float64{"narrow.insert": 3899, "narrow.update": 6534, "wide.insert": 23305, "wide.update": 43236})
}
