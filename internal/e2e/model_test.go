package e2e_test

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// null stands for SQL NULL in texts.
const null = "\x00NULL"

// model is the state of a database as the delivered events tell it: by physical
// table id and row key, the texts of all columns.
type model struct {
	rows   map[int64]map[string][]string
	tables map[int64]*event.TableInfo // by logical id
	ddls   []*event.DDL               // all of them, for messages
}

// modelAt replays everything up to ts in commit ts order.
func (r *recorder) modelAt(ts event.Ts) *model {
	r.mu.Lock()
	defer r.mu.Unlock()
	type change struct {
		ts  event.Ts
		row *event.RowChanged
		ddl *event.DDL
	}
	var changes []change
	for _, row := range r.seen {
		if row.CommitTs <= ts {
			changes = append(changes, change{ts: row.CommitTs, row: row})
		}
	}
	for _, ddl := range r.ddls {
		if ddl.CommitTs <= ts {
			changes = append(changes, change{ts: ddl.CommitTs, ddl: ddl})
		}
	}
	// A row with a DDL's own commit ts comes before it.
	slices.SortStableFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.ts, b.ts), cmp.Compare(boolInt(a.ddl != nil), boolInt(b.ddl != nil)))
	})
	m := &model{rows: map[int64]map[string][]string{}, tables: map[int64]*event.TableInfo{}}
	for _, c := range changes {
		if c.ddl != nil {
			m.ddl(c.ddl)
		} else {
			m.row(c.row)
		}
	}
	return m
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (m *model) row(r *event.RowChanged) {
	rows := m.rows[r.PhysicalTableID]
	if rows == nil {
		rows = map[string][]string{}
		m.rows[r.PhysicalTableID] = rows
	}
	if r.Kind() == event.Delete {
		delete(rows, string(r.Key))
		return
	}
	texts := make([]string, len(r.Columns))
	for i, v := range r.Columns {
		texts[i] = text(v)
	}
	rows[string(r.Key)] = texts
}

// ddl moves the state to the new schema: tables and partitions come and go, and
// rows get the origin default of new columns.
func (m *model) ddl(d *event.DDL) {
	m.ddls = append(m.ddls, d)
	live := map[int64]bool{}
	for _, c := range d.Changes {
		if c.After != nil {
			for _, id := range c.After.PhysicalIDs() {
				live[id] = true
			}
		}
	}
	for _, c := range d.Changes {
		if c.Before != nil {
			delete(m.tables, c.Before.ID)
			for _, id := range c.Before.PhysicalIDs() {
				if !live[id] {
					delete(m.rows, id)
				}
			}
		}
	}
	for _, c := range d.Changes {
		if c.After == nil {
			continue
		}
		m.tables[c.After.ID] = c.After
		if c.Before == nil {
			continue
		}
		for _, id := range c.After.PhysicalIDs() {
			for key, old := range m.rows[id] {
				m.rows[id][key] = convert(old, c.Before, c.After)
			}
		}
	}
}

func convert(old []string, before, after *event.TableInfo) []string {
	texts := make([]string, len(after.Columns))
	for i, c := range after.Columns {
		at := slices.IndexFunc(before.Columns, func(b event.ColumnInfo) bool { return b.ID == c.ID })
		switch {
		case at >= 0:
			texts[i] = old[at]
		case c.OriginDefault != nil:
			texts[i] = *c.OriginDefault
		default:
			texts[i] = null
		}
	}
	return texts
}

// text renders a value as a TiDB session in UTC prints it.
func text(v event.Value) string {
	switch v.Kind() {
	case event.KindNull:
		return null
	case event.KindFloat32, event.KindFloat64:
		return strconv.FormatFloat(v.Float64(), 'g', -1, 64)
	case event.KindBit:
		return strconv.FormatUint(v.Uint64(), 10)
	}
	return string(v.AppendText(nil))
}

// sqlText brings a result of the text protocol to the same form.
func sqlText(b sql.RawBytes, c *event.ColumnInfo) string {
	if b == nil {
		return null
	}
	switch c.Type {
	case event.TypeFloat, event.TypeDouble:
		bits := 64
		if c.Type == event.TypeFloat {
			bits = 32
		}
		if f, err := strconv.ParseFloat(string(b), bits); err == nil {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
	case event.TypeBit:
		var be [8]byte
		copy(be[8-len(b):], b)
		return strconv.FormatUint(binary.BigEndian.Uint64(be[:]), 10)
	case event.TypeYear:
		if n, err := strconv.Atoi(string(b)); err == nil {
			return strconv.Itoa(n)
		}
	}
	return string(b)
}

// compareAt fails the test if the model differs from what TiDB itself has at ts.
func compareAt(ctx context.Context, t *testing.T, db *sql.DB, m *model, ts event.Ts) {
	t.Helper()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("SET tidb_snapshot = '%d'", ts)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := conn.ExecContext(ctx, "SET tidb_snapshot = ''"); err != nil {
			t.Error(err)
		}
	}()
	names := queryStrings(ctx, t, conn, "SHOW FULL TABLES WHERE table_type = 'BASE TABLE'")
	var modelled []string
	for _, table := range m.tables {
		if !table.View && !table.Sequence {
			modelled = append(modelled, table.Table)
		}
	}
	slices.Sort(names)
	slices.Sort(modelled)
	if !slices.Equal(names, modelled) {
		t.Errorf("at ts %d: TiDB has tables %v, events tell %v", ts, names, modelled)
		return
	}
	for _, table := range m.tables {
		if table.View || table.Sequence {
			continue
		}
		want, err := selectAll(ctx, conn, table)
		if err != nil {
			t.Errorf("%s at ts %d: %v; its DDLs:%s", table.Name(), ts, err, m.history(table.ID))
			continue
		}
		var got []string
		for _, id := range table.PhysicalIDs() {
			for _, texts := range m.rows[id] {
				got = append(got, strings.Join(texts, " | "))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		diff(t, fmt.Sprintf("%s at ts %d", table.Name(), ts), want, got)
	}
}

// history lists the DDLs of a table.
func (m *model) history(id int64) string {
	var b strings.Builder
	for _, d := range m.ddls {
		for _, c := range d.Changes {
			if c.Before != nil && c.Before.ID == id || c.After != nil && c.After.ID == id {
				fmt.Fprintf(&b, "\n  %d %s", d.CommitTs, d.Query)
			}
		}
	}
	return b.String()
}

// diff reports the first rows of two sorted lists that differ.
func diff(t *testing.T, what string, want, got []string) {
	t.Helper()
	if slices.Equal(want, got) {
		return
	}
	shown := 0
	for i, j := 0, 0; (i < len(want) || j < len(got)) && shown < 6; {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			i, j = i+1, j+1
		case j == len(got) || i < len(want) && want[i] < got[j]:
			t.Errorf("%s: only TiDB has %q", what, want[i])
			i, shown = i+1, shown+1
		default:
			t.Errorf("%s: only the events tell %q", what, got[j])
			j, shown = j+1, shown+1
		}
	}
	t.Errorf("%s: TiDB has %d rows, events tell %d", what, len(want), len(got))
}

func selectAll(ctx context.Context, conn *sql.Conn, table *event.TableInfo) ([]string, error) {
	names := make([]string, len(table.Columns))
	for i, c := range table.Columns {
		names[i] = "`" + c.Name + "`"
	}
	rows, err := conn.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM `%s`", strings.Join(names, ", "), table.Table))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	raw := make([]sql.RawBytes, len(names))
	dst := make([]any, len(names))
	for i := range raw {
		dst[i] = &raw[i]
	}
	var out []string
	for rows.Next() {
		if err := rows.Scan(dst...); err != nil {
			return nil, err
		}
		texts := make([]string, len(raw))
		for i, b := range raw {
			texts[i] = sqlText(b, &table.Columns[i])
		}
		out = append(out, strings.Join(texts, " | "))
	}
	return out, rows.Err()
}

func queryStrings(ctx context.Context, t *testing.T, conn *sql.Conn, query string) []string {
	t.Helper()
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		first, rest := "", make([]sql.RawBytes, len(columns)-1)
		dst := []any{&first}
		for i := range rest {
			dst = append(dst, &rest[i])
		}
		if err := rows.Scan(dst...); err != nil {
			t.Fatal(err)
		}
		out = append(out, first)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
