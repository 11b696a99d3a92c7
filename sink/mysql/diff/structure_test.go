package diff_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

func TestStructure(t *testing.T) {
	tests := []struct{ name, up, down, want string }{
		{"missing column", "a INT, b INT", "a INT", "column b does not exist downstream"},
		{"extra column", "a INT", "a INT, b INT", "column b exists downstream only"},
		{"type", "a INT", "a BIGINT", "column a has type int(11) upstream, bigint(20) downstream"},
		{"length", "a VARCHAR(10)", "a VARCHAR(11)", "column a has type varchar(10) upstream, varchar(11) downstream"},
		{"sign", "a INT UNSIGNED", "a INT", "column a has type int(10) unsigned upstream, int(11) downstream"},
		{"display width", "a INT(5)", "a INT(7)", ""},
		{"elements", "a ENUM('x','y')", "a ENUM('y','x')", "column a has type enum('x','y') upstream, enum('y','x') downstream"},
		{"collation", "a CHAR(3) COLLATE utf8mb4_bin", "a CHAR(3) COLLATE utf8mb4_general_ci", "column a has collation utf8mb4_bin upstream, utf8mb4_general_ci downstream"},
		{"NULL", "a INT NOT NULL", "a INT", "column a has NULL false upstream, true downstream"},
		{"expression", "a INT, b INT AS (a + 1) STORED", "a INT, b INT", "column b has an expression true upstream, false downstream"},
		{"JSON is LONGTEXT", "a JSON", "a LONGTEXT COLLATE utf8mb4_bin", ""},
		{"defaults and comments", "a INT DEFAULT 1 COMMENT 'x'", "a INT DEFAULT 2", ""},
		{"primary key", "a INT NOT NULL, PRIMARY KEY (a)", "a INT NOT NULL", "primary key (a) does not exist downstream"},
		{"order in a key", "a INT, b INT, UNIQUE KEY (a, b)", "a INT, b INT, UNIQUE KEY (b, a)", "unique key (a, b) does not exist downstream; unique key (b, a) exists downstream only"},
		{"name of a key", "a INT, KEY x (a)", "a INT, KEY y (a)", ""},
		{"index", "a INT, KEY x (a)", "a INT", "index (a) does not exist downstream"},
		{"case of names", "a INT, KEY (a)", "A INT, KEY (A)", ""},
	}
	for _, p := range pairs[:2] {
		t.Run(p.name, func(t *testing.T) {
			up, down := p.fill(t, "structure")
			for _, tt := range tests {
				exec(t, up, "DROP TABLE IF EXISTS structure.t", "CREATE TABLE structure.t ("+tt.up+")", "INSERT IGNORE INTO structure.t () VALUES ()")
				exec(t, down, "DROP TABLE IF EXISTS structure.t", "CREATE TABLE structure.t ("+tt.down+")", "INSERT IGNORE INTO structure.t () VALUES ()")
				r := compare(t, up, down, diff.Options{Filter: only(t, "structure.*")})
				if got := strings.Join(r.Tables[0].Structure, "; "); got != tt.want && p.name == pairs[0].name || (got == "") != (tt.want == "") {
					t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
				}
				if tt.name != "defaults and comments" && tt.name != "NULL" && r.Tables[0].Missing+r.Tables[0].Extra > 0 {
					t.Errorf("%s: rows differ:\n%s", tt.name, report(t, r))
				}
			}
		})
	}
}

// TestTables: tables of one side only, names with quotes, tables that a filter
// leaves out, the tables that replication keeps for itself.
func TestTables(t *testing.T) {
	p := pairs[1]
	up, down := p.fill(t, "tables`x", "CREATE TABLE `t``y` (`i``d` INT PRIMARY KEY, `a b` INT)", "INSERT INTO `t``y` VALUES (1, 1), (2, 2)", "CREATE TABLE out1 (id INT PRIMARY KEY)")
	exec(t, up, "CREATE TABLE `tables``x`.up_only (id INT PRIMARY KEY)")
	exec(t, down, "CREATE TABLE `tables``x`.down_only (id INT PRIMARY KEY)", "INSERT INTO `tables``x`.out1 VALUES (1)",
		"DELETE FROM `tables``x`.`t``y` WHERE `i``d` = 2", "CREATE DATABASE IF NOT EXISTS tidbcdc", "CREATE TABLE IF NOT EXISTS tidbcdc.progress (id INT)")
	want := "tables`x.down_only: DIFFERENT, 0 rows upstream\n  structure: the table exists downstream only\n" +
		"tables`x.t`y: DIFFERENT, 2 rows upstream, 1 missing downstream\n  missing row i`d=2\n    a b: 2\n" +
		"tables`x.up_only: DIFFERENT, 0 rows upstream\n  structure: the table does not exist downstream\n3 of 3 tables differ\n"
	f := only(t, "`tables``x`.*", "!`tables``x`.out*", "tidbcdc.*")
	if got := report(t, compare(t, up, down, diff.Options{Filter: f})); got != strings.ReplaceAll(want, "``", "`") {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestSnapshot: a TiDB is read at a ts, whatever comes later.
func TestSnapshot(t *testing.T) {
	p := pairs[1]
	up, down := p.fill(t, "snapshot", "CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
	var ts uint64
	tx, err := up.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.QueryRowContext(t.Context(), "SELECT @@tidb_current_ts").Scan(&ts); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	exec(t, up, "UPDATE snapshot.t SET v = 9", "ALTER TABLE snapshot.t ADD COLUMN later INT")
	o := diff.Options{Filter: only(t, "snapshot.*")}
	r, err := diff.Compare(t.Context(), diff.Endpoint{DB: up, SnapshotTs: event.Ts(ts)}, diff.Endpoint{DB: down}, o)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Equal() || r.UpstreamTs != event.Ts(ts) || r.DownstreamTs != 0 {
		t.Errorf("ts %d and %d:\n%s", r.UpstreamTs, r.DownstreamTs, report(t, r))
	}
	r = compare(t, up, down, o)
	if r.Equal() || r.UpstreamTs <= event.Ts(ts) || r.Tables[0].Different != 3 {
		t.Errorf("ts %d:\n%s", r.UpstreamTs, report(t, r))
	}
	if _, err := diff.Compare(t.Context(), diff.Endpoint{DB: up}, diff.Endpoint{DB: down, SnapshotTs: 5}, o); err == nil || !strings.Contains(err.Error(), "SnapshotTs") {
		t.Errorf("got %v for a MariaDB at a ts", err)
	}
}

// TestConnections: a pool that parses times, one with a single connection, and a
// user without privileges read the same; the pools' sessions stay as they were.
func TestConnections(t *testing.T) {
	p := pairs[1]
	up, _ := p.fill(t, "connections", "CREATE TABLE t (id DATETIME PRIMARY KEY, v TIMESTAMP NULL, z DATE)",
		"INSERT INTO t VALUES ('2024-01-01', '2024-01-01 12:00:00', '0000-00-00'), ('2024-01-02 01:02:03', NULL, '2024-02-29')")
	exec(t, mariaDB(t, 0), "CREATE USER IF NOT EXISTS reader IDENTIFIED BY 'x'", "GRANT SELECT ON connections.* TO reader")
	open := func(user, params string) *sql.DB {
		db, err := sql.Open("mysql", user+"@tcp("+servers.mariadbs[0].Addr+")/?"+params)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	times, reader := open("root", "parseTime=true&loc=Local"), open("reader:x", "")
	single := open("root", "time_zone=%27%2B08:00%27")
	single.SetMaxOpenConns(1)
	o := diff.Options{Filter: only(t, "connections.*"), ChunkRows: 1}
	for _, db := range []*sql.DB{times, reader, single} {
		if r := compare(t, up, db, o); !r.Equal() || r.Tables[0].Rows != 2 {
			t.Error(report(t, r))
		}
	}
	var zone string
	if err := single.QueryRowContext(t.Context(), "SELECT @@time_zone").Scan(&zone); err != nil || zone != "+08:00" {
		t.Errorf("got time zone %s, %v", zone, err)
	}
}

func TestFails(t *testing.T) {
	db := tiDB(t)
	closed := tiDB(t)
	closed.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stop"))
	tests := []struct {
		name     string
		ctx      context.Context
		up, down *sql.DB
		o        diff.Options
		want     string
	}{
		{"no database", t.Context(), nil, db, diff.Options{}, "upstream: Endpoint.DB is nil"},
		{"no connection", t.Context(), db, closed, diff.Options{}, "connect to the downstream"},
		{"negative", t.Context(), db, db, diff.Options{ChunkRows: -1}, "must not be negative"},
		{"cancelled", ctx, db, db, diff.Options{}, "canceled"},
	}
	for _, tt := range tests {
		r, err := diff.Compare(tt.ctx, diff.Endpoint{DB: tt.up}, diff.Endpoint{DB: tt.down}, tt.o)
		if r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, %v", tt.name, r, err)
		}
	}
}

// TestCancel ends a comparison on its way.
func TestCancel(t *testing.T) {
	p := pairs[1]
	up, down := p.fill(t, "big", bigTable)
	fillRows(t, 20000, up, down)
	for _, sums := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		o := diff.Options{Filter: only(t, "big.*"), ChunkRows: 100, Checksums: sums, Progress: func(diff.Progress) { cancel() }}
		if r, err := diff.Compare(ctx, diff.Endpoint{DB: up}, diff.Endpoint{DB: down}, o); r != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", r, err)
		}
	}
}

// TestChecksums finds rows that swap a value, for which the sums of a linear
// hash cancel each other, in every pair of a table.
func TestChecksums(t *testing.T) {
	p := pairs[0]
	up, down := p.fill(t, "sums", "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
		"INSERT INTO t VALUES (10, 10), (11, 11), (12, 12), (13, 13), (14, 14), (15, 15), (16, 16), (17, 17), (18, 18), (19, 19)")
	o := diff.Options{Filter: only(t, "sums.*"), Checksums: true}
	for a := 10; a < 15; a++ {
		for b := a + 1; b < 15; b++ {
			swap := func(to string) {
				exec(t, down, strings.NewReplacer("$a", itoa(a), "$b", itoa(b)).Replace(to))
			}
			swap("UPDATE sums.t SET v = IF(id = $a, $b, $a) WHERE id IN ($a, $b)")
			if r := compare(t, up, down, o); r.Tables[0].Different != 2 {
				t.Errorf("%d and %d:\n%s", a, b, report(t, r))
			}
			swap("UPDATE sums.t SET v = id WHERE id IN ($a, $b)")
		}
	}
}

func itoa(i int) string { return string([]byte{byte('0' + i/10), byte('0' + i%10)}) }

// TestValueString: values are printed on one line, and not at any length.
func TestValueString(t *testing.T) {
	tests := map[string]diff.Value{
		"NULL":       {Null: true, Text: "x"},
		`"a\n\"b\""`: {Text: "a\n\"b\""},
		"x'00ff'":    {Text: "\x00\xff", Binary: true},
		"x'ff'":      {Text: "\xff"},
	}
	for want, v := range tests {
		if got := v.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	kinds := []string{diff.Missing.String(), diff.Extra.String(), diff.Different.String(), diff.Kind(9).String()}
	if !slices.Equal(kinds, []string{"missing", "extra", "different", "unknown kind"}) {
		t.Errorf("got %q", kinds)
	}
}
