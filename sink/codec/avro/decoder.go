package avro

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/avrobinary"
)

// SchemaLookup finds schemas by the ids in messages. It is safe for concurrent use.
type SchemaLookup interface {
	Schema(ctx context.Context, id SchemaID) (string, error)
}

// DecoderConfig configures a Decoder. The zero value is valid.
type DecoderConfig struct {
	// TimeZone is where the messages' TIMESTAMP values are local time. Defaults to UTC.
	TimeZone *time.Location
}

// Decoder is a codec.Decoder. What it can tell of a row is less than what was
// encoded: names are those of the schema, sanitized; all integers but BIGINT are
// INT, all strings LONGTEXT and all bytes LONGBLOB; times have six digits after
// the second; an update has no old image and looks like an insert; a delete has
// only its handle key. Without the TiDB extension there is no commit ts.
type Decoder struct {
	cfg     DecoderConfig
	lookup  SchemaLookup
	schemas map[SchemaID]*recordSchema
	tables  map[[2]SchemaID]*event.TableInfo
}

// maxSchemas bounds the schemas that are remembered.
const maxSchemas = 8192

// NewDecoder returns a Decoder that finds schemas with l.
func NewDecoder(cfg DecoderConfig, l SchemaLookup) *Decoder {
	if cfg.TimeZone == nil {
		cfg.TimeZone = time.UTC
	}
	return &Decoder{
		cfg: cfg, lookup: l,
		schemas: make(map[SchemaID]*recordSchema), tables: make(map[[2]SchemaID]*event.TableInfo),
	}
}

// Prepare fetches the schemas of a message that are not known yet. It must be
// called before Decode.
func (d *Decoder) Prepare(ctx context.Context, key, value []byte) error {
	for _, b := range [][]byte{key, value} {
		if len(b) == 0 || key == nil { // a tombstone, or a DDL or watermark
			continue
		}
		id, _, err := cutSchemaID(b)
		if err != nil {
			return fmt.Errorf("prepare to decode Avro: %w", err)
		}
		if d.schemas[id] != nil {
			continue
		}
		text, err := d.lookup.Schema(ctx, id)
		if err != nil {
			return fmt.Errorf("look up Avro schema %s: %w", id, err)
		}
		s, err := parseSchema(text)
		if err != nil {
			return fmt.Errorf("read Avro schema %s: %w", id, err)
		}
		if len(d.schemas) >= maxSchemas {
			clear(d.schemas)
			clear(d.tables)
		}
		d.schemas[id] = s
	}
	return nil
}

// Decode returns the row of a message, or its DDL or watermark.
func (d *Decoder) Decode(key, value []byte) ([]codec.Event, error) {
	e, err := d.decode(key, value)
	if err != nil {
		return nil, fmt.Errorf("decode Avro: %w", err)
	}
	return []codec.Event{e}, nil
}

// decode reads one message: without a key it is a control message, without a value
// a delete, of which only the key is known.
func (d *Decoder) decode(key, value []byte) (codec.Event, error) {
	if key == nil {
		return decodeControl(value)
	}
	keyID, keySchema, keyBytes, err := d.open(key)
	if err != nil {
		return codec.Event{}, fmt.Errorf("key: %w", err)
	}
	row := &event.RowChanged{}
	if len(value) == 0 {
		row.Table = d.table(keyID, keyID, keySchema, keySchema)
		row.PreColumns, err = d.record(keySchema, keyBytes, row)
		if err != nil {
			return codec.Event{}, fmt.Errorf("key: %w", err)
		}
		return codec.Event{Row: row, HandleKeyOnly: true}, nil
	}
	valueID, valueSchema, valueBytes, err := d.open(value)
	if err != nil {
		return codec.Event{}, fmt.Errorf("value: %w", err)
	}
	row.Table = d.table(keyID, valueID, keySchema, valueSchema)
	if row.Columns, err = d.record(valueSchema, valueBytes, row); err != nil {
		return codec.Event{}, fmt.Errorf("value: %w", err)
	}
	return codec.Event{Row: row}, nil
}

// open returns the schema of a key or value, and the record behind its id.
func (d *Decoder) open(b []byte) (SchemaID, *recordSchema, []byte, error) {
	id, rest, err := cutSchemaID(b)
	if err != nil {
		return id, nil, nil, err
	}
	s := d.schemas[id]
	if s == nil {
		return id, nil, nil, fmt.Errorf("schema %s: %w", id, ErrNotPrepared)
	}
	return id, s, rest, nil
}

// table returns the table that the schemas of a key and a value describe.
func (d *Decoder) table(keyID, valueID SchemaID, key, value *recordSchema) *event.TableInfo {
	ids := [2]SchemaID{keyID, valueID}
	if t := d.tables[ids]; t != nil {
		return t
	}
	t := &event.TableInfo{Schema: value.schema, Table: value.table, Columns: value.columns()}
	for _, f := range key.fields {
		if i := t.ColumnOffset(f.info.Name); i >= 0 && !f.extension {
			t.HandleKey = append(t.HandleKey, i)
		}
	}
	d.tables[ids] = t
	return t
}

// record reads the fields of a record; those of the extension go into row.
func (d *Decoder) record(s *recordSchema, data []byte, row *event.RowChanged) ([]event.Value, error) {
	r := avrobinary.NewReader(data)
	image := make([]event.Value, 0, len(s.fields))
	for i := range s.fields {
		f := &s.fields[i]
		if f.nullBranch >= 0 && r.Index(2) == f.nullBranch {
			if r.Err() == nil && !f.extension {
				image = append(image, event.Value{})
			}
			continue
		}
		if f.extension {
			f.readExtension(r, row)
			continue
		}
		v, err := f.read(r, d.cfg.TimeZone)
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.info.Name, err)
		}
		image = append(image, v)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if r.Len() > 0 {
		return nil, fmt.Errorf("%d bytes follow the record", r.Len())
	}
	return image, nil
}

// decodeControl reads the messages of Config.Watermark, which have no key.
func decodeControl(value []byte) (codec.Event, error) {
	if len(value) == 9 && value[0] == watermarkByte {
		return codec.Event{Watermark: event.Ts(binary.BigEndian.Uint64(value[1:]))}, nil
	}
	if len(value) == 0 || value[0] != ddlByte {
		return codec.Event{}, errors.New("a message without a key that is neither a DDL nor a watermark")
	}
	var ddl struct {
		Query    string        `json:"query"`
		Type     event.DDLType `json:"type"`
		Schema   string        `json:"schema"`
		Table    string        `json:"table"`
		CommitTs event.Ts      `json:"commitTs"`
	}
	if err := json.Unmarshal(value[1:], &ddl); err != nil {
		return codec.Event{}, fmt.Errorf("DDL: %w", err)
	}
	out := &event.DDL{CommitTs: ddl.CommitTs, Type: ddl.Type, Query: ddl.Query, Schema: ddl.Schema}
	if ddl.Table != "" {
		out.Table = &event.TableInfo{Schema: ddl.Schema, Table: ddl.Table}
	}
	return codec.Event{DDL: out}, nil
}
