package filter

import (
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// IntoFilterError reports a DDL that brings rows of a table that the rules
// exclude into one that they include: a RENAME TABLE to an included name, or an
// EXCHANGE PARTITION with an excluded table. The rows that are there already
// were never delivered, so going on would lose them.
type IntoFilterError struct {
	// DDL is the statement.
	DDL *event.DDL
	// Outside is the excluded table, as schema.table, and Inside the included one.
	Outside, Inside string
}

// Error says what happened and what to do.
func (e *IntoFilterError) Error() string {
	return fmt.Sprintf("filter DDL %q at commit ts %s: it brings the rows of %s, which the filter rules exclude, into %s, which they include; "+
		"exclude %[4]s too, or start a changefeed whose rules include both from a ts before it, or copy the table and start one from a ts after it",
		e.DDL.Query, e.DDL.CommitTs, e.Outside, e.Inside)
}

// DDL reports whether to deliver a schema change. It must be of a kind that is
// replicated, of a transaction that is not ignored, and on a database that
// Schema or a table that Table includes. A table counts by its name before the
// change, also if it is renamed to one that the rules exclude.
//
// A DDL on several tables is delivered if any counts; Change tells which. A
// statement that brings in excluded rows is an [*IntoFilterError].
func (f *Filter) DDL(ddl *event.DDL) (bool, error) {
	scope := ddlScope(ddl.Type)
	if scope == notReplicated || f.ignores(ddl.StartTs) {
		return false, nil
	}
	if scope == onSchema {
		return f.Schema(ddl.Schema), nil
	}
	changes := ddl.Changes
	if len(changes) == 0 {
		changes = []event.TableChange{{Before: ddl.PreTable, After: ddl.Table}}
	}
	var inside, outside *event.TableInfo
	for _, c := range changes {
		ok, err := f.Change(ddl, c)
		if err != nil {
			return false, err
		}
		table := c.Before
		if table == nil {
			table = c.After
		}
		if ok {
			inside = table
		} else {
			outside = table
		}
	}
	if ddl.Type == event.DDLExchangePartition && inside != nil && outside != nil {
		return false, &IntoFilterError{DDL: ddl, Outside: outside.Name(), Inside: inside.Name()}
	}
	return inside != nil, nil
}

var errNoTable = errors.New("it names no table")

// Change reports whether one table of a DDL on tables counts. Errors are as for
// DDL.
func (f *Filter) Change(ddl *event.DDL, c event.TableChange) (bool, error) {
	table := c.Before
	if table == nil {
		table = c.After
	}
	if table == nil {
		return false, fmt.Errorf("filter DDL job %d (%s) %q at commit ts %s: %w", ddl.JobID, ddl.Type, ddl.Query, ddl.CommitTs, errNoTable)
	}
	if f.Table(table.Schema, table.Table) {
		return true, nil
	}
	renamed := ddl.Type == event.DDLRenameTable || ddl.Type == event.DDLRenameTables
	if renamed && c.Before != nil && c.After != nil && f.Table(c.After.Schema, c.After.Table) {
		return false, &IntoFilterError{DDL: ddl, Outside: c.Before.Name(), Inside: c.After.Name()}
	}
	return false, nil
}

type scope uint8

const (
	notReplicated scope = iota
	onSchema
	onTables
)

// ddlScope knows the kinds of DDL that are replicated: those that TiCDC
// replicates. The others concern TiDB alone (placement, TiFlash, statistics,
// resource groups, …) or objects without rows, such as sequences.
func ddlScope(t event.DDLType) scope {
	switch t {
	case event.DDLCreateSchema, event.DDLDropSchema, event.DDLModifySchemaCharset,
		event.DDLRecoverSchema: // TiCDC leaves it out; without it, rows would follow for tables that a sink has dropped
		return onSchema
	case event.DDLCreateTable, event.DDLCreateTables, event.DDLDropTable, event.DDLTruncateTable,
		event.DDLRenameTable, event.DDLRenameTables, event.DDLRecoverTable,
		event.DDLModifyTableComment, event.DDLModifyTableCharset,
		event.DDLCreateView, event.DDLDropView,
		event.DDLAddPartition, event.DDLDropPartition, event.DDLTruncatePartition, event.DDLExchangePartition,
		event.DDLReorganizePartition, event.DDLAlterTablePartitioning, event.DDLRemovePartitioning,
		event.DDLAddColumn, event.DDLDropColumn, event.DDLModifyColumn, event.DDLSetDefaultValue,
		event.DDLAddColumns, event.DDLDropColumns, event.DDLDropIndexes, // TiDB before 6.2
		event.DDLRebaseAutoID, event.DDLAddPrimaryKey, event.DDLDropPrimaryKey,
		event.DDLAddIndex, event.DDLDropIndex, event.DDLRenameIndex, event.DDLAlterIndexVisibility,
		event.DDLAddForeignKey, event.DDLDropForeignKey,
		event.DDLAlterTTL, event.DDLRemoveTTL, event.DDLMultiSchemaChange:
		return onTables
	}
	return notReplicated
}
