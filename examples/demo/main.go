// Demo shows the library at work: it starts a real TiDB cluster in a child
// process, runs a small shop on it, follows the shop with a changefeed and
// prints every change. Use make demo.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/playground"
)

func main() {
	binary := flag.String("playground", "bin/playground", "the playground's executable; make playground builds it")
	daemon := flag.String("cdc", "", "the daemon's executable; it is run beside the changefeed here, with one of its own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *daemon); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// errTimeUp ends the demo after DEMO_SECONDS.
var errTimeUp = errors.New("time is up")

func run(ctx context.Context, binary, daemon string) error {
	seconds, err := demoSeconds()
	if err != nil {
		return err
	}
	fmt.Println("starting PD, one TiKV store and TiDB in a child process …")
	cluster, err := playground.Start(ctx, playground.Options{Binary: binary, Stderr: os.Stderr})
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	defer func() {
		if err := cluster.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
	}()
	host, port := splitAddr(cluster.MySQL)
	fmt.Printf("TiDB is up; look at it, or change something: mysql -h %s -P %s -u root shop\n", host, port)

	if seconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, seconds, errTimeUp)
		defer cancel()
	}
	if daemon != "" {
		server, err := startDaemon(ctx, daemon, cluster.PD)
		if err != nil {
			return ignoreInterrupt(ctx, err)
		}
		defer server.stop()
		fmt.Printf("the daemon is up too, with a changefeed that counts: %s/ in a browser, or: curl %s/api/v1/changefeeds\n", server.url, server.url)
	}
	db, err := cluster.DB("", "")
	if err != nil {
		return err
	}
	defer db.Close()

	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{
		PD:     []string{cluster.PD},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	defer up.Close()
	startTs, err := up.CurrentTs(ctx)
	if err != nil {
		return ignoreInterrupt(ctx, err)
	}
	shop, err := filter.New(filter.Config{Rules: []string{"shop.*"}})
	if err != nil {
		return err
	}
	printer := &printer{out: os.Stdout}
	feed, err := cdc.NewChangefeed(cdc.Config{ID: "demo", Upstream: up, Sink: printer, Filter: shop, StartTs: startTs})
	if err != nil {
		return err
	}
	printer.status = feed.Status
	fmt.Println("every change of the shop follows, with its transaction's commit time; lag is the checkpoint's distance from now (Ctrl-C ends)")

	sales := make(chan error, 1)
	go func() { sales <- runShop(ctx, db) }()
	err = feed.Run(ctx)
	st := feed.Status()
	if werr := <-sales; ctx.Err() == nil && werr != nil {
		err = errors.Join(err, werr)
	}
	fmt.Printf("summary: %d rows, %d DDLs, checkpoint lag %.2f s\n", st.Rows, st.DDLs, st.CheckpointLag(time.Now()).Seconds())
	return ignoreInterrupt(ctx, err)
}

// ignoreInterrupt turns an error that comes from Ctrl-C or the end of
// DEMO_SECONDS into none.
func ignoreInterrupt(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

func demoSeconds() (time.Duration, error) {
	s := os.Getenv("DEMO_SECONDS")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("DEMO_SECONDS=%q: want a number of seconds", s)
	}
	return time.Duration(n * float64(time.Second)), nil
}
