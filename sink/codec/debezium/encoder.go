package debezium

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// Encoder is a codec.Encoder.
type Encoder struct {
	cfg      Config
	cluster  []byte // the cluster id as JSON
	plans    map[*event.TableInfo]*plan
	lastPlan *plan
}

// plan is all that does not change from row to row.
type plan struct {
	table   *event.TableInfo
	columns []planColumn
	keys    []int  // offsets of the handle key, in the table's order
	source  []byte // of the source: the names of database and table and all up to commit_ts
	// keyEnd and valueEnd follow the payload: its schema and the end of the message.
	keyEnd, valueEnd []byte
}

// maxPlans bounds the plans, which hold a schema each; beyond it all are forgotten
// and made again.
const maxPlans = 4096

// NewEncoder returns an Encoder.
func NewEncoder(cfg Config) *Encoder {
	cfg = cfg.withDefaults()
	return &Encoder{
		cfg: cfg, cluster: jsontext.AppendString(nil, cfg.ClusterID),
		plans: make(map[*event.TableInfo]*plan), lastPlan: &plan{},
	}
}

// plan returns the plan of a version of a table. Rows of one version come in a row, so
// it is nearly always the last one.
func (e *Encoder) plan(t *event.TableInfo) (*plan, error) {
	if e.lastPlan.table == t {
		return e.lastPlan, nil
	}
	p := e.plans[t]
	if p == nil {
		var err error
		if p, err = e.makePlan(t); err != nil {
			return nil, err
		}
		if len(e.plans) >= maxPlans {
			clear(e.plans)
		}
		e.plans[t] = p
	}
	e.lastPlan = p
	return p, nil
}

// makePlan writes all that rows of a version have in common, which with schemas is the
// greater part of a message.
func (e *Encoder) makePlan(t *event.TableInfo) (*plan, error) {
	p := &plan{table: t, columns: make([]planColumn, len(t.Columns)), keys: slices.Sorted(slices.Values(t.HandleKey))}
	var keyFields, fields []byte
	for i := range t.Columns {
		c := &t.Columns[i]
		w, err := e.cfg.wireTypeOf(c)
		if err != nil {
			return nil, err
		}
		p.columns[i] = *newPlanColumn(c, w.form)
		if i > 0 {
			fields = append(fields, ',')
		}
		start := len(fields)
		fields = e.cfg.appendSchema(fields, c, w)
		if slices.Contains(p.keys, i) {
			if len(keyFields) > 0 {
				keyFields = append(keyFields, ',')
			}
			keyFields = append(keyFields, fields[start:]...)
		}
	}
	p.source = e.appendSourceNames(nil, t.Schema, t.Table)
	p.keyEnd, p.valueEnd = []byte("}}"), []byte("}}")
	if !e.cfg.DisableSchema {
		name := e.schemaName(t)
		p.keyEnd = append(keySchema([]byte(`},"schema":`), name+".Key", keyFields), '}')
		p.valueEnd = append(envelopeSchema([]byte(`},"schema":`), name, fields), '}')
	}
	return p, nil
}

// schemaName is the first part of the names of a table's schemas.
func (e *Encoder) schemaName(t *event.TableInfo) string {
	return column.Sanitize(e.cfg.ClusterID) + "." + column.Sanitize(t.Schema) + "." + strings.ReplaceAll(t.Table, ".", "_")
}

// AppendRows appends a message for each row.
func (e *Encoder) AppendRows(dst *codec.Messages, _ string, rows []*event.RowChanged) error {
	before, now := dst.Len(), e.cfg.Now().UnixMilli()
	for _, row := range rows {
		if err := e.appendRow(dst, row, now); err != nil {
			dst.Truncate(before)
			return fmt.Errorf("encode row of %s at %s as Debezium: %w", row.Table.Name(), row.CommitTs, err)
		}
	}
	return nil
}

// appendRow writes key and value behind each other.
func (e *Encoder) appendRow(dst *codec.Messages, row *event.RowChanged, now int64) error {
	p, err := e.plan(row.Table)
	if err != nil {
		return err
	}
	for _, image := range [...][]event.Value{row.Columns, row.PreColumns} {
		if image != nil && len(image) != len(p.columns) {
			return fmt.Errorf("it has %d values of %d columns", len(image), len(p.columns))
		}
	}
	b := dst.Buffer()
	start, keyBytes := len(b), -1
	if len(p.keys) > 0 {
		b = e.appendKey(b, p, row)
		keyBytes = len(b) - start
	}
	b = e.appendRowValue(b, p, row, now)
	dst.Append(b, keyBytes, len(b)-start-max(keyBytes, 0), 1, row.CommitTs)
	return nil
}

// appendKey writes the handle key of the image that exists, the new one of an update: an
// update that changes the key comes as a delete and an insert.
func (e *Encoder) appendKey(b []byte, p *plan, row *event.RowChanged) []byte {
	b = append(b, `{"payload":{`...)
	image := row.Image()
	for i, offset := range p.keys {
		if i > 0 {
			b = append(b, ',')
		}
		c := &p.columns[offset]
		b = appendValue(append(b, c.name...), c, image[offset])
	}
	return append(b, p.keyEnd...)
}

// appendRowValue writes the members in TiCDC's order, in which a delete has after first.
func (e *Encoder) appendRowValue(b []byte, p *plan, row *event.RowChanged, now int64) []byte {
	startTs := event.Ts(0)
	if e.cfg.IncludeStartTs {
		startTs = row.StartTs
	}
	b = e.appendSource(append(b, `{"payload":`...), p.source, row.CommitTs, startTs)
	b = strconv.AppendInt(append(b, `,"ts_ms":`...), now, 10)
	switch row.Kind() {
	case event.Insert:
		b = append(b, `,"transaction":null,"op":"c","before":null,"after":`...)
		b = appendImage(b, p, row.Columns)
	case event.Delete:
		b = append(b, `,"transaction":null,"op":"d","after":null,"before":`...)
		b = appendImage(b, p, row.PreColumns)
	default:
		b = append(b, `,"transaction":null,"op":"u"`...)
		if !e.cfg.NoOldValue {
			b = appendImage(append(b, `,"before":`...), p, row.PreColumns)
		}
		b = appendImage(append(b, `,"after":`...), p, row.Columns)
	}
	return append(b, p.valueEnd...)
}

// appendImage appends an object of all columns.
func appendImage(b []byte, p *plan, image []event.Value) []byte {
	b = append(b, '{')
	for i := range p.columns {
		if i > 0 {
			b = append(b, ',')
		}
		c := &p.columns[i]
		b = appendValue(append(b, c.name...), c, image[i])
	}
	return append(b, '}')
}

// appendSourceNames appends the middle of a source, from snapshot to commit_ts.
func (e *Encoder) appendSourceNames(b []byte, schema, table string) []byte {
	b = jsontext.AppendString(append(b, `,"snapshot":"false","db":`...), schema)
	b = jsontext.AppendString(append(b, `,"table":`...), table)
	return append(b, `,"server_id":0,"gtid":null,"file":"","pos":0,"row":0,"thread":0,"query":null,"commit_ts":`...)
}

// appendSource appends a source; names is of appendSourceNames.
func (e *Encoder) appendSource(b, names []byte, commitTs, startTs event.Ts) []byte {
	b = append(append(b, `{"source":{"version":"2.4.0.Final","connector":"TiCDC","name":`...), e.cluster...)
	b = strconv.AppendInt(append(b, `,"ts_ms":`...), commitTs.Physical(), 10)
	b = strconv.AppendUint(append(b, names...), uint64(commitTs), 10)
	if startTs != 0 {
		b = strconv.AppendUint(append(b, `,"start_ts":`...), uint64(startTs), 10)
	}
	b = append(append(b, `,"cluster_id":`...), e.cluster...)
	return append(b, '}')
}

// AppendWatermark appends the message of a watermark, with Config.TiDBExtension.
func (e *Encoder) AppendWatermark(dst *codec.Messages, _ string, ts event.Ts) error {
	if !e.cfg.TiDBExtension {
		return nil
	}
	b := dst.Buffer()
	start := len(b)
	name := column.Sanitize(e.cfg.ClusterID) + ".watermark"
	b = append(b, `{"payload":{}`...)
	if !e.cfg.DisableSchema {
		b = keySchema(append(b, `,"schema":`...), name+".Key", nil)
	}
	b = append(b, '}')
	keyBytes := len(b) - start
	b = e.appendSource(append(b, `{"payload":`...), e.appendSourceNames(nil, "", ""), ts, 0)
	b = strconv.AppendInt(append(b, `,"ts_ms":`...), e.cfg.Now().UnixMilli(), 10)
	b = append(b, `,"transaction":null,"op":"m"}`...)
	if !e.cfg.DisableSchema {
		b = watermarkSchema(append(b, `,"schema":`...), name)
	}
	b = append(b, '}')
	dst.Append(b, keyBytes, len(b)-start-keyBytes, 0, ts)
	return nil
}
