package openprotocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
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

// Decode returns the events of one message. Errors never quote values.
func (d *Decoder) Decode(key, value []byte) ([]codec.Event, error) {
	events, err := d.decode(key, value)
	if err != nil {
		return nil, fmt.Errorf("decode open-protocol message of %d and %d bytes: %w", len(key), len(value), err)
	}
	return events, nil
}

func (d *Decoder) decode(key, value []byte) ([]codec.Event, error) {
	if len(key) < lengthBytes || binary.BigEndian.Uint64(key) != version {
		return nil, fmt.Errorf("the key does not begin with version %d", version)
	}
	key = key[lengthBytes:]
	if len(key) == 0 {
		return nil, errors.New("the key holds no event")
	}
	var events []codec.Event
	for len(key) > 0 {
		var k, v []byte
		var ok bool
		if k, key, ok = next(key); !ok {
			return nil, errors.New("the key is cut off")
		}
		if v, value, ok = next(value); !ok {
			return nil, errors.New("the value is cut off")
		}
		ev, err := d.event(k, v)
		if err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
	if len(value) > 0 {
		return nil, errors.New("the value holds more than the key")
	}
	return events, nil
}

// next cuts off what a length says.
func next(b []byte) (part, rest []byte, ok bool) {
	if len(b) < lengthBytes {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint64(b)
	b = b[lengthBytes:]
	if n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// messageKey is the members of a key.
type messageKey struct {
	ts            event.Ts
	schema, table string
	partition     int64
	kind          int64
	handleKeyOnly bool
	claimCheck    string
}

func (k *messageKey) member(name string, v jsontext.Value) (err error) {
	switch name {
	case "ts":
		k.ts, err = event.ParseTs(v.Text())
	case "scm":
		k.schema = v.Text()
	case "tbl":
		k.table = v.Text()
	case "ptn":
		k.partition, err = strconv.ParseInt(v.Text(), 10, 64)
	case "t":
		k.kind, err = strconv.ParseInt(v.Text(), 10, 64)
	case "ohk":
		k.handleKeyOnly = v.Bool()
	case "ccl":
		k.claimCheck = v.Text()
	}
	if err != nil {
		return fmt.Errorf("%s of the key is not an integer", name)
	}
	return nil
}

func (d *Decoder) event(key, value []byte) (codec.Event, error) {
	var k messageKey
	text, err := jsontext.Parse(key)
	if err != nil {
		return codec.Event{}, fmt.Errorf("key: %w", err)
	}
	if err := text.Members(k.member); err != nil {
		return codec.Event{}, err
	}
	if k.kind == kindWatermark {
		return codec.Event{Watermark: k.ts}, nil
	}
	if text, err = jsontext.Parse(value); err != nil {
		return codec.Event{}, fmt.Errorf("value: %w", err)
	}
	switch k.kind {
	case kindRow:
		row, err := d.row(&k, text)
		if err != nil {
			return codec.Event{}, fmt.Errorf("%s.%s: %w", k.schema, k.table, err)
		}
		return codec.Event{Row: row, HandleKeyOnly: k.handleKeyOnly, ClaimCheck: k.claimCheck}, nil
	case kindDDL:
		ddl, err := newDDL(&k, text)
		return codec.Event{DDL: ddl}, err
	}
	return codec.Event{}, fmt.Errorf("the kind %d is not known", k.kind)
}

// newDDL returns a DDL. Its tables have names only.
func newDDL(k *messageKey, value jsontext.Value) (*event.DDL, error) {
	ddl := &event.DDL{CommitTs: k.ts, Schema: k.schema}
	err := value.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "q":
			ddl.Query = v.Text()
		case "t":
			n, err := strconv.ParseUint(v.Text(), 10, 8)
			ddl.Type = event.DDLType(n)
			if err != nil {
				return errors.New("t of a DDL is not a number of its kind")
			}
		}
		return nil
	})
	if err != nil || k.table == "" {
		return ddl, err
	}
	table := &event.TableInfo{Schema: k.schema, Table: k.table}
	switch ddl.Type {
	case event.DDLCreateTable, event.DDLCreateView, event.DDLRecoverTable, event.DDLRenameTable, event.DDLRenameTables:
		ddl.Table = table
	case event.DDLDropTable, event.DDLDropView:
		ddl.PreTable = table
	default:
		ddl.PreTable, ddl.Table = table, table
	}
	return ddl, nil
}

// row returns the row of a value.
func (d *Decoder) row(k *messageKey, value jsontext.Value) (*event.RowChanged, error) {
	var u, p, del jsontext.Value
	err := value.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "u":
			u = v
		case "p":
			p = v
		case "d":
			del = v
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	image := u
	if !del.IsNull() {
		image, u, p = del, nil, nil
	}
	columns, err := parseColumns(image)
	if err != nil {
		return nil, err
	}
	if len(columns) == 0 {
		return nil, errors.New("a row without columns")
	}
	row := &event.RowChanged{CommitTs: k.ts, Table: d.table(k, columns), PhysicalTableID: k.partition}
	values := make([]event.Value, len(columns))
	for i := range columns {
		if values[i], err = columns[i].value(&row.Table.Columns[i], d.loc); err != nil {
			return nil, err
		}
	}
	switch {
	case u == nil:
		row.PreColumns = values
	case p.IsNull():
		row.Columns = values
	default:
		row.Columns = values
		if row.PreColumns, err = d.before(row, p); err != nil {
			return nil, fmt.Errorf("p: %w", err)
		}
	}
	return row, nil
}

// before returns the old image of an update; what p leaves out did not change.
func (d *Decoder) before(row *event.RowChanged, p jsontext.Value) ([]event.Value, error) {
	columns, err := parseColumns(p)
	if err != nil {
		return nil, err
	}
	image := append([]event.Value(nil), row.Columns...)
	at := 0 // columns mostly stand in the order of u
	for i := range columns {
		c := &columns[i]
		if at >= len(row.Table.Columns) || row.Table.Columns[at].Name != c.name {
			if at = tables.OffsetOf(row.Table, c.name); at < 0 {
				return nil, fmt.Errorf("column %s is not in u", c.name)
			}
		}
		if image[at], err = c.value(&row.Table.Columns[at], d.loc); err != nil {
			return nil, err
		}
		at++
	}
	return image, nil
}

// table returns the table of a row.
func (d *Decoder) table(k *messageKey, columns []messageColumn) *event.TableInfo {
	d.tables.Begin()
	d.tables.Add(k.schema)
	d.tables.Add(k.table)
	partitioned := k.partition != 0
	if partitioned {
		d.tables.AddNumber(1)
	}
	for i := range columns {
		c := &columns[i]
		d.tables.Add(c.name)
		d.tables.AddNumber(uint64(c.kind))
		d.tables.AddNumber(c.flags)
	}
	if t := d.tables.Table(); t != nil {
		return t
	}
	t := newTable(k.schema, k.table, columns)
	if partitioned {
		t.Partition = &event.PartitionInfo{}
	}
	d.tables.Keep(t)
	return t
}
