package cdc_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// A changefeed goes on where the one before it stopped, if they share a
// checkpoint store and an ID.
func ExampleChangefeed_Run() {
	// A cluster for examples and tests; a real one is dialled the same way.
	cluster, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	orders := cluster.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey(), cdctest.Text("status"))

	ctx := context.Background()
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{cluster.PDAddr()}})
	if err != nil {
		log.Fatal(err)
	}
	defer up.Close()

	config := cdc.Config{
		ID: "orders", Upstream: up,
		StartTs:     cluster.Oracle().Now(),
		Checkpoints: &cdc.MemoryCheckpoints{}, // or cdc.NewDirCheckpoints
		Sink: sink.RowFunc(func(_ context.Context, rows []*event.RowChanged) error {
			for _, r := range rows {
				fmt.Println(r.Kind(), r.Image()[0].Any(), r.Image()[1].Any())
			}
			return nil
		}),
	}
	for _, status := range []string{"new", "paid"} {
		fmt.Println("run")
		if status == "new" {
			config.TargetTs = orders.Insert(1, status)
		} else {
			config.TargetTs = orders.Update(1, status)
		}
		feed, err := cdc.NewChangefeed(config)
		if err != nil {
			log.Fatal(err)
		}
		if err := feed.Run(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// run
	// insert 1 new
	// run
	// update 1 paid
}
