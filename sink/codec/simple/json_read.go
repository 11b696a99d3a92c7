package simple

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// readJSON reads a message in JSON.
func readJSON(text []byte) (*message, error) {
	v, err := jsontext.Parse(text)
	if err != nil {
		return nil, err
	}
	m := &message{}
	err = v.Members(func(name string, v jsontext.Value) error {
		var err error
		switch name {
		case "type":
			m.kind = v.Text()
		case "database":
			m.key.schema = v.Text()
		case "table":
			m.key.table = v.Text()
		case "tableID":
			m.tableID, err = strconv.ParseInt(v.Text(), 10, 64)
		case "schemaVersion":
			m.key.version, err = strconv.ParseUint(v.Text(), 10, 64)
		case "sql":
			m.sql = v.Text()
		case "commitTs":
			m.commitTs, err = event.ParseTs(v.Text())
		case "handleKeyOnly":
			m.handleKeyOnly = v.Bool()
		case "claimCheckLocation":
			m.location = v.Text()
		case "data":
			m.data, err = readMembers(v)
		case "old":
			m.old, err = readMembers(v)
		case "tableSchema":
			m.schema, err = readSchema(v)
		case "preTableSchema":
			m.before, err = readSchema(v)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return m, m.check()
}

// check makes sure that a message has what its type needs.
func (m *message) check() error {
	switch {
	case m.kind == "BOOTSTRAP" && m.schema == nil:
		return errors.New("a BOOTSTRAP without a schema")
	case slices.Contains(ddlTypes, m.kind), m.kind == "BOOTSTRAP", m.kind == "WATERMARK",
		m.kind == "INSERT", m.kind == "UPDATE", m.kind == "DELETE":
		return nil
	}
	return fmt.Errorf("the type %q is not known", m.kind)
}

// jsonCell is a value in JSON.
type jsonCell jsontext.Value

// readMembers reads data or old. Values stay text until the schema is known.
func readMembers(v jsontext.Value) ([]member, error) {
	var out []member
	err := v.Members(func(name string, v jsontext.Value) error {
		m := member{name: name}
		if !v.IsNull() {
			m.cell = jsonCell(slices.Clone(v)) // the message is not the Decoder's to keep
		}
		out = append(out, m)
		return nil
	})
	return out, err
}

// value gives the text the column's type.
func (j jsonCell) value(d *Decoder, c *event.ColumnInfo) (event.Value, error) {
	v := jsontext.Value(j)
	switch {
	case c.Type == event.TypeTimestamp:
		return d.instant(c, v)
	case column.IsString(c) && c.Binary():
		data, err := base64.StdEncoding.DecodeString(v.Text())
		if err != nil {
			return event.Value{}, fmt.Errorf("column %s: not base64", c.Name)
		}
		return event.BytesValue(data), nil
	case c.Type == event.TypeEnum || c.Type == event.TypeSet:
		n, err := strconv.ParseUint(v.Text(), 10, 64)
		if err != nil {
			return event.Value{}, fmt.Errorf("column %s: not the number of an %s", c.Name, column.TypeName(c))
		}
		if c.Type == event.TypeEnum {
			return event.EnumValue(n, c.Elems), nil
		}
		return event.SetValue(n, c.Elems), nil
	}
	return column.Parse(c, v.Text(), nil)
}

// instant reads a TIMESTAMP, an object of location and value.
func (d *Decoder) instant(c *event.ColumnInfo, v jsontext.Value) (event.Value, error) {
	var location, text string
	err := v.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "location":
			location = v.Text()
		case "value":
			text = v.Text()
		}
		return nil
	})
	if err != nil {
		return event.Value{}, fmt.Errorf("column %s: %w", c.Name, err)
	}
	return d.parseInstant(c, location, text)
}

// parseInstant reads a TIMESTAMP that clocks at a location show.
func (d *Decoder) parseInstant(c *event.ColumnInfo, location, text string) (event.Value, error) {
	zone, err := d.zone(location)
	if err != nil {
		return event.Value{}, fmt.Errorf("column %s: %w", c.Name, err)
	}
	return column.Parse(c, text, zone)
}

// readSchema reads a tableSchema. Its keys are set once the whole message has proved to
// be sound.
func readSchema(v jsontext.Value) (*event.TableInfo, error) {
	t := &event.TableInfo{}
	err := v.Members(func(name string, v jsontext.Value) error {
		var err error
		switch name {
		case "schema":
			t.Schema = v.Text()
		case "table":
			t.Table = v.Text()
		case "tableID":
			t.ID, err = strconv.ParseInt(v.Text(), 10, 64)
		case "version":
			t.UpdateTs, err = event.ParseTs(v.Text())
		case "columns":
			err = v.Elements(func(v jsontext.Value) error {
				c, err := readColumn(v)
				t.Columns = append(t.Columns, c)
				return err
			})
		case "indexes":
			err = v.Elements(func(v jsontext.Value) error {
				index, err := readIndex(v)
				t.Indexes = append(t.Indexes, index)
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// readColumn reads a column of a tableSchema. The name of its type can be looked up only
// when all members are known, because they may come in any order.
func readColumn(v jsontext.Value) (event.ColumnInfo, error) {
	c := event.ColumnInfo{Flag: event.FlagNotNull}
	var typeName string
	err := v.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "name":
			c.Name = v.Text()
		case "nullable":
			if v.Bool() {
				c.Flag &^= event.FlagNotNull
			}
		case "default":
			if !v.IsNull() {
				text := v.Text()
				c.Default = &text
			}
		case "dataType":
			return v.Members(func(name string, v jsontext.Value) error { return readType(&c, &typeName, name, v) })
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	return c, completeColumn(&c, typeName)
}

// completeColumn sets what follows from the name of a column's type.
func completeColumn(c *event.ColumnInfo, typeName string) error {
	if err := column.SetType(c, typeName); err != nil {
		return err
	}
	if c.Type == event.TypeBit && c.Default != nil {
		n, err := strconv.ParseUint(*c.Default, 10, 64)
		if err != nil {
			return fmt.Errorf("column %s: its default is not a number", c.Name)
		}
		bits := string(event.BitValue(n, max(c.Length, 1)).Bytes())
		c.Default = &bits
	}
	return nil
}

// readType reads a member of dataType.
func readType(c *event.ColumnInfo, typeName *string, name string, v jsontext.Value) error {
	var err error
	switch name {
	case "mysqlType":
		*typeName = v.Text()
	case "charset":
		c.Charset = v.Text()
	case "collate":
		c.Collation = v.Text()
	case "length":
		c.Length, err = strconv.Atoi(v.Text())
	case "decimal":
		c.Decimal, err = strconv.Atoi(v.Text())
	case "elements":
		err = v.Elements(func(v jsontext.Value) error {
			c.Elems = append(c.Elems, v.Text())
			return nil
		})
	case "unsigned":
		if v.Bool() {
			c.Flag |= event.FlagUnsigned
		}
	case "zerofill":
		if v.Bool() {
			c.Flag |= event.FlagZerofill
		}
	}
	return err
}

// readIndex reads an index of a tableSchema.
func readIndex(v jsontext.Value) (event.IndexInfo, error) {
	var index event.IndexInfo
	err := v.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "name":
			index.Name = v.Text()
		case "unique":
			index.Unique = v.Bool()
		case "primary":
			index.Primary = v.Bool()
		case "columns":
			return v.Elements(func(v jsontext.Value) error {
				index.Columns = append(index.Columns, event.IndexColumn{Name: v.Text(), Length: -1})
				return nil
			})
		}
		return nil
	})
	return index, err
}
