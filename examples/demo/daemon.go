package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// daemon is a cdc server in a child process.
type daemon struct {
	cmd *exec.Cmd
	url string
	dir string
}

// startDaemon starts a server of its own over the cluster, and by its API a
// changefeed that drops what it gets.
func startDaemon(ctx context.Context, binary, pd string) (*daemon, error) {
	dir, err := os.MkdirTemp("", "cdc-demo-")
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir}
	d.cmd = exec.Command(binary, "server", "--standalone", "--pd", pd, "--addr", "127.0.0.1:0", "--data-dir", dir, "--log-level", "error")
	d.cmd.Stderr = os.Stderr
	// Ctrl-C is for the demo, which ends the daemon in its turn.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		d.stop()
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	d.url = strings.TrimSpace(strings.TrimPrefix(line, "cdc serves "))
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
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	if err := d.cmd.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, "the daemon:", err)
	}
	if err := os.RemoveAll(d.dir); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
}
