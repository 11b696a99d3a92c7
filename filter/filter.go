package filter

import (
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Config says what to deliver. The zero value delivers every table outside the
// system schemas.
type Config struct {
	// Rules are table rules, see the package comment. An empty list is "*.*".
	Rules []string
	// CaseSensitive makes rules distinguish upper from lower case, in names,
	// classes and regular expressions.
	CaseSensitive bool
	// IgnoreTxnStartTs drops the rows and DDL of the transactions with these
	// start ts.
	IgnoreTxnStartTs []event.Ts
}

// Filter is a compiled Config. It is immutable: all methods may be called from
// any goroutine.
type Filter struct {
	caseSensitive bool
	ignored       map[event.Ts]struct{}

	// rules holds all rules in order; the rest is an index over it, so that a
	// long list of plain names costs one lookup.
	rules   []rule
	schemas map[string]*schemaRules // rules that name a schema literally
	general []int                   // the others, last first
}

// schemaRules are the rules that name one schema literally, as positions in
// Filter.rules.
type schemaRules struct {
	tables   map[string]int // rules that also name a table: the last per table
	patterns []int          // the others, last first
}

// New compiles a Config. The error is a [*RuleError].
func New(cfg Config) (*Filter, error) {
	texts := cfg.Rules
	if len(texts) == 0 {
		texts = []string{"*.*"}
	}
	f := &Filter{caseSensitive: cfg.CaseSensitive, schemas: map[string]*schemaRules{}}
	for i, text := range texts {
		r, ok, err := parseRule(i+1, text, cfg.CaseSensitive)
		if err != nil {
			return nil, err
		}
		if ok {
			f.rules = append(f.rules, r)
		}
	}
	for i := len(f.rules) - 1; i >= 0; i-- {
		f.index(i)
	}
	for _, ts := range cfg.IgnoreTxnStartTs {
		if f.ignored == nil {
			f.ignored = map[event.Ts]struct{}{}
		}
		f.ignored[ts] = struct{}{}
	}
	return f, nil
}

// index enters rule i. It is called from the last rule to the first.
func (f *Filter) index(i int) {
	r := &f.rules[i]
	if r.schema.kind != literal {
		f.general = append(f.general, i)
		return
	}
	s := f.schemas[r.schema.text]
	if s == nil {
		s = &schemaRules{tables: map[string]int{}}
		f.schemas[r.schema.text] = s
	}
	if r.table.kind != literal {
		s.patterns = append(s.patterns, i)
	} else if _, later := s.tables[r.table.text]; !later {
		s.tables[r.table.text] = i
	}
}

// Table reports whether the rules include a table. It allocates nothing.
func (f *Filter) Table(schema, table string) bool {
	if isSystemSchema(schema) {
		return false
	}
	schemaKey, tableKey := schema, table
	if !f.caseSensitive {
		// A name has at most 64 characters, so that few outgrow these.
		var schemaBuf, tableBuf [64]byte
		schemaKey, tableKey = fold(schemaBuf[:0], schema), fold(tableBuf[:0], table)
	}
	last := -1
	if s := f.schemaRules(schemaKey); s != nil {
		if i, ok := s.tables[tableKey]; ok {
			last = i
		}
		for _, i := range s.patterns {
			if i < last {
				break
			}
			if f.rules[i].table.match(tableKey, table) {
				last = i
				break
			}
		}
	}
	for _, i := range f.general {
		if i < last {
			break
		}
		r := &f.rules[i]
		if r.schema.match(schemaKey, schema) && r.table.match(tableKey, table) {
			last = i
			break
		}
	}
	return last >= 0 && f.rules[last].include
}

func (f *Filter) schemaRules(key string) *schemaRules {
	if len(f.schemas) == 0 {
		return nil
	}
	return f.schemas[key]
}

// Schema reports whether DDL on a database is delivered: whether the rules may
// include a table in it. From the last rule on, the first whose schema pattern
// matches decides, but a negative rule only if it excludes every table.
func (f *Filter) Schema(schema string) bool {
	if isSystemSchema(schema) {
		return false
	}
	key := schema
	if !f.caseSensitive {
		var buf [64]byte
		key = fold(buf[:0], schema)
	}
	for i := len(f.rules) - 1; i >= 0; i-- {
		r := &f.rules[i]
		if (r.include || r.table.kind == everything) && r.schema.match(key, schema) {
			return r.include
		}
	}
	return false
}

// Row reports whether to deliver a row of a table that Table includes. It drops
// the rows of ignored transactions. No rule that there is can fail on a row; the
// error is for those that look at values.
func (f *Filter) Row(row *event.RowChanged) (bool, error) {
	return !f.ignores(row.StartTs), nil
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

// fold returns s in lower case, as strings.ToLower does. It uses buf if s has to
// change; the result is valid as long as buf.
func fold(buf []byte, s string) string {
	i := 0
	for i < len(s) && s[i] < utf8.RuneSelf && (s[i] < 'A' || s[i] > 'Z') {
		i++
	}
	if i == len(s) {
		return s
	}
	buf = append(buf, s[:i]...)
	for i < len(s) {
		c := s[i]
		if c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			buf = append(buf, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		buf = utf8.AppendRune(buf, unicode.ToLower(r))
		i += size
	}
	return unsafe.String(unsafe.SliceData(buf), len(buf))
}
