package canalrow_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/canalrow"
)

// TestTypes has the text of types, short and full, and reads it back.
func TestTypes(t *testing.T) {
	column := func(t event.ColumnType, length, decimal int, flag event.ColumnFlag) event.ColumnInfo {
		return event.ColumnInfo{Name: "c", Type: t, Length: length, Decimal: decimal, Flag: flag, Charset: "binary"}
	}
	text := func(t event.ColumnType, length int) event.ColumnInfo {
		c := column(t, length, -1, 0)
		c.Charset = "utf8mb4"
		return c
	}
	elems := func(t event.ColumnType, elems ...string) event.ColumnInfo {
		c := text(t, -1)
		c.Elems = elems
		return c
	}
	const unsigned, zerofill = event.FlagUnsigned, event.FlagUnsigned | event.FlagZerofill
	tests := []struct {
		column      event.ColumnInfo
		short, full string
	}{
		{column(event.TypeTiny, 1, 0, 0), "tinyint", "tinyint(1)"},
		{column(event.TypeLong, 10, 0, zerofill), "int unsigned zerofill", "int(10) unsigned zerofill"},
		{column(event.TypeLonglong, -1, -1, unsigned), "bigint unsigned", "bigint(20) unsigned"},
		{column(event.TypeNewDecimal, 10, 2, unsigned), "decimal unsigned", "decimal(10,2) unsigned"},
		{column(event.TypeFloat, 12, -1, 0), "float", "float"},
		{column(event.TypeDouble, 10, 3, 0), "double", "double(10,3)"},
		{column(event.TypeBit, 10, 0, unsigned), "bit", "bit(10)"},
		{column(event.TypeYear, 4, 0, zerofill), "year", "year(4)"},
		{column(event.TypeDate, 10, 0, 0), "date", "date"},
		{column(event.TypeDatetime, 26, 6, 0), "datetime", "datetime(6)"},
		{column(event.TypeTimestamp, 19, 0, 0), "timestamp", "timestamp"},
		{column(event.TypeDuration, 14, 3, 0), "time", "time(3)"},
		{text(event.TypeString, 3), "char", "char(3)"},
		{text(event.TypeVarchar, 255), "varchar", "varchar(255)"},
		{column(event.TypeString, 3, 0, 0), "binary", "binary(3)"},
		{column(event.TypeVarchar, 255, 0, 0), "varbinary", "varbinary(255)"},
		{text(event.TypeMediumBlob, 16777215), "mediumtext", "mediumtext"},
		{column(event.TypeLongBlob, 4294967295, 0, 0), "longblob", "longblob"},
		{elems(event.TypeEnum, "a", "it's", `b\`, "x,y", ")"), "enum", `enum('a','it''s','b\\','x,y',')')`},
		{elems(event.TypeSet, "", "数"), "set", "set('','数')"},
		{column(event.TypeJSON, -1, 0, 0), "json", "json"},
		{column(event.TypeVector, 3, 0, 0), "vector", "vector(3)"},
		{column(event.TypeVector, -1, 0, 0), "vector", "vector"},
	}
	for _, tt := range tests {
		table := &event.TableInfo{Columns: []event.ColumnInfo{tt.column}}
		for want, full := range map[string]bool{tt.short: false, tt.full: true} {
			if tt.short == tt.full {
				full = true
			}
			if got := canalrow.Columns(table, full)[0].MySQLType; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			c, err := canalrow.ParseType("c", want)
			if err != nil {
				t.Error(err)
				continue
			}
			bits := event.FlagUnsigned | event.FlagZerofill
			if tt.column.Type == event.TypeBit || tt.column.Type == event.TypeYear {
				bits = 0
			}
			if c.Type != tt.column.Type || c.Flag&bits != tt.column.Flag&bits || full && !slices.Equal(c.Elems, tt.column.Elems) {
				t.Errorf("%s is read as %+v", want, c)
			}
			if again := canalrow.Columns(&event.TableInfo{Columns: []event.ColumnInfo{c}}, full)[0].MySQLType; again != want {
				t.Errorf("%s became %s", want, again)
			}
		}
	}
}

func TestParseTypeErrors(t *testing.T) {
	for _, text := range []string{
		"", "geometry", "int(", "int(a)", "int(-1)", "int(1", "int(99999999999)", "int unsigned big", "decimal(1,2,3)", "datetime(7)",
		"datetime(1,2)", "enum()", "enum('a'", "enum(a)", "enum('a'b)", "enum('a',)", `enum('a\')`, "enum('a''",
		"enum(" + strings.Repeat("'a',", 70000) + "'a')",
	} {
		if c, err := canalrow.ParseType("c", text); err == nil {
			t.Errorf("%.60q is read as %+v", text, c.Type)
		}
	}
}

// TestPrimary finds the primary key wherever a table says what it is.
func TestPrimary(t *testing.T) {
	columns := func() []event.ColumnInfo {
		return []event.ColumnInfo{{Name: "a", Type: event.TypeLong}, {Name: "b", Type: event.TypeLong}, {Name: "c", Type: event.TypeLong}}
	}
	index := event.IndexInfo{Primary: true, Columns: []event.IndexColumn{{Name: "c", Offset: 2}, {Name: "v", Offset: -1}, {Name: "a", Offset: 0}}}
	flagged := columns()
	flagged[1].Flag = event.FlagPrimaryKey
	for want, table := range map[string]*event.TableInfo{
		"b":  {Columns: columns(), PKIsHandle: true, HandleKey: []int{1}},
		"ac": {Columns: columns(), Indexes: []event.IndexInfo{index}, HandleKey: []int{2, 0}},
		"":   {Columns: columns(), HandleKey: []int{1}},
		"b ": {Columns: flagged},
	} {
		got := ""
		for _, c := range canalrow.Columns(table, false) {
			if c.Primary {
				got += c.Name
			}
		}
		if got != strings.TrimSpace(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestDDL has the kind of each DDL, and what can be told from it.
func TestDDL(t *testing.T) {
	tests := []struct {
		ddl   event.DDLType
		query string
		want  string
		back  event.DDLType
	}{
		{event.DDLCreateTable, "create table t (a int)", "CREATE", event.DDLCreateTable},
		{event.DDLRenameTable, "rename table t to u", "RENAME", event.DDLRenameTable},
		{event.DDLAddIndex, "create index i on t (a)", "CINDEX", event.DDLAddIndex},
		{event.DDLAddForeignKey, "", "CINDEX", event.DDLAddIndex},
		{event.DDLDropPrimaryKey, "", "DINDEX", event.DDLDropIndex},
		{event.DDLModifyTableComment, "", "ALTER", event.DDLMultiSchemaChange},
		{event.DDLAddPartition, "", "ALTER", event.DDLMultiSchemaChange},
		{event.DDLAlterIndexVisibility, "", "ALTER", event.DDLMultiSchemaChange},
		{event.DDLDropTable, "", "ERASE", event.DDLDropTable},
		{event.DDLTruncateTable, "", "TRUNCATE", event.DDLTruncateTable},
		{event.DDLCreateSchema, "CREATE  Database a", "QUERY", event.DDLCreateSchema},
		{event.DDLDropSchema, "drop schema a", "QUERY", event.DDLDropSchema},
		{event.DDLCreateView, "create view v as select 1", "QUERY", event.DDLCreateView},
		{event.DDLDropView, "drop view v", "QUERY", event.DDLDropView},
		{event.DDLRecoverTable, "recover table t", "QUERY", 0},
		{event.DDLAlterTTL, "", "QUERY", 0},
	}
	for _, tt := range tests {
		kind := canalrow.DDLEventType(tt.ddl)
		if kind.String() != tt.want || canalrow.ParseEventType(tt.want) != kind {
			t.Errorf("%s: got %s, want %s", tt.ddl, kind, tt.want)
		}
		if back := canalrow.DDLType(kind, tt.query); back != tt.back {
			t.Errorf("%s: read back as %s, want %s", tt.ddl, back, tt.back)
		}
	}
	if canalrow.EventType(99).String() != "" || canalrow.EventType(-1).String() != "" || canalrow.ParseEventType("nope") != 0 {
		t.Error("unknown kinds have names")
	}
}
