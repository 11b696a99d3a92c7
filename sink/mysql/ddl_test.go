package mysql_test

import (
	"context"
	"database/sql"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/playground"
	"github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// ddlScript is every kind of DDL that is replicated, with rows in between. The
// session is in +08:00 unless it says otherwise.
var ddlScript = []string{
	// Databases.
	"CREATE DATABASE ddl_a", "CREATE DATABASE ddl_b CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "CREATE DATABASE `ddl_quoted``x`",
	"ALTER DATABASE ddl_b COLLATE utf8mb4_unicode_ci", "CREATE DATABASE IF NOT EXISTS ddl_b",
	"USE ddl_a",

	// Tables: names without a schema, defaults of the database, what only TiDB knows.
	"CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20) DEFAULT 'it''s \\\\ \"x\"')",
	"INSERT INTO t (id, a) VALUES (1, 1), (2, 2), (3, 3)",
	"CREATE TABLE ddl_b.coll (id INT PRIMARY KEY, c VARCHAR(20), d VARCHAR(20) COLLATE utf8mb4_bin, e ENUM('x','y') CHARACTER SET latin1 COLLATE latin1_bin)",
	"INSERT INTO ddl_b.coll VALUES (1, 'c', 'd', 'x')",
	"CREATE TABLE only_tidb (id BIGINT AUTO_RANDOM(4) PRIMARY KEY CLUSTERED, at DATETIME, v INT, CHECK (v > 0), KEY (v)) AUTO_ID_CACHE 10 TTL = `at` + INTERVAL 10 YEAR TTL_ENABLE = 'ON' PRE_SPLIT_REGIONS = 1",
	"INSERT INTO only_tidb (at, v) VALUES ('2024-01-01', -1)",
	"CREATE TABLE nonclustered (a VARCHAR(10), b INT, PRIMARY KEY (a, b) NONCLUSTERED) SHARD_ROW_ID_BITS = 2 ENGINE = MyISAM",
	"INSERT INTO nonclustered VALUES ('a', 1)",
	"CREATE TABLE `quo``ted` (`a``b` INT PRIMARY KEY, `order` INT, KEY `in dex` (`order`)) COMMENT 'a ''comment'' \\\\ '",
	"CREATE TABLE likes LIKE t", "INSERT INTO likes (id) VALUES (1)",
	"CREATE TABLE gen (id INT PRIMARY KEY, v INT AS (id + 1) VIRTUAL, s INT AS (id * 2) STORED NOT NULL, j JSON, n VARCHAR(20) AS (j->>'$.n'), KEY (v), UNIQUE KEY (s))",
	"INSERT INTO gen (id, j) VALUES (1, '{\"n\": \"x\"}')",
	"CREATE TABLE expr (id INT PRIMARY KEY, n VARCHAR(20), KEY ((lower(n))), KEY named ((id + 1), n))",
	"CREATE TABLE defaults (id INT PRIMARY KEY, a TIMESTAMP DEFAULT '2024-01-01 00:00:00', b DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, " +
		"c DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3), d BIT(4) DEFAULT b'101', e VARBINARY(4) DEFAULT x'00ff', f DECIMAL(10,2) DEFAULT 1.50, g CHAR(36) DEFAULT (uuid()), z DATE DEFAULT '2024-02-29')",
	"INSERT INTO defaults (id) VALUES (1)",
	"CREATE TABLE IF NOT EXISTS t (other INT)",
	"CREATE TABLE zones (id INT PRIMARY KEY, a TIMESTAMP NULL, b DATETIME, c TIMESTAMP NULL)", "INSERT INTO zones VALUES (1, '2024-01-01 00:00:00', '2024-07-01 00:00:00', '2024-01-01 00:00:00')",
	"ALTER TABLE zones MODIFY a DATETIME", "SET time_zone = '-05:30'", "ALTER TABLE zones MODIFY b TIMESTAMP NULL", "ALTER TABLE zones MODIFY c VARCHAR(30)", "SET time_zone = '+08:00'",

	// Columns.
	"ALTER TABLE t ADD COLUMN c INT NOT NULL DEFAULT 7 AFTER a", "ALTER TABLE t ADD d VARCHAR(10) FIRST, ADD COLUMN (e INT, f INT)",
	"ALTER TABLE t ADD COLUMN at_ts TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)", "ALTER TABLE t ADD COLUMN at_dt DATETIME DEFAULT CURRENT_TIMESTAMP",
	"ALTER TABLE t ADD COLUMN both_ts TIMESTAMP DEFAULT CURRENT_TIMESTAMP, ADD COLUMN both_dt DATETIME DEFAULT CURRENT_TIMESTAMP, ADD COLUMN lit TIMESTAMP DEFAULT '2020-05-05 12:00:00'",
	"ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT, ADD COLUMN IF NOT EXISTS g INT, DROP COLUMN IF EXISTS nothing",
	"ALTER TABLE t ADD COLUMN zero DATE NOT NULL", "ALTER TABLE t ADD COLUMN en ENUM('a','b') NOT NULL, ADD COLUMN js JSON",
	"INSERT INTO t (id, a, zero, en) VALUES (4, 4, '2024-01-01', 'b')",
	"ALTER TABLE t MODIFY COLUMN a BIGINT UNSIGNED NOT NULL DEFAULT 5 COMMENT 'note'", "ALTER TABLE t CHANGE COLUMN b bb VARCHAR(40) CHARACTER SET utf8mb4",
	"ALTER TABLE t RENAME COLUMN c TO cc", "ALTER TABLE t ALTER COLUMN cc SET DEFAULT 9", "ALTER TABLE t ALTER COLUMN cc DROP DEFAULT",
	"ALTER TABLE t ALTER COLUMN lit SET DEFAULT '2021-01-01 00:00:00'",
	"ALTER TABLE t MODIFY COLUMN e BIGINT, ALGORITHM = INPLACE, LOCK = NONE", "ALTER TABLE t DROP COLUMN f, DROP COLUMN d",
	"ALTER TABLE ddl_b.coll MODIFY c VARCHAR(30)", "ALTER TABLE ddl_b.coll ADD COLUMN f VARCHAR(20), ADD COLUMN g CHAR(5) CHARACTER SET utf8mb4",
	"INSERT INTO t (id, a, cc, zero, en) VALUES (5, 4, 1, '2024-01-01', 'b')",

	// Indexes and keys.
	"CREATE INDEX i1 ON t (a)", "CREATE UNIQUE INDEX u1 ON t (id, a)", "ALTER TABLE t ADD INDEX (e), ADD UNIQUE (id, e), ADD KEY named (bb(5) DESC)",
	"ALTER TABLE t ADD INDEX IF NOT EXISTS i1 (a)", "CREATE INDEX i_exp ON t ((g + 1))", "CREATE INDEX gone ON t (g)",
	"ALTER TABLE t RENAME INDEX i1 TO i2", "ALTER TABLE t ALTER INDEX i2 INVISIBLE", "ALTER TABLE t ALTER INDEX i2 VISIBLE", "DROP INDEX gone ON t",
	"ALTER TABLE t DROP INDEX named, DROP INDEX IF EXISTS nothing", "ALTER TABLE nonclustered DROP PRIMARY KEY", "ALTER TABLE nonclustered ADD PRIMARY KEY (b, a)",
	"CREATE TABLE child (id INT PRIMARY KEY, t_id INT, CONSTRAINT fk_child FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE CASCADE)",
	"INSERT INTO child VALUES (1, 1)", "ALTER TABLE child DROP FOREIGN KEY fk_child", "ALTER TABLE child ADD CONSTRAINT fk2 FOREIGN KEY (t_id) REFERENCES t (id)",
	"ALTER TABLE child DROP FOREIGN KEY fk2",

	// Options.
	"ALTER TABLE t COMMENT = 'new \\'comment\\''", "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "ALTER TABLE t CHARACTER SET utf8mb4",
	"ALTER TABLE t AUTO_INCREMENT = 1000", "ALTER TABLE only_tidb TTL_ENABLE = 'OFF'", "ALTER TABLE only_tidb REMOVE TTL", "ALTER TABLE t SHARD_ROW_ID_BITS = 0",
	"ALTER TABLE only_tidb TTL = `at` + INTERVAL 20 YEAR", "ALTER TABLE t CACHE", "ALTER TABLE t NOCACHE",

	// Partitions.
	"CREATE TABLE part (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
	"INSERT INTO part VALUES (1, 1), (11, 11)", "ALTER TABLE part ADD PARTITION (PARTITION p2 VALUES LESS THAN (30), PARTITION p3 VALUES LESS THAN (40) COMMENT 'last')",
	"INSERT INTO part VALUES (21, 21), (31, 31)", "ALTER TABLE part TRUNCATE PARTITION p1", "ALTER TABLE part DROP PARTITION p2",
	"ALTER TABLE part REORGANIZE PARTITION p0 INTO (PARTITION p00 VALUES LESS THAN (5), PARTITION p01 VALUES LESS THAN (10))",
	"CREATE TABLE plain (id INT PRIMARY KEY, v INT)", "INSERT INTO plain VALUES (12, 12)", "ALTER TABLE part EXCHANGE PARTITION p1 WITH TABLE plain",
	"INSERT INTO part VALUES (13, 13)", "CREATE TABLE hashed (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3", "INSERT INTO hashed VALUES (1), (2), (3)",
	"ALTER TABLE hashed ADD PARTITION PARTITIONS 1", "ALTER TABLE hashed COALESCE PARTITION 1", "ALTER TABLE hashed REMOVE PARTITIONING",
	"ALTER TABLE hashed PARTITION BY KEY (id) PARTITIONS 2",

	// Names.
	"RENAME TABLE likes TO liked", "ALTER TABLE liked RENAME TO ddl_b.liked", "CREATE TABLE s1 (id INT PRIMARY KEY)", "CREATE TABLE s2 (id INT PRIMARY KEY)",
	"INSERT INTO s1 VALUES (1)", "INSERT INTO s2 VALUES (2)", "RENAME TABLE s1 TO tmp, s2 TO s1, tmp TO s2", "INSERT INTO s1 VALUES (3)",
	"RENAME TABLE s1 TO s3, s2 TO ddl_b.s4",

	// Views, and what ends.
	"CREATE VIEW v AS SELECT id, a FROM t WHERE id > 1", "CREATE OR REPLACE VIEW v AS WITH x AS (SELECT id FROM t) SELECT t.id FROM t JOIN x ON t.id = x.id",
	"CREATE VIEW ddl_b.v2 (n) AS SELECT COUNT(*) FROM ddl_a.t", "DROP VIEW v",
	"TRUNCATE TABLE gen", "INSERT INTO gen (id) VALUES (9)", "CREATE TABLE d1 (id INT PRIMARY KEY)", "CREATE TABLE d2 (id INT PRIMARY KEY)", "DROP TABLE d1, d2, IF_ANY",
	"CREATE DATABASE ddl_c", "CREATE TABLE ddl_c.x (id INT PRIMARY KEY)", "CREATE VIEW ddl_c.v AS SELECT * FROM ddl_c.x", "DROP DATABASE ddl_c",
	// Sessions that read otherwise.
	"SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",
	`CREATE TABLE "an""si" ("a" VARCHAR(20) DEFAULT 'back\slash', b VARCHAR(20) AS ("a" || 'x')) COMMENT '\'`,
	`INSERT INTO "an""si" ("a") VALUES ('q')`, "SET sql_mode = ''",
	"CREATE TABLE lax (id INT PRIMARY KEY, d DATE NOT NULL DEFAULT '0000-00-00')", "INSERT INTO lax (id) VALUES (0)",
	"SET NAMES gbk", "CREATE TABLE gbk (id INT PRIMARY KEY) COMMENT '\xd6\xd0'", "SET NAMES utf8mb4",
	// Sequences are not replicated.
	"CREATE SEQUENCE seq", "CREATE TABLE from_seq (id INT PRIMARY KEY, n BIGINT DEFAULT NEXT VALUE FOR seq)", "INSERT INTO from_seq (id) VALUES (1)",
}

// change is a row or a DDL.
type change struct {
	rows []*event.RowChanged
	ddl  *event.DDL
}

// capture keeps what a changefeed delivers.
type capture struct{ changes []change }

func (c *capture) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	var kept []*event.RowChanged
	for _, r := range rows {
		kept = append(kept, r.Clone())
	}
	c.changes = append(c.changes, change{rows: kept})
	return nil
}

func (c *capture) WriteDDL(_ context.Context, ddl *event.DDL) error {
	c.changes = append(c.changes, change{ddl: ddl})
	return nil
}

// ddlUpstream is a TiDB of a test's own.
func ddlUpstream(t *testing.T) *playground.Playground {
	t.Helper()
	binary := os.Getenv("TIDBCDC_PLAYGROUND")
	if binary == "" {
		binary = "../../bin/playground"
	}
	p, err := playground.Start(t.Context(), playground.Options{Binary: binary})
	if err != nil {
		t.Fatalf("%v (make playground builds it)", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// captured runs statements in one session and returns what a changefeed makes of them.
func captured(t *testing.T, p *playground.Playground, f *filter.Filter, script []string) (*sql.DB, []change) {
	t.Helper()
	up, err := cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{p.PD}})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	start, err := up.CurrentTs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	db, err := p.DB("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range append([]string{"SET time_zone = '+08:00'"}, script...) {
		if _, err := conn.ExecContext(t.Context(), q); err != nil && !strings.Contains(q, "IF_ANY") {
			t.Fatalf("upstream: %s: %v", q, err)
		}
	}
	end, err := up.CurrentTs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var c capture
	feed, err := cdc.NewChangefeed(cdc.Config{
		ID: "ddl", Upstream: up, Sink: &c, Filter: f, StartTs: start, TargetTs: end, ForceReplicate: true, Logger: logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := feed.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return db, c.changes
}

// TestDDL executes every kind of DDL twice, and on MariaDB all of them again at the end.
func TestDDL(t *testing.T) {
	p := ddlUpstream(t)
	up, changes := captured(t, p, nil, ddlScript)
	f, err := filter.New(filter.Config{Rules: []string{"/^ddl_([abc]|quoted.*)$/.*"}}) // others belong to other tests
	if err != nil {
		t.Fatal(err)
	}
	onEach(t, func(t *testing.T, s *server) {
		down := s.connect(t, "", nil)
		for _, name := range []string{"ddl_a", "ddl_b", "ddl_quoted``x"} {
			mustExec(t, down, "DROP DATABASE IF EXISTS `"+name+"`")
		}
		mustExec(t, down, "DROP TABLE IF EXISTS tidbcdc.ddl_swap") // job ids of another TiDB
		out := s.open(t, "")
		for _, c := range changes {
			if c.ddl == nil {
				if err := out.WriteRows(t.Context(), c.rows); err != nil {
					t.Fatalf("rows of %s: %v", c.rows[0].Table.Name(), err)
				}
				continue
			}
			for range 2 {
				if err := out.WriteDDL(t.Context(), c.ddl); err != nil {
					t.Errorf("%s: %v", c.ddl.Query, err)
				}
			}
		}
		r, err := diff.Compare(t.Context(), diff.Endpoint{DB: up}, diff.Endpoint{DB: down}, diff.Options{Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Equal() {
			var b strings.Builder
			_ = r.Print(&b, 5)
			t.Error(b.String())
		}
		if s.name == "TiDB" {
			return // it takes long for each
		}
		for _, c := range changes {
			if c.ddl == nil {
				continue
			}
			if err := out.WriteDDL(t.Context(), c.ddl); err != nil {
				t.Errorf("again: %s: %v", c.ddl.Query, err)
			}
		}
	})
	var kinds []string
	for _, c := range changes {
		if c.ddl != nil && !slices.Contains(kinds, c.ddl.Type.String()) {
			kinds = append(kinds, c.ddl.Type.String())
		}
	}
	t.Log("kinds:", strings.Join(kinds, ", "))
}
