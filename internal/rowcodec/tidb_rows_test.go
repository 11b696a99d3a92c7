package rowcodec_test

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
)

// tidbCase is a table in a real TiDB: the statements that made it, every row as
// TiKV stored it, and every value as a SELECT with time_zone +00:00 printed it
// (bytes as 0x and hex, BIT as a number).
type tidbCase struct {
	Name    string          `json:"name"`
	SQL     []string        `json:"sql"`
	Columns []string        `json:"columns"`
	Table   json.RawMessage `json:"table"`
	Rows    []struct {
		Key    string    `json:"key"`
		Value  string    `json:"value"`
		Values []*string `json:"values"`
	} `json:"rows"`
}

// openJSON returns a decoder of a gzipped file of JSON values in testdata.
func openJSON(t testing.TB, name string) *json.Decoder {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return json.NewDecoder(zr)
}

func tidbCases(t testing.TB) []tidbCase {
	t.Helper()
	var cases []tidbCase
	for d := openJSON(t, "tidb_rows.jsonl.gz"); ; {
		var c tidbCase
		err := d.Decode(&c)
		if errors.Is(err, io.EOF) {
			return cases
		}
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
}

func (c *tidbCase) plan(t testing.TB) *rowcodec.Plan {
	t.Helper()
	info, err := event.ParseTableInfo(c.Table, 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	p, err := rowcodec.NewPlan(info)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shown renders a value as the test data has it; nil is NULL.
func shown(v event.Value) *string {
	if v.IsNull() {
		return nil
	}
	s := v.Text()
	if v.Kind() == event.KindBytes {
		s = "0x" + hex.EncodeToString(v.Bytes())
	}
	return &s
}

func quote(s *string) string {
	if s == nil {
		return "NULL"
	}
	if len(*s) > 200 {
		return (*s)[:200] + "…"
	}
	return "'" + *s + "'"
}

func compareImage(t *testing.T, info *event.TableInfo, got []event.Value, want []*string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d columns, want %d", len(got), len(want))
	}
	for i := range want {
		g := shown(got[i])
		if (g == nil) != (want[i] == nil) || g != nil && *g != *want[i] {
			t.Errorf("column %s: got %s %s, want %s", info.Columns[i].Name, got[i].Kind(), quote(g), quote(want[i]))
		}
	}
}

func TestRowsOfTiDB(t *testing.T) {
	for _, c := range tidbCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			p := c.plan(t)
			// Filled with another row's values, to see that every one is overwritten.
			dst := make([]event.Value, len(p.Table().Columns))
			for _, row := range c.Rows {
				for i := range dst {
					dst[i] = event.TextValue("stale")
				}
				if err := p.Decode(dst, fromHex(t, row.Key), fromHex(t, row.Value)); err != nil {
					t.Fatal(err)
				}
				compareImage(t, p.Table(), dst, row.Values)
			}
		})
	}
}

func TestRecordedRows(t *testing.T) {
	for _, shape := range []string{"narrow", "wide"} {
		t.Run(shape, func(t *testing.T) {
			schema, err := os.ReadFile(filepath.Join("testdata", shape+".table.json"))
			if err != nil {
				t.Fatal(err)
			}
			c := tidbCase{Table: schema}
			p := c.plan(t)
			dst := make([]event.Value, len(p.Table().Columns))
			rows, expected := openJSON(t, shape+".insert.jsonl.gz"), openJSON(t, shape+".insert.expected.jsonl.gz")
			n := 0
			for ; ; n++ {
				var row struct{ Key, Value string }
				var want []*string
				if err := rows.Decode(&row); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if err := expected.Decode(&want); err != nil {
					t.Fatal(err)
				}
				if err := p.Decode(dst, fromHex(t, row.Key), fromHex(t, row.Value)); err != nil {
					t.Fatal(err)
				}
				compareImage(t, p.Table(), dst, want)
			}
			if n != 100 {
				t.Errorf("compared %d rows, want 100", n)
			}
		})
	}
}
