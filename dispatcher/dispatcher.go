package dispatcher

import (
	"fmt"
	"sync"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Dispatcher is a compiled [Config]. All methods may be called from any goroutine.
type Dispatcher struct {
	defaultTopic string
	rules        []rule // the last one is for all tables
	warnings     []string
	loc          *time.Location
	plans        plans
	buffers      sync.Pool // *[]byte
}

// New compiles a Config. The error is a *RuleError.
func New(cfg Config) (*Dispatcher, error) {
	d := &Dispatcher{defaultTopic: cfg.DefaultTopic, loc: cfg.TimeZone}
	if d.loc == nil {
		d.loc = time.UTC
	}
	for i, r := range cfg.Rules {
		compiled, warning, err := cfg.newRule(i+1, r)
		if err != nil {
			return nil, &RuleError{Number: i + 1, Err: err}
		}
		if warning != "" {
			d.warnings = append(d.warnings, warning)
		}
		d.rules = append(d.rules, compiled)
	}
	d.rules = append(d.rules, rule{
		bySingleIndex: cfg.WithoutOldValue,
		topic:         topicExpression{prefix: cfg.DefaultTopic},
	})
	return d, nil
}

// match returns the rule of a table.
func (d *Dispatcher) match(schema, table string) *rule {
	for i := range d.rules {
		if r := &d.rules[i]; r.tables == nil || r.tables.Table(schema, table) {
			return r
		}
	}
	return nil // never: the last rule is for all tables
}

// Warnings returns what in the Config was not understood but accepted, as TiCDC
// accepts it: a sentence each, for a log.
func (d *Dispatcher) Warnings() []string { return d.warnings }

// Topic returns the topic of a table's rows. TableTopic is the faster one for rows.
func (d *Dispatcher) Topic(schema, table string) string {
	return d.match(schema, table).topic.name(schema, table)
}

// TableTopic is Topic for a version of a table. It allocates nothing, except for
// the first call with a version.
func (d *Dispatcher) TableTopic(table *event.TableInfo) string { return d.plan(table).topic }

// DDLTopic returns the topic of a DDL: that of its table, by the name before the
// change, and the default topic for a DDL of a database.
func (d *Dispatcher) DDLTopic(ddl *event.DDL) string {
	switch {
	case ddl.PreTable != nil:
		return d.TableTopic(ddl.PreTable)
	case ddl.Table != nil:
		return d.TableTopic(ddl.Table)
	}
	return d.defaultTopic
}

// Topics returns the topics of tables, each once, and the default topic behind
// them if it is not one of those.
func (d *Dispatcher) Topics(tables []*event.TableInfo) []string {
	var topics []string
	seen := map[string]bool{}
	add := func(topic string) {
		if !seen[topic] {
			seen[topic] = true
			topics = append(topics, topic)
		}
	}
	for _, t := range tables {
		add(d.TableTopic(t))
	}
	add(d.defaultTopic)
	return topics
}

// Check reports whether the rule of a table fits it. The error is a *TableError;
// Partition returns the same for the rows of the table.
func (d *Dispatcher) Check(table *event.TableInfo) error { return d.plan(table).err }

// Kind returns what decides on the partition of a table's rows.
func (d *Dispatcher) Kind(table *event.TableInfo) Kind { return d.plan(table).kind }

// Partition returns which of the n partitions of its topic a row belongs to. It
// allocates nothing, except for the first row of a table version. The error is a
// *TableError, or says that n is not positive or that the row is malformed.
func (d *Dispatcher) Partition(row *event.RowChanged, n int32) (int32, error) {
	p := d.plan(row.Table)
	return d.partition(p, row, row.Image(), n)
}

// Moves reports whether the old image of an update belongs to another of n
// partitions than the new one. If so, whoever reads the old partition learns of the
// change only if a delete of the old image is sent there. It is false for inserts
// and deletes. Errors are those of Partition.
func (d *Dispatcher) Moves(row *event.RowChanged, n int32) (bool, error) {
	p := d.plan(row.Table)
	if row.Kind() != event.Update || len(p.columns) == 0 && p.err == nil {
		return false, nil
	}
	before, err := d.partition(p, row, row.PreColumns, n)
	if err != nil {
		return false, err
	}
	after, err := d.partition(p, row, row.Columns, n)
	return before != after, err
}

// partition returns the partition of an image of a row.
func (d *Dispatcher) partition(p *plan, row *event.RowChanged, image []event.Value, n int32) (int32, error) {
	switch {
	case p.err != nil:
		return 0, p.err
	case n <= 0:
		return 0, fmt.Errorf("dispatch row of %s with commit ts %d: topic %s has %d partitions", p.table.Name(), row.CommitTs, p.topic, n)
	case len(image) != len(p.table.Columns):
		return 0, fmt.Errorf("dispatch row of %s with commit ts %d: it has %d values, the table %d columns",
			p.table.Name(), row.CommitTs, len(image), len(p.table.Columns))
	case p.kind == ByTs:
		return int32(uint64(row.CommitTs) % uint64(n)), nil
	}
	return int32(d.hash(p, image) % uint32(n)), nil
}
