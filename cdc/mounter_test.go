package cdc_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// history is a SchemaResolver of one table: versions[i] is in effect from since[i] on.
type history struct {
	since    []event.Ts
	versions []*event.TableInfo

	mu    sync.Mutex
	asked []event.Ts
}

func (h *history) Table(id int64, ts event.Ts) (*event.TableInfo, error) {
	h.mu.Lock()
	h.asked = append(h.asked, ts)
	h.mu.Unlock()
	if id != 104 && id != 105 {
		return nil, fmt.Errorf("no table %d", id)
	}
	i, ok := slices.BinarySearch(h.since, ts)
	if !ok {
		i--
	}
	if i < 0 {
		return nil, nil
	}
	return h.versions[i], nil
}

// oneTable has a column id, the handle, and the columns a and, from version 2 on, b.
func oneTable(version int) *event.TableInfo {
	dft := "7"
	t := &event.TableInfo{
		ID: 104, Schema: "test", Table: "t", PKIsHandle: true, HandleKey: []int{0},
		Columns: []event.ColumnInfo{
			{ID: 1, Name: "id", Type: event.TypeLonglong, Flag: event.FlagPrimaryKey | event.FlagNotNull},
			{ID: 2, Name: "a", Type: event.TypeVarchar, Charset: "utf8mb4"},
			{ID: 3, Name: "b", Type: event.TypeLong, OriginDefault: &dft},
		},
	}
	t.Columns = t.Columns[:version+1]
	return t
}

func oneVersion() *history {
	return &history{since: []event.Ts{1}, versions: []*event.TableInfo{oneTable(1)}}
}

const (
	keyOne  = "7480000000000000685f728000000000000001"
	rowX    = "80000100000002010078" // a: x
	rowY    = "80000100000002010079" // a: y
	rowXAnd = "8000020000000203010002007809"
)

// put, update and del build changes of handle 1 from rows in hex.
func put(t testing.TB, ts event.Ts, row string) event.RawKV {
	return event.RawKV{Op: event.OpPut, Key: unhex(t, keyOne), Value: unhex(t, row), StartTs: ts - 1, CommitTs: ts}
}

func update(t testing.TB, ts event.Ts, old, row string) event.RawKV {
	kv := put(t, ts, row)
	kv.OldValue = unhex(t, old)
	return kv
}

func del(t testing.TB, ts event.Ts, old string) event.RawKV {
	kv := update(t, ts, old, "")
	kv.Op = event.OpDelete
	return kv
}

// describe renders a row in one line.
func describe(r *event.RowChanged) string {
	image := func(vs []event.Value) string {
		var texts []string
		for _, v := range vs {
			if v.IsNull() {
				texts = append(texts, "NULL")
				continue
			}
			texts = append(texts, v.Text())
		}
		return "(" + strings.Join(texts, ",") + ")"
	}
	return fmt.Sprintf("%d %s %s->%s", r.CommitTs, r.Kind(), image(r.PreColumns), image(r.Columns))
}

func describeAll(rows []*event.RowChanged) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = describe(r)
	}
	return out
}

func wantRows(t *testing.T, rows []*event.RowChanged, want ...string) {
	t.Helper()
	if got := describeAll(rows); !slices.Equal(got, want) {
		t.Errorf("got rows\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestMountImages(t *testing.T) {
	h := oneVersion()
	m := cdc.NewMounter(h, cdc.MounterOptions{})
	kvs := []event.RawKV{
		put(t, 10, rowX),
		update(t, 11, rowX, rowY),
		del(t, 12, rowY),
		del(t, 13, ""),
	}
	want := []string{
		"10 insert ()->(1,x)",
		"11 update (1,x)->(1,y)",
		"12 delete (1,y)->()",
		"13 delete (1,NULL)->()",
	}
	var b cdc.Batch
	rows, err := m.MountBatch(kvs, &b)
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, rows, want...)
	if r := rows[1]; r.StartTs != 10 || r.PhysicalTableID != 104 || r.Table != h.versions[0] || hex.EncodeToString(r.Key) != keyOne {
		t.Errorf("got %+v", *r)
	}
	for i := range kvs {
		row, err := m.Mount(&kvs[i])
		if err != nil {
			t.Fatal(err)
		}
		wantRows(t, []*event.RowChanged{row}, want[i])
	}
}

func TestMountRowsOfItsOwn(t *testing.T) {
	m := cdc.NewMounter(oneVersion(), cdc.MounterOptions{})
	x, y := put(t, 10, rowX), put(t, 11, rowY)
	first, err := m.Mount(&x)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Mount(&y); err != nil {
		t.Fatal(err)
	}
	wantRows(t, []*event.RowChanged{first}, "10 insert ()->(1,x)")
}

// A DDL that finishes at ts 20 is in effect for changes committed after it: a
// commit at 20 itself still sees the schema before. Old values are read with
// the schema of their change.
func TestMountAcrossDDL(t *testing.T) {
	h := &history{since: []event.Ts{1, 20}, versions: []*event.TableInfo{oneTable(1), oneTable(2)}}
	m := cdc.NewMounter(h, cdc.MounterOptions{})
	var b cdc.Batch
	rows, err := m.MountBatch([]event.RawKV{
		put(t, 10, rowX),
		put(t, 20, rowX),
		put(t, 20, rowY),
		update(t, 21, rowX, rowXAnd),
		put(t, 22, rowX),
		del(t, 22, rowXAnd),
	}, &b)
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, rows,
		"10 insert ()->(1,x)",
		"20 insert ()->(1,x)",
		"20 insert ()->(1,y)",
		"21 update (1,x,7)->(1,x,9)",
		"22 insert ()->(1,x,7)",
		"22 delete (1,x,9)->()",
	)
	if rows[0].Table != h.versions[0] || rows[5].Table != h.versions[1] {
		t.Error("rows name the wrong version of their table")
	}
}

// One schema for a batch takes two questions: for the first and the last change.
func TestMountBatchAsksSeldom(t *testing.T) {
	h := oneVersion()
	m := cdc.NewMounter(h, cdc.MounterOptions{})
	var b cdc.Batch
	var kvs []event.RawKV
	for ts := event.Ts(10); ts < 50; ts++ {
		kvs = append(kvs, put(t, ts, rowX))
	}
	if _, err := m.MountBatch(kvs, &b); err != nil {
		t.Fatal(err)
	}
	if want := []event.Ts{9, 48}; !slices.Equal(h.asked, want) {
		t.Errorf("asked for the schema at %v, want %v", h.asked, want)
	}
	if rows, err := m.MountBatch(nil, &b); err != nil || len(rows) != 0 {
		t.Errorf("no changes: got %v, %v", rows, err)
	}
}

func TestBatchIsReused(t *testing.T) {
	m := cdc.NewMounter(oneVersion(), cdc.MounterOptions{})
	var b cdc.Batch
	long := []event.RawKV{put(t, 10, rowX), update(t, 11, rowX, rowY), del(t, 12, rowY)}
	short := []event.RawKV{put(t, 13, rowY)}
	for range 3 {
		rows, err := m.MountBatch(long, &b)
		if err != nil {
			t.Fatal(err)
		}
		wantRows(t, rows, "10 insert ()->(1,x)", "11 update (1,x)->(1,y)", "12 delete (1,y)->()")
		later := rows[2]
		slices.Reverse(long)
		if rows, err = m.MountBatch(long, &b); err != nil {
			t.Fatal(err)
		}
		wantRows(t, rows, "12 delete (1,y)->()", "11 update (1,x)->(1,y)", "10 insert ()->(1,x)")
		slices.Reverse(long)
		if rows, err = m.MountBatch(short, &b); err != nil {
			t.Fatal(err)
		}
		wantRows(t, rows, "13 insert ()->(1,y)")
		if later.Table != nil || later.PreColumns != nil {
			t.Error("the batch holds on to rows of its last use")
		}
	}
}

func TestMountErrors(t *testing.T) {
	broken := oneTable(1)
	broken.Columns[1].Type = 99
	m := cdc.NewMounter(&history{since: []event.Ts{10, 30}, versions: []*event.TableInfo{oneTable(1), broken}}, cdc.MounterOptions{})
	with := func(kv event.RawKV, change func(*event.RawKV)) event.RawKV {
		change(&kv)
		return kv
	}
	for _, tc := range []struct {
		name string
		kv   event.RawKV
		want []string // besides key and commit ts
	}{
		{"put without a value", put(t, 20, ""), []string{"test.t", "empty"}},
		{"broken value", put(t, 20, "8000"), []string{"test.t", "cut short"}},
		{"broken column", put(t, 20, "80000100000002090078"), []string{"test.t"}},
		{"broken old value", update(t, 20, "8000", rowX), []string{"test.t", "old value"}},
		{"neither put nor delete", with(put(t, 20, rowX), func(kv *event.RawKV) { kv.Op = 0 }), []string{"test.t"}},
		{"handle of another kind", with(del(t, 20, ""), func(kv *event.RawKV) { kv.Key = append(kv.Key, 0) }), []string{"test.t", `column "id"`}},
		{"unknown table", with(put(t, 20, rowX), func(kv *event.RawKV) { kv.Key[8] = 9 }), []string{"no table 9", "table id 9"}},
		{"before the table was made", put(t, 5, rowX), []string{"no schema"}},
		{"ts zero", with(put(t, 5, rowX), func(kv *event.RawKV) { kv.CommitTs = 0 }), []string{"no schema"}},
		{"table that cannot be planned", put(t, 40, rowX), []string{"test.t", "type 99"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b cdc.Batch
			_, batchErr := m.MountBatch([]event.RawKV{tc.kv}, &b)
			_, rowErr := m.Mount(&tc.kv)
			for _, err := range []error{batchErr, rowErr} {
				if err == nil {
					t.Fatal("no error")
				}
				want := append(tc.want, hex.EncodeToString(tc.kv.Key), fmt.Sprintf("commit ts %d", tc.kv.CommitTs))
				for _, w := range want {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("error does not say %q: %v", w, err)
					}
				}
			}
		})
	}
}

func TestMountNotRow(t *testing.T) {
	m := cdc.NewMounter(oneVersion(), cdc.MounterOptions{})
	index := put(t, 20, rowX)
	index.Key[10] = 'i'
	var b cdc.Batch
	if _, err := m.Mount(&index); !errors.Is(err, cdc.ErrNotRow) {
		t.Errorf("got %v", err)
	}
	for _, kvs := range [][]event.RawKV{{index}, {put(t, 10, rowX), index}} {
		if _, err := m.MountBatch(kvs, &b); !errors.Is(err, cdc.ErrNotRow) {
			t.Errorf("got %v", err)
		}
	}
}

func TestMountBatchOfTwoTables(t *testing.T) {
	m := cdc.NewMounter(oneVersion(), cdc.MounterOptions{})
	other := put(t, 20, rowX)
	other.Key[8]++
	var b cdc.Batch
	if _, err := m.MountBatch([]event.RawKV{put(t, 10, rowX), other}, &b); err == nil || !strings.Contains(err.Error(), "105") {
		t.Errorf("got %v", err)
	}
	// Of one logical table, two partitions are two physical tables.
	if row, err := m.Mount(&other); err != nil || row.PhysicalTableID != 105 || row.Table.ID != 104 {
		t.Errorf("got %+v, %v", row, err)
	}
}

// A batch whose changes fail later or earlier leaves nothing behind in the next.
func TestBatchAfterError(t *testing.T) {
	m := cdc.NewMounter(oneVersion(), cdc.MounterOptions{})
	var b cdc.Batch
	if _, err := m.MountBatch([]event.RawKV{put(t, 10, rowX), put(t, 11, "8000"), put(t, 12, rowX)}, &b); err == nil {
		t.Fatal("no error")
	}
	rows, err := m.MountBatch([]event.RawKV{put(t, 13, rowY)}, &b)
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, rows, "13 insert ()->(1,y)")
}

func TestMountConcurrently(t *testing.T) {
	h := &history{since: []event.Ts{1, 20, 30}, versions: []*event.TableInfo{oneTable(1), oneTable(2), oneTable(2)}}
	m := cdc.NewMounter(h, cdc.MounterOptions{})
	kvs := []event.RawKV{put(t, 10, rowX), put(t, 25, rowXAnd), put(t, 35, rowX)}
	want := []string{"10 insert ()->(1,x)", "25 insert ()->(1,x,9)", "35 insert ()->(1,x,7)"}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var b cdc.Batch
			for range 200 {
				rows, err := m.MountBatch(kvs, &b)
				if err != nil || !slices.Equal(describeAll(rows), want) {
					t.Errorf("got %v, %v", describeAll(rows), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// The gates are 2 allocations per narrow row and 10 per wide one. A batch that
// is reused needs none; a new one needs its slabs.
func TestMountAllocations(t *testing.T) {
	for _, shape := range shapes {
		for _, op := range ops {
			in := loadRecorded(t, shape, op)
			kvs := in.batchOf(batchRows)
			m := cdc.NewMounter(in, cdc.MounterOptions{})
			mount := func(b *cdc.Batch) {
				if _, err := m.MountBatch(kvs, b); err != nil {
					t.Fatal(err)
				}
			}
			var reused cdc.Batch
			mount(&reused)
			if n := testing.AllocsPerRun(10, func() { mount(&reused) }); n != 0 {
				t.Errorf("%s.%s: %v allocations for %d rows in a reused batch, want 0", shape, op, n, batchRows)
			}
			if n := testing.AllocsPerRun(10, func() { mount(new(cdc.Batch)) }); n > 4 {
				t.Errorf("%s.%s: %v allocations for %d rows in a new batch, want at most 4", shape, op, n, batchRows)
			}
		}
	}
}
