package diff_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// pair is two databases to compare.
type pair struct {
	name     string
	up, down func(testing.TB) *sql.DB
}

var pairs = []pair{
	{"MariaDB to MariaDB", func(t testing.TB) *sql.DB { return mariaDB(t, 0) }, func(t testing.TB) *sql.DB { return mariaDB(t, 1) }},
	{"TiDB to MariaDB", tiDB, func(t testing.TB) *sql.DB { return mariaDB(t, 0) }},
	{"MariaDB to TiDB", func(t testing.TB) *sql.DB { return mariaDB(t, 1) }, tiDB},
}

// fill makes a database with the same statements on both sides.
func (p pair) fill(t testing.TB, database string, statements ...string) (up, down *sql.DB) {
	t.Helper()
	up, down = p.up(t), p.down(t)
	database = "`" + strings.ReplaceAll(database, "`", "``") + "`"
	for _, db := range []*sql.DB{up, down} {
		exec(t, db, "DROP DATABASE IF EXISTS "+database, "CREATE DATABASE "+database+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
		for _, s := range statements {
			exec(t, db, "SET NAMES utf8mb4; USE "+database+"; SET sql_mode = '', time_zone = '+00:00'; "+s)
		}
	}
	return up, down
}

func only(t testing.TB, rules ...string) *filter.Filter {
	t.Helper()
	f, err := filter.New(filter.Config{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func compare(t testing.TB, up, down *sql.DB, o diff.Options) *diff.Result {
	t.Helper()
	r, err := diff.Compare(t.Context(), diff.Endpoint{DB: up}, diff.Endpoint{DB: down}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// report prints a result, for comparison with what is wanted.
func report(t testing.TB, r *diff.Result) string {
	t.Helper()
	var b strings.Builder
	if err := r.Print(&b, 20); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// schema has a table of every kind that is read in a way of its own.
var schema = []string{
	"CREATE TABLE plain (id INT PRIMARY KEY, a VARCHAR(20), b INT)",
	"INSERT INTO plain VALUES (1, 'one', 1), (2, NULL, 2), (3, '', NULL), (4, 'a,b', 4), (5, 'c', 5), (6, 'd', 6), (7, 'e', 7), (-8, 'f', 8)",
	"CREATE TABLE types (id BIGINT UNSIGNED PRIMARY KEY, ti TINYINT, bi BIGINT UNSIGNED, z INT(6) UNSIGNED ZEROFILL, de DECIMAL(30, 10), f FLOAT, d DOUBLE, " +
		"bt BIT(12), y YEAR, da DATE, dt DATETIME(6), ts TIMESTAMP(3) NULL, tm TIME(2), c CHAR(10), tx TEXT, la VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin, " +
		"bn BINARY(4), vb VARBINARY(20), bl BLOB, e ENUM('x','y,z'), s SET('p','q'), j JSON)",
	"INSERT INTO types VALUES (18446744073709551615, -1, 18446744073709551615, 42, -12345678901234567890.0123456789, 0.1, 1e100, " +
		"b'101010101010', 2024, '2024-02-29', '2024-02-29 23:59:59.123456', '2024-02-29 12:00:00.5', '-838:59:59', 'char ', 'text 中 ü', 'ü', " +
		"x'00ff', x'00112233', x'fffe', 'y,z', 'p,q', '{\"b\": [1, 2.50, null], \"a\": \"x\"}')",
	"INSERT INTO types (id, f, d, da, dt, j) VALUES (0, 16777216, 0.1, '0000-00-00', '0000-00-00 00:00:00', '1'), (9223372036854775808, -3.4e38, 5e-324, '9999-12-31', '2000-01-01', NULL)",
	"CREATE TABLE pairs (a VARCHAR(10), b INT, c DATE, v INT, PRIMARY KEY (a, b, c))",
	"INSERT INTO pairs VALUES ('a', 1, '2024-01-01', 1), ('a', 1, '2024-01-02', 2), ('a', 2, '2024-01-01', 3), ('b', 1, '2024-01-01', 4), ('B', 1, '2024-01-01', 5), ('', 0, '2024-01-01', 6)",
	"CREATE TABLE words (w VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v INT)",
	"INSERT INTO words VALUES ('alpha', 1), ('Beta', 2), ('gamma', 3), ('Délta', 4), ('中文', 5), ('ß', 6), ('zeta''s', 7)",
	"CREATE TABLE weighted (w VARCHAR(20) COLLATE utf8mb4_unicode_ci PRIMARY KEY, v INT)",
	"INSERT INTO weighted VALUES ('alpha', 1), ('Beta', 2), ('gamma', 3), ('Délta', 4), ('中文', 5), ('zeta', 7)",
	"CREATE TABLE bytes (b VARBINARY(10) PRIMARY KEY, v INT)",
	"INSERT INTO bytes VALUES (x'', 0), (x'00', 1), (x'0001', 2), (x'ff', 3), (x'27', 4), (x'5c', 5)",
	"CREATE TABLE uniq (u DECIMAL(10, 2) NOT NULL, v INT, UNIQUE KEY (u))",
	"INSERT INTO uniq VALUES (-1.50, 1), (0, 2), (1.25, 3), (99999999.99, 4)",
	"CREATE TABLE bag (a INT, b VARCHAR(10), UNIQUE KEY (a))",
	"INSERT INTO bag VALUES (1, 'x'), (2, 'y'), (NULL, 'z'), (NULL, 'z'), (NULL, NULL)",
	"CREATE TABLE enums (e ENUM('z', 'a', 'm') PRIMARY KEY, v INT)",
	"INSERT INTO enums VALUES ('z', 1), ('a', 2), ('m', 3)",
	"CREATE TABLE computed (id INT PRIMARY KEY, v INT AS (id + 1) VIRTUAL, s INT AS (id * 2) STORED)",
	"INSERT INTO computed (id) VALUES (1), (2)",
	"CREATE TABLE empty (id INT PRIMARY KEY)",
}

func TestEqual(t *testing.T) {
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			up, down := p.fill(t, "equal", schema...)
			for _, o := range []diff.Options{{}, {ChunkRows: 1}, {ChunkRows: 2, Concurrency: 1}, {ChunkRows: 2, Checksums: true}} {
				var done []string
				o.Filter = only(t, "equal.*")
				o.Table = func(r *diff.TableResult) { done = append(done, r.Table) }
				r := compare(t, up, down, o)
				if !r.Equal() {
					t.Errorf("chunks of %d:\n%s", o.ChunkRows, report(t, r))
				}
				if got := strings.Join(done, " "); got != "bag bytes computed empty enums pairs plain types uniq weighted words" {
					t.Errorf("got tables %s", got)
				}
				for _, tr := range r.Tables {
					if tr.Table == "plain" && tr.Rows != 8 || tr.Table == "bag" && tr.Rows != 5 {
						t.Errorf("%s: got %d rows", tr.Table, tr.Rows)
					}
				}
			}
		})
	}
}

// TestPlanted changes the downstream, one difference at a time.
func TestPlanted(t *testing.T) {
	tests := []struct {
		name, change, undo string
		table              string
		want               string // what the report says, lines after the first joined by "; "
	}{
		{"value", "UPDATE plain SET b = 5 WHERE id = 4", "UPDATE plain SET b = 4 WHERE id = 4", "plain", "different row id=4; b: 4 upstream, 5 downstream"},
		{"to NULL", "UPDATE plain SET a = NULL WHERE id = 3", "UPDATE plain SET a = '' WHERE id = 3", "plain", `different row id=3; a: "" upstream, NULL downstream`},
		{
			"NULL from one column to the next", "UPDATE plain SET a = '2', b = NULL WHERE id = 2", "UPDATE plain SET a = NULL, b = 2 WHERE id = 2", "plain",
			`different row id=2; a: NULL upstream, "2" downstream; b: 2 upstream, NULL downstream`,
		},
		{"missing", "DELETE FROM plain WHERE id = -8", "INSERT INTO plain VALUES (-8, 'f', 8)", "plain", `missing row id=-8; a: "f"; b: 8`},
		{"extra behind all", "INSERT INTO plain VALUES (100, 'x', 1)", "DELETE FROM plain WHERE id = 100", "plain", `extra row id=100; a: "x"; b: 1`},
		{"case", "UPDATE plain SET a = 'E' WHERE id = 7", "UPDATE plain SET a = 'e' WHERE id = 7", "plain", `different row id=7; a: "e" upstream, "E" downstream`},
		{
			"two rows swap", "UPDATE plain SET a = IF(id = 5, 'd', 'c') WHERE id IN (5, 6)", "UPDATE plain SET a = IF(id = 5, 'c', 'd') WHERE id IN (5, 6)", "plain",
			`different row id=5; a: "c" upstream, "d" downstream; different row id=6; a: "d" upstream, "c" downstream`,
		},
		{"last bit of a float", "UPDATE types SET f = 16777218 WHERE id = 0", "UPDATE types SET f = 16777216 WHERE id = 0", "types", "different row id=0; f:"},
		{"last bit of a double", "UPDATE types SET d = 0.10000000000000002 WHERE id = 0", "UPDATE types SET d = 0.1 WHERE id = 0", "types", "different row id=0; d:"},
		{"bit", "UPDATE types SET bt = b'101010101011' WHERE bt IS NOT NULL", "UPDATE types SET bt = b'101010101010' WHERE bt IS NOT NULL", "types", "bt: 2730 upstream, 2731 downstream"},
		{"microsecond", "UPDATE types SET dt = '2024-02-29 23:59:59.123457' WHERE bt IS NOT NULL", "UPDATE types SET dt = '2024-02-29 23:59:59.123456' WHERE bt IS NOT NULL", "types", "dt: "},
		{
			"timestamp", "SET time_zone = '+08:00'; UPDATE types SET ts = '2024-02-29 12:00:00.5' WHERE bt IS NOT NULL; SET time_zone = '+00:00'",
			"UPDATE types SET ts = '2024-02-29 12:00:00.5' WHERE bt IS NOT NULL", "types", `ts: "2024-02-29 12:00:00.500" upstream, "2024-02-29 04:00:00.500" downstream`,
		},
		{"JSON number", "UPDATE types SET j = '{\"b\": [1, 2.51, null], \"a\": \"x\"}' WHERE bt IS NOT NULL", "UPDATE types SET j = '{\"b\": [1, 2.50, null], \"a\": \"x\"}' WHERE bt IS NOT NULL", "types", "j: "},
		{"latin1", "UPDATE types SET la = 'u' WHERE bt IS NOT NULL", "UPDATE types SET la = 'ü' WHERE bt IS NOT NULL", "types", `la: "ü" upstream, "u" downstream`},
		{"blob", "UPDATE types SET bl = x'fffd' WHERE bt IS NOT NULL", "UPDATE types SET bl = x'fffe' WHERE bt IS NOT NULL", "types", "bl: x'fffe' upstream, x'fffd' downstream"},
		{"enum", "UPDATE types SET e = 'x' WHERE bt IS NOT NULL", "UPDATE types SET e = 'y,z' WHERE bt IS NOT NULL", "types", `e: "y,z" upstream, "x" downstream`},
		{"huge key", "DELETE FROM types WHERE id = 9223372036854775808", "INSERT INTO types (id, f, d, da, dt) VALUES (9223372036854775808, -3.4e38, 5e-324, '9999-12-31', '2000-01-01')", "types", "missing row id=9223372036854775808;"},
		{"composite key", "DELETE FROM pairs WHERE a = 'a' AND b = 2", "INSERT INTO pairs VALUES ('a', 2, '2024-01-01', 3)", "pairs", `missing row a="a" b=2 c="2024-01-01"; v: 3`},
		{"composite key by case", "UPDATE pairs SET v = 6 WHERE a = 'B'", "UPDATE pairs SET v = 5 WHERE a = 'B'", "pairs", `different row a="B" b=1 c="2024-01-01"; v: 5 upstream, 6 downstream`},
		{"key by collation", "UPDATE words SET w = 'beta' WHERE w = 'Beta'", "UPDATE words SET w = 'Beta' WHERE w = 'beta'", "words", `missing row w="Beta"; v: 2; extra row w="beta"; v: 2`},
		{"key with a quote", "DELETE FROM words WHERE v = 7", "INSERT INTO words VALUES ('zeta''s', 7)", "words", `missing row w="zeta's"; v: 7`},
		{"key of another weight", "UPDATE weighted SET v = 9 WHERE w = '中文'", "UPDATE weighted SET v = 5 WHERE w = '中文'", "weighted", "v: 5"},
		{"binary key", "UPDATE bytes SET v = 9 WHERE b = x'5c'", "UPDATE bytes SET v = 5 WHERE b = x'5c'", "bytes", "different row b=x'5c'; v: 5 upstream, 9 downstream"},
		{"empty binary key", "DELETE FROM bytes WHERE b = x''", "INSERT INTO bytes VALUES (x'', 0)", "bytes", "missing row b=x''; v: 0"},
		{"unique key", "UPDATE uniq SET v = 9 WHERE u = -1.5", "UPDATE uniq SET v = 1 WHERE u = -1.5", "uniq", "different row u=-1.50; v: 1 upstream, 9 downstream"},
		{"one of two equal rows", "DELETE FROM bag WHERE b = 'z' LIMIT 1", "INSERT INTO bag VALUES (NULL, 'z')", "bag", `missing row; a: NULL; b: "z"`},
		{"two equal rows more", "INSERT INTO bag VALUES (NULL, 'w'), (NULL, 'w')", "DELETE FROM bag WHERE b = 'w'", "bag", `extra row; a: NULL; b: "w"; extra row; a: NULL; b: "w"`},
		{"enum key", "UPDATE enums SET v = 9 WHERE e = 'a'", "UPDATE enums SET v = 2 WHERE e = 'a'", "enums", "v: 9"},
		{"extra in an empty table", "INSERT INTO empty VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12)", "DELETE FROM empty", "empty", "extra row id=1; extra row id=2;"},
	}
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			up, down := p.fill(t, "planted", schema...)
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					prefix := "SET NAMES utf8mb4; USE planted; SET sql_mode = '', time_zone = '+00:00'; "
					exec(t, down, prefix+tt.change)
					defer exec(t, down, prefix+tt.undo)
					for _, n := range []int{0, 2} {
						r := compare(t, up, down, diff.Options{Filter: only(t, "planted."+tt.table), ChunkRows: n, Concurrency: 1, Checksums: n > 0})
						if r.Equal() {
							t.Fatalf("chunks of %d: found no difference", n)
						}
						var lines []string
						for line := range strings.Lines(report(t, r)) {
							lines = append(lines, strings.TrimSpace(line))
						}
						if got := strings.Join(lines[1:], "; "); !strings.Contains(got, tt.want) {
							t.Errorf("chunks of %d: got\n%s\nwant %s", n, got, tt.want)
						}
					}
				})
			}
			if r := compare(t, up, down, diff.Options{Filter: only(t, "planted.*")}); !r.Equal() {
				t.Errorf("after all was undone:\n%s", report(t, r))
			}
		})
	}
}
