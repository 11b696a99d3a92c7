package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"github.com/tidbcdc/tidbcdc/internal/mariadb"
	"github.com/tidbcdc/tidbcdc/internal/playground"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

// server is a downstream that tests share; each uses databases of its own.
type server struct {
	name string // MariaDB or TiDB
	addr string
	user string
}

// servers are started when a test first asks for them and end with the tests.
var servers struct {
	mariadb, tidb lazyServer
}

type lazyServer struct {
	once   sync.Once
	server *server
	err    error
	close  func() error
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, l := range []*lazyServer{&servers.mariadb, &servers.tidb} {
		if l.close == nil {
			continue
		}
		if err := l.close(); err != nil {
			fmt.Fprintln(os.Stderr, "end of a server:", err)
			code = 1
		}
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // how a TestMain ends
}

func (l *lazyServer) get(t testing.TB, start func(ctx context.Context) (*server, func() error, error)) *server {
	t.Helper()
	l.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		l.server, l.close, l.err = start(ctx)
	})
	if l.err != nil {
		if !mariadb.Required() {
			t.Skip(l.err)
		}
		t.Fatal(l.err)
	}
	return l.server
}

// mariaDB returns the MariaDB that tests share.
func mariaDB(t testing.TB) *server {
	t.Helper()
	return servers.mariadb.get(t, func(ctx context.Context) (*server, func() error, error) {
		s, err := mariadb.Start(ctx, mariadb.Options{})
		if err != nil {
			return nil, nil, err
		}
		return &server{"MariaDB", s.Addr, mariadb.User}, s.Close, nil
	})
}

// tidb returns the TiDB that tests share: the playground, which make builds.
func tidb(t testing.TB) *server {
	t.Helper()
	return servers.tidb.get(t, func(ctx context.Context) (*server, func() error, error) {
		binary := os.Getenv("TIDBCDC_PLAYGROUND")
		if binary == "" {
			binary = "../../bin/playground"
		}
		p, err := playground.Start(ctx, playground.Options{Binary: binary})
		if err != nil {
			return nil, nil, fmt.Errorf("%w (make playground builds it)", err)
		}
		return &server{"TiDB", p.MySQL, "root"}, p.Close, nil
	})
}

// onEach runs a test against every server.
func onEach(t *testing.T, test func(t *testing.T, s *server)) {
	t.Run("MariaDB", func(t *testing.T) { test(t, mariaDB(t)) })
	t.Run("TiDB", func(t *testing.T) { test(t, tidb(t)) })
}

// onAny returns MariaDB, or TiDB where that is missing and need not be there.
func onAny(t testing.TB) *server {
	if _, err := mariadb.Find(); errors.Is(err, mariadb.ErrMissing) && !mariadb.Required() {
		t.Log(err, "- using the playground's TiDB")
		return tidb(t)
	}
	return mariaDB(t)
}

// database makes an empty database and returns connections to it, which see
// timestamps in UTC and accept what the table's own changefeed would.
func (s *server) database(t testing.TB, name string) *sql.DB {
	t.Helper()
	admin := s.connect(t, "", nil)
	mustExec(t, admin, "DROP DATABASE IF EXISTS `"+name+"`", "CREATE DATABASE `"+name+"`")
	return s.connect(t, name, nil)
}

// connect returns connections to a database, "" for none.
func (s *server) connect(t testing.TB, name string, change func(*driver.Config)) *sql.DB {
	t.Helper()
	cfg := driver.NewConfig()
	cfg.User, cfg.Net, cfg.Addr, cfg.DBName = s.user, "tcp", s.addr, name
	cfg.MultiStatements = true
	cfg.Params = map[string]string{"time_zone": "'+00:00'", "sql_mode": "'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'"}
	if change != nil {
		change(cfg)
	}
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

// uri returns a sink URI for the server.
func (s *server) uri(parameters string) string {
	return "mysql://" + url.User(s.user).String() + "@" + s.addr + "/?" + parameters
}

// open opens a sink, to be closed with the test.
func (s *server) open(t testing.TB, parameters string) sink.Sink {
	t.Helper()
	return openURI(t, s.uri(parameters))
}

// ownMariaDB starts a server that no other test uses.
func ownMariaDB(t *testing.T, args ...string) *mariadb.Server {
	t.Helper()
	if _, err := mariadb.Find(); err != nil && !mariadb.Required() {
		t.Skip(err)
	}
	m, err := mariadb.Start(t.Context(), mariadb.Options{Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func openURI(t testing.TB, uri string) sink.Sink {
	t.Helper()
	out, closer, err := openers().Open(t.Context(), uri, sink.Config{Changefeed: "test", Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Errorf("close sink: %v", err)
		}
	})
	return out
}

func openers() sink.Openers {
	return sink.Openers{"mysql": mysql.Open, "mysql+ssl": mysql.Open, "tidb": mysql.Open, "tidb+ssl": mysql.Open}
}

func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func mustExec(t testing.TB, db *sql.DB, queries ...string) {
	t.Helper()
	for _, q := range queries {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// rowsOf returns the rows of a query, each with its values between spaces and
// NULL for NULL.
func rowsOf(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		var line []string
		for _, v := range values {
			if !v.Valid {
				v.String = "NULL"
			}
			line = append(line, v.String)
		}
		out = append(out, strings.Join(line, " "))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// seed returns SEED, or a new one, and prints it.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED=%q: want a number", s)
		}
	}
	t.Logf("SEED=%d repeats this workload", n)
	return n
}
