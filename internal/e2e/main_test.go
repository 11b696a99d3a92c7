package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/internal/playground"
)

// cluster is the TiDB that all tests share; each uses databases of its own.
var cluster *playground.Playground

func TestMain(m *testing.M) {
	if config := os.Getenv(consumerVar); config != "" {
		if err := consume(config); err != nil {
			fmt.Fprintln(os.Stderr, "consumer:", err)
			os.Exit(1) //nolint:forbidigo // the process is another program
		}
		return
	}
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // how a TestMain ends
}

func runTests(m *testing.M) (code int, err error) {
	cluster, err = playground.Start(context.Background(), playground.Options{
		Binary: playgroundBinary(), Args: []string{"--stores=3"}, Stderr: os.Stderr,
	})
	if err != nil {
		return 0, fmt.Errorf("%w (make playground builds it)", err)
	}
	code = m.Run()
	return code, errors.Join(cluster.Close(), stopReplica())
}

func playgroundBinary() string {
	if b := os.Getenv("TIDBCDC_PLAYGROUND"); b != "" {
		return b
	}
	return "../../bin/playground"
}

// seed returns SEED, or a new one, and prints it.
func seed(t *testing.T) uint64 {
	t.Helper()
	return seedOr(t, uint64(time.Now().UnixNano()))
}

// seedOr returns SEED, or n, and prints it.
func seedOr(t *testing.T, n uint64) uint64 {
	t.Helper()
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED=%q: want a number", s)
		}
	}
	t.Logf("SEED=%d repeats this workload", n)
	return n
}

// testContext ends when the test must be over.
func testContext(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// database makes an empty database and returns a pool of connections to it.
// Sessions are in UTC and as lax about values as TiDB can be.
func database(t *testing.T, name string) *sql.DB {
	t.Helper()
	admin, err := cluster.DB("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	mustExec(t, admin, "DROP DATABASE IF EXISTS "+name, "CREATE DATABASE "+name)
	db, err := cluster.DB(name, "time_zone=%27%2B00:00%27&sql_mode=%27%27")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func mustExec(t *testing.T, db *sql.DB, queries ...string) {
	t.Helper()
	for _, q := range queries {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// dial connects to the shared cluster.
func dial(t *testing.T) *cdc.Upstream {
	t.Helper()
	up, err := cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{cluster.PD}, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := up.Close(); err != nil {
			t.Errorf("close upstream: %v", err)
		}
	})
	return up
}

func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}
