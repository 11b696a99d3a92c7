package column_test

import (
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
)

// TestTypes: a name leads back to the type it names.
func TestTypes(t *testing.T) {
	for _, c := range rowtest.Table().Columns {
		got := event.ColumnInfo{Name: c.Name}
		name := column.TypeName(&c)
		if err := column.SetType(&got, name); err != nil {
			t.Error(err)
		}
		if got.Type != c.Type || column.IsString(&c) && got.Binary() != c.Binary() {
			t.Errorf("%s: %s is read as type %d", c.Name, name, got.Type)
		}
	}
	if err := column.SetType(&event.ColumnInfo{Name: "a"}, "geometry"); err == nil {
		t.Error("geometry: no error")
	}
}

// TestParse: the text of a value leads back to the value, in any zone.
func TestParse(t *testing.T) {
	tokyo := time.FixedZone("UTC+9", 9*3600)
	table := rowtest.Table()
	for _, loc := range []*time.Location{time.UTC, tokyo} {
		for _, c := range rowtest.Cases() {
			for i, v := range c.Row.Image() {
				if v.IsNull() {
					continue
				}
				info := &table.Columns[i]
				got, err := column.Parse(info, string(v.AppendTextIn(nil, loc)), loc)
				if err != nil {
					t.Error(err)
				} else if !event.Equal(got, v) {
					t.Errorf("%s: %s %s is read as %s %s", info.Name, v.Kind(), v.Text(), got.Kind(), got.Text())
				}
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	table := rowtest.Table()
	for i := range table.Columns {
		c := &table.Columns[i]
		if column.IsString(c) || c.Type == event.TypeEnum || c.Type == event.TypeSet {
			continue
		}
		if v, err := column.Parse(c, "secret", time.UTC); err == nil {
			t.Errorf("%s: %s", c.Name, v.Text())
		} else if got := err.Error(); got != "column "+c.Name+": not a "+column.TypeName(c) {
			t.Errorf("%s: %s", c.Name, got)
		}
	}
}
