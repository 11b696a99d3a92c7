package debezium

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// AppendDDL appends the message of a DDL.
func (e *Encoder) AppendDDL(dst *codec.Messages, _ string, ddl *event.DDL) error {
	schema, table := ddl.Schema, ""
	if t := ddl.Table; t != nil {
		schema, table = t.Schema, t.Table
	} else if t := ddl.PreTable; t != nil {
		schema, table = t.Schema, t.Table
	}
	b := dst.Buffer()
	start := len(b)
	b = jsontext.AppendString(append(b, `{"payload":{"databaseName":`...), schema)
	b = append(b, '}')
	if !e.cfg.DisableSchema {
		b = append(b, `,"schema":`+ddlKeySchema...)
	}
	b = append(b, '}')
	keyBytes := len(b) - start

	b = e.appendSource(append(b, `{"payload":`...), e.appendSourceNames(nil, schema, table), ddl.CommitTs, 0)
	b = strconv.AppendInt(append(b, `,"ts_ms":`...), e.cfg.Now().UnixMilli(), 10)
	b = jsontext.AppendString(append(b, `,"databaseName":`...), schema)
	b = jsontext.AppendString(append(b, `,"schemaName":null,"ddl":`...), ddl.Query)
	b = append(b, `,"tableChanges":[`...)
	for i, change := range changes(ddl) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendChange(b, ddl.Type, change)
	}
	b = append(b, "]}"...)
	if !e.cfg.DisableSchema {
		b = append(b, `,"schema":`+ddlSchema...)
	}
	b = append(b, '}')
	dst.Append(b, keyBytes, len(b)-start-keyBytes, 0, ddl.CommitTs)
	return nil
}

// changes returns what a DDL did to tables. That it emptied one is no change of it.
func changes(ddl *event.DDL) []event.TableChange {
	switch {
	case ddl.Type == event.DDLTruncateTable:
		return nil
	case len(ddl.Changes) > 0:
		return ddl.Changes
	case ddl.Table != nil || ddl.PreTable != nil:
		return []event.TableChange{{Before: ddl.PreTable, After: ddl.Table}}
	}
	return nil
}

// appendChange appends an element of tableChanges. The id of a renamed table is both
// names, the old one first.
func appendChange(b []byte, t event.DDLType, change event.TableChange) []byte {
	before, after := change.Before, change.After
	kind, id := "ALTER", ""
	switch {
	case after == nil:
		kind, id = "DROP", quotedName(before)
	case before == nil:
		kind, id = "CREATE", quotedName(after)
	case before.Schema != after.Schema || before.Table != after.Table:
		id = quotedName(before) + "," + quotedName(after)
	default:
		id = quotedName(after)
	}
	if t == event.DDLDropIndex { // as TiCDC has it
		kind = "DROP"
	}
	b = append(b, `{"type":"`+kind+`","id":`...)
	b = jsontext.AppendString(b, id)
	b = append(b, `,"table":`...)
	if after == nil {
		return append(b, "null}"...)
	}
	return append(appendTable(b, after), '}')
}

// quotedName is how Debezium identifies a table.
func quotedName(t *event.TableInfo) string { return `"` + t.Schema + `"."` + t.Table + `"` }

// appendTable appends the table after the change. Virtual generated columns are part of
// it, though rows do not have them.
func appendTable(b []byte, t *event.TableInfo) []byte {
	b = jsontext.AppendString(append(b, `{"defaultCharsetName":`...), t.Charset)
	b = append(b, `,"primaryKeyColumnNames":[`...)
	n := 0
	for _, offset := range t.HandleKey {
		if t.Columns[offset].Flag&event.FlagPrimaryKey == 0 {
			continue // a unique key stands in for it
		}
		if n++; n > 1 {
			b = append(b, ',')
		}
		b = jsontext.AppendString(b, t.Columns[offset].Name)
	}
	b = append(b, `],"columns":[`...)
	position := 0
	for _, columns := range [][]event.ColumnInfo{t.Columns, t.VirtualColumns} {
		for i := range columns {
			if columns[i].Hidden {
				continue
			}
			if position++; position > 1 {
				b = append(b, ',')
			}
			b = appendColumn(b, &columns[i], position)
		}
	}
	return append(b, `],"comment":null}`...)
}

// appendColumn appends a column; position counts from 1.
func appendColumn(b []byte, c *event.ColumnInfo, position int) []byte {
	b = jsontext.AppendString(append(b, `{"name":`...), c.Name)
	b = strconv.AppendInt(append(b, `,"jdbcType":`...), int64(jdbcType(c)), 10)
	b = appendOptional(append(b, `,"nativeType":null,"comment":`...), c.Comment, c.Comment != "")
	expression, ok := defaultExpression(c)
	b = appendOptional(append(b, `,"defaultValueExpression":`...), expression, ok)
	b = append(b, `,"enumValues":`...)
	if len(c.Elems) == 0 {
		b = append(b, "null"...)
	} else {
		for i, elem := range c.Elems {
			b = append(b, "[,"[min(i, 1)])
			b = jsontext.AppendString(b, "'"+elem+"'")
		}
		b = append(b, ']')
	}
	name := strings.ToUpper(column.TypeName(c))
	if c.Unsigned() {
		name += " UNSIGNED"
	}
	if c.Flag&event.FlagZerofill != 0 {
		name += " ZEROFILL"
	}
	b = jsontext.AppendString(append(b, `,"typeName":`...), name)
	b = jsontext.AppendString(append(b, `,"typeExpression":`...), name)
	hasCharset := (column.IsString(c) || len(c.Elems) > 0) && !c.Binary()
	b = appendOptional(append(b, `,"charsetName":`...), c.Charset, hasCharset)
	length, scale := lengthAndScale(c)
	b = appendSize(append(b, `,"length":`...), length)
	b = appendSize(append(b, `,"scale":`...), scale)
	b = strconv.AppendInt(append(b, `,"position":`...), int64(position), 10)
	b = strconv.AppendBool(append(b, `,"optional":`...), !c.NotNull())
	b = strconv.AppendBool(append(b, `,"autoIncremented":`...), c.Flag&event.FlagAutoIncrement != 0)
	b = strconv.AppendBool(append(b, `,"generated":`...), c.Flag&event.FlagAutoIncrement != 0)
	return append(b, '}')
}

// appendOptional appends a string, or null if there is none.
func appendOptional(b []byte, s string, ok bool) []byte {
	if !ok {
		return append(b, "null"...)
	}
	return jsontext.AppendString(b, s)
}

// appendSize appends a number, or null if it is negative.
func appendSize(b []byte, n int) []byte {
	if n < 0 {
		return append(b, "null"...)
	}
	return strconv.AppendInt(b, int64(n), 10)
}

// defaultExpression returns a column's default as text; of a BIT its digits.
func defaultExpression(c *event.ColumnInfo) (string, bool) {
	switch {
	case c.Default == nil:
		return "", false
	case strings.HasPrefix(*c.Default, currentTimestamp):
		return "1970-01-01 00:00:00", true
	case c.Type == event.TypeBit:
		var n uint64
		for i := range len(*c.Default) {
			n = n<<8 | uint64((*c.Default)[i])
		}
		return fmt.Sprintf("%0*b", max(c.Length, 1), n), true
	}
	return *c.Default, true
}

// lengthAndScale returns what a type has in parentheses, -1 for nothing.
func lengthAndScale(c *event.ColumnInfo) (length, scale int) {
	switch c.Type {
	case event.TypeString, event.TypeVarchar, event.TypeVarString, event.TypeBit, event.TypeYear, event.TypeVector:
		return c.Length, -1
	case event.TypeNewDecimal:
		return c.Length, c.Decimal
	case event.TypeDatetime, event.TypeTimestamp, event.TypeDuration:
		if c.Decimal > 0 {
			return c.Decimal, -1
		}
	case event.TypeEnum:
		return 1, -1
	case event.TypeSet:
		return max(2*len(c.Elems)-1, 0), -1
	case event.TypeFloat, event.TypeDouble:
		return -1, c.Decimal
	}
	return -1, -1
}

// jdbcType returns the number of java.sql.Types that Debezium gives a type.
func jdbcType(c *event.ColumnInfo) int {
	const (
		bit, bigint, varbinary, binary   = -7, -5, -3, -2
		char, decimal, integer, smallint = 1, 3, 4, 5
		float, double, varchar           = 6, 8, 12
		date, clock, timestamp           = 91, 92, 93
		other, blob, timestampWithZone   = 1111, 2004, 2014
	)
	if column.IsString(c) {
		switch {
		case !c.Binary() && c.Type == event.TypeString:
			return char
		case !c.Binary():
			return varchar
		case c.Type == event.TypeString:
			return binary
		case c.Type == event.TypeVarchar || c.Type == event.TypeVarString:
			return varbinary
		}
		return blob
	}
	switch c.Type {
	case event.TypeTiny, event.TypeShort:
		return smallint
	case event.TypeInt24, event.TypeLong, event.TypeYear:
		return integer
	case event.TypeLonglong:
		return bigint
	case event.TypeFloat:
		return float
	case event.TypeDouble:
		return double
	case event.TypeNewDecimal:
		return decimal
	case event.TypeBit:
		return bit
	case event.TypeDate, event.TypeNewDate:
		return date
	case event.TypeDatetime:
		return timestamp
	case event.TypeTimestamp:
		return timestampWithZone
	case event.TypeDuration:
		return clock
	case event.TypeEnum, event.TypeSet:
		return char
	}
	return other
}
