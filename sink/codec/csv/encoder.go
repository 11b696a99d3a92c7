package csv

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// Encoder is a codec.Encoder. All rows of a call become one message of lines.
type Encoder struct {
	cfg       Config
	table     *event.TableInfo // whose names are below
	names     []byte           // ,"table","schema"
	delimiter []byte
}

// NewEncoder returns an Encoder. An error is about the configuration.
func NewEncoder(cfg Config) (*Encoder, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Encoder{cfg: cfg, delimiter: []byte(cfg.Delimiter)}, nil
}

// The names of the header that are not of a table's columns.
const (
	headerOperation = "ticdc-meta$operation"
	headerTable     = "ticdc-meta$table"
	headerSchema    = "ticdc-meta$schema"
	headerCommitTs  = "ticdc-meta$commit-ts"
	headerIsUpdate  = "ticdc-meta$is-update"
	headerHandle    = "ticdc-meta$handle"
)

// AppendHeader appends the line that names the columns of a table's lines, for the
// first of a file (output-field-header).
func (e *Encoder) AppendHeader(dst []byte, table *event.TableInfo) []byte {
	names := e.cfg.metaNames()
	for i := range table.Columns {
		names = append(names, table.Columns[i].Name)
	}
	for i, name := range names {
		if i > 0 {
			dst = append(dst, e.cfg.Delimiter...)
		}
		special := strings.Contains(name, e.cfg.Delimiter) || strings.ContainsAny(name, "\\\r\n"+e.cfg.Quote)
		if !special {
			dst = append(dst, name...)
		} else {
			dst = e.appendText(dst, []byte(name))
		}
	}
	return append(dst, e.cfg.Terminator...)
}

// metaNames names what stands in front of a table's columns.
func (c Config) metaNames() []string {
	names := []string{headerOperation, headerTable, headerSchema}
	if c.IncludeCommitTs {
		names = append(names, headerCommitTs)
	}
	if c.OutputOldValue {
		names = append(names, headerIsUpdate)
	}
	if c.OutputHandleKey {
		names = append(names, headerHandle)
	}
	return names
}

// AppendRows appends one message with the lines of all rows.
func (e *Encoder) AppendRows(dst *codec.Messages, _ string, rows []*event.RowChanged) error {
	if len(rows) == 0 {
		return nil
	}
	b := dst.Buffer()
	start := len(b)
	for _, row := range rows {
		var err error
		if b, err = e.appendRow(b, row); err != nil {
			return fmt.Errorf("encode row of %s at %s as CSV: %w", row.Table.Name(), row.CommitTs, err)
		}
	}
	dst.Append(b, -1, len(b)-start, len(rows), rows[len(rows)-1].CommitTs)
	return nil
}

// AppendDDL appends nothing: the schema file tells of a DDL.
func (e *Encoder) AppendDDL(*codec.Messages, string, *event.DDL) error { return nil }

// AppendWatermark appends nothing: the metadata file has the checkpoint ts.
func (e *Encoder) AppendWatermark(*codec.Messages, string, event.Ts) error { return nil }

// appendRow appends the line of a row, or the two of an update with its old values.
func (e *Encoder) appendRow(b []byte, row *event.RowChanged) ([]byte, error) {
	switch row.Kind() {
	case event.Insert:
		return e.appendLine(b, 'I', row, row.Columns)
	case event.Delete:
		return e.appendLine(b, 'D', row, row.PreColumns)
	}
	if !e.cfg.OutputOldValue {
		return e.appendLine(b, 'U', row, row.Columns)
	}
	b, err := e.appendLine(b, 'D', row, row.PreColumns)
	if err != nil {
		return nil, err
	}
	return e.appendLine(b, 'I', row, row.Columns)
}

// appendLine appends one line with one image.
func (e *Encoder) appendLine(b []byte, op byte, row *event.RowChanged, image []event.Value) ([]byte, error) {
	if len(image) != len(row.Table.Columns) {
		return nil, fmt.Errorf("the row has %d values of %d columns", len(image), len(row.Table.Columns))
	}
	if row.Table != e.table {
		e.table = row.Table
		e.names = e.appendText(append(e.names[:0], e.cfg.Delimiter...), []byte(row.Table.Table))
		e.names = e.appendText(append(e.names, e.cfg.Delimiter...), []byte(row.Table.Schema))
	}
	b = append(b, e.cfg.Quote...)
	b = append(b, op)
	b = append(b, e.cfg.Quote...)
	b = append(b, e.names...)
	if e.cfg.IncludeCommitTs {
		b = strconv.AppendUint(append(b, e.delimiter...), uint64(row.CommitTs), 10)
	}
	if e.cfg.OutputOldValue {
		b = strconv.AppendBool(append(b, e.delimiter...), row.Kind() == event.Update)
	}
	if e.cfg.OutputHandleKey {
		var err error
		if b, err = e.appendHandle(append(b, e.delimiter...), row, image); err != nil {
			return nil, err
		}
	}
	for _, v := range image {
		b = e.appendValue(append(b, e.delimiter...), v)
	}
	return append(b, e.cfg.Terminator...), nil
}

// appendValue appends a value; all but numbers and NULL are texts.
func (e *Encoder) appendValue(b []byte, v event.Value) []byte {
	switch v.Kind() {
	case event.KindNull:
		return append(b, e.cfg.Null...)
	case event.KindInt64, event.KindUint64, event.KindBit:
		return v.AppendText(b)
	case event.KindFloat32:
		return appendFloat(b, v.Float64(), 32)
	case event.KindFloat64:
		return appendFloat(b, v.Float64(), 64)
	case event.KindText:
		return e.appendText(b, v.Bytes())
	case event.KindBytes:
		return e.appendBinary(b, v.Bytes())
	case event.KindDate, event.KindDatetime, event.KindTimestamp, event.KindDuration, event.KindDecimal:
		b = append(b, e.cfg.Quote...)
		start := len(b)
		return e.endPlain(v.AppendTextIn(b, e.cfg.TimeZone), start)
	}
	start := len(b)
	b = v.AppendText(b)
	return e.escapeFrom(b, start)
}

// escapeFrom turns what follows start in b into a text.
func (e *Encoder) escapeFrom(b []byte, start int) []byte {
	end := len(b)
	b = e.appendText(b, b[start:end])
	return append(b[:start], b[end:]...)
}

// appendFloat writes a number as Go's %v does, which is TiCDC's form: an exponent
// from 1e21 up and below 1e-4.
func appendFloat(b []byte, f float64, bits int) []byte {
	const first, last = 1e-4, 1e21
	if abs := max(f, -f); abs == 0 || abs >= first && abs < last {
		return strconv.AppendFloat(b, f, 'f', -1, bits)
	}
	return strconv.AppendFloat(b, f, 'e', -1, bits)
}

// appendBinary writes bytes as text in base64 or hex.
func (e *Encoder) appendBinary(b, data []byte) []byte {
	b = append(b, e.cfg.Quote...)
	start := len(b)
	if e.cfg.BinaryHex {
		b = hex.AppendEncode(b, data)
	} else {
		b = base64.StdEncoding.AppendEncode(b, data)
	}
	return e.endPlain(b, start)
}

// endPlain ends a text whose quote stands in front of start. Its characters are
// digits, letters and those that validate forbids as a quote, so only a delimiter
// may have to be escaped.
func (e *Encoder) endPlain(b []byte, start int) []byte {
	if e.cfg.Quote == "" && bytes.Contains(b[start:], e.delimiter) {
		return e.escapeFrom(b, start)
	}
	return append(b, e.cfg.Quote...)
}

// appendText writes text in quotes or with escapes.
func (e *Encoder) appendText(b, text []byte) []byte {
	if e.cfg.Quote == "" {
		return e.appendEscaped(b, text)
	}
	quote := e.cfg.Quote[0]
	b = append(b, quote)
	for {
		i := bytes.IndexByte(text, quote)
		if i < 0 {
			return append(append(b, text...), quote)
		}
		b = append(append(b, text[:i+1]...), quote)
		text = text[i+1:]
	}
}

// appendEscaped writes text so that neither the delimiter nor a line break stands in it.
func (e *Encoder) appendEscaped(b, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\\':
			b = append(b, '\\', '\\')
		case c == e.delimiter[0] && bytes.HasPrefix(text[i:], e.delimiter):
			for _, d := range e.delimiter {
				b = append(b, '\\', d)
			}
			i += len(e.delimiter) - 1
		default:
			b = append(b, c)
		}
	}
	return b
}

// appendHandle writes what identifies the row in TiDB, as text.
func (e *Encoder) appendHandle(b []byte, row *event.RowChanged, image []event.Value) ([]byte, error) {
	start := len(b)
	if !row.Table.IsCommonHandle {
		// The raw key ends with the handle, a number whose sign bit is inverted.
		if len(row.Key) < 8 {
			return nil, fmt.Errorf("the row has a key of %d bytes and so no handle", len(row.Key))
		}
		handle := binary.BigEndian.Uint64(row.Key[len(row.Key)-8:]) ^ 1<<63
		b = strconv.AppendInt(b, int64(handle), 10)
		return e.escapeFrom(b, start), nil
	}
	b = append(b, '{')
	for i, offset := range row.Table.HandleKey {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = image[offset].AppendTextIn(b, e.cfg.TimeZone)
	}
	return e.escapeFrom(append(b, '}'), start), nil
}
