package cdc_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// TestTableIsPulledOnce: changefeeds of one table share its regions, wherever
// each began, and all get everything.
func TestTableIsPulledOnce(t *testing.T) {
	c, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	table := c.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey(), cdctest.Text("what"))
	up, err := cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{c.PDAddr()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()

	const feeds = 4
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	got := make([]map[int64]int, feeds)
	wanted := make([]int, feeds)
	var mu sync.Mutex
	id := int64(0)
	for i := range feeds {
		start := c.Oracle().Now()
		table.Insert(id, "before")
		id++
		got[i] = map[int64]int{}
		for j := range i + 1 {
			wanted[j]++
		}
		feed, err := cdc.NewChangefeed(cdc.Config{
			ID: string(rune('a' + i)), Upstream: up, StartTs: start,
			Sink: sink.RowFunc(func(_ context.Context, rows []*event.RowChanged) error {
				mu.Lock()
				defer mu.Unlock()
				for _, r := range rows {
					got[i][r.Columns[0].Int64()]++
				}
				c.Tick() // wakes Await
				return nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() { _ = feed.Run(ctx) })
	}
	arrived := func(more int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			for i := range feeds {
				if len(got[i]) < wanted[i]+more {
					return false
				}
			}
			return true
		}
	}
	if err := c.Await(t.Context(), arrived(0)); err != nil {
		t.Fatal(err)
	}
	region := c.RegionAt(table.Key(0)).ID
	once := func() bool {
		n := 0
		for _, s := range c.Subscriptions(region) {
			if s.Span.Contains(table.Key(0)) {
				n++
			}
		}
		return n == 1
	}
	if err := c.Await(t.Context(), once); err != nil {
		t.Fatalf("the table is pulled by %d subscriptions: %v", len(c.Subscriptions(region)), err)
	}
	for range 10 {
		table.Insert(id, "after")
		id++
	}
	if err := c.Await(t.Context(), arrived(10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	group.Wait()
	for i := range feeds {
		for row, times := range got[i] {
			if times != 1 {
				t.Errorf("changefeed %d got row %d %d times", i, row, times)
			}
		}
	}
}
