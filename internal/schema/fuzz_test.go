package schema_test

import (
	"context"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// FuzzApply decodes and applies any JSON as a job. Nothing may panic, and what
// is applied must not break lookups.
func FuzzApply(f *testing.F) {
	records := readLines[recording](f, "testdata/tidb-8.2.jobs.jsonl")
	seen := map[string]bool{}
	for _, r := range records[1 : len(records)-1] {
		// Short seeds, one of a kind.
		if tp := r.job(f).Type.String(); !seen[tp] && len(r.Job) < 3000 {
			seen[tp] = true
			f.Add([]byte(r.Job))
		}
	}
	for _, s := range []string{
		`{}`, `null`, `{"type":42,"binlog":{"SchemaVersion":1,"TableInfo":{"id":104}},"raw_args":[1,2,104],"table_id":105}`,
		`{"type":47,"binlog":{"SchemaVersion":1,"MultipleTableInfos":[{"id":104},null]},"raw_args":[[],[2],[],[104]]}`,
		`{"type":63,"binlog":{"SchemaVersion":1},"raw_args":[{"RecoverTabsInfo":[null,{}]}]}`,
		`{"type":63,"binlog":{"SchemaVersion":1},"raw_args":{"recover_info":null}}`,
		`{"type":20,"state":1,"schema_state":1,"table_id":104,"real_start_ts":1,"raw_args":[["p0"]]}`,
		`{"type":23,"state":1,"schema_state":4,"table_id":104,"real_start_ts":1,"raw_args":{"old_partition_ids":[106],"new_partition_ids":[105]}}`,
		`{"type":64,"state":1,"schema_state":5,"table_id":104,"real_start_ts":1,"raw_args":[["p0"],{"definitions":[{"id":108},{"id":107}]}]}`,
		`{"type":71,"state":1,"schema_state":5,"table_id":105,"real_start_ts":1,"raw_args":{"part_info":{"new_table_id":106,"definitions":[{"id":106}]}}}`,
		`{"type":72,"state":1,"schema_state":5,"table_id":104,"real_start_ts":1,"raw_args":[null,{"new_table_id":105,"definitions":[{"id":105}]}]}`,
		`{"type":5,"binlog":{"SchemaVersion":1,"TableInfo":{"id":104,"partition":{"enable":true,"definitions":[{"id":104},{"id":104}]}}}}`,
	} {
		f.Add([]byte(s))
	}
	m := metaKeys{}
	m.schema(2, "test")
	m.table(2, &tableDef{id: 104, name: "p", parts: []partDef{{106, "p0"}, {107, "p1"}}})
	m.table(2, &tableDef{id: 105, name: "t"})
	f.Fuzz(func(t *testing.T, data []byte) {
		job, err := schema.DecodeJob(data)
		if err != nil {
			return
		}
		storage, err := schema.Load(context.Background(), m, 100, schema.Config{})
		if err != nil {
			t.Fatal(err)
		}
		job.FinishedTs = 110
		_ = job.String()
		_ = job.Incomplete()
		ddl, err := storage.Apply(job)
		if err != nil && ddl != nil {
			t.Errorf("both a DDL and %v", err)
		}
		storage.Advance(110)
		for _, table := range sortedTables(storage, 110) {
			if _, err := storage.Table(table.ID, 110); err != nil {
				t.Errorf("%s is listed, but: %v", describe(table), err)
			}
		}
		storage.Forget(110)
	})
}

// FuzzPeekTable reads tables the short way and the long way.
func FuzzPeekTable(f *testing.F) {
	f.Add([]byte((&tableDef{id: 104, name: "t", cols: []colDef{{1, "a", true}}}).json()))
	for _, s := range []string{`{"name":{"O":"T"},"x":[1,{}],"id":7}`, `{"id":1}`, `[]`, `{"id":"x"}`, `{`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, err := event.ParseTableInfo(data, 2, "test")
		if err != nil || whole.ID == 0 {
			_, _ = schema.PeekTable(data, 2, "test")
			return
		}
		light, err := schema.PeekTable(data, 2, "test")
		if err != nil {
			t.Skip() // keys that differ in case, or come twice
		}
		if light.SchemaID != 2 || light.Schema != "test" {
			t.Errorf("peeked %s", describe(light))
		}
	})
}
