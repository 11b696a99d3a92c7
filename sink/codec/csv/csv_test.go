package csv_test

import (
	"bytes"
	stdcsv "encoding/csv"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/csv"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
)

var (
	_ codec.Encoder = (*csv.Encoder)(nil)
	_ codec.Decoder = (*csv.Decoder)(nil)
)

var configs = map[string]csv.Config{
	"default": {},
	"all": {
		IncludeCommitTs: true, OutputOldValue: true, OutputHandleKey: true, BinaryHex: true, Terminator: "\n",
		Quote: "'", Delimiter: "||", Null: "NULL", TimeZone: time.FixedZone("UTC+9", 9*3600),
	},
	"escapes":    {NoQuote: true, IncludeCommitTs: true, Terminator: "\n"},
	"long":       {NoQuote: true, Delimiter: "::", OutputOldValue: true},
	"empty null": {EmptyNull: true},
}

func encoder(t testing.TB, cfg csv.Config) *csv.Encoder {
	t.Helper()
	e, err := csv.NewEncoder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func decoder(t testing.TB, cfg csv.Config, table *event.TableInfo) *csv.Decoder {
	t.Helper()
	d, err := csv.NewDecoder(cfg, table)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestGolden(t *testing.T) {
	for name, cfg := range configs {
		var out []byte
		e := encoder(t, cfg)
		for _, c := range append(rowtest.Cases(), rowtest.Pairs()...) {
			var ms codec.Messages
			if err := e.AppendRows(&ms, "", []*event.RowChanged{c.Row}); err != nil {
				t.Fatal(err)
			}
			out = rowtest.Dump(out, c.Name, &ms)
		}
		out = append(out, e.AppendHeader(nil, rowtest.Table())...)
		rowtest.Golden(t, "testdata/"+strings.ReplaceAll(name, " ", "_")+".golden", out)
	}
}

// TestRoundTrip decodes lines of all rows together, behind a header.
func TestRoundTrip(t *testing.T) {
	for name, cfg := range configs {
		for _, cases := range [][]rowtest.Case{rowtest.Cases(), rowtest.Pairs()} {
			e := encoder(t, cfg)
			table := cases[0].Row.Table
			var rows []*event.RowChanged
			for _, c := range cases {
				rows = append(rows, c.Row)
			}
			var ms codec.Messages
			if err := e.AppendRows(&ms, "", rows); err != nil {
				t.Fatal(err)
			}
			if ms.Len() != 1 || ms.At(0).Rows != len(rows) || ms.At(0).CommitTs != rowtest.CommitTs {
				t.Fatalf("%s: %d messages", name, ms.Len())
			}
			events, err := decoder(t, cfg, table).Decode(nil, append(e.AppendHeader(nil, table), ms.At(0).Value...))
			if err != nil || len(events) != len(rows) {
				t.Fatalf("%s: %d rows, %v", name, len(events), err)
			}
			for i, got := range events {
				want := *rows[i]
				if want.Kind() == event.Update && !cfg.OutputOldValue {
					want.PreColumns = nil
				}
				if cfg.IncludeCommitTs != (got.Row.CommitTs == rowtest.CommitTs) {
					t.Errorf("%s: commit ts %s", name, got.Row.CommitTs)
				}
				what := name + ", " + cases[i].Name
				rowtest.Diff(t, what, table, got.Row.Columns, table, want.Columns, rowtest.Exact)
				rowtest.Diff(t, what, table, got.Row.PreColumns, table, want.PreColumns, rowtest.Exact)
			}
		}
	}
}

// TestOracle reads lines with the standard library.
func TestOracle(t *testing.T) {
	e := encoder(t, csv.Config{Terminator: "\n"})
	for _, c := range rowtest.Cases() {
		var ms codec.Messages
		if err := e.AppendRows(&ms, "", []*event.RowChanged{c.Row}); err != nil {
			t.Fatal(err)
		}
		lines, err := stdcsv.NewReader(bytes.NewReader(ms.At(0).Value)).ReadAll()
		if err != nil || len(lines) != 1 {
			t.Fatalf("%s: %d lines, %v", c.Name, len(lines), err)
		}
		if got := lines[0][:3]; got[1] != "every type" || got[2] != "test" {
			t.Errorf("got %q", got)
		}
		for i, v := range c.Row.Image() {
			got := lines[0][3+i]
			switch {
			case v.IsNull() && got != `\N`,
				// The reader turns CR LF in a value into LF.
				v.Kind() == event.KindText && got != strings.ReplaceAll(v.Text(), "\r\n", "\n"),
				v.Kind() == event.KindDecimal && got != v.Text():
				t.Errorf("%s: column %d is %q, want %q", c.Name, i, got, v.Text())
			}
		}
	}
}

func TestNothingForDDLAndWatermark(t *testing.T) {
	e := encoder(t, csv.Config{})
	var ms codec.Messages
	if e.AppendDDL(&ms, "", &event.DDL{}) != nil || e.AppendWatermark(&ms, "", 7) != nil || e.AppendRows(&ms, "", nil) != nil || ms.Len() != 0 {
		t.Errorf("%d messages", ms.Len())
	}
}

func TestInvalidConfig(t *testing.T) {
	for want, cfg := range map[string]csv.Config{
		"longer than 3 bytes":     {Delimiter: "||||"},
		"delimiter \"\\n\" has":   {Delimiter: "\n"},
		"which is the escape":     {Delimiter: `\`, NoQuote: true},
		"is not one character":    {Quote: `""`},
		"contains the quote":      {Delimiter: `|"`},
		"csv null \",\"":          {Null: ","},
		"csv terminator \",\"":    {Terminator: ","},
		"must be line breaks":     {Terminator: ";", NoQuote: true},
		"character that numbers":  {Delimiter: "-"},
		"character of numbers, d": {Quote: ":"},
	} {
		if _, err := csv.NewEncoder(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
		if _, err := csv.NewDecoder(cfg, rowtest.Table()); err == nil {
			t.Errorf("%q: no error", want)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	e := encoder(t, csv.Config{OutputHandleKey: true})
	good := rowtest.Cases()[0].Row
	short, keyless := *good, *good
	short.Columns = short.Columns[:3]
	keyless.Key = nil
	for _, bad := range []*event.RowChanged{&short, &keyless} {
		var ms codec.Messages
		err := e.AppendRows(&ms, "", []*event.RowChanged{good, bad})
		if err == nil || !strings.Contains(err.Error(), "test.every type at "+rowtest.CommitTs.String()) || ms.Len() != 0 {
			t.Errorf("got %v and %d messages", err, ms.Len())
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	d := decoder(t, csv.Config{OutputOldValue: true, Terminator: "\n"}, rowtest.Composite())
	const good = `"I","pair","test",false,"k",7,1` + "\n"
	for _, lines := range []string{
		`"I","pair","test",false,"k",7`,
		`"X","pair","test",false,"k",7,1`,
		`"I","pair","test",maybe,"k",7,1`,
		`"I","pair","test",false,"k",seven,1`,
		`"I","pair","test",false,"k,7,1`,
		`"I","pair","test",false,"k"x,7,1`,
		good + `"D","pair","test",true,"k",7,1`,
		`"I","pair","test",true,"k",7,1` + "\n" + good,
		`"D","pair","test",true,"k",7,1` + "\n" + good,
	} {
		if events, err := d.Decode(nil, []byte(lines)); err == nil {
			t.Errorf("%s: %d events", lines, len(events))
		} else if !strings.Contains(err.Error(), "test.pair") || strings.Contains(err.Error(), "seven") {
			t.Errorf("got %v", err)
		}
	}
	if events, err := d.Decode(nil, []byte(good+strings.TrimSuffix(good, "\n"))); err != nil || len(events) != 2 {
		t.Errorf("a last line without end: %d events, %v", len(events), err)
	}
}

func FuzzDecode(f *testing.F) {
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range configs {
			if !yield(name) {
				return
			}
		}
	})
	for i, name := range names {
		for _, c := range rowtest.Cases() {
			var ms codec.Messages
			if err := encoder(f, configs[name]).AppendRows(&ms, "", []*event.RowChanged{c.Row}); err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), ms.At(0).Value)
		}
	}
	table := rowtest.Table()
	f.Fuzz(func(t *testing.T, config uint8, lines []byte) {
		cfg := configs[names[int(config)%len(names)]]
		events, err := decoder(t, cfg, table).Decode(nil, lines)
		if err != nil {
			return
		}
		var rows []*event.RowChanged
		for _, e := range events {
			e.Row.Key = make([]byte, 19)
			rows = append(rows, e.Row)
		}
		var ms codec.Messages
		if err := encoder(t, cfg).AppendRows(&ms, "", rows); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAllocations(t *testing.T) {
	rowtest.CheckAllocs(t, 64, func(*event.TableInfo) codec.Encoder { return encoder(t, csv.Config{}) })
}

func BenchmarkCSV(b *testing.B) {
	peer := map[string]float64{"narrow.insert": 2509, "narrow.update": 2660, "wide.insert": 20199, "wide.update": 21480}
	rowtest.Bench(b, 64, peer, func(*event.TableInfo) codec.Encoder { return encoder(b, csv.Config{}) })
}
