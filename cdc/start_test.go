package cdc_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// TestStartIsStored: a changefeed that starts now and dies before its first
// checkpoint does not start at a later now.
func TestStartIsStored(t *testing.T) {
	c, err := cdctest.Start(cdctest.Config{ResolvedTsInterval: -1}) // so that nothing moves on
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	table := c.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey())
	up, err := cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{c.PDAddr()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	store := &onceSaved{}
	feed, err := cdc.NewChangefeed(cdc.Config{
		ID: "start", Upstream: up, Checkpoints: store,
		Sink: sink.RowFunc(func(context.Context, []*event.RowChanged) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	before := c.Oracle().Now()
	ctx, cancel := context.WithCancelCause(t.Context())
	store.cancel = cancel
	if err := feed.Run(ctx); !errors.Is(err, errSaved) {
		t.Fatal(err)
	}
	after := table.Insert(int64(1))
	if store.first <= before || store.first >= after {
		t.Errorf("the store has %d, want a ts above %d and below the change at %d", store.first, before, after)
	}
}

var errSaved = errors.New("the start is saved")

// onceSaved ends a changefeed with its first save.
type onceSaved struct {
	first  event.Ts
	cancel context.CancelCauseFunc
}

// Load implements cdc.CheckpointStore.
func (*onceSaved) Load(context.Context, string) (event.Ts, error) { return 0, nil }

// Save implements cdc.CheckpointStore.
func (s *onceSaved) Save(_ context.Context, _ string, ts event.Ts) error {
	if s.first == 0 {
		s.first = ts
		s.cancel(errSaved)
	}
	return nil
}
