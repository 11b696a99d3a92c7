package canaljson

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/canalrow"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// Encoder is a [codec.LargeRowEncoder]. It is not safe for concurrent use.
type Encoder struct {
	cfg   Config
	plans tables.Plans[plan]
	// makePlan is newPlan with the Config.
	makePlan func(*event.TableInfo) *plan
	// json is where JSON documents are rendered before they are quoted.
	json []byte
}

// NewEncoder returns an Encoder.
func NewEncoder(cfg Config) *Encoder {
	e := &Encoder{cfg: cfg.withDefaults()}
	// Made once, so that asking for a plan allocates nothing.
	e.makePlan = func(table *event.TableInfo) *plan { return newPlan(table, cfg.ContentCompatible) }
	return e
}

func (e *Encoder) plan(table *event.TableInfo) *plan { return e.plans.Get(table, e.makePlan) }

// AppendRows appends a message for each row.
func (e *Encoder) AppendRows(dst *codec.Messages, _ string, rows []*event.RowChanged) error {
	start, now := dst.Len(), e.cfg.Now().UnixMilli()
	for _, row := range rows {
		p := e.plan(row.Table)
		if err := tables.Check(row); err != nil {
			dst.Truncate(start)
			return err
		}
		l := &p.all
		if e.cfg.DeleteOnlyHandleKey && row.Columns == nil && len(p.handle.offsets) > 0 {
			l = &p.handle
		}
		b := e.appendRow(dst.Buffer(), p, l, row, now)
		if e.cfg.TiDBExtension {
			b = e.appendRowKey(appendCommitTs(b, row.CommitTs), row)
		}
		e.end(dst, append(b, '}'), 1, row.CommitTs)
	}
	return nil
}

// AppendHandleKey implements [codec.LargeRowEncoder]. It needs Config.TiDBExtension.
func (e *Encoder) AppendHandleKey(dst *codec.Messages, _ string, row *event.RowChanged) error {
	b, err := e.appendDegraded(dst.Buffer(), row)
	if err != nil {
		return err
	}
	b = append(b, `,"onlyHandleKey":true`...)
	e.end(dst, append(e.appendRowKey(b, row), '}'), 1, row.CommitTs)
	return nil
}

// AppendClaimCheck implements [codec.LargeRowEncoder]. It needs Config.TiDBExtension.
func (e *Encoder) AppendClaimCheck(dst *codec.Messages, _ string, row *event.RowChanged, location string) error {
	b, err := e.appendDegraded(dst.Buffer(), row)
	if err != nil {
		return err
	}
	b = append(b, `,"claimCheckLocation":`...)
	b = jsontext.AppendString(b, location)
	e.end(dst, append(e.appendRowKey(b, row), '}'), 1, row.CommitTs)
	return nil
}

// appendDegraded appends a message with the handle key only, up to where _tidb says
// why.
func (e *Encoder) appendDegraded(b []byte, row *event.RowChanged) ([]byte, error) {
	p := e.plan(row.Table)
	if err := tables.Check(row); err != nil {
		return nil, err
	}
	var err error
	switch {
	case !e.cfg.TiDBExtension:
		err = errors.New("set enable-tidb-extension, without which canal-json cannot say that columns are left out")
	case len(p.handle.offsets) == 0:
		err = errors.New("the table has no handle key, which would stand for the row")
	}
	if err != nil {
		return nil, fmt.Errorf("encode large row of %s with commit ts %d: %w", p.table.Name(), row.CommitTs, err)
	}
	return appendCommitTs(e.appendRow(b, p, &p.handle, row, e.cfg.Now().UnixMilli()), row.CommitTs), nil
}

// end ends the message that b adds to dst.
func (e *Encoder) end(dst *codec.Messages, b []byte, rows int, ts event.Ts) {
	dst.Append(b, -1, len(b)-dst.Bytes(), rows, ts)
}

// appendRow appends everything but _tidb and the last brace.
func (e *Encoder) appendRow(b []byte, p *plan, l *layout, row *event.RowChanged, now int64) []byte {
	b = append(b, p.head...)
	switch row.Kind() {
	case event.Insert:
		b = append(b, `"INSERT","es":`...)
	case event.Update:
		b = append(b, `"UPDATE","es":`...)
	default:
		b = append(b, `"DELETE","es":`...)
	}
	b = appendTimes(b, row.CommitTs, now)
	b = append(b, `,"sql":"","sqlType":`...)
	b = p.sqlTypesOf(b, l, row.Image())
	b = append(b, l.mysqlTypes...)
	if row.Columns != nil && row.PreColumns != nil {
		var unless []event.Value
		if e.cfg.OnlyOutputUpdatedColumns {
			unless = row.Columns
		}
		b = e.appendImage(b, p, l, row.PreColumns, unless)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"data":`...)
	return e.appendImage(b, p, l, row.Image(), nil)
}

// appendTimes appends the value of es and the member ts.
func appendTimes(b []byte, ts event.Ts, now int64) []byte {
	b = strconv.AppendInt(b, ts.Physical(), 10)
	b = append(b, `,"ts":`...)
	return strconv.AppendInt(b, now, 10)
}

// appendImage appends an image of a row, without values that unless also has.
func (e *Encoder) appendImage(b []byte, p *plan, l *layout, image, unless []event.Value) []byte {
	b = append(b, "[{"...)
	first := true
	for _, offset := range l.offsets {
		if unless != nil && event.Equal(image[offset], unless[offset]) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, p.names[offset]...)
		b = e.appendValue(b, &image[offset])
	}
	return append(b, "}]"...)
}

func (e *Encoder) appendValue(b []byte, v *event.Value) []byte {
	switch v.Kind() {
	case event.KindNull:
		return append(b, "null"...)
	case event.KindText:
		return jsontext.AppendString(b, v.Text())
	case event.KindBytes:
		return jsontext.AppendLatin1(b, v.Text())
	case event.KindJSON:
		e.json = v.AppendText(e.json[:0])
		return jsontext.AppendBytes(b, e.json)
	}
	b = append(b, '"')
	b = canalrow.AppendText(b, v, e.cfg.TimeZone)
	return append(b, '"')
}

// appendCommitTs begins the member _tidb.
func appendCommitTs(b []byte, ts event.Ts) []byte {
	b = append(b, `,"_tidb":{"commitTs":`...)
	return strconv.AppendUint(b, uint64(ts), 10)
}

// appendRowKey ends the member _tidb of a row.
func (e *Encoder) appendRowKey(b []byte, row *event.RowChanged) []byte {
	if e.cfg.RowKey {
		b = append(b, `,"rowkey":`...)
		b = jsontext.AppendBase64(b, row.Key)
	}
	return append(b, '}')
}

// AppendDDL appends the message of a DDL. It belongs into partition 0 only.
func (e *Encoder) AppendDDL(dst *codec.Messages, _ string, ddl *event.DDL) error {
	schema, table := canalrow.DDLNames(ddl)
	b := e.appendOther(dst.Buffer(), schema, table, true, canalrow.DDLEventType(ddl.Type).String(), ddl.CommitTs)
	b = jsontext.AppendString(b, ddl.Query)
	b = append(b, noColumns...)
	if e.cfg.TiDBExtension {
		b = append(appendCommitTs(b, ddl.CommitTs), '}')
	}
	e.end(dst, append(b, '}'), 0, ddl.CommitTs)
	return nil
}

// AppendWatermark appends a watermark, or nothing without Config.TiDBExtension. It
// belongs into all partitions.
func (e *Encoder) AppendWatermark(dst *codec.Messages, _ string, ts event.Ts) error {
	if !e.cfg.TiDBExtension {
		return nil
	}
	b := e.appendOther(dst.Buffer(), "", "", false, watermarkType, ts)
	b = append(b, `""`+noColumns+`,"_tidb":{"watermarkTs":`...)
	b = append(strconv.AppendUint(b, uint64(ts), 10), "}}"...)
	e.end(dst, b, 0, ts)
	return nil
}

const (
	watermarkType = "TIDB_WATERMARK"
	noColumns     = `,"sqlType":null,"mysqlType":null,"data":null,"old":null`
)

// appendOther appends what is not a row, up to the value of sql.
func (e *Encoder) appendOther(b []byte, schema, table string, ddl bool, kind string, ts event.Ts) []byte {
	b = appendNames(append(b, `{"id":0`...), schema, table)
	b = append(b, `,"pkNames":null,"isDdl":`...)
	b = strconv.AppendBool(b, ddl)
	b = append(b, `,"type":"`...)
	b = append(b, kind...)
	b = append(b, `","es":`...)
	b = appendTimes(b, ts, e.cfg.Now().UnixMilli())
	return append(b, `,"sql":`...)
}
