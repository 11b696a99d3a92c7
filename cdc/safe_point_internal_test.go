package cdc

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// A safe point is renewed as long as PD answers. When PD could not be reached for
// longer than it lives, and GC has passed it, that is an error of its own.
func TestSafePointLost(t *testing.T) {
	cluster, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	up, err := Dial(ctx, UpstreamConfig{PD: []string{cluster.PDAddr()}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	start := cluster.Oracle().Now()
	gc := &safePoint{upstream: up, service: "test", ttl: time.Hour, interval: 10 * time.Millisecond}
	if err := gc.hold(ctx, start); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- gc.keep(ctx, log, func() event.Ts { return start }) }()

	cluster.AdvanceGC(cluster.Oracle().Now())
	cluster.Oracle().Advance(50 * time.Minute)
	held := func() bool { ts, ok := cluster.ServiceSafePoint("test"); return ok && ts == start-1 }
	cluster.PausePD()
	cluster.ResumePD() // one renewal at least follows
	time.AfterFunc(50*time.Millisecond, func() { cluster.Oracle().Advance(50 * time.Minute) })
	if err := cluster.Await(ctx, func() bool { return cluster.Oracle().Now().Time().After(start.Time().Add(99 * time.Minute)) }); err != nil {
		t.Fatal(err)
	}
	if !held() {
		t.Error("the safe point was not renewed")
	}

	cluster.PausePD()
	cluster.Oracle().Advance(2 * time.Hour)
	cluster.AdvanceGC(cluster.Oracle().Now())
	if held() {
		t.Error("the safe point outlives its time")
	}
	cluster.ResumePD()
	err = <-ended
	if !errors.Is(err, ErrSnapshotLostByGC) || errors.Is(err, ErrStartTsBeforeGC) || !strings.Contains(err.Error(), start.Time().Format(time.DateTime)) {
		t.Errorf("the end of the safe point: %v", err)
	}
	if err := gc.hold(ctx, start); !isA[*gcError](err) {
		t.Errorf("held again: %v", err)
	}
}
