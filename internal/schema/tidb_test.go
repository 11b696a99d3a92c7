package schema_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// tableDef is a table as the tests write it; json returns it as TiDB does.
type tableDef struct {
	id             int64
	name           string
	cols           []colDef
	parts          []partDef
	view, sequence bool
}

type colDef struct {
	id   int64
	name string
	pk   bool
}

type partDef struct {
	id   int64
	name string
}

type object = map[string]any

func ciStr(s string) object { return object{"O": s, "L": strings.ToLower(s)} }

func (t *tableDef) json() json.RawMessage {
	cols := []object{}
	pk := false
	for i, c := range t.cols {
		flag := 0
		if c.pk {
			flag, pk = 4099, true
		}
		cols = append(cols, object{
			"id": c.id, "name": ciStr(c.name), "offset": i, "state": 5, "version": 2, "default": nil, "origin_default": nil,
			"type": object{"Tp": 8, "Flag": flag, "Flen": 20, "Decimal": 0, "Charset": "binary", "Collate": "binary"},
		})
	}
	m := object{
		"name": ciStr(t.name), "charset": "utf8mb4", "collate": "utf8mb4_bin", "cols": cols,
		"index_info": nil, "state": 5, "pk_is_handle": pk, "partition": nil, "view": nil, "sequence": nil,
	}
	if t.parts != nil {
		defs := []object{}
		for _, p := range t.parts {
			defs = append(defs, object{"id": p.id, "name": ciStr(p.name)})
		}
		m["partition"] = object{"enable": true, "definitions": defs}
	}
	if t.view {
		m["view"] = object{"view_select": "select 1"}
	}
	if t.sequence {
		m["sequence"] = object{"sequence_start": 1}
	}
	// TiDB writes the id and the name first.
	return append([]byte(fmt.Sprintf(`{"id":%d,"name":%s,`, t.id, marshal(ciStr(t.name)))), marshal(m)[1:]...)
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of a test's own values
	}
	return b
}

func dbInfo(id int64, name string) object {
	return object{"id": id, "db_name": ciStr(name), "charset": "utf8mb4", "collate": "utf8mb4_bin", "state": 5}
}

// jobDef is a DDL job as the tests write it.
type jobDef struct {
	id            int64
	tp            event.DDLType
	schemaID      int64
	tableID       int64
	schemaName    string
	query         string
	args          any
	db            object
	table         *tableDef
	tables        []*tableDef
	ts            event.Ts
	noVersion     bool
	step          int // of a job in progress
	synced, local bool
}

func (j *jobDef) json() []byte {
	binlog := object{"SchemaVersion": 50, "DBInfo": j.db, "TableInfo": nil, "FinishedTS": 0, "MultipleTableInfos": nil}
	if j.noVersion {
		binlog["SchemaVersion"] = 0
	}
	if j.table != nil {
		binlog["TableInfo"] = j.table.json()
	}
	if j.tables != nil {
		var tables []json.RawMessage
		for _, t := range j.tables {
			tables = append(tables, t.json())
		}
		binlog["MultipleTableInfos"] = tables
	}
	state := 4
	switch {
	case j.synced:
		state = 6
	case j.step != 0:
		state = 1
		binlog["SchemaVersion"] = 0
	}
	return marshal(object{
		"id": j.id, "type": j.tp, "schema_id": j.schemaID, "table_id": j.tableID, "schema_name": strings.ToLower(j.schemaName),
		"state": state, "schema_state": j.step, "real_start_ts": j.ts - 1, "raw_args": j.args, "query": j.query, "binlog": binlog, "version": 1, "local_mode": j.local,
		"charset": "utf8mb4", "collate": "utf8mb4_bin", "sql_mode": 1436549152,
	})
}

func (j *jobDef) job(t testing.TB) *schema.Job {
	t.Helper()
	job, err := schema.DecodeJob(j.json())
	if err != nil {
		t.Fatalf("decode job %d: %v", j.id, err)
	}
	job.StartTs, job.FinishedTs = j.ts-1, j.ts
	return job
}

// metaKeys is a Reader over a map, as TiDB would have written it.
type metaKeys map[string][]byte

func (m metaKeys) schema(id int64, name string) {
	m[string(schema.FieldKey("DBs", fmt.Sprintf("DB:%d", id)))] = marshal(dbInfo(id, name))
	// Schemas have other fields than tables, which are to be left alone.
	for _, field := range []string{"TID:1", "IID:1", "TARID:1", "SID:1"} {
		m[string(schema.FieldKey(fmt.Sprintf("DB:%d", id), field))] = []byte("30001")
	}
}

func (m metaKeys) table(schemaID int64, t *tableDef) {
	m.tableJSON(schemaID, t.id, t.json())
}

func (m metaKeys) tableJSON(schemaID, id int64, data []byte) {
	m[string(schema.FieldKey(fmt.Sprintf("DB:%d", schemaID), fmt.Sprintf("Table:%d", id)))] = data
}

func (m metaKeys) Scan(ctx context.Context, start, end []byte, fn func(key, value []byte) error) error {
	var keys []string
	for k := range m {
		if k >= string(start) && k < string(end) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	// The slices are overwritten, as the contract allows.
	var key, value []byte
	for _, k := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		key, value = append(key[:0], k...), append(value[:0], m[k]...)
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

// describe prints a table: schema.name(id) {columns} [partitions].
func describe(t *event.TableInfo) string {
	if t == nil {
		return "none"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s(%d)", t.Name(), t.ID)
	if t.View {
		b.WriteString(" view")
	}
	if t.Sequence {
		b.WriteString(" sequence")
	}
	var cols []string
	for i := range t.Columns {
		name := t.Columns[i].Name
		if slices.Contains(t.HandleKey, i) {
			name += "*"
		}
		cols = append(cols, name)
	}
	fmt.Fprintf(&b, " {%s}", strings.Join(cols, " "))
	if t.Partition != nil {
		var parts []string
		for _, p := range t.Partition.Definitions {
			parts = append(parts, fmt.Sprintf("%s=%d", p.Name, p.ID))
		}
		fmt.Fprintf(&b, " [%s]", strings.Join(parts, " "))
	}
	return b.String()
}

func describeDDL(ddl *event.DDL) string {
	if ddl == nil {
		return "nothing\n"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s @%d schema=%s\n", ddl.Type, ddl.CommitTs, ddl.Schema)
	for _, c := range ddl.Changes {
		fmt.Fprintf(&b, "  %s -> %s\n", describe(c.Before), describe(c.After))
	}
	first := event.TableChange{Before: ddl.PreTable, After: ddl.Table}
	if len(ddl.Changes) > 0 && first != ddl.Changes[0] {
		fmt.Fprintf(&b, "  (table: %s -> %s)\n", describe(first.Before), describe(first.After))
	}
	return b.String()
}

func sortedTables(s *schema.Storage, ts event.Ts) []*event.TableInfo {
	tables := slices.Collect(s.Tables(ts))
	if !slices.IsSortedFunc(tables, func(a, b *event.TableInfo) int { return cmp.Compare(a.ID, b.ID) }) {
		panic("tables are not in id order")
	}
	return tables
}
