package pipeline

import (
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// awaitsSave reports whether a DDL of commit ts D has to wait until a checkpoint of
// D − 1 at least has been stored. A restart begins at the stored checkpoint, and
// must not bring rows from before D to a sink that has the schema after it: it may
// lack their columns, or their table, or have a key that they violate.
//
// The kinds that need not wait are listed. Each bears rows from before it after it,
// and others of the list from before it once more after it, and they end in what
// they would have ended in.
func awaitsSave(ddl *event.DDL) bool {
	switch ddl.Type {
	case event.DDLCreateSchema, event.DDLCreateTable, event.DDLCreateTables:
		return false // rows from before it do not exist; of a table that had its name, the end has waited
	case event.DDLCreateView:
		return false // there are no rows
	case event.DDLAddPartition:
		return false // rows from before it belong to other partitions
	case event.DDLModifyTableComment, event.DDLRebaseAutoID, event.DDLAlterIndexVisibility:
		return false // rows come with all values, whatever the table is called, counts up to or reads
	case event.DDLAddIndex, event.DDLDropIndex:
		return !sameUniqueKeys(ddl.PreTable, ddl.Table) // others neither refuse nor replace rows
	case event.DDLAddColumn, event.DDLAddColumns:
		return !sameUniqueKeys(ddl.PreTable, ddl.Table) || !fillsAlike(ddl.PreTable, ddl.Table)
	}
	// Among the rest are some that look harmless. Rows without a column that was added
	// would take its later default (SET DEFAULT), and tables that are created again
	// the later character set (ALTER DATABASE). An index that is added again after it
	// was renamed would be a second one.
	return true
}

// sameUniqueKeys reports whether a table's unique keys are those it had.
func sameUniqueKeys(before, after *event.TableInfo) bool {
	if before == nil || after == nil {
		return false
	}
	return slices.Equal(uniqueKeys(before), uniqueKeys(after))
}

func uniqueKeys(t *event.TableInfo) (ids []int64) {
	for i := range t.Indexes {
		if t.Indexes[i].Unique || t.Indexes[i].Primary {
			ids = append(ids, t.Indexes[i].ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// flagOnUpdateNow is MySQL's flag of a column with ON UPDATE CURRENT_TIMESTAMP.
const flagOnUpdateNow event.ColumnFlag = 1 << 13

// fillsAlike reports whether a row that is written without the columns that were
// added gets the values that the upstream gave to the rows it had: not if the
// default is the time of writing, and not if there is none for NOT NULL.
func fillsAlike(before, after *event.TableInfo) bool {
	for i := range after.Columns {
		c := &after.Columns[i]
		old := slices.ContainsFunc(before.Columns, func(b event.ColumnInfo) bool { return b.ID == c.ID })
		if old || c.Generated() {
			continue
		}
		constant := c.Default == nil && c.OriginDefault == nil ||
			c.Default != nil && c.OriginDefault != nil && *c.Default == *c.OriginDefault
		if !constant || c.DefaultIsExpr || c.Flag&flagOnUpdateNow != 0 || c.NotNull() && c.Default == nil {
			return false
		}
	}
	return true
}
