package filter

import (
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Config says what to deliver. The zero value delivers every table outside the
// system schemas. The tags are the names in TiCDC's files.
type Config struct {
	// Rules are table rules, see the package comment. An empty list is "*.*".
	Rules []string `json:"rules,omitempty" toml:"rules,omitempty"`
	// CaseSensitive makes rules distinguish upper from lower case, in names,
	// classes and regular expressions. Event filters' matchers are rules too.
	CaseSensitive bool `json:"case-sensitive,omitempty" toml:"case-sensitive,omitempty"`
	// IgnoreTxnStartTs drops the rows and DDL of the transactions with these
	// start ts.
	IgnoreTxnStartTs []event.Ts `json:"ignore-txn-start-ts,omitempty" toml:"ignore-txn-start-ts,omitempty"`
	// EventFilters leave out events of tables that the rules include.
	EventFilters []EventFilter `json:"event-filters,omitempty" toml:"event-filters,omitempty"`
	// TimeZone is where value expressions see a TIMESTAMP: the time_zone that a
	// session would have. Nil is UTC.
	TimeZone *time.Location `json:"-" toml:"-"`
}

// Filter is a compiled Config. All methods may be called from any goroutine.
type Filter struct {
	tables    tableRules
	ignored   map[event.Ts]struct{}
	events    []*eventFilter
	decisions decisions
}

// New compiles a Config. The error is a [*RuleError] or an [*EventFilterError].
func New(cfg Config) (*Filter, error) {
	texts := cfg.Rules
	if len(texts) == 0 {
		texts = []string{"*.*"}
	}
	f := &Filter{}
	var err error
	if f.tables, err = newTableRules(texts, cfg.CaseSensitive); err != nil {
		return nil, err
	}
	for i := range cfg.EventFilters {
		e, err := newEventFilter(i+1, &cfg.EventFilters[i], &cfg)
		if err != nil {
			return nil, err
		}
		f.events = append(f.events, e)
	}
	for _, ts := range cfg.IgnoreTxnStartTs {
		if f.ignored == nil {
			f.ignored = map[event.Ts]struct{}{}
		}
		f.ignored[ts] = struct{}{}
	}
	return f, nil
}

// Table reports whether the rules include a table. It allocates nothing.
func (f *Filter) Table(schema, table string) bool {
	return !isSystemSchema(schema) && f.tables.matchTable(schema, table)
}

// Schema reports whether DDL on a database is delivered: whether the rules may
// include a table in it. From the last rule on, the first whose schema pattern
// matches decides, but a negative rule only if it excludes every table.
func (f *Filter) Schema(schema string) bool {
	return !isSystemSchema(schema) && f.tables.matchSchema(schema)
}

// Check reports whether every value expression fits a version of a table:
// whether the table has the columns that they name, with types that they can
// handle. The error is an [*EventFilterError] with an [*ExpressionError]; Row
// returns the same for the rows of the table.
func (f *Filter) Check(table *event.TableInfo) error { return f.decision(table).err }

// Row reports whether to deliver a row. It drops the rows of ignored
// transactions, of tables that Table excludes, and those that an event filter
// leaves out. It allocates nothing, except for the first row of a table version.
//
// The error says that an expression does not fit the row's table (see Check),
// or has no value for the row, such as a sum beyond the range of BIGINT.
func (f *Filter) Row(row *event.RowChanged) (bool, error) {
	if f.ignores(row.StartTs) {
		return false, nil
	}
	if row.Table == nil {
		return true, nil
	}
	d := f.decision(row.Table)
	if d.drop[row.Kind()] {
		return false, nil
	}
	if !d.look && d.err == nil {
		return true, nil
	}
	if d.err != nil {
		return false, d.err
	}
	ignored, err := d.ignores(row)
	return !ignored && err == nil, err
}

func (f *Filter) ignores(startTs event.Ts) bool {
	if f.ignored == nil {
		return false
	}
	_, ok := f.ignored[startTs]
	return ok
}

// isSystemSchema knows the schemas that hold the state of TiDB, of MySQL or of
// replication tools, whatever their case.
func isSystemSchema(schema string) bool {
	var name string
	switch len(schema) {
	case len("sys"):
		name = "sys"
	case len("mysql"):
		name = "mysql"
	case len("tidb_cdc"):
		name = "tidb_cdc"
	case len("dm_heartbeat"):
		name = "dm_heartbeat"
	case len("metrics_schema"):
		name = "metrics_schema"
	case len("workload_schema"):
		name = "workload_schema"
	case len("inspection_schema"):
		name = "inspection_schema"
	case len("information_schema"):
		// Two more schemas have names of this length.
		if strings.EqualFold(schema, "information_schema") {
			return true
		}
		name = "performance_schema"
	case len("lightning_task_info"):
		name = "lightning_task_info"
	default:
		return false
	}
	return strings.EqualFold(schema, name)
}
