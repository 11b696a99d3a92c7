package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/playground"
)

// follow runs a changefeed of a database in the background until the test ends.
func follow(t *testing.T, up *cdc.Upstream, name string, start event.Ts) (*cdc.Changefeed, *cdctest.Validator) {
	t.Helper()
	v := validated(t, nil, cdctest.ValidatorConfig{StartTs: start})
	feed := newFeed(t, cdc.Config{ID: strings.ReplaceAll(name, "_", "-"), Upstream: up, Sink: v, Filter: rules(t, name+".*"), StartTs: start, CheckpointInterval: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	return feed, v
}

func waitRows(t *testing.T, v *cdctest.Validator, want int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d rows", want), func() bool {
		rows, _, _ := v.Counts()
		return rows >= want
	})
	if rows, _, _ := v.Counts(); rows != want {
		t.Errorf("%d rows arrived, want %d", rows, want)
	}
}

// Registrations that stores refuse are tried again, whatever the reason.
func TestRefusedRegistrations(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	db := database(t, "refused")
	up := dial(t)
	start := now(ctx, t, up)
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2), (3)")
	for _, kind := range []string{"NotLeader", "EpochNotMatch", "RegionNotFound", "ServerIsBusy", "Congested"} {
		t.Run(kind, func(t *testing.T) {
			if err := cluster.FailRegistrations(ctx, 5, kind, 50*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			_, v := follow(t, up, "refused", start)
			waitRows(t, v, 3)
		})
	}
}

func TestBrokenStreamsAndMovingRegions(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	db := database(t, "moving")
	up := dial(t)
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	_, v := follow(t, up, "moving", now(ctx, t, up))
	span := event.TableSpan(physicalIDs(ctx, db)[0])
	rows := 0
	insert := func() {
		mustExec(t, db, fmt.Sprintf("INSERT INTO t VALUES (%d, 0), (%d, 0)", rows, 1000+rows))
		rows += 2
	}
	for i := range 6 {
		insert()
		split := append(span.Start[:len(span.Start):len(span.Start)], 0x80, 0, 0, 0, 0, 0, 0, byte(100+i))
		if err := cluster.Split(ctx, split); err != nil {
			t.Fatal(err)
		}
		insert()
		regions, err := cluster.Regions(ctx, span.Start, span.End)
		if err != nil {
			t.Fatal(err)
		}
		for j, r := range regions {
			if err := cluster.Transfer(ctx, r.ID, cluster.Stores[(i+j)%len(cluster.Stores)].ID); err != nil {
				t.Logf("transfer region %d: %v", r.ID, err) // it has its leader there already
			}
		}
		insert()
		if err := cluster.BreakStreams(ctx, 0, 3); err != nil {
			t.Fatal(err)
		}
		insert()
		waitRows(t, v, rows)
	}
}

func TestStoreOutage(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	db := database(t, "outage")
	up := dial(t)
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY)")
	feed, v := follow(t, up, "outage", now(ctx, t, up))
	mustExec(t, db, "INSERT INTO t VALUES (1)")
	waitRows(t, v, 1)
	span := event.TableSpan(physicalIDs(ctx, db)[0])
	regions, err := cluster.Regions(ctx, span.Start, span.End)
	if err != nil || len(regions) == 0 {
		t.Fatal(regions, err)
	}
	store := regions[0].LeaderStore
	if err := cluster.StopStore(ctx, store); err != nil {
		t.Fatal(err)
	}
	inserted := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (2)") // waits for the store
		inserted <- err
	}()
	before := feed.Status().ResolvedTs
	waitFor(t, "resolved ts to fall behind", func() bool {
		return now(ctx, t, up) > before.Add(time.Second) && feed.Status().ResolvedTs < before.Add(500*time.Millisecond)
	})
	if err := cluster.StartStore(ctx, store); err != nil {
		t.Fatal(err)
	}
	if err := <-inserted; err != nil {
		t.Fatal(err)
	}
	waitRows(t, v, 2)
}

func TestHeldResolvedTs(t *testing.T) {
	ctx := testContext(t, time.Minute)
	db := database(t, "held")
	up := dial(t)
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY)")
	feed, v := follow(t, up, "held", now(ctx, t, up))
	mustExec(t, db, "INSERT INTO t VALUES (1)")
	waitRows(t, v, 1)
	if err := cluster.HoldResolved(ctx); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO t VALUES (2)")
	held := now(ctx, t, up)
	waitFor(t, "the row to be pending", func() bool { return feed.Status().PendingRows == 1 })
	if rows, _, _ := v.Counts(); rows != 1 {
		t.Errorf("%d rows arrived before they were resolved", rows)
	}
	if st := feed.Status(); st.CheckpointTs >= held || st.CheckpointTs > st.ResolvedTs {
		t.Errorf("checkpoint %d, resolved %d, held since %d", st.CheckpointTs, st.ResolvedTs, held)
	}
	if err := cluster.ReleaseResolved(ctx); err != nil {
		t.Fatal(err)
	}
	waitRows(t, v, 2)
	waitFor(t, "the checkpoint to follow", func() bool { return feed.Status().CheckpointTs >= held })
}

// EXCHANGE PARTITION makes a table a partition and a partition a table: from its
// commit ts on, rows of either belong to the other.
func TestExchangePartition(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	db := database(t, "exchanged")
	up := dial(t)
	_, v := follow(t, up, "exchanged", now(ctx, t, up))
	mustExec(t, db,
		"CREATE TABLE parts (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (100), PARTITION high VALUES LESS THAN (200))",
		"CREATE TABLE whole (id INT PRIMARY KEY, v INT)",
		"INSERT INTO parts VALUES (1, 1), (2, 1), (101, 1)", "INSERT INTO whole VALUES (3, 1), (4, 1)",
	)
	done := make(chan error, 1)
	busy, stop := context.WithCancel(ctx)
	go func() { // rows of both, below the DDL, around it and above
		for i := 5; busy.Err() == nil; i++ {
			_, err := db.ExecContext(ctx, fmt.Sprintf("REPLACE INTO %s VALUES (%d, %d)", []string{"parts", "whole"}[i%2], i%95, i))
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 3 {
		mustExec(t, db, "ALTER TABLE parts EXCHANGE PARTITION low WITH TABLE whole", "UPDATE parts SET v = v + 1 WHERE id < 5", "DELETE FROM whole WHERE id = 2")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	end := now(ctx, t, up)
	waitFor(t, "the checkpoint", func() bool { return v.Checkpoint() >= end })
	compareAt(ctx, t, db, v, end)
}

// PD keeps the changes that a changefeed has not delivered.
func TestServiceSafePoint(t *testing.T) {
	ctx := testContext(t, time.Minute)
	up := dial(t)
	database(t, "kept")
	feed, _ := follow(t, up, "kept", now(ctx, t, up))
	waitFor(t, "the changefeed to run", func() bool { return feed.Status().ResolvedTs > 0 })
	resp, err := http.Get("http://" + cluster.PD + "/pd/api/v1/gc/safepoint")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), `"tidbcdc-changefeed-kept"`) {
		t.Errorf("PD's service safe points: %s (%v)", body, err)
	}
}

// TestTLSAndEventFeedV1 runs against a cluster of its own that wants TLS from
// everybody and has no multiplexing, like TiKV before 7.3.
func TestTLSAndEventFeedV1(t *testing.T) {
	ctx := testContext(t, 3*time.Minute)
	pki := newPKI(t)
	secure, err := playground.Start(ctx, playground.Options{
		Binary: playgroundBinary(), Stderr: t.Output(),
		Args: []string{"--event-feed-v1-only", "--ca=" + pki.ca, "--cert=" + pki.cert, "--key=" + pki.key},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := secure.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, cfg := range map[string]cdc.UpstreamConfig{
		"plain text":         {},
		"another authority":  newPKI(t).config(),
		"certificate denied": {CA: pki.ca, Cert: newPKI(t).cert, Key: newPKI(t).key},
	} {
		cfg.PD, cfg.DialTimeout, cfg.Logger = []string{secure.PD}, 3*time.Second, logger(t)
		if up, err := cdc.Dial(ctx, cfg); err == nil {
			_ = up.Close()
			t.Errorf("%s: Dial succeeded", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}

	cfg := pki.config()
	cfg.PD, cfg.Logger = []string{secure.PD}, logger(t)
	up, err := cdc.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := up.Close(); err != nil {
			t.Error(err)
		}
	})
	db, err := secure.DB("test", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	start := now(ctx, t, up)
	mustExec(t, db, "CREATE TABLE a (id INT PRIMARY KEY)", "CREATE TABLE b (id INT PRIMARY KEY)", "INSERT INTO a VALUES (1), (2)", "INSERT INTO b VALUES (3)")
	_, v := follow(t, up, "test", start)
	waitRows(t, v, 3)
	mustExec(t, db, "DELETE FROM a WHERE id = 1", "INSERT INTO b VALUES (4)")
	waitRows(t, v, 5)
}
