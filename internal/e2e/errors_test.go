package e2e_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

func TestDialErrors(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.pem")
	if err := os.WriteFile(garbage, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		cfg    cdc.UpstreamConfig
		is     error
		naming string // what the message must contain
	}{
		{"no address", cdc.UpstreamConfig{}, nil, "UpstreamConfig.PD"},
		{"nobody there", cdc.UpstreamConfig{PD: []string{"127.0.0.1:1"}, DialTimeout: time.Second}, cdc.ErrPDUnreachable, "127.0.0.1:1"},
		{"another cluster", cdc.UpstreamConfig{PD: []string{cluster.PD}, ClusterID: 42}, cdc.ErrClusterIDMismatch, "42"},
		{"half of TLS", cdc.UpstreamConfig{PD: []string{cluster.PD}, CA: garbage}, nil, "CA, Cert and Key"},
		{"no TLS file", cdc.UpstreamConfig{PD: []string{cluster.PD}, CA: "/no/ca.pem", Cert: "/no/c.pem", Key: "/no/k.pem"}, nil, "/no/ca.pem: no such file"},
		{"bad TLS file", cdc.UpstreamConfig{PD: []string{cluster.PD}, CA: garbage, Cert: garbage, Key: garbage}, nil, "garbage.pem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Logger = logger(t)
			up, err := cdc.Dial(testContext(t, time.Minute), c.cfg)
			if err == nil {
				_ = up.Close()
				t.Fatal("Dial succeeded")
			}
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.naming) {
				t.Errorf("Dial: %v; want %v, naming %q", err, c.is, c.naming)
			}
		})
	}
	goleak.VerifyNone(t, before)
}

func TestDialCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	_, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{"127.0.0.1:1"}, DialTimeout: time.Minute, Logger: logger(t)})
	if !errors.Is(err, why) {
		t.Errorf("Dial: %v, want %v", err, why)
	}
}

// Nothing of an Upstream or a Changefeed is left when they have ended.
func TestNothingLeftRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	ctx := testContext(t, time.Minute)
	db := database(t, "leftover")
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{cluster.PD}, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	start := now(ctx, t, up)
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
	feed := newFeed(t, cdc.Config{ID: "leftover", Upstream: up, Sink: validated(t, nil, cdctest.ValidatorConfig{}), Filter: rules(t, "leftover.*"), StartTs: start, TargetTs: now(ctx, t, up)})
	if err := feed.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := up.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
}

func TestRunErrors(t *testing.T) {
	ctx := testContext(t, time.Minute)
	db := database(t, "bad")
	up := dial(t)
	early := now(ctx, t, up)
	mustExec(t, db, "CREATE TABLE keyless (a INT)", "CREATE TABLE nullable (a INT, UNIQUE KEY (a))", "CREATE TABLE fine (a INT PRIMARY KEY)")
	ts := now(ctx, t, up)

	t.Run("start ts of another cluster", func(t *testing.T) {
		err := newFeed(t, cdc.Config{ID: "bad", Upstream: up, Sink: validated(t, nil, cdctest.ValidatorConfig{}), StartTs: ts.Add(time.Hour)}).Run(ctx)
		wantError(t, err, cdc.ErrStartTsInFuture, ts.Add(time.Hour).String())
	})
	t.Run("target ts before now", func(t *testing.T) {
		err := newFeed(t, cdc.Config{ID: "bad", Upstream: up, Sink: validated(t, nil, cdctest.ValidatorConfig{}), TargetTs: early}).Run(ctx)
		wantError(t, err, cdc.ErrTargetTsBeforeStartTs, early.String())
	})
	t.Run("tables without a key", func(t *testing.T) {
		cfg := cdc.Config{ID: "bad", Upstream: up, Sink: validated(t, nil, cdctest.ValidatorConfig{}), StartTs: ts, TargetTs: ts + 1, Filter: rules(t, "bad.*")}
		err := newFeed(t, cfg).Run(ctx)
		var ineligible *cdc.IneligibleTablesError
		if !errors.As(err, &ineligible) || strings.Join(ineligible.Tables, " ") != "bad.keyless bad.nullable" {
			t.Errorf("Run: %v", err)
		}
		cfg.IgnoreIneligibleTables = true
		if err := newFeed(t, cfg).Run(ctx); err != nil {
			t.Errorf("Run with IgnoreIneligibleTables: %v", err)
		}
		cfg.Checkpoints, cfg.ForceReplicate, cfg.Sink = nil, true, validated(t, nil, cdctest.ValidatorConfig{StartTs: ts})
		if err := newFeed(t, cfg).Run(ctx); err != nil {
			t.Errorf("Run with ForceReplicate: %v", err)
		}
	})
	t.Run("running twice", func(t *testing.T) {
		feed := newFeed(t, cdc.Config{ID: "twice", Upstream: up, Sink: validated(t, nil, cdctest.ValidatorConfig{}), StartTs: ts, Filter: rules(t, "bad.fine")})
		runCtx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- feed.Run(runCtx) }()
		waitFor(t, "the first Run", func() bool { return feed.Status().State == cdc.StateNormal })
		wantError(t, feed.Run(ctx), cdc.ErrRunning, "twice")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		if got := feed.Status().State; got != cdc.StateStopped {
			t.Errorf("state %s after cancellation", got)
		}
	})
	t.Run("cancelled at any time", func(t *testing.T) {
		why := errors.New("changed my mind")
		for i := range 60 {
			feed := newFeed(t, cdc.Config{ID: "cancelled", Upstream: up, Sink: validated(t, nil, cdctest.ValidatorConfig{}), StartTs: ts, Filter: rules(t, "bad.fine")})
			runCtx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Duration(i)*500*time.Microsecond, func() { cancel(why) })
			if err := feed.Run(runCtx); !errors.Is(err, why) {
				t.Errorf("Run: %v", err)
			}
			if st := feed.Status(); st.State != cdc.StateStopped || st.Err != nil {
				t.Errorf("state %s, error %v", st.State, st.Err)
			}
		}
	})
	t.Run("a sink that fails for good", func(t *testing.T) {
		mustExec(t, db, "INSERT INTO fine VALUES (1)")
		broken := errors.New("broken for good")
		feed := newFeed(t, cdc.Config{
			ID: "broken", Upstream: up, StartTs: ts, Filter: rules(t, "bad.fine"),
			Sink: validated(t, sink.RowFunc(func(context.Context, []*event.RowChanged) error { return sink.Permanent(broken) }),
				cdctest.ValidatorConfig{StartTs: ts}),
		})
		err := feed.Run(ctx)
		wantError(t, err, broken, "bad.fine")
		var typed *cdc.Error
		if !errors.As(err, &typed) || typed.Changefeed != "broken" || typed.CheckpointTs < ts {
			t.Errorf("error %#v", err)
		}
		if st := feed.Status(); st.State != cdc.StateFailed || !errors.Is(st.Err, broken) {
			t.Errorf("status %s, %v", st.State, st.Err)
		}
	})
}

// A changefeed must not start where changes may have been collected already.
func TestStartTsBeforeGC(t *testing.T) {
	ctx := testContext(t, time.Minute)
	up := dial(t)
	ts := now(ctx, t, up)
	if err := cluster.SetGCSafePoint(ctx, uint64(ts)); err != nil {
		t.Fatal(err)
	}
	old := ts.Add(-24 * time.Hour) // before what changefeeds of other tests may still hold back
	err := newFeed(t, cdc.Config{ID: "old", Upstream: up, Sink: validated(t, nil, cdctest.ValidatorConfig{}), StartTs: old}).Run(ctx)
	wantError(t, err, cdc.ErrStartTsBeforeGC, old.String())
}

func wantError(t *testing.T, err, is error, naming string) {
	t.Helper()
	if !errors.Is(err, is) || !strings.Contains(err.Error(), naming) {
		t.Errorf("got error %v; want %v, naming %s", err, is, naming)
	}
}

// waitFor waits for a condition that other processes bring about.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
