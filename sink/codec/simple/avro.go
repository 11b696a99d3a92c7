package simple

import (
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/avrobinary"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
)

// Branches and symbols of AvroSchema, by their order there.
const (
	branchMessage = 11

	symbolWatermark = 0
	symbolBootstrap = 1
	symbolDDL       = 2
	symbolDML       = 3
	payloads        = 4

	valueNull           = 0
	valueLong           = 1
	valueFloat          = 2
	valueDouble         = 3
	valueString         = 4
	valueBytes          = 5
	valueTimestamp      = 6
	valueUnsignedBigint = 7
	values              = 8

	protocolVersion = 1
)

// The symbols of DMLType.
var dmlSymbols = [...]int64{event.Insert: 0, event.Update: 1, event.Delete: 2}

// avroWriter writes messages as binary Avro.
type avroWriter struct {
	zone     *time.Location
	location []byte // the zone's name as an Avro string
}

// newAvroWriter returns a writer of timestamps in a zone.
func newAvroWriter(zone *time.Location) *avroWriter {
	return &avroWriter{zone: zone, location: avrobinary.AppendString(nil, zone.String())}
}

// begin appends what every message begins with: the branch, the type, which also
// chooses the payload's branch, and the version.
func begin(b []byte, symbol int64) []byte {
	b = avrobinary.AppendLong(b, branchMessage)
	b = avrobinary.AppendLong(b, symbol)
	b = avrobinary.AppendLong(b, symbol)
	return avrobinary.AppendLong(b, protocolVersion)
}

// plan writes the fields in front of commitTs, which only the kind changes, and
// schemaVersion, which stands behind buildTs.
func (w *avroWriter) plan(t *event.TableInfo) *plan {
	p := &plan{columns: make([]planColumn, len(t.Columns))}
	for i := range t.Columns {
		c := &t.Columns[i]
		p.columns[i] = planColumn{name: avrobinary.AppendString(nil, c.Name), form: formOf(c)}
	}
	for kind := event.Insert; kind <= event.Delete; kind++ {
		h := begin(nil, symbolDML)
		h = avrobinary.AppendString(h, t.Schema)
		h = avrobinary.AppendString(h, t.Table)
		h = avrobinary.AppendLong(h, t.ID)
		p.heads[kind] = avrobinary.AppendLong(h, dmlSymbols[kind])
	}
	p.tail = avrobinary.AppendLong(nil, int64(t.UpdateTs))
	return p
}

// row appends the fields of DML in their order. Those that may be null are a union: 0
// is null, 2 the branch of the value that follows.
func (w *avroWriter) row(b []byte, p *plan, row *event.RowChanged, now int64, opt rowOptions) []byte {
	b = append(b, p.heads[row.Kind()]...)
	b = avrobinary.AppendLong(b, int64(row.CommitTs))
	b = avrobinary.AppendLong(b, now)
	b = append(b, p.tail...)
	if opt.location != "" {
		b = avrobinary.AppendString(append(b, 2), opt.location)
	} else {
		b = append(b, 0)
	}
	if opt.handleKeyOnly {
		b = append(b, 2, 1)
	} else {
		b = append(b, 0)
	}
	b = append(b, 0) // no checksum
	b = w.image(b, p, row.Columns, opt.keyOnly())
	return w.image(b, p, row.PreColumns, opt.keyOnly())
}

// image appends a map of columns, or null.
func (w *avroWriter) image(b []byte, p *plan, image []event.Value, keyOnly bool) []byte {
	if image == nil {
		return append(b, 0)
	}
	b = append(b, 2)
	n := len(p.columns)
	if keyOnly {
		n = p.keys
	}
	if n > 0 {
		b = avrobinary.AppendLong(b, int64(n))
	}
	for i := range p.columns {
		c := &p.columns[i]
		if keyOnly && !c.key {
			continue
		}
		b = w.value(append(b, c.name...), c.form, image[i])
	}
	return append(b, 0)
}

// value appends the branch of a value and the value.
func (w *avroWriter) value(b []byte, f form, v event.Value) []byte {
	if v.IsNull() {
		return append(b, valueNull<<1)
	}
	switch f {
	case formNumber:
		return avrobinary.AppendLong(append(b, valueLong<<1), v.Int64())
	case formBigint:
		return avrobinary.AppendLong(append(b, valueUnsignedBigint<<1), v.Int64())
	case formFloat:
		return avrobinary.AppendFloat(append(b, valueFloat<<1), float32(v.Float64()))
	case formDouble:
		return avrobinary.AppendDouble(append(b, valueDouble<<1), v.Float64())
	case formBytes:
		return avrobinary.AppendBytes(append(b, valueBytes<<1), v.Bytes())
	case formInstant:
		b = append(append(b, valueTimestamp<<1), w.location...)
	default:
		b = append(b, valueString<<1)
	}
	if v.Kind() == event.KindText {
		return avrobinary.AppendBytes(b, v.Bytes())
	}
	start := len(b)
	return avrobinary.InsertLength(v.AppendTextIn(b, w.zone), start)
}

// watermark appends version, commitTs and buildTs.
func (w *avroWriter) watermark(b []byte, ts event.Ts, now int64) []byte {
	b = begin(b, symbolWatermark)
	b = avrobinary.AppendLong(b, int64(ts))
	return avrobinary.AppendLong(b, now)
}

// bootstrap appends version, buildTs and tableSchema.
func (w *avroWriter) bootstrap(b []byte, t *event.TableInfo, now int64) []byte {
	b = begin(b, symbolBootstrap)
	b = avrobinary.AppendLong(b, now)
	return w.schema(b, t)
}

// ddl appends version, type, sql, commitTs, buildTs and the two schemas.
func (w *avroWriter) ddl(b []byte, ddl *event.DDL, now int64) []byte {
	b = begin(b, symbolDDL)
	b = avrobinary.AppendLong(b, int64(ddlType(ddl.Type)))
	b = avrobinary.AppendString(b, ddl.Query)
	b = avrobinary.AppendLong(b, int64(ddl.CommitTs))
	b = avrobinary.AppendLong(b, now)
	after, before := tablesOf(ddl)
	for _, t := range []*event.TableInfo{after, before} {
		if t == nil {
			b = append(b, 0)
		} else {
			b = w.schema(append(b, 2), t)
		}
	}
	return b
}

// schema appends a TableSchema. An array is one block and the empty block that ends it.
func (w *avroWriter) schema(b []byte, t *event.TableInfo) []byte {
	b = avrobinary.AppendString(b, t.Schema)
	b = avrobinary.AppendString(b, t.Table)
	b = avrobinary.AppendLong(b, t.ID)
	b = avrobinary.AppendLong(b, int64(t.UpdateTs))
	columns := columnsOf(t)
	if len(columns) > 0 {
		b = avrobinary.AppendLong(b, int64(len(columns)))
	}
	for _, c := range columns {
		b = w.column(b, c)
	}
	b = append(b, 0)
	indexes := indexesOf(t)
	if len(indexes) > 0 {
		b = avrobinary.AppendLong(b, int64(len(indexes)))
	}
	for _, index := range indexes {
		b = avrobinary.AppendString(b, index.name)
		b = avrobinary.AppendBool(b, index.unique)
		b = avrobinary.AppendBool(b, index.primary)
		b = avrobinary.AppendBool(b, index.nullable)
		b = appendArray(b, index.columns)
	}
	return append(b, 0)
}

// appendArray appends an array of strings.
func appendArray(b []byte, list []string) []byte {
	if len(list) > 0 {
		b = avrobinary.AppendLong(b, int64(len(list)))
	}
	for _, s := range list {
		b = avrobinary.AppendString(b, s)
	}
	return append(b, 0)
}

// column appends a ColumnSchema, which begins with the name and has the DataType inside.
func (w *avroWriter) column(b []byte, c *event.ColumnInfo) []byte {
	b = avrobinary.AppendString(b, c.Name)
	b = avrobinary.AppendString(b, column.TypeName(c))
	b = avrobinary.AppendString(b, c.Charset)
	b = avrobinary.AppendString(b, c.Collation)
	b = avrobinary.AppendLong(b, int64(c.Length))
	if c.Type == event.TypeNewDecimal {
		b = avrobinary.AppendLong(append(b, 2), int64(c.Decimal))
	} else {
		b = append(b, 0)
	}
	if c.Type == event.TypeEnum || c.Type == event.TypeSet {
		b = appendArray(append(b, 2), c.Elems)
	} else {
		b = append(b, 0)
	}
	for _, flag := range []event.ColumnFlag{event.FlagUnsigned, event.FlagZerofill} {
		if hasSign(c) {
			b = avrobinary.AppendBool(append(b, 2), c.Flag&flag != 0)
		} else {
			b = append(b, 0)
		}
	}
	b = avrobinary.AppendBool(b, !c.NotNull())
	if text, ok := defaultText(c); ok {
		return avrobinary.AppendString(append(b, 2), text)
	}
	return append(b, 0)
}
