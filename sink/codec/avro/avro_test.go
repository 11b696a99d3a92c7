package avro_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	hamba "github.com/hamba/avro/v2"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/avro"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
)

var (
	_ codec.Encoder = (*avro.Encoder)(nil)
	_ codec.Decoder = (*avro.Decoder)(nil)
)

// schemas is a registry in memory. Its ids are Glue's if glue is set.
type schemas struct {
	glue     bool
	subjects []string
	texts    []string
	calls    int
}

func (s *schemas) id(i int) avro.SchemaID {
	if s.glue {
		return avro.GlueID([16]byte{1, 2, 3, 15: byte(i)})
	}
	return avro.ConfluentID(uint32(100 + i))
}

func (s *schemas) Register(_ context.Context, subject, schema string) (avro.SchemaID, error) {
	s.calls++
	i := slices.Index(s.texts, schema)
	if i < 0 {
		i = len(s.texts)
		s.subjects, s.texts = append(s.subjects, subject), append(s.texts, schema)
	}
	return s.id(i), nil
}

func (s *schemas) Schema(_ context.Context, id avro.SchemaID) (string, error) {
	for i := range s.texts {
		if s.id(i) == id {
			return s.texts[i], nil
		}
	}
	return "", errors.New("no such schema")
}

var tokyo = time.FixedZone("UTC+9", 9*3600)

// configs are the ways to write that differ.
var configs = map[string]avro.Config{
	"default":   {},
	"extension": {Namespace: "my-feed", TiDBExtension: true, TimeZone: tokyo, DecimalAsString: true, UnsignedBigintAsString: true},
}

func encode(t testing.TB, e *avro.Encoder, rows ...*event.RowChanged) *codec.Messages {
	t.Helper()
	var ms codec.Messages
	for _, r := range rows {
		if err := e.Prepare(context.Background(), "a.topic", r.Table); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.AppendRows(&ms, "a.topic", rows); err != nil {
		t.Fatal(err)
	}
	return &ms
}

func allCases() []rowtest.Case {
	return append(rowtest.Cases(), rowtest.Pairs()...)
}

func TestGolden(t *testing.T) {
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			var out []byte
			registry := &schemas{}
			e := avro.NewEncoder(cfg, registry)
			for _, c := range allCases() {
				out = rowtest.Dump(out, c.Name, encode(t, e, c.Row))
			}
			for i, s := range registry.texts {
				out = fmt.Appendf(out, "# schema %s, subject %s\n%s\n", registry.id(i), registry.subjects[i], s)
			}
			rowtest.Golden(t, "testdata/"+name+".golden", out)
		})
	}
}

// TestOracle reads every message with another implementation of Avro, compares
// the values, and writes them again.
func TestOracle(t *testing.T) {
	for name, cfg := range configs {
		registry := &schemas{}
		e := avro.NewEncoder(cfg, registry)
		for _, c := range allCases() {
			m := encode(t, e, c.Row).At(0)
			for part, b := range map[string][]byte{"key": m.Key, "value": m.Value} {
				if b == nil {
					continue
				}
				text, err := registry.Schema(context.Background(), avro.ConfluentID(uint32(b[4])))
				if err != nil {
					t.Fatal(err)
				}
				schema, err := hamba.Parse(text)
				if err != nil {
					t.Fatalf("%s: %v\n%s", name, err, text)
				}
				var got map[string]any
				if err := hamba.Unmarshal(schema, b[5:], &got); err != nil {
					t.Fatalf("%s, %s %s: %v", name, c.Name, part, err)
				}
				if part == "value" {
					compareOracle(t, name+", "+c.Name, cfg, schema.(*hamba.RecordSchema), got, c.Row)
				}
				again, err := hamba.Marshal(schema, got)
				if err != nil {
					t.Fatalf("%s, %s %s: %v", name, c.Name, part, err)
				}
				if !bytes.Equal(again, b[5:]) {
					t.Errorf("%s, %s %s:\ngot  %x\nwant %x", name, c.Name, part, b[5:], again)
				}
			}
		}
	}
}

func compareOracle(t *testing.T, what string, cfg avro.Config, schema *hamba.RecordSchema, got map[string]any, row *event.RowChanged) {
	t.Helper()
	for i, f := range schema.Fields() {
		if i >= len(row.Columns) {
			continue // the extension
		}
		v := row.Columns[i]
		zone := cfg.TimeZone
		if zone == nil {
			zone = time.UTC
		}
		want := string(v.AppendTextIn(nil, zone))
		value := got[f.Name()]
		if union, ok := value.(map[string]any); ok {
			for _, branch := range union {
				value = branch
			}
		}
		var text string
		switch value := value.(type) {
		case nil:
			text = ""
		case *big.Rat:
			text = value.FloatString(row.Table.Columns[i].Decimal)
		case []byte:
			text = string(value)
			if v.Kind() == event.KindBit {
				text = new(big.Int).SetBytes(value).String()
			}
		case int64:
			text = fmt.Sprint(value)
			if v.Kind() == event.KindUint64 {
				text = fmt.Sprint(uint64(value))
			}
		case float32:
			text = event.Float32Value(value).Text()
		case float64:
			text = event.Float64Value(value).Text()
		default:
			text = fmt.Sprint(value)
		}
		if text != want || (value == nil) != v.IsNull() {
			t.Errorf("%s: %s is %q, want %q", what, f.Name(), text, want)
		}
	}
}

// TestRoundTrip decodes what was encoded, with ids of both kinds of registry.
func TestRoundTrip(t *testing.T) {
	ctx := context.Background()
	for name, cfg := range configs {
		for _, glue := range []bool{false, true} {
			registry := &schemas{glue: glue}
			e := avro.NewEncoder(cfg, registry)
			d := avro.NewDecoder(avro.DecoderConfig{TimeZone: cfg.TimeZone}, registry)
			for _, c := range allCases() {
				what := name + ", " + c.Name
				m := encode(t, e, c.Row).At(0)
				if err := d.Prepare(ctx, m.Key, m.Value); err != nil {
					t.Fatal(err)
				}
				events, err := d.Decode(m.Key, m.Value)
				if err != nil || len(events) != 1 {
					t.Fatalf("%s: %d events, %v", what, len(events), err)
				}
				checkRoundTrip(t, what, cfg, events[0], c.Row)
			}
		}
	}
}

func checkRoundTrip(t *testing.T, what string, cfg avro.Config, e codec.Event, want *event.RowChanged) {
	t.Helper()
	got := e.Row
	if got.Table.Schema != "test" || len(got.Table.HandleKey) != len(want.Table.HandleKey) {
		t.Errorf("%s: table %s with handle key %v", what, got.Table.Name(), got.Table.HandleKey)
	}
	if want.Kind() == event.Delete {
		if got.Kind() != event.Delete || !e.HandleKeyOnly || len(got.PreColumns) != len(want.Table.HandleKey) {
			t.Errorf("%s: %s of %d columns", what, got.Kind(), len(got.PreColumns))
		}
		for i := range got.PreColumns {
			at := want.Table.ColumnOffset(got.Table.Columns[i].Name)
			if got.PreColumns[i].Text() != want.PreColumns[at].Text() {
				t.Errorf("%s: key column %d is %s", what, i, got.PreColumns[i].Text())
			}
		}
		return
	}
	if cfg.TiDBExtension && got.CommitTs != want.CommitTs {
		t.Errorf("%s: commit ts %s", what, got.CommitTs)
	}
	table := *want.Table
	table.Columns = slices.Clone(table.Columns)
	for i := range table.Columns {
		table.Columns[i].Name = got.Table.Columns[i].Name
	}
	rowtest.Diff(t, what, got.Table, got.Columns, &table, want.Columns, rowtest.AnyFsp)
}

// TestPrepare: schemas are registered once for a version of a table in a topic.
func TestPrepare(t *testing.T) {
	ctx := context.Background()
	registry := &schemas{}
	e := avro.NewEncoder(avro.Config{}, registry)
	row := rowtest.Pair(event.Insert)
	var ms codec.Messages
	if err := e.AppendRows(&ms, "t", []*event.RowChanged{row}); !errors.Is(err, avro.ErrNotPrepared) || ms.Len() != 0 {
		t.Errorf("got %v and %d messages", err, ms.Len())
	}
	for range 3 {
		if err := e.Prepare(ctx, "t", row.Table); err != nil {
			t.Fatal(err)
		}
	}
	if registry.calls != 2 || registry.subjects[0] != "t-key" || registry.subjects[1] != "t-value" {
		t.Errorf("%d calls for %q", registry.calls, registry.subjects)
	}
	if err := e.Prepare(ctx, "u", row.Table); err != nil || registry.calls != 4 {
		t.Errorf("%d calls, %v", registry.calls, err)
	}

	noKey := *row.Table
	noKey.HandleKey = nil
	twice := *row.Table
	twice.Columns = slices.Clone(twice.Columns)
	twice.Columns[1].Name, twice.Columns[2].Name = "x-1", "x 1"
	strange := *row.Table
	strange.Columns = slices.Clone(strange.Columns)
	strange.Columns[2].Type = 255
	for want, table := range map[string]*event.TableInfo{"no primary key": &noKey, "both called x_1": &twice, "type 255": &strange} {
		if err := e.Prepare(ctx, "t", table); !sink.IsPermanent(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// TestErrors: an error names table, column and ts, and leaves nothing behind.
func TestErrors(t *testing.T) {
	e := avro.NewEncoder(avro.Config{}, &schemas{})
	good := rowtest.Pair(event.Insert)
	ms := encode(t, e, good)
	for name, columns := range map[string][]event.Value{
		"column b is NOT NULL": {good.Columns[0], {}, good.Columns[2]},
		"column c: a value of": {good.Columns[0], good.Columns[1], event.TextValue("secret")},
		"no c":                 good.Columns[:2],
	} {
		bad := *good
		bad.Columns = columns
		err := e.AppendRows(ms, "a.topic", []*event.RowChanged{good, &bad})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "test.pair at "+rowtest.CommitTs.String()) ||
			strings.Contains(err.Error(), "secret") || ms.Len() != 1 {
			t.Errorf("%s: got %v, %d messages", name, err, ms.Len())
		}
	}
}

func TestWatermark(t *testing.T) {
	var ms codec.Messages
	ddl := &event.DDL{CommitTs: 5, Type: event.DDLAddColumn, Query: "ALTER TABLE pair ADD \"x\" INT", Schema: "test", Table: rowtest.Composite()}
	e := avro.NewEncoder(avro.Config{}, &schemas{})
	if err := errors.Join(e.AppendWatermark(&ms, "t", 7), e.AppendDDL(&ms, "t", ddl)); err != nil || ms.Len() != 0 {
		t.Errorf("%d messages, %v", ms.Len(), err)
	}
	e = avro.NewEncoder(avro.Config{Watermark: true}, &schemas{})
	if err := errors.Join(e.AppendWatermark(&ms, "t", 7), e.AppendDDL(&ms, "t", ddl)); err != nil || ms.Len() != 2 {
		t.Fatalf("%d messages, %v", ms.Len(), err)
	}
	if got := string(ms.At(1).Value); got != "\x01"+`{"query":"ALTER TABLE pair ADD \"x\" INT","type":5,"schema":"test","table":"pair","commitTs":5}` {
		t.Errorf("got %q", got)
	}
	d := avro.NewDecoder(avro.DecoderConfig{}, &schemas{})
	for i := range 2 {
		m := ms.At(i)
		if err := d.Prepare(context.Background(), m.Key, m.Value); err != nil {
			t.Fatal(err)
		}
		events, err := d.Decode(m.Key, m.Value)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 && events[0].Watermark != 7 {
			t.Errorf("got %+v", events[0])
		}
		if i == 1 && (events[0].DDL.Query != ddl.Query || events[0].DDL.Table.Name() != "test.pair" || events[0].DDL.Type != ddl.Type) {
			t.Errorf("got %+v", events[0].DDL)
		}
	}
}

func TestSchemaID(t *testing.T) {
	c, g := avro.ConfluentID(7), avro.GlueID([16]byte{0xb7, 0xb4, 0xa7, 0xf0, 0x9c, 0x96, 0x4e, 0x4a, 0xa6, 0x87, 0xfb, 0x5d, 0xe9, 0xef, 0x0c, 0x63})
	if n, ok := c.Confluent(); !ok || n != 7 || c.String() != "7" {
		t.Errorf("got %d %t %s", n, ok, c)
	}
	if u, ok := g.Glue(); !ok || u[0] != 0xb7 || g.String() != "b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63" {
		t.Errorf("got %x %t %s", u, ok, g)
	}
	if (avro.SchemaID{}).String() != "none" {
		t.Error("the zero id has a name")
	}
}

// TestForeign reads schemas as older versions of TiCDC wrote them, and refuses those
// of others.
func TestForeign(t *testing.T) {
	record := func(fields string) string {
		return `{"type":"record","name":"t","namespace":"default.s","fields":[` + fields + `]}`
	}
	decode := func(schema string, data ...byte) (codec.Event, error) {
		s := &schemas{texts: []string{schema}}
		d := avro.NewDecoder(avro.DecoderConfig{}, s)
		message := append([]byte{0, 0, 0, 0, 100}, data...)
		if err := d.Prepare(context.Background(), message, message); err != nil {
			return codec.Event{}, err
		}
		events, err := d.Decode(message, message)
		if err != nil {
			return codec.Event{}, err
		}
		return events[0], nil
	}
	// FLOAT was a double, and there are fields of a checksum.
	e, err := decode(record(`{"name":"f","type":["null",{"type":"double","connect.parameters":{"tidb_type":"FLOAT"}}]},
		{"name":"_tidb_commit_ts","type":"long"},{"name":"_tidb_row_level_checksum","type":"string"},{"name":"_tidb_corrupted","type":"boolean"}`),
		2, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 10, 2, '7', 1)
	if err != nil || e.Row.CommitTs != 5 || e.Row.Columns[0].Kind() != event.KindFloat32 || e.Row.Columns[0].Float64() != 1.5 || e.Row.Table.Name() != "s.t" {
		t.Errorf("got %+v, %v", e.Row, err)
	}
	for name, schema := range map[string]string{
		"not JSON":        `{`,
		"not a record":    `{"type":"enum","name":"e","symbols":[]}`,
		"no tidb_type":    record(`{"name":"a","type":"int"}`),
		"three branches":  record(`{"name":"a","type":["null","int","long"]}`),
		"a nested record": record(`{"name":"a","type":` + record("") + `}`),
		"another form":    record(`{"name":"a","type":{"type":"int","connect.parameters":{"tidb_type":"BLOB"}}}`),
		"scale":           record(`{"name":"a","type":{"type":"bytes","connect.parameters":{"tidb_type":"DECIMAL"},"logicalType":"decimal","scale":-1}}`),
	} {
		if e, err := decode(schema, 2); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if _, err := decode(record(`{"name":"a","type":{"type":"int","connect.parameters":{"tidb_type":"INT"}}}`), 2, 2); err == nil {
		t.Error("bytes behind the record: no error")
	}
}

func FuzzDecode(f *testing.F) {
	registry := &schemas{}
	e := avro.NewEncoder(configs["extension"], registry)
	for _, c := range allCases() {
		m := encode(f, e, c.Row).At(0)
		f.Add(m.Key, m.Value)
	}
	f.Add([]byte(nil), []byte{2, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		d := avro.NewDecoder(avro.DecoderConfig{}, registry)
		if err := d.Prepare(context.Background(), key, value); err != nil {
			return
		}
		_, _ = d.Decode(key, value)
	})
}

// FuzzSchema decodes a message with a schema from elsewhere.
func FuzzSchema(f *testing.F) {
	registry := &schemas{}
	m := encode(f, avro.NewEncoder(avro.Config{}, registry), rowtest.Cases()[0].Row).At(0)
	f.Add(registry.texts[1], m.Value[5:])
	f.Add(`{"type":"record","name":"t","namespace":"n.s","fields":[{"name":"a","type":{"type":"bytes","connect.parameters":{"tidb_type":"DECIMAL"},"logicalType":"decimal","scale":3}}]}`, []byte{2, 9})
	f.Fuzz(func(t *testing.T, text string, record []byte) {
		s := &schemas{texts: []string{text}}
		d := avro.NewDecoder(avro.DecoderConfig{}, s)
		message := append([]byte{0, 0, 0, 0, 100}, record...)
		if err := d.Prepare(context.Background(), message, message); err != nil {
			return
		}
		_, _ = d.Decode(message, message)
	})
}

func TestAllocations(t *testing.T) {
	rowtest.CheckAllocs(t, 1, func(table *event.TableInfo) codec.Encoder { return prepared(t, table) })
}

func prepared(t testing.TB, table *event.TableInfo) codec.Encoder {
	e := avro.NewEncoder(avro.Config{}, &schemas{})
	if err := e.Prepare(context.Background(), "topic", table); err != nil {
		t.Fatal(err)
	}
	return e
}

func BenchmarkAvro(b *testing.B) {
	peer := map[string]float64{"narrow.insert": 4239, "narrow.update": 4201, "wide.insert": 38147, "wide.update": 38705}
	rowtest.Bench(b, 1, peer, func(table *event.TableInfo) codec.Encoder { return prepared(b, table) })
}
