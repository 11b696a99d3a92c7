package openprotocol

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// Encoder is a [codec.LargeRowEncoder]. It is not safe for concurrent use.
type Encoder struct {
	cfg   Config
	plans tables.Plans[plan]
	// value is the value of the message in the making: in dst stands its key.
	value []byte
	// text is where documents are rendered before they are quoted.
	text []byte
}

// NewEncoder returns an Encoder.
func NewEncoder(cfg Config) *Encoder {
	return &Encoder{cfg: cfg.withDefaults()}
}

func (e *Encoder) plan(table *event.TableInfo) *plan { return e.plans.Get(table, newPlan) }

// version begins every key.
const version = 1

// lengthBytes is the size of a version and of a length.
const lengthBytes = 8

// AppendRows appends as few messages as the limits of the Config allow.
func (e *Encoder) AppendRows(dst *codec.Messages, _ string, rows []*event.RowChanged) error {
	start := dst.Len()
	batch := e.begin(dst)
	for _, row := range rows {
		p := e.plan(row.Table)
		if err := tables.Check(row); err != nil {
			dst.Truncate(start)
			return err
		}
		columns := p.all
		if e.cfg.DeleteOnlyHandleKey && row.Columns == nil && len(p.handle) > 0 {
			columns = p.handle
		}
		if batch.rows == e.cfg.MaxBatchSize {
			e.end(dst, &batch)
			batch = e.begin(dst)
		}
		keyEnd, valueEnd := len(batch.key), len(e.value)
		batch.key = appendKey(batch.key, p, row, "")
		e.value = e.appendRow(e.value, p, columns, row)
		if size := len(batch.key) - dst.Bytes() + len(e.value) + recordOverhead; size > e.cfg.MaxMessageBytes && batch.rows > 0 {
			e.split(dst, &batch, keyEnd, valueEnd)
		}
		batch.rows++
		batch.commitTs = row.CommitTs
	}
	if batch.rows > 0 {
		e.end(dst, &batch)
	}
	return nil
}

// batch is a message in the making.
type batch struct {
	key      []byte // the buffer of dst with the key at its end
	rows     int
	commitTs event.Ts
}

func (e *Encoder) begin(dst *codec.Messages) batch {
	e.value = e.value[:0]
	return batch{key: binary.BigEndian.AppendUint64(dst.Buffer(), version)}
}

func (e *Encoder) end(dst *codec.Messages, b *batch) {
	keyBytes := len(b.key) - dst.Bytes()
	dst.Append(append(b.key, e.value...), keyBytes, len(e.value), b.rows, b.commitTs)
}

// split ends a message before its last row, which begins another.
func (e *Encoder) split(dst *codec.Messages, b *batch, keyEnd, valueEnd int) {
	// The last row's key and value are moved aside, behind the value.
	row := len(e.value)
	e.value = append(e.value, b.key[keyEnd:]...)
	keyBytes := keyEnd - dst.Bytes()
	dst.Append(append(b.key[:keyEnd], e.value[:valueEnd]...), keyBytes, valueEnd, b.rows, b.commitTs)
	b.key = append(binary.BigEndian.AppendUint64(dst.Buffer(), version), e.value[row:]...)
	e.value = append(e.value[:0], e.value[valueEnd:row]...)
	b.rows = 0
}

// AppendHandleKey implements [codec.LargeRowEncoder].
func (e *Encoder) AppendHandleKey(dst *codec.Messages, _ string, row *event.RowChanged) error {
	return e.appendDegraded(dst, row, `,"ohk":true`)
}

// AppendClaimCheck implements [codec.LargeRowEncoder].
func (e *Encoder) AppendClaimCheck(dst *codec.Messages, _ string, row *event.RowChanged, location string) error {
	return e.appendDegraded(dst, row, string(jsontext.AppendString([]byte(`,"ccl":`), location)))
}

// appendDegraded appends a message with the handle key only; why is a member of the
// key.
func (e *Encoder) appendDegraded(dst *codec.Messages, row *event.RowChanged, why string) error {
	p := e.plan(row.Table)
	if err := tables.Check(row); err != nil {
		return err
	}
	if len(p.handle) == 0 {
		return fmt.Errorf("encode large row of %s with commit ts %d: the table has no handle key, which would stand for the row",
			p.table.Name(), row.CommitTs)
	}
	b := e.begin(dst)
	b.key = appendKey(b.key, p, row, why)
	e.value = e.appendRow(e.value, p, p.handle, row)
	b.rows, b.commitTs = 1, row.CommitTs
	e.end(dst, &b)
	return nil
}

// appendKey appends the key of a row, with its length.
func appendKey(b []byte, p *plan, row *event.RowChanged, why string) []byte {
	start := len(b)
	b = appendTs(b, row.CommitTs)
	b = append(b, p.names...)
	if handle := intHandle(row.Key); handle != 0 {
		b = append(b, `,"rid":`...)
		b = strconv.AppendInt(b, handle, 10)
	}
	if p.partitioned {
		b = append(b, `,"ptn":`...)
		b = strconv.AppendInt(b, row.PhysicalTableID, 10)
	}
	b = append(b, `,"t":1`...)
	b = append(append(b, why...), '}')
	return setLength(b, start)
}

// appendTs appends eight bytes for a length and the beginning of a key.
func appendTs(b []byte, ts event.Ts) []byte {
	b = append(b, "\x00\x00\x00\x00\x00\x00\x00\x00"+`{"ts":`...)
	return strconv.AppendUint(b, uint64(ts), 10)
}

// setLength sets the length of what follows it.
func setLength(b []byte, start int) []byte {
	binary.BigEndian.PutUint64(b[start:], uint64(len(b)-start-lengthBytes))
	return b
}

// intHandle returns the handle in a row's key, 0 if it is not an integer: the key
// is t, the table's id, _r and the handle, of eight bytes with the sign inverted.
func intHandle(key []byte) int64 {
	const prefix = 1 + 8 + 2
	if len(key) != prefix+8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(key[prefix:]) ^ 1<<63)
}

// appendRow appends the value of a row, with its length.
func (e *Encoder) appendRow(b []byte, p *plan, columns []int, row *event.RowChanged) []byte {
	start := len(b)
	b = append(b, "\x00\x00\x00\x00\x00\x00\x00\x00"...)
	if row.Columns == nil {
		b = append(b, `{"d":{`...)
		b = e.appendImage(b, p, columns, row.PreColumns, nil)
		return setLength(append(b, "}}"...), start)
	}
	b = append(b, `{"u":{`...)
	b = e.appendImage(b, p, columns, row.Columns, nil)
	if row.PreColumns != nil && !e.cfg.WithoutOldValue {
		var unless []event.Value
		if e.cfg.OnlyOutputUpdatedColumns {
			unless = row.Columns
		}
		b = append(b, `},"p":{`...)
		b = e.appendImage(b, p, columns, row.PreColumns, unless)
	}
	return setLength(append(b, "}}"...), start)
}

// appendImage appends an image of a row, without values that unless also has.
func (e *Encoder) appendImage(b []byte, p *plan, columns []int, image, unless []event.Value) []byte {
	first := true
	for _, offset := range columns {
		if unless != nil && event.Equal(image[offset], unless[offset]) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		c := &p.columns[offset]
		b = append(b, c.head...)
		b = append(e.appendValue(b, c.style, &image[offset]), '}')
	}
	return b
}

func (e *Encoder) appendValue(b []byte, s style, v *event.Value) []byte {
	switch v.Kind() {
	case event.KindNull:
		return append(b, "null"...)
	case event.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case event.KindUint64, event.KindBit, event.KindEnum, event.KindSet:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case event.KindFloat32:
		return jsontext.AppendFloat(b, v.Float64(), 32)
	case event.KindFloat64:
		return jsontext.AppendFloat(b, v.Float64(), 64)
	case event.KindText, event.KindBytes:
		return e.appendText(b, s, v)
	case event.KindJSON:
		e.text = v.AppendText(e.text[:0])
		return jsontext.AppendBytes(b, e.text)
	}
	b = append(b, '"')
	b = v.AppendTextIn(b, e.cfg.TimeZone)
	return append(b, '"')
}

func (e *Encoder) appendText(b []byte, s style, v *event.Value) []byte {
	switch s {
	case encoded:
		return jsontext.AppendBase64(b, v.Bytes())
	case quoted:
		e.text = strconv.AppendQuote(e.text[:0], v.Text())
		return jsontext.AppendBytes(b, e.text[1:len(e.text)-1])
	}
	return jsontext.AppendString(b, v.Text())
}

// AppendDDL appends the message of a DDL. It belongs into all partitions.
func (e *Encoder) AppendDDL(dst *codec.Messages, _ string, ddl *event.DDL) error {
	schema, table := ddl.Schema, ""
	if t := ddl.Table; t != nil {
		schema, table = t.Schema, t.Table
	} else if t := ddl.PreTable; t != nil {
		schema, table = t.Schema, t.Table
	}
	b := e.begin(dst)
	start := len(b.key)
	b.key = appendNames(appendTs(b.key, ddl.CommitTs), schema, table)
	b.key = setLength(append(b.key, `,"t":2}`...), start)
	e.value = append(e.value, "\x00\x00\x00\x00\x00\x00\x00\x00"+`{"q":`...)
	e.value = append(jsontext.AppendString(e.value, ddl.Query), `,"t":`...)
	e.value = setLength(append(strconv.AppendUint(e.value, uint64(ddl.Type), 10), '}'), 0)
	b.commitTs = ddl.CommitTs
	e.end(dst, &b)
	return nil
}

// AppendWatermark appends a watermark. It belongs into all partitions.
func (e *Encoder) AppendWatermark(dst *codec.Messages, _ string, ts event.Ts) error {
	b := e.begin(dst)
	start := len(b.key)
	b.key = setLength(append(appendTs(b.key, ts), `,"t":3}`...), start)
	e.value = append(e.value, "\x00\x00\x00\x00\x00\x00\x00\x00"...)
	b.commitTs = ts
	e.end(dst, &b)
	return nil
}
