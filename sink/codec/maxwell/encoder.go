package maxwell

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// Config configures an Encoder. The zero value is valid.
type Config struct {
	// TimeZone is where TIMESTAMP values are written as local time. Defaults to UTC.
	TimeZone *time.Location
	// MaxMessageBytes bounds key and value of a message with several rows. Defaults to 1 MiB.
	MaxMessageBytes int
	// DeleteOnlyHandleKey leaves all but the handle key out of a delete
	// (delete-only-output-handle-key-columns).
	DeleteOnlyHandleKey bool
}

// defaultMaxMessageBytes is what a broker accepts unless it is configured otherwise.
const defaultMaxMessageBytes = 1 << 20

// Encoder is a codec.Encoder.
type Encoder struct {
	cfg      Config
	plans    map[*event.TableInfo]*plan
	lastPlan *plan
}

// plan is all that does not change from row to row.
type plan struct {
	table *event.TableInfo
	heads [event.Delete + 1][]byte // up to the ts, by event.Kind
	names [][]byte                 // "name":
	key   []bool                   // whether a column belongs to the handle key
}

const (
	// version is the whole key of a message of rows.
	version   = 1
	keyBytes  = 8
	maxPlans  = 8192 // beyond it all are forgotten and made again
	ddlType   = 2    // of open-protocol's keys
	dataBegin = `,"data":{`
	oldBegin  = `,"old":{`
)

// NewEncoder returns an Encoder.
func NewEncoder(cfg Config) *Encoder {
	if cfg.TimeZone == nil {
		cfg.TimeZone = time.UTC
	}
	if cfg.MaxMessageBytes <= 0 {
		cfg.MaxMessageBytes = defaultMaxMessageBytes
	}
	return &Encoder{cfg: cfg, plans: make(map[*event.TableInfo]*plan), lastPlan: &plan{}}
}

// plan returns the plan of a version of a table. Rows of one version come in a row, so
// it is nearly always the last one.
func (e *Encoder) plan(t *event.TableInfo) *plan {
	if e.lastPlan.table == t {
		return e.lastPlan
	}
	p := e.plans[t]
	if p == nil {
		p = &plan{table: t, names: make([][]byte, len(t.Columns)), key: make([]bool, len(t.Columns))}
		for kind := event.Insert; kind <= event.Delete; kind++ {
			h := jsontext.AppendString([]byte(`{"database":`), t.Schema)
			h = jsontext.AppendString(append(h, `,"table":`...), t.Table)
			p.heads[kind] = append(h, `,"type":"`+kind.String()+`","ts":`...)
		}
		for i := range t.Columns {
			p.names[i] = append(jsontext.AppendString(nil, t.Columns[i].Name), ':')
		}
		for _, offset := range t.HandleKey {
			p.key[offset] = true
		}
		if len(e.plans) >= maxPlans {
			clear(e.plans)
		}
		e.plans[t] = p
	}
	e.lastPlan = p
	return p
}

// AppendRows appends messages of as many rows as MaxMessageBytes allows.
func (e *Encoder) AppendRows(dst *codec.Messages, _ string, rows []*event.RowChanged) error {
	before := dst.Len()
	b, start, count := beginRows(dst)
	for i := 0; i < len(rows); i++ {
		row := rows[i]
		end := len(b)
		var err error
		if b, err = e.appendRow(b, row); err != nil {
			dst.Truncate(before)
			return fmt.Errorf("encode row of %s at %s as Maxwell: %w", row.Table.Name(), row.CommitTs, err)
		}
		if len(b)-start > e.cfg.MaxMessageBytes && count > 0 {
			// The row is encoded again into a message that begins with it.
			dst.Append(b[:end], keyBytes, end-start-keyBytes, count, rows[i-1].CommitTs)
			b, start, count = beginRows(dst)
			i--
			continue
		}
		count++
	}
	if count > 0 {
		dst.Append(b, keyBytes, len(b)-start-keyBytes, count, rows[len(rows)-1].CommitTs)
	}
	return nil
}

// beginRows begins a message of rows.
func beginRows(dst *codec.Messages) (b []byte, start, count int) {
	b = dst.Buffer()
	return binary.BigEndian.AppendUint64(b, version), len(b), 0
}

// appendRow appends the object of a row.
func (e *Encoder) appendRow(b []byte, row *event.RowChanged) ([]byte, error) {
	p := e.plan(row.Table)
	for _, image := range [...][]event.Value{row.Columns, row.PreColumns} {
		if image != nil && len(image) != len(p.names) {
			return nil, fmt.Errorf("it has %d values of %d columns", len(image), len(p.names))
		}
	}
	kind := row.Kind()
	b = append(b, p.heads[kind]...)
	b = strconv.AppendInt(b, row.CommitTs.Physical()/1000, 10)
	if kind == event.Delete {
		b = e.appendImage(append(b, oldBegin...), p, row.PreColumns, e.cfg.DeleteOnlyHandleKey)
		return append(b, '}'), nil
	}
	b = e.appendImage(append(b, dataBegin...), p, row.Columns, false)
	if kind == event.Update {
		b = e.appendChanged(b, p, row)
	}
	return append(b, '}'), nil
}

// appendImage appends the members of an object, and its end.
func (e *Encoder) appendImage(b []byte, p *plan, image []event.Value, keyOnly bool) []byte {
	start := len(b)
	for i, v := range image {
		if keyOnly && !p.key[i] {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = e.appendValue(append(b, p.names[i]...), v)
	}
	return append(b, '}')
}

// appendChanged appends the old values of the columns that changed, nothing if none did.
func (e *Encoder) appendChanged(b []byte, p *plan, row *event.RowChanged) []byte {
	first := true
	for i, v := range row.PreColumns {
		if event.Equal(v, row.Columns[i]) {
			continue
		}
		if first {
			b = append(b, oldBegin...)
		} else {
			b = append(b, ',')
		}
		first = false
		b = e.appendValue(append(b, p.names[i]...), v)
	}
	if first {
		return b
	}
	return append(b, '}')
}

// appendValue appends a value with the JSON type that TiCDC's own values have.
func (e *Encoder) appendValue(b []byte, v event.Value) []byte {
	switch v.Kind() {
	case event.KindNull:
		return append(b, "null"...)
	case event.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case event.KindUint64, event.KindBit, event.KindEnum, event.KindSet:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case event.KindFloat32, event.KindFloat64:
		return column.AppendJSONFloat(b, v)
	case event.KindBytes:
		return jsontext.AppendBase64(b, v.Bytes())
	}
	return column.AppendJSONString(b, v, e.cfg.TimeZone)
}

// AppendWatermark appends nothing: the protocol has no watermark.
func (e *Encoder) AppendWatermark(*codec.Messages, string, event.Ts) error { return nil }

// AppendDDL appends the message of a DDL.
func (e *Encoder) AppendDDL(dst *codec.Messages, _ string, ddl *event.DDL) error {
	schema, table := ddl.Schema, ""
	after := ddl.Table
	if after == nil {
		after = ddl.PreTable // what a dropped table was
	}
	if after != nil {
		schema, table = after.Schema, after.Table
	}
	b := dst.Buffer()
	start := len(b)
	b = strconv.AppendUint(append(b, `{"ts":`...), uint64(ddl.CommitTs), 10)
	if schema != "" {
		b = jsontext.AppendString(append(b, `,"scm":`...), schema)
	}
	if table != "" {
		b = jsontext.AppendString(append(b, `,"tbl":`...), table)
	}
	b = append(strconv.AppendInt(append(b, `,"t":`...), ddlType, 10), '}')
	keyLen := len(b) - start

	b = jsontext.AppendString(append(b, `{"type":`...), typeName(ddl.Type))
	b = jsontext.AppendString(append(b, `,"database":`...), schema)
	b = jsontext.AppendString(append(b, `,"table":`...), table)
	b = appendTable(append(b, `,"old":`...), ddl.PreTable, "", "")
	b = appendTable(append(b, `,"def":`...), after, schema, table)
	b = strconv.AppendUint(append(b, `,"ts":`...), uint64(ddl.CommitTs), 10)
	b = jsontext.AppendString(append(b, `,"sql":`...), ddl.Query)
	b = append(b, '}')
	dst.Append(b, keyLen, len(b)-start-keyLen, 0, ddl.CommitTs)
	return nil
}

// appendTable appends the description of a table; the names are for want of one.
func appendTable(b []byte, t *event.TableInfo, schema, table string) []byte {
	if t != nil {
		schema, table = t.Schema, t.Table
	}
	b = jsontext.AppendString(append(b, `{"database":`...), schema)
	b = jsontext.AppendString(append(b, `,"table":`...), table)
	b = append(b, `,"columns":`...)
	if t == nil || len(t.Columns)+len(t.VirtualColumns) == 0 {
		b = append(b, "null"...)
	} else {
		separator := byte('[')
		for _, columns := range [][]event.ColumnInfo{t.Columns, t.VirtualColumns} {
			for i := range columns {
				b = append(b, separator)
				separator = ','
				b = jsontext.AppendString(append(b, `{"type":`...), columnType(columns[i].Type))
				b = jsontext.AppendString(append(b, `,"name":`...), columns[i].Name)
				b = append(b, '}')
			}
		}
		b = append(b, ']')
	}
	return append(b, `,"primary-key":null}`...)
}

// typeName returns Maxwell's name of a kind of DDL.
func typeName(t event.DDLType) string {
	switch t {
	case event.DDLCreateSchema:
		return "database-create"
	case event.DDLDropSchema:
		return "database-drop"
	case event.DDLModifySchemaCharset:
		return "database-alter"
	case event.DDLCreateTable, event.DDLCreateTables:
		return "table-create"
	case event.DDLDropTable:
		return "table-drop"
	case event.DDLCreateView, event.DDLDropView, event.DDLCreateSequence, event.DDLAlterSequence, event.DDLDropSequence,
		event.DDLRecoverTable, event.DDLRecoverSchema, event.DDLFlashbackCluster:
		return t.String()
	}
	return "table-alter"
}

// columnType returns Maxwell's name of a column type.
func columnType(t event.ColumnType) string {
	switch t {
	case event.TypeTiny, event.TypeShort, event.TypeInt24, event.TypeLong:
		return "int"
	case event.TypeLonglong:
		return "bigint"
	case event.TypeFloat, event.TypeDouble:
		return "float"
	case event.TypeNewDecimal:
		return "decimal"
	case event.TypeDate, event.TypeNewDate:
		return "date"
	case event.TypeDatetime, event.TypeTimestamp:
		return "datetime"
	case event.TypeDuration:
		return "time"
	case event.TypeYear:
		return "year"
	case event.TypeEnum:
		return "enum"
	case event.TypeSet:
		return "set"
	case event.TypeBit:
		return "bit"
	case event.TypeJSON:
		return "json"
	}
	return "string"
}
