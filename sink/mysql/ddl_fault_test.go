package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// tableInfo returns "schema.name" with an integer primary key id.
func tableInfo(name string) *event.TableInfo {
	schema, table, _ := strings.Cut(name, ".")
	return &event.TableInfo{
		ID: int64(len(name)), Schema: schema, Table: table, Charset: "utf8mb4", Collation: "utf8mb4_bin", PKIsHandle: true, HandleKey: []int{0},
		Columns: []event.ColumnInfo{{ID: 1, Name: "id", Type: event.TypeLong, Flag: event.FlagNotNull | event.FlagPrimaryKey, Charset: "binary", Collation: "binary"}},
	}
}

var jobs struct {
	sync.Mutex
	last int64
}

// ddlOf returns a DDL of a new job. Each pair of tables is before and after.
func ddlOf(kind event.DDLType, schema, query string, tables ...*event.TableInfo) *event.DDL {
	jobs.Lock()
	defer jobs.Unlock()
	jobs.last++
	d := &event.DDL{Type: kind, Schema: schema, Query: query, JobID: jobs.last, StartTs: 10, CommitTs: event.Ts(time.Now().UnixMilli()) << 18}
	for i := 0; i < len(tables); i += 2 {
		d.Changes = append(d.Changes, event.TableChange{Before: tables[i], After: tables[i+1]})
	}
	if len(d.Changes) > 0 {
		d.PreTable, d.Table = d.Changes[0].Before, d.Changes[0].After
	}
	return d
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatal("in vain: " + what)
		case <-tick.C:
		}
	}
}

// sessions returns the ids of sessions that execute a statement.
func sessions(t *testing.T, db *sql.DB, part string) []string {
	t.Helper()
	return rowsOf(t, db, "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND INFO LIKE '%"+part+"%'")
}

// TestDDLBlocksItsTableOnly: a DDL that waits for longer than the read timeout
// fails nothing, and rows of other tables are written meanwhile.
func TestDDLBlocksItsTableOnly(t *testing.T) {
	s := mariaDB(t)
	db := s.database(t, "ddl_block")
	mustExec(t, db, "CREATE TABLE a (id INT PRIMARY KEY)", "CREATE TABLE b (id INT PRIMARY KEY)")
	reader, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ExecContext(t.Context(), "SELECT * FROM a"); err != nil {
		t.Fatal(err)
	}
	out := s.open(t, "read-timeout=1s&write-timeout=1s")
	a, b := tableInfo("ddl_block.a"), tableInfo("ddl_block.b")
	executed := make(chan error, 1)
	start := time.Now()
	go func() {
		executed <- out.WriteDDL(t.Context(), ddlOf(event.DDLAddColumn, "ddl_block", "alter table a add column c int", a, a))
	}()
	var session []string
	until(t, "the DDL waits", func() bool { session = sessions(t, db, "ADD COLUMN"); return len(session) == 1 })
	row := &event.RowChanged{StartTs: 1, CommitTs: 2, Table: b, PhysicalTableID: b.ID, Key: []byte("k"), Columns: []event.Value{event.Int64Value(1)}}
	if err := out.WriteRows(t.Context(), []*event.RowChanged{row}); err != nil {
		t.Fatal(err)
	}
	if got := rowsOf(t, db, "SELECT * FROM b"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("got rows %q", got)
	}
	until(t, "the read timeout passes", func() bool { return time.Since(start) > 2*time.Second })
	if got := sessions(t, db, "ADD COLUMN"); !slices.Equal(got, session) {
		t.Errorf("the DDL was in session %q and is in %q", session, got)
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-executed; err != nil {
		t.Error(err)
	}
	if got := rowsOf(t, db, "SHOW COLUMNS FROM a LIKE 'c'"); len(got) != 1 {
		t.Errorf("got columns %q", got)
	}
}

// TestDDLConnectionKilled: a DDL whose session is killed is executed by another.
func TestDDLConnectionKilled(t *testing.T) {
	s := mariaDB(t)
	db := s.database(t, "ddl_kill")
	mustExec(t, db, "CREATE TABLE a (id INT PRIMARY KEY)")
	reader, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Rollback() }()
	if _, err := reader.ExecContext(t.Context(), "SELECT * FROM a"); err != nil {
		t.Fatal(err)
	}
	out := s.open(t, "")
	a := tableInfo("ddl_kill.a")
	executed := make(chan error, 1)
	go func() {
		executed <- out.WriteDDL(t.Context(), ddlOf(event.DDLAddColumn, "ddl_kill", "alter table a add column c int", a, a))
	}()
	var first []string
	until(t, "the DDL waits", func() bool { first = sessions(t, db, "ADD COLUMN"); return len(first) == 1 })
	mustExec(t, db, "KILL CONNECTION "+first[0])
	until(t, "another session tries", func() bool { now := sessions(t, db, "ADD COLUMN"); return len(now) == 1 && now[0] != first[0] })
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-executed; err != nil {
		t.Error(err)
	}
	if got := rowsOf(t, db, "SHOW COLUMNS FROM a LIKE 'c'"); len(got) != 1 {
		t.Errorf("got columns %q", got)
	}
}

// proxy passes connections on to a server until it is told to cut them.
type proxy struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	conns    []net.Conn
	ended    sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target}
	p.ended.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.ended.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.ended.Go(func() { _, _ = io.Copy(server, client); server.Close() })
		p.ended.Go(func() { _, _ = io.Copy(client, server); client.Close() })
	}
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// TestDDLConnectionLost: an ADD INDEX that a TiDB goes on with is waited for, and
// not executed a second time.
func TestDDLConnectionLost(t *testing.T) {
	s := tidb(t)
	db := s.database(t, "ddl_lost")
	mustExec(t, db, "CREATE TABLE a (id INT PRIMARY KEY, v INT)")
	for i := range 10 {
		var b strings.Builder
		for j := range 3000 {
			fmt.Fprintf(&b, ",(%d,%d)", i*3000+j, j%100)
		}
		mustExec(t, db, "INSERT INTO a VALUES "+b.String()[1:])
	}
	p := newProxy(t, s.addr)
	out := openURI(t, "tidb://"+url.User(s.user).String()+"@"+p.listener.Addr().String()+"/")
	a := tableInfo("ddl_lost.a")
	ddl := ddlOf(event.DDLAddIndex, "ddl_lost", "create index i on a (v)", a, a)
	executed := make(chan error, 1)
	go func() { executed <- out.WriteDDL(t.Context(), ddl) }()
	tag := fmt.Sprintf("tidbcdc %d.%d.0", ddl.JobID, ddl.CommitTs)
	started := func() int {
		n := 0
		for _, q := range rowsOf(t, db, "ADMIN SHOW DDL JOB QUERIES LIMIT 50") {
			if strings.Contains(q, tag) {
				n++
			}
		}
		return n
	}
	until(t, "the DDL runs", func() bool { return started() == 1 })
	p.cut()
	if err := <-executed; err != nil {
		t.Error(err)
	}
	if n := len(rowsOf(t, db, "SHOW INDEX FROM a WHERE Key_name = 'i'")); n != 1 {
		t.Errorf("got %d columns in the index", n)
	}
	// TiDB cancels the job of a session that it sees end; then a second one is
	// right. A job that did its work is not repeated.
	synced := 0
	for _, state := range rowsOf(t, db, "SELECT STATE FROM information_schema.DDL_JOBS WHERE QUERY LIKE '%"+tag+"%' AND QUERY NOT LIKE '%DDL_JOBS%'") {
		if state == "synced" || state == "done" {
			synced++
		}
	}
	if synced != 1 {
		t.Errorf("%d jobs did the work, want 1", synced)
	}
}

// TestSwapHappensOnce: two names are swapped once, however often the DDL comes;
// and not at all while it is open whether they were.
func TestSwapHappensOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		db := s.database(t, "ddl_swap")
		mustExec(t, db, "CREATE TABLE a (id INT PRIMARY KEY)", "CREATE TABLE b (id INT PRIMARY KEY)", "INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (2)")
		a, b := tableInfo("ddl_swap.a"), tableInfo("ddl_swap.b")
		ddl := ddlOf(event.DDLRenameTables, "ddl_swap", "rename table a to x, b to a, x to b", a, b, b, a)
		for range 2 {
			// A new sink knows nothing of what another did.
			if err := s.open(t, "").WriteDDL(t.Context(), ddl); err != nil {
				t.Fatal(err)
			}
			if got := rowsOf(t, db, "SELECT * FROM a"); !slices.Equal(got, []string{"2"}) {
				t.Fatalf("got %q", got)
			}
		}
		out := s.open(t, "")
		if s.name == "TiDB" {
			// A user who may not see that TiDB has executed it gets the table as well.
			mustExec(t, db, "DROP USER IF EXISTS modest", "CREATE USER modest",
				"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX ON *.* TO modest", "DROP DATABASE IF EXISTS tidbcdc")
			out = openURI(t, "tidb://modest@"+s.addr)
			ddl = ddlOf(event.DDLRenameTables, "ddl_swap", ddl.Query, a, b, b, a)
			for range 2 {
				if err := out.WriteDDL(t.Context(), ddl); err != nil {
					t.Fatal(err)
				}
				if got := rowsOf(t, db, "SELECT * FROM a"); !slices.Equal(got, []string{"1"}) {
					t.Fatalf("without SUPER: got %q", got)
				}
			}
			mustExec(t, db, "RENAME TABLE a TO x, b TO a, x TO b")
		}
		missing := ddlOf(event.DDLExchangePartition, "ddl_swap", "alter table a exchange partition p with table b", a, a, b, b)
		for range 2 { // a failure leaves nothing open
			if err := out.WriteDDL(t.Context(), missing); err != nil {
				t.Fatal(err) // a has no partitions: as if it had been executed and changed since
			}
		}
		mustExec(t, db, "UPDATE tidbcdc.ddl_swap SET done = FALSE")
		if err := out.WriteDDL(t.Context(), ddl); !sink.IsPermanent(err) || !strings.Contains(err.Error(), "tidbcdc.ddl_swap") {
			t.Errorf("got %v", err)
		}
		mustExec(t, db, "DELETE FROM tidbcdc.ddl_swap")
		if err := out.WriteDDL(t.Context(), ddl); err != nil {
			t.Error(err)
		}
		if got := rowsOf(t, db, "SELECT * FROM a"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("got %q", got)
		}
	})
}

// TestDropDatabaseKeepsOthers: tables that are not replicated stay, and with
// them the database.
func TestDropDatabaseKeepsOthers(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		db := s.database(t, "ddl_drop")
		mustExec(t, db, "CREATE TABLE ours (id INT)", "CREATE TABLE theirs (id INT)", "CREATE VIEW v AS SELECT * FROM ours")
		out := s.open(t, "")
		ddl := ddlOf(event.DDLDropSchema, "ddl_drop", "drop database ddl_drop", tableInfo("ddl_drop.Ours"), nil, tableInfo("ddl_drop.v"), nil, tableInfo("ddl_drop.gone"), nil)
		if err := out.WriteDDL(t.Context(), ddl); err != nil {
			t.Fatal(err)
		}
		if got := rowsOf(t, db, "SHOW TABLES"); !slices.Equal(got, []string{"theirs"}) {
			t.Errorf("left are %q", got)
		}
		mustExec(t, db, "DROP TABLE theirs")
		for range 2 {
			if err := out.WriteDDL(t.Context(), ddl); err != nil {
				t.Fatal(err)
			}
		}
		if got := rowsOf(t, db, "SHOW DATABASES LIKE 'ddl_drop'"); len(got) != 0 {
			t.Errorf("the database is still there")
		}
	})
}

// TestDDLOfFilteredTables: the tables of a statement that the filter leaves out
// are not touched, and LIKE copes without its model.
func TestDDLOfFilteredTables(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		db := s.database(t, "ddl_filter")
		for _, name := range []string{"a", "b", "c", "d"} {
			mustExec(t, db, "CREATE TABLE "+name+" (id INT)")
		}
		out := s.open(t, "")
		for _, ddl := range []*event.DDL{
			ddlOf(event.DDLDropTable, "ddl_filter", "drop table a, b", tableInfo("ddl_filter.b"), nil),
			ddlOf(event.DDLRenameTables, "ddl_filter", "rename table c to c2, d to d2", tableInfo("ddl_filter.d"), tableInfo("ddl_filter.d2")),
			ddlOf(event.DDLCreateTable, "ddl_filter", "create table made like left_out", nil, tableInfo("ddl_filter.made")),
		} {
			if err := out.WriteDDL(t.Context(), ddl); err != nil {
				t.Fatal(err)
			}
		}
		if got := rowsOf(t, db, "SHOW TABLES"); !slices.Equal(got, []string{"a", "c", "d2", "made"}) {
			t.Errorf("got tables %q", got)
		}
		mustExec(t, db, "INSERT INTO made (id) VALUES (1)")
	})
}

// TestDDLFails: what cannot succeed is permanent, and says which DDL it is.
func TestDDLFails(t *testing.T) {
	s := mariaDB(t)
	db := s.database(t, "ddl_fail")
	mustExec(t, db, "CREATE TABLE a (id INT PRIMARY KEY, v INT, w VARCHAR(20))", "INSERT INTO a VALUES (1, 1, 'canary'), (2, 1, 'canary')")
	out := s.open(t, "has-vector-type=true")
	a := tableInfo("ddl_fail.a")
	tests := []struct {
		query     string
		kind      event.DDLType
		permanent bool
	}{
		{"alter table a add column c vector(3)", event.DDLAddColumn, true},
		{"alter table a add column c int collate nothing_like_it", event.DDLAddColumn, true},
		{"alter table a partition by hash (v) partitions 2", event.DDLAlterTablePartitioning, true},
		{"flashback table a", event.DDLRecoverTable, true},
		{"alter table a add unique key u (v)", event.DDLAddIndex, false}, // other rows may come to be
		{"alter table a add unique key u (w)", event.DDLAddIndex, false},
		{"alter table a modify column w int", event.DDLModifyColumn, false},
	}
	for _, tt := range tests {
		ddl := ddlOf(tt.kind, "ddl_fail", tt.query, a, a)
		ddl.SQLMode = 1 << 22 // STRICT_TRANS_TABLES
		err := out.WriteDDL(t.Context(), ddl)
		if err == nil || sink.IsPermanent(err) != tt.permanent || !strings.Contains(err.Error(), "ddl_fail.a at commit ts") {
			t.Errorf("%s: got %v, permanent %t", tt.query, err, sink.IsPermanent(err))
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows a value: %v", tt.query, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := out.WriteDDL(ctx, ddlOf(event.DDLAddColumn, "ddl_fail", "alter table a add column d int", a, a)); err == nil || sink.IsPermanent(err) {
		t.Errorf("got %v for a context that is over", err)
	}
}

// TestDDLRefused: a user that may not execute a DDL, or not connect any more.
func TestDDLRefused(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		admin := s.database(t, "ddl_refused")
		mustExec(t, admin, "CREATE TABLE a (id INT PRIMARY KEY)", "DROP USER IF EXISTS reader",
			"CREATE USER reader IDENTIFIED BY 'canary'", "GRANT SELECT ON *.* TO reader")
		out := openURI(t, "mysql://reader:canary@"+s.addr)
		a := tableInfo("ddl_refused.a")
		for _, denied := range []string{"denied to user 'reader'", "Access denied for user 'reader'"} {
			err := out.WriteDDL(t.Context(), ddlOf(event.DDLAddColumn, "ddl_refused", "alter table a add column c int", a, a))
			if !sink.IsPermanent(err) || !strings.Contains(err.Error(), denied) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v, permanent %t, want something about %s", err, sink.IsPermanent(err), denied)
			}
			mustExec(t, admin, "ALTER USER reader IDENTIFIED BY 'another'")
		}
	})
}

// TestDDLTimeZone: what a statement converts or reads as local time is so in the
// upstream session's zone, or else in the one that the sink is told.
func TestDDLTimeZone(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	onEach(t, func(t *testing.T, s *server) {
		db := s.database(t, "ddl_zone")
		for _, tt := range []struct {
			parameters string
			zone       *time.Location
			want       string
		}{
			{"", nil, "2024-01-01 12:00:00"},
			{"time-zone=Asia/Shanghai", nil, "2024-01-01 20:00:00"},
			{"time-zone=Asia/Shanghai", newYork, "2024-01-01 07:00:00"},
			{"time-zone=", time.FixedZone("", 5400), "2024-01-01 13:30:00"},
		} {
			mustExec(t, db, "DROP TABLE IF EXISTS a", "CREATE TABLE a (id INT PRIMARY KEY, at TIMESTAMP NULL)", "INSERT INTO a VALUES (1, '2024-01-01 12:00:00')")
			a := tableInfo("ddl_zone.a")
			ddl := ddlOf(event.DDLModifyColumn, "ddl_zone", "alter table a modify column at datetime", a, a)
			ddl.TimeZone = tt.zone
			if err := s.open(t, tt.parameters).WriteDDL(t.Context(), ddl); err != nil {
				t.Fatal(err)
			}
			if got := rowsOf(t, db, "SELECT at FROM a"); got[0] != tt.want {
				t.Errorf("%s, session in %v: got %s, want %s", tt.parameters, tt.zone, got[0], tt.want)
			}
		}
		err := s.open(t, "time-zone=").WriteDDL(t.Context(), ddlOf(event.DDLModifyTableComment, "ddl_zone", "alter table a comment = 'x'", tableInfo("ddl_zone.a"), tableInfo("ddl_zone.a")))
		if err != nil {
			t.Error(err)
		}
	})
}

// TestVector: a VECTOR is a text for a downstream of which nobody says that it has
// the type.
func TestVector(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		db := s.database(t, "vectors")
		out := s.open(t, "")
		table := tableInfo("vectors.a")
		table.Columns = append(table.Columns, event.ColumnInfo{ID: 2, Name: "v", Type: event.TypeVector, Length: 3})
		like := *table
		like.ID, like.Table = 99, "b"
		for _, ddl := range []*event.DDL{
			ddlOf(event.DDLCreateTable, "vectors", "create table a (id int primary key, v vector(3), vector index i ((vec_cosine_distance(v))))", nil, table),
			ddlOf(event.DDLAddIndex, "vectors", "create vector index j on a ((vec_l2_distance(v)))", table, table),
			ddlOf(event.DDLCreateTable, "vectors", "create table b like left_out", nil, &like),
		} {
			if err := out.WriteDDL(t.Context(), ddl); err != nil {
				t.Fatal(err)
			}
		}
		v, err := event.ParseVector("[1,2.5,-3]")
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range []*event.TableInfo{table, &like} {
			row := &event.RowChanged{StartTs: 1, CommitTs: 2, Table: table, PhysicalTableID: table.ID, Key: []byte("k"), Columns: []event.Value{event.Int64Value(1), v}}
			if err := out.WriteRows(t.Context(), []*event.RowChanged{row}); err != nil {
				t.Fatal(err)
			}
			if got := rowsOf(t, db, "SELECT v FROM "+table.Table); !slices.Equal(got, []string{"[1,2.5,-3]"}) {
				t.Errorf("%s: got %q", table.Table, got)
			}
		}
	})
}
