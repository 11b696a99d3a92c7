package canaljson

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/canalrow"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// Decoder is a [codec.Decoder]. It is not safe for concurrent use.
type Decoder struct {
	loc    *time.Location
	tables tables.Cache
}

// NewDecoder returns a Decoder.
func NewDecoder(cfg DecoderConfig) *Decoder {
	d := &Decoder{loc: cfg.TimeZone}
	if d.loc == nil {
		d.loc = time.UTC
	}
	return d
}

var errTooMany = fmt.Errorf("more than %d columns", tables.MaxColumns)

// message is the members of a message.
type message struct {
	database, table, kind, sql string
	ddl                        bool
	primary                    []string
	types, data, old           jsontext.Value
	es                         int64
	commitTs, watermarkTs      event.Ts
	handleKeyOnly              bool
	claimCheck                 string
}

// Decode returns what one message says: rows of one table, a DDL, or a watermark.
// The key is not looked at. Errors never quote values.
func (d *Decoder) Decode(_, value []byte) ([]codec.Event, error) {
	events, err := d.decode(value)
	if err != nil {
		return nil, fmt.Errorf("decode canal-json message of %d bytes: %w", len(value), err)
	}
	return events, nil
}

func (d *Decoder) decode(value []byte) ([]codec.Event, error) {
	v, err := jsontext.Parse(value)
	if err != nil {
		return nil, err
	}
	var m message
	if err := v.Members(m.member); err != nil {
		return nil, err
	}
	if m.commitTs == 0 {
		m.commitTs = event.NewTs(time.UnixMilli(m.es))
	}
	if m.kind == watermarkType {
		if m.watermarkTs == 0 {
			return nil, errors.New("a watermark without _tidb.watermarkTs")
		}
		return []codec.Event{{Watermark: m.watermarkTs}}, nil
	}
	switch t := canalrow.ParseEventType(m.kind); {
	case t == 0:
		return nil, errors.New("the type is not known")
	case m.ddl || t > canalrow.Delete:
		return []codec.Event{{DDL: canalrow.NewDDL(t, m.database, m.table, m.sql, m.commitTs)}}, nil
	default:
		return d.rows(&m, t)
	}
}

// member takes a member of a message.
func (m *message) member(name string, v jsontext.Value) (err error) {
	switch name {
	case "database":
		m.database = v.Text()
	case "table":
		m.table = v.Text()
	case "type":
		m.kind = v.Text()
	case "sql":
		m.sql = v.Text()
	case "isDdl":
		m.ddl = v.Bool()
	case "es":
		if m.es, err = strconv.ParseInt(v.Text(), 10, 64); err != nil {
			return errors.New("es is not an integer")
		}
	case "pkNames":
		return v.Elements(func(e jsontext.Value) error {
			if len(m.primary) == tables.MaxColumns {
				return errTooMany
			}
			m.primary = append(m.primary, e.Text())
			return nil
		})
	case "mysqlType":
		m.types = v
	case "data":
		m.data = v
	case "old":
		m.old = v
	case "_tidb":
		return v.Members(m.extension)
	}
	return nil
}

// extension takes a member of _tidb.
func (m *message) extension(name string, v jsontext.Value) (err error) {
	switch name {
	case "commitTs":
		m.commitTs, err = event.ParseTs(v.Text())
	case "watermarkTs":
		m.watermarkTs, err = event.ParseTs(v.Text())
	case "onlyHandleKey":
		m.handleKeyOnly = v.Bool()
	case "claimCheckLocation":
		m.claimCheck = v.Text()
	}
	if err != nil {
		return fmt.Errorf("_tidb.%s is not a ts", name)
	}
	return nil
}

// rows returns the rows of a message.
func (d *Decoder) rows(m *message, kind canalrow.EventType) ([]codec.Event, error) {
	types := map[string]string{}
	err := m.types.Members(func(name string, v jsontext.Value) error {
		types[name] = v.Text()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("mysqlType: %w", err)
	}
	var olds []jsontext.Value
	err = m.old.Elements(func(v jsontext.Value) error {
		olds = append(olds, v)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("old: %w", err)
	}
	var events []codec.Event
	err = m.data.Elements(func(v jsontext.Value) error {
		var old jsontext.Value
		if kind == canalrow.Update && len(olds) > len(events) {
			old = olds[len(events)]
		}
		row, err := d.row(m, kind, types, v, old)
		events = append(events, codec.Event{Row: row, HandleKeyOnly: m.handleKeyOnly, ClaimCheck: m.claimCheck})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s.%s: %w", m.database, m.table, err)
	}
	return events, nil
}

// row returns the row of one element of data and of the same one of old.
func (d *Decoder) row(m *message, kind canalrow.EventType, types map[string]string, data, old jsontext.Value) (*event.RowChanged, error) {
	table, err := d.table(m, types, data)
	if err != nil {
		return nil, err
	}
	image := make([]event.Value, len(table.Columns))
	if err := d.values(table, data, image); err != nil {
		return nil, err
	}
	row := &event.RowChanged{CommitTs: m.commitTs, Table: table}
	switch kind {
	case canalrow.Insert:
		row.Columns = image
	case canalrow.Delete:
		row.PreColumns = image
	default:
		// What old leaves out did not change.
		row.Columns, row.PreColumns = image, append([]event.Value(nil), image...)
		if err := d.values(table, old, row.PreColumns); err != nil {
			return nil, fmt.Errorf("old: %w", err)
		}
	}
	return row, nil
}

// values reads an object of values into an image.
func (d *Decoder) values(table *event.TableInfo, object jsontext.Value, image []event.Value) error {
	next := 0 // columns mostly stand in the order of the table
	members := 0
	return object.Members(func(name string, v jsontext.Value) (err error) {
		if members++; members > tables.MaxColumns {
			return errTooMany
		}
		if next >= len(table.Columns) || table.Columns[next].Name != name {
			if next = tables.OffsetOf(table, name); next < 0 {
				return fmt.Errorf("column %s is not in mysqlType", name)
			}
		}
		if v.IsNull() {
			image[next] = event.Value{}
		} else {
			image[next], err = canalrow.ParseValue(&table.Columns[next], v.Text(), d.loc)
		}
		next++
		return err
	})
}

// table returns the table of a row: its columns are those of data, in their order,
// as TiCDC writes mysqlType in none.
func (d *Decoder) table(m *message, types map[string]string, data jsontext.Value) (*event.TableInfo, error) {
	d.tables.Begin()
	d.tables.Add(m.database)
	d.tables.Add(m.table)
	d.tables.AddNumber(uint64(len(m.primary)))
	for _, name := range m.primary {
		d.tables.Add(name)
	}
	members := 0
	err := data.Members(func(name string, _ jsontext.Value) error {
		if members++; members > tables.MaxColumns {
			return errTooMany
		}
		t, ok := types[name]
		if !ok {
			return fmt.Errorf("column %s is not in mysqlType", name)
		}
		d.tables.Add(name)
		d.tables.Add(t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if members == 0 {
		return nil, errors.New("a row without columns")
	}
	if t := d.tables.Table(); t != nil {
		return t, nil
	}
	var columns []event.ColumnInfo
	err = data.Members(func(name string, _ jsontext.Value) error {
		c, err := canalrow.ParseType(name, types[name])
		columns = append(columns, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	t := canalrow.NewTable(m.database, m.table, columns, m.primary)
	d.tables.Keep(t)
	return t, nil
}
