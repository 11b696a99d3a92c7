package cdctest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Table is a table of the cluster. Statements on one table come one after the
// other; TiDB, too, lets no transaction straddle a DDL.
type Table struct {
	cluster  *Cluster
	schemaID int64

	// Guarded by Cluster.mu.
	id           int64
	schema, name string
	columns      []Column
	maxColumnID  int64
	rows         int64 // handles given to rows without a primary key
	info         *event.TableInfo
	dropped      bool
}

// CreateTable creates a table, and its database if need be. At most one column
// is the primary key, and it is an integer.
func (c *Cluster) CreateTable(schema, name string, columns ...Column) *Table {
	c.CreateSchema(schema)
	t := &Table{cluster: c, schema: schema, name: name, columns: slices.Clone(columns)}
	keys := 0
	for i := range t.columns {
		t.columns[i].id = int64(i + 1)
		if t.columns[i].isKey() {
			keys++
			if t.columns[i].Type != event.TypeLonglong {
				mistake("create table %s.%s: the primary key %s is not an integer", schema, name, t.columns[i].Name)
			}
		}
	}
	if keys > 1 || len(columns) == 0 {
		mistake("create table %s.%s: %d primary keys among %d columns", schema, name, keys, len(columns))
	}
	t.maxColumnID = int64(len(columns))
	c.mu.Lock()
	if c.schemas.tables[tableKey(schema, name)] != nil {
		c.mu.Unlock()
		mistake("table %s.%s exists", schema, name)
	}
	c.schemas.tables[tableKey(schema, name)] = t
	t.schemaID = c.schemas.ids[strings.ToLower(schema)]
	c.schemas.lastID++
	t.id = c.schemas.lastID
	c.mu.Unlock()
	var parts []string
	for i := range t.columns {
		parts = append(parts, t.columns[i].sql())
	}
	t.run(event.DDLCreateTable, t.id, fmt.Sprintf("CREATE TABLE `%s`.`%s` (%s)", schema, name, strings.Join(parts, ", ")))
	return t
}

func tableKey(schema, name string) string { return strings.ToLower(schema + "." + name) }

func (t *Table) metaKey() []byte { return metaKey(schemaField(t.schemaID), tableField(t.id)) }

// run executes a DDL that leaves the table as it is now in t. oldID is what the
// table's id was before.
func (t *Table) run(kind event.DDLType, oldID int64, query string) event.Ts {
	c := t.cluster
	txn := c.Begin()
	table := newTableJSON(t.id, t.name, t.columns, t.maxColumnID, txn.StartTs)
	data := encodeJSON(table)
	info, err := event.ParseTableInfo(data, t.schemaID, t.schema)
	if err != nil {
		mistake("%v", err)
	}
	d := &ddl{kind: kind, schema: t.schema, schemaID: t.schemaID, tableID: oldID, query: query, table: table}
	if oldID != t.id {
		d.deletes = []mutation{{key: metaKey(schemaField(t.schemaID), tableField(oldID))}}
	}
	d.puts = []mutation{{key: t.metaKey(), value: data}}
	ts := c.run(txn, d)
	c.update(func() {
		t.info = info
		if oldID != t.id {
			c.noteLocked(oldID, tableVersion{from: ts})
		}
		c.noteLocked(t.id, tableVersion{from: ts, schema: t.schema, columns: slices.Clone(t.columns), info: info})
	})
	return ts
}

// ID returns the table's id, which Truncate changes.
func (t *Table) ID() int64 {
	t.cluster.mu.Lock()
	defer t.cluster.mu.Unlock()
	return t.id
}

// Info returns the present schema.
func (t *Table) Info() *event.TableInfo {
	t.cluster.mu.Lock()
	defer t.cluster.mu.Unlock()
	return t.info
}

// Span returns the keys of the table's rows.
func (t *Table) Span() event.Span { return event.TableSpan(t.ID()) }

// Key returns the key of the row with a primary key.
func (t *Table) Key(handle int64) []byte { return RowKey(t.ID(), handle) }

// Insert writes a new row, in the order of the columns, in a transaction of its
// own, and returns the commit ts. A value is nil, an int, int64, uint64, float64,
// string or []byte, as the column wants.
func (t *Table) Insert(values ...any) event.Ts {
	return t.cluster.Begin().Insert(t, values...).Commit()
}

// Update replaces the row that has the primary key among values.
func (t *Table) Update(values ...any) event.Ts {
	return t.cluster.Begin().Update(t, values...).Commit()
}

// Delete removes the row with a primary key.
func (t *Table) Delete(handle int64) event.Ts { return t.cluster.Begin().DeleteRow(t, handle).Commit() }

// Insert adds a new row to the transaction.
func (x *Txn) Insert(t *Table, values ...any) *Txn {
	key, row := t.encode(values, true)
	return x.Put(key, row)
}

// Update adds a new image of a row to the transaction.
func (x *Txn) Update(t *Table, values ...any) *Txn {
	key, row := t.encode(values, false)
	return x.Put(key, row)
}

// DeleteRow adds the deletion of a row to the transaction.
func (x *Txn) DeleteRow(t *Table, handle int64) *Txn { return x.Delete(t.Key(handle)) }

// encode returns the key and the value of a row.
func (t *Table) encode(values []any, insert bool) (key, row []byte) {
	t.cluster.mu.Lock()
	defer t.cluster.mu.Unlock()
	if t.dropped {
		mistake("table %s.%s has been dropped", t.schema, t.name)
	}
	if len(values) != len(t.columns) {
		mistake("table %s.%s has %d columns, got %d values", t.schema, t.name, len(t.columns), len(values))
	}
	handle, found := int64(0), false
	for i := range t.columns {
		if t.columns[i].isKey() {
			if handle, found = integer(values[i]); !found {
				mistake("table %s.%s: primary key %v (%T) is not an integer", t.schema, t.name, values[i], values[i])
			}
		}
	}
	if !found && !insert {
		mistake("table %s.%s has no primary key to find a row by", t.schema, t.name)
	}
	if !found {
		t.rows++
		handle = t.rows
	}
	row, err := encodeRow(t.columns, values)
	if err != nil {
		mistake("table %s.%s: %v", t.schema, t.name, err)
	}
	return RowKey(t.id, handle), row
}

// change runs fn on the table's fields, under the lock.
func (t *Table) change(fn func()) {
	t.cluster.mu.Lock()
	defer t.cluster.mu.Unlock()
	if t.dropped {
		mistake("table %s.%s has been dropped", t.schema, t.name)
	}
	fn()
}

// AddColumn adds a column behind the others and returns the commit ts. Rows that
// are there already have its default.
func (t *Table) AddColumn(col Column) event.Ts {
	t.change(func() {
		t.maxColumnID++
		col.id = t.maxColumnID
		if col.origin = col.Default; col.origin == nil && col.isNotNull() {
			zero := text(col.zero())
			col.origin = &zero
		}
		t.columns = append(slices.Clone(t.columns), col)
	})
	return t.run(event.DDLAddColumn, t.id, fmt.Sprintf("ALTER TABLE `%s`.`%s` ADD COLUMN %s", t.schema, t.name, col.sql()))
}

// DropColumn drops a column and returns the commit ts.
func (t *Table) DropColumn(name string) event.Ts {
	t.change(func() {
		n := len(t.columns)
		t.columns = slices.DeleteFunc(slices.Clone(t.columns), func(c Column) bool { return c.Name == name && !c.isKey() })
		if len(t.columns) == n {
			mistake("table %s.%s has no column %s to drop", t.schema, t.name, name)
		}
	})
	return t.run(event.DDLDropColumn, t.id, fmt.Sprintf("ALTER TABLE `%s`.`%s` DROP COLUMN `%s`", t.schema, t.name, name))
}

// Rename gives the table another name and returns the commit ts.
func (t *Table) Rename(name string) event.Ts {
	var old string
	t.change(func() {
		if t.cluster.schemas.tables[tableKey(t.schema, name)] != nil {
			mistake("table %s.%s exists", t.schema, name)
		}
		old, t.name = t.name, name
		delete(t.cluster.schemas.tables, tableKey(t.schema, old))
		t.cluster.schemas.tables[tableKey(t.schema, name)] = t
	})
	return t.run(event.DDLRenameTable, t.id, fmt.Sprintf("RENAME TABLE `%s`.`%s` TO `%s`.`%s`", t.schema, old, t.schema, name))
}

// Truncate gives the table a new id without rows and returns the commit ts.
func (t *Table) Truncate() event.Ts {
	var old int64
	t.change(func() {
		t.cluster.schemas.lastID++
		old, t.id = t.id, t.cluster.schemas.lastID
	})
	return t.run(event.DDLTruncateTable, old, fmt.Sprintf("TRUNCATE TABLE `%s`.`%s`", t.schema, t.name))
}

// Drop drops the table and returns the commit ts.
func (t *Table) Drop() event.Ts {
	c := t.cluster
	t.change(func() {
		t.dropped = true
		delete(c.schemas.tables, tableKey(t.schema, t.name))
	})
	txn := c.Begin()
	ts := c.run(txn, &ddl{
		kind: event.DDLDropTable, schema: t.schema, schemaID: t.schemaID, tableID: t.id,
		query:   fmt.Sprintf("DROP TABLE `%s`.`%s`", t.schema, t.name),
		table:   newTableJSON(t.id, t.name, t.columns, t.maxColumnID, txn.StartTs),
		deletes: []mutation{{key: t.metaKey()}},
	})
	c.update(func() { c.noteLocked(t.id, tableVersion{from: ts}) })
	return ts
}
