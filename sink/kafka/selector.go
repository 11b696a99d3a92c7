package kafka

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
)

// selectors decide which columns of a table are delivered.
type selectors []selector

type selector struct {
	tables  *filter.Filter
	columns []columnPattern
}

// columnPattern is a pattern of package path, in lower case.
type columnPattern struct {
	glob    string
	exclude bool
}

func newSelectors(rules []sink.ColumnSelector, caseSensitive bool) (selectors, error) {
	var out selectors
	for i, r := range rules {
		if len(r.Matcher) == 0 {
			return nil, invalid("column selector %d has no matcher", i+1)
		}
		tables, err := filter.New(filter.Config{Rules: r.Matcher, CaseSensitive: caseSensitive})
		if err != nil {
			return nil, invalid("column selector %d: %w", i+1, err)
		}
		s := selector{tables: tables}
		for _, text := range r.Columns {
			glob, exclude := strings.CutPrefix(text, "!")
			// path.Match writes the complement of a class with ^.
			glob = strings.ReplaceAll(strings.ToLower(glob), "[!", "[^")
			if _, err := path.Match(glob, ""); err != nil || glob == "" {
				return nil, invalid("column selector %d: %q is not a pattern of columns", i+1, text)
			}
			s.columns = append(s.columns, columnPattern{glob, exclude})
		}
		out = append(out, s)
	}
	return out, nil
}

// project returns a table with the selected columns only, and their offsets in the
// whole table; nil if all are selected. The handle key must be among them.
func (s selectors) project(table *event.TableInfo) (*event.TableInfo, []int, error) {
	i := slices.IndexFunc(s, func(r selector) bool { return r.tables.Table(table.Schema, table.Table) })
	if i < 0 {
		return nil, nil, nil
	}
	var selected []int
	for offset, c := range table.Columns {
		if s[i].includes(c.Name) {
			selected = append(selected, offset)
		}
	}
	if len(selected) == len(table.Columns) {
		return nil, nil, nil
	}
	for _, offset := range table.HandleKey {
		if !slices.Contains(selected, offset) {
			return nil, nil, fmt.Errorf("%w: column selector %d leaves out column %s of table %s.%s, which is part of its handle key: add it",
				sink.ErrColumnSelector, i+1, table.Columns[offset].Name, table.Schema, table.Table)
		}
	}
	if len(selected) == 0 {
		return nil, nil, fmt.Errorf("%w: column selector %d leaves no column of table %s.%s", sink.ErrColumnSelector, i+1, table.Schema, table.Table)
	}
	return narrow(table, selected), selected, nil
}

func (s *selector) includes(column string) bool {
	column = strings.ToLower(column)
	for _, p := range slices.Backward(s.columns) {
		if ok, _ := path.Match(p.glob, column); ok {
			return !p.exclude
		}
	}
	return false
}

// narrow returns the table with some of its columns. Indexes that lack a column then
// are left out.
func narrow(table *event.TableInfo, selected []int) *event.TableInfo {
	out := *table
	out.Columns, out.HandleKey, out.Indexes = nil, nil, nil
	for _, offset := range selected {
		out.Columns = append(out.Columns, table.Columns[offset])
	}
	for _, offset := range table.HandleKey {
		out.HandleKey = append(out.HandleKey, slices.Index(selected, offset))
	}
	for _, index := range table.Indexes {
		columns := slices.Clone(index.Columns)
		whole := true
		for i := range columns {
			if columns[i].Offset >= 0 {
				columns[i].Offset = slices.Index(selected, columns[i].Offset)
				whole = whole && columns[i].Offset >= 0
			}
		}
		if whole {
			index.Columns = columns
			out.Indexes = append(out.Indexes, index)
		}
	}
	return &out
}
