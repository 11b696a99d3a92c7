// Package playground runs the embedded TiDB of examples/playground as a child
// process, for the demo and the end-to-end tests, and speaks its control API.
package playground

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql" // for DB
)

// Options say what to start.
type Options struct {
	// Binary is the playground's executable.
	Binary string
	// Args are its flags, such as --stores=3.
	Args []string
	// Stderr, if not nil, gets what it prints there.
	Stderr io.Writer
}

// Playground is a running cluster. Its fields are the addresses it printed.
type Playground struct {
	PD        string  `json:"pd"`
	MySQL     string  `json:"mysql"`
	Status    string  `json:"status"`
	Control   string  `json:"control"`
	ClusterID uint64  `json:"cluster_id"`
	Stores    []Store `json:"stores"`
	Dir       string  `json:"dir"`
	Version   string  `json:"version"`

	cmd   *exec.Cmd
	stdin io.Closer
}

// Store is one TiKV store.
type Store struct {
	ID   uint64 `json:"id"`
	Addr string `json:"addr"`
}

// Start runs a playground and waits until it is ready. It lives until Close, or
// until this process ends: it watches its standard input.
func Start(ctx context.Context, o Options) (*Playground, error) {
	cmd := exec.Command(o.Binary, o.Args...)
	cmd.Stderr = o.Stderr
	// In a group of its own it does not get the terminal's Ctrl-C: it ends when
	// its user is done with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A process that ignores the end of its input is killed after a while.
	cmd.WaitDelay = 10 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start playground: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start playground: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start playground: %w", err)
	}
	p := &Playground{cmd: cmd, stdin: stdin}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if !stop() {
		return nil, errors.Join(context.Cause(ctx), cmd.Wait())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("playground ended before it was ready: %w", err), cmd.Wait())
	}
	if err := json.Unmarshal(line, p); err != nil {
		return nil, errors.Join(fmt.Errorf("read playground's addresses from %q: %w", line, err), p.Close())
	}
	return p, nil
}

// Close ends the playground and waits for it.
func (p *Playground) Close() error {
	if err := p.stdin.Close(); err != nil {
		return fmt.Errorf("end playground: %w", err)
	}
	t := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer t.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("end playground: %w", err)
	}
	return nil
}

// Kill ends it the hard way.
func (p *Playground) Kill() { _ = p.cmd.Process.Kill() }

// DB opens a database of its TiDB. params are the driver's, such as
// "time_zone=%27%2B00:00%27".
func (p *Playground) DB(database, params string) (*sql.DB, error) {
	return sql.Open("mysql", fmt.Sprintf("root@tcp(%s)/%s?%s", p.MySQL, database, params))
}
