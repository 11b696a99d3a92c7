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

// Verdict is what is to be done with a DDL.
type Verdict uint8

const (
	// Discard is for what concerns nothing that is delivered: its kind is not
	// replicated, its transaction is ignored or the table rules exclude it.
	// Whoever keeps only the schemas of delivered tables need not apply it.
	Discard Verdict = iota
	// Ignore is for what an event filter leaves out. It is not delivered, but the rows
	// that follow have the schema that it made.
	Ignore
	// Deliver is for the rest.
	Deliver
)

// String returns "discard", "ignore" or "deliver".
func (v Verdict) String() string {
	switch v {
	case Discard:
		return "discard"
	case Ignore:
		return "ignore"
	case Deliver:
		return "deliver"
	}
	return "unknown verdict"
}

// DDL decides on a schema change. To be delivered, it must be of a kind that is
// replicated, of a transaction that is not ignored, on a database that Schema or
// a table that Table includes, and pass the event filters. A table counts by its
// name before the change, also if it is renamed to one that the rules exclude.
//
// A DDL on several tables is delivered if any is to be; Change tells which. A
// statement that brings in excluded rows is an [*IntoFilterError].
//
// Leaving out DDL of tables whose rows are delivered is up to whoever wrote the
// event filter: a copy of the table will not have the columns that rows have.
func (f *Filter) DDL(ddl *event.DDL) (Verdict, error) {
	scope := ddlScope(ddl.Type)
	if scope == notReplicated || f.ignores(ddl.StartTs) {
		return Discard, nil
	}
	text := &ddlText{}
	if scope == onSchema {
		switch {
		case !f.Schema(ddl.Schema):
			return Discard, nil
		case f.ignoresDDL(ddl.Schema, "", ddl, text):
			return Ignore, nil
		}
		return Deliver, nil
	}
	changes := ddl.Changes
	if len(changes) == 0 {
		changes = []event.TableChange{{Before: ddl.PreTable, After: ddl.Table}}
	}
	verdict := Discard
	var inside, outside *event.TableInfo
	for _, c := range changes {
		v, err := f.change(ddl, c, text)
		if err != nil {
			return Discard, err
		}
		if table := counting(c); v == Discard {
			outside = table
		} else {
			inside = table
		}
		verdict = max(verdict, v)
	}
	if ddl.Type == event.DDLExchangePartition && inside != nil && outside != nil {
		return Discard, &IntoFilterError{DDL: ddl, Outside: outside.Name(), Inside: inside.Name()}
	}
	return verdict, nil
}

var errNoTable = errors.New("it names no table")

// Change decides on one table of a DDL. For a DDL on a database, such as DROP
// DATABASE, that is whether Table includes it. Errors are as for DDL.
func (f *Filter) Change(ddl *event.DDL, c event.TableChange) (Verdict, error) {
	return f.change(ddl, c, &ddlText{})
}

func (f *Filter) change(ddl *event.DDL, c event.TableChange, text *ddlText) (Verdict, error) {
	table := counting(c)
	if table == nil {
		return Discard, fmt.Errorf("filter DDL job %d (%s) %q at commit ts %s: %w", ddl.JobID, ddl.Type, ddl.Query, ddl.CommitTs, errNoTable)
	}
	if f.Table(table.Schema, table.Table) {
		if ddlScope(ddl.Type) == onTables && f.ignoresDDL(table.Schema, table.Table, ddl, text) {
			return Ignore, nil
		}
		return Deliver, nil
	}
	renamed := ddl.Type == event.DDLRenameTable || ddl.Type == event.DDLRenameTables
	if renamed && c.Before != nil && c.After != nil && f.Table(c.After.Schema, c.After.Table) {
		return Discard, &IntoFilterError{DDL: ddl, Outside: c.Before.Name(), Inside: c.After.Name()}
	}
	return Discard, nil
}

// counting returns the table by whose name a change counts, nil if it has none.
func counting(c event.TableChange) *event.TableInfo {
	if c.Before != nil {
		return c.Before
	}
	return c.After
}

// ignoresDDL reports whether an event filter leaves out a DDL on a table, or on
// a database if table is "".
func (f *Filter) ignoresDDL(schema, table string, ddl *event.DDL, text *ddlText) bool {
	for _, e := range f.events {
		if e.ignoresDDL(schema, table, ddl, text) {
			return true
		}
	}
	return false
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
