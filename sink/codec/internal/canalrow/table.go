package canalrow

import (
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// NewTable returns the table that a message describes: columns, and the names of
// the primary key, which becomes the handle key. Names that are not among the
// columns are left out.
func NewTable(schema, table string, columns []event.ColumnInfo, primary []string) *event.TableInfo {
	t := &event.TableInfo{Schema: schema, Table: table, Columns: columns}
	index := event.IndexInfo{ID: 1, Name: "PRIMARY", Unique: true, Primary: true}
	for _, name := range primary {
		offset := slices.IndexFunc(columns, func(c event.ColumnInfo) bool { return c.Name == name })
		if offset < 0 || slices.Contains(t.HandleKey, offset) {
			continue
		}
		columns[offset].Flag |= event.FlagPrimaryKey | event.FlagNotNull
		t.HandleKey = append(t.HandleKey, offset)
		index.Columns = append(index.Columns, event.IndexColumn{Name: name, Offset: offset, Length: -1})
	}
	if t.HandleKey != nil {
		t.Indexes = []event.IndexInfo{index}
	}
	return t
}
