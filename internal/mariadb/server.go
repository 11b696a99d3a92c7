// Package mariadb runs a real MariaDB server as a child process, in a directory
// and on a port of its own, for tests and benchmarks of the MySQL sink.
//
//	server, err := mariadb.Start(ctx, mariadb.Options{})
//	…
//	defer server.Close()
//	db, err := server.DB("")
//
// It needs no installed or running service and no privileges, only the programs
// mariadbd and mariadb-install-db: see [Find]. A test that can use another
// server where they are missing asks Find and [Required].
package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/go-sql-driver/mysql"

	"github.com/tidbcdc/tidbcdc/internal/child"
)

// User is the account with all privileges. It has no password: the server
// listens on the loopback interface only.
const User = "root"

// Options say how to start a server. The zero value is valid.
type Options struct {
	// Args are more options of mariadbd, such as --sql-mode=ANSI. They win over
	// those that Start gives: utf8mb4 with utf8mb4_bin, no binary log, a cache of
	// 256 MiB, and a log that is flushed at every commit.
	Args []string
	// TimeZones are loaded into the server, by name such as Asia/Shanghai; needs
	// mariadb-tzinfo-to-sql. Offsets such as +08:00 need nothing.
	TimeZones []string
	// Log gets what the server writes to its error log; nil discards it.
	Log io.Writer
}

// Server is a running MariaDB. Kill, Stop, Restart and Close are for one goroutine
// at a time.
type Server struct {
	// Addr is host:port. A restart keeps it.
	Addr string

	binary, dir string
	options     Options
	process     *child.Process
}

// Start makes a new data directory and runs a server on it until Close. ctx
// bounds the starting only.
func Start(ctx context.Context, o Options) (*Server, error) {
	binary, err := Find()
	if err != nil {
		return nil, fmt.Errorf("start MariaDB: %w", err)
	}
	dir, err := os.MkdirTemp("", "mariadb-")
	if err != nil {
		return nil, fmt.Errorf("start MariaDB: %w", err)
	}
	s := &Server{binary: binary, dir: dir, options: o}
	if err := s.install(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start MariaDB: %w", err), os.RemoveAll(dir))
	}
	// Another process may take the port that was free a moment ago.
	const attempts = 5
	for range attempts {
		if err = child.FreeAddrs(&s.Addr); err != nil {
			break
		}
		if err = s.Restart(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err == nil {
		err = s.loadTimeZones(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start MariaDB: %w", err), s.Close())
	}
	return s, nil
}

// install makes the system tables.
func (s *Server) install(ctx context.Context) error {
	installer, err := findTool(s.binary, "mariadb-install-db")
	if err != nil {
		return err
	}
	args := []string{
		"--no-defaults", "--datadir=" + s.data(), "--auth-root-authentication-method=normal",
		"--skip-test-db", "--innodb-log-file-size=16M", "--innodb-fast-shutdown=0",
		// At its start a server deletes the temporary tables that it finds, and ends if
		// another server in the same folder was faster.
		"--tmpdir=" + s.dir,
	}
	cmd := exec.CommandContext(ctx, installer, append(args, asRoot()...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", installer, err, out)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// asRoot lets mariadbd run as root, as in a container; it refuses otherwise.
func asRoot() []string {
	if os.Getuid() == 0 {
		return []string{"--user=root"}
	}
	return nil
}

func (s *Server) args() []string {
	_, port, _ := net.SplitHostPort(s.Addr)
	args := []string{
		"--no-defaults", "--datadir=" + s.data(), "--bind-address=127.0.0.1", "--port=" + port,
		"--socket=" + filepath.Join(s.dir, "socket"), "--pid-file=" + filepath.Join(s.dir, "pid"), "--tmpdir=" + s.dir,
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin",
		"--innodb-buffer-pool-size=256M", "--innodb-log-file-size=256M", "--innodb-flush-log-at-trx-commit=1",
		"--skip-log-bin", "--skip-name-resolve", "--max-connections=500",
	}
	return append(append(args, asRoot()...), s.options.Args...)
}

// Restart starts the server again after Kill or Stop, on the same data and
// address, and waits until it accepts connections.
func (s *Server) Restart(ctx context.Context) (err error) {
	if s.process.PID() != 0 {
		return errors.New("restart MariaDB: it is running")
	}
	cmd := exec.Command(s.binary, s.args()...)
	cmd.Stdout = s.options.Log
	s.process, err = child.Start(ctx, cmd, child.Says("ready for connections"))
	return err
}

// Kill ends the server as a power failure would, as far as it is concerned.
// The data stays.
func (s *Server) Kill() error { return s.process.Kill() }

// Stop ends the server in good order. The data stays.
func (s *Server) Stop() error { return s.process.Stop() }

// Pause stops the server's process where it is: connections stay open and
// nothing answers. Call resume.
func (s *Server) Pause() (resume func() error, err error) { return s.process.Pause() }

// Close ends the server and deletes its data.
func (s *Server) Close() error {
	return errors.Join(s.Kill(), os.RemoveAll(s.dir))
}

// Config returns how the driver connects as [User], to a database or "" for none.
func (s *Server) Config(database string) *mysql.Config {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.DBName = User, "tcp", s.Addr, database
	cfg.MultiStatements = true
	return cfg
}

// DB returns a pool of connections as Config describes them.
func (s *Server) DB(database string) (*sql.DB, error) {
	connector, err := mysql.NewConnector(s.Config(database))
	if err != nil {
		return nil, fmt.Errorf("connect to MariaDB: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// DSN returns Config as the driver's data source name.
func (s *Server) DSN(database string) string { return s.Config(database).FormatDSN() }
