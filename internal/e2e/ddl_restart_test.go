package e2e_test

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/mariadb"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
	tablediff "github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// TestRowsFromBeforeADDLDoNotFollowIt: while the rows of one table are held back,
// and the checkpoint with them, others are changed in ways that old rows mind. The
// changefeed ends and starts again at that checkpoint. MariaDB takes what comes.
func TestRowsFromBeforeADDLDoNotFollowIt(t *testing.T) {
	ctx := testContext(t, 3*time.Minute)
	server := startMariaDB(ctx, t)
	db := database(t, "ddlrestart")
	up := dial(t)
	start := now(ctx, t, up)
	downstream := mariaDB(t, server)
	mustExec(t, downstream, "CREATE DATABASE ddlrestart")
	mustExec(t, db,
		"CREATE TABLE held (id INT PRIMARY KEY)", "CREATE TABLE mark (id INT PRIMARY KEY)",
		"CREATE TABLE narrowed (id INT PRIMARY KEY, gone INT)", "CREATE TABLE keyed (id INT PRIMARY KEY, u INT)", "CREATE TABLE old_name (id INT PRIMARY KEY)",
		"INSERT INTO held VALUES (1)",
		"INSERT INTO narrowed VALUES (1, 1), (2, 2)", "ALTER TABLE narrowed DROP COLUMN gone", "INSERT INTO narrowed VALUES (3)",
		"INSERT INTO keyed VALUES (1, 1), (2, 1)", "DELETE FROM keyed WHERE id = 1", "ALTER TABLE keyed ADD UNIQUE (u)",
		"INSERT INTO old_name VALUES (1)", "RENAME TABLE old_name TO new_name", "INSERT INTO new_name VALUES (2)",
		"INSERT INTO mark VALUES (1)",
	)
	end := now(ctx, t, up)

	checkpoints := &cdc.MemoryCheckpoints{}
	v := validated(t, nil, cdctest.ValidatorConfig{StartTs: start, Concurrent: true})
	run := func(ctx context.Context, s *holdingSink, target event.Ts) error {
		s.Sink = openMariaDB(ctx, t, server)
		return newFeed(t, cdc.Config{
			ID: "ddlrestart", Upstream: up, Sink: v.Wrap(s), Filter: rules(t, "ddlrestart.*"), StartTs: start, TargetTs: target,
			Checkpoints: checkpoints, WriteConcurrency: 4, CheckpointInterval: time.Hour,
			RetryTimeout: time.Minute, DrainTimeout: time.Second,
		}).Run(ctx)
	}
	marked := errors.New("the changefeed has come to the last table")
	first, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if err := run(first, &holdingSink{hold: "held", mark: "mark", marked: func() { stop(marked) }}, 0); !errors.Is(err, marked) {
		t.Fatal(err)
	}
	v.Resume(checkpoint(ctx, t, checkpoints, "ddlrestart", start))
	if err := run(ctx, &holdingSink{}, end); err != nil {
		t.Fatalf("after the restart: %v", err)
	}
	result, err := tablediff.Compare(ctx, tablediff.Endpoint{DB: db}, tablediff.Endpoint{DB: downstream}, tablediff.Options{Filter: rules(t, "ddlrestart.*")})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Equal() || len(result.Tables) != 5 {
		_ = result.Print(t.Output(), 10)
		t.Errorf("%d tables, which differ", len(result.Tables))
	}
}

func openMariaDB(ctx context.Context, t *testing.T, server *mariadb.Server) sink.Sink {
	t.Helper()
	s, closer, err := mysql.Open(ctx, &url.URL{Scheme: "mysql", User: url.User(mariadb.User), Host: server.Addr, Path: "/"}, sink.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closer.Close() })
	return s
}

// holdingSink writes no row of one table, and tells when it has one of another
// and some time has passed.
type holdingSink struct {
	sink.Sink
	hold, mark string
	marked     func()
	once       sync.Once
}

// WriteRows implements sink.Sink.
func (s *holdingSink) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	switch rows[0].Table.Table {
	case s.hold:
		return errors.New("held back")
	case s.mark:
		s.once.Do(func() { time.AfterFunc(3*time.Second, s.marked) }) // what must not happen has time to
	}
	return s.Sink.WriteRows(ctx, rows)
}
