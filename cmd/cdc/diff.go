package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/spf13/cobra"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// errDiffer is the result of a comparison, not a failure of it.
var errDiffer = errors.New("the databases differ")

// diffFlags are the flags of cdc diff.
type diffFlags struct {
	upstream, downstream     string
	upstreamTs, downstreamTs uint64
	rules                    []string
	concurrency, rows        int
	checksums, quiet         bool
}

func diffCommand() *cobra.Command {
	d := &diffFlags{}
	cmd := &cobra.Command{
		Use: "diff --upstream URI --downstream URI", Short: "Compare the tables of a TiDB with those of its replica", Args: cobra.NoArgs,
		Long: `Compare the tables of a TiDB with those of its replica, or of any two of TiDB,
MySQL and MariaDB. Both are read as of one moment; the two moments must belong
together: let the changefeed reach --upstream-ts and no more, by its target ts, or
stop writing upstream and wait for its checkpoint.

URIs are of the form mysql://user:password@host:port/, with the parameters ssl-ca,
ssl-cert and ssl-key; by default the user is root and the port 3306. A password
may be in $` + upstreamPasswordEnv + ` or $` + downstreamPasswordEnv + ` instead.

Exits with 0 if nothing differs, 1 if something does, 2 if that cannot be told.`,
		Example: `  cdc diff --upstream mysql://root@tidb:4000/ --downstream mysql://root@replica:3306/ --filter 'shop.*'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := d.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil && !errors.Is(err, errDiffer) {
				return usageError{err}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&d.upstream, "upstream", "", "`URI` of the one side")
	f.StringVar(&d.downstream, "downstream", "", "`URI` of the other")
	f.Uint64Var(&d.upstreamTs, "upstream-ts", 0, "`TSO` that the upstream TiDB is read at (default: the present)")
	f.Uint64Var(&d.downstreamTs, "downstream-ts", 0, "`TSO` that a downstream TiDB is read at (default: the present)")
	f.StringSliceVar(&d.rules, "filter", []string{"*.*"}, "table `rules`")
	f.IntVar(&d.concurrency, "concurrency", 4, "connections to each side")
	f.BoolVar(&d.checksums, "checksums", false, "let the servers sum rows up first: for long rows and slow networks")
	f.IntVar(&d.rows, "rows", 10, "how many rows that differ are shown of each table")
	f.BoolVarP(&d.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

const (
	upstreamPasswordEnv   = "CDC_UPSTREAM_PASSWORD"
	downstreamPasswordEnv = "CDC_DOWNSTREAM_PASSWORD"
)

func (d *diffFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	if d.upstream == "" || d.downstream == "" {
		return errors.New("--upstream and --downstream are required")
	}
	tables, err := filter.New(filter.Config{Rules: d.rules})
	if err != nil {
		return err
	}
	up, err := openDatabase("--upstream", d.upstream, os.Getenv(upstreamPasswordEnv))
	if err != nil {
		return err
	}
	defer up.Close()
	down, err := openDatabase("--downstream", d.downstream, os.Getenv(downstreamPasswordEnv))
	if err != nil {
		return err
	}
	defer down.Close()
	o := diff.Options{Filter: tables, Concurrency: d.concurrency, Checksums: d.checksums, MaxDifferences: max(d.rows, 1)}
	if !d.quiet {
		o.Progress = progressLine(stderr)
	}
	result, err := diff.Compare(ctx, diff.Endpoint{DB: up, SnapshotTs: event.Ts(d.upstreamTs)}, diff.Endpoint{DB: down, SnapshotTs: event.Ts(d.downstreamTs)}, o)
	if err != nil {
		return err
	}
	if err := result.Print(stdout, d.rows); err != nil {
		return err
	}
	if !result.Equal() {
		return errDiffer
	}
	return nil
}

// progressLine prints now and then how far a comparison has come.
func progressLine(w io.Writer) func(diff.Progress) {
	const every = 5 * time.Second
	next := every
	return func(p diff.Progress) {
		if p.Elapsed < next {
			return
		}
		next = p.Elapsed + every
		fmt.Fprintf(w, "%s.%s: %d rows compared in %v\n", p.Schema, p.Table, p.Rows, p.Elapsed.Round(time.Second))
	}
}

// openDatabase connects to what a URI names when it is first used.
func openDatabase(flag, uri, password string) (*sql.DB, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%s %s: want mysql://user:password@host:port/", flag, sink.Redact(uri))
	}
	switch u.Scheme {
	case "mysql", "tidb", "mysql+ssl", "tidb+ssl":
	default:
		return nil, fmt.Errorf("%s: scheme %q: want mysql", flag, u.Scheme)
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd = "tcp", u.Host, u.User.Username(), password
	if u.Port() == "" {
		cfg.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	if cfg.User == "" {
		cfg.User = "root"
	}
	if p, ok := u.User.Password(); ok {
		cfg.Passwd = p
	}
	q := u.Query()
	if q.Get("ssl-ca") != "" || q.Get("ssl-cert") != "" || q.Get("ssl-key") != "" {
		if cfg.TLS, err = databaseTLS(q.Get("ssl-ca"), q.Get("ssl-cert"), q.Get("ssl-key")); err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return sql.OpenDB(connector), nil
}

func databaseTLS(ca, cert, key string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" { // else the machine's
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read ssl-ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ssl-ca %s holds no certificate", ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("load ssl-cert and ssl-key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
