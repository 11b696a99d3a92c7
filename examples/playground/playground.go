// Package playground runs a small TiDB cluster in one process: a real PD, a
// number of stores that stand in for TiKV (see package kvnode), and a real TiDB
// server, all on 127.0.0.1. It is made for the tests and demonstrations of change
// data capture, which run it as a child process through cmd/playground.
//
// TiDB keeps state in globals, so a process can run one playground in its life.
package playground

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	_ "github.com/go-sql-driver/mysql" // the MySQL driver that sets TiDB's variables

	"github.com/tidbcdc/tidbcdc/examples/playground/control"
	"github.com/tidbcdc/tidbcdc/examples/playground/kvnode"
	"github.com/tidbcdc/tidbcdc/examples/playground/loopback"
	"github.com/tidbcdc/tidbcdc/examples/playground/pdnode"
	_ "github.com/tidbcdc/tidbcdc/examples/playground/protoconflict" // PD and TiDB link different etcds
	"github.com/tidbcdc/tidbcdc/examples/playground/tidbnode"
)

// Version is the version that PD, the stores and TiDB report.
const Version = "8.2.0"

// readyTimeout bounds the wait for TiDB's first answer.
const readyTimeout = time.Minute

// Config describes a playground. Its zero value is one store, free ports and a
// temporary directory.
type Config struct {
	// Stores is the number of stores. Defaults to 1.
	Stores int
	// Dir holds data and logs. Empty means a temporary directory that Close
	// removes.
	Dir string
	// PDPort, MySQLPort, StatusPort and ControlPort are ports of 127.0.0.1; 0
	// chooses a free one.
	PDPort, MySQLPort, StatusPort, ControlPort int
	// ResolvedTsInterval defaults to kvnode.DefaultResolvedTsInterval.
	ResolvedTsInterval time.Duration
	// StreamQuota defaults to kvnode.DefaultStreamQuota.
	StreamQuota int64
	// EventFeedV1Only makes the stores deny that they know EventFeedV2.
	EventFeedV1Only bool
	// KeepLeaders stops PD from balancing leaders between stores.
	KeepLeaders bool
	// LogLevel is that of PD and TiDB. Defaults to warn.
	LogLevel string
	// CA, Cert and Key are PEM files. When set, PD, the stores and TiDB's status
	// port want mutual TLS.
	CA, Cert, Key string
}

// Info says where a playground is. It is what cmd/playground prints.
type Info struct {
	PD        string         `json:"pd"`
	MySQL     string         `json:"mysql"`
	Status    string         `json:"status"`
	Control   string         `json:"control"`
	ClusterID uint64         `json:"cluster_id"`
	Stores    []kvnode.Store `json:"stores"`
	Dir       string         `json:"dir"`
	Version   string         `json:"version"`
}

// Playground is a running cluster.
type Playground struct {
	cfg     Config
	tempDir bool
	pd      *pdnode.Node
	kv      *kvnode.Cluster
	tidb    *tidbnode.Node
	control *control.Server
}

// Start runs a playground and returns when TiDB answers.
func Start(ctx context.Context, cfg Config) (*Playground, error) {
	p := &Playground{cfg: cfg}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Playground) start(ctx context.Context) error {
	c := &p.cfg
	if err := p.prepare(); err != nil {
		return err
	}
	ports, err := loopback.Ports(5)
	if err != nil {
		return err
	}
	for i, port := range []*int{&c.PDPort, &c.MySQLPort, &c.StatusPort} {
		if *port == 0 {
			*port = ports[i]
		}
	}
	p.pd, err = pdnode.Start(context.WithoutCancel(ctx), pdnode.Config{
		Version: Version, Dir: filepath.Join(c.Dir, "pd"), ClientPort: c.PDPort, PeerPort: ports[3], HiddenPort: ports[4],
		Replicas: max(c.Stores, 1), Balance: !c.KeepLeaders,
		LogFile: filepath.Join(c.Dir, "pd.log"), LogLevel: c.LogLevel,
		CA: c.CA, Cert: c.Cert, Key: c.Key,
	})
	if err != nil {
		return err
	}
	p.kv, err = kvnode.Start(ctx, kvnode.Config{
		Version: Version, Stores: c.Stores, Dir: filepath.Join(c.Dir, "kv"), PDAddr: p.pd.Addr(),
		ResolvedTsInterval: c.ResolvedTsInterval, StreamQuota: c.StreamQuota, EventFeedV1Only: c.EventFeedV1Only,
		CA: c.CA, Cert: c.Cert, Key: c.Key,
	})
	if err != nil {
		return err
	}
	p.tidb, err = tidbnode.Start(tidbnode.Config{
		Version: Version, PDAddr: p.pd.Addr(), Port: c.MySQLPort, StatusPort: c.StatusPort,
		Dir: filepath.Join(c.Dir, "tidb"), LogFile: filepath.Join(c.Dir, "tidb.log"), LogLevel: c.LogLevel,
		CA: c.CA, Cert: c.Cert, Key: c.Key,
	})
	if err != nil {
		return err
	}
	if err := p.setVariables(ctx); err != nil {
		return err
	}
	p.control, err = control.Start(p.kv, p.tidb, p.pd, c.ControlPort)
	return err
}

func (p *Playground) prepare() error {
	c := &p.cfg
	if c.LogLevel == "" {
		c.LogLevel = "warn"
	}
	if c.Dir == "" {
		dir, err := os.MkdirTemp("", "playground-")
		if err != nil {
			return fmt.Errorf("create data directory: %w", err)
		}
		c.Dir, p.tempDir = dir, true
	}
	for _, sub := range []string{"pd", "kv", "tidb"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, sub), 0o700); err != nil {
			return fmt.Errorf("create data directory: %w", err)
		}
	}
	return nil
}

// setVariables waits for TiDB and turns off what does not fit a playground. What
// needs services that the stores lack goes too: without import_sstpb an index can
// only be added by transactions.
func (p *Playground) setVariables(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	db, err := sql.Open("mysql", fmt.Sprintf("root@tcp(127.0.0.1:%d)/", p.cfg.MySQLPort))
	if err != nil {
		return fmt.Errorf("open tidb: %w", err)
	}
	defer db.Close()
	if err := p.waitTiDB(ctx, db); err != nil {
		return err
	}
	for _, stmt := range []string{
		"SET GLOBAL tidb_enable_dist_task = OFF", // first: the second needs it
		"SET GLOBAL tidb_ddl_enable_fast_reorg = OFF",
		"SET GLOBAL tidb_gogc_tuner_threshold = 0", // TiDB would let the heap grow to most of the memory
		"CREATE DATABASE IF NOT EXISTS test",
	} {
		if _, err := db.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("run %q: %w", stmt, err)
		}
	}
	return nil
}

func (p *Playground) waitTiDB(ctx context.Context, db *sql.DB) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case failed := <-p.tidb.Failed():
			return fmt.Errorf("run tidb: %w", failed)
		case <-ctx.Done():
			return fmt.Errorf("wait for tidb: %w", errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

// Info says where the playground is.
func (p *Playground) Info() Info {
	return Info{
		PD:        p.pd.Addr(),
		MySQL:     fmt.Sprintf("127.0.0.1:%d", p.cfg.MySQLPort),
		Status:    fmt.Sprintf("127.0.0.1:%d", p.cfg.StatusPort),
		Control:   p.control.Addr(),
		ClusterID: p.kv.ClusterID(),
		Stores:    p.kv.Stores(),
		Dir:       p.cfg.Dir,
		Version:   Version,
	}
}

// Failed gets an error when TiDB stops by itself.
func (p *Playground) Failed() <-chan error { return p.tidb.Failed() }

// Close stops everything, last started first, and removes a temporary
// directory. It may be called twice.
func (p *Playground) Close() error {
	var errs []error
	if p.control != nil {
		errs = append(errs, p.control.Close())
	}
	if p.tidb != nil {
		p.tidb.Close()
	}
	if p.kv != nil {
		errs = append(errs, p.kv.Close())
	}
	if p.pd != nil {
		p.pd.Close()
	}
	if p.tempDir {
		errs = append(errs, os.RemoveAll(p.cfg.Dir))
	}
	return errors.Join(errs...)
}
