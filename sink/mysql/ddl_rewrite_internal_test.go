package mysql

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// info returns a table "schema.name" with columns "name:type" of a few types.
func info(name string, columns ...string) *event.TableInfo {
	schema, table, _ := strings.Cut(name, ".")
	t := &event.TableInfo{Schema: schema, Table: table, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	for i, c := range columns {
		name, tp, _ := strings.Cut(c, ":")
		info := event.ColumnInfo{ID: int64(i + 1), Name: name, Type: event.TypeLong, Length: 11, Decimal: -1}
		if tp != "" {
			info.Type, info.Charset, info.Collation, info.Length = event.TypeVarchar, "utf8mb4", tp, 20
		}
		t.Columns = append(t.Columns, info)
	}
	return t
}

func indexed(t *event.TableInfo, name string, columns ...string) *event.TableInfo {
	idx := event.IndexInfo{ID: int64(len(t.Indexes) + 1), Name: name}
	for _, c := range columns {
		idx.Columns = append(idx.Columns, event.IndexColumn{Name: c, Offset: t.ColumnOffset(c), Length: -1})
	}
	t.Indexes = append(t.Indexes, idx)
	return t
}

func changes(pairs ...*event.TableInfo) []event.TableChange {
	var out []event.TableChange
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, event.TableChange{Before: pairs[i], After: pairs[i+1]})
	}
	return out
}

func TestRewriteDDL(t *testing.T) {
	tt := info("s.t", "id", "name:utf8mb4_general_ci")
	const table = " DEFAULT CHARACTER SET = UTF8MB4 DEFAULT COLLATE = UTF8MB4_BIN"
	tests := []struct {
		name    string
		kind    event.DDLType
		query   string
		changes []event.TableChange
		// want is for every dialect but those that are named; statements are
		// joined by "; ".
		want, mariadb, tidb string
	}{
		{
			name: "database", kind: event.DDLCreateSchema, query: "create database s",
			want: "CREATE DATABASE IF NOT EXISTS `s` CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin",
		},
		{
			name: "database with a character set", kind: event.DDLCreateSchema, query: "create schema if not exists s charset gbk placement policy p",
			want: "CREATE DATABASE IF NOT EXISTS `s` CHARACTER SET = gbk COLLATE = gbk_chinese_ci",
			tidb: "CREATE DATABASE IF NOT EXISTS `s` /*T![placement] PLACEMENT POLICY = `p` */ CHARACTER SET = gbk COLLATE = gbk_chinese_ci",
		},
		{
			name: "default database", kind: event.DDLModifySchemaCharset, query: "alter database collate utf8mb4_general_ci",
			want: "ALTER DATABASE `s` CHARACTER SET = utf8mb4 COLLATE = utf8mb4_general_ci",
		},
		{name: "drop database", kind: event.DDLDropSchema, query: "drop database s", want: "DROP DATABASE IF EXISTS `s`"},

		{name: "one of the dropped tables", kind: event.DDLDropTable, query: "drop table a, t, other.b", changes: changes(tt, nil), want: "DROP TABLE IF EXISTS `s`.`t`"},
		{name: "one of the dropped views", kind: event.DDLDropView, query: "drop view a, t", changes: changes(tt, nil), want: "DROP VIEW IF EXISTS `s`.`t`"},
		{name: "truncate", kind: event.DDLTruncateTable, query: "truncate t", changes: changes(tt, tt), want: "TRUNCATE TABLE `s`.`t`"},
		{name: "names with quotes", kind: event.DDLTruncateTable, query: "truncate `a``b`", changes: changes(info("x`y.a`b"), info("x`y.a`b")), want: "TRUNCATE TABLE `x``y`.`a``b`"},

		{name: "rename", kind: event.DDLRenameTable, query: "alter table t rename as u", changes: changes(tt, info("s.u")), want: "RENAME TABLE `s`.`t` TO `s`.`u`"},
		{
			name: "rename to another database", kind: event.DDLRenameTable, query: "rename table t to z.t", changes: changes(tt, info("z.t")),
			want: "CREATE DATABASE IF NOT EXISTS `z`; RENAME TABLE `s`.`t` TO `z`.`t`",
		},
		{
			name: "some of the renamed tables", kind: event.DDLRenameTables, query: "rename table x.a to x.b, t to u, c to d", changes: changes(tt, info("s.u"), info("s.c"), info("s.d")),
			want: "RENAME TABLE `s`.`t` TO `s`.`u`, `s`.`c` TO `s`.`d`",
		},
		{
			name: "a chain of renames", kind: event.DDLRenameTables, query: "rename table b to c, a to b", changes: changes(info("s.a"), info("s.b"), info("s.b"), info("s.c")),
			want: "RENAME TABLE `s`.`b` TO `s`.`c`, `s`.`a` TO `s`.`b`",
		},
		{
			name: "swapped tables", kind: event.DDLRenameTables, query: "rename table a to x, b to a, x to b", changes: changes(info("s.a"), info("s.b"), info("s.b"), info("s.a")),
			want: "RENAME TABLE `s`.`a` TO `s`.`_tidbcdc_rename_7_0`, `s`.`b` TO `s`.`a`, `s`.`_tidbcdc_rename_7_0` TO `s`.`b`",
		},

		{
			name: "create", kind: event.DDLCreateTable, query: "create table t (id int primary key, name varchar(20) collate utf8mb4_general_ci default 'a\\\\''')", changes: changes(nil, tt),
			want: "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` INT PRIMARY KEY,`name` VARCHAR(20) COLLATE utf8mb4_general_ci DEFAULT 'a\\\\''')" + table,
		},
		{
			name: "create with global indexes", kind: event.DDLCreateTable, changes: changes(nil, tt),
			query: "create table t (id int primary key, a int unique global, b int unique, unique key (a, b) global, unique key l (id, b)) partition by hash (id) partitions 2",
			want:  "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` INT PRIMARY KEY,`a` INT,`b` INT UNIQUE KEY,UNIQUE `l`(`id`, `b`))" + table + " PARTITION BY HASH (`id`) PARTITIONS 2",
			tidb:  "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` INT PRIMARY KEY,`a` INT UNIQUE KEY GLOBAL,`b` INT UNIQUE KEY,UNIQUE(`a`, `b`) /*T![global_index] GLOBAL */,UNIQUE `l`(`id`, `b`))" + table + " PARTITION BY HASH (`id`) PARTITIONS 2",
		},
		{
			name: "global index", kind: event.DDLAddIndex, changes: changes(tt, tt), query: "create unique index g on t (name) global", want: "-",
			tidb: "CREATE UNIQUE INDEX `g` ON `s`.`t` (`name`) /*T![global_index] GLOBAL */",
		},
		{
			name: "create what only TiDB has", kind: event.DDLCreateTable, changes: changes(nil, tt),
			query: "create table t (id bigint auto_random(5) primary key clustered, check (id > 0), key ((id + 1)), key k (id) global) engine = myisam, " +
				"ttl = `at` + interval 1 day ttl_enable = 'ON' shard_row_id_bits = 2 pre_split_regions = 2 auto_id_cache 1 placement policy p",
			want:    "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` BIGINT PRIMARY KEY,INDEX((`id`+1)),INDEX `k`(`id`))" + table,
			mariadb: "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` BIGINT PRIMARY KEY,INDEX `k`(`id`))" + table,
			tidb: "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` BIGINT /*T![auto_rand] AUTO_RANDOM(5) */ PRIMARY KEY /*T![clustered_index] CLUSTERED */,CHECK(`id`>0) ENFORCED,INDEX((`id`+1)),INDEX `k`(`id`) /*T![global_index] GLOBAL */) " +
				"ENGINE = myisam /*T![ttl] TTL = `at` + INTERVAL 1 DAY */ /*T![ttl] TTL_ENABLE = 'OFF' */ /*T! SHARD_ROW_ID_BITS = 2 */ /*T! PRE_SPLIT_REGIONS = 2 */ " +
				"/*T![auto_id_cache] AUTO_ID_CACHE = 1 */ /*T![placement] PLACEMENT POLICY = `p` */" + table,
		},
		{
			name: "create in comments", kind: event.DDLCreateTable, changes: changes(nil, tt), query: "create table t (id bigint primary key /*T![auto_rand] auto_random(5) */) /*!40100 comment 'x' */",
			want: "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` BIGINT PRIMARY KEY) COMMENT = 'x'" + table,
			tidb: "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` BIGINT PRIMARY KEY /*T![auto_rand] AUTO_RANDOM(5) */) COMMENT = 'x'" + table,
		},
		{
			name: "inline reference", kind: event.DDLCreateTable, changes: changes(nil, tt), query: "create table t (id int references u (id), constraint f foreign key (id) references u (id))",
			want: "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` INT,CONSTRAINT `f` FOREIGN KEY (`id`) REFERENCES `s`.`u`(`id`))" + table,
		},
		{
			name: "one table of a restored backup", kind: event.DDLCreateTables, changes: changes(nil, tt),
			query: "create table s.other (id int); create table s.t (id int)", want: "CREATE TABLE IF NOT EXISTS `s`.`t` (`id` INT)" + table,
		},
		{
			name: "a table whose statement is not there", kind: event.DDLCreateTables, changes: changes(nil, indexed(info("s.u", "id", "name:utf8mb4_bin"), "k", "name", "id")),
			query: "create table s.other (id int); create table s.t (id int)",
			want:  "CREATE TABLE IF NOT EXISTS `s`.`u` (`id` int(11) NULL, `name` varchar(20) COLLATE utf8mb4_bin NULL, KEY `k` (`name`, `id`)) DEFAULT CHARACTER SET = utf8mb4 DEFAULT COLLATE = utf8mb4_bin",
		},
		{name: "temporary", kind: event.DDLCreateTable, changes: changes(nil, tt), query: "create global temporary table t (id int) on commit delete rows"},
		{
			name: "MySQL 8's collation", kind: event.DDLModifyColumn, changes: changes(info("s.t", "a:utf8mb4_0900_ai_ci"), info("s.t", "a:utf8mb4_0900_ai_ci")), query: "alter table t modify a varchar(30)",
			want:    "ALTER TABLE `s`.`t` MODIFY COLUMN `a` VARCHAR(30) COLLATE utf8mb4_0900_ai_ci",
			mariadb: "ALTER TABLE `s`.`t` MODIFY COLUMN `a` VARCHAR(30) COLLATE utf8mb4_uca1400_nopad_ai_ci",
		},

		{
			name: "add column", kind: event.DDLAddColumn, changes: changes(info("s.t", "id"), tt), query: "alter table other_name add name varchar(20) after id",
			want: "ALTER TABLE `s`.`t` ADD COLUMN `name` VARCHAR(20) COLLATE utf8mb4_general_ci AFTER `id`",
		},
		{
			name: "add what is there", kind: event.DDLMultiSchemaChange, changes: changes(info("s.t", "id"), info("s.t", "id", "b")),
			query: "alter table t add column if not exists id int, add column if not exists (id int, b int), drop column if exists c, drop index if exists i",
			want:  "ALTER TABLE `s`.`t` ADD COLUMN (`b` INT)",
		},
		{
			name: "unnamed index", kind: event.DDLAddIndex, changes: changes(indexed(info("s.t", "a", "b"), "a", "a"), indexed(indexed(info("s.t", "a", "b"), "a", "a"), "a_2", "a", "b")),
			query: "alter table t add index (a, b)", want: "ALTER TABLE `s`.`t` ADD INDEX `a_2`(`a`, `b`)",
		},
		{
			name: "create index", kind: event.DDLAddIndex, changes: changes(tt, tt), query: "create index if not exists i using btree on t (name(5)) algorithm = inplace lock = none",
			want: "CREATE INDEX `i` ON `s`.`t` (`name`(5))", tidb: "CREATE INDEX `i` ON `s`.`t` (`name`(5)) USING BTREE",
		},
		{
			name: "expression index", kind: event.DDLAddIndex, changes: changes(tt, tt), query: "create index i on t ((id + 1))",
			want: "CREATE INDEX `i` ON `s`.`t` ((`id`+1))", mariadb: "-",
		},
		{
			name: "visibility", kind: event.DDLAlterIndexVisibility, changes: changes(tt, tt), query: "alter table t alter index i invisible",
			want: "ALTER TABLE `s`.`t` ALTER INDEX `i` INVISIBLE", mariadb: "ALTER TABLE `s`.`t` ALTER INDEX `i` IGNORED",
		},
		{
			name: "TiFlash and more", kind: event.DDLMultiSchemaChange, changes: changes(tt, tt), query: "alter table t set tiflash replica 1, comment = 'x', attributes 'merge_option=allow', lock = none",
			want: "ALTER TABLE `s`.`t` COMMENT = 'x'",
		},
		{
			name: "TTL", kind: event.DDLAlterTTL, changes: changes(tt, tt), query: "alter table t ttl = `a` + interval 1 month ttl_enable = 'ON'",
			tidb: "ALTER TABLE `s`.`t` /*T![ttl] TTL = `a` + INTERVAL 1 MONTH */ /*T![ttl] TTL_ENABLE = 'OFF' */",
		},
		{
			name: "character set", kind: event.DDLModifyTableCharset, changes: changes(tt, tt), query: "alter table t convert to character set utf8mb4",
			want: "ALTER TABLE `s`.`t` CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
		},
		{name: "default of a sequence", kind: event.DDLSetDefaultValue, changes: changes(tt, tt), query: "alter table t alter column id set default (next value for s)"},
		{
			name: "partitions", kind: event.DDLAddPartition, changes: changes(tt, tt), query: "alter table t add partition (partition p values less than (5) placement policy p)",
			want: "ALTER TABLE `s`.`t` ADD PARTITION (PARTITION `p` VALUES LESS THAN (5))",
			tidb: "ALTER TABLE `s`.`t` ADD PARTITION (PARTITION `p` VALUES LESS THAN (5) /*T![placement] PLACEMENT POLICY = `p` */)",
		},
		{
			name: "exchange", kind: event.DDLExchangePartition, changes: changes(tt, tt, info("z.u"), info("z.u")), query: "alter table t exchange partition p with table z.u without validation",
			want:    "ALTER TABLE `s`.`t` EXCHANGE PARTITION `p` WITH TABLE `z`.`u` WITHOUT VALIDATION",
			mariadb: "ALTER TABLE `s`.`t` EXCHANGE PARTITION `p` WITH TABLE `z`.`u`",
		},
		{
			name: "view", kind: event.DDLCreateView, changes: changes(nil, info("s.v")), query: "create definer = 'me'@'%' view v (a) as with x as (select 1 as i) select t.id from t join x join z.y",
			want: "CREATE OR REPLACE ALGORITHM = UNDEFINED DEFINER = CURRENT_USER SQL SECURITY DEFINER VIEW `s`.`v` (`a`) AS WITH `x` AS (SELECT 1 AS `i`) SELECT `t`.`id` FROM (`s`.`t` JOIN `x`) JOIN `z`.`y`",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for dialect, want := range map[ddlDialect]string{dialectMySQL: tt.want, dialectMariaDB: tt.mariadb, dialectTiDB: tt.tidb} {
				if want == "" {
					want = tt.want
				}
				plan, err := rewriteDDL(&event.DDL{Type: tt.kind, Query: tt.query, Schema: "s", JobID: 7, CommitTs: 5, Changes: tt.changes}, downstream{dialect: dialect, zone: time.UTC})
				if err != nil {
					t.Fatal(err)
				}
				var list []string
				for _, s := range plan.statements {
					list = append(list, s.sql)
				}
				got := strings.Join(list, "; ")
				if want == "-" {
					if got != "" || len(plan.notes) != 1 {
						t.Errorf("got %s, notes %q, want nothing but a note", got, plan.notes)
					}
				} else if got != want {
					t.Errorf("dialect %d: got\n%s\nwant\n%s", dialect, got, want)
				}
			}
		})
	}
}

func TestRewriteDDLSQLMode(t *testing.T) {
	const ansiQuotes, noBackslash = 1 << 2, 1 << 20
	plan, err := rewriteDDL(&event.DDL{
		Type: event.DDLModifyTableComment, Schema: "s", SQLMode: ansiQuotes | noBackslash, Changes: changes(info("s.t"), info("s.t")),
		Query: `alter table "t" comment = 'back\slash'''`,
	}, downstream{dialect: dialectMySQL, zone: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := plan.statements[0].sql, "ALTER TABLE `s`.`t` COMMENT = 'back\\\\slash'''"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := ddlSQLMode(1<<21 | 1<<24 | ansiQuotes); got != "NO_AUTO_VALUE_ON_ZERO,STRICT_TRANS_TABLES" {
		t.Errorf("got SQL mode %s", got)
	}
}

// TestRewriteDDLClock: defaults of new columns mean the moments that TiDB gave
// them, though it keeps a TIMESTAMP in UTC and a DATETIME in the session's time.
func TestRewriteDDLClock(t *testing.T) {
	column := func(name string, tp event.ColumnType, def, origin string) event.ColumnInfo {
		return event.ColumnInfo{Name: name, Type: tp, Default: &def, OriginDefault: &origin, Version: 1, Decimal: 3}
	}
	const now = "CURRENT_TIMESTAMP(3)"
	ts := column("ts", event.TypeTimestamp, now, "2024-01-01 04:00:00.500")
	dt := column("dt", event.TypeDatetime, now, "2024-01-01 12:00:00.500")
	literal := column("lit", event.TypeTimestamp, "2020-01-01 04:00:00.000", "2020-01-01 04:00:00.000")
	tests := []struct {
		name, query, timestamp, zone, want string
		columns                            []event.ColumnInfo
	}{
		{"TIMESTAMP", "alter table t add ts timestamp(3) default now(3)", "1704081600.500000", "+00:00", "DEFAULT CURRENT_TIMESTAMP(3)", []event.ColumnInfo{ts}},
		{"DATETIME", "alter table t add dt datetime(3) default now(3)", "1704110400.500000", "+00:00", "DEFAULT CURRENT_TIMESTAMP(3)", []event.ColumnInfo{dt}},
		{"both", "alter table t add ts timestamp(3) default now(3), add dt datetime(3) default now(3)", "1704081600.500000", "+08:00", "`dt`", []event.ColumnInfo{ts, dt}},
		{"literal", "alter table t add lit timestamp(3) default '2020-01-01 12:00:00'", "1000.000000", "+00:00", "DEFAULT '2020-01-01 04:00:00.000'", []event.ColumnInfo{literal}},
		{
			"all", "alter table t add ts timestamp(3) default now(3), add dt datetime(3) default now(3), add lit timestamp(3) default '2020-01-01 12:00:00'",
			"1704081600.500000", "+08:00", "DEFAULT '2020-01-01 12:00:00'",
			[]event.ColumnInfo{ts, dt, literal},
		},
		{
			"zero date", "alter table t add lit timestamp default 0", "1000.000000", "+00:00", "DEFAULT '0000-00-00 00:00:00'",
			[]event.ColumnInfo{column("lit", event.TypeTimestamp, "0000-00-00 00:00:00", "0000-00-00 00:00:00")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, after := info("s.t", "id"), info("s.t", "id")
			after.Columns = append(after.Columns, tt.columns...)
			plan, err := rewriteDDL(&event.DDL{Type: event.DDLAddColumn, Query: tt.query, Schema: "s", CommitTs: 1000_000 << 18, Changes: changes(before, after)}, downstream{dialect: dialectMySQL, zone: time.UTC})
			if err != nil {
				t.Fatal(err)
			}
			if got := unixSeconds(plan.timestamp); got != tt.timestamp || zoneOffset(plan.zone, plan.timestamp) != tt.zone {
				t.Errorf("got timestamp %s in %s, want %s in %s", got, zoneOffset(plan.zone, plan.timestamp), tt.timestamp, tt.zone)
			}
			if sql := plan.statements[0].sql; !strings.Contains(sql, tt.want) {
				t.Errorf("got %s, want %s in it", sql, tt.want)
			}
		})
	}
}

func TestRewriteDDLFails(t *testing.T) {
	tests := []struct {
		name string
		ddl  event.DDL
		want string
	}{
		{"syntax", event.DDL{Type: event.DDLAddColumn, Query: "alter table t nonsense", Changes: changes(info("s.t"), info("s.t"))}, "parse its query"},
		{"long number", event.DDL{Type: event.DDLAddColumn, Query: "alter table t add c decimal default 1." + strings.Repeat("1", 500), Changes: changes(info("s.t"), info("s.t"))}, "digits"},
		{"two statements", event.DDL{Type: event.DDLAddColumn, Query: "create index i on t (a); create index j on t (a)", Changes: changes(info("s.t"), info("s.t"))}, "2 statements"},
		{"not a DDL", event.DDL{Type: event.DDLAddColumn, Query: "select 1", Changes: changes(info("s.t"), info("s.t"))}, "SelectStmt"},
		{"no table", event.DDL{Type: event.DDLAddColumn, Query: "alter table t add c int"}, "not known"},
		{"recover", event.DDL{Type: event.DDLRecoverTable, Query: "flashback table t", Changes: changes(nil, info("s.t"))}, "start a changefeed"},
		{"rename from nowhere", event.DDL{Type: event.DDLRenameTable, Query: "rename table a to b", Changes: changes(nil, info("s.b"))}, "not known"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.ddl.JobID, tt.ddl.CommitTs, tt.ddl.Schema = 7, 44, "s"
			_, err := rewriteDDL(&tt.ddl, downstream{dialect: dialectMySQL})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "job 7") || !strings.Contains(err.Error(), "commit ts 44") {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	_, err := rewriteDDL(&event.DDL{Type: event.DDLRecoverTable, Query: "recover table by job 3", Schema: "s", Changes: changes(nil, info("s.t"))}, downstream{dialect: dialectMariaDB})
	if !errors.Is(err, errNotPossible) {
		t.Errorf("got %v", err)
	}
	plan, err := rewriteDDL(&event.DDL{Type: event.DDLRecoverTable, Query: "recover table by job 3", Schema: "s", Changes: changes(nil, info("s.t"))}, downstream{dialect: dialectTiDB})
	if err != nil || plan.statements[0].sql != "RECOVER TABLE `s`.`t`" {
		t.Errorf("got %v, %v", plan, err)
	}
}

func FuzzRewriteDDL(f *testing.F) {
	f.Add("alter table t add column a int default 5, drop index i", uint8(5), uint64(0))
	f.Add("create table t (a varchar(10) default 'x', key (a)) partition by hash(a)", uint8(3), uint64(4))
	f.Add("alter table t exchange partition p with table u", uint8(42), uint64(0))
	f.Add("create view v as select 1", uint8(21), uint64(0))
	f.Add("alter table t alter column a drop default", uint8(15), uint64(0))
	f.Fuzz(func(t *testing.T, query string, kind uint8, mode uint64) {
		table := info("s.t", "a", "b:utf8mb4_bin")
		for d := range ddlDialect(3) {
			_, _ = rewriteDDL(&event.DDL{Type: event.DDLType(kind), Query: query, SQLMode: mode, Schema: "s", Changes: changes(table, table)}, downstream{dialect: d})
		}
	})
}
