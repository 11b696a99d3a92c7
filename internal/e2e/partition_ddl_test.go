package e2e_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	tablediff "github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// ddlCounter counts the DDLs of a kind.
type ddlCounter struct {
	sink.Sink
	kind  event.DDLType
	count int
}

// WriteDDL implements sink.Sink.
func (s *ddlCounter) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	if ddl.Type == s.kind {
		s.count++
	}
	return s.Sink.WriteDDL(ctx, ddl)
}

// TestRowsInTheMiddleOfDropPartition holds DROP PARTITION between its first step and
// the next, by a transaction that has begun before it, and writes into the range that
// is dropped. TiDB puts these rows into another partition, where they stay. A
// changefeed delivers the DDL before them and once, wherever it is interrupted.
func TestRowsInTheMiddleOfDropPartition(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	server := startMariaDB(ctx, t)
	downstream := mariaDB(t, server)
	downstream.SetMaxOpenConns(1) // it has a current database
	up := dial(t)
	db := database(t, "dropping")
	const ranges = "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION P1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN (30))"
	tables := []string{"ranged", "listed", "indexed"}
	create := []string{
		"CREATE TABLE ranged (id INT PRIMARY KEY, v INT) " + ranges,
		"CREATE TABLE listed (id INT PRIMARY KEY, v INT) PARTITION BY LIST (id) (PARTITION p0 VALUES IN (1, 2), PARTITION P1 VALUES IN (11, 12, 13, 14), PARTITION p2 DEFAULT)",
		"CREATE TABLE indexed (id INT PRIMARY KEY, v INT) " + ranges,
	}
	mustExec(t, db, create...)
	// With a GLOBAL index TiDB has more to do, and says so again and again.
	session, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for _, q := range []string{"SET tidb_enable_global_index = ON", "ALTER TABLE indexed ADD UNIQUE (v)"} {
		if _, err := session.ExecContext(ctx, q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	start := now(ctx, t, up)
	for _, table := range tables {
		mustExec(t, db, "INSERT INTO "+table+" VALUES (1, 1), (11, 11), (21, 21)")
	}
	before := now(ctx, t, up)
	var middles []event.Ts
	for _, table := range tables {
		middles = append(middles, dropInSteps(ctx, t, up, db, table))
	}
	end := now(ctx, t, up)

	for _, run := range []struct {
		name    string
		targets []event.Ts
	}{
		{"in one go", []event.Ts{end}},
		{"interrupted before", []event.Ts{before, end}},
		{"interrupted in the middle", append(middles, end)},
	} {
		t.Run(run.name, func(t *testing.T) {
			mustExec(t, downstream, "DROP DATABASE IF EXISTS dropping", "CREATE DATABASE dropping", "USE dropping")
			mustExec(t, downstream, create...)
			counter := &ddlCounter{Sink: openMariaDB(ctx, t, server), kind: event.DDLDropPartition}
			v := validated(t, nil, cdctest.ValidatorConfig{StartTs: start})
			checkpoints := &cdc.MemoryCheckpoints{}
			for _, target := range run.targets {
				err := newFeed(t, cdc.Config{
					ID: "dropping", Upstream: up, Sink: v.Wrap(counter), Filter: rules(t, "dropping.*"), StartTs: start, TargetTs: target,
					Checkpoints: checkpoints, RetryTimeout: time.Minute,
				}).Run(ctx)
				if err != nil {
					t.Fatal(err)
				}
				v.Resume(checkpoint(ctx, t, checkpoints, "dropping", start))
				sameRowsAt(ctx, t, target, downstream, "dropping", len(tables))
			}
			if counter.count != len(tables) {
				t.Errorf("DROP PARTITION was delivered %d times, want %d", counter.count, len(tables))
			}
		})
	}
}

// TestRowsAroundPartitionDDL runs every kind of DDL on partitions while transactions
// write into its table, some of which have begun before its steps and end after them.
func TestRowsAroundPartitionDDL(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	server := startMariaDB(ctx, t)
	downstream := mariaDB(t, server)
	seed := seed(t)
	up := dial(t)
	db := database(t, "partitioning")
	db.SetMaxIdleConns(8)
	mustExec(t, downstream, "CREATE DATABASE partitioning")
	start := now(ctx, t, up)
	const ranges = "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (1000), PARTITION p1 VALUES LESS THAN (2000), PARTITION p2 VALUES LESS THAN (3000))"
	kinds := []struct{ partitions, ddl string }{
		{ranges, "DROP PARTITION p1"},
		{ranges, "DROP PARTITION p0, p1"},
		{"PARTITION BY LIST (id % 3) (PARTITION p0 VALUES IN (0), PARTITION p1 VALUES IN (1), PARTITION p2 DEFAULT)", "DROP PARTITION p1"},
		{ranges, "TRUNCATE PARTITION p1"},
		{ranges, "REORGANIZE PARTITION p0, p1 INTO (PARTITION p01 VALUES LESS THAN (2000))"},
		{ranges, "REORGANIZE PARTITION p1 INTO (PARTITION p1 VALUES LESS THAN (1500), PARTITION p12 VALUES LESS THAN (2000))"},
		{ranges, "EXCHANGE PARTITION p1 WITH TABLE plain"},
		{ranges, "REMOVE PARTITIONING"},
		{ranges, "PARTITION BY HASH (id) PARTITIONS 3"},
		{"", "PARTITION BY HASH (id) PARTITIONS 3"},
	}
	mustExec(t, db, "CREATE TABLE plain (id INT PRIMARY KEY, v INT)", "INSERT INTO plain VALUES (1001, 1), (1002, 1)")
	committed := 0
	for i, kind := range kinds {
		table := fmt.Sprintf("t%d", i)
		mustExec(t, db, "CREATE TABLE "+table+" (id INT PRIMARY KEY, v INT) "+kind.partitions)
		stop := writeSlowly(ctx, db, table, seed+uint64(i))
		mustExec(t, db, "ALTER TABLE "+table+" "+kind.ddl)
		committed += stop()
	}
	end := now(ctx, t, up)
	feed := newFeed(t, cdc.Config{
		ID: "partitioning", Upstream: up, Sink: openMariaDB(ctx, t, server), Filter: rules(t, "partitioning.*"), StartTs: start, TargetTs: end,
		Checkpoints: &cdc.MemoryCheckpoints{}, WriteConcurrency: 4, RetryTimeout: time.Minute,
	})
	if err := feed.Run(ctx); err != nil {
		t.Fatal(err)
	}
	sameRowsAt(ctx, t, end, downstream, "partitioning", len(kinds)+1)
	t.Logf("%d transactions", committed)
}

// writeSlowly writes into a table until stop is called, mostly rows that are left alone
// afterwards. Each transaction has seen the table some time before it writes.
func writeSlowly(ctx context.Context, db *sql.DB, table string, seed uint64) (stop func() (committed int)) {
	busy, calm := context.WithCancel(ctx)
	var group sync.WaitGroup
	var committed atomic.Int64
	transaction := func(r *rand.Rand) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // of no effect after Commit
		if _, err := tx.ExecContext(ctx, "SELECT * FROM "+table+" LIMIT 1"); err != nil {
			return err
		}
		<-time.After(time.Duration(r.IntN(30)) * time.Millisecond)
		id := r.IntN(3000)
		for _, query := range []string{
			fmt.Sprintf("REPLACE INTO %s VALUES (%d, 1), (%d, 2)", table, id, (id+1000)%3000),
			fmt.Sprintf("UPDATE %s SET id = (id + 1000) %% 3000 WHERE id = %d", table, id), // into another partition
			fmt.Sprintf("DELETE FROM %s WHERE id = %d", table, r.IntN(3000)),
		}[:1+r.IntN(3)] {
			if _, err := tx.ExecContext(ctx, query); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
	for writer := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, writer))
		group.Go(func() {
			for busy.Err() == nil {
				if transaction(r) == nil { // else a conflict, or a partition that is not there
					committed.Add(1)
				}
			}
		})
	}
	return func() int {
		calm()
		group.Wait()
		return int(committed.Load())
	}
}

// dropInSteps drops a partition and returns a ts between the step at which it goes and
// the end.
func dropInSteps(ctx context.Context, t *testing.T, up *cdc.Upstream, db *sql.DB, table string) event.Ts {
	t.Helper()
	old, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	onOld := func(query string) {
		t.Helper()
		if _, err := old.ExecContext(ctx, query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	onOld("SELECT * FROM " + table)
	dropped := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, "ALTER TABLE "+table+" DROP PARTITION p1")
		dropped <- err
	}()
	for left := -1; left != 0; {
		query := "SELECT COUNT(*) FROM information_schema.partitions WHERE table_schema = DATABASE() AND table_name = ? AND partition_name = 'P1'"
		if err := db.QueryRowContext(ctx, query, table).Scan(&left); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-dropped:
			t.Fatalf("%s: DROP PARTITION did not wait: %v", table, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	mustExec(t, db, "INSERT INTO "+table+" VALUES (12, 12), (13, 13)", "UPDATE "+table+" SET v = 14 WHERE id = 12")
	onOld("INSERT INTO " + table + " VALUES (14, 15), (22, 22)") // the first into the partition that is dropped
	middle := now(ctx, t, up)
	if err := old.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO "+table+" VALUES (11, 111)")
	return middle
}

// sameRowsAt compares the rows of a database with the shared cluster's as of a ts. What
// MariaDB cannot have, such as a GLOBAL index, does not count.
func sameRowsAt(ctx context.Context, t *testing.T, ts event.Ts, downstream *sql.DB, name string, tables int) {
	t.Helper()
	up, err := cluster.DB("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	result, err := tablediff.Compare(ctx, tablediff.Endpoint{DB: up, SnapshotTs: ts}, tablediff.Endpoint{DB: downstream}, tablediff.Options{Filter: rules(t, name+".*")})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range result.Tables {
		table.Structure = nil
	}
	if !result.Equal() || len(result.Tables) != tables {
		_ = result.Print(t.Output(), 10)
		t.Errorf("at ts %d: %d tables, which differ", ts, len(result.Tables))
	}
}
