package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/internal/rawkv/rawkvtest"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
	"github.com/tidbcdc/tidbcdc/internal/schema"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// world runs a pipeline in a synctest bubble between a source that the test
// plays and a sink that writes down what it gets. DDL jobs travel as JSON in
// the values of the job span.
type world struct {
	t       testing.TB
	cfg     pipeline.Config
	p       *pipeline.Pipeline
	sources map[int64]*source // by table id
	jobID   int64

	mu    sync.Mutex
	log   []string
	saved []event.Ts
	// rowsHook and ddlHook, if set, stand before the sink's answer.
	rowsHook func(ctx context.Context, rows []*event.RowChanged) error
	ddlHook  func(ctx context.Context, ddl *event.DDL) error

	cancel context.CancelCauseFunc
	done   chan error
}

const (
	startTs  = event.Ts(100)
	jobTable = int64(1<<48 - 2)
	histTbl  = int64(1<<48 - 4)
)

// source is the test's end of a subscription.
type source struct {
	w      *world
	start  event.Ts
	out    puller.Receiver
	closed bool
	// pending is what the source claims to hold.
	pending atomic.Int64
}

// PendingBytes implements pipeline.Subscription.
func (s *source) PendingBytes() int64 { return s.pending.Load() }

func (s *source) Progress() puller.Progress { return puller.Progress{Ranges: 2, Initialized: 1} }

func (s *source) Close() { s.w.locked(func() { s.closed = true }) }

// newWorld has tables a (id 1) and b (id 2) in database d at the start ts.
func newWorld(t testing.TB) *world {
	w := &world{t: t, sources: map[int64]*source{}, done: make(chan error, 1)}
	storage, err := schema.Load(t.Context(), oneSchema{}, 1, schema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for i, job := range []string{createTable(1, "a"), createTable(2, "b")} {
		if _, err := storage.Apply(w.job(job, event.Ts(10+i))); err != nil {
			t.Fatal(err)
		}
	}
	storage.Advance(startTs)
	f, err := filter.New(filter.Config{Rules: []string{"d.*", "!d.hidden*"}})
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = pipeline.Config{
		Schema: storage, ParseJob: w.parseJob, Subscribe: w.subscribe, Sorters: sorter.NewPool(0, spill.Config{}), Mounter: mounter{storage}, Filter: f,
		Sink: w, SaveCheckpoint: w.save, StartTs: startTs, WriteConcurrency: 1, BatchRows: 100, BatchBytes: 1 << 20,
		CheckpointInterval: 100 * time.Millisecond, RetryTimeout: time.Hour, DrainTimeout: 5 * time.Second,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	return w
}

// run starts the pipeline; configure may change its configuration before.
func (w *world) run(configure ...func(*pipeline.Config)) {
	for _, c := range configure {
		c(&w.cfg)
	}
	w.p = pipeline.New(w.cfg)
	ctx, cancel := context.WithCancelCause(w.t.Context())
	w.cancel = cancel
	go func() { w.done <- w.p.Run(ctx) }()
	w.settle()
}

// settle lets everything happen that can.
func (w *world) settle() {
	<-time.After(time.Second)
	synctest.Wait()
}

var errStopped = errors.New("stopped by the test")

// stop cancels the pipeline and returns what Run returns.
func (w *world) stop() error {
	w.cancel(errStopped)
	return <-w.done
}

func (w *world) locked(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

func (w *world) note(format string, args ...any) {
	w.locked(func() { w.log = append(w.log, fmt.Sprintf(format, args...)) })
}

// wants settles and compares what the sink got since the last call.
func (w *world) wants(want ...string) {
	w.t.Helper()
	w.settle()
	var got []string
	w.locked(func() { got, w.log = w.log, nil })
	if !slices.Equal(got, want) {
		w.t.Errorf("the sink got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (w *world) wantCheckpoint(ts event.Ts) {
	w.t.Helper()
	w.settle()
	if got := w.p.CheckpointTs(); got != ts {
		w.t.Errorf("checkpoint is %d, want %d", got, ts)
	}
}

// resolve raises the resolved ts of tables.
func (w *world) resolve(ts event.Ts, tables ...int64) {
	for _, id := range tables {
		w.source(id).out.Resolve(ts)
	}
}

// resolveAll raises the resolved ts of everything that is followed.
func (w *world) resolveAll(ts event.Ts) {
	var open []puller.Receiver
	w.locked(func() {
		for _, s := range w.sources {
			if !s.closed {
				open = append(open, s.out)
			}
		}
	})
	for _, out := range open {
		out.Resolve(ts)
	}
}

// put delivers changes of a table, one per commit ts.
func (w *world) put(table int64, commits ...event.Ts) {
	var kvs []event.RawKV
	for _, c := range commits {
		key := append(event.TableSpan(table).Start, byte(c>>8), byte(c))
		kvs = append(kvs, event.RawKV{Op: event.OpPut, Key: key, Value: []byte("v"), StartTs: c - 1, CommitTs: c})
	}
	w.source(table).out.Receive(rawkvtest.Pack(w.t, kvs...))
}

// ddl delivers a job that is done at commit.
func (w *world) ddl(commit event.Ts, job string) {
	w.source(jobTable).out.Receive(rawkvtest.Pack(w.t, event.RawKV{Op: event.OpPut, Key: []byte{byte(commit)}, Value: []byte(job), StartTs: commit - 1, CommitTs: commit}))
}

func (w *world) source(id int64) *source {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sources[id]
	if s == nil {
		w.t.Fatalf("table %d has not been subscribed", id)
	}
	return s
}

func (w *world) subscribe(span event.Span, start event.Ts, out puller.Receiver) pipeline.Subscription {
	s := &source{w: w, start: start, out: out}
	w.locked(func() { w.sources[span.TableID] = s })
	return s
}

func (w *world) parseJob(kv *event.RawKV) (*schema.Job, error) {
	return w.job(string(kv.Value), kv.CommitTs), nil
}

func (w *world) job(text string, commit event.Ts) *schema.Job {
	job, err := schema.DecodeJob([]byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	w.jobID++
	job.ID, job.StartTs, job.FinishedTs = w.jobID, commit-1, commit
	return job
}

func (w *world) save(_ context.Context, ts event.Ts) error {
	w.locked(func() { w.saved = append(w.saved, ts) })
	return nil
}

// lastSaved is 0 if nothing has been saved.
func (w *world) lastSaved() (ts event.Ts) {
	w.locked(func() {
		if len(w.saved) > 0 {
			ts = w.saved[len(w.saved)-1]
		}
	})
	return ts
}

// WriteRows implements sink.Sink.
func (w *world) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	if w.rowsHook != nil {
		if err := w.rowsHook(ctx, rows); err != nil {
			return err
		}
	}
	for _, r := range rows {
		w.note("%s(%d cols) %d", r.Table.Table, len(r.Table.Columns), r.CommitTs)
	}
	return nil
}

// WriteDDL implements sink.Sink.
func (w *world) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	if w.ddlHook != nil {
		if err := w.ddlHook(ctx, ddl); err != nil {
			return err
		}
	}
	w.note("ddl %d %s", ddl.CommitTs, ddl.Query)
	return nil
}

// mounter makes rows without columns: only the schema matters here.
type mounter struct{ storage *schema.Storage }

func (m mounter) MountBatch(kvs []event.RawKV, _ *rowcodec.Batch) ([]*event.RowChanged, error) {
	var rows []*event.RowChanged
	for _, kv := range kvs {
		id := int64(kv.Key[8]) // the tables of these tests have small ids
		table, err := m.storage.Table(id, kv.CommitTs-1)
		if err != nil {
			return nil, err
		}
		rows = append(rows, &event.RowChanged{
			StartTs: kv.StartTs, CommitTs: kv.CommitTs, Table: table, PhysicalTableID: id, Key: kv.Key, Columns: []event.Value{},
		})
	}
	return rows, nil
}

// oneSchema is a meta reader of a cluster with the database d (id 9) and nothing in it.
type oneSchema struct{}

func (oneSchema) Scan(_ context.Context, start, end []byte, fn func(key, value []byte) error) error {
	// m, the hash "DBs" and its field "DB:9", memcomparable.
	key := []byte("mDBs\x00\x00\x00\x00\x00\xfa\x00\x00\x00\x00\x00\x00\x00hDB:9\x00\x00\x00\x00\xfb")
	if bytes.Compare(key, start) < 0 || bytes.Compare(key, end) >= 0 {
		return nil
	}
	return fn(key, []byte(mustJSON(map[string]any{"id": 9, "db_name": name("d"), "state": 5})))
}

// The numbers of DDL types, as TiDB writes them in jobs.
const (
	tpDropSchema, tpCreateTable, tpDropTable, tpAddColumn, tpDropColumn, tpTruncate, tpRename, tpCreateTables = 2, 3, 4, 5, 6, 11, 14, 60
)

func createTable(id int64, n string) string {
	return tableJob(tpCreateTable, id, id, n, 1, "create "+n)
}

// tableJob is a job that leaves a table with an id, a name and some columns.
func tableJob(tp int, oldID, id int64, n string, columns int, query string) string {
	return mustJSON(map[string]any{
		"type": tp, "schema_id": 9, "table_id": oldID, "schema_name": "d", "state": 4, "schema_state": 5, "query": query,
		"raw_args": []any{id},
		"binlog":   map[string]any{"SchemaVersion": 2, "TableInfo": tableInfo(id, n, columns)},
	})
}

func tableInfo(id int64, n string, columns int) any {
	var cols []any
	for i := range columns {
		flag := 0
		if i == 0 {
			flag = 3 // NOT NULL, primary key
		}
		cols = append(cols, map[string]any{
			"id": i + 1, "name": name(fmt.Sprintf("c%d", i)), "offset": i, "state": 5, "type": map[string]any{"Tp": 8, "Flag": flag},
		})
	}
	return map[string]any{"id": id, "name": name(n), "state": 5, "pk_is_handle": true, "cols": cols}
}

func name(s string) any { return map[string]string{"O": s, "L": strings.ToLower(s)} }

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
