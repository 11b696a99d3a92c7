package apiserver_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/apiserver"
	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/blackhole"
)

// A node inside another program: changefeeds are created and looked after over HTTP.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{"127.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer up.Close()
	capture, err := cdc.NewCapture(cdc.CaptureConfig{
		Upstream: up, DataDir: "cdc-data", Address: "127.0.0.1:8300", ErrorCode: apiserver.ErrorCode,
		Openers: sink.Openers{"blackhole": blackhole.Open}, // the sinks that changefeeds may have
	})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Addr: "127.0.0.1:8300", Handler: apiserver.New(capture, apiserver.Options{}),
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return capture.Run(ctx) })
	group.Go(server.ListenAndServe)
	context.AfterFunc(ctx, func() { server.Close() })
	if err := group.Wait(); !errors.Is(err, context.Canceled) && !errors.Is(err, http.ErrServerClosed) {
		log.Print(err)
	}
}
