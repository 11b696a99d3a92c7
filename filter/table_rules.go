package filter

import (
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// tableRules is a compiled list of table rules.
type tableRules struct {
	caseSensitive bool
	// rules holds all rules in order; the rest is an index over it, so that a
	// long list of plain names costs one lookup.
	rules   []rule
	schemas map[string]*schemaRules // rules that name a schema literally
	general []int                   // the others, last first
}

// schemaRules are the rules that name one schema literally, as positions in
// tableRules.rules.
type schemaRules struct {
	tables   map[string]int // rules that also name a table: the last per table
	patterns []int          // the others, last first
}

// newTableRules compiles rules. The error is a *RuleError.
func newTableRules(texts []string, caseSensitive bool) (tableRules, error) {
	t := tableRules{caseSensitive: caseSensitive, schemas: map[string]*schemaRules{}}
	for i, text := range texts {
		r, ok, err := parseRule(i+1, text, caseSensitive)
		if err != nil {
			return t, err
		}
		if ok {
			t.rules = append(t.rules, r)
		}
	}
	for i := len(t.rules) - 1; i >= 0; i-- {
		t.index(i)
	}
	return t, nil
}

// index enters rule i. It is called from the last rule to the first.
func (t *tableRules) index(i int) {
	r := &t.rules[i]
	if r.schema.kind != literal {
		t.general = append(t.general, i)
		return
	}
	s := t.schemas[r.schema.text]
	if s == nil {
		s = &schemaRules{tables: map[string]int{}}
		t.schemas[r.schema.text] = s
	}
	if r.table.kind != literal {
		s.patterns = append(s.patterns, i)
	} else if _, later := s.tables[r.table.text]; !later {
		s.tables[r.table.text] = i
	}
}

// matchTable reports whether the rules include a table. It allocates nothing.
func (t *tableRules) matchTable(schema, table string) bool {
	schemaKey, tableKey := schema, table
	if !t.caseSensitive {
		// A name has at most 64 characters, so that few outgrow these.
		var schemaBuf, tableBuf [64]byte
		schemaKey, tableKey = fold(schemaBuf[:0], schema), fold(tableBuf[:0], table)
	}
	last := -1
	if s := t.schemaRules(schemaKey); s != nil {
		if i, ok := s.tables[tableKey]; ok {
			last = i
		}
		for _, i := range s.patterns {
			if i < last {
				break
			}
			if t.rules[i].table.match(tableKey, table) {
				last = i
				break
			}
		}
	}
	for _, i := range t.general {
		if i < last {
			break
		}
		r := &t.rules[i]
		if r.schema.match(schemaKey, schema) && r.table.match(tableKey, table) {
			last = i
			break
		}
	}
	return last >= 0 && t.rules[last].include
}

func (t *tableRules) schemaRules(key string) *schemaRules {
	if len(t.schemas) == 0 {
		return nil
	}
	return t.schemas[key]
}

// matchSchema reports whether the rules may include a table of a database.
func (t *tableRules) matchSchema(schema string) bool {
	key := schema
	if !t.caseSensitive {
		var buf [64]byte
		key = fold(buf[:0], schema)
	}
	for i := len(t.rules) - 1; i >= 0; i-- {
		r := &t.rules[i]
		if (r.include || r.table.kind == everything) && r.schema.match(key, schema) {
			return r.include
		}
	}
	return false
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
