package pipeline

import (
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func TestAwaitsSave(t *testing.T) {
	text := func(s string) *string { return &s }
	with := func(change func(*event.TableInfo)) *event.TableInfo {
		table := &event.TableInfo{
			ID:      1,
			Columns: []event.ColumnInfo{{ID: 1, Name: "id"}, {ID: 2, Name: "u"}},
			Indexes: []event.IndexInfo{{ID: 1, Name: "PRIMARY", Primary: true, Unique: true}, {ID: 2, Name: "u", Unique: true}, {ID: 3, Name: "i"}},
		}
		change(table)
		return table
	}
	column := func(c event.ColumnInfo) *event.TableInfo {
		c.ID = 3
		return with(func(t *event.TableInfo) { t.Columns = append([]event.ColumnInfo{c}, t.Columns...) })
	}
	index := func(i event.IndexInfo) *event.TableInfo {
		i.ID = 4
		return with(func(t *event.TableInfo) { t.Indexes = append(t.Indexes, i) })
	}
	same := with(func(*event.TableInfo) {})
	for _, c := range []struct {
		name string
		kind event.DDLType
		// after is the same as before, if nil.
		after *event.TableInfo
		want  bool
	}{
		{name: "CREATE DATABASE", kind: event.DDLCreateSchema},
		{name: "CREATE TABLE", kind: event.DDLCreateTable},
		{name: "CREATE TABLE, several in one job", kind: event.DDLCreateTables},
		{name: "CREATE VIEW", kind: event.DDLCreateView},
		{name: "ADD PARTITION", kind: event.DDLAddPartition},
		{name: "COMMENT", kind: event.DDLModifyTableComment},
		{name: "ADD COLUMN NULL", kind: event.DDLAddColumn, after: column(event.ColumnInfo{})},
		{name: "ADD COLUMN DEFAULT 7", kind: event.DDLAddColumn, after: column(event.ColumnInfo{Default: text("7"), OriginDefault: text("7")})},
		{name: "ADD COLUMN NOT NULL DEFAULT 7", kind: event.DDLAddColumn, after: column(event.ColumnInfo{Flag: event.FlagNotNull, Default: text("7"), OriginDefault: text("7")})},
		{name: "ADD COLUMN AS (u + 1) STORED", kind: event.DDLAddColumn, after: column(event.ColumnInfo{GeneratedExpr: "`u` + 1", Stored: true, Flag: event.FlagNotNull})},
		{name: "ADD COLUMN NOT NULL", kind: event.DDLAddColumn, after: column(event.ColumnInfo{Flag: event.FlagNotNull, OriginDefault: text("0")}), want: true},
		{name: "ADD COLUMN DEFAULT CURRENT_TIMESTAMP", kind: event.DDLAddColumn, after: column(event.ColumnInfo{Default: text("CURRENT_TIMESTAMP"), OriginDefault: text("2026-01-02 03:04:05")}), want: true},
		{name: "ADD COLUMN DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP", kind: event.DDLAddColumn, after: column(event.ColumnInfo{Flag: flagOnUpdateNow}), want: true},
		{name: "ADD COLUMN DEFAULT (uuid())", kind: event.DDLAddColumn, after: column(event.ColumnInfo{Default: text("uuid()"), OriginDefault: text("uuid()"), DefaultIsExpr: true}), want: true},
		{name: "ADD COLUMN UNIQUE", kind: event.DDLAddColumn, after: index(event.IndexInfo{Unique: true}), want: true},
		{name: "ADD INDEX", kind: event.DDLAddIndex, after: index(event.IndexInfo{})},
		{name: "ADD UNIQUE", kind: event.DDLAddIndex, after: index(event.IndexInfo{Unique: true}), want: true},
		{name: "DROP INDEX", kind: event.DDLDropIndex, after: with(func(t *event.TableInfo) { t.Indexes = t.Indexes[:2] })},
		{name: "DROP INDEX of a unique one", kind: event.DDLDropIndex, after: with(func(t *event.TableInfo) { t.Indexes = t.Indexes[:1] }), want: true},
		{name: "SET DEFAULT", kind: event.DDLSetDefaultValue, want: true},
		{name: "RENAME INDEX", kind: event.DDLRenameIndex, want: true},
		{name: "DROP COLUMN", kind: event.DDLDropColumn, want: true},
		{name: "several at once", kind: event.DDLMultiSchemaChange, want: true},
		{name: "DROP TABLE", kind: event.DDLDropTable, want: true},
		{name: "a kind of the future", kind: 200, want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.after == nil {
				c.after = same
			}
			if got := awaitsSave(&event.DDL{Type: c.kind, PreTable: same, Table: c.after}); got != c.want {
				t.Errorf("awaits a save: %v, want %v", got, c.want)
			}
		})
	}
	if !awaitsSave(&event.DDL{Type: event.DDLAddColumn, Table: same}) {
		t.Error("an ADD COLUMN to a table that is not known does not wait")
	}
}
