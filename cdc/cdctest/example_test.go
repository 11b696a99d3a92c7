package cdctest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// A test of a sink: a cluster, a table, some changes, and what the sink makes of
// them.
func Example() {
	cluster, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	items := cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey(), cdctest.Text("name"))
	start := cluster.Oracle().Now()
	items.Insert(1, "pen")
	items.Insert(2, "ink")
	items.Update(1, "pencil")
	last := items.Delete(2)

	yourSink := sink.RowFunc(func(_ context.Context, rows []*event.RowChanged) error {
		for _, row := range rows {
			fmt.Println(row.Table.Name(), row.Kind(), row.Image()[0].Int64(), row.Image()[1].Text())
		}
		return nil
	})

	ctx := context.Background()
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{cluster.PDAddr()}})
	if err != nil {
		log.Fatal(err)
	}
	defer up.Close()
	checked := cdctest.Validate(yourSink, cdctest.ValidatorConfig{StartTs: start, Base: cluster.State(start)})
	feed, err := cdc.NewChangefeed(cdc.Config{ID: "test", Upstream: up, Sink: checked, StartTs: start, TargetTs: last})
	if err != nil {
		log.Fatal(err)
	}
	if err := feed.Run(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("violations:", checked.Err(), cluster.Err(), checked.State(last).Diff(cluster.State(last)))
	// Output:
	// shop.items insert 1 pen
	// shop.items insert 2 ink
	// shop.items update 1 pencil
	// shop.items delete 2 ink
	// violations: <nil> <nil> []
}
