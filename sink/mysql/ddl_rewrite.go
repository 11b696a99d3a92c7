package mysql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/charset"
	"github.com/pingcap/tidb/pkg/parser/format"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // the parser's own literals

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// ddlDialect is the SQL that a downstream understands.
type ddlDialect uint8

const (
	dialectMySQL ddlDialect = iota
	dialectMariaDB
	dialectTiDB
)

// downstream is what a rewritten DDL depends on.
type downstream struct {
	dialect ddlDialect
	zone    *time.Location // of what TiDB does not tell the zone; nil is the server's
	vectors bool           // it has VECTOR
}

// ddlPlan is what to do downstream for one DDL.
type ddlPlan struct {
	statements []ddlStatement
	// dropSchema: the statement is DROP DATABASE, which needs a look at what else
	// is in the database.
	dropSchema bool
	// timestamp is what the session's clock is to show, and zone where, nil for the
	// server's own, so that a new column with DEFAULT CURRENT_TIMESTAMP gives old
	// rows the value that TiDB gave them.
	timestamp time.Time
	zone      *time.Location
	// notes are what the downstream does not get though it matters there, for the log.
	notes []string
}

// ddlStatement is one statement with all names quoted and qualified.
type ddlStatement struct {
	sql string
	// done are the errors of a statement that has been executed before.
	done []uint16
	// instead is executed if the statement names a table that is missing: the
	// model of CREATE TABLE … LIKE may be one that the filter leaves out.
	instead string
	// swaps: to execute it twice is to undo it.
	swaps bool
}

// ddlRewriter makes a plan of one DDL.
type ddlRewriter struct {
	downstream
	ddl  *event.DDL
	plan ddlPlan
}

// errNotPossible says that a dialect has no statement for a DDL.
var errNotPossible = errors.New("the downstream has no such statement")

// rewriteDDL turns a DDL into statements for a downstream. They touch the tables
// in ddl.Changes only, whatever else the query names, except that a view or a
// foreign key may refer to others.
func rewriteDDL(ddl *event.DDL, d downstream) (*ddlPlan, error) {
	w := &ddlRewriter{downstream: d, ddl: ddl}
	w.plan.timestamp, w.plan.zone = ddl.CommitTs.Time(), d.zone
	if ddl.TimeZone != nil {
		w.plan.zone = ddl.TimeZone
	}
	if err := w.rewrite(); err != nil {
		return nil, fmt.Errorf("rewrite DDL job %d (%s) on %s at commit ts %d: %w", ddl.JobID, ddl.Type, ddlTarget(ddl), ddl.CommitTs, err)
	}
	return &w.plan, nil
}

// ddlTarget names what a DDL is about, for messages.
func ddlTarget(ddl *event.DDL) string {
	if changes := ddlChanges(ddl); len(changes) > 0 {
		return firstTable(changes[0].Before, changes[0].After).Name()
	}
	return ddl.Schema
}

// ddlChanges returns ddl.Changes, or the one change that Table and PreTable make.
func ddlChanges(ddl *event.DDL) []event.TableChange {
	if len(ddl.Changes) == 0 && (ddl.PreTable != nil || ddl.Table != nil) {
		return []event.TableChange{{Before: ddl.PreTable, After: ddl.Table}}
	}
	return slices.DeleteFunc(slices.Clone(ddl.Changes), func(c event.TableChange) bool { return c.Before == nil && c.After == nil })
}

func (w *ddlRewriter) rewrite() error {
	switch w.ddl.Type {
	case event.DDLDropSchema:
		w.plan.dropSchema = true
		w.add("DROP DATABASE IF EXISTS "+quoteName(w.ddl.Schema), errNoDatabaseDrop)
	case event.DDLDropTable:
		for _, c := range ddlChanges(w.ddl) {
			w.add("DROP TABLE IF EXISTS "+qualified(firstTable(c.Before, c.After)), errNoTableDrop, errNoTable, errNoDatabase)
		}
	case event.DDLDropView:
		for _, c := range ddlChanges(w.ddl) {
			w.add("DROP VIEW IF EXISTS "+qualified(firstTable(c.Before, c.After)), errNoTableDrop, errNoTable, errNoView, errNoDatabase)
		}
	case event.DDLTruncateTable:
		for _, c := range ddlChanges(w.ddl) {
			w.add("TRUNCATE TABLE "+qualified(firstTable(c.Before, c.After)), errNoTable, errNoDatabase)
		}
	case event.DDLRenameTable, event.DDLRenameTables:
		return w.rename(ddlChanges(w.ddl))
	default:
		return w.rewriteQuery()
	}
	return nil
}

// rewriteQuery serves the kinds whose contents only the query has.
func (w *ddlRewriter) rewriteQuery() (err error) {
	defer func() {
		// The parser panics on a number with more digits than it can hold.
		if recover() != nil {
			err = errors.New("its query cannot be read: a number in it may have too many digits")
		}
	}()
	statements, err := parseDDL(w.ddl)
	if err != nil {
		return err
	}
	if w.ddl.Type == event.DDLCreateTable || w.ddl.Type == event.DDLCreateTables {
		return w.createTables(statements)
	}
	if len(statements) != 1 {
		return fmt.Errorf("its query has %d statements, want 1", len(statements))
	}
	switch s := statements[0].(type) {
	case *ast.CreateDatabaseStmt:
		s.Name, s.IfNotExists = ast.NewCIStr(w.ddl.Schema), true
		s.Options = w.databaseOptions(s.Options, true)
		return w.restore(s, errDatabaseExists)
	case *ast.AlterDatabaseStmt:
		s.Name, s.AlterDefaultDatabase = ast.NewCIStr(w.ddl.Schema), false
		if s.Options = w.databaseOptions(s.Options, false); len(s.Options) == 0 {
			return nil
		}
		return w.restore(s, errNoDatabase)
	case *ast.CreateViewStmt:
		return w.createView(s)
	case *ast.AlterTableStmt:
		return w.alterTable(s)
	case *ast.CreateIndexStmt:
		return w.createIndex(s)
	case *ast.DropIndexStmt:
		return w.dropIndex(s)
	case *ast.RecoverTableStmt, *ast.FlashBackTableStmt, *ast.FlashBackDatabaseStmt:
		return w.recover(s)
	}
	return fmt.Errorf("its query is a %T", statements[0])
}

// parseDDL reads the query as the upstream's session did.
func parseDDL(ddl *event.DDL) ([]ast.StmtNode, error) {
	p := parser.New()
	p.SetSQLMode(mysql.SQLMode(ddl.SQLMode))
	// Jobs have the query in UTF-8, whatever the session's character set.
	statements, _, err := p.ParseSQL(ddl.Query, parser.CharsetConnection(mysql.DefaultCharset), parser.CollationConnection(mysql.DefaultCollationName))
	if err != nil {
		return nil, fmt.Errorf("parse its query: %w", err)
	}
	return statements, nil
}

// add appends a statement to the plan.
func (w *ddlRewriter) add(sql string, done ...uint16) {
	w.plan.statements = append(w.plan.statements, ddlStatement{sql: sql, done: done})
}

func (w *ddlRewriter) note(text string, args ...any) {
	w.plan.notes = append(w.plan.notes, fmt.Sprintf(text, args...))
}

// restore prints a statement and appends it.
func (w *ddlRewriter) restore(s ast.Node, done ...uint16) error {
	sql, err := w.print(s)
	if err != nil {
		return err
	}
	w.add(sql, done...)
	return nil
}

// print writes a node as SQL that any session reads alike: names and strings
// quoted, and what only TiDB knows in comments that only TiDB reads.
func (w *ddlRewriter) print(n ast.Node) (string, error) {
	var b strings.Builder
	ctx := format.NewRestoreCtx(format.DefaultRestoreFlags|format.RestoreStringEscapeBackslash|
		format.RestoreStringWithoutDefaultCharset|format.RestoreTiDBSpecialComment, &b)
	ctx.DefaultDB = w.ddl.Schema
	if err := n.Restore(ctx); err != nil {
		return "", fmt.Errorf("print its query: %w", err)
	}
	return b.String(), nil
}

// rename makes one RENAME TABLE of all renames, as it is atomic. The changes
// have each table's first and last name; the query may have had a name between
// to let tables swap, so that an order, and such names, are found anew.
func (w *ddlRewriter) rename(changes []event.TableChange) error {
	type step struct{ from, to string }
	var pending []step
	for _, c := range changes {
		if c.Before == nil || c.After == nil {
			return errors.New("the table that it renames is not known")
		}
		from, to := qualified(c.Before), qualified(c.After)
		if from == to {
			continue
		}
		if c.Before.Schema != c.After.Schema {
			// The filter may leave out the database that the table is moved to.
			w.createSchemaOnce(c.After.Schema)
		}
		pending = append(pending, step{from, to})
	}
	var parts []string
	swaps := false
	for len(pending) > 0 {
		free := slices.IndexFunc(pending, func(s step) bool {
			return !slices.ContainsFunc(pending, func(other step) bool { return other.from == s.to && other != s })
		})
		if free < 0 {
			// Every name is taken by the next: break the circle.
			swaps = true
			between := quoteName(w.ddl.Schema) + "." + quoteName(fmt.Sprintf("_tidbcdc_rename_%d_%d", w.ddl.JobID, len(parts)))
			parts = append(parts, pending[0].from+" TO "+between)
			pending[0].from = between
			continue
		}
		parts = append(parts, pending[free].from+" TO "+pending[free].to)
		pending = slices.Delete(pending, free, free+1)
	}
	if len(parts) == 0 {
		return nil
	}
	w.add("RENAME TABLE "+strings.Join(parts, ", "), errNoTable, errTableExists, errNoFile, errNoDatabase)
	w.plan.statements[len(w.plan.statements)-1].swaps = swaps
	return nil
}

func (w *ddlRewriter) createSchemaOnce(schema string) {
	sql := "CREATE DATABASE IF NOT EXISTS " + quoteName(schema)
	if !slices.ContainsFunc(w.plan.statements, func(s ddlStatement) bool { return s.sql == sql }) {
		w.add(sql, errDatabaseExists)
	}
}

// databaseOptions keeps what the downstream knows. A new database gets TiDB's
// defaults in words, since the server's own may differ.
func (w *ddlRewriter) databaseOptions(options []*ast.DatabaseOption, create bool) []*ast.DatabaseOption {
	var cs, collation string
	var kept []*ast.DatabaseOption
	for _, o := range options {
		switch o.Tp {
		case ast.DatabaseOptionCharset:
			cs = o.Value
		case ast.DatabaseOptionCollate:
			collation = o.Value
		case ast.DatabaseOptionPlacementPolicy:
			if w.dialect == dialectTiDB {
				kept = append(kept, o)
			}
		}
	}
	if cs == "" && collation == "" && !create {
		return kept
	}
	if cs == "" {
		cs, _, _ = strings.Cut(collation, "_")
	}
	if cs == "" {
		cs = mysql.DefaultCharset
	}
	if collation == "" {
		collation = defaultCollation(cs)
	}
	kept = append(kept, &ast.DatabaseOption{Tp: ast.DatabaseOptionCharset, Value: cs})
	if collation != "" {
		kept = append(kept, &ast.DatabaseOption{Tp: ast.DatabaseOptionCollate, Value: w.collation(collation)})
	}
	return kept
}

// defaultCollation is TiDB's collation of a character set. The parser's is that of
// clusters without TiDB's new collations.
func defaultCollation(cs string) string {
	switch strings.ToLower(cs) {
	case "gbk", "gb18030":
		return strings.ToLower(cs) + "_chinese_ci"
	}
	collation, _ := charset.GetDefaultCollation(cs)
	return collation
}

// createView makes a view that runs as the sink's user: the upstream's need not
// exist downstream.
func (w *ddlRewriter) createView(s *ast.CreateViewStmt) error {
	changes := ddlChanges(w.ddl)
	if len(changes) != 1 || changes[0].After == nil {
		return errors.New("the view that it makes is not known")
	}
	after := changes[0].After
	s.ViewName.Schema, s.ViewName.Name = ast.NewCIStr(after.Schema), ast.NewCIStr(after.Table)
	s.OrReplace = true
	s.Definer.CurrentUser = true
	return w.restore(s, errNoTable, errNoDatabase, errViewInvalid, errNoColumn)
}

// recover brings tables back, which only TiDB can.
func (w *ddlRewriter) recover(s ast.StmtNode) error {
	if w.dialect != dialectTiDB {
		return fmt.Errorf("%w: rows that it brings back are gone downstream; copy the tables, and start a changefeed from a ts after it", errNotPossible)
	}
	if r, ok := s.(*ast.RecoverTableStmt); ok && r.Table == nil {
		// RECOVER TABLE BY JOB: a job of the upstream.
		for _, c := range ddlChanges(w.ddl) {
			if c.After != nil {
				w.add("RECOVER TABLE "+qualified(c.After), errTableExists)
			}
		}
		return nil
	}
	return w.restore(s, errTableExists, errDatabaseExists)
}

// firstTable returns the first table that there is.
func firstTable(tables ...*event.TableInfo) *event.TableInfo {
	for _, t := range tables {
		if t != nil {
			return t
		}
	}
	return &event.TableInfo{}
}

func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// qualified returns `schema`.`table`.
func qualified(t *event.TableInfo) string {
	return quoteName(t.Schema) + "." + quoteName(t.Table)
}
