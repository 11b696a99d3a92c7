package schema_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// failingReader fails in the middle of a scan.
type failingReader struct {
	metaKeys
	after int
	err   error
}

func (r *failingReader) Scan(ctx context.Context, start, end []byte, fn func(key, value []byte) error) error {
	return r.metaKeys.Scan(ctx, start, end, func(key, value []byte) error {
		if r.after--; r.after < 0 {
			return r.err
		}
		return fn(key, value)
	})
}

func TestLoadErrors(t *testing.T) {
	meta := func(change func(metaKeys)) metaKeys {
		m := metaKeys{}
		m.schema(2, "test")
		m.table(2, &tableDef{id: 104, name: "t"})
		change(m)
		return m
	}
	broken := errors.New("store is gone")
	for name, tt := range map[string]struct {
		reader schema.Reader
		want   string
	}{
		"nothing":        {metaKeys{}, "older than the cluster"},
		"broken schema":  {meta(func(m metaKeys) { m[string(schema.FieldKey("DBs", "DB:3"))] = []byte("{") }), "parse schema"},
		"broken table":   {meta(func(m metaKeys) { m.tableJSON(2, 105, []byte(`{"id":105,"name":{"O":"broken"},"cols":7}`)) }), `schema "test"`},
		"no JSON":        {meta(func(m metaKeys) { m.tableJSON(2, 105, []byte(`30001`)) }), `schema "test"`},
		"no id":          {meta(func(m metaKeys) { m.tableJSON(2, 105, []byte(`{}`)) }), "no id"},
		"schema scan":    {&failingReader{metaKeys: meta(func(metaKeys) {}), err: broken}, "scan schemas: store is gone"},
		"table scan":     {&failingReader{metaKeys: meta(func(metaKeys) {}), after: 1, err: broken}, `scan tables of schema "test": store is gone`},
		"cancelled scan": {&failingReader{metaKeys: meta(func(metaKeys) {}), err: context.Canceled}, "context canceled"},
	} {
		storage, err := schema.Load(context.Background(), tt.reader, 100, schema.Config{})
		if err == nil || storage != nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "ts 100") {
			t.Errorf("%s: error %v, want one with %q and the ts", name, err, tt.want)
		}
	}
}

// A table with a broken schema does not matter if it is not wanted.
func TestLoadUnwanted(t *testing.T) {
	m := metaKeys{}
	m.schema(2, "test")
	m.table(2, &tableDef{id: 104, name: "t"})
	m.tableJSON(2, 105, []byte(`{"id":105,"name":{"O":"broken"},"cols":7}`))
	keep := func(_, table string) bool { return table != "broken" }
	storage, err := schema.Load(context.Background(), m, 100, schema.Config{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	if got := sortedTables(storage, 100); len(got) != 1 || got[0].Table != "t" {
		t.Errorf("%d tables", len(got))
	}
}

func TestLoadManyTables(t *testing.T) {
	const schemas, tables = 5, 700 // more than one batch each
	m := metaKeys{}
	for i := range schemas {
		m.schema(int64(i)+1, fmt.Sprintf("db%d", i))
		for j := range tables {
			id := int64(1000*(i+1) + j)
			m.table(int64(i)+1, &tableDef{id: id, name: fmt.Sprintf("t%d", j), cols: []colDef{{1, "id", true}}})
		}
	}
	storage, err := schema.Load(context.Background(), m, 100, schema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for table := range storage.Tables(100) {
		if want := int64(1000*(n/tables+1) + n%tables); table.ID != want || table.SchemaID != int64(n/tables)+1 {
			t.Fatalf("table %d is %s, want id %d", n, describe(table), want)
		}
		n++
	}
	if n != schemas*tables {
		t.Errorf("%d tables, want %d", n, schemas*tables)
	}
	for range storage.Tables(100) {
		break // an iterator may be left early
	}
}

func TestJobReaderNeedsItsTable(t *testing.T) {
	m := metaKeys{}
	m.schema(1, "mysql")
	load := func() *schema.Storage {
		s, err := schema.Load(context.Background(), m, 100, schema.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if _, err := load().JobReader(); err == nil || !strings.Contains(err.Error(), "TiDB 6.2") {
		t.Errorf("without mysql.tidb_ddl_job: %v", err)
	}
	m.table(1, &tableDef{id: 1<<48 - 2, name: "tidb_ddl_job", cols: []colDef{{1, "job_id", true}}})
	if _, err := load().JobReader(); err == nil || !strings.Contains(err.Error(), "job_meta") {
		t.Errorf("without the column job_meta: %v", err)
	}
	m.table(1, &tableDef{id: 1<<48 - 2, name: "tidb_ddl_job", cols: []colDef{{1, "job_id", true}, {2, "job_meta", false}}})
	reader, err := load().JobReader()
	if err != nil {
		t.Fatal(err)
	}
	history := &event.RawKV{Op: event.OpPut, Key: append(event.TableSpan(1<<48-4).Start, 0x80, 0, 0, 0, 0, 0, 0, 1), Value: []byte{0x80, 0}}
	if job, err := reader.ParseJob(history); job != nil || err != nil {
		t.Errorf("history of a cluster without the table of histories: %v, %v", job, err)
	}
}
