// Resume counts changes per table and goes on where it stopped: its checkpoint
// is a file in a directory. Stop it with Ctrl-C, change something, start it again.
//
//	go run ./examples/resume -pd 127.0.0.1:2379 -dir /tmp/checkpoints
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

func main() {
	pd := flag.String("pd", "127.0.0.1:2379", "PD's address")
	dir := flag.String("dir", "checkpoints", "where the checkpoint is kept")
	target := flag.Uint64("target-ts", 0, "stop at this ts; 0 means never")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *pd, *dir, event.Ts(*target)); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pd, dir string, target event.Ts) error {
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{pd}})
	if err != nil {
		return err
	}
	defer up.Close()
	checkpoints, err := cdc.NewDirCheckpoints(dir)
	if err != nil {
		return err
	}
	counts := map[string]int{}
	feed, err := cdc.NewChangefeed(cdc.Config{
		ID: "resume", Upstream: up, Checkpoints: checkpoints, TargetTs: target,
		IgnoreIneligibleTables: true,
		Sink: sink.RowFunc(func(_ context.Context, rows []*event.RowChanged) error {
			counts[rows[0].Table.Name()] += len(rows)
			return nil
		}),
	})
	if err != nil {
		return err
	}
	err = feed.Run(ctx)
	for table, n := range counts {
		fmt.Printf("%s: %d changes\n", table, n)
	}
	st := feed.Status()
	fmt.Printf("stopped at checkpoint %d (%s)\n", st.CheckpointTs, st.CheckpointTs.Time())
	return err
}
