package dispatcher_test

import (
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/dispatcher"
)

// Orders go to a topic of their own, spread over its partitions by order; all else
// stays in the default topic, a table's changes in one partition.
func Example() {
	d, err := dispatcher.New(dispatcher.Config{
		DefaultTopic: "changes",
		Rules: []dispatcher.Rule{
			{Matcher: []string{"shop.order*"}, Partition: "index-value", Topic: "{schema}_{table}"},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	id := []event.ColumnInfo{{Name: "id", Type: event.TypeLonglong}}
	for _, table := range []*event.TableInfo{
		{Schema: "shop", Table: "orders", Columns: id, HandleKey: []int{0}},
		{Schema: "shop", Table: "users", Columns: id, HandleKey: []int{0}},
	} {
		for n := range 3 {
			row := &event.RowChanged{Table: table, Columns: []event.Value{event.Int64Value(int64(n))}}
			partition, err := d.Partition(row, 16)
			fmt.Println(d.TableTopic(table), partition, err)
		}
	}
	// Output:
	// shop_orders 2 <nil>
	// shop_orders 4 <nil>
	// shop_orders 14 <nil>
	// changes 9 <nil>
	// changes 9 <nil>
	// changes 9 <nil>
}

// An update that changes a column by which rows are dispatched leaves its partition.
func ExampleDispatcher_Moves() {
	d, err := dispatcher.New(dispatcher.Config{Rules: []dispatcher.Rule{
		{Matcher: []string{"*.*"}, Partition: "columns", Columns: []string{"region"}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	table := &event.TableInfo{Schema: "shop", Table: "users", Columns: []event.ColumnInfo{{Name: "region", Type: event.TypeVarchar}}}
	fmt.Println(d.Moves(&event.RowChanged{
		Table:      table,
		PreColumns: []event.Value{event.TextValue("emea")},
		Columns:    []event.Value{event.TextValue("apac")},
	}, 8))
	// Output: true <nil>
}
