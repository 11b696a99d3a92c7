package mysql_test

import (
	"context"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/mariadb"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

// TestExistingRows: rows that were there before, with the keys of those that are
// written, give way.
func TestExistingRows(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		for _, shape := range shapes {
			for _, cfg := range []mysql.Config{{SafeUntil: 1}, {}, {SafeUntil: 1, MaxTxnRow: 2, WorkerCount: 3}} {
				db := s.database(t, "existing")
				mustExec(t, db, shape.create(), "INSERT INTO t VALUES (0, 'name l', 1), (1, 'name k', 2), (2, 'NAME A', 3), (500, 'other', 4)")
				cfg.Logger = logger(t)
				out, err := mysql.New(t.Context(), s.connect(t, "", nil), cfg)
				if err != nil {
					t.Fatal(err)
				}
				u := newUpstream(shape, "existing", rand.New(rand.NewPCG(1, 2)))
				u.rows = map[int64]modelRow{0: {0, "name a", 1}, 1: {1, "name b", 2}, 2: {2, "name c", 3}, 3: {3, "name k", 3}}
				u.commitRows(map[int64]modelRow{})
				before := u.history
				u.history, u.states, u.rows = nil, nil, map[int64]modelRow{}
				u.commitRows(map[int64]modelRow{0: {0, "name a", 1}, 1: {1, "name b", 2}, 2: {2, "name c", 3}, 3: {3, "name k", 3}})
				u.commitRows(map[int64]modelRow{0: {0, "name a", 7}, 1: {1, "name b", 2}, 3: {3, "name l", 3}})
				for _, rows := range u.history {
					if err := out.WriteRows(t.Context(), rows); err != nil {
						t.Fatal(err)
					}
				}
				mustExec(t, db, "DELETE FROM t WHERE id = 500")
				u.verify(t, db, 2)
				for _, rows := range before {
					if err := out.WriteRows(t.Context(), rows); err != nil {
						t.Fatal(err)
					}
				}
				out.Close()
			}
		}
	})
}

// TestErrors: what is said when rows cannot be written, and that nothing is lost.
func TestErrors(t *testing.T) {
	s := mariaDB(t)
	db := s.database(t, "errors")
	shape := shapes[0]
	table := shape.table("errors")
	insert := func(id int64, name string, n int64) *event.RowChanged {
		return &event.RowChanged{
			CommitTs: 4711, StartTs: 4700, Table: table, PhysicalTableID: 77, Key: fmt.Append(nil, id),
			Columns: []event.Value{event.Int64Value(id), event.TextValue(name), event.Int64Value(n)},
		}
	}
	admin := s.connect(t, "", nil)
	mustExec(t, admin, "DROP USER IF EXISTS reader", "CREATE USER reader IDENTIFIED BY 'canary password'", "GRANT SELECT ON *.* TO reader")
	tests := []struct {
		name, user, setup string
		row               *event.RowChanged
		want              string
		permanent         bool
	}{
		{"missing table", "", "DROP TABLE t", insert(1, "canary", 1), "1146", false},
		{"missing column", "", "ALTER TABLE t DROP COLUMN n", insert(1, "canary", 1), "Unknown column 'n'", false},
		{"text too long", "", "ALTER TABLE t MODIFY u VARCHAR(3) NOT NULL", insert(1, "canary", 1), "Data too long for column 'u'", false},
		{"number too large", "", "ALTER TABLE t MODIFY n TINYINT", insert(1, "canary", 123456789), "Out of range value for column 'n'", false},
		{"wrong type", "", "ALTER TABLE t MODIFY u INT NOT NULL", insert(1, "canary", 1), "1366", false},
		{"constraint", "", "ALTER TABLE t ADD CONSTRAINT positive CHECK (n > 0)", insert(1, "canary", -1), "4025", false},
		{"read-only user", "reader:canary%20password", "", insert(1, "canary", 1), "denied to user 'reader'", true},
	}
	for _, tt := range tests {
		for _, parameters := range []string{"", "safe-mode=true", "multi-stmt-enable=false&exactly-once=false"} {
			t.Run(tt.name+"/"+parameters, func(t *testing.T) {
				mustExec(t, db, "DROP TABLE IF EXISTS t", shape.create())
				uri := s.uri(parameters)
				if tt.user != "" {
					uri = strings.Replace(uri, s.user+"@", tt.user+"@", 1)
				}
				out := openURI(t, uri)
				if tt.setup != "" {
					mustExec(t, db, tt.setup)
				}
				// Two statements, so that the failing one is in a transaction.
				other := *insert(2, "other", 2)
				other.PreColumns, other.Columns = other.Columns, nil
				err := out.WriteRows(t.Context(), []*event.RowChanged{&other, tt.row})
				if err == nil {
					t.Fatal("written")
				}
				for _, want := range []string{tt.want, "errors.t", "4711"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%v: want something about %s", err, want)
					}
				}
				if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "123456789") {
					t.Errorf("the error shows a value: %v", err)
				}
				if sink.IsPermanent(err) != tt.permanent {
					t.Errorf("%v: permanent is %t", err, !tt.permanent)
				}
				if tt.permanent {
					return
				}
				mustExec(t, db, "DROP TABLE IF EXISTS t", shape.create())
				if err := out.WriteRows(t.Context(), []*event.RowChanged{&other, tt.row}); err != nil {
					t.Fatal(err)
				}
				if got := rowsOf(t, db, "SELECT COUNT(*) FROM t"); got[0] != "1" {
					t.Errorf("%s rows, want 1", got[0])
				}
			})
		}
	}
}

// TestKilledConnections writes a workload while its connections are killed.
func TestKilledConnections(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		for _, cfg := range []mysql.Config{{SafeUntil: 1, MaxTxnRow: 3, WorkerCount: 4}, {SafeUntil: 1, MaxTxnRow: 3, ExactlyOnce: true, Changefeed: "killed"}} {
			db := s.database(t, "killed")
			shape := shapes[1]
			mustExec(t, db, "DROP DATABASE IF EXISTS tidbcdc", shape.create())
			u := newUpstream(shape, "killed", rand.New(rand.NewPCG(seed(t), 3)))
			ctx, stop := context.WithCancel(t.Context())
			var killer sync.WaitGroup
			killer.Go(func() { killConnections(ctx, t, s) })
			cfg.Logger = logger(t)
			deliver(t, s, u, cfg, 100)
			stop()
			killer.Wait()
			u.verify(t, db, len(u.history))
		}
	})
}

// killConnections kills those of the server that write. Its pauses are short mostly, and
// sometimes so long that a write comes to its end on any machine.
func killConnections(ctx context.Context, t *testing.T, s *server) {
	db := s.connect(t, "", nil)
	db.SetMaxOpenConns(1)
	random := rand.New(rand.NewPCG(seed(t), 5))
	for {
		const shortest, doublings = 5 * time.Millisecond, 9
		select {
		case <-ctx.Done():
			return
		case <-time.After(shortest << bits.TrailingZeros64(random.Uint64()|1<<doublings)):
		}
		rows, err := db.QueryContext(ctx, "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND (INFO LIKE '%t%' OR COMMAND = 'Execute')")
		if err != nil {
			continue
		}
		var ids []int64
		for rows.Next() {
			var id int64
			if rows.Scan(&id) == nil {
				ids = append(ids, id)
			}
		}
		rows.Close()
		for _, id := range ids {
			_, _ = db.ExecContext(ctx, fmt.Sprint("KILL ", id))
		}
	}
}

// deliver writes transactions as a changefeed would: in order, and again what
// failed.
func deliver(t *testing.T, s *server, u *upstream, cfg mysql.Config, transactions int) {
	t.Helper()
	for range transactions {
		u.commit()
	}
	pool := s.connect(t, "", nil)
	var out *mysql.Sink
	try := func(what func() error) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for {
			err := what()
			if err == nil {
				return
			}
			if sink.IsPermanent(err) || time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	try(func() (err error) { out, err = mysql.New(t.Context(), pool, cfg); return err })
	defer out.Close()
	for next := 0; next < len(u.history); {
		batch := u.history[next:min(len(u.history), next+1+u.rand.IntN(8))]
		try(func() error { return out.WriteRows(t.Context(), slices.Concat(batch...)) })
		next += len(batch)
	}
}

// TestKilledServer kills a server again and again while it is written to.
func TestKilledServer(t *testing.T) {
	m := ownMariaDB(t)
	s := &server{"MariaDB", m.Addr, mariadb.User}
	for _, cfg := range []mysql.Config{{SafeUntil: 1, MaxTxnRow: 5, WorkerCount: 4}, {SafeUntil: 1, MaxTxnRow: 5, ExactlyOnce: true, Changefeed: "killed"}} {
		db := s.database(t, "killed")
		shape := shapes[2]
		mustExec(t, db, shape.create())
		u := newUpstream(shape, "killed", rand.New(rand.NewPCG(seed(t), 4)))
		ctx, stop := context.WithCancel(t.Context())
		var killer sync.WaitGroup
		killer.Go(func() {
			for range 3 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(150 * time.Millisecond):
				}
				if err := m.Kill(); err != nil {
					t.Error(err)
				}
				if err := m.Restart(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
		cfg.Logger = logger(t)
		deliver(t, s, u, cfg, 400)
		stop()
		killer.Wait()
		u.verify(t, db, len(u.history))
	}
}

// TestExactlyOnce: a table without a key, which shows every row that is written
// twice or not at all, through restarts.
func TestExactlyOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		db := s.database(t, "once")
		mustExec(t, db, "DROP DATABASE IF EXISTS tidbcdc", "CREATE TABLE t (id BIGINT NOT NULL, u VARCHAR(20) NOT NULL, n INT)")
		shape := shape{name: "keyless"}
		u := newUpstream(shape, "once", rand.New(rand.NewPCG(seed(t), 5)))
		converge(t, s, u, mysql.Config{SafeUntil: 1, MaxTxnRow: 3, ExactlyOnce: true, Changefeed: "once's \\"}, 80, func(int) {})
		u.verify(t, db, len(u.history))
		last := u.history[len(u.history)-1]
		row := last[len(last)-1]
		want := []string{fmt.Sprintf("once's \\ 77 %d %d", row.CommitTs, row.StartTs)}
		if got := rowsOf(t, db, "SELECT changefeed, table_id, commit_ts, start_ts FROM tidbcdc.progress"); !slices.Equal(got, want) {
			t.Errorf("the table of positions has %q, want %q", got, want)
		}
		// Another changefeed has its own.
		converge(t, s, u, mysql.Config{ExactlyOnce: true, Changefeed: "other"}, 1, func(int) {})
		if got := rowsOf(t, db, "SELECT COUNT(*) FROM tidbcdc.progress"); got[0] != "2" {
			t.Errorf("%s positions, want 2", got[0])
		}
	})
}
