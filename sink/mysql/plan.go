package mysql

import (
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// plan is what a version of a table means for its rows' statements.
type plan struct {
	table *event.TableInfo
	// columns are the offsets of those that are written: all but generated ones.
	columns []int
	// where are the offsets of those that identify a row in a DELETE.
	where []int
	// whole: a DELETE compares the row as a whole, NULL-safe. A table without a
	// handle key has nothing else; of a partitioned one see newPlan.
	whole bool
	// keyless: the table has no handle key. Then there may be several rows that are
	// the same, and a DELETE is of one.
	keyless bool
	// clustered: TiKV's key of the row is its handle key.
	clustered bool
	// prefixed: of that, the columns' first characters alone are in TiKV's key, so
	// that they may change under it.
	prefixed bool
	// replaces: updates are written as in safe mode, see updateReplaces.
	replaces bool
	// unique are the unique keys that rows can conflict in. That of a clustered
	// table's TiKV key is not among them.
	unique []uniqueKey
	// handle is the handle key.
	handle uniqueKey
	// enums are the offsets of ENUM columns.
	enums []int
	// hidden: a unique key has a column whose value the row does not have.
	hidden bool

	insert, replace, remove, upsert string
}

// uniqueKey is a unique index, or the clustered primary key.
type uniqueKey []keyColumn

type keyColumn struct {
	offset int
	// prefix is how many characters of the value count, -1 for all.
	prefix int
	// fold: a collation may hold values for equal whose bytes differ.
	fold bool
	// pad: spaces at the end do not count.
	pad bool
}

func newPlan(t *event.TableInfo, s *server) *plan {
	p := &plan{table: t, clustered: (t.PKIsHandle || t.IsCommonHandle) && t.HasHandleKey(), keyless: !t.HasHandleKey()}
	for i := range t.Columns {
		if !t.Columns[i].Generated() {
			p.columns = append(p.columns, i)
			if t.Columns[i].Type == event.TypeEnum {
				p.enums = append(p.enums, i)
			}
		}
	}
	p.replaces = s.isTiDB && updateReplaces(t)
	p.where = t.HandleKey
	// A row that moves between partitions is a delete in one span and an insert in
	// another, which come in any order. Under a global index both have the same
	// handle key; the delete must not hit the new row, which differs in another
	// column.
	if p.keyless || t.Partition != nil {
		p.whole = true
		p.where = comparable(t, s)
	}
	for _, offset := range t.HandleKey {
		p.handle = append(p.handle, newKeyColumn(&t.Columns[offset], event.IndexColumn{Offset: offset, Length: -1}))
	}
	p.addUniqueKeys()

	name := appendName(append(appendName(nil, t.Schema), '.'), t.Table)
	var list, assignments []byte
	for i, offset := range p.columns {
		if i > 0 {
			list, assignments = append(list, ','), append(assignments, ',')
		}
		list = appendName(list, t.Columns[offset].Name)
		assignments = appendName(assignments, t.Columns[offset].Name)
		assignments = append(append(assignments, "=VALUES("...), appendName(nil, t.Columns[offset].Name)...)
		assignments = append(assignments, ')')
	}
	into := "INTO " + string(name) + " (" + string(list) + ") VALUES "
	p.insert, p.replace = "INSERT "+into, "REPLACE "+into
	p.upsert = " ON DUPLICATE KEY UPDATE " + string(assignments)
	p.remove = "DELETE FROM " + string(name) + " WHERE "
	if !p.whole {
		p.remove += string(appendTuple(nil, len(p.where), func(dst []byte, i int) []byte {
			return appendName(dst, t.Columns[p.where[i]].Name)
		})) + " IN ("
	}
	return p
}

// appendTuple appends n items, in brackets if there are several.
func appendTuple(dst []byte, n int, item func(dst []byte, i int) []byte) []byte {
	if n > 1 {
		dst = append(dst, '(')
	}
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = item(dst, i)
	}
	if n > 1 {
		dst = append(dst, ')')
	}
	return dst
}

// comparable returns the handle key and the columns whose values can be compared
// with a literal, generated ones included.
func comparable(t *event.TableInfo, s *server) []int {
	var out []int
	for i := range t.Columns {
		switch t.Columns[i].Type {
		case event.TypeVector:
			continue
		case event.TypeJSON:
			// MariaDB's is text, which is what we wrote; of others only the documents
			// are equal, and of floating point numbers in them not even those.
			if !s.isMariaDB && !slices.Contains(t.HandleKey, i) {
				continue
			}
		}
		out = append(out, i)
	}
	return out
}

func (p *plan) addUniqueKeys() {
	t := p.table
	for i := range t.Indexes {
		index := &t.Indexes[i]
		if index.Primary && p.clustered {
			p.prefixed = slices.ContainsFunc(index.Columns, func(c event.IndexColumn) bool { return c.Length >= 0 })
			continue
		}
		if !index.Unique && !index.Primary {
			continue
		}
		key := make(uniqueKey, len(index.Columns))
		for j, c := range index.Columns {
			if c.Offset < 0 {
				p.hidden = true
				return
			}
			key[j] = newKeyColumn(&t.Columns[c.Offset], c)
		}
		p.unique = append(p.unique, key)
	}
}

// updateReplaces reports whether ON DUPLICATE KEY UPDATE would damage a row in a
// TiDB, whose VALUES() of a BIT that takes eight bytes has them in reverse.
func updateReplaces(t *event.TableInfo) bool {
	return slices.ContainsFunc(t.Columns, func(c event.ColumnInfo) bool { return c.Type == event.TypeBit && c.Length > 56 })
}

// moves reports whether an update changes a unique key, or may do so.
func (p *plan) moves(before, after []event.Value) bool {
	if p.keyless || p.hidden {
		return true
	}
	for _, key := range p.unique {
		for _, c := range key {
			if !event.Equal(before[c.offset], after[c.offset]) {
				return true
			}
		}
	}
	return false
}

// wanders reports whether a handle key can pass from one row to another within a
// transaction.
func (p *plan) wanders() bool { return !p.clustered && !p.keyless }

// sameHandle reports whether two images have the same handle key.
func (p *plan) sameHandle(a, b []event.Value) bool {
	for _, offset := range p.table.HandleKey {
		if !event.Equal(a[offset], b[offset]) {
			return false
		}
	}
	return !p.keyless
}

// isLax reports whether a strict SQL mode refuses a row that TiDB has: an ENUM
// column holds none of its elements, as a lax mode writes it.
func (p *plan) isLax(image []event.Value) bool {
	for _, offset := range p.enums {
		if v := &image[offset]; v.Kind() == event.KindEnum && v.Uint64() == 0 {
			return true
		}
	}
	return false
}

// verb is a kind of statement.
type verb uint8

const (
	verbDelete verb = iota
	verbUpsert
	verbInsert
	verbReplace
)

func (v verb) String() string {
	return [...]string{"DELETE", "INSERT … ON DUPLICATE KEY UPDATE", "INSERT", "REPLACE"}[v]
}

// begin appends a statement up to its first row.
func (p *plan) begin(dst []byte, v verb) []byte {
	switch v {
	case verbDelete:
		return append(dst, p.remove...)
	case verbReplace:
		return append(dst, p.replace...)
	default:
		return append(dst, p.insert...)
	}
}

// row appends one row of a statement.
func (p *plan) row(dst []byte, v verb, image []event.Value) []byte {
	switch {
	case v != verbDelete:
		dst = append(dst, '(')
		for i, offset := range p.columns {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendLiteral(dst, image[offset])
		}
		return append(dst, ')')
	case !p.whole:
		return appendTuple(dst, len(p.where), func(dst []byte, i int) []byte {
			return appendLiteral(dst, image[p.where[i]])
		})
	}
	dst = append(dst, '(')
	for i, offset := range p.where {
		if i > 0 {
			dst = append(dst, " AND "...)
		}
		exactly := !slices.Contains(p.table.HandleKey, offset) // of these the index decides
		dst = appendComparison(dst, &p.table.Columns[offset], image[offset], exactly)
	}
	return append(dst, ')')
}

// separator stands between rows.
func (p *plan) separator(v verb) string {
	if v == verbDelete && p.whole {
		return " OR "
	}
	return ","
}

// appendComparison appends a condition that a column has a value: a text exactly,
// whatever the column's collation, or as an index can find it.
func appendComparison(dst []byte, c *event.ColumnInfo, v event.Value, exactly bool) []byte {
	if exactly && v.Kind() == event.KindText && isText(c) {
		dst = append(appendName(append(dst, "CONVERT("...), c.Name), " USING utf8mb4) COLLATE utf8mb4_bin"...)
	} else {
		dst = appendName(dst, c.Name)
	}
	dst = append(dst, "<=>"...)
	if v.Kind() == event.KindEnum || v.Kind() == event.KindSet {
		return appendQuoted(dst, []byte(v.Text())) // as a number, the 64th element of a SET makes it negative
	}
	return appendLiteral(dst, v)
}

// end appends what follows the last row.
func (p *plan) end(dst []byte, v verb) []byte {
	switch {
	case v == verbDelete && p.keyless:
		return append(dst, " LIMIT 1"...)
	case v == verbDelete && !p.whole:
		return append(dst, ')')
	case v == verbUpsert:
		return append(dst, p.upsert...)
	}
	return dst
}

// prepared returns the text of a statement of n rows with placeholders.
func (p *plan) prepared(v verb, n int) string {
	row := make([]byte, 0, 2*len(p.columns)+1)
	for i := range p.columns {
		row = append(row, ",("[b2i(i == 0)], '?')
	}
	row = append(row, ')')
	dst := p.begin(nil, v)
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, row...)
	}
	return string(p.end(dst, v))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
