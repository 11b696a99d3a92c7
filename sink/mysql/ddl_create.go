package mysql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// createTables makes a CREATE TABLE of each change. The query of a restored
// backup has one statement per table, filtered ones among them; a table whose
// statement is not found is made from its TableInfo.
func (w *ddlRewriter) createTables(statements []ast.StmtNode) error {
	for _, c := range ddlChanges(w.ddl) {
		if c.After == nil {
			return fmt.Errorf("it is to create a table that it drops: %s", c.Before.Name())
		}
		s := w.statementOf(statements, c.After)
		if s == nil {
			w.addCreate(w.tableSQL(c.After), "")
			continue
		}
		if err := w.createTable(s, c.After); err != nil {
			return err
		}
	}
	return nil
}

// statementOf finds the statement that creates a table.
func (w *ddlRewriter) statementOf(statements []ast.StmtNode, t *event.TableInfo) *ast.CreateTableStmt {
	for _, s := range statements {
		create, ok := s.(*ast.CreateTableStmt)
		if !ok {
			continue
		}
		schema := create.Table.Schema.O
		if schema == "" {
			schema = w.ddl.Schema
		}
		if len(statements) == 1 || strings.EqualFold(create.Table.Name.O, t.Table) && strings.EqualFold(schema, t.Schema) {
			return create
		}
	}
	return nil
}

func (w *ddlRewriter) addCreate(sql, instead string) {
	w.plan.statements = append(w.plan.statements,
		ddlStatement{sql: sql, done: []uint16{errTableExists, errNoDatabase}, instead: instead})
}

func (w *ddlRewriter) createTable(s *ast.CreateTableStmt, after *event.TableInfo) error {
	if s.TemporaryKeyword != ast.TemporaryNone {
		// Its rows are never replicated, and no other server has global ones.
		w.note("the temporary table %s", after.Name())
		return nil
	}
	s.Table.Schema, s.Table.Name = ast.NewCIStr(after.Schema), ast.NewCIStr(after.Table)
	s.IfNotExists = true
	if s.ReferTable != nil {
		if s.Options = nil; w.dialect != dialectTiDB {
			s.Partition = nil
		}
		sql, err := w.print(s)
		if err != nil {
			return err
		}
		w.addCreate(sql, w.tableSQL(after))
		return nil
	}
	for _, def := range s.Cols {
		w.column(def, after, false)
	}
	s.Constraints = w.constraints(s.Constraints, nil, after)
	s.Options = w.tableOptions(s.Options)
	s.Options = slices.DeleteFunc(s.Options, func(o *ast.TableOption) bool {
		return o.Tp == ast.TableOptionCharset || o.Tp == ast.TableOptionCollate
	})
	// In words, because the database downstream may have others.
	if after.Charset != "" {
		s.Options = append(s.Options, &ast.TableOption{Tp: ast.TableOptionCharset, StrValue: after.Charset})
	}
	if after.Collation != "" {
		s.Options = append(s.Options, &ast.TableOption{Tp: ast.TableOptionCollate, StrValue: w.collation(after.Collation)})
	}
	if w.dialect != dialectTiDB {
		w.partition(s.Partition)
		s.SplitIndex = nil
	}
	sql, err := w.print(s)
	if err != nil {
		return err
	}
	w.addCreate(sql, "")
	return nil
}

// partition drops what only TiDB knows.
func (w *ddlRewriter) partition(p *ast.PartitionOptions) {
	if p == nil {
		return
	}
	p.UpdateIndexes = nil
	for _, d := range p.Definitions {
		d.Options = slices.DeleteFunc(d.Options, func(o *ast.TableOption) bool { return o.Tp != ast.TableOptionComment })
	}
}

func (w *ddlRewriter) createIndex(s *ast.CreateIndexStmt) error {
	table, err := w.alteredTable()
	if err != nil {
		return err
	}
	s.Table.Schema, s.Table.Name = ast.NewCIStr(table.Schema), ast.NewCIStr(table.Table)
	s.LockAlg, s.IfNotExists = nil, false
	if s.KeyType == ast.IndexKeyTypeVector && !w.vectors {
		w.note("the index %s of %s", s.IndexName, table.Name())
		return nil
	}
	global := s.KeyType == ast.IndexKeyTypeUnique && isGlobal(s.IndexOption)
	if global || s.KeyType == ast.IndexKeyTypeVector || s.KeyType == ast.IndexKeyTypeColumnar || !w.index(s.IndexPartSpecifications, s.IndexOption) {
		if w.dialect != dialectTiDB {
			w.note("the index %s of %s", s.IndexName, table.Name())
			return nil
		}
	}
	return w.restore(s, alterDone...)
}

func (w *ddlRewriter) dropIndex(s *ast.DropIndexStmt) error {
	table, err := w.alteredTable()
	if err != nil {
		return err
	}
	s.Table.Schema, s.Table.Name = ast.NewCIStr(table.Schema), ast.NewCIStr(table.Table)
	s.LockAlg, s.IfExists = nil, false
	return w.restore(s, alterDone...)
}

// tableSQL makes a CREATE TABLE of what is known of a table: all but its
// partitions, foreign keys, expression indexes and what is TiDB's alone.
func (w *ddlRewriter) tableSQL(t *event.TableInfo) string {
	var parts []string
	for _, list := range [][]event.ColumnInfo{t.Columns, t.VirtualColumns} {
		for i := range list {
			if c := &list[i]; !c.Hidden {
				parts = append(parts, w.columnSQL(c))
			}
		}
	}
	if t.PKIsHandle && len(t.HandleKey) == 1 {
		parts = append(parts, "PRIMARY KEY ("+quoteName(t.Columns[t.HandleKey[0]].Name)+")")
	}
	for i := range t.Indexes {
		if sql := indexSQL(t, &t.Indexes[i]); sql != "" {
			parts = append(parts, sql)
		}
	}
	sql := "CREATE TABLE IF NOT EXISTS " + qualified(t) + " (" + strings.Join(parts, ", ") + ")"
	if t.Charset != "" {
		sql += " DEFAULT CHARACTER SET = " + t.Charset
	}
	if t.Collation != "" {
		sql += " DEFAULT COLLATE = " + w.collation(t.Collation)
	}
	if t.Comment != "" {
		sql += " COMMENT = " + quoteText(t.Comment)
	}
	return sql
}

func indexSQL(t *event.TableInfo, idx *event.IndexInfo) string {
	names := make([]string, len(idx.Columns))
	for i, c := range idx.Columns {
		if slices.ContainsFunc(t.VirtualColumns, func(v event.ColumnInfo) bool { return v.Hidden && v.Name == c.Name }) {
			return ""
		}
		if names[i] = quoteName(c.Name); c.Length > 0 {
			names[i] += fmt.Sprintf("(%d)", c.Length)
		}
	}
	columns := " (" + strings.Join(names, ", ") + ")"
	switch {
	case idx.Primary:
		return "PRIMARY KEY" + columns
	case idx.Unique:
		return "UNIQUE KEY " + quoteName(idx.Name) + columns
	}
	return "KEY " + quoteName(idx.Name) + columns
}

func (w *ddlRewriter) columnSQL(c *event.ColumnInfo) string {
	var b strings.Builder
	b.WriteString(quoteName(c.Name) + " ")
	if c.Type == event.TypeVector && !w.vectors {
		text := *c
		text.Type, text.Charset, text.Collation, text.Length = event.TypeLongBlob, mysql.DefaultCharset, "utf8mb4_bin", -1
		c = &text
	}
	tp := types.NewFieldType(byte(c.Type))
	tp.SetFlag(uint(c.Flag &^ event.FlagBinary))
	tp.SetFlen(c.Length)
	tp.SetDecimal(c.Decimal)
	tp.SetElems(c.Elems)
	tp.SetCharset(c.Charset)
	b.WriteString(tp.InfoSchemaStr())
	if hasCollation(c) {
		b.WriteString(" COLLATE " + w.collation(c.Collation))
	}
	if c.Generated() {
		b.WriteString(" GENERATED ALWAYS AS (" + c.GeneratedExpr + ")")
		if c.Stored {
			b.WriteString(" STORED")
		}
		return b.String()
	}
	if c.NotNull() {
		b.WriteString(" NOT NULL")
	} else {
		b.WriteString(" NULL")
	}
	if c.Flag&event.FlagAutoIncrement != 0 {
		b.WriteString(" AUTO_INCREMENT")
	}
	if c.Default != nil {
		b.WriteString(" DEFAULT " + defaultSQL(c))
	}
	if c.Comment != "" {
		b.WriteString(" COMMENT " + quoteText(c.Comment))
	}
	return b.String()
}

func defaultSQL(c *event.ColumnInfo) string {
	switch {
	case c.DefaultIsExpr:
		return "(" + *c.Default + ")"
	case c.Type == event.TypeBit:
		return fmt.Sprintf("x'%x'", *c.Default)
	case strings.HasPrefix(strings.ToUpper(*c.Default), "CURRENT_TIMESTAMP"):
		if c.Decimal > 0 {
			return fmt.Sprintf("CURRENT_TIMESTAMP(%d)", c.Decimal)
		}
		return "CURRENT_TIMESTAMP"
	}
	return quoteText(*c.Default)
}

// quoteText returns a string literal for a session with backslash escapes.
func quoteText(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", "''") + "'"
}
