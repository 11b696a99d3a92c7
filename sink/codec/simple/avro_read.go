package simple

import (
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/avrobinary"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
)

// readAvro reads a message in Avro.
func readAvro(data []byte) (*message, error) {
	r := avrobinary.NewReader(data)
	if branch := r.Index(branchMessage + 1); branch != branchMessage && r.Err() == nil {
		return nil, fmt.Errorf("branch %d of the union is not Message", branch)
	}
	r.Index(payloads) // the type says what the payload's branch does
	m := &message{}
	symbol := r.Index(payloads)
	if version := r.Int(); version != protocolVersion && r.Err() == nil {
		return nil, fmt.Errorf("version %d of the protocol is not known", version)
	}
	switch symbol {
	case symbolWatermark:
		m.kind = "WATERMARK"
		m.commitTs = event.Ts(r.Long())
		r.Long()
	case symbolBootstrap:
		m.kind = "BOOTSTRAP"
		r.Long()
		m.schema = readAvroSchema(r)
	case symbolDDL:
		m.kind = ddlTypes[r.Index(len(ddlTypes))]
		m.sql = r.String()
		m.commitTs = event.Ts(r.Long())
		r.Long()
		m.schema = readOptionalSchema(r)
		m.before = readOptionalSchema(r)
	case symbolDML:
		readDML(r, m)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if r.Len() > 0 {
		return nil, fmt.Errorf("%d bytes follow the message", r.Len())
	}
	return m, m.check()
}

// readDML reads the fields of DML behind version.
func readDML(r *avrobinary.Reader, m *message) {
	m.key.schema = r.String()
	m.key.table = r.String()
	m.tableID = r.Long()
	m.kind = []string{"INSERT", "UPDATE", "DELETE"}[r.Index(len(dmlSymbols)-1)]
	m.commitTs = event.Ts(r.Long())
	r.Long()
	m.key.version = uint64(r.Long())
	if r.Index(2) == 1 {
		m.location = r.String()
	}
	if r.Index(2) == 1 {
		m.handleKeyOnly = r.Bool()
	}
	if r.Index(2) == 1 { // a checksum, which nothing here verifies
		r.Int()
		r.Bool()
		r.Long()
		r.Long()
	}
	m.data = readMap(r)
	m.old = readMap(r)
}

// readMap reads a map of columns, or null.
func readMap(r *avrobinary.Reader) []member {
	if r.Index(2) == 0 {
		return nil
	}
	var out []member
	r.Items(func() {
		m := member{name: r.String()}
		if c := readCell(r); c.branch != valueNull {
			m.cell = c
		}
		out = append(out, m)
	})
	return out
}

// avroCell is a value in Avro.
type avroCell struct {
	branch         int
	long           int64
	double         float64
	text, location string
}

// readCell reads a value of the map, whose branch tells its Avro type.
func readCell(r *avrobinary.Reader) *avroCell {
	c := &avroCell{branch: r.Index(values)}
	switch c.branch {
	case valueLong, valueUnsignedBigint:
		c.long = r.Long()
	case valueFloat:
		c.double = float64(r.Float())
	case valueDouble:
		c.double = r.Double()
	case valueString, valueBytes:
		c.text = r.String()
	case valueTimestamp:
		c.location = r.String()
		c.text = r.String()
	}
	return c
}

// value gives the value the column's type, if it is of a branch that the type is
// written as.
func (a *avroCell) value(d *Decoder, c *event.ColumnInfo) (event.Value, error) {
	switch {
	case a.branch == valueTimestamp && c.Type == event.TypeTimestamp:
		return d.parseInstant(c, a.location, a.text)
	case a.branch == valueString && !column.IsInteger(c), a.branch == valueBytes && column.IsString(c):
		return column.Parse(c, a.text, nil)
	case a.branch == valueFloat && c.Type == event.TypeFloat:
		return event.Float32Value(float32(a.double)), nil
	case a.branch == valueDouble && c.Type == event.TypeDouble:
		return event.Float64Value(a.double), nil
	case a.branch == valueLong || a.branch == valueUnsignedBigint:
		if v, ok := a.number(c); ok {
			return v, nil
		}
	}
	return event.Value{}, fmt.Errorf("column %s: branch %d of the union is not for %s", c.Name, a.branch, column.TypeName(c))
}

// number is for the types that are written as long.
func (a *avroCell) number(c *event.ColumnInfo) (event.Value, bool) {
	n := uint64(a.long)
	switch {
	case c.Type == event.TypeEnum:
		return event.EnumValue(n, c.Elems), true
	case c.Type == event.TypeSet:
		return event.SetValue(n, c.Elems), true
	case c.Type == event.TypeBit:
		return event.BitValue(n, c.Length), true
	case column.IsInteger(c) && c.Unsigned():
		return event.Uint64Value(n), true
	case column.IsInteger(c) || c.Type == event.TypeYear:
		return event.Int64Value(a.long), true
	}
	return event.Value{}, false
}

// readOptionalSchema reads a union of null and TableSchema.
func readOptionalSchema(r *avrobinary.Reader) *event.TableInfo {
	if r.Index(2) == 0 {
		return nil
	}
	return readAvroSchema(r)
}

// readAvroSchema reads a TableSchema. Its keys are set once the whole message has
// proved to be sound.
func readAvroSchema(r *avrobinary.Reader) *event.TableInfo {
	t := &event.TableInfo{Schema: r.String(), Table: r.String(), ID: r.Long(), UpdateTs: event.Ts(r.Long())}
	r.Items(func() { t.Columns = append(t.Columns, readAvroColumn(r)) })
	r.Items(func() {
		index := event.IndexInfo{Name: r.String(), Unique: r.Bool(), Primary: r.Bool()}
		r.Bool() // nullable follows from the columns
		r.Items(func() { index.Columns = append(index.Columns, event.IndexColumn{Name: r.String(), Length: -1}) })
		t.Indexes = append(t.Indexes, index)
	})
	return t
}

// readAvroColumn reads a ColumnSchema.
func readAvroColumn(r *avrobinary.Reader) event.ColumnInfo {
	c := event.ColumnInfo{Name: r.String()}
	typeName := r.String()
	c.Charset, c.Collation, c.Length = r.String(), r.String(), int(r.Long())
	if r.Index(2) == 1 {
		c.Decimal = int(r.Int())
	}
	if r.Index(2) == 1 {
		r.Items(func() { c.Elems = append(c.Elems, r.String()) })
	}
	for _, flag := range []event.ColumnFlag{event.FlagUnsigned, event.FlagZerofill} {
		if r.Index(2) == 1 && r.Bool() {
			c.Flag |= flag
		}
	}
	if !r.Bool() {
		c.Flag |= event.FlagNotNull
	}
	if r.Index(2) == 1 {
		text := r.String()
		c.Default = &text
	}
	if r.Err() == nil {
		if err := completeColumn(&c, typeName); err != nil {
			r.Fail(err)
		}
	}
	switch c.Type {
	case event.TypeDatetime, event.TypeTimestamp, event.TypeDuration:
		c.Decimal = 6 // the message does not say
	}
	return c
}
