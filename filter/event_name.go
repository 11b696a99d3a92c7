package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// EventNameError is a name in EventFilter.IgnoreEvent that there is not.
type EventNameError struct{ Name string }

// Error lists the names that there are.
func (e *EventNameError) Error() string {
	return fmt.Sprintf("unknown event %q: want one of %s", e.Name, strings.Join(EventNames(), ", "))
}

// The names that stand for more than one statement.
const (
	allDML     = "all dml"
	allDDL     = "all ddl"
	alterTable = "alter table"
)

// EventNames returns what EventFilter.IgnoreEvent may hold, in lower case;
// upper case is as good. "alter table" is every change of a table that keeps
// its name and its rows' place, CREATE INDEX and DROP INDEX among them.
func EventNames() []string {
	names := []string{allDML, allDDL, "insert", "update", "delete", alterTable}
	for _, e := range ddlEvents() {
		names = append(names, e.name)
	}
	return names
}

// ddlEvent is a name and the kinds of DDL it stands for.
type ddlEvent struct {
	name  string
	kinds []event.DDLType
	alter bool // ALTER TABLE, CREATE INDEX or DROP INDEX
}

// ddlEvents knows the names of DDL.
func ddlEvents() []ddlEvent {
	one := func(name string, kinds ...event.DDLType) ddlEvent { return ddlEvent{name: name, kinds: kinds} }
	alter := func(name string, kinds ...event.DDLType) ddlEvent {
		return ddlEvent{name: name, kinds: kinds, alter: true}
	}
	return []ddlEvent{
		one("create schema", event.DDLCreateSchema),
		one("create database", event.DDLCreateSchema),
		one("drop schema", event.DDLDropSchema),
		one("drop database", event.DDLDropSchema),
		one("modify schema charset and collate", event.DDLModifySchemaCharset),
		one("create table", event.DDLCreateTable, event.DDLCreateTables),
		one("drop table", event.DDLDropTable),
		one("truncate table", event.DDLTruncateTable),
		one("rename table", event.DDLRenameTable, event.DDLRenameTables),
		one("recover table", event.DDLRecoverTable),
		one("create view", event.DDLCreateView),
		one("drop view", event.DDLDropView),
		alter("add table partition", event.DDLAddPartition),
		alter("drop table partition", event.DDLDropPartition),
		alter("truncate table partition", event.DDLTruncatePartition),
		alter("exchange table partition", event.DDLExchangePartition),
		alter("reorganize table partition", event.DDLReorganizePartition),
		alter("alter table partitioning", event.DDLAlterTablePartitioning),
		alter("remove table partitioning", event.DDLRemovePartitioning),
		alter("add column", event.DDLAddColumn, event.DDLAddColumns),
		alter("drop column", event.DDLDropColumn, event.DDLDropColumns),
		alter("modify column", event.DDLModifyColumn),
		alter("set default value", event.DDLSetDefaultValue),
		alter("rebase auto id", event.DDLRebaseAutoID),
		alter("add primary key", event.DDLAddPrimaryKey),
		alter("drop primary key", event.DDLDropPrimaryKey),
		alter("create index", event.DDLAddIndex),
		alter("drop index", event.DDLDropIndex, event.DDLDropIndexes),
		alter("rename index", event.DDLRenameIndex),
		alter("alter index visibility", event.DDLAlterIndexVisibility),
		alter("alter ttl info", event.DDLAlterTTL),
		alter("alter ttl remove", event.DDLRemoveTTL),
		alter("multi schema change", event.DDLMultiSchemaChange),
		alter("add foreign key", event.DDLAddForeignKey),
		alter("drop foreign key", event.DDLDropForeignKey),
		alter("modify table comment", event.DDLModifyTableComment),
		alter("modify table charset and collate", event.DDLModifyTableCharset),
	}
}

// ignoreEvent adds an event by its name. The error is an *EventNameError.
func (f *eventFilter) ignoreEvent(given string) error {
	name := strings.ToLower(strings.TrimSpace(given))
	switch name {
	case allDML:
		f.rows[event.Insert], f.rows[event.Update], f.rows[event.Delete] = true, true, true
		return nil
	case allDDL:
		f.allDDL = true
		return nil
	case "insert":
		f.rows[event.Insert] = true
		return nil
	case "update":
		f.rows[event.Update] = true
		return nil
	case "delete":
		f.rows[event.Delete] = true
		return nil
	}
	events := ddlEvents()
	known := name == alterTable || slices.ContainsFunc(events, func(e ddlEvent) bool { return e.name == name })
	if !known {
		return &EventNameError{Name: given}
	}
	for _, e := range events {
		if e.name == name || name == alterTable && e.alter {
			for _, kind := range e.kinds {
				f.ddls[kind] = true
			}
		}
	}
	return nil
}
