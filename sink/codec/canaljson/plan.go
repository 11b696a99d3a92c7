package canaljson

import (
	"slices"
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/canalrow"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// plan is what the rows of a table version have in common.
type plan struct {
	table *event.TableInfo
	// head is the beginning up to the value of type.
	head    []byte
	columns []canalrow.Column
	// names holds "name": for each column.
	names [][]byte
	// all is for messages with all columns, handle for those with the handle key only.
	all, handle layout
}

// layout is what messages with a choice of columns have in common.
type layout struct {
	offsets []int
	// promoted are the offsets of columns whose sqlType depends on the value.
	promoted []int
	// sqlTypes is the value of sqlType for rows where none does.
	sqlTypes []byte
	// mysqlTypes is everything from the member mysqlType up to the value of old.
	mysqlTypes []byte
}

func newPlan(table *event.TableInfo, full bool) *plan {
	p := &plan{table: table, columns: canalrow.Columns(table, full)}
	p.head = appendNames([]byte(`{"id":0`), table.Schema, table.Table)
	p.head = append(p.head, `,"pkNames":`...)
	p.head = p.appendPrimary(p.head)
	p.head = append(p.head, `,"isDdl":false,"type":`...)
	var all, handle []int
	for i := range p.columns {
		p.names = append(p.names, append(jsontext.AppendString(nil, p.columns[i].Name), ':'))
		all = append(all, i)
		if p.columns[i].Handle {
			handle = append(handle, i)
		}
	}
	p.all, p.handle = p.newLayout(all), p.newLayout(handle)
	return p
}

// appendNames appends the members database and table.
func appendNames(b []byte, schema, table string) []byte {
	b = append(b, `,"database":`...)
	b = jsontext.AppendString(b, schema)
	b = append(b, `,"table":`...)
	return jsontext.AppendString(b, table)
}

func (p *plan) appendPrimary(b []byte) []byte {
	if !slices.ContainsFunc(p.columns, func(c canalrow.Column) bool { return c.Primary }) {
		return append(b, "null"...)
	}
	sep := byte('[')
	for i := range p.columns {
		if p.columns[i].Primary {
			b = jsontext.AppendString(append(b, sep), p.columns[i].Name)
			sep = ','
		}
	}
	return append(b, ']')
}

func (p *plan) newLayout(offsets []int) layout {
	l := layout{offsets: offsets}
	l.sqlTypes = p.appendSQLTypes(nil, &l, nil)
	l.mysqlTypes = append(l.mysqlTypes, `,"mysqlType":{`...)
	for i, offset := range offsets {
		if i > 0 {
			l.mysqlTypes = append(l.mysqlTypes, ',')
		}
		l.mysqlTypes = append(l.mysqlTypes, p.names[offset]...)
		l.mysqlTypes = jsontext.AppendString(l.mysqlTypes, p.columns[offset].MySQLType)
		if p.columns[offset].Limit != 0 {
			l.promoted = append(l.promoted, offset)
		}
	}
	l.mysqlTypes = append(l.mysqlTypes, `},"old":`...)
	return l
}

// appendSQLTypes appends the value of sqlType for an image of a row, or for small
// values if image is nil.
func (p *plan) appendSQLTypes(b []byte, l *layout, image []event.Value) []byte {
	b = append(b, '{')
	for i, offset := range l.offsets {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, p.names[offset]...)
		java := p.columns[offset].Java
		if image != nil {
			java = p.columns[offset].JavaType(&image[offset])
		}
		b = strconv.AppendInt(b, int64(java), 10)
	}
	return append(b, '}')
}

// sqlTypesOf is appendSQLTypes, from what is prepared if that will do.
func (p *plan) sqlTypesOf(b []byte, l *layout, image []event.Value) []byte {
	for _, offset := range l.promoted {
		if c := &p.columns[offset]; c.JavaType(&image[offset]) != c.Java {
			return p.appendSQLTypes(b, l, image)
		}
	}
	return append(b, l.sqlTypes...)
}
