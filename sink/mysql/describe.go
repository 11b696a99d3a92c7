package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	parsermysql "github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// DescribeTable returns what a database tells of a table: its columns in their order, but
// for virtual generated ones, with their types, and its handle key; nil if there is no
// such table. It has no ids and no defaults.
func DescribeTable(ctx context.Context, db *sql.DB, schema, table string) (*event.TableInfo, error) {
	t := &event.TableInfo{Schema: schema, Table: table}
	const columns = "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, GENERATION_EXPRESSION, EXTRA " +
		"FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION"
	p := parser.New()
	err := eachRow(ctx, db, columns, []any{schema, table}, func(v []sql.NullString) error {
		c := event.ColumnInfo{Name: v[0].String, Charset: "binary", Collation: "binary", GeneratedExpr: v[5].String}
		if c.GeneratedExpr != "" {
			if strings.Contains(strings.ToUpper(v[6].String), "VIRTUAL") {
				return nil
			}
			c.Stored = true
		}
		if err := setColumnType(p, &c, v[1].String); err != nil {
			return fmt.Errorf("column %s: type %s: %w", c.Name, v[1].String, err)
		}
		if v[2].String == "NO" {
			c.Flag |= event.FlagNotNull
		}
		if v[3].Valid {
			c.Charset, c.Collation = v[3].String, v[4].String
		}
		t.Columns = append(t.Columns, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("describe table %s: %w", t.Name(), err)
	}
	if len(t.Columns) == 0 {
		return nil, nil //nolint:nilnil // there is no such table
	}
	if err := describeKey(ctx, db, t); err != nil {
		return nil, fmt.Errorf("describe the keys of table %s: %w", t.Name(), err)
	}
	return t, nil
}

// setColumnType sets the type of a column from a database's text for it.
func setColumnType(p *parser.Parser, c *event.ColumnInfo, text string) error {
	statement, err := p.ParseOneStmt("CREATE TABLE t (c "+text+")", "", "")
	if err != nil {
		return errors.New("it is not one of TiDB's")
	}
	created, ok := statement.(*ast.CreateTableStmt)
	if !ok || len(created.Cols) != 1 {
		return errors.New("it is not one of TiDB's")
	}
	tp := created.Cols[0].Tp
	c.Type, c.Length, c.Decimal, c.Elems = event.ColumnType(tp.GetType()), tp.GetFlen(), tp.GetDecimal(), tp.GetElems()
	if parsermysql.HasUnsignedFlag(tp.GetFlag()) {
		c.Flag |= event.FlagUnsigned
	}
	return nil
}

// describeKey sets the handle key: the primary key, or the shortest unique key without
// NULLs.
func describeKey(ctx context.Context, db *sql.DB, t *event.TableInfo) error {
	const keys = "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS " +
		"WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"
	var names []string
	offsets := map[string][]int{}
	err := eachRow(ctx, db, keys, []any{t.Schema, t.Table}, func(v []sql.NullString) error {
		if index := v[0].String; offsets[index] == nil {
			names = append(names, index)
		}
		// Of an expression there is no column, as of a virtual one.
		offsets[v[0].String] = append(offsets[v[0].String], t.ColumnOffset(v[1].String))
		return nil
	})
	if err != nil {
		return err
	}
	for _, index := range names {
		key := offsets[index]
		primary := strings.EqualFold(index, "PRIMARY")
		if slices.ContainsFunc(key, func(i int) bool { return i < 0 || !primary && !t.Columns[i].NotNull() }) {
			continue
		}
		if primary || t.HandleKey == nil || len(key) < len(t.HandleKey) {
			t.HandleKey = key
		}
		if primary {
			break
		}
	}
	return nil
}

// eachRow calls fn for each row of a query.
func eachRow(ctx context.Context, db *sql.DB, query string, args []any, fn func([]sql.NullString) error) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	values, places := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		places[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return err
		}
		if err := fn(values); err != nil {
			return err
		}
	}
	return rows.Err()
}
