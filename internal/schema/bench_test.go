package schema_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// sbtest is a table like those of sysbench, which real clusters have thousands of.
func sbtest(id int64) *tableDef {
	return &tableDef{id: id, name: fmt.Sprintf("sbtest%d", id), cols: []colDef{
		{1, "id", true}, {2, "k", false}, {3, "c", false}, {4, "pad", false},
	}}
}

func manyTables(b *testing.B, n int) metaKeys {
	b.Helper()
	m := metaKeys{}
	m.schema(2, "test")
	for i := range n {
		m.table(2, sbtest(int64(i)+100))
	}
	return m
}

func loadMany(b *testing.B, n int) *schema.Storage {
	b.Helper()
	storage, err := schema.Load(context.Background(), manyTables(b, n), 100, schema.Config{})
	if err != nil {
		b.Fatal(err)
	}
	return storage
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := manyTables(b, n)
			before := heap()
			var storage *schema.Storage
			for b.Loop() {
				var err error
				if storage, err = schema.Load(context.Background(), m, 100, schema.Config{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(heap()-before)/float64(n), "heap-bytes/table")
			runtime.KeepAlive(storage)
			runtime.KeepAlive(m)
		})
	}
}

// BenchmarkApply alters one table of many, and creates and drops one beside them.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		storage := loadMany(b, n)
		ts := event.Ts(100)
		apply := func(b *testing.B, job *schema.Job) {
			ts++
			job.ID, job.FinishedTs = int64(ts), ts
			if ddl, err := storage.Apply(job); err != nil || ddl == nil {
				b.Fatal(ddl, err)
			}
			storage.Advance(ts)
			storage.Forget(ts)
		}
		b.Run(fmt.Sprintf("add column/tables=%d", n), func(b *testing.B) {
			add := (&jobDef{tp: event.DDLAddColumn, schemaID: 2, tableID: 100, schemaName: "test", table: sbtest(100)}).job(b)
			b.ReportAllocs()
			for b.Loop() {
				apply(b, add)
			}
		})
		b.Run(fmt.Sprintf("create and drop table/tables=%d", n), func(b *testing.B) {
			table := sbtest(1 << 30)
			create := (&jobDef{tp: event.DDLCreateTable, schemaID: 2, tableID: table.id, schemaName: "test", table: table}).job(b)
			drop := (&jobDef{tp: event.DDLDropTable, schemaID: 2, tableID: table.id, schemaName: "test", table: table}).job(b)
			b.ReportAllocs()
			for b.Loop() {
				apply(b, create)
				apply(b, drop)
			}
		})
	}
}

func BenchmarkTable(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			storage := loadMany(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				i := int64(0)
				for pb.Next() {
					i = (i + 7919) % int64(n)
					if _, err := storage.Table(100+i, 100); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
