package schema_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// testdata/tidb-8.2.jobs.jsonl is what TiDB 8.2 wrote while it ran one
// statement of nearly every kind: its meta keys before the first, the jobs in
// the order of their commit ts, and the meta keys after the last.
// tidb-8.2.rows.jsonl has all rows of two of the statements in mysql.tidb_ddl_job
// and mysql.tidb_ddl_history. Fields that are null, zero or not about schemas
// are left out of the JSON.
type recording struct {
	// A snapshot has Ts and Meta, by key in hex.
	Ts   event.Ts
	Meta map[string]json.RawMessage

	Start, Commit event.Ts
	History       bool
	Job           json.RawMessage
}

func readLines[T any](t testing.TB, file string) []T {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []T
	dec := json.NewDecoder(bufio.NewReader(f))
	for {
		var v T
		err := dec.Decode(&v)
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, v)
	}
}

func (r *recording) keys(t testing.TB) metaKeys {
	t.Helper()
	m := metaKeys{}
	for k, v := range r.Meta {
		key, err := hex.DecodeString(k)
		if err != nil {
			t.Fatal(err)
		}
		m[string(key)] = v
	}
	return m
}

func (r *recording) job(t testing.TB) *schema.Job {
	t.Helper()
	job, err := schema.DecodeJob(r.Job)
	if err != nil {
		t.Fatal(err)
	}
	job.StartTs, job.FinishedTs = r.Start, r.Commit
	return job
}

// TestRecordedJobs applies real jobs to a real snapshot. The golden file shows
// each change; that the sum of all is the later snapshot needs no golden file.
func TestRecordedJobs(t *testing.T) {
	records := readLines[recording](t, "testdata/tidb-8.2.jobs.jsonl")
	first, last := records[0], records[len(records)-1]
	storage, err := schema.Load(context.Background(), first.keys(t), first.Ts, schema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, r := range records[1 : len(records)-1] {
		job := r.job(t)
		if job.Incomplete() {
			t.Errorf("%s is incomplete", job)
		}
		ddl, err := storage.Apply(job)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s\n", job.Query)
		text := describeDDL(ddl)
		if ddl != nil {
			text = strings.Replace(text, fmt.Sprintf(" @%d", ddl.CommitTs), "", 1)
		}
		out.WriteString(text + "\n")
		if again, err := storage.Apply(job); again != nil || err != nil {
			t.Errorf("%s applied twice: %v, %v", job, again, err)
		}
	}
	golden(t, "testdata/tidb-8.2.golden", out.String())

	storage.Advance(last.Ts)
	loaded, err := schema.Load(context.Background(), last.keys(t), last.Ts, schema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	compareTables(t, storage, loaded, last.Ts)
}

// compareTables reports tables that are not the same in both at ts, in names,
// ids or columns.
func compareTables(t *testing.T, got, want *schema.Storage, ts event.Ts) {
	t.Helper()
	g, w := sortedTables(got, ts), sortedTables(want, ts)
	for i := range min(len(g), len(w)) {
		x, y := *g[i], *w[i]
		x.UpdateTs, y.UpdateTs = 0, 0
		if !reflect.DeepEqual(x, y) {
			t.Errorf("at ts %d: %s, want %s", ts, marshal(x), marshal(y))
		}
		if found, ok := got.TableByName(strings.ToUpper(y.Schema), strings.ToUpper(y.Table), ts); !ok || found != g[i] {
			t.Errorf("at ts %d: %s is found by name as %s", ts, describe(g[i]), describe(found))
		}
		for _, id := range y.PhysicalIDs() {
			if found, err := got.Table(id, ts); err != nil || found != g[i] {
				t.Errorf("at ts %d: id %d of %s finds %s, %v", ts, id, describe(g[i]), describe(found), err)
			}
		}
	}
	if len(g) != len(w) {
		t.Errorf("at ts %d: %d tables, want %d", ts, len(g), len(w))
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s: line %d differs:\n%s\nwant:\n%s", file, i+1, strings.Join(g[i:min(i+3, len(g))], "\n"), strings.Join(w[i:min(i+3, len(w))], "\n"))
		}
	}
}

// row is a change of a row in one of the tables of jobs.
type row struct {
	Op            event.Op
	Key           string
	Value         []byte
	Start, Commit event.Ts
	SQL           string
	// Job: the row says that a job took effect.
	Job bool
}

func (r *row) kv(t testing.TB) *event.RawKV {
	t.Helper()
	key, err := hex.DecodeString(r.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &event.RawKV{Op: r.Op, Key: key, Value: r.Value, StartTs: r.Start, CommitTs: r.Commit}
}

func newRecordedReader(t testing.TB) *schema.JobReader {
	t.Helper()
	first := readLines[recording](t, "testdata/tidb-8.2.jobs.jsonl")[0]
	storage, err := schema.Load(context.Background(), first.keys(t), first.Ts, schema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := storage.JobReader()
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

func TestParseJob(t *testing.T) {
	reader := newRecordedReader(t)
	parsed := map[string]int{}
	for i, r := range readLines[row](t, "testdata/tidb-8.2.rows.jsonl") {
		kv := r.kv(t)
		job, err := reader.ParseJob(kv)
		if err != nil || (job != nil) != r.Job {
			t.Errorf("row %d of %q: %v, %v, want a job: %t", i, r.SQL, job, err, r.Job)
		}
		if job == nil {
			continue
		}
		parsed[job.Query]++
		if job.StartTs != r.Start || job.FinishedTs != r.Commit || job.ID == 0 || job.Query != r.SQL {
			t.Errorf("row %d of %q: job %+v", i, r.SQL, job)
		}
		// The row may be overwritten when ParseJob has returned.
		clear(kv.Value)
		if job.Query != r.SQL {
			t.Errorf("row %d of %q: the job changed with the row", i, r.SQL)
		}
	}
	want := map[string]int{"create database First": 1, "create table Fast.f1 (id int primary key)": 1}
	if !reflect.DeepEqual(parsed, want) {
		t.Errorf("jobs parsed: %v, want %v", parsed, want)
	}
}

// TestParseJobStates has jobs in every state in both tables.
func TestParseJobStates(t *testing.T) {
	reader := newRecordedReader(t)
	const (
		jobs    = 1<<48 - 2
		history = 1<<48 - 4
	)
	for _, tt := range []struct {
		name  string
		table int64
		tp    event.DDLType
		json  object
		want  bool
	}{
		{"done", jobs, event.DDLAddColumn, object{"state": 4, "version": 50}, true},
		{"running", jobs, event.DDLAddColumn, object{"state": 1, "version": 50}, false},
		{"rolling back", jobs, event.DDLAddIndex, object{"state": 2, "version": 50}, false},
		{"rolled back", jobs, event.DDLAddIndex, object{"state": 3, "version": 50}, false},
		{"cancelled", jobs, event.DDLAddIndex, object{"state": 5, "version": 50}, false},
		{"cancelling", jobs, event.DDLAddIndex, object{"state": 7, "version": 50}, false},
		{"queueing", jobs, event.DDLAddIndex, object{"state": 8, "version": 50}, false},
		{"paused", jobs, event.DDLAddIndex, object{"state": 9, "version": 50}, false},
		{"pausing", jobs, event.DDLAddIndex, object{"state": 10, "version": 50}, false},
		{"synced in the table of jobs", jobs, event.DDLAddIndex, object{"state": 6, "version": 50}, false},
		{"done for nothing", jobs, event.DDLAddColumn, object{"state": 4, "version": 0}, false},
		{"flashback without a version", jobs, event.DDLFlashbackCluster, object{"state": 4, "version": 0}, true},
		{"a partition is being dropped, public", jobs, event.DDLDropPartition, object{"state": 1, "step": 5}, false},
		{"a partition is being dropped, write only", jobs, event.DDLDropPartition, object{"state": 1, "step": 2}, false},
		{"a partition is being dropped, delete only", jobs, event.DDLDropPartition, object{"state": 1, "step": 1}, true},
		{"a partition is being dropped, delete reorganization", jobs, event.DDLDropPartition, object{"state": 1, "step": 4}, true},
		{"a partition is being dropped, paused", jobs, event.DDLDropPartition, object{"state": 9, "step": 4}, true},
		{"a partition could not be dropped", jobs, event.DDLDropPartition, object{"state": 5, "step": 5}, false},
		{"a partition is being truncated", jobs, event.DDLTruncatePartition, object{"state": 1, "step": 1}, true},
		{"a column is being dropped, delete only", jobs, event.DDLDropColumn, object{"state": 1, "step": 1}, false},
		{"partitions are being reorganized, delete reorganization", jobs, event.DDLReorganizePartition, object{"state": 1, "step": 4}, false},
		{"partitions are being reorganized, public", jobs, event.DDLReorganizePartition, object{"state": 1, "step": 5}, true},
		{"partitioning is being removed, public", jobs, event.DDLRemovePartitioning, object{"state": 1, "step": 5}, true},
		{"a table is being partitioned, public", jobs, event.DDLAlterTablePartitioning, object{"state": 1, "step": 5}, true},
		{"a column is being added, public", jobs, event.DDLAddColumn, object{"state": 1, "step": 5}, false},
		{"history of a drop partition", history, event.DDLDropPartition, object{"state": 1, "step": 1}, false},
		{"fast create table", history, event.DDLCreateTable, object{"state": 6, "version": 50, "local": true}, true},
		{"fast create tables", history, event.DDLCreateTables, object{"state": 6, "version": 50, "local": true}, true},
		{"history of a create table", history, event.DDLCreateTable, object{"state": 6, "version": 50, "local": false}, false},
		{"history of another job", history, event.DDLAddColumn, object{"state": 6, "version": 50, "local": true}, false},
		{"fast create table that failed", history, event.DDLCreateTable, object{"state": 5, "version": 50, "local": true}, false},
		{"fast create table for nothing", history, event.DDLCreateTable, object{"state": 6, "version": 0, "local": true}, false},
	} {
		data := marshal(object{
			"id": 7, "type": tt.tp, "state": tt.json["state"], "local_mode": tt.json["local"],
			"schema_state": tt.json["step"], "table_id": 104, "real_start_ts": 100, "binlog": object{"SchemaVersion": tt.json["version"]},
		})
		// job_meta is column 5 of the one table and 2 of the other.
		column := byte(5)
		if tt.table == history {
			column = 2
		}
		// A row in format v2 with one column: ids, end offsets, data.
		value := append([]byte{0x80, 0, 1, 0, 0, 0, column, byte(len(data)), byte(len(data) >> 8)}, data...)
		key := append(event.TableSpan(tt.table).Start, 0x80, 0, 0, 0, 0, 0, 0, 7)
		job, err := reader.ParseJob(&event.RawKV{Op: event.OpPut, Key: key, Value: value, StartTs: 109, CommitTs: 110})
		if err != nil || (job != nil) != tt.want {
			t.Errorf("%s: %v, %v, want a job: %t", tt.name, job, err, tt.want)
		}
		if job != nil && (job.ID != 7 || job.StartTs != 109 || job.FinishedTs != 110) {
			t.Errorf("%s: %+v", tt.name, job)
		}
	}
}

func TestParseJobRejects(t *testing.T) {
	reader := newRecordedReader(t)
	var done *event.RawKV
	for _, r := range readLines[row](t, "testdata/tidb-8.2.rows.jsonl") {
		if r.Job {
			done = r.kv(t)
			break
		}
	}
	other := *done
	other.Key = append(event.TableSpan(104).Start, done.Key[11:]...)
	if job, err := reader.ParseJob(&other); job != nil || err != nil {
		t.Errorf("row of another table: %v, %v", job, err)
	}
	cut := *done
	cut.Value = done.Value[:len(done.Value)/2]
	if job, err := reader.ParseJob(&cut); err == nil || !strings.Contains(err.Error(), fmt.Sprint(cut.CommitTs)) {
		t.Errorf("half a row: %v, %v, want an error that names the ts", job, err)
	}
	bad := *done
	bad.Value = []byte(strings.Replace(string(done.Value), `{"id":`, `{"id":x`, 1))
	bad.Value = append(bad.Value[:0:0], bad.Value[:len(done.Value)]...)
	if job, err := reader.ParseJob(&bad); err == nil {
		t.Errorf("broken JSON: %v", job)
	}
}

func TestDDLSpans(t *testing.T) {
	var got []string
	for _, s := range schema.DDLSpans() {
		got = append(got, fmt.Sprintf("%x %x", s.Start, s.End))
	}
	want := []string{
		"748000fffffffffffe5f72 748000fffffffffffe5f73",
		"748000fffffffffffc5f72 748000fffffffffffc5f73",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("DDL spans %q, want %q", got, want)
	}
}
