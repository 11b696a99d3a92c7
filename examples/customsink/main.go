// Customsink keeps a cache of a table fresh with a sink of a few lines.
//
//	go run ./examples/customsink -pd 127.0.0.1:2379 -table shop.product
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
)

// cache holds the newest version of every row, by the text of its primary key.
// Its lock is for readers: a changefeed calls a sink one at a time.
type cache struct {
	mu   sync.Mutex
	rows map[string]*event.RowChanged
}

// WriteRows implements sink.Sink. A repeat overwrites a row by the same row.
func (c *cache) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rows {
		if r.Kind() == event.Delete {
			delete(c.rows, key(r.Table, r.PreColumns))
			continue
		}
		c.rows[key(r.Table, r.Columns)] = r.Clone()
	}
	fmt.Printf("%d rows cached, up to %s\n", len(c.rows), rows[len(rows)-1].CommitTs.Time().Format("15:04:05.000"))
	return nil
}

// WriteDDL implements sink.Sink. A dropped or truncated table is an empty cache.
func (c *cache) WriteDDL(_ context.Context, ddl *event.DDL) error {
	if ddl.Type == event.DDLDropTable || ddl.Type == event.DDLTruncateTable {
		c.mu.Lock()
		defer c.mu.Unlock()
		clear(c.rows)
	}
	return nil
}

func key(t *event.TableInfo, values []event.Value) string {
	var k []byte
	for _, i := range t.HandleKey {
		k = append(values[i].AppendText(k), 0)
	}
	return string(k)
}

func main() {
	pd := flag.String("pd", "127.0.0.1:2379", "PD's address")
	table := flag.String("table", "shop.product", "the table to cache, as schema.table")
	target := flag.Uint64("target-ts", 0, "stop at this ts; 0 means never")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *pd, *table, event.Ts(*target)); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pd, table string, target event.Ts) error {
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{pd}})
	if err != nil {
		return err
	}
	defer up.Close()
	one, err := filter.New(filter.Config{Rules: []string{table}})
	if err != nil {
		return err
	}
	feed, err := cdc.NewChangefeed(cdc.Config{
		ID: "cache", Upstream: up, Filter: one, TargetTs: target,
		Sink: &cache{rows: map[string]*event.RowChanged{}},
	})
	if err != nil {
		return err
	}
	return feed.Run(ctx)
}
