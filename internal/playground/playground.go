// Package playground runs the embedded TiDB of examples/playground as a child
// process, for the demo and the end-to-end tests, and speaks its control API.
package playground

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"syscall"

	_ "github.com/go-sql-driver/mysql" // for DB

	"github.com/tidbcdc/tidbcdc/internal/child"
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

	process *child.Process
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
	// It sees the end of this process by that of its input, and then deletes its
	// files: it must not be killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start playground: %w", err)
	}
	p := &Playground{}
	process, err := child.Start(ctx, cmd, func(line string) bool {
		return json.Unmarshal([]byte(line), p) == nil && p.PD != ""
	})
	if err != nil {
		return nil, fmt.Errorf("start playground: %w", err)
	}
	p.process = process
	return p, nil
}

// Close ends the playground and waits for it.
func (p *Playground) Close() error { return p.process.Stop() }

// DB opens a database of its TiDB. params are the driver's, such as
// "time_zone=%27%2B00:00%27".
func (p *Playground) DB(database, params string) (*sql.DB, error) {
	return sql.Open("mysql", fmt.Sprintf("root@tcp(%s)/%s?%s", p.MySQL, database, params))
}
