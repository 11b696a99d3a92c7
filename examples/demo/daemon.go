package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/internal/child"
)

// daemon is a cdc server in a child process.
type daemon struct {
	process *child.Process
	url     string
	dir     string
}

// startDaemon starts a server of its own over the cluster, and by its API a
// changefeed that drops what it gets.
func startDaemon(ctx context.Context, binary, pd string) (*daemon, error) {
	dir, err := os.MkdirTemp("", "cdc-demo-")
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir}
	cmd := exec.Command(binary, "server", "--standalone", "--pd", pd, "--addr", "127.0.0.1:0", "--data-dir", dir, "--log-level", "error")
	cmd.Stderr = os.Stderr
	d.process, err = child.Start(ctx, cmd, func(line string) (ready bool) {
		d.url, ready = strings.CutPrefix(line, "cdc serves ")
		return ready
	})
	if err != nil {
		d.stop()
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	if err := d.create(ctx); err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

// create creates the changefeed as soon as the daemon takes it.
func (d *daemon) create(ctx context.Context) error {
	const body = `{"changefeed_id": "shop-count", "sink_uri": "blackhole://", "filter_rules": ["shop.*"]}`
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+"/api/v1/changefeeds", strings.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("create a changefeed: %w", err)
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			return fmt.Errorf("create a changefeed: %w", err)
		case resp.StatusCode == http.StatusAccepted:
			return nil
		case resp.StatusCode != http.StatusServiceUnavailable:
			return errors.New("create a changefeed: " + string(answer))
		}
		select { // it has only just started
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (d *daemon) stop() {
	if err := d.process.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	if err := os.RemoveAll(d.dir); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
}
