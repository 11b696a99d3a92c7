package cdctest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tikv/client-go/v2/util/codec"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// TiDB's fixed ids, and the tables of its own that change data capture reads.
const (
	systemSchemaID = 1
	systemSchema   = "mysql"
	jobTableID     = 1<<48 - 2
	historyTableID = 1<<48 - 4
	firstUserID    = 100
)

// States of schema objects and DDL jobs (TiDB's model package).
const (
	statePublic    = 5
	jobStateDone   = 4
	jobStateSynced = 6
)

// schemas is what the cluster knows of its databases. Guarded by Cluster.mu.
type schemas struct {
	lastID   int64
	version  int64
	ids      map[string]int64 // of databases, by name
	tables   map[string]*Table
	jobs     []Column // of mysql.tidb_ddl_job
	versions map[int64][]tableVersion
}

// tableVersion is what a table looked like from a ts on; columns is nil from
// when it is gone.
type tableVersion struct {
	from    event.Ts
	schema  string
	columns []Column
	info    *event.TableInfo
}

// The JSON of TiDB's model.DBInfo, TableInfo and Job, as far as it is read.
type (
	nameJSON struct {
		O string
		L string
	}
	dbJSON struct {
		ID      int64    `json:"id"`
		Name    nameJSON `json:"db_name"`
		Charset string   `json:"charset"`
		Collate string   `json:"collate"`
		State   int      `json:"state"`
	}
	tableJSON struct {
		ID          int64        `json:"id"`
		Name        nameJSON     `json:"name"`
		Charset     string       `json:"charset"`
		Collate     string       `json:"collate"`
		Columns     []columnJSON `json:"cols"`
		State       int          `json:"state"`
		PKIsHandle  bool         `json:"pk_is_handle"`
		MaxColumnID int64        `json:"max_col_id"`
		UpdateTs    uint64       `json:"update_timestamp"`
		Version     int          `json:"version"`
	}
	columnJSON struct {
		ID            int64         `json:"id"`
		Name          nameJSON      `json:"name"`
		Offset        int           `json:"offset"`
		OriginDefault *string       `json:"origin_default"`
		Default       *string       `json:"default"`
		Type          fieldTypeJSON `json:"type"`
		State         int           `json:"state"`
		Version       int           `json:"version"`
	}
	fieldTypeJSON struct {
		Tp      event.ColumnType
		Flag    event.ColumnFlag
		Flen    int
		Decimal int
		Charset string
		Collate string
	}
	jobJSON struct {
		ID         int64         `json:"id"`
		Type       event.DDLType `json:"type"`
		SchemaID   int64         `json:"schema_id"`
		TableID    int64         `json:"table_id"`
		SchemaName string        `json:"schema_name"`
		TableName  string        `json:"table_name"`
		State      int           `json:"state"`
		Query      string        `json:"query"`
		Binlog     binlogJSON    `json:"binlog"`
		Version    int           `json:"version"`
		Charset    string        `json:"charset"`
		Collate    string        `json:"collate"`
		SQLMode    uint64        `json:"sql_mode"`
	}
	binlogJSON struct {
		SchemaVersion int64
		DBInfo        *dbJSON
		TableInfo     *tableJSON
		FinishedTS    uint64
	}
)

func nameOf(s string) nameJSON { return nameJSON{s, strings.ToLower(s)} }

func collation(charset string) string {
	if charset == "binary" {
		return "binary"
	}
	return charset + "_bin"
}

func newTableJSON(id int64, name string, columns []Column, maxColumnID int64, ts event.Ts) *tableJSON {
	t := &tableJSON{
		ID: id, Name: nameOf(name), Charset: "utf8mb4", Collate: "utf8mb4_bin",
		State: statePublic, MaxColumnID: maxColumnID, UpdateTs: uint64(ts), Version: 5,
	}
	for i := range columns {
		c := &columns[i]
		t.PKIsHandle = t.PKIsHandle || c.isKey()
		t.Columns = append(t.Columns, columnJSON{
			ID: c.id, Name: nameOf(c.Name), Offset: i, OriginDefault: c.origin, Default: c.Default, State: statePublic, Version: 2,
			Type: fieldTypeJSON{Tp: c.Type, Flag: c.Flag, Flen: c.Length, Charset: c.Charset, Collate: collation(c.Charset)},
		})
	}
	return t
}

// encodeJSON is for values that cannot fail to be encoded.
func encodeJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		mistake("encode %T: %v", v, err)
	}
	return data
}

// bootstrap writes the schema mysql with the tables that hold DDL jobs.
func (c *Cluster) bootstrap() {
	number := func(columns ...Column) []Column {
		for i := range columns {
			columns[i].id = int64(i + 1)
		}
		return columns
	}
	// The columns of TiDB 8.2.
	jobs := number(Int("job_id").PrimaryKey(), Int("reorg"), Text("schema_ids"), Text("table_ids"),
		Bytes("job_meta"), Int("type"), Int("processing"))
	history := number(Int("job_id").PrimaryKey(), Bytes("job_meta"), Text("db_name"), Text("table_name"),
		Text("schema_ids"), Text("table_ids"), Text("create_time"))
	c.update(func() {
		c.schemas = schemas{
			lastID: firstUserID, version: 1, ids: map[string]int64{systemSchema: systemSchemaID},
			tables: map[string]*Table{}, jobs: jobs, versions: map[int64][]tableVersion{},
		}
	})
	t := c.Begin()
	hash := schemaField(systemSchemaID)
	t.Put(metaKey(schemasHash, hash), encodeJSON(newDBJSON(systemSchemaID, systemSchema)))
	t.Put(metaKey(hash, tableField(jobTableID)), encodeJSON(newTableJSON(jobTableID, "tidb_ddl_job", jobs, int64(len(jobs)), t.StartTs)))
	t.Put(metaKey(hash, tableField(historyTableID)), encodeJSON(newTableJSON(historyTableID, "tidb_ddl_history", history, int64(len(history)), t.StartTs)))
	t.Put(schemaVersionKey(), []byte("1"))
	t.Commit()
}

func newDBJSON(id int64, name string) *dbJSON {
	return &dbJSON{ID: id, Name: nameOf(name), Charset: "utf8mb4", Collate: "utf8mb4_bin", State: statePublic}
}

// schemaVersionKey is a string among TiDB's meta keys.
func schemaVersionKey() []byte {
	return binary.BigEndian.AppendUint64(codec.EncodeBytes([]byte{'m'}, []byte("SchemaVersionKey")), 's')
}

// ddl is one DDL statement to be run.
type ddl struct {
	kind              event.DDLType
	schema            string
	schemaID, tableID int64
	query             string
	db                *dbJSON
	table             *tableJSON
	puts, deletes     []mutation // among meta keys
}

// run writes the statement's changes and its finished job in one transaction, as
// TiDB does, and then moves the job to the history.
func (c *Cluster) run(t *Txn, d *ddl) event.Ts {
	c.mu.Lock()
	c.schemas.version++
	version := c.schemas.version
	c.schemas.lastID++
	jobID := c.schemas.lastID
	columns := c.schemas.jobs
	c.mu.Unlock()

	job := &jobJSON{
		ID: jobID, Type: d.kind, SchemaID: d.schemaID, TableID: d.tableID, SchemaName: strings.ToLower(d.schema),
		State: jobStateDone, Query: d.query, Version: 1, Charset: "utf8mb4", Collate: "utf8mb4_bin",
		Binlog: binlogJSON{SchemaVersion: version, DBInfo: d.db, TableInfo: d.table},
	}
	if d.table != nil {
		job.TableName = d.table.Name.L
	}
	row, err := encodeRow(columns, []any{jobID, 0, strconv.FormatInt(d.schemaID, 10), strconv.FormatInt(d.tableID, 10), encodeJSON(job), int(d.kind), 1})
	if err != nil {
		mistake("encode DDL job: %v", err)
	}
	for _, m := range d.puts {
		t.Put(m.key, m.value)
	}
	for _, m := range d.deletes {
		t.Delete(m.key)
	}
	t.Put(schemaVersionKey(), []byte(strconv.FormatInt(version, 10)))
	t.Put(RowKey(jobTableID, jobID), row)
	ts := t.Commit()

	c.Begin().Delete(RowKey(jobTableID, jobID)).Commit()
	return ts
}

// CreateSchema creates a database, unless it is there.
func (c *Cluster) CreateSchema(name string) {
	c.mu.Lock()
	if c.schemas.ids[strings.ToLower(name)] != 0 {
		c.mu.Unlock()
		return
	}
	c.schemas.lastID++
	id := c.schemas.lastID
	c.schemas.ids[strings.ToLower(name)] = id
	c.mu.Unlock()
	db := newDBJSON(id, name)
	c.run(c.Begin(), &ddl{
		kind: event.DDLCreateSchema, schema: name, schemaID: id, query: fmt.Sprintf("CREATE DATABASE `%s`", name), db: db,
		puts: []mutation{{key: metaKey(schemasHash, schemaField(id)), value: encodeJSON(db)}},
	})
}

// DropSchema drops a database with its tables.
func (c *Cluster) DropSchema(name string) event.Ts {
	c.mu.Lock()
	id := c.schemas.ids[strings.ToLower(name)]
	delete(c.schemas.ids, strings.ToLower(name))
	var tables []*Table
	for _, key := range slices.Sorted(maps.Keys(c.schemas.tables)) {
		if t := c.schemas.tables[key]; t.schemaID == id {
			tables = append(tables, t)
			delete(c.schemas.tables, key)
		}
	}
	c.mu.Unlock()
	if id == 0 {
		mistake("there is no database %s", name)
	}
	d := &ddl{
		kind: event.DDLDropSchema, schema: name, schemaID: id, query: fmt.Sprintf("DROP DATABASE `%s`", name), db: newDBJSON(id, name),
		deletes: []mutation{{key: metaKey(schemasHash, schemaField(id))}},
	}
	for _, t := range tables {
		d.deletes = append(d.deletes, mutation{key: t.metaKey()})
	}
	ts := c.run(c.Begin(), d)
	c.update(func() {
		for _, t := range tables {
			t.dropped = true
			c.noteLocked(t.id, tableVersion{from: ts})
		}
	})
	return ts
}

// noteLocked remembers what a table is from a ts on.
func (c *Cluster) noteLocked(id int64, v tableVersion) {
	c.schemas.versions[id] = append(c.schemas.versions[id], v)
}
