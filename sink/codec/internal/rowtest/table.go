// Package rowtest holds what the tests of all protocols need: a table with a
// column of every type and rows with the values that matter, recorded rows of a
// real TiDB, golden files, and a benchmark.
package rowtest

import (
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// CommitTs is the commit ts of the rows of [Cases].
const CommitTs event.Ts = 449917100630016001

// Now is the time in milliseconds that tests give to encoders that write the time.
const Now = 1716300000123

func col(name string, t event.ColumnType) event.ColumnInfo {
	return event.ColumnInfo{Name: name, Type: t, Length: -1, Decimal: -1, Charset: "binary", Collation: "binary"}
}

func sized(c event.ColumnInfo, length, decimal int) event.ColumnInfo {
	c.Length, c.Decimal = length, decimal
	return c
}

func unsigned(c event.ColumnInfo) event.ColumnInfo {
	c.Flag |= event.FlagUnsigned
	return c
}

func text(name string, t event.ColumnType, length int) event.ColumnInfo {
	c := sized(col(name, t), length, 0)
	c.Charset, c.Collation = "utf8mb4", "utf8mb4_bin"
	return c
}

func blob(name string, t event.ColumnType, length int) event.ColumnInfo {
	c := sized(col(name, t), length, 0)
	c.Flag |= event.FlagBinary
	return c
}

func elems(c event.ColumnInfo, names ...string) event.ColumnInfo {
	c.Elems, c.Charset, c.Collation = names, "utf8mb4", "utf8mb4_bin"
	return c
}

func defaulted(c event.ColumnInfo, value string) event.ColumnInfo {
	c.Default = &value
	return c
}

func notNull(c event.ColumnInfo) event.ColumnInfo {
	c.Flag |= event.FlagNotNull
	return c
}

// Table returns a table with a column of every type. Its names are such that
// protocols have to escape them.
func Table() *event.TableInfo {
	id := notNull(sized(col("id", event.TypeLonglong), 20, 0))
	id.Flag |= event.FlagPrimaryKey
	generated := sized(col("doubled", event.TypeLonglong), 20, 0)
	generated.GeneratedExpr = "`id` * 2"
	t := &event.TableInfo{
		ID: 104, SchemaID: 2, Schema: "test", Table: "every type", UpdateTs: 449917100629000000,
		Charset: "utf8mb4", Collation: "utf8mb4_bin", PKIsHandle: true, HandleKey: []int{0},
		Columns: []event.ColumnInfo{
			id,
			sized(col("c_tinyint", event.TypeTiny), 4, 0), unsigned(sized(col("c_utinyint", event.TypeTiny), 3, 0)),
			sized(col("c_smallint", event.TypeShort), 6, 0), unsigned(sized(col("c_usmallint", event.TypeShort), 5, 0)),
			sized(col("c_mediumint", event.TypeInt24), 9, 0), unsigned(sized(col("c_umediumint", event.TypeInt24), 8, 0)),
			sized(col("c_int", event.TypeLong), 11, 0), unsigned(sized(col("c_uint", event.TypeLong), 10, 0)),
			sized(col("c_bigint", event.TypeLonglong), 20, 0), unsigned(sized(col("c_ubigint", event.TypeLonglong), 20, 0)),
			col("c_float", event.TypeFloat), col("c_double", event.TypeDouble),
			sized(col("c_decimal", event.TypeNewDecimal), 20, 6), sized(col("c_decimal65", event.TypeNewDecimal), 65, 30),
			sized(col("c_bit1", event.TypeBit), 1, 0), sized(col("c_bit10", event.TypeBit), 10, 0), sized(col("c_bit64", event.TypeBit), 64, 0),
			sized(col("c_date", event.TypeDate), 10, 0), sized(col("c_datetime", event.TypeDatetime), 19, 0),
			sized(col("c_datetime6", event.TypeDatetime), 26, 6), sized(col("c_timestamp", event.TypeTimestamp), 19, 0),
			sized(col("c_timestamp3", event.TypeTimestamp), 23, 3), sized(col("c_time", event.TypeDuration), 10, 0),
			sized(col("c_time6", event.TypeDuration), 17, 6), sized(col("c_year", event.TypeYear), 4, 0),
			text("c_char", event.TypeString, 32), text("c_varchar", event.TypeVarchar, 255),
			blob("c_binary", event.TypeString, 4), blob("c_varbinary", event.TypeVarchar, 64),
			text("c_tinytext", event.TypeTinyBlob, 255), text("c_text", event.TypeBlob, 65535),
			text("c_mediumtext", event.TypeMediumBlob, 16777215), text("c_longtext", event.TypeLongBlob, 4294967295),
			blob("c_tinyblob", event.TypeTinyBlob, 255), blob("c_blob", event.TypeBlob, 65535),
			blob("c_mediumblob", event.TypeMediumBlob, 16777215), blob("c_longblob", event.TypeLongBlob, 4294967295),
			elems(col("c_enum", event.TypeEnum), "red", "it's \"green\"", "blue"), elems(col("c_set", event.TypeSet), "a", "b\\x", "c"),
			col("c_json", event.TypeJSON), sized(col("c_vector", event.TypeVector), 3, 0),
			notNull(defaulted(sized(col("d_int", event.TypeLong), 11, 0), "42")), defaulted(text("d_varchar", event.TypeVarchar, 20), "a \"b\""),
			text("列-\"1\"", event.TypeVarchar, 20),
		},
		VirtualColumns: []event.ColumnInfo{generated},
		Indexes: []event.IndexInfo{
			{ID: 1, Name: "uk", Unique: true, Columns: []event.IndexColumn{{Name: "c_varchar", Offset: 27, Length: -1}}},
		},
	}
	for i := range t.Columns {
		t.Columns[i].ID = int64(i + 1)
	}
	t.VirtualColumns[0].ID = int64(len(t.Columns) + 1)
	return t
}

// Composite returns a table whose handle key is of two columns that do not stand
// in the order of the table.
func Composite() *event.TableInfo {
	a, b := notNull(text("a", event.TypeVarchar, 20)), notNull(sized(col("b", event.TypeLonglong), 20, 0))
	a.ID, b.ID = 1, 2
	a.Flag |= event.FlagPrimaryKey
	b.Flag |= event.FlagPrimaryKey
	c := sized(col("c", event.TypeLong), 11, 0)
	c.ID = 3
	return &event.TableInfo{
		ID: 105, SchemaID: 2, Schema: "test", Table: "pair", UpdateTs: 449917100629000001,
		Charset: "utf8mb4", Collation: "utf8mb4_bin", IsCommonHandle: true, HandleKey: []int{1, 0},
		Columns: []event.ColumnInfo{a, b, c},
		Indexes: []event.IndexInfo{{
			ID: 1, Name: "PRIMARY", Unique: true, Primary: true,
			Columns: []event.IndexColumn{{Name: "b", Offset: 1, Length: -1}, {Name: "a", Offset: 0, Length: -1}},
		}},
	}
}
