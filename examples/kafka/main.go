// Kafka streams the changes of some tables into a topic as canal-json, and goes on
// where it stopped:
//
//	go run ./examples/kafka -pd 127.0.0.1:2379 -sink 'kafka://127.0.0.1:9092/shop?protocol=canal-json&enable-tidb-extension=true' -rules 'shop.*'
//	go run ./cmd/cdc consume 'kafka://127.0.0.1:9092/shop?protocol=canal-json&enable-tidb-extension=true' --to stdout
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/kafka"
)

func main() {
	pd := flag.String("pd", "127.0.0.1:2379", "PD's address")
	uri := flag.String("sink", "kafka://127.0.0.1:9092/shop?protocol=canal-json&enable-tidb-extension=true", "where the changes go")
	rules := flag.String("rules", "shop.*", "which tables")
	dir := flag.String("dir", "checkpoints", "where the checkpoint is kept")
	start := flag.Uint64("start-ts", 0, "begin above this ts if there is no checkpoint yet; 0 means now")
	target := flag.Uint64("target-ts", 0, "stop at this ts; 0 means never")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, *pd, *uri, *rules, *dir, event.Ts(*start), event.Ts(*target))
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pd, uri, rules, dir string, start, target event.Ts) error {
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{pd}})
	if err != nil {
		return err
	}
	defer up.Close()
	tables, err := filter.New(filter.Config{Rules: []string{rules}})
	if err != nil {
		return err
	}
	checkpoints, err := cdc.NewDirCheckpoints(dir)
	if err != nil {
		return err
	}
	openers := sink.Openers{"kafka": kafka.Open, "kafka+ssl": kafka.Open}
	topic, closer, err := openers.Open(ctx, uri, sink.Config{
		Changefeed: "stream",
		// The rows of a table are spread over the partitions by their keys.
		Options: sink.Options{Dispatchers: []sink.DispatchRule{{Matcher: []string{"*.*"}, Partition: "index-value"}}},
	})
	if err != nil {
		return err
	}
	defer closer.Close()
	feed, err := cdc.NewChangefeed(cdc.Config{
		ID: "stream", Upstream: up, Sink: topic, Filter: tables, Checkpoints: checkpoints,
		StartTs: start, TargetTs: target, WriteConcurrency: 8,
	})
	if err != nil {
		return err
	}
	err = feed.Run(ctx)
	st := feed.Status()
	fmt.Printf("%d rows and %d DDLs sent, lag %v\n", st.Rows, st.DDLs, st.CheckpointLag(time.Now()).Round(time.Millisecond))
	return err
}
