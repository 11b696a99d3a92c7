package event

import (
	"strings"
)

// TableInfo is one version of a table's schema. It is immutable once built and
// shared by all rows of that version, so a pointer identifies the version.
type TableInfo struct {
	ID       int64
	SchemaID int64
	// Schema and Table are the names as the user wrote them.
	Schema, Table string
	// UpdateTs is the start ts of the DDL that made this version, as TiDB notes it.
	UpdateTs           Ts
	Charset, Collation string
	Comment            string

	// Columns are the public columns whose values TiKV stores, in the table's
	// order: all but virtual generated ones.
	Columns []ColumnInfo
	// VirtualColumns are the public (and hidden) generated columns that are
	// computed on read and never part of a row.
	VirtualColumns []ColumnInfo
	// Indexes are the public indexes. A clustered integer primary key has none.
	Indexes []IndexInfo

	// PKIsHandle: the primary key is one integer column and is the row's handle.
	PKIsHandle bool
	// IsCommonHandle: the primary key is clustered and not a single integer.
	IsCommonHandle bool
	// Partition is nil for a table that is not partitioned.
	Partition *PartitionInfo
	// View and Sequence mark objects that hold no rows.
	View, Sequence bool

	// HandleKey are the offsets in Columns of the columns that identify a row:
	// the primary key, else the unique index over NOT NULL columns with the
	// fewest columns (ties: smallest index id), as TiCDC chooses it. It is nil
	// if there is none.
	HandleKey []int
}

// Name returns schema.table, for messages.
func (t *TableInfo) Name() string { return t.Schema + "." + t.Table }

// HasHandleKey reports whether rows can be identified by their values, so that
// a sink can apply repeats safely. A table without one is replicated only with
// force-replicate.
func (t *TableInfo) HasHandleKey() bool { return len(t.HandleKey) > 0 }

// PhysicalIDs returns the ids under which the rows are stored: one per
// partition, or the table's own. A view or sequence has none.
func (t *TableInfo) PhysicalIDs() []int64 {
	if t.View || t.Sequence {
		return nil
	}
	if t.Partition == nil {
		return []int64{t.ID}
	}
	ids := make([]int64, len(t.Partition.Definitions))
	for i, d := range t.Partition.Definitions {
		ids[i] = d.ID
	}
	return ids
}

// ColumnOffset returns the place of a column in Columns, or -1. Names are case-insensitive.
func (t *TableInfo) ColumnOffset(name string) int {
	for i := range t.Columns {
		if strings.EqualFold(t.Columns[i].Name, name) {
			return i
		}
	}
	return -1
}

// ColumnInfo is one column.
type ColumnInfo struct {
	ID   int64
	Name string
	Type ColumnType
	Flag ColumnFlag
	// Length and Decimal are the M and D of the type: display width or length,
	// and digits after the point or of a second; -1 if unspecified.
	Length, Decimal    int
	Charset, Collation string
	// Elems are the names of an ENUM or SET.
	Elems []string
	// Default is the DEFAULT clause as text, nil if there is none or it is NULL.
	// A BIT default holds its bytes, big-endian.
	Default *string
	// DefaultIsExpr: Default is an expression, not a literal.
	DefaultIsExpr bool
	// OriginDefault is the value of rows that are older than the column, nil for NULL.
	OriginDefault *string
	// Version is TiDB's version of the column format: from 1 on, an origin
	// default of TIMESTAMP is in UTC.
	Version uint64
	// GeneratedExpr is the expression of a generated column.
	GeneratedExpr string
	// Stored: a generated column whose value is stored.
	Stored  bool
	Hidden  bool
	Comment string
}

// Unsigned reports whether an integer, decimal or float column is UNSIGNED.
func (c *ColumnInfo) Unsigned() bool { return c.Flag&FlagUnsigned != 0 }

// NotNull reports whether the column forbids NULL.
func (c *ColumnInfo) NotNull() bool { return c.Flag&FlagNotNull != 0 }

// Generated reports whether the value is computed from other columns.
func (c *ColumnInfo) Generated() bool { return c.GeneratedExpr != "" }

// Binary reports whether a string column holds bytes rather than text.
func (c *ColumnInfo) Binary() bool { return c.Charset == "binary" }

// IndexInfo is one index.
type IndexInfo struct {
	ID      int64
	Name    string
	Columns []IndexColumn
	Unique  bool
	Primary bool
}

// IndexColumn is one column of an index.
type IndexColumn struct {
	Name string
	// Offset is the column's place in TableInfo.Columns, -1 for a virtual generated column.
	Offset int
	// Length is the prefix length in characters, -1 for the whole column.
	Length int
}

// PartitionInfo lists the partitions of a table.
type PartitionInfo struct {
	Definitions []PartitionDefinition
}

// PartitionDefinition is one partition.
type PartitionDefinition struct {
	ID   int64
	Name string
}

// ColumnType is MySQL's protocol number of a column type.
type ColumnType uint8

// The column types. VARBINARY, BINARY and the BLOBs share numbers with
// VARCHAR, CHAR and the TEXTs: see [ColumnInfo.Binary].
const (
	TypeTiny       ColumnType = 1
	TypeShort      ColumnType = 2
	TypeLong       ColumnType = 3
	TypeFloat      ColumnType = 4
	TypeDouble     ColumnType = 5
	TypeNull       ColumnType = 6
	TypeTimestamp  ColumnType = 7
	TypeLonglong   ColumnType = 8
	TypeInt24      ColumnType = 9
	TypeDate       ColumnType = 10
	TypeDuration   ColumnType = 11
	TypeDatetime   ColumnType = 12
	TypeYear       ColumnType = 13
	TypeNewDate    ColumnType = 14
	TypeVarchar    ColumnType = 15
	TypeBit        ColumnType = 16
	TypeVector     ColumnType = 225
	TypeJSON       ColumnType = 245
	TypeNewDecimal ColumnType = 246
	TypeEnum       ColumnType = 247
	TypeSet        ColumnType = 248
	TypeTinyBlob   ColumnType = 249
	TypeMediumBlob ColumnType = 250
	TypeLongBlob   ColumnType = 251
	TypeBlob       ColumnType = 252
	TypeVarString  ColumnType = 253
	TypeString     ColumnType = 254
)

// ColumnFlag is MySQL's bit set of column properties.
type ColumnFlag uint32

// The flags that matter to change data capture.
const (
	FlagNotNull       ColumnFlag = 1 << 0
	FlagPrimaryKey    ColumnFlag = 1 << 1
	FlagUniqueKey     ColumnFlag = 1 << 2
	FlagMultipleKey   ColumnFlag = 1 << 3
	FlagUnsigned      ColumnFlag = 1 << 5
	FlagZerofill      ColumnFlag = 1 << 6
	FlagBinary        ColumnFlag = 1 << 7
	FlagAutoIncrement ColumnFlag = 1 << 9
)
