package consumer

import (
	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // the parser's own literals

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// complete returns a DDL with what messages lack but its statement tells: the kind,
// which many protocols tell roughly, and the tables that it changes. A statement that
// cannot be read leaves the DDL as it is.
func (t *tables) complete(ddl *event.DDL) *event.DDL {
	out := *ddl
	out.Changes = nil
	for _, c := range ddl.Changes {
		out.Changes = append(out.Changes, event.TableChange{Before: known(c.Before), After: known(c.After)})
	}
	// The message names one table, before or after the change.
	before, after := known(ddl.PreTable), known(ddl.Table)
	if before == nil {
		before = after
	}
	if after == nil {
		after = before
	}
	set := func(kind event.DDLType, before, after *event.TableInfo) {
		out.Type, out.PreTable, out.Table = kind, before, after
		if len(out.Changes) == 0 && (before != nil || after != nil) {
			out.Changes = []event.TableChange{{Before: before, After: after}}
		}
	}
	switch s := parse(ddl.Query).(type) {
	case *ast.CreateDatabaseStmt:
		out.Type = event.DDLCreateSchema
	case *ast.AlterDatabaseStmt:
		out.Type = event.DDLModifySchemaCharset
	case *ast.DropDatabaseStmt:
		out.Type, out.Changes = event.DDLDropSchema, t.dropped(ddl.Schema)
	case *ast.CreateTableStmt:
		set(event.DDLCreateTable, nil, after)
	case *ast.CreateViewStmt:
		set(event.DDLCreateView, nil, after)
	case *ast.DropTableStmt:
		kind := event.DDLDropTable
		if s.IsView {
			kind = event.DDLDropView
		}
		set(kind, before, nil)
	case *ast.TruncateTableStmt:
		if before == nil { // Debezium does not count it as a change of the table
			before = t.named(ddl.Schema, s.Table)
			after = before
		}
		set(event.DDLTruncateTable, before, after)
	case *ast.RenameTableStmt:
		t.rename(&out, s.TableToTables)
	case *ast.AlterTableStmt:
		for _, spec := range s.Specs {
			if spec.Tp == ast.AlterTableRenameTable {
				t.rename(&out, []*ast.TableToTable{{OldTable: s.Table, NewTable: spec.NewTable}})
			}
		}
		if before == nil { // nothing but the statement names the table
			named := t.named(ddl.Schema, s.Table)
			set(out.Type, named, named)
		}
	}
	for _, c := range out.Changes {
		if c.After != nil {
			t.id(c.After.Schema, c.After.Table)
		}
	}
	return &out
}

// known returns what a DDL says of a table, by name only if that is not all there is to
// say: then the statement knows better. Protocols that tell versions of tables tell all.
func known(t *event.TableInfo) *event.TableInfo {
	if t == nil || t.UpdateTs != 0 {
		return t
	}
	return &event.TableInfo{Schema: t.Schema, Table: t.Table}
}

// parse returns the one statement of a query, nil if there is none that can be read.
func parse(query string) (s ast.StmtNode) {
	// The parser panics on a number with more digits than it can hold.
	defer func() {
		if recover() != nil {
			s = nil
		}
	}()
	statements, _, err := parser.New().ParseSQL(query)
	if err != nil || len(statements) != 1 {
		return nil
	}
	return statements[0]
}

// rename sets what a DDL renames, unless the message tells it in full.
func (t *tables) rename(ddl *event.DDL, pairs []*ast.TableToTable) {
	ddl.Type = event.DDLRenameTables
	if len(ddl.Changes) == len(pairs) && ddl.Changes[0].Before != nil && ddl.Changes[0].Before.Name() != ddl.Changes[0].After.Name() {
		return
	}
	ddl.Changes = nil
	for _, p := range pairs {
		ddl.Changes = append(ddl.Changes, event.TableChange{Before: t.named(ddl.Schema, p.OldTable), After: t.named(ddl.Schema, p.NewTable)})
	}
	ddl.PreTable, ddl.Table = ddl.Changes[0].Before, ddl.Changes[0].After
}

// named returns a table that is known by name only.
func (*tables) named(schema string, n *ast.TableName) *event.TableInfo {
	if n.Schema.O != "" {
		schema = n.Schema.O
	}
	return &event.TableInfo{Schema: schema, Table: n.Name.O}
}

// dropped returns the drop of all tables of a database that have been met.
func (t *tables) dropped(schema string) []event.TableChange {
	var out []event.TableChange
	for n := range t.ids {
		if n.schema == schema {
			out = append(out, event.TableChange{Before: &event.TableInfo{Schema: n.schema, Table: n.table}})
		}
	}
	return out
}
