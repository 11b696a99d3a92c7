package openprotocol

import (
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// The kinds of events, the t of a key.
const (
	kindRow       = 1
	kindDDL       = 2
	kindWatermark = 3
)

// The bits of a column's f.
const (
	flagBinary = 1 << iota
	flagHandleKey
	flagGenerated
	flagPrimaryKey
	flagUniqueKey
	flagMultipleKey
	flagNullable
	flagUnsigned
)

// plan is what the rows of a table version have in common.
type plan struct {
	table *event.TableInfo
	// names are the members scm and tbl of a key.
	names       []byte
	partitioned bool
	columns     []planColumn
	all, handle []int
}

// planColumn is a column's text up to its value, and how that is written.
type planColumn struct {
	head  []byte
	style style
}

// style is how the texts of a column are written.
type style uint8

const (
	plain   style = iota
	quoted        // with Go's escapes
	encoded       // in base64
)

func newPlan(table *event.TableInfo) *plan {
	p := &plan{table: table, partitioned: table.Partition != nil, names: appendNames(nil, table.Schema, table.Table)}
	flags := columnFlags(table)
	for i := range table.Columns {
		c := &table.Columns[i]
		head := append(jsontext.AppendString(nil, c.Name), `:{"t":`...)
		head = strconv.AppendUint(head, uint64(c.Type), 10)
		if flags[i]&flagHandleKey != 0 {
			head = append(head, `,"h":true`...)
			p.handle = append(p.handle, i)
		}
		head = append(head, `,"f":`...)
		head = strconv.AppendUint(head, flags[i], 10)
		p.columns = append(p.columns, planColumn{append(head, `,"v":`...), styleOf(c)})
		p.all = append(p.all, i)
	}
	return p
}

// appendNames appends the members scm and tbl, if they are not empty.
func appendNames(b []byte, schema, table string) []byte {
	if schema != "" {
		b = jsontext.AppendString(append(b, `,"scm":`...), schema)
	}
	if table != "" {
		b = jsontext.AppendString(append(b, `,"tbl":`...), table)
	}
	return b
}

func styleOf(c *event.ColumnInfo) style {
	switch {
	case !column.IsString(c):
		return plain
	case c.Type >= event.TypeTinyBlob && c.Type <= event.TypeBlob:
		return encoded
	case c.Binary():
		return quoted
	}
	return plain
}

// columnFlags returns the f of each column. In MySQL only the first column of an
// index is marked; here all of them are, so that they tell the whole key.
func columnFlags(table *event.TableInfo) []uint64 {
	flags := make([]uint64, len(table.Columns))
	for i := range table.Columns {
		c := &table.Columns[i]
		for _, bit := range [...]struct {
			is   bool
			flag uint64
		}{
			{c.Binary(), flagBinary},
			{c.Generated(), flagGenerated},
			{c.Flag&event.FlagPrimaryKey != 0, flagPrimaryKey},
			{c.Flag&event.FlagUniqueKey != 0, flagUniqueKey},
			{c.Flag&event.FlagMultipleKey != 0, flagMultipleKey},
			{!c.NotNull(), flagNullable},
			{c.Unsigned(), flagUnsigned},
		} {
			if bit.is {
				flags[i] |= bit.flag
			}
		}
	}
	for _, offset := range table.HandleKey {
		flags[offset] |= flagHandleKey
	}
	for i := range table.Indexes {
		index := &table.Indexes[i]
		for _, c := range index.Columns {
			if c.Offset < 0 {
				continue
			}
			switch {
			case index.Primary:
				flags[c.Offset] |= flagPrimaryKey
			case index.Unique:
				flags[c.Offset] |= flagUniqueKey
			}
			if len(index.Columns) > 1 {
				flags[c.Offset] |= flagMultipleKey
			}
		}
	}
	return flags
}
