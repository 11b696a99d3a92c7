package canal

import (
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/canalrow"
)

// plan is what the rows of a table version have in common.
type plan struct {
	table   *event.TableInfo
	columns []planColumn
	// all and handle are the offsets of the columns of messages.
	all, handle []int
	// names are the fields schemaName and tableName of a header.
	names []byte
}

// planColumn is what the values of a column have in common.
type planColumn struct {
	canalrow.Column
	// heads are the fields in front of isNull: of values with the types Java and
	// Wide, and for each of them of a row that was deleted and of one that was not.
	heads [2][2][]byte
	// tail is the field mysqlType.
	tail []byte
}

func newPlan(table *event.TableInfo, full bool) *plan {
	p := &plan{table: table, names: appendNames(nil, table.Schema, table.Table)}
	for i, c := range canalrow.Columns(table, full) {
		column := planColumn{Column: c, tail: appendString(nil, columnMySQLType, validText(c.MySQLType))}
		for wide, java := range [2]canalrow.JavaType{c.Java, c.Wide} {
			for updated := range 2 {
				column.heads[wide][updated] = appendHead(nil, &c, java, updated == 1)
			}
		}
		p.columns = append(p.columns, column)
		p.all = append(p.all, i)
		if c.Handle {
			p.handle = append(p.handle, i)
		}
	}
	return p
}

func appendNames(b []byte, schema, table string) []byte {
	b = appendString(b, headerSchemaName, validText(schema))
	return appendString(b, headerTableName, validText(table))
}

func appendHead(b []byte, c *canalrow.Column, java canalrow.JavaType, updated bool) []byte {
	b = appendVarint(b, columnSQLType, int64(java))
	b = appendString(b, columnName, validText(c.Name))
	if c.Primary {
		b = appendVarint(b, columnIsKey, 1)
	}
	if updated {
		b = appendVarint(b, columnUpdated, 1)
	}
	return b
}
