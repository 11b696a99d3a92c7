package simple

import (
	"slices"
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// primaryName is the name of the index that stands for a clustered integer
// primary key, which TiDB keeps no index for.
const primaryName = "primary"

// indexSchema is an index as messages describe it.
type indexSchema struct {
	name                      string
	unique, primary, nullable bool
	columns                   []string
}

// columnsOf returns all columns of a table, virtual ones too, by id.
func columnsOf(t *event.TableInfo) []*event.ColumnInfo {
	out := make([]*event.ColumnInfo, 0, len(t.Columns)+len(t.VirtualColumns))
	for i := range t.Columns {
		out = append(out, &t.Columns[i])
	}
	for i := range t.VirtualColumns {
		out = append(out, &t.VirtualColumns[i])
	}
	slices.SortStableFunc(out, func(a, b *event.ColumnInfo) int { return int(a.ID - b.ID) })
	return out
}

// indexesOf returns the indexes of a table, with one for a clustered integer key.
func indexesOf(t *event.TableInfo) []indexSchema {
	nullable := func(name string) bool {
		for _, c := range columnsOf(t) {
			if c.Name == name {
				return !c.NotNull()
			}
		}
		return true
	}
	var out []indexSchema
	hasPrimary := false
	for _, index := range t.Indexes {
		s := indexSchema{name: index.Name, unique: index.Unique, primary: index.Primary}
		for _, c := range index.Columns {
			s.columns = append(s.columns, c.Name)
			s.nullable = s.nullable || nullable(c.Name)
		}
		hasPrimary = hasPrimary || s.primary
		out = append(out, s)
	}
	if !hasPrimary && t.PKIsHandle && len(t.HandleKey) == 1 {
		out = append(out, indexSchema{
			name: primaryName, unique: true, primary: true, columns: []string{t.Columns[t.HandleKey[0]].Name},
		})
	}
	return out
}

// bitDefault returns the number that the default of a BIT column is.
func bitDefault(text string) string {
	var n uint64
	for i := range len(text) {
		n = n<<8 | uint64(text[i])
	}
	return strconv.FormatUint(n, 10)
}

// defaultText returns a column's default as text, and whether it has one.
func defaultText(c *event.ColumnInfo) (string, bool) {
	if c.Default == nil {
		return "", false
	}
	if c.Type == event.TypeBit {
		return bitDefault(*c.Default), true
	}
	return *c.Default, true
}

// hasSign reports whether messages in Avro say if a column is UNSIGNED and ZEROFILL.
func hasSign(c *event.ColumnInfo) bool {
	switch c.Type {
	case event.TypeTiny, event.TypeShort, event.TypeInt24, event.TypeLong, event.TypeLonglong,
		event.TypeFloat, event.TypeDouble, event.TypeBit, event.TypeYear, event.TypeNewDecimal:
		return true
	}
	return false
}

// setKeys completes a table that was read from a message: the indexes' offsets,
// the primary key's flag and the handle key.
func setKeys(t *event.TableInfo) {
	offsets := make(map[string]int, len(t.Columns))
	for i := range t.Columns {
		offsets[t.Columns[i].Name] = i
	}
	var best *event.IndexInfo
	for i := range t.Indexes {
		index := &t.Indexes[i]
		notNull := len(index.Columns) > 0
		for j := range index.Columns {
			c := &index.Columns[j]
			offset, ok := offsets[c.Name]
			if !ok {
				offset = -1 // a virtual generated column
			}
			if c.Offset = offset; !ok || !t.Columns[c.Offset].NotNull() {
				notNull = false
			}
		}
		if !notNull || !index.Unique && !index.Primary || best != nil && best.Primary {
			continue
		}
		if best == nil || index.Primary || len(index.Columns) < len(best.Columns) {
			best = index
		}
	}
	if best == nil {
		return
	}
	t.HandleKey = make([]int, len(best.Columns))
	for i, c := range best.Columns {
		t.HandleKey[i] = c.Offset
		if best.Primary {
			t.Columns[c.Offset].Flag |= event.FlagPrimaryKey
		}
	}
}

// withoutColumns returns a table in which the columns that rows do not carry are
// virtual generated columns, for that is what they are.
func withoutColumns(t *event.TableInfo, missing []bool) *event.TableInfo {
	out := *t
	out.Columns, out.HandleKey, out.Indexes = nil, nil, slices.Clone(t.Indexes)
	for i := range t.Columns {
		if missing[i] {
			out.VirtualColumns = append(out.VirtualColumns, t.Columns[i])
		} else {
			out.Columns = append(out.Columns, t.Columns[i])
		}
	}
	for i := range out.Indexes {
		out.Indexes[i].Columns = slices.Clone(out.Indexes[i].Columns)
	}
	setKeys(&out)
	return &out
}
