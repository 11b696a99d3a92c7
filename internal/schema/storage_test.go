package schema_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// TestConcurrentLookups has readers look up what the one writer has resolved,
// while it applies, advances and forgets. Version n of the table has n+1
// columns and begins at ts 100+n.
func TestConcurrentLookups(t *testing.T) {
	const versions = 500
	m := metaKeys{}
	m.schema(2, "test")
	table := &tableDef{id: 104, name: "t", cols: []colDef{{1, "c0", false}}, parts: []partDef{{105, "p0"}}}
	m.table(2, table)
	storage, err := schema.Load(context.Background(), m, 100, schema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !done.Load() {
				ts := storage.ResolvedTs()
				got, err := storage.Table(105, ts)
				if errors.Is(err, schema.ErrForgotten) {
					continue // the writer has overtaken us
				}
				if err != nil || len(got.Columns) != min(int(ts-100), 19)+1 {
					t.Errorf("at ts %d: %s, %v", ts, describe(got), err)
					return
				}
				if byName, ok := storage.TableByName("test", "T", ts); ok && byName.ID != 104 {
					t.Errorf("by name: %s", describe(byName))
				}
				for range storage.Tables(ts) {
				}
			}
		})
	}
	for n := 1; n <= versions; n++ {
		if n < 20 {
			table.cols = append(table.cols, colDef{int64(n) + 1, fmt.Sprintf("c%d", n), false})
		}
		def := &jobDef{id: int64(n), tp: event.DDLAddColumn, schemaID: 2, tableID: 104, table: table, ts: event.Ts(100 + n)}
		if _, err := storage.Apply(def.job(t)); err != nil {
			t.Fatal(err)
		}
		storage.Advance(def.ts)
		storage.Forget(def.ts)
	}
	done.Store(true)
	readers.Wait()
}

// What a lookup returns stays as it is.
func TestVersionsAreImmutable(t *testing.T) {
	m := metaKeys{}
	m.schema(2, "test")
	parted := &tableDef{id: 104, name: "p", cols: []colDef{{1, "a", true}}, parts: []partDef{{105, "p0"}}}
	plain := &tableDef{id: 120, name: "t", cols: []colDef{{1, "a", true}}}
	m.table(2, parted)
	m.table(2, plain)
	storage, err := schema.Load(context.Background(), m, 100, schema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	before := sortedTables(storage, 100)
	text := describe(before[0]) + describe(before[1])
	parted.parts[0].id = 120
	def := &jobDef{id: 1, tp: event.DDLExchangePartition, schemaID: 2, tableID: 120, table: parted, args: []any{105, 2, 104}, ts: 110}
	ddl, err := storage.Apply(def.job(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(before[0]) + describe(before[1]); got != text {
		t.Errorf("tables became %s, were %s", got, text)
	}
	if ddl.PreTable != before[0] || ddl.Changes[1].Before != before[1] {
		t.Error("the tables before the DDL are not those of the lookups")
	}
	if ddl.StartTs != 109 || ddl.CommitTs != 110 || ddl.JobID != 1 || ddl.SQLMode != 1436549152 ||
		ddl.Charset != "utf8mb4" || ddl.Collation != "utf8mb4_bin" {
		t.Errorf("DDL %+v", ddl)
	}
}

// The ids of applied jobs are remembered, but not without end.
func TestRecentJobs(t *testing.T) {
	m := metaKeys{}
	m.schema(2, "test")
	storage, err := schema.Load(context.Background(), m, 100, schema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 1<<14 + 10
	job, err := schema.DecodeJob((&jobDef{tp: event.DDLLockTable}).json())
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		job.ID, job.FinishedTs = int64(i), event.Ts(101+i)
		if _, err := storage.Apply(job); err != nil {
			t.Fatal(err)
		}
	}
	create := func(id int64, ts event.Ts) *event.DDL {
		ddl, err := storage.Apply((&jobDef{id: id, tp: event.DDLCreateTable, schemaID: 2, table: &tableDef{id: 200, name: "t"}, ts: ts}).job(t))
		if err != nil {
			t.Fatal(err)
		}
		return ddl
	}
	if create(n-1, 200+n) != nil || create(10, 200+n) != nil {
		t.Error("one of the newest jobs is applied twice")
	}
	if create(9, 200+n) == nil {
		t.Error("a job that is older than what is remembered is held to be applied")
	}
}
