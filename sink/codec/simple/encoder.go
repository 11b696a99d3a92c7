package simple

import (
	"fmt"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// Encoder is a codec.Encoder and a codec.LargeRowEncoder.
type Encoder struct {
	cfg      Config
	write    writer
	plans    map[*event.TableInfo]*plan
	lastPlan *plan
}

// writer appends the messages of one format. now is in milliseconds.
type writer interface {
	plan(t *event.TableInfo) *plan
	row(b []byte, p *plan, row *event.RowChanged, now int64, opt rowOptions) []byte
	ddl(b []byte, ddl *event.DDL, now int64) []byte
	bootstrap(b []byte, t *event.TableInfo, now int64) []byte
	watermark(b []byte, ts event.Ts, now int64) []byte
}

// rowOptions say what stands in for a row that is too large.
type rowOptions struct {
	handleKeyOnly bool
	location      string
}

// keyOnly reports whether a message has only the handle key's columns.
func (o rowOptions) keyOnly() bool { return o.handleKeyOnly || o.location != "" }

// plan is all that does not change from row to row.
type plan struct {
	table   *event.TableInfo
	columns []planColumn
	keys    int // of them belong to the handle key
	// heads is what stands in front of the commit ts, by event.Kind, and tail what
	// follows buildTs.
	heads [event.Delete + 1][]byte
	tail  []byte
}

// planColumn is a column of a plan.
type planColumn struct {
	name []byte // as the format writes it
	form form
	key  bool
}

// form is how a column's values are written.
type form uint8

const (
	formText    form = iota // a string, or what AppendText makes
	formNumber              // an integer, or the number of an ENUM, SET or BIT
	formBigint              // BIGINT UNSIGNED
	formFloat               // FLOAT
	formDouble              // DOUBLE
	formBytes               // bytes
	formInstant             // TIMESTAMP
)

// formOf decides how a column is written, in both formats.
func formOf(c *event.ColumnInfo) form {
	switch c.Type {
	case event.TypeLonglong:
		if c.Unsigned() {
			return formBigint
		}
		return formNumber
	case event.TypeTiny, event.TypeShort, event.TypeInt24, event.TypeLong, event.TypeYear,
		event.TypeEnum, event.TypeSet, event.TypeBit:
		return formNumber
	case event.TypeFloat:
		return formFloat
	case event.TypeDouble:
		return formDouble
	case event.TypeTimestamp:
		return formInstant
	case event.TypeString, event.TypeVarchar, event.TypeVarString,
		event.TypeTinyBlob, event.TypeBlob, event.TypeMediumBlob, event.TypeLongBlob:
		if c.Binary() {
			return formBytes
		}
	}
	return formText
}

// maxPlans bounds the plans; beyond it all are forgotten and made again.
const maxPlans = 8192

// NewEncoder returns an Encoder. An error is about the configuration.
func NewEncoder(cfg Config) (*Encoder, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Encoder{cfg: cfg, plans: make(map[*event.TableInfo]*plan), lastPlan: &plan{}}
	switch cfg.Format {
	case JSON:
		e.write = newJSONWriter(cfg.TimeZone)
	case Avro:
		e.write = newAvroWriter(cfg.TimeZone)
	default:
		return nil, fmt.Errorf("format %d is not known", cfg.Format)
	}
	return e, nil
}

// plan returns the plan of a version of a table. Rows of one version come in a row, so
// it is nearly always the last one.
func (e *Encoder) plan(t *event.TableInfo) *plan {
	if e.lastPlan.table == t {
		return e.lastPlan
	}
	p := e.plans[t]
	if p == nil {
		if len(e.plans) >= maxPlans {
			clear(e.plans)
		}
		p = e.write.plan(t)
		p.table = t
		for _, offset := range t.HandleKey {
			p.columns[offset].key = true
		}
		p.keys = len(t.HandleKey)
		e.plans[t] = p
	}
	e.lastPlan = p
	return p
}

// now is what buildTs says.
func (e *Encoder) now() int64 { return e.cfg.Now().UnixMilli() }

// AppendRows appends a message for each row.
func (e *Encoder) AppendRows(dst *codec.Messages, _ string, rows []*event.RowChanged) error {
	before, now := dst.Len(), e.now()
	for _, row := range rows {
		if err := e.appendRow(dst, row, now, rowOptions{}); err != nil {
			dst.Truncate(before)
			return err
		}
	}
	return nil
}

// AppendHandleKey appends a message with only the handle key of the row.
func (e *Encoder) AppendHandleKey(dst *codec.Messages, _ string, row *event.RowChanged) error {
	return e.appendLarge(dst, row, rowOptions{handleKeyOnly: true})
}

// AppendClaimCheck appends a message with the handle key of the row and the place
// of the whole message.
func (e *Encoder) AppendClaimCheck(dst *codec.Messages, _ string, row *event.RowChanged, location string) error {
	return e.appendLarge(dst, row, rowOptions{location: location})
}

// appendLarge appends what stands in for a row that is too large.
func (e *Encoder) appendLarge(dst *codec.Messages, row *event.RowChanged, opt rowOptions) error {
	if !row.Table.HasHandleKey() {
		return fmt.Errorf("encode handle key of a row of %s at %s: the table has none", row.Table.Name(), row.CommitTs)
	}
	return e.appendRow(dst, row, e.now(), opt)
}

// appendRow appends a message of one row.
func (e *Encoder) appendRow(dst *codec.Messages, row *event.RowChanged, now int64, opt rowOptions) error {
	p := e.plan(row.Table)
	for _, image := range [...][]event.Value{row.Columns, row.PreColumns} {
		if image != nil && len(image) != len(p.columns) {
			return fmt.Errorf("encode row of %s at %s: it has %d values of %d columns",
				row.Table.Name(), row.CommitTs, len(image), len(p.columns))
		}
	}
	b := dst.Buffer()
	start := len(b)
	b = e.write.row(b, p, row, now, opt)
	dst.Append(b, -1, len(b)-start, 1, row.CommitTs)
	return nil
}

// AppendDDL appends the message of a DDL.
func (e *Encoder) AppendDDL(dst *codec.Messages, _ string, ddl *event.DDL) error {
	b := dst.Buffer()
	start := len(b)
	b = e.write.ddl(b, ddl, e.now())
	dst.Append(b, -1, len(b)-start, 0, ddl.CommitTs)
	return nil
}

// AppendBootstrap appends the message with a table's schema. See [Bootstraps].
func (e *Encoder) AppendBootstrap(dst *codec.Messages, _ string, t *event.TableInfo) error {
	b := dst.Buffer()
	start := len(b)
	b = e.write.bootstrap(b, t, e.now())
	dst.Append(b, -1, len(b)-start, 0, 0)
	return nil
}

// AppendWatermark appends the message of a watermark.
func (e *Encoder) AppendWatermark(dst *codec.Messages, _ string, ts event.Ts) error {
	b := dst.Buffer()
	start := len(b)
	b = e.write.watermark(b, ts, e.now())
	dst.Append(b, -1, len(b)-start, 0, ts)
	return nil
}

// tablesOf returns the tables that a DDL's message describes: after it, or of a
// dropped table what it was, and before it.
func tablesOf(ddl *event.DDL) (after, before *event.TableInfo) {
	if ddl.Table == nil {
		return ddl.PreTable, ddl.PreTable
	}
	return ddl.Table, ddl.PreTable
}

// ddlTypes are the types of DDL messages, in the order of the Avro enum.
var ddlTypes = []string{"CREATE", "ALTER", "ERASE", "RENAME", "TRUNCATE", "CINDEX", "DINDEX", "QUERY"}

// ddlType returns the index in ddlTypes of a DDL.
func ddlType(t event.DDLType) int {
	switch t {
	case event.DDLCreateTable:
		return 0
	case event.DDLAddColumn, event.DDLDropColumn, event.DDLModifyColumn, event.DDLRebaseAutoID, event.DDLSetDefaultValue,
		event.DDLModifyTableComment, event.DDLRenameIndex, event.DDLAddPartition, event.DDLDropPartition,
		event.DDLModifyTableCharset, event.DDLTruncatePartition, event.DDLAlterIndexVisibility, event.DDLMultiSchemaChange,
		event.DDLReorganizePartition, event.DDLAlterTablePartitioning, event.DDLRemovePartitioning:
		return 1
	case event.DDLDropTable:
		return 2
	case event.DDLRenameTable, event.DDLRenameTables:
		return 3
	case event.DDLTruncateTable:
		return 4
	case event.DDLAddIndex, event.DDLAddForeignKey, event.DDLAddPrimaryKey:
		return 5
	case event.DDLDropIndex, event.DDLDropForeignKey, event.DDLDropPrimaryKey:
		return 6
	}
	return 7
}

// Bootstraps says when a table's schema has to be sent. The zero value is TiCDC's
// cadence. It is not safe for concurrent use.
type Bootstraps struct {
	// Interval and Rows are after how much time and how many rows of a table its
	// schema is sent again. They default to 120 seconds and 10000 rows; a negative one
	// is never. If both are negative no schema is ever due.
	Interval time.Duration
	Rows     int

	sent map[int64]*bootstrap // by table id
}

// bootstrap is what has been sent for a table since its schema.
type bootstrap struct {
	version        *event.TableInfo
	at, lastRowsAt time.Time
	rows           int
}

const (
	defaultInterval = 120 * time.Second
	defaultRows     = 10000
	// forgetAfter: a table without rows for so long is forgotten.
	forgetAfter = 30 * time.Minute
)

// Due reports whether the schema of a table has to be sent before rows of it that
// are to be sent now: the first time, for another version than before, and when
// Interval or Rows has passed.
func (s *Bootstraps) Due(t *event.TableInfo, rows int, now time.Time) bool {
	interval, count := s.Interval, s.Rows
	if interval == 0 {
		interval = defaultInterval
	}
	if count == 0 {
		count = defaultRows
	}
	if interval < 0 && count < 0 {
		return false
	}
	if s.sent == nil {
		s.sent = make(map[int64]*bootstrap)
	}
	b := s.sent[t.ID]
	if b == nil || b.version != t || now.Sub(b.lastRowsAt) > forgetAfter ||
		interval > 0 && now.Sub(b.at) >= interval || count > 0 && b.rows >= count {
		if b == nil {
			s.forget(now)
			b = &bootstrap{}
			s.sent[t.ID] = b
		}
		*b = bootstrap{version: t, at: now, lastRowsAt: now, rows: rows}
		return true
	}
	b.rows += rows
	b.lastRowsAt = now
	return false
}

// forget drops the tables that have no rows any more, whenever a new one comes.
func (s *Bootstraps) forget(now time.Time) {
	for id, b := range s.sent {
		if now.Sub(b.lastRowsAt) > forgetAfter {
			delete(s.sent, id)
		}
	}
}
