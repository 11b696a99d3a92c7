package filter

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter/internal/expression"
)

// EventFilter leaves out events of the tables that its Matcher includes: each
// of its conditions is enough. The tags are the names in TiCDC's files.
type EventFilter struct {
	// Matcher are table rules: which tables this is about. Required.
	Matcher []string `json:"matcher" toml:"matcher"`
	// IgnoreEvent are kinds of events, see [EventNames].
	IgnoreEvent []string `json:"ignore-event,omitempty" toml:"ignore-event,omitempty"`
	// IgnoreSQL are regular expressions, any of which leaves out a DDL if it
	// matches anywhere in its text, whatever the case. The text is tried as it
	// was written, and as TiDB prints it: DROP TABLE `db`.`t`.
	IgnoreSQL []string `json:"ignore-sql,omitempty" toml:"ignore-sql,omitempty"`
	// IgnoreInsertValueExpr, if true of the new row, leaves out an insert.
	IgnoreInsertValueExpr string `json:"ignore-insert-value-expr,omitempty" toml:"ignore-insert-value-expr,omitempty"`
	// IgnoreUpdateNewValueExpr, if true of the row after an update, leaves it out.
	IgnoreUpdateNewValueExpr string `json:"ignore-update-new-value-expr,omitempty" toml:"ignore-update-new-value-expr,omitempty"`
	// IgnoreUpdateOldValueExpr, if true of the row before an update, leaves it out.
	IgnoreUpdateOldValueExpr string `json:"ignore-update-old-value-expr,omitempty" toml:"ignore-update-old-value-expr,omitempty"`
	// IgnoreDeleteValueExpr, if true of the old row, leaves out a delete.
	IgnoreDeleteValueExpr string `json:"ignore-delete-value-expr,omitempty" toml:"ignore-delete-value-expr,omitempty"`
	// IgnoreUpdateOnlyColumns leaves out updates that change no other columns
	// than these. Names that a table does not have count for nothing there.
	IgnoreUpdateOnlyColumns []string `json:"ignore-update-only-columns,omitempty" toml:"ignore-update-only-columns,omitempty"`
}

// EventFilterError says which event filter is wrong. It wraps what is: a
// [*RuleError] of its matcher, an [*EventNameError], an [*ExpressionError] or
// the error of a regular expression.
type EventFilterError struct {
	// Number is the filter's place in Config.EventFilters, from 1.
	Number int
	// Field is the setting, as TiCDC's files name it, such as "ignore-sql".
	Field string
	Err   error
}

// Error names the filter and the setting.
func (e *EventFilterError) Error() string {
	return fmt.Sprintf("event filter %d: %s: %v", e.Number, e.Field, e.Err)
}

// Unwrap returns what is wrong.
func (e *EventFilterError) Unwrap() error { return e.Err }

// eventFilter is a compiled EventFilter.
type eventFilter struct {
	tables  tableRules
	rows    [event.Delete + 1]bool // kinds of rows that are ignored
	ddls    map[event.DDLType]bool // kinds of DDL that are ignored
	allDDL  bool
	queries []*regexp.Regexp
	// Expressions by what they look at, nil if there is none.
	insert, updateNew, updateOld, delete *valueExpression
	// onlyColumns are in lower case.
	onlyColumns map[string]bool
}

var errNoMatcher = errors.New(`it is empty: list table rules, "*.*" for all tables`)

func newEventFilter(number int, cfg *EventFilter, c *Config) (*eventFilter, error) {
	f := &eventFilter{ddls: map[event.DDLType]bool{}}
	fail := func(field string, err error) (*eventFilter, error) {
		return nil, &EventFilterError{Number: number, Field: field, Err: err}
	}
	if len(cfg.Matcher) == 0 {
		return fail("matcher", errNoMatcher)
	}
	var err error
	if f.tables, err = newTableRules(cfg.Matcher, c.CaseSensitive); err != nil {
		return fail("matcher", err)
	}
	for _, name := range cfg.IgnoreEvent {
		if err := f.ignoreEvent(name); err != nil {
			return fail("ignore-event", err)
		}
	}
	for i, pattern := range cfg.IgnoreSQL {
		// What is reported is compiled as written, without the flag.
		re, err := regexp.Compile(pattern)
		if err == nil {
			re, err = regexp.Compile("(?i)" + pattern)
		}
		if err != nil {
			return fail("ignore-sql", fmt.Errorf("compile pattern %d %q: %w", i+1, pattern, err))
		}
		f.queries = append(f.queries, re)
	}
	for _, e := range []struct {
		field, text string
		to          **valueExpression
	}{
		{"ignore-insert-value-expr", cfg.IgnoreInsertValueExpr, &f.insert},
		{"ignore-update-new-value-expr", cfg.IgnoreUpdateNewValueExpr, &f.updateNew},
		{"ignore-update-old-value-expr", cfg.IgnoreUpdateOldValueExpr, &f.updateOld},
		{"ignore-delete-value-expr", cfg.IgnoreDeleteValueExpr, &f.delete},
	} {
		if strings.TrimSpace(e.text) == "" {
			continue
		}
		if *e.to, err = newValueExpression(number, e.field, e.text, c.TimeZone); err != nil {
			return fail(e.field, err)
		}
	}
	for _, name := range cfg.IgnoreUpdateOnlyColumns {
		if f.onlyColumns == nil {
			f.onlyColumns = map[string]bool{}
		}
		f.onlyColumns[strings.ToLower(name)] = true
	}
	return f, nil
}

// ignoresDDL reports whether a DDL on a table, or on a database if table is "",
// is left out.
func (f *eventFilter) ignoresDDL(schema, table string, ddl *event.DDL, text *ddlText) bool {
	if table == "" && !f.tables.matchSchema(schema) || table != "" && !f.tables.matchTable(schema, table) {
		return false
	}
	if f.allDDL || f.ddls[ddl.Type] {
		return true
	}
	for _, re := range f.queries {
		if re.MatchString(ddl.Query) || re.MatchString(text.normalised(ddl)) {
			return true
		}
	}
	return false
}

// ddlText is the text of a DDL as TiDB prints it, made when it is asked for.
type ddlText struct{ text string }

func (t *ddlText) normalised(ddl *event.DDL) string {
	if t.text == "" {
		t.text = expression.Normalise(ddl.Query)
	}
	return t.text
}
