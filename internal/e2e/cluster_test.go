package e2e_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/mariadb"
	tablediff "github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// TestDaemonsShareTables: three daemons replicate a database into MariaDB while
// the owner is killed, another is paused for longer than its lease, and all are
// restarted in turn, then killed at once. In the end nothing is missing.
func TestDaemonsShareTables(t *testing.T) {
	ctx := testContext(t, 8*time.Minute)
	downstream := startMariaDB(ctx, t)
	db := database(t, "daemons")
	f := newFleet(t, 3)
	load := &ledgers{db: db, random: rand.New(rand.NewPCG(seed(t), 0))}
	load.create(t, 12)
	f.create(ctx, "ledgers", fmt.Sprintf("mysql://%s@%s/", downstream.Config("").User, downstream.Addr), now(ctx, t, dial(t)), "daemons.*")
	mustExec(t, mariaDB(t, downstream), "CREATE DATABASE daemons")
	for _, table := range load.tables {
		mustExec(t, mariaDB(t, downstream), "CREATE TABLE daemons."+table+" (id INT PRIMARY KEY, amount BIGINT NOT NULL, note VARCHAR(50))")
	}
	stop := load.start(ctx, t)

	f.awaitShared(ctx, "ledgers", 3)
	killed := f.owner(ctx)
	killed.end(killed.Kill)
	f.awaitProgress(ctx, "ledgers")
	killed.start()
	f.awaitShared(ctx, "ledgers", 3)

	paused := f.other(ctx)
	resume, err := paused.Pause()
	if err != nil {
		t.Fatal(err)
	}
	f.awaitGone(ctx, paused)
	f.awaitProgress(ctx, "ledgers")
	if err := resume(); err != nil {
		t.Fatal(err)
	}
	f.awaitShared(ctx, "ledgers", 3)

	worst := f.watchLag(ctx, "ledgers")
	for _, d := range f.daemons {
		f.drain(ctx, d)
		d.end(d.Stop)
		d.start()
	}
	// What is drained hands over at its checkpoint, so that lag grows by the time of
	// a few steps of the owner, and by an election.
	if lag := worst(); lag > 30*time.Second {
		t.Errorf("lag grew to %v in a rolling restart", lag)
	}

	for _, d := range f.daemons {
		d.end(d.Kill)
	}
	for _, d := range f.daemons {
		d.start()
	}
	f.awaitShared(ctx, "ledgers", 3)

	stop()
	f.awaitCheckpoint(ctx, "ledgers", now(ctx, t, dial(t)))
	up, err := cluster.DB("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	result, err := tablediff.Compare(ctx, tablediff.Endpoint{DB: up}, tablediff.Endpoint{DB: mariaDB(t, downstream)}, tablediff.Options{Filter: rules(t, "daemons.*")})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Equal() || len(result.Tables) < len(load.tables) {
		_ = result.Print(t.Output(), 10)
		t.Errorf("%d tables, which differ", len(result.Tables))
	}
	t.Logf("%d transactions", load.done.Load())
}

func startMariaDB(ctx context.Context, t *testing.T) *mariadb.Server {
	t.Helper()
	if _, err := mariadb.Find(); err != nil {
		if mariadb.Required() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	server, err := mariadb.Start(ctx, mariadb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func mariaDB(t *testing.T, server *mariadb.Server) *sql.DB {
	t.Helper()
	db, err := server.DB("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// ledgers is a workload of transfers between tables.
type ledgers struct {
	db     *sql.DB
	random *rand.Rand
	tables []string
	done   atomic.Int64
}

func (l *ledgers) create(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("ledger%d", i)
		l.tables = append(l.tables, name)
		mustExec(t, l.db, "CREATE TABLE "+name+" (id INT PRIMARY KEY, amount BIGINT NOT NULL, note VARCHAR(50))")
	}
}

// start transfers until stop is called, with a DDL now and then.
func (l *ledgers) start(ctx context.Context, t *testing.T) (stop func()) {
	ended, cancel := context.WithCancel(ctx) // statements that have begun are not cut off
	var group sync.WaitGroup
	for writer := range uint64(3) {
		random := rand.New(rand.NewPCG(l.random.Uint64(), writer))
		group.Go(func() {
			for i := 0; ended.Err() == nil; i++ {
				if err := l.transfer(ctx, random); err != nil {
					t.Logf("transfer: %v", err) // a conflict: the next one may do
					continue
				}
				l.done.Add(1)
				if writer == 0 && i%40 == 20 {
					table := l.tables[random.IntN(len(l.tables))]
					if _, err := l.db.ExecContext(ctx, fmt.Sprintf("ALTER TABLE %s ADD COLUMN c%d INT DEFAULT %d", table, i, i)); err != nil {
						t.Errorf("DDL: %v", err)
					}
				}
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
	}
}

func (l *ledgers) transfer(ctx context.Context, r *rand.Rand) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	amount := r.IntN(100)
	for _, sign := range []int{-1, 1} {
		table := l.tables[r.IntN(len(l.tables))]
		_, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (id, amount, note) VALUES (?, ?, 'new') ON DUPLICATE KEY UPDATE amount = amount + VALUES(amount), note = 'again'", table),
			r.IntN(200), sign*amount)
		if err != nil {
			_ = tx.Rollback() // the connection may be gone
			return err
		}
	}
	return tx.Commit()
}

// fleet are daemons that share their work.
type fleet struct {
	t       *testing.T
	daemons []*daemon
}

func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	program := build(t, "./cmd/cdc")
	f := &fleet{t: t}
	name := fmt.Sprintf("fleet-%d", time.Now().UnixNano())
	for range n {
		d := newDaemon(t, program, name)
		f.daemons = append(f.daemons, d)
		d.start()
	}
	return f
}

func (f *fleet) create(ctx context.Context, id, sinkURI string, start event.Ts, rules ...string) {
	f.t.Helper()
	waitFor(f.t, "the changefeed to be created", func() bool {
		err := f.daemons[0].call(ctx, http.MethodPost, "/api/v1/changefeeds", map[string]any{
			"changefeed_id": id, "sink_uri": sinkURI, "start_ts": start, "filter_rules": rules,
		}, nil)
		if err != nil {
			f.t.Log(err) // there may be no owner yet
		}
		return err == nil
	})
}

// running returns a daemon that can be asked.
func (f *fleet) running() *daemon {
	for _, d := range f.daemons {
		if d.PID() != 0 {
			return d
		}
	}
	f.t.Fatal("all daemons are down")
	return nil
}

func (f *fleet) at(addr string) *daemon {
	i := slices.IndexFunc(f.daemons, func(d *daemon) bool { return d.addr == addr })
	if i < 0 {
		f.t.Fatalf("no daemon at %q", addr)
	}
	return f.daemons[i]
}

func (f *fleet) owner(ctx context.Context) *daemon {
	f.t.Helper()
	var owner string
	waitFor(f.t, "an owner", func() bool {
		var err error
		_, owner, err = f.running().captures(ctx)
		return err == nil && owner != ""
	})
	return f.at(owner)
}

// other returns a daemon that is not the owner, nor the one that is asked first.
func (f *fleet) other(ctx context.Context) *daemon {
	owner := f.owner(ctx)
	for _, d := range f.daemons {
		if d != owner && d != f.running() {
			return d
		}
	}
	f.t.Fatal("the owner is alone")
	return nil
}

// awaitShared waits until n captures have tables of a changefeed.
func (f *fleet) awaitShared(ctx context.Context, id string, n int) {
	f.t.Helper()
	waitFor(f.t, fmt.Sprintf("%d captures to share the tables", n), func() bool {
		var info struct {
			Tasks []struct {
				TableIDs []int64 `json:"table_ids"`
			} `json:"task_status"`
		}
		if err := f.running().call(ctx, http.MethodGet, "/api/v1/changefeeds/"+id, nil, &info); err != nil {
			return false
		}
		busy := 0
		for _, task := range info.Tasks {
			if len(task.TableIDs) > 0 {
				busy++
			}
		}
		return busy == n
	})
}

// awaitGone waits until the others know that a daemon's lease has ended.
func (f *fleet) awaitGone(ctx context.Context, d *daemon) {
	f.t.Helper()
	waitFor(f.t, "the capture's lease to end", func() bool {
		ids, _, err := f.running().captures(ctx)
		return err == nil && ids[d.addr] == ""
	})
}

// awaitProgress waits until the checkpoint has passed the present.
func (f *fleet) awaitProgress(ctx context.Context, id string) {
	f.t.Helper()
	f.awaitCheckpoint(ctx, id, now(ctx, f.t, dial(f.t)))
}

func (f *fleet) awaitCheckpoint(ctx context.Context, id string, ts event.Ts) {
	f.t.Helper()
	waitFor(f.t, fmt.Sprintf("the checkpoint to pass %d", ts), func() bool {
		state, checkpoint, err := f.running().changefeed(ctx, id)
		return err == nil && state == "normal" && checkpoint >= ts
	})
}

// drain moves all tables away from a daemon.
func (f *fleet) drain(ctx context.Context, d *daemon) {
	f.t.Helper()
	tick := time.NewTicker(500 * time.Millisecond) // each call is a command to the owner
	defer tick.Stop()
	waitFor(f.t, "the capture to be empty", func() bool {
		<-tick.C
		ids, owner, err := d.captures(ctx)
		if err != nil || ids[d.addr] == "" {
			return false
		}
		if owner == d.addr { // the owner cannot be drained
			if err := d.call(ctx, http.MethodPost, "/api/v1/owner/resign", nil, nil); err != nil {
				f.t.Log(err)
			}
			return false
		}
		answer := struct {
			Tables int `json:"current_table_count"`
		}{-1}
		err = d.call(ctx, http.MethodPut, "/api/v1/captures/drain", map[string]any{"capture_id": ids[d.addr]}, &answer)
		return err == nil && answer.Tables == 0
	})
}

// watchLag follows the lag of a changefeed until worst is called.
func (f *fleet) watchLag(ctx context.Context, id string) (worst func() time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	var most time.Duration
	done := make(chan struct{})
	addrs := make([]*daemon, len(f.daemons))
	for i, d := range f.daemons {
		addrs[i] = &daemon{t: d.t, addr: d.addr} // for its address alone: cmd changes
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, d := range addrs {
				if _, checkpoint, err := d.changefeed(ctx, id); err == nil && checkpoint != 0 {
					most = max(most, time.Since(checkpoint.Time()))
					break
				}
			}
		}
	}()
	return func() time.Duration {
		cancel()
		<-done
		return most
	}
}
