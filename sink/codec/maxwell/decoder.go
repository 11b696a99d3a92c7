package maxwell

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// DecoderConfig configures a Decoder. The zero value is valid.
type DecoderConfig struct {
	// Table tells the columns of a table, which messages of rows do not: nil if it is
	// not known. Without it numbers become BIGINT or DOUBLE and all else LONGTEXT.
	Table func(schema, table string) *event.TableInfo
	// TimeZone is where the messages' TIMESTAMP values are local time. Defaults to UTC.
	TimeZone *time.Location
}

// Decoder is a codec.Decoder. The commit ts of a row is that of its second, which is
// all that a message tells.
type Decoder struct {
	cfg     DecoderConfig
	guesses tables.Cache
}

// NewDecoder returns a Decoder.
func NewDecoder(cfg DecoderConfig) *Decoder { return &Decoder{cfg: cfg} }

// message is an object of a message.
type message struct {
	kind, schema, table string
	ts                  uint64
	data, old, def, sql jsontext.Value
}

// Decode returns the rows of a message, or its DDL.
func (d *Decoder) Decode(_, value []byte) ([]codec.Event, error) {
	var out []codec.Event
	objects := json.NewDecoder(bytes.NewReader(value))
	for {
		var raw json.RawMessage
		err := objects.Decode(&raw)
		if errors.Is(err, io.EOF) && len(out) > 0 {
			return out, nil
		}
		var e codec.Event
		if err == nil {
			e, err = d.object(jsontext.Value(raw))
		}
		if err != nil {
			return nil, fmt.Errorf("decode object %d of a Maxwell message: %w", len(out), err)
		}
		out = append(out, e)
	}
}

// object reads one object. A DDL is one that has a statement.
func (d *Decoder) object(v jsontext.Value) (codec.Event, error) {
	m := &message{}
	err := v.Members(func(name string, v jsontext.Value) error {
		var err error
		switch name {
		case "type":
			m.kind = v.Text()
		case "database":
			m.schema = v.Text()
		case "table":
			m.table = v.Text()
		case "ts":
			m.ts, err = strconv.ParseUint(v.Text(), 10, 64)
		case "data":
			m.data = v
		case "old":
			m.old = v
		case "def":
			m.def = v
		case "sql":
			m.sql = v
		}
		if err != nil {
			return fmt.Errorf("%s: not a number", name)
		}
		return nil
	})
	if err != nil {
		return codec.Event{}, err
	}
	if !m.sql.IsNull() {
		return m.ddl()
	}
	row, err := d.row(m)
	if err != nil {
		return codec.Event{}, fmt.Errorf("%s of %s.%s: %w", m.kind, m.schema, m.table, err)
	}
	return codec.Event{Row: row}, nil
}

// row makes a row. The old image of an update is the new one with the values of old.
func (d *Decoder) row(m *message) (*event.RowChanged, error) {
	const tsPerSecond = 1000 << 18
	row := &event.RowChanged{CommitTs: event.Ts(m.ts * tsPerSecond)}
	image := m.data
	switch m.kind {
	case "delete":
		image = m.old
	case "insert", "update":
	default:
		return nil, errors.New("the type is not known")
	}
	if image.IsNull() {
		return nil, errors.New("the row is missing")
	}
	t, err := d.table(m, image)
	if err != nil {
		return nil, err
	}
	row.Table = t
	values := make([]event.Value, len(t.Columns))
	if err := d.readInto(values, t, image); err != nil {
		return nil, err
	}
	if m.kind == "delete" {
		row.PreColumns = values
		return row, nil
	}
	row.Columns = values
	if m.kind == "update" {
		row.PreColumns = slices.Clone(values)
		err = d.readInto(row.PreColumns, t, m.old)
	}
	return row, err
}

// readInto reads the members of an object into their places.
func (d *Decoder) readInto(values []event.Value, t *event.TableInfo, v jsontext.Value) error {
	return v.Members(func(name string, v jsontext.Value) error {
		i := t.ColumnOffset(name)
		if i < 0 {
			return fmt.Errorf("column %s is not in the table", name)
		}
		value, err := d.value(&t.Columns[i], v)
		values[i] = value
		return err
	})
}

// value reads a value as the column's type, known or guessed.
func (d *Decoder) value(c *event.ColumnInfo, v jsontext.Value) (event.Value, error) {
	if v.IsNull() {
		return event.Value{}, nil
	}
	text := v.Text()
	switch {
	case column.IsString(c) && c.Binary():
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return event.Value{}, fmt.Errorf("column %s: not base64", c.Name)
		}
		return event.BytesValue(data), nil
	case c.Type == event.TypeEnum || c.Type == event.TypeSet:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return event.Value{}, fmt.Errorf("column %s: not the number of an %s", c.Name, column.TypeName(c))
		}
		if c.Type == event.TypeEnum {
			return event.EnumValue(n, c.Elems), nil
		}
		return event.SetValue(n, c.Elems), nil
	}
	return column.Parse(c, text, d.cfg.TimeZone)
}

// table returns the table of a row, or one that looks like the row.
func (d *Decoder) table(m *message, image jsontext.Value) (*event.TableInfo, error) {
	if d.cfg.Table != nil {
		if t := d.cfg.Table(m.schema, m.table); t != nil {
			return t, nil
		}
	}
	t := &event.TableInfo{Schema: m.schema, Table: m.table}
	d.guesses.Begin()
	d.guesses.Add(m.schema)
	d.guesses.Add(m.table)
	old := make(map[string]jsontext.Value)
	err := m.old.Members(func(name string, v jsontext.Value) error {
		old[name] = v
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = image.Members(func(name string, v jsontext.Value) error {
		if len(t.Columns) == tables.MaxColumns {
			return fmt.Errorf("more than %d columns", tables.MaxColumns)
		}
		c := event.ColumnInfo{Name: name, Length: -1, Decimal: -1}
		if err := guessType(&c, v, old[name]); err != nil {
			return err
		}
		t.Columns = append(t.Columns, c)
		d.guesses.Add(name)
		d.guesses.AddNumber(uint64(c.Type))
		d.guesses.AddNumber(uint64(c.Flag))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if known := d.guesses.Table(); known != nil {
		return known, nil
	}
	d.guesses.Keep(t)
	return t, nil
}

// guessType gives a column the type that its values look like: text wins over
// numbers, and a double over integers.
func guessType(c *event.ColumnInfo, values ...jsontext.Value) error {
	var number, double, unsigned, negative bool
	for _, v := range values {
		if v.IsNull() {
			continue
		}
		if v.IsString() || v[0] == 't' || v[0] == 'f' {
			return column.SetType(c, "longtext")
		}
		n := event.ColumnInfo{Name: c.Name}
		if _, err := column.Number(&n, v.Text()); err != nil {
			return err
		}
		number = true
		double = double || n.Type == event.TypeDouble
		unsigned = unsigned || n.Unsigned()
		negative = negative || v[0] == '-'
	}
	switch {
	case !number:
		return column.SetType(c, "longtext")
	case double || unsigned && negative:
		c.Type = event.TypeDouble
	case unsigned:
		c.Type, c.Flag = event.TypeLonglong, event.FlagUnsigned
	default:
		c.Type = event.TypeLonglong
	}
	return nil
}

// ddl makes the event of a DDL. The columns of its table are of Maxwell's types.
func (m *message) ddl() (codec.Event, error) {
	ddl := &event.DDL{CommitTs: event.Ts(m.ts), Query: m.sql.Text(), Schema: m.schema, Type: ddlTypeOf(m.kind)}
	after, err := readTable(m.def)
	if err != nil {
		return codec.Event{}, fmt.Errorf("def: %w", err)
	}
	before, err := readTable(m.old)
	if err != nil {
		return codec.Event{}, fmt.Errorf("old: %w", err)
	}
	if ddl.Type != event.DDLDropTable {
		ddl.Table = after
	}
	ddl.PreTable = before
	if ddl.Table != nil || ddl.PreTable != nil {
		ddl.Changes = []event.TableChange{{Before: ddl.PreTable, After: ddl.Table}}
	}
	return codec.Event{DDL: ddl}, nil
}

// readTable reads the description of a table, nil for none.
func readTable(v jsontext.Value) (*event.TableInfo, error) {
	t := &event.TableInfo{}
	err := v.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "database":
			t.Schema = v.Text()
		case "table":
			t.Table = v.Text()
		case "columns":
			return v.Elements(func(v jsontext.Value) error {
				c := event.ColumnInfo{Length: -1, Decimal: -1}
				var typeName string
				err := v.Members(func(name string, v jsontext.Value) error {
					switch name {
					case "name":
						c.Name = v.Text()
					case "type":
						typeName = v.Text()
					}
					return nil
				})
				if err != nil {
					return err
				}
				if typeName == "string" {
					typeName = "longtext"
				}
				if typeName == "float" {
					typeName = "double"
				}
				err = column.SetType(&c, typeName)
				t.Columns = append(t.Columns, c)
				return err
			})
		}
		return nil
	})
	if err != nil || t.Table == "" {
		return nil, err
	}
	return t, nil
}

// ddlTypeOf returns a kind of DDL that a type stands for, 0 if there is none.
func ddlTypeOf(kind string) event.DDLType {
	switch kind {
	case "database-create":
		return event.DDLCreateSchema
	case "database-drop":
		return event.DDLDropSchema
	case "database-alter":
		return event.DDLModifySchemaCharset
	case "table-create":
		return event.DDLCreateTable
	case "table-drop":
		return event.DDLDropTable
	case "table-alter":
		return event.DDLMultiSchemaChange
	}
	return 0
}
