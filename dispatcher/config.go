package dispatcher

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/filter"
)

// Config says where changes go. The zero value sends everything to a topic
// without a name, so that users set at least DefaultTopic.
type Config struct {
	// DefaultTopic is where tables go whose rule names no topic, and DDL of
	// databases.
	DefaultTopic string
	// Rules are tried in their order.
	Rules []Rule
	// CaseSensitive makes matchers distinguish upper from lower case.
	CaseSensitive bool
	// Protocol is the name of the protocol of the messages, as TiCDC spells it. With
	// avro, which registers one schema per topic, topics must contain {schema} and
	// {table}. Other names demand nothing.
	Protocol string
	// WithoutOldValue gives the partition rule default the meaning that it has in
	// TiCDC 5.2 with enable-old-value switched off; see the package comment.
	WithoutOldValue bool
	// TimeZone is where a TIMESTAMP that is hashed is seen: for the same partitions
	// as TiCDC's, the zone of its server. Nil is UTC.
	TimeZone *time.Location
}

// Rule says where the changes of some tables go. The tags are the names in
// TiCDC's files.
type Rule struct {
	// Matcher are table rules, see package filter. Required.
	Matcher []string `json:"matcher" toml:"matcher"`
	// Partition is the partition rule: default, table, ts, index-value or columns,
	// in any case. Empty is default, and so is, with a warning, any other text.
	Partition string `json:"partition,omitempty" toml:"partition,omitempty"`
	// Dispatcher is the older name of Partition. Only one of them may be set.
	Dispatcher string `json:"dispatcher,omitempty" toml:"dispatcher,omitempty"`
	// Index is the name of the unique index for index-value. Empty is the handle key.
	Index string `json:"index,omitempty" toml:"index,omitempty"`
	// Columns are the columns for the partition rule columns.
	Columns []string `json:"columns,omitempty" toml:"columns,omitempty"`
	// Topic is the topic, see the package comment. Empty is the default topic.
	Topic string `json:"topic,omitempty" toml:"topic,omitempty"`
}

// Kind is what decides on the partition of a table's rows.
type Kind uint8

// The kinds, by what keeps its order.
const (
	// ByTable: all rows of a table are in one partition.
	ByTable Kind = iota
	// ByTs: the rows of a transaction are in one partition, those of others in others.
	ByTs
	// ByIndex: the rows with one value of the handle key or of an index are in one
	// partition.
	ByIndex
	// ByColumns: the rows with the same values of some columns are in one partition.
	ByColumns
)

// String returns the name of the partition rule.
func (k Kind) String() string {
	switch k {
	case ByTable:
		return "table"
	case ByTs:
		return "ts"
	case ByIndex:
		return "index-value"
	case ByColumns:
		return "columns"
	}
	return "unknown kind"
}

// rule is a compiled Rule.
type rule struct {
	// number is the place in Config.Rules, from 1; 0 is the rule for the rest.
	number int
	// tables is nil for all tables.
	tables *filter.Filter
	kind   Kind
	// bySingleIndex: index-value for a table with one unique index, else table.
	bySingleIndex bool
	index         string
	columns       []string
	topic         topicExpression
}

// newRule compiles a rule. The warning is "" if all is well.
func (cfg *Config) newRule(number int, r Rule) (out rule, warning string, err error) {
	out.number = number
	if len(r.Matcher) == 0 {
		return out, "", errors.New("matcher is empty: list the tables, such as \"shop.*\"")
	}
	out.tables, err = filter.New(filter.Config{Rules: r.Matcher, CaseSensitive: cfg.CaseSensitive})
	if err != nil {
		return out, "", fmt.Errorf("matcher: %w", err)
	}
	if r.Partition != "" && r.Dispatcher != "" {
		return out, "", fmt.Errorf("both partition (%s) and dispatcher (%s) are set: they are one setting, keep partition",
			r.Partition, r.Dispatcher)
	}
	name := r.Partition + r.Dispatcher
	switch strings.ToLower(name) {
	case "table":
	case "", "default":
		out.bySingleIndex = cfg.WithoutOldValue
	case "ts":
		out.kind = ByTs
	case "rowid", "index-value":
		out.kind, out.index = ByIndex, r.Index
	case "columns":
		out.kind, out.columns = ByColumns, r.Columns
		if err := checkColumns(r.Columns); err != nil {
			return out, "", err
		}
	default:
		out.bySingleIndex = cfg.WithoutOldValue
		warning = fmt.Sprintf("dispatch rule %d: partition rule %q is unknown, default is used instead", number, name)
	}
	if out.topic, err = cfg.newTopic(r.Topic); err != nil {
		return out, "", err
	}
	return out, warning, nil
}

func checkColumns(names []string) error {
	if len(names) == 0 {
		return errors.New("columns is empty: the partition rule columns needs at least one")
	}
	for i, name := range names {
		for _, before := range names[:i] {
			if strings.EqualFold(name, before) {
				return fmt.Errorf("column %s is listed twice: its hashes would cancel each other", name)
			}
		}
	}
	return nil
}

// RuleError says which rule of a [Config] is wrong.
type RuleError struct {
	// Number is the rule's place in Config.Rules, from 1.
	Number int
	// Err may be or wrap a *TopicError or a *filter.RuleError.
	Err error
}

// Error names the rule and what is wrong with it.
func (e *RuleError) Error() string { return fmt.Sprintf("dispatch rule %d: %v", e.Number, e.Err) }

// Unwrap returns what is wrong.
func (e *RuleError) Unwrap() error { return e.Err }

// TableError says that a rule does not fit a table, such as one for columns that
// the table does not have. Other rules and other tables are not affected; TiCDC
// calls it CDC:ErrDispatcherFailed.
type TableError struct {
	// Table is schema.table.
	Table string
	// Number is the rule's place in Config.Rules, from 1.
	Number int
	// Reason says what does not fit.
	Reason string
}

// Error names the table and the rule and says what to do.
func (e *TableError) Error() string {
	return fmt.Sprintf("dispatch table %s by rule %d: %s; change the rule or the table", e.Table, e.Number, e.Reason)
}
