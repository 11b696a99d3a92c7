package diff

import (
	"fmt"
	"slices"
	"strings"
)

// tablePlan is how the rows of a table are read from both sides.
type tablePlan struct {
	up, down *table
	// columns are those that both sides have, in the upstream's order.
	columns []planColumn
	// keys are offsets in columns that identify a row and order them alike on
	// both sides; nil if there is no such key.
	keys []int
	// checksums: the servers write equal rows down alike.
	checksums bool
}

// planColumn is a column with the expressions that read it on each side.
type planColumn struct {
	name                 string
	class                class
	up, down             string // to read
	upHashed, downHashed string // to sum up
}

// planTable decides how to compare a table.
func planTable(p tablePair, up, down *side) *tablePlan {
	plan := &tablePlan{up: p.up, down: p.down, checksums: true}
	for _, u := range p.up.columns {
		d := p.down.column(u.name)
		if d == nil || u.virtual && d.virtual {
			continue // a virtual column follows from the others
		}
		c := commonClass(u, d)
		if c == classJSON && (up.kind != down.kind || !d.json() || !u.json()) {
			plan.checksums = false
		}
		plan.columns = append(plan.columns, planColumn{
			name: u.name, class: c,
			up: readExpr(c, u), down: readExpr(c, d),
			upHashed: hashExpr(c, u), downHashed: hashExpr(c, d),
		})
	}
	plan.keys = plan.findKey(up, down)
	return plan
}

// commonClass is the class to compare by: JSON if either is, else the upstream's.
func commonClass(u, d *column) class {
	if u.json() || d.json() {
		return classJSON
	}
	a, b := classOf(u.dataType), classOf(d.dataType)
	if a == classFloat && b == classDouble {
		return classDouble
	}
	return a
}

func zerofill(c *column, expr string) string {
	if strings.Contains(c.fullType, "zerofill") && !strings.HasSuffix(expr, "+0") {
		return expr + "+0"
	}
	return expr
}

func readExpr(c class, col *column) string { return zerofill(col, c.value(quoteName(col.name))) }

func hashExpr(c class, col *column) string { return zerofill(col, c.hashed(quoteName(col.name))) }

func (p *tablePlan) keyed() bool { return len(p.keys) > 0 }

// findKey chooses the primary key, else a unique key over NOT NULL columns, that
// both sides have.
func (p *tablePlan) findKey(up, down *side) []int {
	candidates := slices.Clone(p.up.indexes)
	slices.SortStableFunc(candidates, func(a, b *index) int {
		switch {
		case a.name == "PRIMARY":
			return -1
		case b.name == "PRIMARY":
			return 1
		}
		return len(a.columns) - len(b.columns)
	})
	for _, idx := range candidates {
		if !idx.unique || idx.partial || !p.down.hasIndex(idx) {
			continue
		}
		if keys := p.keyColumns(idx, up, down); keys != nil {
			return keys
		}
	}
	return nil
}

// keyColumns returns the offsets of an index's columns, nil if the sides may not
// agree on their order.
func (p *tablePlan) keyColumns(idx *index, up, down *side) []int {
	var keys []int
	for _, name := range idx.columns {
		i := slices.IndexFunc(p.columns, func(c planColumn) bool { return strings.EqualFold(c.name, name) })
		if i < 0 || !p.columns[i].class.ordered() {
			return nil
		}
		u, d := p.up.column(name), p.down.column(name)
		if u.nullable || d.nullable || classOf(d.dataType) != p.columns[i].class || p.columns[i].class == classText && !sameOrder(u, d, up, down) {
			return nil
		}
		keys = append(keys, i)
	}
	return keys
}

// sameOrder reports whether both sides compare the texts of a column alike.
func sameOrder(u, d *column, up, down *side) bool {
	a, b := normalCollation(u.collation), normalCollation(d.collation)
	if a != b || up.newCollations != down.newCollations {
		return false
	}
	return up.kind == down.kind || strings.HasSuffix(a, "_bin") || strings.HasSuffix(a, "_general_ci") || a == "ascii_bin"
}

// bound is a key: one literal per key column. nil is beyond all keys.
type bound []string

// keyRange is the keys above from, up to and including to. The upstream has about
// that many rows in it.
type keyRange struct {
	from, to bound
	rows     int
}

func (p *tablePlan) keyNames(t *table) []string {
	names := make([]string, len(p.keys))
	for i, k := range p.keys {
		names[i] = quoteName(t.column(p.columns[k].name).name)
	}
	return names
}

// where writes a range as a condition that an index serves: row constructors
// are not, in MySQL and MariaDB.
func (p *tablePlan) where(t *table, r keyRange) string {
	names := p.keyNames(t)
	var conditions []string
	if r.from != nil {
		conditions = append(conditions, beyond(names, r.from, ">", ""))
	}
	if r.to != nil {
		conditions = append(conditions, beyond(names, r.to, "<", "="))
	}
	if len(conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}

// beyond writes (a, b) > (x, y) as a >= x AND (a > x OR (a = x AND b > y)).
func beyond(names []string, b bound, op, equal string) string {
	if len(names) == 1 {
		return names[0] + " " + op + equal + " " + b[0]
	}
	return fmt.Sprintf("%s %s= %s AND (%[1]s %[2]s %[3]s OR (%[1]s = %[3]s AND %s))",
		names[0], op, b[0], beyond(names[1:], b[1:], op, equal))
}

// selectRows reads all columns of a range in the order of its keys, at most
// limit rows.
func (p *tablePlan) selectRows(t *table, r keyRange, limit int) string {
	return fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT %d",
		strings.Join(p.expressions(t), ", "), t.quoted(), p.where(t, r), strings.Join(p.keyNames(t), ", "), limit)
}

func (p *tablePlan) expressions(t *table) []string {
	list := make([]string, len(p.columns))
	for i, c := range p.columns {
		if list[i] = c.up; t == p.down {
			list[i] = c.down
		}
	}
	return list
}

// checksum sums a range up: the number of rows, and the sums of their CRC32 and of
// its square. One sum would not do: CRC32 is linear, so that two rows that swap a
// value may leave their sum as it was. With the square both CRC32 would have to
// be swapped too.
func (p *tablePlan) checksum(t *table, r keyRange) string {
	var parts, nulls []string
	for i := range p.columns {
		c := &p.columns[i]
		expr := c.upHashed
		if t == p.down {
			expr = c.downHashed
		}
		if c.class.variable() {
			// The length tells where it ends, whatever is in it.
			parts = append(parts, "LENGTH("+expr+")")
		}
		parts = append(parts, expr)
		if t.column(c.name).nullable || p.other(t).column(c.name).nullable {
			nulls = append(nulls, quoteName(t.column(c.name).name)+" IS NULL")
		}
	}
	text := "CONCAT_WS(',', " + strings.Join(append(parts, nulls...), ", ") + ")"
	// A row beyond max_allowed_packet is NULL: it must not vanish.
	side := "'upstream'"
	if t == p.down {
		side = "'downstream'"
	}
	crc := "CRC32(COALESCE(" + text + ", CONCAT_WS(',', " + side + ", " + strings.Join(p.keyNames(t), ", ") + ")))"
	return "SELECT COUNT(*), SUM(" + crc + "), SUM(" + crc + " * " + crc + ") FROM " + t.quoted() + p.where(t, r)
}

func (p *tablePlan) other(t *table) *table {
	if t == p.up {
		return p.down
	}
	return p.up
}

// nextBound finds the key n rows beyond a bound.
func (p *tablePlan) nextBound(t *table, r keyRange, n int) string {
	names := p.keyNames(t)
	reads := make([]string, len(names))
	for i, k := range p.keys {
		if reads[i] = p.columns[k].up; t == p.down {
			reads[i] = p.columns[k].down
		}
	}
	return fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT 1 OFFSET %d",
		strings.Join(reads, ", "), t.quoted(), p.where(t, r), strings.Join(names, ", "), n-1)
}
