package mysql_test

import (
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

// TestRecordedRows writes what a real TiDB wrote to a table with a column of every
// type, as inserts, updates and deletes, and reads it back.
func TestRecordedRows(t *testing.T) {
	// Prepared statements and text must come to the same.
	modes := map[string]string{"prepared": "max-txn-row=100", "text": "cache-prep-stmts=false", "row by row": "batch-dml-enable=false", "safe": "safe-mode=true", "updates": ""}
	onEach(t, func(t *testing.T, s *server) {
		for mode, parameters := range modes {
			for _, shape := range []string{"narrow", "wide"} {
				t.Run(shape+"/"+mode, func(t *testing.T) {
					db, name := createRecorded(t, s, shape)
					out := s.open(t, parameters)
					if mode == "updates" {
						out = openFresh(t, s)
					}
					for _, op := range []string{"insert", "update", "delete"} {
						mustExec(t, db, "TRUNCATE TABLE "+name)
						rows := loadRecorded(t, shape, op).mount(t)
						write(t, out, befores(rows))
						write(t, out, rows)
						expectRows(t, db, name, rows)
					}
				})
			}
		}
	})
}

// openFresh opens a sink none of whose rows may have been written before.
func openFresh(t *testing.T, s *server) *mysql.Sink {
	t.Helper()
	out, err := mysql.New(t.Context(), s.connect(t, "", nil), mysql.Config{SafeUntil: 1, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := out.Close(); err != nil {
			t.Errorf("close sink: %v", err)
		}
	})
	return out
}

// befores are the inserts that made the old images.
func befores(rows []*event.RowChanged) []*event.RowChanged {
	var out []*event.RowChanged
	seen := map[string]bool{}
	for _, row := range rows {
		if row.PreColumns == nil || seen[string(row.Key)] {
			continue
		}
		seen[string(row.Key)] = true
		insert := *row
		insert.Columns, insert.PreColumns = row.PreColumns, nil
		insert.CommitTs, insert.StartTs = 2, 1
		out = append(out, &insert)
	}
	return out
}

func write(t *testing.T, out sink.Sink, rows []*event.RowChanged) {
	t.Helper()
	for len(rows) > 0 {
		n := min(len(rows), 400)
		if err := out.WriteRows(t.Context(), rows[:n]); err != nil {
			t.Fatal(err)
		}
		rows = rows[n:]
	}
}

// expectRows compares a table with the new images of rows.
func expectRows(t *testing.T, db *sql.DB, name string, rows []*event.RowChanged) {
	t.Helper()
	table := rows[0].Table
	last := map[string]*event.RowChanged{}
	for _, row := range rows {
		last[string(row.Key)] = row
	}
	want := map[string]bool{}
	for _, row := range last {
		if row.Columns == nil {
			continue
		}
		var line []string
		for i := range table.Columns {
			line = append(line, expected(&table.Columns[i], row.Columns[i]))
		}
		want[strings.Join(line, " | ")] = true
	}
	var selected []string
	for i := range table.Columns {
		selected = append(selected, selection(&table.Columns[i]))
	}
	got := rowsOf(t, db, "SELECT CONCAT_WS(' | ', "+strings.Join(selected, ", ")+") FROM "+name)
	if len(got) != len(want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	for _, line := range got {
		if !want[line] {
			t.Fatalf("the downstream has\n%s\nwhich nobody wrote; among\n%s", line, anyOf(want))
		}
	}
}

func anyOf(lines map[string]bool) string {
	for line := range lines {
		return line
	}
	return "nothing"
}

// selection is a column as text that does not depend on the server.
func selection(c *event.ColumnInfo) string {
	name := "`" + c.Name + "`"
	switch c.Type {
	case event.TypeBit, event.TypeEnum, event.TypeSet:
		name = "CAST(" + name + " + 0 AS CHAR)"
	case event.TypeFloat, event.TypeDouble:
		name = "CAST(CAST(" + name + " AS DECIMAL(30,4)) AS CHAR)"
	case event.TypeJSON:
		name = "REPLACE(CAST(" + name + " AS CHAR), ' ', '')"
	default:
		name = "HEX(CAST(" + name + " AS BINARY))"
	}
	return "COALESCE(" + name + ", 'NULL')"
}

// expected is what selection should return for a value.
func expected(c *event.ColumnInfo, v event.Value) string {
	switch {
	case v.IsNull():
		return "NULL"
	case c.Type == event.TypeBit, c.Type == event.TypeEnum, c.Type == event.TypeSet:
		return fmt.Sprint(v.Uint64())
	case c.Type == event.TypeFloat, c.Type == event.TypeDouble:
		return fmt.Sprintf("%.4f", v.Float64())
	case c.Type == event.TypeJSON:
		return strings.ReplaceAll(v.Text(), " ", "")
	}
	return fmt.Sprintf("%X", v.Text())
}

// TestValues are the values that get lost between databases, on a server whose
// settings are as unhelpful as can be.
func TestValues(t *testing.T) {
	type c struct {
		definition string // of the column
		column     event.ColumnInfo
		value      event.Value
		selected   string // of v, by default v itself
		want       string
	}
	text := event.ColumnInfo{Type: event.TypeVarchar, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	binary := event.ColumnInfo{Type: event.TypeVarchar, Charset: "binary", Collation: "binary"}
	kind := func(t event.ColumnType) event.ColumnInfo { return event.ColumnInfo{Type: t, Charset: "binary"} }
	temporal := func(k event.ValueKind, text string, fsp int) event.Value {
		v, err := event.ParseTemporal(k, text, fsp)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	must := func(v event.Value, err error) event.Value {
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	everyByte := make([]byte, 256)
	for i := range everyByte {
		everyByte[i] = byte(i)
	}
	set := make([]string, 64)
	for i := range set {
		set[i] = fmt.Sprintf("s%d", i)
	}
	cases := []c{
		{"VARCHAR(99)", text, event.TextValue(`a'b"c\d%_` + "\x00\n\r\x1a;--`" + `é中🦊`), "HEX(v)", fmt.Sprintf("%X", `a'b"c\d%_`+"\x00\n\r\x1a;--`"+`é中🦊`)},
		{"VARCHAR(99)", text, event.TextValue(`\`), "", `\`},
		{"VARCHAR(99)", text, event.TextValue(``), "", ``},
		{"VARCHAR(99)", text, event.TextValue("trailing  "), "HEX(v)", fmt.Sprintf("%X", "trailing  ")},
		{"VARCHAR(99) CHARACTER SET latin1", event.ColumnInfo{Type: event.TypeVarchar, Charset: "latin1"}, event.TextValue("é"), "", "é"},
		{"VARBINARY(300)", binary, event.BytesValue(everyByte), "HEX(v)", fmt.Sprintf("%X", everyByte)},
		{"BLOB", binary, event.BytesValue([]byte{}), "", ""},
		{"BINARY(4)", binary, event.BytesValue([]byte{0xff, 0, 0, 0}), "HEX(v)", "FF000000"},
		{"BIGINT", kind(event.TypeLonglong), event.Int64Value(math.MinInt64), "", "-9223372036854775808"},
		{"BIGINT UNSIGNED", kind(event.TypeLonglong), event.Uint64Value(math.MaxUint64), "", "18446744073709551615"},
		{"DECIMAL(65,30)", kind(event.TypeNewDecimal), must(event.ParseDecimal("-12345678901234567890123456789012345.123456789012345678901234567891", 30)), "", "-12345678901234567890123456789012345.123456789012345678901234567891"},
		{"FLOAT", kind(event.TypeFloat), event.Float32Value(0.1), "CAST(v AS DECIMAL(40,9))", "0.100000001"},
		{"FLOAT", kind(event.TypeFloat), event.Float32Value(math.MaxFloat32), "v = 340282346638528859811704183484516925440e0", "1"},
		{"DOUBLE", kind(event.TypeDouble), event.Float64Value(math.SmallestNonzeroFloat64 * (1 << 52)), "v = 2.2250738585072014e-308", "1"},
		{"DOUBLE", kind(event.TypeDouble), event.Float64Value(math.MaxFloat64), "v = 1.7976931348623157e308", "1"},
		{"DOUBLE", kind(event.TypeDouble), event.Float64Value(0.1), "v = 0.1e0", "1"},
		{"BIT(64)", kind(event.TypeBit), event.BitValue(1<<63|5, 64), "v+0", "9223372036854775813"},
		{"BIT(10)", kind(event.TypeBit), event.BitValue(0x241, 10), "v+0", "577"},
		{"ENUM('b','a','1')", kind(event.TypeEnum), event.EnumValue(3, []string{"b", "a", "1"}), "", "1"},
		// What a lax SQL mode makes of an unknown name.
		{"ENUM('b','a','1')", kind(event.TypeEnum), event.EnumValue(0, []string{"b", "a", "1"}), "CONCAT('<', v, '>', v+0)", "<>0"},
		{"SET('" + strings.Join(set, "','") + "')", kind(event.TypeSet), event.SetValue(1<<63|1, set), "", "s0,s63"},
		{"DATE", kind(event.TypeDate), temporal(event.KindDate, "0000-00-00", 0), "", "0000-00-00"},
		{"DATE", kind(event.TypeDate), temporal(event.KindDate, "2024-02-31", 0), "", "2024-02-31"},
		{"DATE", kind(event.TypeDate), temporal(event.KindDate, "2024-00-10", 0), "", "2024-00-10"},
		{"DATETIME(6)", kind(event.TypeDatetime), temporal(event.KindDatetime, "9999-12-31 23:59:59.999999", 6), "", "9999-12-31 23:59:59.999999"},
		{"DATETIME", kind(event.TypeDatetime), temporal(event.KindDatetime, "0000-00-00 00:00:00", 0), "", "0000-00-00 00:00:00"},
		{"TIMESTAMP(6) NULL", kind(event.TypeTimestamp), temporal(event.KindTimestamp, "2024-03-31 02:30:00.000001", 6), "", "2024-03-31 02:30:00.000001"},
		{"TIMESTAMP NULL", kind(event.TypeTimestamp), temporal(event.KindTimestamp, "0000-00-00 00:00:00", 0), "", "0000-00-00 00:00:00"},
		{"TIMESTAMP NULL", kind(event.TypeTimestamp), temporal(event.KindTimestamp, "1970-01-01 00:00:01", 0), "", "1970-01-01 00:00:01"},
		{"TIME(3)", kind(event.TypeDuration), must(event.ParseDuration("-838:59:58.999", 3)), "", "-838:59:58.999"},
		{"YEAR", kind(event.TypeYear), event.Int64Value(0), "CAST(v AS CHAR)", "0000"},
		{"YEAR", kind(event.TypeYear), event.Int64Value(2155), "", "2155"},
		{"JSON", kind(event.TypeJSON), must(event.ParseJSON(`{"a": "q'\\\"\u0001é", "b": [1.5, null, true]}`)), "JSON_UNQUOTE(JSON_EXTRACT(v, '$.a'))", "q'\\\"\x01é"},
		{"INT", kind(event.TypeLong), event.Value{}, "", "NULL"},
	}
	strange := func(cfg *driver.Config) { cfg.Params["time_zone"] = "'-03:30'" }
	onEach(t, func(t *testing.T, s *server) {
		global := s.connect(t, "", nil)
		mustExec(t, global, "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,PIPES_AS_CONCAT'", "SET GLOBAL time_zone = '+05:45'")
		defer mustExec(t, global, "SET GLOBAL sql_mode = DEFAULT", "SET GLOBAL time_zone = DEFAULT")
		for _, parameters := range []string{"cache-prep-stmts=true", "cache-prep-stmts=false"} {
			db := s.database(t, "odd")
			local := s.connect(t, "odd", strange)
			out := s.open(t, parameters)
			for i, c := range cases {
				t.Run(fmt.Sprintf("%s/%d %s", parameters, i, c.definition), func(t *testing.T) {
					// The name of a table may hold anything, too.
					name := fmt.Sprintf("odd`name '%d", i)
					quoted := "`" + strings.ReplaceAll(name, "`", "``") + "`"
					mustExec(t, db, "CREATE TABLE "+quoted+" (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, v "+c.definition+")")
					c.column.Name = "v"
					table := &event.TableInfo{
						ID: int64(100 + i), Schema: "odd", Table: name, PKIsHandle: true, HandleKey: []int{0},
						Columns: []event.ColumnInfo{{Name: "id", Type: event.TypeLonglong}, c.column},
					}
					var rows []*event.RowChanged
					for id := range int64(40) { // 0 is no reason to number the row
						rows = append(rows, &event.RowChanged{
							CommitTs: 9, StartTs: 8, Table: table, PhysicalTableID: table.ID, Key: fmt.Append(nil, "key", id),
							Columns: []event.Value{event.Int64Value(id), c.value},
						})
					}
					for range 4 { // the last ones by prepared statement
						if err := out.WriteRows(t.Context(), rows); err != nil {
							t.Fatal(err)
						}
					}
					selected := c.selected
					if selected == "" {
						selected = "v"
					}
					want := slices.Repeat([]string{c.want}, len(rows))
					if got := rowsOf(t, db, "SELECT "+selected+" FROM "+quoted); !slices.Equal(got, want) {
						t.Errorf("got %q, want %d × %q", got[:min(2, len(got))], len(want), c.want)
					}
					ids := rowsOf(t, local, "SELECT MIN(id), MAX(id) FROM "+quoted)
					if want := []string{"0 39"}; !slices.Equal(ids, want) {
						t.Errorf("ids are %q, want %q", ids, want)
					}
					// A row of a table without a key is found by all its values.
					keyless := *table
					keyless.PKIsHandle, keyless.HandleKey, keyless.ID = false, nil, table.ID+1000
					for i, row := range rows {
						gone := *row
						gone.Table, gone.PreColumns, gone.Columns = &keyless, row.Columns, nil
						rows[i] = &gone
					}
					if err := out.WriteRows(t.Context(), rows); err != nil {
						t.Fatal(err)
					}
					if got := rowsOf(t, db, "SELECT COUNT(*) FROM "+quoted); got[0] != "0" {
						t.Errorf("%s rows are left after deletes by value", got[0])
					}
				})
			}
		}
	})
}

// TestUpdateOfBits: an update of rows that nobody has written before, in a table
// with a BIT of every number of bytes.
func TestUpdateOfBits(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		for _, width := range []int{1, 8, 9, 32, 48, 56, 57, 64} {
			db := s.database(t, "bits")
			mustExec(t, db, fmt.Sprintf("CREATE TABLE a (id INT PRIMARY KEY, b BIT(%d))", width))
			table := tableInfo("bits.a")
			table.Columns = append(table.Columns, event.ColumnInfo{ID: 2, Name: "b", Type: event.TypeBit, Length: width})
			out := openFresh(t, s)
			image := func(bits uint64) []event.Value {
				return []event.Value{event.Int64Value(1), event.BitValue(bits, width)}
			}
			write(t, out, []*event.RowChanged{{StartTs: 2, CommitTs: 3, Table: table, PhysicalTableID: 1, Key: []byte("k"), Columns: image(0)}})
			write(t, out, []*event.RowChanged{{StartTs: 4, CommitTs: 5, Table: table, PhysicalTableID: 1, Key: []byte("k"), PreColumns: image(0), Columns: image(1)}})
			if got := rowsOf(t, db, "SELECT b + 0 FROM a"); !slices.Equal(got, []string{"1"}) {
				t.Errorf("BIT(%d): got %q, want 1", width, got)
			}
		}
	})
}
