package avro

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/avrobinary"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// Registry keeps schemas. Register returns the id of a schema under a subject,
// the same one whenever it is asked for the same; it is safe for concurrent use.
type Registry interface {
	Register(ctx context.Context, subject, schema string) (SchemaID, error)
}

// ErrNotPrepared is wrapped by the error for a row of a table that
// [Encoder.Prepare] was not called for, and for a message whose schemas
// [Decoder.Prepare] did not fetch.
var ErrNotPrepared = errors.New("schema not prepared")

// Encoder is a codec.Encoder.
type Encoder struct {
	cfg      Config
	registry Registry
	plans    map[planKey]*plan
	last     planKey // of lastPlan, which saves looking it up
	lastPlan *plan
}

// planKey: a version of a table has schemas for each topic.
type planKey struct {
	topic string
	table *event.TableInfo
}

// plan is all that does not change from row to row.
type plan struct {
	key, value     []field
	keyID, valueID []byte
}

// maxPlans bounds the plans; beyond it all are forgotten and made again.
const maxPlans = 8192

// NewEncoder returns an Encoder that registers schemas with r.
func NewEncoder(cfg Config, r Registry) *Encoder {
	return &Encoder{cfg: cfg.withDefaults(), registry: r, plans: make(map[planKey]*plan)}
}

// Prepare registers the schemas for rows of a version of a table in a topic,
// unless it has done so. That the protocol cannot hold the table is a
// sink.Permanent error.
func (e *Encoder) Prepare(ctx context.Context, topic string, table *event.TableInfo) error {
	k := planKey{topic, table}
	if e.plan(k) != nil {
		return nil
	}
	if !table.HasHandleKey() {
		return sink.Permanent(fmt.Errorf(
			"prepare Avro schemas of %s: the table has no primary key and no unique key of NOT NULL columns, which this protocol needs",
			table.Name()))
	}
	handleKey := slices.Sorted(slices.Values(table.HandleKey)) // the table's order, as in TiCDC
	all := make([]int, len(table.Columns))
	for i := range all {
		all[i] = i
	}
	p := &plan{}
	var err error
	if p.key, p.keyID, err = e.register(ctx, topic, "-key", table, handleKey, false); err != nil {
		return err
	}
	if p.value, p.valueID, err = e.register(ctx, topic, "-value", table, all, e.cfg.TiDBExtension); err != nil {
		return err
	}
	if len(e.plans) >= maxPlans {
		clear(e.plans)
	}
	e.plans[k] = p
	return nil
}

// register makes the schema of some columns of a table and returns their fields with
// the bytes that stand in front of a record of them.
func (e *Encoder) register(
	ctx context.Context, topic, suffix string, table *event.TableInfo, offsets []int, extension bool,
) ([]field, []byte, error) {
	schema, fields, err := e.cfg.record(table, offsets, extension)
	if err != nil {
		return nil, nil, sink.Permanent(fmt.Errorf("make Avro schema of %s: %w", table.Name(), err))
	}
	subject := strings.ReplaceAll(topic, ".", "_") + suffix
	id, err := e.registry.Register(ctx, subject, schema)
	if err != nil {
		return nil, nil, fmt.Errorf("register Avro schema of %s as %s: %w", table.Name(), subject, err)
	}
	return fields, bytesOf(id), nil
}

// plan returns the plan of k, nil if there is none yet.
func (e *Encoder) plan(k planKey) *plan {
	if k == e.last {
		return e.lastPlan
	}
	p := e.plans[k]
	if p != nil {
		e.last, e.lastPlan = k, p
	}
	return p
}

// AppendRows appends a message for each row.
func (e *Encoder) AppendRows(dst *codec.Messages, topic string, rows []*event.RowChanged) error {
	before := dst.Len()
	for _, row := range rows {
		p := e.plan(planKey{topic, row.Table})
		err := ErrNotPrepared
		if p != nil {
			err = e.appendRow(dst, p, row)
		}
		if err != nil {
			dst.Truncate(before)
			return fmt.Errorf("encode row of %s at %s as Avro: %w", row.Table.Name(), row.CommitTs, err)
		}
	}
	return nil
}

// appendRow writes key and value behind each other. The key is of the image that
// exists, which for an update is the new one: an update that changes the key comes as
// a delete and an insert.
func (e *Encoder) appendRow(dst *codec.Messages, p *plan, row *event.RowChanged) error {
	b := dst.Buffer()
	start := len(b)
	b, err := e.appendRecord(append(b, p.keyID...), p.key, row.Image())
	if err != nil {
		return err
	}
	keyBytes, valueBytes := len(b)-start, -1
	if row.Columns != nil {
		if b, err = e.appendRecord(append(b, p.valueID...), p.value, row.Columns); err != nil {
			return err
		}
		if e.cfg.TiDBExtension {
			b = appendExtension(b, row)
		}
		valueBytes = len(b) - start - keyBytes
	}
	dst.Append(b, keyBytes, valueBytes, 1, row.CommitTs)
	return nil
}

// appendExtension appends the fields that [Config.record] put at the end of a schema.
func appendExtension(b []byte, row *event.RowChanged) []byte {
	op := opInsert
	if row.PreColumns != nil {
		op = opUpdate
	}
	b = avrobinary.AppendString(b, op)
	b = avrobinary.AppendLong(b, int64(row.CommitTs))
	return avrobinary.AppendLong(b, row.CommitTs.Physical())
}

// The first byte of the messages of Config.Watermark.
const (
	ddlByte       = 1
	watermarkByte = 2
)

// AppendDDL appends a message only with Config.Watermark.
func (e *Encoder) AppendDDL(dst *codec.Messages, _ string, ddl *event.DDL) error {
	if !e.cfg.Watermark {
		return nil
	}
	schema, table := ddl.Schema, ""
	if t := cmpTable(ddl); t != nil {
		schema, table = t.Schema, t.Table
	}
	b := dst.Buffer()
	start := len(b)
	b = append(b, ddlByte)
	b = jsontext.AppendString(append(b, `{"query":`...), ddl.Query)
	b = fmt.Appendf(b, `,"type":%d,"schema":`, ddl.Type)
	b = jsontext.AppendString(b, schema)
	b = jsontext.AppendString(append(b, `,"table":`...), table)
	b = fmt.Appendf(b, `,"commitTs":%d}`, uint64(ddl.CommitTs))
	dst.Append(b, -1, len(b)-start, 0, ddl.CommitTs)
	return nil
}

// cmpTable returns the table that a DDL is about, nil for one of a database.
func cmpTable(ddl *event.DDL) *event.TableInfo {
	if ddl.Table != nil {
		return ddl.Table
	}
	return ddl.PreTable
}

// AppendWatermark appends a message only with Config.Watermark.
func (e *Encoder) AppendWatermark(dst *codec.Messages, _ string, ts event.Ts) error {
	if !e.cfg.Watermark {
		return nil
	}
	b := append(dst.Buffer(), watermarkByte)
	b = binary.BigEndian.AppendUint64(b, uint64(ts))
	dst.Append(b, -1, 9, 0, ts)
	return nil
}

// bytesOf returns what stands in front of a record with the schema.
func bytesOf(id SchemaID) []byte { return id.frame[:id.size] }
