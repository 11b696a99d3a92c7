package simple

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// DecoderConfig configures a Decoder. The zero value is valid.
type DecoderConfig struct {
	// Format is how the messages are written.
	Format Format
	// TimeZone is the zone of that name, if the machine has no data of it. Other
	// names in messages are looked up in the machine's time zone data.
	TimeZone *time.Location
	// MaxPending bounds the memory of messages that wait for a schema, about four
	// times their bytes. Defaults to 64 MiB.
	MaxPending int
}

// defaultMaxPending holds 10000 rows of a KiB, after which TiCDC repeats a schema: a
// consumer that begins in the middle of a topic waits for that long.
const defaultMaxPending = 64 << 20

// Decoder is a codec.Decoder. It remembers the schemas of BOOTSTRAP and DDL
// messages. A row whose schema it does not know yet waits, with all that comes
// after it, until the schema comes; then Decode returns them all.
//
// A column that rows do not have is taken for a virtual generated column. In Avro
// times have six digits after the second. The type of a DDL is one of the types
// that its message's type stands for, and 0 for QUERY.
type Decoder struct {
	cfg     DecoderConfig
	zones   map[string]*time.Location
	schemas map[schemaKey]*schemaEntry
	pending []*message
	bytes   int // of pending
}

// schemaKey is how a row names its schema.
type schemaKey struct {
	schema, table string
	version       uint64
}

// schemaEntry is a schema and what rows made of it.
type schemaEntry struct {
	table *event.TableInfo
	// missing are the columns that the last row did not have, and rows is the table
	// without them.
	missing []bool
	rows    *event.TableInfo
}

// message is one message, still without the schema of its row.
type message struct {
	kind           string
	sql            string
	key            schemaKey
	tableID        int64
	commitTs       event.Ts
	handleKeyOnly  bool
	location       string
	data, old      []member
	schema, before *event.TableInfo
	size           int
}

// member is a column's name and value.
type member struct {
	name string
	cell cell
}

// cell is a value before its column's type is known.
type cell interface {
	value(d *Decoder, c *event.ColumnInfo) (event.Value, error)
}

// errNoSchema says that a row has to wait.
var errNoSchema = errors.New("no schema")

// maxSchemas bounds the schemas that are remembered.
const maxSchemas = 65536

// NewDecoder returns a Decoder.
func NewDecoder(cfg DecoderConfig) *Decoder {
	if cfg.MaxPending == 0 {
		cfg.MaxPending = defaultMaxPending
	}
	return &Decoder{cfg: cfg, zones: map[string]*time.Location{"UTC": time.UTC}, schemas: make(map[schemaKey]*schemaEntry)}
}

// Decode returns what a message says, none for a BOOTSTRAP or a row whose schema is
// not known, and with it what has waited for its schema.
func (d *Decoder) Decode(_, value []byte) ([]codec.Event, error) {
	read := readJSON
	if d.cfg.Format == Avro {
		read = readAvro
	}
	m, err := read(value)
	if err != nil {
		return nil, fmt.Errorf("decode message of the simple protocol: %w", err)
	}
	m.size = len(value)
	// A row in memory takes several times its message.
	const sizeInMemory = 4
	m.size *= sizeInMemory
	for _, t := range []*event.TableInfo{m.before, m.schema} {
		if t != nil {
			if len(t.Columns) > tables.MaxColumns || len(t.Indexes) > tables.MaxColumns {
				return nil, fmt.Errorf("decode message of the simple protocol: a table of more than %d columns or indexes", tables.MaxColumns)
			}
			setKeys(t)
			d.remember(t)
		}
	}
	if m.kind == "BOOTSTRAP" {
		return d.flush()
	}
	if len(d.pending) > 0 {
		if err := d.wait(m); err != nil {
			return nil, err
		}
		return d.flush()
	}
	e, err := d.event(m)
	if errors.Is(err, errNoSchema) {
		return nil, d.wait(m)
	}
	if err != nil {
		return nil, err
	}
	return []codec.Event{e}, nil
}

// Pending returns the number of messages that wait for a schema.
func (d *Decoder) Pending() int { return len(d.pending) }

// wait keeps a message until its schema comes, within MaxPending.
func (d *Decoder) wait(m *message) error {
	if d.bytes+m.size > d.cfg.MaxPending {
		first := d.pending
		if len(first) == 0 {
			first = []*message{m}
		}
		return fmt.Errorf("decode message of the simple protocol: no BOOTSTRAP or DDL with version %d of %s.%s has come, and messages of %d bytes wait",
			first[0].key.version, first[0].key.schema, first[0].key.table, d.bytes)
	}
	d.pending = append(d.pending, m)
	d.bytes += m.size
	return nil
}

// flush returns the events of the messages that wait, up to the first whose schema
// is still not known.
func (d *Decoder) flush() ([]codec.Event, error) {
	var out []codec.Event
	for len(d.pending) > 0 {
		m := d.pending[0]
		e, err := d.event(m)
		if errors.Is(err, errNoSchema) {
			break
		}
		d.pending, d.bytes = d.pending[1:], d.bytes-m.size
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
	if len(d.pending) == 0 {
		d.pending = nil
	}
	return out, nil
}

// remember keeps the first schema of a version: a BOOTSTRAP repeats it, and rows of one
// version share one TableInfo.
func (d *Decoder) remember(t *event.TableInfo) {
	k := schemaKey{t.Schema, t.Table, uint64(t.UpdateTs)}
	if d.schemas[k] != nil {
		return
	}
	if len(d.schemas) >= maxSchemas {
		clear(d.schemas)
	}
	d.schemas[k] = &schemaEntry{table: t}
}

// event makes the event of a message other than BOOTSTRAP.
func (d *Decoder) event(m *message) (codec.Event, error) {
	switch m.kind {
	case "WATERMARK":
		return codec.Event{Watermark: m.commitTs}, nil
	case "INSERT", "UPDATE", "DELETE":
		return d.row(m)
	}
	ddl := &event.DDL{CommitTs: m.commitTs, Query: m.sql, Type: typeOf(m.kind), Table: m.schema, PreTable: m.before}
	if m.schema != nil {
		ddl.Schema = m.schema.Schema
	}
	if ddl.Type == event.DDLDropTable {
		ddl.Table = nil // what the message calls the table is the table that is gone
	}
	if ddl.Table != nil || ddl.PreTable != nil {
		ddl.Changes = []event.TableChange{{Before: ddl.PreTable, After: ddl.Table}}
	}
	return codec.Event{DDL: ddl}, nil
}

// row makes the event of a row, or says that it has to wait.
func (d *Decoder) row(m *message) (codec.Event, error) {
	entry := d.schemas[m.key]
	if entry == nil {
		return codec.Event{}, errNoSchema
	}
	table := entry.table
	if !m.handleKeyOnly && m.location == "" {
		table = entry.tableOf(m)
	}
	row := &event.RowChanged{CommitTs: m.commitTs, Table: table, PhysicalTableID: m.tableID}
	var err error
	if m.kind != "DELETE" {
		row.Columns, err = d.image(table, m.data)
	}
	if m.kind != "INSERT" && err == nil {
		row.PreColumns, err = d.image(table, m.old)
	}
	if err != nil {
		return codec.Event{}, fmt.Errorf("decode row of %s at %s: %w", table.Name(), m.commitTs, err)
	}
	return codec.Event{Row: row, HandleKeyOnly: m.handleKeyOnly, ClaimCheck: m.location}, nil
}

// tableOf returns the table with those columns that the row has.
func (s *schemaEntry) tableOf(m *message) *event.TableInfo {
	members := m.data
	if m.kind == "DELETE" {
		members = m.old
	}
	missing := make([]bool, len(s.table.Columns))
	for i := range missing {
		missing[i] = true
	}
	for _, x := range members[:min(len(members), len(s.table.Columns))] {
		if i := s.table.ColumnOffset(x.name); i >= 0 {
			missing[i] = false
		}
	}
	if !slices.Contains(missing, true) {
		return s.table
	}
	if s.rows == nil || !slices.Equal(missing, s.missing) {
		s.missing, s.rows = missing, withoutColumns(s.table, missing)
	}
	return s.rows
}

// image puts the members of a row in the places of their columns.
func (d *Decoder) image(table *event.TableInfo, members []member) ([]event.Value, error) {
	if len(members) > len(table.Columns) {
		return nil, fmt.Errorf("%d values of %d columns", len(members), len(table.Columns))
	}
	image := make([]event.Value, len(table.Columns))
	for _, m := range members {
		i := table.ColumnOffset(m.name)
		if i < 0 {
			return nil, fmt.Errorf("column %s is not in version %s of the table", m.name, table.UpdateTs)
		}
		if m.cell == nil {
			continue
		}
		v, err := m.cell.value(d, &table.Columns[i])
		if err != nil {
			return nil, err
		}
		image[i] = v
	}
	return image, nil
}

// typeOf returns a DDL type that a message's type stands for.
func typeOf(kind string) event.DDLType {
	switch kind {
	case "CREATE":
		return event.DDLCreateTable
	case "ALTER":
		return event.DDLMultiSchemaChange
	case "ERASE":
		return event.DDLDropTable
	case "RENAME":
		return event.DDLRenameTable
	case "TRUNCATE":
		return event.DDLTruncateTable
	case "CINDEX":
		return event.DDLAddIndex
	case "DINDEX":
		return event.DDLDropIndex
	}
	return 0
}

// zone returns the time zone of a name.
func (d *Decoder) zone(name string) (*time.Location, error) {
	if loc := d.zones[name]; loc != nil {
		return loc, nil
	}
	if d.cfg.TimeZone != nil && d.cfg.TimeZone.String() == name {
		return d.cfg.TimeZone, nil
	}
	// LoadLocation would take these for this machine's zone and for UTC.
	if name == "Local" || name == "" {
		return nil, fmt.Errorf("the time zone %q is no zone of the world", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("the time zone %q is not known on this machine", name)
	}
	const maxZones = 1024 // there are about 600
	if len(d.zones) < maxZones {
		d.zones[name] = loc
	}
	return loc, nil
}
