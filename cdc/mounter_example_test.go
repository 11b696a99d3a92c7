package cdc_test

import (
	"encoding/hex"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// fixedSchema resolves every table to one schema.
type fixedSchema struct{ table *event.TableInfo }

func (s fixedSchema) Table(int64, event.Ts) (*event.TableInfo, error) { return s.table, nil }

// A Mounter works without a changefeed: here on one key and value as they stand
// in TiKV.
func ExampleMounter_Mount() {
	table := &event.TableInfo{
		ID: 104, Schema: "test", Table: "users", PKIsHandle: true,
		Columns: []event.ColumnInfo{
			{ID: 1, Name: "id", Type: event.TypeLonglong, Flag: event.FlagPrimaryKey | event.FlagNotNull},
			{ID: 2, Name: "name", Type: event.TypeVarchar, Charset: "utf8mb4"},
		},
	}
	key, _ := hex.DecodeString("7480000000000000685f728000000000000001")
	value, _ := hex.DecodeString("8000010000000205006861707079")
	m := cdc.NewMounter(fixedSchema{table}, cdc.MounterOptions{})
	row, err := m.Mount(&event.RawKV{Op: event.OpPut, Key: key, Value: value, StartTs: 1, CommitTs: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, c := range row.Table.Columns {
		fmt.Println(row.Kind(), c.Name, row.Columns[i].Text())
	}
	// Output:
	// insert id 1
	// insert name happy
}
