package cdctest_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// TestChangefeedRestarts runs a changefeed from Dial to its target ts through
// several cancellations and a sink that fails now and then, while the cluster
// goes on.
func TestChangefeedRestarts(t *testing.T) {
	seed := randomSeed(t)
	w := newWorld(t, cdctest.Config{Stores: 3, Seed: seed})
	other := w.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey(), cdctest.Text("note"))
	w.start = w.Oracle().Now()
	script := &script{world: w, rng: rand.New(rand.NewPCG(seed, 1)), tables: []*cdctest.Table{w.table, other}, calm: true}

	// All clients of the process log through the last Upstream's logger.
	up, err := cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{w.PDAddr()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	calls := 0
	flaky := sink.RowFunc(func(context.Context, []*event.RowChanged) error {
		if calls++; calls%7 == 0 {
			return errRefused
		}
		return nil
	})
	v := cdctest.Validate(flaky, cdctest.ValidatorConfig{StartTs: w.start, Base: w.State(w.start)})
	checkpoints := &cdc.MemoryCheckpoints{}
	config := cdc.Config{
		ID: "restarts", Upstream: up, Sink: v, StartTs: w.start, Checkpoints: checkpoints,
		CheckpointInterval: time.Millisecond, BatchRows: 4, Logger: w.logger(),
	}
	for range 4 {
		feed, err := cdc.NewChangefeed(config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- feed.Run(ctx) }()
		for range 60 {
			script.step()
		}
		reached := v.Checkpoint()
		w.await("some progress", func() bool { return v.Checkpoint() > reached })
		for range 20 {
			script.step()
		}
		cancel(errEnd)
		if err := <-ended; !errors.Is(err, errEnd) {
			t.Fatalf("cancelled, Run returned %v", err)
		}
		ts, err := checkpoints.Load(t.Context(), config.ID)
		if err != nil {
			t.Fatal(err)
		}
		v.Resume(ts)
	}
	script.finish()
	config.TargetTs = w.Oracle().Now()
	feed, err := cdc.NewChangefeed(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := feed.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.Err(); err != nil {
		t.Errorf("promises broken:\n%v", err)
	}
	for _, line := range w.State(config.TargetTs).Diff(v.State(config.TargetTs)) {
		t.Error(line)
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

// Clients of PD's etcd ask for its members now and then, and log it if they get no answer.
func TestMembersOfEtcd(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	client, err := cdc.DialEtcd(cdc.UpstreamConfig{PD: []string{w.PDAddr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Sync(t.Context()); err != nil || !slices.Equal(client.Endpoints(), []string{"http://" + w.PDAddr()}) {
		t.Errorf("members %v, %v", client.Endpoints(), err)
	}
}
