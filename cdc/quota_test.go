package cdc_test

import (
	"context"
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
