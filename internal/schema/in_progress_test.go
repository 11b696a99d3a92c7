package schema_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// ddlRow puts a job in a state into mysql.tidb_ddl_job.
func (m metaKeys) ddlRow(id byte, state int, tableID int64, realStart event.Ts) {
	m.jobRow(id, object{"type": event.DDLDropColumn, "schema_id": 2, "table_id": tableID, "state": state, "real_start_ts": uint64(realStart)})
}

func (m metaKeys) jobRow(id byte, job object) {
	job["id"] = id
	data := marshal(job)
	value := append([]byte{0x80, 0, 1, 0, 0, 0, 2, byte(len(data)), byte(len(data) >> 8)}, data...)
	m[string(append(event.TableSpan(1<<48-2).Start, 0x80, 0, 0, 0, 0, 0, 0, id))] = value
}

// withJobTable has a schema test and an empty mysql.tidb_ddl_job.
func withJobTable() metaKeys {
	m := metaKeys{}
	m.schema(1, "mysql")
	m.schema(2, "test")
	m.tableJSON(1, 1<<48-2, marshal(object{
		"id": int64(1<<48 - 2), "name": ciStr("tidb_ddl_job"), "state": 5, "pk_is_handle": true, "cols": []object{
			{"id": 1, "name": ciStr("job_id"), "offset": 0, "state": 5, "type": object{"Tp": 8, "Flag": 3}},
			{"id": 2, "name": ciStr("job_meta"), "offset": 1, "state": 5, "type": object{"Tp": 251, "Charset": "binary"}},
		},
	}))
	return m
}

func def(id int64, columns ...string) *tableDef {
	t := &tableDef{id: id, name: "t"}
	for i, name := range columns {
		t.cols = append(t.cols, colDef{int64(i + 1), name, i == 0})
	}
	return t
}

// A changefeed that starts in the middle of a DDL sees the schema before it, as
// one that was running already does.
func TestLoadInTheMiddleOfADDL(t *testing.T) {
	const start, begun = event.Ts(100), event.Ts(60)
	for _, tt := range []struct {
		name  string
		state int
		begun event.Ts
		now   *tableDef // nil: not there
		then  *tableDef
		want  string
	}{
		{"running", 1, begun, def(104, "id"), def(104, "id", "dropped"), "test.t(104) {id* dropped}"},
		{"rolling back", 2, begun, def(104, "id"), def(104, "id", "dropped"), "test.t(104) {id* dropped}"},
		{"done", 4, begun, def(104, "id"), def(104, "id", "dropped"), "test.t(104) {id*}"},
		{"queueing", 8, 0, def(104, "id"), nil, "test.t(104) {id*}"},
		{"being created", 1, begun, def(104, "id"), nil, "none"},
		{"being dropped", 1, begun, nil, def(104, "id"), "test.t(104) {id*}"},
	} {
		now, then := withJobTable(), withJobTable()
		now.ddlRow(7, tt.state, 104, tt.begun)
		if tt.now != nil {
			now.table(2, tt.now)
		}
		if tt.then != nil {
			then.table(2, tt.then)
		}
		storage, err := schema.Load(context.Background(), now, start, schema.Config{ReaderAt: func(ts event.Ts) schema.Reader {
			if ts != begun {
				t.Errorf("%s: read at ts %d, want %d", tt.name, ts, begun)
			}
			return then
		}})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		table, _ := storage.TableByName("test", "t", start)
		if got := describe(table); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// The step of DROP PARTITION that counts has been told when it came: a changefeed
// that starts after it has the partitions as they will be, and one that starts
// before it has all of them.
func TestLoadInTheMiddleOfADropPartition(t *testing.T) {
	both, one := def(104, "id"), def(104, "id")
	both.parts = []partDef{{105, "p0"}, {106, "p1"}}
	one.parts = both.parts[:1]
	const had, has = "test.t(104) {id*} [p0=105 p1=106]", "test.t(104) {id*} [p0=105]"
	for _, tt := range []struct {
		name       string
		step       int
		now        *tableDef
		want       string
		step4, end string // what is told at the step after the partition has gone, and at the end
	}{
		{"public", 5, both, had, "drop partition @110 schema=test\n  " + had + " -> " + has + "\n", "nothing\n"},
		{"write only", 2, both, had, "drop partition @110 schema=test\n  " + had + " -> " + has + "\n", "nothing\n"},
		{"delete only", 1, one, has, "nothing\n", "nothing\n"},
		{"delete reorganization", 4, one, has, "nothing\n", "nothing\n"},
	} {
		now, then := withJobTable(), withJobTable()
		now.jobRow(7, object{"type": event.DDLDropPartition, "schema_id": 2, "table_id": 104, "state": 1, "schema_state": tt.step, "real_start_ts": 60})
		now.table(2, tt.now)
		then.table(2, both)
		storage, err := schema.Load(context.Background(), now, 100, schema.Config{ReaderAt: func(event.Ts) schema.Reader { return then }})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		table, _ := storage.TableByName("test", "t", 100)
		if got := describe(table); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		job := &jobDef{id: 7, tp: event.DDLDropPartition, schemaID: 2, tableID: 104, schemaName: "test", ts: 110, step: 4, args: []any{[]string{"p1"}}}
		for _, want := range []string{tt.step4, tt.end} {
			ddl, err := storage.Apply(job.job(t))
			if got := describeDDL(ddl); err != nil || got != want {
				t.Errorf("%s: %s, %v, want %s", tt.name, got, err, want)
			}
			job.ts, job.step, job.args, job.table = 120, 0, []any{[]int64{106}}, one
		}
	}
}

// The time before the DDL may have been collected.
func TestLoadInTheMiddleOfAnOldDDL(t *testing.T) {
	now := withJobTable()
	now.ddlRow(7, 1, 104, 60)
	now.table(2, def(104, "id"))
	load := func(ctx context.Context) (*schema.Storage, error) {
		return schema.Load(ctx, now, 100, schema.Config{ReaderAt: func(event.Ts) schema.Reader {
			return &failingReader{metaKeys: now, err: errors.New("GC life time is shorter than transaction duration")}
		}})
	}
	storage, err := load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	table, _ := storage.TableByName("test", "t", 100)
	if got := describe(table); got != "test.t(104) {id*}" {
		t.Errorf("got %s, want the table of now", got)
	}
}
