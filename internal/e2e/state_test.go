package e2e_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// validated returns a validator around a sink, which may be nil, of tables that
// are empty at the start ts. What it finds fails the test.
func validated(t *testing.T, inner sink.Sink, cfg cdctest.ValidatorConfig) *cdctest.Validator {
	t.Helper()
	if cfg.Base == nil {
		cfg.Base = cdctest.NewState()
	}
	v := cdctest.Validate(inner, cfg)
	t.Cleanup(func() {
		for _, broken := range v.Violations() {
			t.Error(broken)
		}
	})
	return v
}

// text renders a value as a [cdctest.State] does.
func text(v event.Value) string {
	switch v.Kind() {
	case event.KindNull:
		return cdctest.Null
	case event.KindFloat32, event.KindFloat64:
		return strconv.FormatFloat(v.Float64(), 'g', -1, 64)
	case event.KindBit:
		return strconv.FormatUint(v.Uint64(), 10)
	}
	return string(v.AppendText(nil))
}

// sqlText brings a result of the text protocol, in UTC, to the form of a [cdctest.State].
func sqlText(b sql.RawBytes, c *event.ColumnInfo) string {
	if b == nil {
		return cdctest.Null
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

// compareAt fails the test if what came differs from what TiDB itself has at ts.
func compareAt(ctx context.Context, t *testing.T, db *sql.DB, v *cdctest.Validator, ts event.Ts) {
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
	state := v.State(ts)
	maps.DeleteFunc(state.Tables, func(_ int64, table *event.TableInfo) bool { return table.View || table.Sequence })
	names := queryStrings(ctx, t, conn, "SHOW FULL TABLES WHERE table_type = 'BASE TABLE'")
	var told []string
	for _, table := range state.Tables {
		told = append(told, table.Table)
	}
	slices.Sort(names)
	slices.Sort(told)
	if !slices.Equal(names, told) {
		t.Errorf("at ts %d: TiDB has tables %v, events tell %v", ts, names, told)
		return
	}
	for _, table := range state.Tables {
		want, err := selectAll(ctx, conn, table)
		if err != nil {
			t.Errorf("%s at ts %d: %v; its DDLs:%s", table.Name(), ts, err, history(v, table.ID))
			continue
		}
		var got []string
		for _, id := range table.PhysicalIDs() {
			for _, texts := range state.Rows[id] {
				got = append(got, strings.Join(texts, " | "))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		diff(t, fmt.Sprintf("%s at ts %d", table.Name(), ts), want, got)
	}
}

// history lists the DDLs of a table.
func history(v *cdctest.Validator, id int64) string {
	var b strings.Builder
	for _, d := range v.DDLs() {
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
