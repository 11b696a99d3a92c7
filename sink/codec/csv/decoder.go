package csv

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
)

// Decoder is a codec.Decoder of lines of one table. Lines do not tell types, so it
// needs the table, which a storage sink describes in the schema file.
type Decoder struct {
	cfg   Config
	table *event.TableInfo
}

// NewDecoder returns a Decoder of lines that were written with cfg. An error is
// about the configuration.
func NewDecoder(cfg Config, table *event.TableInfo) (*Decoder, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Decoder{cfg: cfg, table: table}, nil
}

// Decode returns the rows of a run of whole lines, such as a file. A header is
// skipped. Without the commit ts in the lines that of the rows is 0. The two lines
// of an update become one row; of an update without its old values the row looks
// like an insert.
func (d *Decoder) Decode(_, value []byte) ([]codec.Event, error) {
	var out []codec.Event
	var before *line // the D of an update, whose I follows
	for n := 1; len(value) > 0; n++ {
		fields, rest, err := d.split(value)
		if err != nil {
			return nil, fmt.Errorf("decode CSV of %s, line %d: %w", d.table.Name(), n, err)
		}
		value = rest
		if n == 1 && len(fields) > 0 && string(fields[0].text) == headerOperation {
			continue
		}
		l, err := d.line(fields)
		if err == nil && (before != nil) != (l.update && l.op == "I") {
			err = errors.New("an update has a line D and then a line I, and this line breaks that")
		}
		if err != nil {
			return nil, fmt.Errorf("decode CSV of %s, line %d: %w", d.table.Name(), n, err)
		}
		if l.update && l.op == "D" {
			before = l
			continue
		}
		row := &event.RowChanged{CommitTs: l.commitTs, Table: d.table, PhysicalTableID: d.table.ID}
		switch {
		case before != nil:
			row.PreColumns, row.Columns = before.image, l.image
			before = nil
		case l.op == "D":
			row.PreColumns = l.image
		default:
			row.Columns = l.image
		}
		out = append(out, codec.Event{Row: row})
	}
	if before != nil {
		return nil, fmt.Errorf("decode CSV of %s: the last update has no new values", d.table.Name())
	}
	return out, nil
}

// line is one line, decoded.
type line struct {
	op       string
	update   bool
	commitTs event.Ts
	image    []event.Value
}

// line reads the values of a line: what the configuration puts in front, then the
// columns.
func (d *Decoder) line(fields []value) (*line, error) {
	meta := d.cfg.metaNames()
	if want := len(meta) + len(d.table.Columns); len(fields) != want {
		return nil, fmt.Errorf("%d values, want %d", len(fields), want)
	}
	l := &line{op: string(fields[0].text)}
	if l.op != "I" && l.op != "U" && l.op != "D" {
		return nil, errors.New("the operation is not I, U or D")
	}
	for i, name := range meta {
		var err error
		switch text := string(fields[i].text); name {
		case headerCommitTs:
			l.commitTs, err = event.ParseTs(text)
		case headerIsUpdate:
			l.update, err = strconv.ParseBool(text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not what it should be", name)
		}
	}
	l.image = make([]event.Value, len(d.table.Columns))
	for i, f := range fields[len(meta):] {
		if f.null {
			continue
		}
		v, err := d.value(&d.table.Columns[i], string(f.text))
		if err != nil {
			return nil, err
		}
		l.image[i] = v
	}
	return l, nil
}

// value reads a value that is not NULL.
func (d *Decoder) value(c *event.ColumnInfo, text string) (event.Value, error) {
	if column.IsString(c) && c.Binary() {
		decode := base64.StdEncoding.DecodeString
		if d.cfg.BinaryHex {
			decode = hex.DecodeString
		}
		data, err := decode(text)
		if err != nil {
			return event.Value{}, fmt.Errorf("column %s: bytes in the wrong encoding", c.Name)
		}
		return event.BytesValue(data), nil
	}
	return column.Parse(c, text, d.cfg.TimeZone)
}

// value is a value of a line.
type value struct {
	text []byte
	null bool
}

// split cuts the first line off lines into its values.
func (d *Decoder) split(lines []byte) (values []value, rest []byte, err error) {
	for {
		var v value
		if v, lines, err = d.next(lines); err != nil {
			return nil, nil, err
		}
		values = append(values, v)
		if after, ok := bytes.CutPrefix(lines, []byte(d.cfg.Delimiter)); ok {
			lines = after
			continue
		}
		after, ok := bytes.CutPrefix(lines, []byte(d.cfg.Terminator))
		if !ok && len(lines) > 0 {
			return nil, nil, errors.New("a value is followed by neither the delimiter nor the end of the line")
		}
		return values, after, nil
	}
}

// next cuts the first value off lines.
func (d *Decoder) next(lines []byte) (value, []byte, error) {
	if d.cfg.Quote != "" && len(lines) > 0 && lines[0] == d.cfg.Quote[0] {
		return d.quoted(lines[1:])
	}
	end, escaped := 0, false
	for end < len(lines) && !hasPrefix(lines[end:], d.cfg.Delimiter) && !hasPrefix(lines[end:], d.cfg.Terminator) {
		if d.cfg.Quote == "" && lines[end] == '\\' && end+1 < len(lines) {
			escaped = true
			end++
		}
		end++
	}
	raw := lines[:end]
	if string(raw) == d.cfg.Null {
		return value{null: true}, lines[end:], nil
	}
	if escaped {
		raw = unescape(raw)
	}
	return value{text: raw}, lines[end:], nil
}

// quoted reads a value whose first quote has been cut off.
func (d *Decoder) quoted(lines []byte) (value, []byte, error) {
	quote := d.cfg.Quote[0]
	var text []byte
	for {
		i := bytes.IndexByte(lines, quote)
		if i < 0 {
			return value{}, nil, errors.New("a quote is not closed")
		}
		text = append(text, lines[:i]...)
		lines = lines[i+1:]
		if len(lines) == 0 || lines[0] != quote {
			return value{text: text}, lines, nil
		}
		text = append(text, quote)
		lines = lines[1:]
	}
}

// unescape undoes appendEscaped.
func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '\\' && i+1 < len(raw) {
			i++
			switch c = raw[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			}
		}
		out = append(out, c)
	}
	return out
}

// hasPrefix is bytes.HasPrefix with a string.
func hasPrefix(b []byte, prefix string) bool {
	return strings.HasPrefix(string(b[:min(len(b), len(prefix))]), prefix)
}
