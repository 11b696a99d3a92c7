package event

import "time"

// DDL is one schema change, delivered after every row of its tables with a
// commit ts at or below its own, and before every row above it.
type DDL struct {
	StartTs Ts
	// CommitTs is the ts at which the new schema took effect: mostly that of the end of
	// TiDB's job, and for what replaces or drops partitions that of the step from which
	// on no row goes into the old ones.
	CommitTs Ts
	Type     DDLType
	// JobID is TiDB's id of the DDL job, unique in a cluster.
	JobID int64
	// Query is the statement as the user wrote it. It may name tables that the
	// filter leaves out: Changes does not.
	Query string
	// SQLMode, Charset and Collation are the session's when it ran the statement.
	SQLMode            uint64
	Charset, Collation string
	// TimeZone is the session's, in which a changed column type converts a
	// TIMESTAMP. It is nil for most kinds: TiDB notes it for those that rewrite rows.
	TimeZone *time.Location
	// Schema is the database that the statement ran against or changed.
	Schema string
	// Table is the table after the change, nil for a statement on a database
	// and for a dropped table or view.
	Table *TableInfo
	// PreTable is the table before the change, nil if it did not exist.
	PreTable *TableInfo
	// Changes holds every table that the statement changed, of those that the
	// filter wants: more than one for RENAME TABLE a TO b, c TO d, for EXCHANGE
	// PARTITION, DROP DATABASE and the like.
	Changes []TableChange
}

// TableChange is what a DDL did to one table.
type TableChange struct {
	// Before is nil for a table that the DDL created, After for one that it dropped.
	Before, After *TableInfo
}

// DDLType is TiDB's number for a kind of DDL statement (model.ActionType).
type DDLType uint8
