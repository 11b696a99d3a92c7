package simple

import (
	"encoding/base64"
	"strconv"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// jsonWriter writes messages as JSON, with the members in TiCDC's order.
type jsonWriter struct {
	zone *time.Location
	// instant is what stands in front of a TIMESTAMP's text.
	instant []byte
}

// newJSONWriter returns a writer of timestamps in a zone.
func newJSONWriter(zone *time.Location) *jsonWriter {
	instant := jsontext.AppendString([]byte(`{"location":`), zone.String())
	return &jsonWriter{zone: zone, instant: append(instant, `,"value":"`...)}
}

// plan writes the members in front of commitTs, which only the kind changes, and
// schemaVersion, which stands behind buildTs.
func (w *jsonWriter) plan(t *event.TableInfo) *plan {
	p := &plan{columns: make([]planColumn, len(t.Columns))}
	for i := range t.Columns {
		c := &t.Columns[i]
		p.columns[i] = planColumn{name: append(jsontext.AppendString(nil, c.Name), ':'), form: formOf(c)}
	}
	for kind, name := range map[event.Kind]string{event.Insert: "INSERT", event.Update: "UPDATE", event.Delete: "DELETE"} {
		h := jsontext.AppendString([]byte(`{"version":1,"database":`), t.Schema)
		h = jsontext.AppendString(append(h, `,"table":`...), t.Table)
		h = strconv.AppendInt(append(h, `,"tableID":`...), t.ID, 10)
		p.heads[kind] = append(h, `,"type":"`+name+`","commitTs":`...)
	}
	p.tail = strconv.AppendUint([]byte(`,"schemaVersion":`), uint64(t.UpdateTs), 10)
	return p
}

// row appends a row; data and old are left out if there is no such image.
func (w *jsonWriter) row(b []byte, p *plan, row *event.RowChanged, now int64, opt rowOptions) []byte {
	b = append(b, p.heads[row.Kind()]...)
	b = strconv.AppendUint(b, uint64(row.CommitTs), 10)
	b = strconv.AppendInt(append(b, `,"buildTs":`...), now, 10)
	b = append(b, p.tail...)
	if opt.location != "" {
		b = jsontext.AppendString(append(b, `,"claimCheckLocation":`...), opt.location)
	}
	if opt.handleKeyOnly {
		b = append(b, `,"handleKeyOnly":true`...)
	}
	if row.Columns != nil {
		b = w.image(append(b, `,"data":{`...), p, row.Columns, opt.keyOnly())
	}
	if row.PreColumns != nil {
		b = w.image(append(b, `,"old":{`...), p, row.PreColumns, opt.keyOnly())
	}
	return append(b, '}')
}

// image appends the members of an object, and its end.
func (w *jsonWriter) image(b []byte, p *plan, image []event.Value, keyOnly bool) []byte {
	start := len(b)
	for i := range p.columns {
		c := &p.columns[i]
		if keyOnly && !c.key {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = w.value(append(b, c.name...), c.form, image[i])
	}
	return append(b, '}')
}

// value appends a value as a string, or null, or the object of a TIMESTAMP.
func (w *jsonWriter) value(b []byte, f form, v event.Value) []byte {
	if v.IsNull() {
		return append(b, "null"...)
	}
	switch f {
	case formNumber, formBigint:
		b = append(b, '"')
		if v.Kind() == event.KindInt64 {
			b = strconv.AppendInt(b, v.Int64(), 10)
		} else {
			b = strconv.AppendUint(b, v.Uint64(), 10)
		}
		return append(b, '"')
	case formFloat, formDouble:
		return append(column.AppendFloat(append(b, '"'), v), '"')
	case formBytes:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v.Bytes())
		return append(b, '"')
	case formInstant:
		b = v.AppendTextIn(append(b, w.instant...), w.zone)
		return append(b, `"}`...)
	}
	return column.AppendJSONString(b, v, w.zone)
}

// watermark appends a WATERMARK.
func (w *jsonWriter) watermark(b []byte, ts event.Ts, now int64) []byte {
	b = strconv.AppendUint(append(b, `{"version":1,"type":"WATERMARK","commitTs":`...), uint64(ts), 10)
	b = strconv.AppendInt(append(b, `,"buildTs":`...), now, 10)
	return append(b, '}')
}

// bootstrap appends a BOOTSTRAP, which belongs to no ts.
func (w *jsonWriter) bootstrap(b []byte, t *event.TableInfo, now int64) []byte {
	b = strconv.AppendInt(append(b, `{"version":1,"type":"BOOTSTRAP","commitTs":0,"buildTs":`...), now, 10)
	b = w.schema(append(b, `,"tableSchema":`...), t)
	return append(b, '}')
}

// ddl appends a DDL; a schema that does not exist is left out.
func (w *jsonWriter) ddl(b []byte, ddl *event.DDL, now int64) []byte {
	b = append(b, `{"version":1,"type":"`+ddlTypes[ddlType(ddl.Type)]+`","sql":`...)
	b = jsontext.AppendString(b, ddl.Query)
	b = strconv.AppendUint(append(b, `,"commitTs":`...), uint64(ddl.CommitTs), 10)
	b = strconv.AppendInt(append(b, `,"buildTs":`...), now, 10)
	after, before := tablesOf(ddl)
	if after != nil {
		b = w.schema(append(b, `,"tableSchema":`...), after)
	}
	if before != nil {
		b = w.schema(append(b, `,"preTableSchema":`...), before)
	}
	return append(b, '}')
}

// schema appends a tableSchema.
func (w *jsonWriter) schema(b []byte, t *event.TableInfo) []byte {
	b = jsontext.AppendString(append(b, `{"schema":`...), t.Schema)
	b = jsontext.AppendString(append(b, `,"table":`...), t.Table)
	b = strconv.AppendInt(append(b, `,"tableID":`...), t.ID, 10)
	b = strconv.AppendUint(append(b, `,"version":`...), uint64(t.UpdateTs), 10)
	b = append(b, `,"columns":[`...)
	for i, c := range columnsOf(t) {
		if i > 0 {
			b = append(b, ',')
		}
		b = w.column(b, c)
	}
	b = append(b, `],"indexes":[`...)
	for i, index := range indexesOf(t) {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsontext.AppendString(append(b, `{"name":`...), index.name)
		b = strconv.AppendBool(append(b, `,"unique":`...), index.unique)
		b = strconv.AppendBool(append(b, `,"primary":`...), index.primary)
		b = strconv.AppendBool(append(b, `,"nullable":`...), index.nullable)
		b = append(appendStrings(append(b, `,"columns":`...), index.columns), '}')
	}
	return append(b, "]}"...)
}

// appendStrings appends an array of strings.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsontext.AppendString(b, s)
	}
	return append(b, ']')
}

// column appends a column; what is zero or false is left out.
func (w *jsonWriter) column(b []byte, c *event.ColumnInfo) []byte {
	b = jsontext.AppendString(append(b, `{"name":`...), c.Name)
	b = jsontext.AppendString(append(b, `,"dataType":{"mysqlType":`...), column.TypeName(c))
	b = jsontext.AppendString(append(b, `,"charset":`...), c.Charset)
	b = jsontext.AppendString(append(b, `,"collate":`...), c.Collation)
	if c.Length != 0 {
		b = strconv.AppendInt(append(b, `,"length":`...), int64(c.Length), 10)
	}
	// The digits of FLOAT and DOUBLE are display only.
	if c.Decimal != 0 && c.Type != event.TypeFloat && c.Type != event.TypeDouble {
		b = strconv.AppendInt(append(b, `,"decimal":`...), int64(c.Decimal), 10)
	}
	if len(c.Elems) > 0 {
		b = appendStrings(append(b, `,"elements":`...), c.Elems)
	}
	if c.Unsigned() {
		b = append(b, `,"unsigned":true`...)
	}
	if c.Flag&event.FlagZerofill != 0 {
		b = append(b, `,"zerofill":true`...)
	}
	b = strconv.AppendBool(append(b, `},"nullable":`...), !c.NotNull())
	b = append(b, `,"default":`...)
	switch text, ok := defaultText(c); {
	case !ok:
		b = append(b, "null"...)
	case c.Type == event.TypeBit:
		b = append(b, text...)
	default:
		b = jsontext.AppendString(b, text)
	}
	return append(b, '}')
}
