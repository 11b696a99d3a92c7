package diff_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidbcdc/tidbcdc/internal/mariadb"
	"github.com/tidbcdc/tidbcdc/internal/playground"
)

// servers are shared by all tests; each uses databases of its own. A nil one is
// not installed.
var servers struct {
	tidb      *playground.Playground
	mariadbs  [2]*mariadb.Server
	noMariaDB error
}

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err == nil {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests of diff:", err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // how a TestMain ends
}

func runTests(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, servers.noMariaDB = mariadb.Find(); servers.noMariaDB == nil || mariadb.Required() {
		for i := range servers.mariadbs {
			s, err := mariadb.Start(ctx, mariadb.Options{Args: []string{
				"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M",
			}})
			if err != nil {
				return 0, err
			}
			defer s.Close()
			servers.mariadbs[i] = s
		}
	}
	binary := os.Getenv("TIDBCDC_PLAYGROUND")
	if binary == "" {
		binary = "../../../bin/playground"
	}
	if servers.tidb, err = playground.Start(ctx, playground.Options{Binary: binary, Stderr: os.Stderr}); err != nil {
		return 0, fmt.Errorf("%w (make playground builds it)", err)
	}
	code = m.Run()
	return code, servers.tidb.Close()
}

// needMariaDB skips a test for which there is no server.
func needMariaDB(t testing.TB) {
	t.Helper()
	if servers.mariadbs[0] == nil {
		t.Skip(servers.noMariaDB)
	}
}

// mariaDB opens one of the two MariaDBs.
func mariaDB(t testing.TB, i int) *sql.DB {
	t.Helper()
	needMariaDB(t)
	db, err := servers.mariadbs[i].DB("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func tiDB(t testing.TB) *sql.DB {
	t.Helper()
	db, err := servers.tidb.DB("", "multiStatements=true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			if len(s) > 200 {
				s = s[:200]
			}
			t.Fatalf("%s: %v", s, err)
		}
	}
}
