package rowcodec_test

import (
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
)

// fuzzTables are shapes that between them reach every decoder: all column
// types, and a clustered key of every type that can be in one.
func fuzzTables(t testing.TB) []*rowcodec.Plan {
	t.Helper()
	var plans []*rowcodec.Plan
	for _, c := range tidbCases(t) {
		switch c.Name {
		case "every type", "added columns", "composite key", "composite key of texts",
			"key of time, enum, set, bit, year", "prefix key", "large row by column id":
			plans = append(plans, c.plan(t))
		}
	}
	info := abTable()
	info.Columns = append(info.Columns, event.ColumnInfo{ID: 3, Name: "v", Type: event.TypeVector})
	p, err := rowcodec.NewPlan(info)
	if err != nil {
		t.Fatal(err)
	}
	return append(plans, p)
}

// What decodes must also render.
func render(dst []event.Value) {
	var buf []byte
	for _, v := range dst {
		buf = v.AppendText(buf[:0])
		v.Any()
	}
}

// FuzzDecode feeds any key and row, of either format, to every table.
func FuzzDecode(f *testing.F) {
	for _, c := range tidbCases(f) {
		for _, r := range c.Rows {
			if len(r.Value) < 8000 {
				f.Add(fromHex(f, r.Key), fromHex(f, r.Value))
			}
		}
	}
	f.Add(fromHex(f, rowKey), fromHex(f, "0806 1402000000 0000803f 00002040"))
	f.Add(fromHex(f, rowKey), fromHex(f, "8000 0100 0000 03 0c00 02000000 0000803f 00002040"))
	plans := fuzzTables(f)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		for _, p := range plans {
			dst := make([]event.Value, len(p.Table().Columns))
			if p.Decode(dst, key, value) == nil {
				render(dst)
			}
		}
	})
}

// FuzzDecodeKey feeds any key to every table.
func FuzzDecodeKey(f *testing.F) {
	for _, c := range tidbCases(f) {
		for _, r := range c.Rows {
			f.Add(fromHex(f, r.Key))
		}
	}
	plans := fuzzTables(f)
	f.Fuzz(func(t *testing.T, key []byte) {
		for _, p := range plans {
			dst := make([]event.Value, len(p.Table().Columns))
			if p.DecodeKey(dst, key) == nil {
				render(dst)
			}
		}
	})
}

// A row cut anywhere is refused or decodes to something that renders, and what
// is decoded never reaches beyond the row.
func TestCutRows(t *testing.T) {
	for _, c := range tidbCases(t) {
		p := c.plan(t)
		dst := make([]event.Value, len(p.Table().Columns))
		for _, r := range c.Rows {
			key, value := fromHex(t, r.Key), fromHex(t, r.Value)
			if len(value) > 8000 {
				continue
			}
			for cut := range value {
				if p.Decode(dst, key, value[:cut:cut]) == nil {
					render(dst)
				}
			}
			for cut := range key {
				if p.DecodeKey(dst, key[:cut:cut]) == nil {
					render(dst)
				}
			}
		}
	}
}
