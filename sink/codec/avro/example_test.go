package avro_test

import (
	"context"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/avro"
)

// registryFunc is a registry that forgets: real ones are of package registry.
type registryFunc func(subject, schema string) avro.SchemaID

func (f registryFunc) Register(_ context.Context, subject, schema string) (avro.SchemaID, error) {
	return f(subject, schema), nil
}

// A sink registers the schemas of a version of a table before its first row.
func ExampleEncoder() {
	enc := avro.NewEncoder(avro.Config{}, registryFunc(func(subject, schema string) avro.SchemaID {
		fmt.Println(subject, schema)
		return avro.ConfluentID(7)
	}))
	table := &event.TableInfo{
		Schema: "shop", Table: "item", HandleKey: []int{0},
		Columns: []event.ColumnInfo{{Name: "id", Type: event.TypeLonglong, Flag: event.FlagNotNull}},
	}
	row := &event.RowChanged{CommitTs: 5, Table: table, Columns: []event.Value{event.Int64Value(1)}}

	if err := enc.Prepare(context.Background(), "items", table); err != nil {
		fmt.Println(err)
		return
	}
	var messages codec.Messages
	if err := enc.AppendRows(&messages, "items", []*event.RowChanged{row}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%x\n", messages.At(0).Value)
	// Output:
	// items-key {"type":"record","name":"item","namespace":"default.shop","fields":[{"name":"id","type":{"type":"long","connect.parameters":{"tidb_type":"BIGINT"}}}]}
	// items-value {"type":"record","name":"item","namespace":"default.shop","fields":[{"name":"id","type":{"type":"long","connect.parameters":{"tidb_type":"BIGINT"}}}]}
	// 000000000702
}
