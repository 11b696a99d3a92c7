package cdc_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// TestTransactionLargerThanTheQuota has the sink stand still until changes are
// on disk, and leaves nothing there, not even what a killed process left.
func TestTransactionLargerThanTheQuota(t *testing.T) {
	cluster, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	table := cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey(), cdctest.Text("name"))
	start := cluster.Oracle().Now()
	table.Insert(-1, "before")
	txn := cluster.Begin()
	const rows = 3000
	for i := range rows {
		txn.Insert(table, i, strings.Repeat("x", 1000))
	}
	last := txn.Commit()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{cluster.PDAddr()}, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()

	dir := t.TempDir()
	stale := filepath.Join(dir, "tidbcdc.test.123")
	if err := os.Mkdir(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lock", "000001.spill"} {
		if err := os.WriteFile(filepath.Join(stale, name), []byte("left by a killed process"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var feed *cdc.Changefeed
	delivered, spilled := 0, int64(0)
	slow := sink.RowFunc(func(ctx context.Context, rows []*event.RowChanged) error {
		for spilled == 0 {
			if spilled = feed.Status().SpilledBytes; spilled == 0 {
				if err := ctx.Err(); err != nil {
					return err
				}
			}
		}
		delivered += len(rows)
		return nil
	})
	checked := cdctest.Validate(slow, cdctest.ValidatorConfig{StartTs: start, Base: cluster.State(start)})
	feed, err = cdc.NewChangefeed(cdc.Config{
		ID: "test", Upstream: up, Sink: checked, StartTs: start, TargetTs: last, MemoryQuota: 1 << 20, SpillDir: dir, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := feed.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if delivered != rows+1 || spilled == 0 || spilled > 10<<20 {
		t.Errorf("delivered %d rows, %d bytes on disk in between", delivered, spilled)
	}
	if err := checked.Err(); err != nil {
		t.Error(err)
	}
	if diff := checked.State(last).Diff(cluster.State(last)); len(diff) > 0 {
		t.Error(diff)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if st := feed.Status(); st.MemoryBytes != 0 || st.SpilledBytes != 0 {
		t.Errorf("status at the end: %+v", st)
	}
}

// TestOpenTransactionLargerThanTheQuota prewrites a transaction that memory has no
// room for and keeps it open: its rows go to disk. Committed, it arrives in whole.
// A second one is rolled back.
func TestOpenTransactionLargerThanTheQuota(t *testing.T) {
	cluster, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	table := cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey(), cdctest.Text("name"))
	start := cluster.Oracle().Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const memory = 1 << 20
	dir := t.TempDir()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{cluster.PDAddr()}, Logger: logger, TxnMemory: memory, SpillDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	checked := cdctest.Validate(nil, cdctest.ValidatorConfig{StartTs: start, Base: cluster.State(start)})
	feed, err := cdc.NewChangefeed(cdc.Config{
		ID: "open", Upstream: up, Sink: checked, StartTs: start, MemoryQuota: 4 * memory, SpillDir: dir, Logger: logger,
		CheckpointInterval: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	runCtx, stop := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() { ended <- feed.Run(runCtx) }()
	await := func(what string, cond func() bool) {
		t.Helper()
		if err := cluster.Await(ctx, cond); err != nil {
			t.Fatalf("%s: %v; %+v", what, err, feed.Status())
		}
	}
	await("start", func() bool { return checked.Checkpoint() > start })

	const rows, rowSize = 20_000, 1000
	most := int64(0)
	for _, commit := range []bool{true, false} {
		txn := cluster.Begin()
		txn.TTL = time.Hour
		for i := range rows {
			txn.Update(table, i, strings.Repeat("x", rowSize))
		}
		txn.Prewrite()
		held := cluster.Oracle().Now()
		await("the rows on disk", func() bool {
			most = max(most, feed.Status().MemoryBytes)
			return dirSize(t, dir) > rows*rowSize-2*memory
		})
		if n := checked.Checkpoint(); n >= held {
			t.Errorf("checkpoint %d has passed the open transaction of %d", n, held)
		}
		if commit {
			txn.Commit()
		} else {
			txn.Rollback()
		}
		table.Update(0, "after")
		now := cluster.Oracle().Now()
		await("the checkpoint", func() bool {
			most = max(most, feed.Status().MemoryBytes)
			return checked.Checkpoint() > now
		})
		if diff := cluster.State(now).Diff(checked.State(now)); len(diff) > 0 {
			t.Error(diff)
		}
		cluster.Oracle().Advance(10 * time.Second)
		await("the disk to be free", func() bool { return dirSize(t, dir) == 0 })
	}
	t.Logf("%d MiB in a transaction, %d KiB counted in memory at most", rows*rowSize>>20, most>>10)
	// The share of the sorters, and what came in one message on top.
	if most > 4*memory {
		t.Errorf("%d bytes in memory", most)
	}
	if err := checked.Err(); err != nil {
		t.Error(err)
	}
	over := errors.New("over")
	stop(over)
	if err := <-ended; !errors.Is(err, over) {
		t.Error(err)
	}
	if err := up.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// dirSize adds up the files that hold changes.
func dirSize(t *testing.T, dir string) (size int64) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.spill"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			size += info.Size()
		}
	}
	return size
}
