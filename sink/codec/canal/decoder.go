package canal

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/canalrow"
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

// Decode returns the rows and DDL of one message. The key is not looked at. Errors
// never quote values.
func (d *Decoder) Decode(_, value []byte) ([]codec.Event, error) {
	events, err := d.decode(value)
	if err != nil {
		return nil, fmt.Errorf("decode canal message of %d bytes: %w", len(value), err)
	}
	return events, nil
}

func (d *Decoder) decode(value []byte) ([]codec.Event, error) {
	var kind, compression uint64
	var body []byte
	err := fields(value, func(field int, n uint64, data []byte) error {
		switch field {
		case packetType:
			kind = n
		case packetCompression:
			compression = n
		case packetBody:
			body = data
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case kind != packetMessages:
		return nil, fmt.Errorf("a packet of type %d, want %d (MESSAGES)", kind, packetMessages)
	case compression > compressionNone:
		return nil, fmt.Errorf("the compression %d is not supported", compression)
	}
	var events []codec.Event
	err = fields(body, func(field int, _ uint64, data []byte) (err error) {
		if field == messagesMessages {
			events, err = d.entry(events, data)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// entry is what the rows of an Entry have in common.
type entry struct {
	schema, table string
	kind          canalrow.EventType
	commitTs      event.Ts
}

func (d *Decoder) entry(events []codec.Event, b []byte) ([]codec.Event, error) {
	var header, change []byte
	kind := uint64(entryRowData)
	err := fields(b, func(field int, n uint64, data []byte) error {
		switch field {
		case entryHeader:
			header = data
		case entryEntryType:
			kind = n
		case entryStoreValue:
			change = data
		}
		return nil
	})
	if err != nil || kind != entryRowData {
		return events, err
	}
	var en entry
	err = fields(header, func(field int, n uint64, data []byte) error {
		switch field {
		case headerExecuteTime:
			en.commitTs = event.NewTs(time.UnixMilli(int64(n)))
		case headerSchemaName:
			en.schema = string(data)
		case headerTableName:
			en.table = string(data)
		case headerEventType:
			en.kind = canalrow.EventType(n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	events, err = d.change(events, &en, change)
	if err != nil {
		return nil, fmt.Errorf("%s.%s: %w", en.schema, en.table, err)
	}
	return events, nil
}

// change appends the events of a RowChange.
func (d *Decoder) change(events []codec.Event, en *entry, b []byte) ([]codec.Event, error) {
	var ddl bool
	var query string
	err := fields(b, func(field int, n uint64, data []byte) error {
		switch field {
		case rowChangeEventType:
			en.kind = canalrow.EventType(n)
		case rowChangeIsDdl:
			ddl = n != 0
		case rowChangeSQL:
			query = string(data)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if ddl || en.kind > canalrow.Delete {
		if en.kind.String() == "" || en.kind <= canalrow.Delete {
			return nil, fmt.Errorf("the kind %d of a DDL is not known", en.kind)
		}
		return append(events, codec.Event{DDL: canalrow.NewDDL(en.kind, en.schema, en.table, query, en.commitTs)}), nil
	}
	if en.kind.String() == "" {
		return nil, fmt.Errorf("the kind %d of a row is not known", en.kind)
	}
	err = fields(b, func(field int, _ uint64, data []byte) error {
		if field != rowChangeRowDatas {
			return nil
		}
		row, err := d.row(en, data)
		events = append(events, codec.Event{Row: row})
		return err
	})
	return events, err
}

// row returns the row of a RowData.
func (d *Decoder) row(en *entry, b []byte) (*event.RowChanged, error) {
	var before, after []messageColumn
	err := fields(b, func(field int, _ uint64, data []byte) (err error) {
		switch field {
		case rowDataBefore:
			before, err = appendColumn(before, data)
		case rowDataAfter:
			after, err = appendColumn(after, data)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	columns := after
	if en.kind == canalrow.Delete {
		columns = before
	}
	if len(columns) == 0 {
		return nil, errors.New("a row without columns")
	}
	table, err := d.table(en, columns)
	if err != nil {
		return nil, err
	}
	row := &event.RowChanged{CommitTs: en.commitTs, Table: table}
	image, err := d.values(table, columns, make([]event.Value, len(columns)))
	if err != nil {
		return nil, err
	}
	switch en.kind {
	case canalrow.Delete:
		row.PreColumns = image
		return row, nil
	case canalrow.Update:
		row.PreColumns, err = d.values(table, before, append([]event.Value(nil), image...))
	}
	row.Columns = image
	return row, err
}

// table returns the table of columns.
func (d *Decoder) table(en *entry, columns []messageColumn) (*event.TableInfo, error) {
	d.tables.Begin()
	d.tables.Add(en.schema)
	d.tables.Add(en.table)
	var primary []string
	for i := range columns {
		c := &columns[i]
		d.tables.Add(c.name)
		d.tables.Add(c.mysqlType)
		if c.key {
			d.tables.AddNumber(1)
			primary = append(primary, c.name)
		} else {
			d.tables.AddNumber(0)
		}
	}
	if t := d.tables.Table(); t != nil {
		return t, nil
	}
	infos := make([]event.ColumnInfo, len(columns))
	for i := range columns {
		var err error
		if infos[i], err = canalrow.ParseType(columns[i].name, columns[i].mysqlType); err != nil {
			return nil, err
		}
	}
	t := canalrow.NewTable(en.schema, en.table, infos, primary)
	d.tables.Keep(t)
	return t, nil
}

// values reads columns into an image, which it returns.
func (d *Decoder) values(table *event.TableInfo, columns []messageColumn, image []event.Value) ([]event.Value, error) {
	at := 0 // columns mostly stand in the order of the table
	for i := range columns {
		c := &columns[i]
		if at >= len(table.Columns) || table.Columns[at].Name != c.name {
			if at = tables.OffsetOf(table, c.name); at < 0 {
				return nil, fmt.Errorf("column %s is not in the new image", c.name)
			}
		}
		image[at] = event.Value{}
		if !c.null {
			var err error
			if image[at], err = canalrow.ParseValue(&table.Columns[at], c.value, d.loc); err != nil {
				return nil, err
			}
		}
		at++
	}
	return image, nil
}

// messageColumn is a Column.
type messageColumn struct {
	name, value, mysqlType string
	key, null              bool
}

func appendColumn(columns []messageColumn, b []byte) ([]messageColumn, error) {
	if len(columns) == tables.MaxColumns {
		return nil, fmt.Errorf("more than %d columns", tables.MaxColumns)
	}
	var c messageColumn
	err := fields(b, func(field int, n uint64, data []byte) error {
		switch field {
		case columnName:
			c.name = string(data)
		case columnIsKey:
			c.key = n != 0
		case columnIsNull:
			c.null = n != 0
		case columnValue:
			c.value = string(data)
		case columnMySQLType:
			c.mysqlType = string(data)
		}
		return nil
	})
	return append(columns, c), err
}
