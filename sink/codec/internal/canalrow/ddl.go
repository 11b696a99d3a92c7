package canalrow

import (
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// EventType is Canal's number for what happened.
type EventType int32

// The kinds of events, with the numbers of Canal's EntryProtocol.proto.
const (
	Insert   EventType = 1
	Update   EventType = 2
	Delete   EventType = 3
	Create   EventType = 4
	Alter    EventType = 5
	Erase    EventType = 6
	Query    EventType = 7
	Truncate EventType = 8
	Rename   EventType = 9
	CIndex   EventType = 10
	DIndex   EventType = 11
)

// eventTypes are the names in messages, by number.
var eventTypes = [...]string{
	"", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "ERASE", "QUERY", "TRUNCATE", "RENAME", "CINDEX", "DINDEX",
}

// String returns the name in messages, "" for an unknown kind.
func (t EventType) String() string {
	if t < 0 || int(t) >= len(eventTypes) {
		return ""
	}
	return eventTypes[t]
}

// ParseEventType returns the kind with a name, 0 if there is none.
func ParseEventType(name string) EventType {
	for i, n := range eventTypes {
		if n == name {
			return EventType(i)
		}
	}
	return 0
}

// DDLEventType returns the kind of a DDL.
func DDLEventType(t event.DDLType) EventType {
	switch t {
	case event.DDLCreateTable, event.DDLCreateTables:
		return Create
	case event.DDLRenameTable, event.DDLRenameTables:
		return Rename
	case event.DDLAddIndex, event.DDLAddForeignKey, event.DDLAddPrimaryKey, event.DDLAddColumnarIndex:
		return CIndex
	case event.DDLDropIndex, event.DDLDropIndexes, event.DDLDropForeignKey, event.DDLDropPrimaryKey:
		return DIndex
	case event.DDLAddColumn, event.DDLAddColumns, event.DDLDropColumn, event.DDLDropColumns, event.DDLModifyColumn,
		event.DDLSetDefaultValue, event.DDLRebaseAutoID, event.DDLModifyTableComment, event.DDLModifyTableCharset,
		event.DDLRenameIndex, event.DDLAlterIndexVisibility, event.DDLMultiSchemaChange,
		event.DDLAddPartition, event.DDLDropPartition, event.DDLTruncatePartition, event.DDLReorganizePartition,
		event.DDLAlterTablePartitioning, event.DDLRemovePartitioning:
		return Alter
	case event.DDLDropTable:
		return Erase
	case event.DDLTruncateTable:
		return Truncate
	}
	return Query
}

// DDLType guesses the kind of a DDL from what a message tells: several kinds have
// one name there. 0 is for what cannot be told.
func DDLType(t EventType, query string) event.DDLType {
	switch t {
	case Create:
		return event.DDLCreateTable
	case Rename:
		return event.DDLRenameTable
	case CIndex:
		return event.DDLAddIndex
	case DIndex:
		return event.DDLDropIndex
	case Alter:
		return event.DDLMultiSchemaChange
	case Erase:
		return event.DDLDropTable
	case Truncate:
		return event.DDLTruncateTable
	}
	words := strings.Fields(query[:min(len(query), 64)])
	if len(words) < 2 {
		return 0
	}
	switch strings.ToLower(words[0] + " " + words[1]) {
	case "create database", "create schema":
		return event.DDLCreateSchema
	case "drop database", "drop schema":
		return event.DDLDropSchema
	case "create view":
		return event.DDLCreateView
	case "drop view":
		return event.DDLDropView
	}
	return 0
}

// DDLNames returns the database and the table that a message of a DDL names: the
// table after the change, the dropped one, or none for a DDL of a database.
func DDLNames(ddl *event.DDL) (schema, table string) {
	switch {
	case ddl.Table != nil:
		return ddl.Table.Schema, ddl.Table.Table
	case ddl.PreTable != nil:
		return ddl.PreTable.Schema, ddl.PreTable.Table
	}
	return ddl.Schema, ""
}

// NewDDL returns the DDL that a message tells of. Its tables have names only; a
// rename does not tell the name before.
func NewDDL(t EventType, schema, table, query string, ts event.Ts) *event.DDL {
	ddl := &event.DDL{CommitTs: ts, Type: DDLType(t, query), Query: query, Schema: schema}
	if table == "" {
		return ddl
	}
	info := &event.TableInfo{Schema: schema, Table: table}
	switch t {
	case Create, Rename:
		ddl.Table = info
	case Erase:
		ddl.PreTable = info
	default:
		ddl.PreTable, ddl.Table = info, info
	}
	return ddl
}
