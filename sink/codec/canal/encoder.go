package canal

import (
	"strings"
	"unicode/utf8"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/canalrow"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// Encoder is a [codec.Encoder]. It is not safe for concurrent use.
type Encoder struct {
	cfg   Config
	plans tables.Plans[plan]
	// makePlan is newPlan with the Config.
	makePlan func(*event.TableInfo) *plan
	// value, row, header and body hold a column's value, a RowData, a Header and a
	// Messages while they are made: each has to be whole before its length can be
	// written in front of it.
	value, row, header, body []byte
}

// NewEncoder returns an Encoder.
func NewEncoder(cfg Config) *Encoder {
	e := &Encoder{cfg: cfg.withDefaults()}
	// Made once, so that asking for a plan allocates nothing.
	e.makePlan = func(table *event.TableInfo) *plan { return newPlan(table, cfg.ContentCompatible) }
	return e
}

func (e *Encoder) plan(table *event.TableInfo) *plan { return e.plans.Get(table, e.makePlan) }

// AppendRows appends as few messages as the limits of the Config allow.
func (e *Encoder) AppendRows(dst *codec.Messages, _ string, rows []*event.RowChanged) error {
	start := dst.Len()
	e.body = e.body[:0]
	inBatch, last := 0, event.Ts(0)
	for _, row := range rows {
		p := e.plan(row.Table)
		if err := tables.Check(row); err != nil {
			dst.Truncate(start)
			return err
		}
		end := len(e.body)
		e.appendEntry(p, row)
		full := inBatch == e.cfg.MaxBatchSize || len(e.body)+packetOverhead+recordOverhead > e.cfg.MaxMessageBytes
		if full && inBatch > 0 {
			appendPacket(dst, e.body[:end], inBatch, last)
			e.body = append(e.body[:0], e.body[end:]...)
			inBatch = 0
		}
		inBatch++
		last = row.CommitTs
	}
	if inBatch > 0 {
		appendPacket(dst, e.body, inBatch, last)
	}
	return nil
}

// packetOverhead is what a Packet takes at most besides its body.
const packetOverhead = 2 + 2 + 1 + 5

// appendPacket appends a message with a Messages.
func appendPacket(dst *codec.Messages, body []byte, rows int, ts event.Ts) {
	b := dst.Buffer()
	start := len(b)
	b = appendVarint(b, packetVersion, 1)
	b = appendVarint(b, packetType, packetMessages)
	b = append(appendLength(b, packetBody, len(body)), body...)
	dst.Append(b, -1, len(b)-start, rows, ts)
}

// appendEntry appends the Entry of a row to the body.
func (e *Encoder) appendEntry(p *plan, row *event.RowChanged) {
	kind := canalrow.Update
	columns, updated := p.all, 1
	switch row.Kind() {
	case event.Insert:
		kind = canalrow.Insert
	case event.Delete:
		kind, updated = canalrow.Delete, 0
		if e.cfg.DeleteOnlyHandleKey && len(p.handle) > 0 {
			columns = p.handle
		}
	}
	e.row = e.row[:0]
	e.appendImage(p, columns, rowDataBefore, updated, row.PreColumns)
	e.appendImage(p, columns, rowDataAfter, updated, row.Columns)

	e.header = appendHeader(e.header[:0], p.names, row.CommitTs, kind)
	e.header = append(e.header, rowsCount...)

	// Two fields of numbers are in front of the RowData.
	rowChange := 4 + bytesSize(len(e.row))
	e.beginEntry(rowChange)
	e.body = appendVarint(e.body, rowChangeEventType, int64(kind))
	e.body = appendVarint(e.body, rowChangeIsDdl, 0)
	e.body = append(appendLength(e.body, rowChangeRowDatas, len(e.row)), e.row...)
}

// rowsCount is the field props of a Header: one Pair, rowsCount and 1.
const rowsCount = "\x62\x0e" + "\x0a\x09rowsCount" + "\x12\x011"

// beginEntry appends an Entry with e.header up to its storeValue, a RowChange of
// that size.
func (e *Encoder) beginEntry(rowChange int) {
	size := bytesSize(len(e.header)) + 2 + bytesSize(rowChange)
	e.body = appendLength(e.body, messagesMessages, size)
	e.body = append(appendLength(e.body, entryHeader, len(e.header)), e.header...)
	e.body = appendVarint(e.body, entryEntryType, entryRowData)
	e.body = appendLength(e.body, entryStoreValue, rowChange)
}

// appendHeader appends a Header without props.
func appendHeader(b, names []byte, ts event.Ts, kind canalrow.EventType) []byte {
	b = appendVarint(b, headerVersion, 1)
	b = appendString(b, headerServerenCode, "UTF-8")
	if ms := ts.Physical(); ms != 0 {
		b = appendVarint(b, headerExecuteTime, ms)
	}
	b = appendVarint(b, headerSourceType, sourceMySQL)
	b = append(b, names...)
	return appendVarint(b, headerEventType, int64(kind))
}

// appendImage appends the columns of an image to the RowData.
func (e *Encoder) appendImage(p *plan, columns []int, field, updated int, image []event.Value) {
	if image == nil {
		return
	}
	for _, offset := range columns {
		c, v := &p.columns[offset], &image[offset]
		wide := 0
		if c.JavaType(v) != c.Java {
			wide = 1
		}
		head := c.heads[wide][updated]
		if v.IsNull() {
			e.row = append(appendLength(e.row, field, len(head)+2+len(c.tail)), head...)
			e.row = append(appendVarint(e.row, columnIsNull, 1), c.tail...)
			continue
		}
		e.value = e.appendValue(e.value[:0], v)
		size := len(head) + 2 + len(c.tail)
		if len(e.value) > 0 {
			size += bytesSize(len(e.value))
		}
		e.row = append(appendLength(e.row, field, size), head...)
		e.row = appendVarint(e.row, columnIsNull, 0)
		if len(e.value) > 0 {
			e.row = append(appendLength(e.row, columnValue, len(e.value)), e.value...)
		}
		e.row = append(e.row, c.tail...)
	}
}

func (e *Encoder) appendValue(b []byte, v *event.Value) []byte {
	switch v.Kind() {
	case event.KindBytes:
		return canalrow.AppendLatin1(b, v.Bytes())
	case event.KindText:
		return append(b, validText(v.Text())...)
	}
	return canalrow.AppendText(b, v, e.cfg.TimeZone)
}

// validText returns text in UTF-8, as a protobuf string must be.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// AppendDDL appends the message of a DDL. It belongs into partition 0 only.
func (e *Encoder) AppendDDL(dst *codec.Messages, _ string, ddl *event.DDL) error {
	schema, table := canalrow.DDLNames(ddl)
	kind := canalrow.DDLEventType(ddl.Type)
	e.header = appendHeader(e.header[:0], appendNames(nil, schema, table), ddl.CommitTs, kind)
	e.row = appendVarint(e.row[:0], rowChangeEventType, int64(kind))
	e.row = appendVarint(e.row, rowChangeIsDdl, 1)
	e.row = appendString(e.row, rowChangeSQL, validText(ddl.Query))
	e.row = appendString(e.row, rowChangeDdlSchemaName, validText(schema))
	e.body = e.body[:0]
	e.beginEntry(len(e.row))
	e.body = append(e.body, e.row...)
	appendPacket(dst, e.body, 0, ddl.CommitTs)
	return nil
}

// AppendWatermark does nothing: the protocol has none.
func (e *Encoder) AppendWatermark(*codec.Messages, string, event.Ts) error { return nil }
