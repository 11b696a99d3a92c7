package debezium

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// table returns the table of a row: as the schema describes it, or as the
// configuration knows it, or as the row looks.
func (d *Decoder) table(p *payload, key, schema jsontext.Value) (*event.TableInfo, error) {
	keys, err := names(key)
	if err != nil {
		return nil, err
	}
	if schema.IsNull() {
		if d.cfg.Table != nil {
			if t := d.cfg.Table(p.schema, p.table); t != nil {
				return t, nil
			}
		}
		return d.guess(p, keys)
	}
	name := p.schema + "." + p.table
	text := string(schema) + "\x00" + strings.Join(keys, "\x00")
	if known := d.tables[name]; known != nil && known.text == text {
		return known.table, nil
	}
	t := &event.TableInfo{Schema: p.schema, Table: p.table}
	if t.Columns, err = readColumns(schema); err != nil {
		return nil, err
	}
	setHandleKey(t, keys)
	if len(d.tables) >= maxTables {
		clear(d.tables)
	}
	d.tables[name] = &knownTable{text: text, table: t}
	return t, nil
}

// names returns the names of an object's members.
func names(v jsontext.Value) ([]string, error) {
	var out []string
	err := v.Members(func(name string, _ jsontext.Value) error {
		out = append(out, name)
		return checkColumns(len(out))
	})
	return out, err
}

// checkColumns bounds what a malformed message can cost.
func checkColumns(n int) error {
	if n > tables.MaxColumns {
		return fmt.Errorf("more than %d columns", tables.MaxColumns)
	}
	return nil
}

// setHandleKey: the handle key is the columns that a key has.
func setHandleKey(t *event.TableInfo, keys []string) {
	for _, name := range keys {
		if i := t.ColumnOffset(name); i >= 0 {
			t.HandleKey = append(t.HandleKey, i)
		}
	}
}

// guess makes a table from a row without a schema.
func (d *Decoder) guess(p *payload, keys []string) (*event.TableInfo, error) {
	t := &event.TableInfo{Schema: p.schema, Table: p.table}
	image := p.after
	if image.IsNull() {
		image = p.before
	}
	err := image.Members(func(name string, v jsontext.Value) error {
		c := event.ColumnInfo{Name: name, Length: -1, Decimal: -1}
		switch {
		case v.IsNull() || v.IsString():
			return addColumn(t, &c, "longtext")
		case v[0] == 't' || v[0] == 'f':
			c.Length = 1
			return addColumn(t, &c, "bit")
		}
		if _, err := column.Number(&c, v.Text()); err != nil {
			return err
		}
		t.Columns = append(t.Columns, c)
		return checkColumns(len(t.Columns))
	})
	if err != nil {
		return nil, err
	}
	setHandleKey(t, keys)
	return d.share(t), nil
}

// addColumn adds a column of a type to a table.
func addColumn(t *event.TableInfo, c *event.ColumnInfo, typeName string) error {
	if err := column.SetType(c, typeName); err != nil {
		return err
	}
	t.Columns = append(t.Columns, *c)
	return checkColumns(len(t.Columns))
}

// share returns the table that earlier rows with the same columns have, if any.
func (d *Decoder) share(t *event.TableInfo) *event.TableInfo {
	d.guesses.Begin()
	d.guesses.Add(t.Schema)
	d.guesses.Add(t.Table)
	for i := range t.Columns {
		d.guesses.Add(t.Columns[i].Name)
		d.guesses.AddNumber(uint64(t.Columns[i].Type))
		d.guesses.AddNumber(uint64(t.Columns[i].Flag))
	}
	for _, offset := range t.HandleKey {
		d.guesses.AddNumber(uint64(offset))
	}
	if known := d.guesses.Table(); known != nil {
		return known
	}
	d.guesses.Keep(t)
	return t
}

// readColumns finds the fields of the images in the schema of a value.
func readColumns(schema jsontext.Value) ([]event.ColumnInfo, error) {
	var out []event.ColumnInfo
	found := false
	err := eachField(schema, func(name string, field jsontext.Value) error {
		if found || name != "after" && name != "before" {
			return nil
		}
		found = true
		return eachField(field, func(name string, field jsontext.Value) error {
			c, err := readField(name, field)
			if err != nil {
				return err
			}
			out = append(out, c)
			return checkColumns(len(out))
		})
	})
	if err == nil && !found {
		err = errors.New("the schema has no field after")
	}
	return out, err
}

// eachField calls f for the fields of a struct's schema.
func eachField(schema jsontext.Value, f func(name string, field jsontext.Value) error) error {
	return schema.Members(func(name string, v jsontext.Value) error {
		if name != "fields" {
			return nil
		}
		return v.Elements(func(field jsontext.Value) error {
			var fieldName string
			err := field.Members(func(name string, v jsontext.Value) error {
				if name == "field" {
					fieldName = v.Text()
				}
				return nil
			})
			if err != nil {
				return err
			}
			return f(fieldName, field)
		})
	})
}

// readField reads the schema of a column.
func readField(name string, field jsontext.Value) (event.ColumnInfo, error) {
	c := event.ColumnInfo{Name: name, Length: -1, Decimal: -1, Flag: event.FlagNotNull}
	var connect, semantic, tidbType string
	err := field.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "type":
			connect = v.Text()
		case "name":
			semantic = v.Text()
		case "tidb_type":
			tidbType = v.Text()
		case "optional":
			if v.Bool() {
				c.Flag &^= event.FlagNotNull
			}
		case "parameters":
			return v.Members(func(name string, v jsontext.Value) error {
				switch name {
				case "length":
					c.Length, _ = strconv.Atoi(v.Text())
				case "allowed":
					c.Elems = column.SplitElems(v.Text())
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	typeName := tidbType
	if typeName == "" {
		if typeName = typeOf(connect, semantic); typeName == "" {
			return c, fmt.Errorf("column %s: the type %q is not known", name, connect+" "+semantic)
		}
	}
	if cut, ok := strings.CutSuffix(typeName, " unsigned"); ok {
		typeName = cut
		c.Flag |= event.FlagUnsigned
	}
	if typeName == "bit" && c.Length < 0 {
		c.Length = 1 // a boolean
	}
	switch semantic {
	case semanticTimestamp:
		c.Decimal = 3
	case semanticMicroTimestamp, semanticZonedTimestamp, semanticMicroTime:
		c.Decimal = 6
	}
	return c, column.SetType(&c, typeName)
}

// typeOf returns the name of the column type of a Kafka Connect type.
func typeOf(connect, semantic string) string {
	switch semantic {
	case semanticBits:
		return "bit"
	case semanticEnum:
		return "enum"
	case semanticEnumSet:
		return "set"
	case semanticJSON:
		return "json"
	case semanticVector:
		return "vector"
	case semanticDate:
		return "date"
	case semanticTimestamp, semanticMicroTimestamp:
		return "datetime"
	case semanticZonedTimestamp:
		return "timestamp"
	case semanticMicroTime:
		return "time"
	case semanticYear:
		return "year"
	}
	switch connect {
	case "boolean":
		return "bit"
	case "int8", "int16":
		return "smallint"
	case "int32":
		return "int"
	case "int64":
		return "bigint"
	case "float", "float32":
		return "float"
	case "double", "float64":
		return "double"
	case "string":
		return "longtext"
	case "bytes":
		return "longblob"
	}
	return ""
}

// readChange reads an element of tableChanges.
func readChange(v jsontext.Value) (event.TableChange, error) {
	var kind, id string
	var after *event.TableInfo
	err := v.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "type":
			kind = v.Text()
		case "id":
			id = v.Text()
		case "table":
			if v.IsNull() {
				return nil
			}
			after = &event.TableInfo{}
			return readTable(after, v)
		}
		return nil
	})
	if err != nil {
		return event.TableChange{}, err
	}
	tables, err := parseID(id)
	if err != nil {
		return event.TableChange{}, err
	}
	last := tables[len(tables)-1]
	if after != nil {
		after.Schema, after.Table = last.Schema, last.Table
	}
	change := event.TableChange{After: after}
	if kind != "CREATE" {
		change.Before = tables[0]
	}
	return change, nil
}

// parseID reads "schema"."table", or two of them after a rename.
func parseID(id string) ([]*event.TableInfo, error) {
	var out []*event.TableInfo
	for part := range strings.SplitSeq(id, `","`) {
		schema, table, ok := strings.Cut(strings.Trim(part, `"`), `"."`)
		if !ok {
			return nil, fmt.Errorf("the id of a changed table is not \"schema\".\"table\"")
		}
		out = append(out, &event.TableInfo{Schema: schema, Table: table})
	}
	return out, nil
}

// readTable reads the table of an element of tableChanges.
func readTable(t *event.TableInfo, v jsontext.Value) error {
	var keys []string
	err := v.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "defaultCharsetName":
			if !v.IsNull() {
				t.Charset = v.Text()
			}
		case "primaryKeyColumnNames":
			return v.Elements(func(v jsontext.Value) error {
				keys = append(keys, v.Text())
				return checkColumns(len(keys))
			})
		case "columns":
			return v.Elements(func(v jsontext.Value) error {
				c, err := readTableColumn(v)
				if err != nil {
					return err
				}
				t.Columns = append(t.Columns, c)
				return checkColumns(len(t.Columns))
			})
		}
		return nil
	})
	setHandleKey(t, keys)
	return err
}

// readTableColumn reads a column of it. Its length is what stands in parentheses, which
// for times is their digits.
func readTableColumn(v jsontext.Value) (event.ColumnInfo, error) {
	c := event.ColumnInfo{Length: -1, Decimal: -1, Flag: event.FlagNotNull}
	var typeName string
	err := v.Members(func(name string, v jsontext.Value) error {
		var err error
		switch {
		case v.IsNull():
		case name == "name":
			c.Name = v.Text()
		case name == "typeName":
			typeName = strings.ToLower(v.Text())
		case name == "length":
			c.Length, err = strconv.Atoi(v.Text())
		case name == "scale":
			c.Decimal, err = strconv.Atoi(v.Text())
		case name == "optional" && v.Bool():
			c.Flag &^= event.FlagNotNull
		case name == "autoIncremented" && v.Bool():
			c.Flag |= event.FlagAutoIncrement
		case name == "enumValues":
			err = v.Elements(func(v jsontext.Value) error {
				c.Elems = append(c.Elems, strings.TrimSuffix(strings.TrimPrefix(v.Text(), "'"), "'"))
				return nil
			})
		}
		return err
	})
	if err != nil {
		return c, err
	}
	if cut, ok := strings.CutSuffix(typeName, " zerofill"); ok {
		typeName = cut
		c.Flag |= event.FlagZerofill
	}
	if cut, ok := strings.CutSuffix(typeName, " unsigned"); ok {
		typeName = cut
		c.Flag |= event.FlagUnsigned
	}
	switch typeName {
	case "datetime", "timestamp", "time":
		c.Decimal, c.Length = max(c.Length, 0), -1
	}
	return c, column.SetType(&c, typeName)
}
