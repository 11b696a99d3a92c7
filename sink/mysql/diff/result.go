package diff

import (
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Result is what Compare found.
type Result struct {
	// UpstreamTs and DownstreamTs are what was read: 0 for a MySQL or MariaDB,
	// whose state when Compare began was.
	UpstreamTs, DownstreamTs event.Ts
	// Tables are all tables of either side, sorted by name.
	Tables []*TableResult
}

// TableResult is what Compare found in one table.
type TableResult struct {
	Schema, Table string
	// Rows is how many rows the upstream has.
	Rows int64
	// Structure lists how the structures differ, a sentence each.
	Structure []string
	// Missing, Extra and Different are the numbers of rows that exist upstream
	// only, downstream only, and on both sides with different values.
	Missing, Extra, Different int64
	// Differences are the first of those rows that were found.
	Differences []RowDifference
}

// Kind says how a row differs.
type Kind uint8

const (
	// Missing is a row that exists upstream only.
	Missing Kind = iota + 1
	// Extra is a row that exists downstream only.
	Extra
	// Different is a row with other values downstream.
	Different
)

// String returns "missing", "extra" or "different".
func (k Kind) String() string {
	switch k {
	case Missing:
		return "missing"
	case Extra:
		return "extra"
	case Different:
		return "different"
	}
	return "unknown kind"
}

// RowDifference is a row that differs.
type RowDifference struct {
	Kind Kind
	// Key identifies the row; it is nil in a table without a key, whose rows
	// are either missing or extra.
	Key []ColumnValue
	// Columns are the columns that differ: all of a missing or extra row but
	// its key.
	Columns []ColumnDifference
}

// ColumnValue is a column of a row.
type ColumnValue struct {
	Name  string
	Value Value
}

// ColumnDifference is a column that differs, or stands on one side only. Then
// the other side's Value is NULL.
type ColumnDifference struct {
	Name                 string
	Upstream, Downstream Value
}

// Value is the text that a server writes a value down with.
type Value struct {
	Text string
	Null bool
	// Binary: Text is bytes.
	Binary bool
	number bool
}

// String writes a value as SQL, abbreviated if it is long.
func (v Value) String() string {
	const limit = 80
	switch {
	case v.Null:
		return "NULL"
	case v.number:
		return v.Text
	case v.Binary || !utf8.ValidString(v.Text):
		if len(v.Text) > limit/2 {
			return fmt.Sprintf("x'%s…' (%d bytes)", hex.EncodeToString([]byte(v.Text[:limit/2])), len(v.Text))
		}
		return "x'" + hex.EncodeToString([]byte(v.Text)) + "'"
	case len(v.Text) > limit:
		return fmt.Sprintf("%s… (%d bytes)", strconv.Quote(strings.ToValidUTF8(v.Text[:limit], "")), len(v.Text))
	}
	return strconv.Quote(v.Text)
}

// Equal reports whether no difference was found.
func (r *Result) Equal() bool {
	for _, t := range r.Tables {
		if !t.Equal() {
			return false
		}
	}
	return true
}

// Equal reports whether no difference was found in the table.
func (t *TableResult) Equal() bool {
	return len(t.Structure) == 0 && t.Missing == 0 && t.Extra == 0 && t.Different == 0
}

// Name returns schema.table.
func (t *TableResult) Name() string { return t.Schema + "." + t.Table }

// Print writes a line per table, and below it what differs: structures, and at
// most rows rows.
func (r *Result) Print(w io.Writer, rows int) error {
	unequal := 0
	for _, t := range r.Tables {
		if !t.Equal() {
			unequal++
		}
		if err := t.Print(w, rows); err != nil {
			return err
		}
	}
	if unequal == 0 {
		_, err := fmt.Fprintf(w, "%d tables are equal\n", len(r.Tables))
		return err
	}
	_, err := fmt.Fprintf(w, "%d of %d tables differ\n", unequal, len(r.Tables))
	return err
}

// Print writes what is known of a table, with at most rows of its rows.
func (t *TableResult) Print(w io.Writer, rows int) error {
	var b strings.Builder
	if t.Equal() {
		fmt.Fprintf(&b, "%s: equal, %d rows\n", t.Name(), t.Rows)
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "%s: DIFFERENT, %d rows upstream", t.Name(), t.Rows)
	for _, n := range []struct {
		count int64
		what  string
	}{{t.Missing, "missing downstream"}, {t.Extra, "downstream only"}, {t.Different, "with other values"}} {
		if n.count > 0 {
			fmt.Fprintf(&b, ", %d %s", n.count, n.what)
		}
	}
	b.WriteByte('\n')
	for _, s := range t.Structure {
		fmt.Fprintf(&b, "  structure: %s\n", s)
	}
	for _, d := range t.Differences[:min(rows, len(t.Differences))] {
		d.print(&b)
	}
	if n := t.Missing + t.Extra + t.Different - int64(min(rows, len(t.Differences))); n > 0 {
		fmt.Fprintf(&b, "  … and %d more rows\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (d *RowDifference) print(b *strings.Builder) {
	fmt.Fprintf(b, "  %s row", d.Kind)
	for _, k := range d.Key {
		fmt.Fprintf(b, " %s=%s", k.Name, k.Value)
	}
	b.WriteByte('\n')
	for _, c := range d.Columns {
		switch d.Kind {
		case Missing:
			fmt.Fprintf(b, "    %s: %s\n", c.Name, c.Upstream)
		case Extra:
			fmt.Fprintf(b, "    %s: %s\n", c.Name, c.Downstream)
		default:
			fmt.Fprintf(b, "    %s: %s upstream, %s downstream\n", c.Name, c.Upstream, c.Downstream)
		}
	}
}

// add counts a difference and keeps it if there is room. r.mu is held.
func (r *tableRun) add(kind Kind, up, down image) {
	switch kind {
	case Missing:
		r.result.Missing++
	case Extra:
		r.result.Extra++
	case Different:
		r.result.Different++
	}
	if len(r.result.Differences) >= r.options.MaxDifferences {
		return
	}
	d := RowDifference{Kind: kind}
	key := up
	if key == nil {
		key = down
	}
	isKey := make([]bool, len(r.plan.columns))
	for _, k := range r.plan.keys {
		isKey[k] = true
		d.Key = append(d.Key, ColumnValue{r.plan.columns[k].name, r.plan.value(k, key)})
	}
	for i, c := range r.plan.columns {
		if isKey[i] || up != nil && down != nil && c.class.equal(up[i], down[i]) {
			continue
		}
		d.Columns = append(d.Columns, ColumnDifference{c.name, r.plan.value(i, up), r.plan.value(i, down)})
	}
	r.result.Differences = append(r.result.Differences, d)
}

func (p *tablePlan) value(i int, row image) Value {
	if row == nil || row[i] == nil {
		return Value{Null: true}
	}
	c := p.columns[i].class
	return Value{Text: string(row[i]), Binary: c == classBinary, number: c <= classBit}
}
