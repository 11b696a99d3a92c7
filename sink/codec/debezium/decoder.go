package debezium

import (
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// DecoderConfig configures a Decoder. The zero value is valid.
type DecoderConfig struct {
	// Table tells the columns of a table, for messages without a schema: nil if it is
	// not known. Without it numbers become BIGINT or DOUBLE and all else LONGTEXT.
	Table func(schema, table string) *event.TableInfo
}

// Decoder is a codec.Decoder. Types are those of the schema, or TiDB's if the
// message has them as tidb_type: without them integers are SMALLINT, INT and
// BIGINT, a DECIMAL is DOUBLE, strings are LONGTEXT and bytes LONGBLOB. A null that
// stands for a date that does not exist is NULL. An update without its old image
// looks like an insert. The tables of a DDL have names, and the one after it
// columns with their types.
type Decoder struct {
	cfg DecoderConfig
	// tables holds, by name, the last schema and what it says.
	tables map[string]*knownTable
	// guesses are the tables of messages without a schema.
	guesses tables.Cache
}

// knownTable is a table as the schema of a message describes it.
type knownTable struct {
	text  string // of key and value
	table *event.TableInfo
}

// maxTables bounds the tables that are remembered.
const maxTables = 65536

// NewDecoder returns a Decoder.
func NewDecoder(cfg DecoderConfig) *Decoder {
	return &Decoder{cfg: cfg, tables: make(map[string]*knownTable)}
}

// payload is that of a value.
type payload struct {
	op            string
	schema, table string
	commitTs      event.Ts
	startTs       event.Ts
	before, after jsontext.Value
	ddl           jsontext.Value
	changes       jsontext.Value
}

// Decode returns the row of a message, or its DDL or watermark.
func (d *Decoder) Decode(key, value []byte) ([]codec.Event, error) {
	e, err := d.decode(key, value)
	if err != nil {
		return nil, fmt.Errorf("decode Debezium: %w", err)
	}
	return []codec.Event{e}, nil
}

// decode reads one message: the payload tells a row from a DDL and a watermark.
func (d *Decoder) decode(key, value []byte) (codec.Event, error) {
	if len(value) == 0 {
		return codec.Event{}, errors.New("a message without a value")
	}
	body, schema, err := split(value)
	if err != nil {
		return codec.Event{}, fmt.Errorf("value: %w", err)
	}
	p, err := readPayload(body)
	if err != nil {
		return codec.Event{}, fmt.Errorf("value: %w", err)
	}
	switch {
	case p.op == "m":
		return codec.Event{Watermark: p.commitTs}, nil
	case !p.ddl.IsNull():
		return p.readDDL()
	}
	var keyBody jsontext.Value
	if len(key) > 0 {
		if keyBody, _, err = split(key); err != nil {
			return codec.Event{}, fmt.Errorf("key: %w", err)
		}
	}
	row, err := d.row(p, keyBody, schema)
	if err != nil {
		return codec.Event{}, fmt.Errorf("row of %s.%s at %s: %w", p.schema, p.table, p.commitTs, err)
	}
	return codec.Event{Row: row}, nil
}

// split returns the payload and the schema of a key or value. Without a schema the
// payload may stand alone, as Kafka Connect writes it then.
func split(text []byte) (body, schema jsontext.Value, err error) {
	v, err := jsontext.Parse(text)
	if err != nil {
		return nil, nil, err
	}
	body = v
	err = v.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "payload":
			body = v
		case "schema":
			schema = v
		}
		return nil
	})
	return body, schema, err
}

// readPayload reads the payload of a value. Images stay text until the table is known.
func readPayload(v jsontext.Value) (*payload, error) {
	p := &payload{}
	err := v.Members(func(name string, v jsontext.Value) error {
		switch name {
		case "op":
			p.op = v.Text()
		case "source":
			return v.Members(func(name string, v jsontext.Value) error { return p.readSource(name, v) })
		case "before":
			p.before = v
		case "after":
			p.after = v
		case "ddl":
			p.ddl = v
		case "tableChanges":
			p.changes = v
		}
		return nil
	})
	return p, err
}

// readSource reads a member of the source.
func (p *payload) readSource(name string, v jsontext.Value) error {
	var err error
	switch name {
	case "db":
		p.schema = v.Text()
	case "table":
		if !v.IsNull() {
			p.table = v.Text()
		}
	case "commit_ts":
		p.commitTs, err = event.ParseTs(v.Text())
	case "start_ts":
		p.startTs, err = event.ParseTs(v.Text())
	}
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	return nil
}

// row makes the row. An r is a row of a snapshot, which TiCDC never writes and Debezium
// does.
func (d *Decoder) row(p *payload, key, schema jsontext.Value) (*event.RowChanged, error) {
	table, err := d.table(p, key, schema)
	if err != nil {
		return nil, err
	}
	row := &event.RowChanged{StartTs: p.startTs, CommitTs: p.commitTs, Table: table}
	switch p.op {
	case "c", "r", "u":
		if row.Columns, err = readImage(table, p.after); err == nil && p.op == "u" && !p.before.IsNull() {
			row.PreColumns, err = readImage(table, p.before)
		}
	case "d":
		row.PreColumns, err = readImage(table, p.before)
	default:
		err = fmt.Errorf("op %q is not known", p.op)
	}
	return row, err
}

// readDDL makes the event of a DDL.
func (p *payload) readDDL() (codec.Event, error) {
	ddl := &event.DDL{CommitTs: p.commitTs, Query: p.ddl.Text(), Schema: p.schema}
	err := p.changes.Elements(func(v jsontext.Value) error {
		change, err := readChange(v)
		if err == nil {
			ddl.Changes = append(ddl.Changes, change)
		}
		return err
	})
	if err != nil {
		return codec.Event{}, fmt.Errorf("DDL at %s: %w", p.commitTs, err)
	}
	if len(ddl.Changes) > 0 {
		ddl.Table, ddl.PreTable = ddl.Changes[0].After, ddl.Changes[0].Before
	}
	return codec.Event{DDL: ddl}, nil
}
