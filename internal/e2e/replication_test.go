package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
)

// TestEveryChangeArrives runs a random workload with DDL and faults of PD, stores
// and sink, follows it with a changefeed that is stopped and resumed on the way,
// and holds what it delivered against what TiDB has, at several timestamps.
func TestEveryChangeArrives(t *testing.T) {
	ctx := testContext(t, 3*workloadTime()+5*time.Minute)
	seed := seed(t)
	up := dial(t)
	start := now(ctx, t, up)
	w := startWorkload(ctx, t, "every", seed)

	sink := newFlaky(seed)
	v := validated(t, sink, cdctest.ValidatorConfig{StartTs: start, Concurrent: true})
	checkpoints := &cdc.MemoryCheckpoints{}
	feed := func(target event.Ts) *cdc.Changefeed {
		return newFeed(t, cdc.Config{
			ID: "every", Upstream: up, Sink: v, Filter: rules(t, "every.*"), StartTs: start, TargetTs: target,
			Checkpoints: checkpoints, ForceReplicate: true, WriteConcurrency: 2, CheckpointInterval: 50 * time.Millisecond,
			BatchRows: 64,
		})
	}
	var snapshots []event.Ts
	for range 3 {
		runFor(ctx, t, feed(0), workloadTime())
		ts := checkpoint(ctx, t, checkpoints, "every", start)
		if reported := v.Checkpoint(); ts < reported {
			t.Errorf("checkpoint %d is stored, %d was reported", ts, reported)
		}
		v.Resume(ts)
		snapshots = append(snapshots, w.between(func() event.Ts { return now(ctx, t, up) }))
	}
	w.stop()
	end := now(ctx, t, up)
	last := feed(end)
	if err := last.Run(ctx); err != nil {
		t.Fatalf("%v; status %+v", err, last.Status())
	}
	v.Resume(end) // nothing up to it may be left
	t.Logf("%d failed writes", sink.failures.Load())
	w.compare(ctx, t, v, append(snapshots, end))
}

// startWorkload runs a workload in an empty database, and chaos around it, until
// stop is called or ctx ends.
func startWorkload(ctx context.Context, t *testing.T, name string, seed uint64) *workload {
	t.Helper()
	w := &workload{db: database(t, name), tables: tables(), seed: seed}
	if err := w.create(ctx); err != nil {
		t.Fatal(err)
	}
	busy, calm := context.WithCancel(ctx)
	w.start(busy, 4)
	w.wg.Go(func() { chaos(busy, cluster, func() []int64 { return physicalIDs(busy, w.db) }, seed) })
	w.stop = func() {
		calm()
		w.wg.Wait()
	}
	t.Cleanup(w.stop)
	return w
}

// compare holds what came against what TiDB has at some timestamps.
func (w *workload) compare(ctx context.Context, t *testing.T, v *cdctest.Validator, snapshots []event.Ts) {
	t.Helper()
	rows, ddls, repeats := v.Counts()
	t.Logf("%d transactions, %d DDLs, %d refused; delivered %d rows, %d DDLs, %d repeats",
		w.committed.Load(), w.altered.Load(), w.failed.Load(), rows, ddls, repeats)
	for _, ts := range snapshots {
		compareAt(ctx, t, w.db, v, ts)
	}
	if w.committed.Load() < 50 || w.altered.Load() < 2 || rows < 100 {
		t.Errorf("the workload was too small to tell anything")
	}
}

// workloadTime is how long each of three runs of the changefeed goes on;
// SOAK_SECONDS sets the time of all.
func workloadTime() time.Duration {
	if s, err := strconv.Atoi(os.Getenv("SOAK_SECONDS")); err == nil {
		return time.Duration(s) * time.Second / 3
	}
	return 4 * time.Second
}

// runFor runs a changefeed for a while and stops it.
func runFor(ctx context.Context, t *testing.T, feed *cdc.Changefeed, d time.Duration) {
	t.Helper()
	enough := errors.New("enough")
	runCtx, cancel := context.WithTimeoutCause(ctx, d, enough)
	defer cancel()
	if err := feed.Run(runCtx); !errors.Is(err, enough) {
		t.Fatalf("Run after cancellation: %v", err)
	}
}

func newFeed(t *testing.T, cfg cdc.Config) *cdc.Changefeed {
	t.Helper()
	feed, err := cdc.NewChangefeed(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

func rules(t *testing.T, rules ...string) *filter.Filter {
	t.Helper()
	f, err := filter.New(filter.Config{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func now(ctx context.Context, t *testing.T, up *cdc.Upstream) event.Ts {
	t.Helper()
	ts, err := up.CurrentTs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func checkpoint(ctx context.Context, t *testing.T, s cdc.CheckpointStore, id string, start event.Ts) event.Ts {
	t.Helper()
	ts, err := s.Load(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return max(ts, start)
}

// physicalIDs lists the tables and partitions of a pool's database.
func physicalIDs(ctx context.Context, db *sql.DB) []int64 {
	rows, err := db.QueryContext(ctx, `SELECT tidb_table_id FROM information_schema.tables WHERE table_schema = DATABASE()
		UNION SELECT tidb_partition_id FROM information_schema.partitions WHERE table_schema = DATABASE() AND tidb_partition_id IS NOT NULL`)
	if err != nil {
		return nil
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if rows.Scan(&id) == nil {
			ids = append(ids, id)
		}
	}
	return ids
}
