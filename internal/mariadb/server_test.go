package mariadb_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidbcdc/tidbcdc/internal/mariadb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o mariadb.Options) *mariadb.Server {
	t.Helper()
	if _, err := mariadb.Find(); err != nil && !mariadb.Required() {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o.Log = t.Output()
	s, err := mariadb.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestServer: what was committed outlives a kill; the data ends with Close.
func TestServer(t *testing.T) {
	s := start(t, mariadb.Options{Args: []string{"--sql-mode=ANSI"}, TimeZones: []string{"Asia/Shanghai"}})
	db, err := s.DB("")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, q := range []string{"CREATE DATABASE d", "CREATE TABLE d.t (a int)", "INSERT INTO d.t VALUES (1)"} {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	var local, mode, collation string
	if err := db.QueryRowContext(t.Context(), "SELECT CONVERT_TZ('2024-01-01 00:00:00', 'UTC', 'Asia/Shanghai'), @@sql_mode, @@collation_server").
		Scan(&local, &mode, &collation); err == nil {
		t.Error("UTC is a name that was not loaded, yet it is known")
	}
	if err := db.QueryRowContext(t.Context(), "SELECT CONVERT_TZ('2024-01-01 00:00:00', '+00:00', 'Asia/Shanghai'), @@global.sql_mode, @@collation_server").
		Scan(&local, &mode, &collation); err != nil || local != "2024-01-01 08:00:00" || collation != "utf8mb4_bin" {
		t.Errorf("got %q, %q, %q, %v", local, mode, collation, err)
	}
	for _, end := range []func() error{s.Kill, s.Stop} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("the server answers after its end")
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM d.t").Scan(&n); err != nil || n != 1 {
			t.Errorf("after a restart: %d rows, %v", n, err)
		}
	}
	if err := s.Restart(t.Context()); err == nil {
		t.Error("a running server was started again")
	}
	resume, err := s.Pause()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := db.PingContext(ctx); err == nil {
		t.Error("a paused server answers")
	}
	if err := resume(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	if _, err := mariadb.Find(); err != nil && !mariadb.Required() {
		t.Skip(err)
	}
	if s, err := mariadb.Start(t.Context(), mariadb.Options{Args: []string{"--no-such-option"}}); err == nil {
		t.Error("started with an unknown option", s.Close())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := mariadb.Start(ctx, mariadb.Options{}); err == nil {
		t.Error("started with a cancelled context", s.Close())
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("TIDBCDC_MARIADBD", filepath.Join(t.TempDir(), "absent"))
	if _, err := mariadb.Find(); !errors.Is(err, mariadb.ErrMissing) {
		t.Errorf("Find: %v", err)
	}
	if _, err := mariadb.Start(t.Context(), mariadb.Options{}); !errors.Is(err, mariadb.ErrMissing) {
		t.Errorf("Start: %v", err)
	}
}
