package sinktest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/sinktest"
)

// faults are ways to break the contract.
type faults struct {
	reverse, dropLast, dropDelete, dropUpdate bool // of the rows of a call
	cut                                       int  // rows of a call beyond this many are lost
	staleImage                                bool // the old image of an update is written
	wrongTs                                   bool
	keepRows, changeRow, sortRows             bool
	refuseRepeats, refuseNone, refuseDDLAgain bool

	lateRows, lateDDL, dropDDL, earlyDDL bool // late: with the next call

	deafToCancel, cancelPermanent, closesItself, blindCancel bool
	breakPermanent, refuseTransient, blind                   bool
	checkpointBack, checkpointLate, checkpointStrict         bool
	overlapFails                                             bool
}

// memory is a sink that keeps the contract, but for its faults.
type memory struct {
	faults
	token chan struct{} // taken by a write
	twice chan struct{} // told of a call during another, with overlapFails

	mu         sync.Mutex
	records    []sinktest.Record
	late       []sinktest.Record
	rows       []*event.RowChanged // with keepRows
	seen       map[string]bool
	checkpoint event.Ts
	prev       event.Ts
	err        error // of every write
	cancelled  bool
}

func newMemory(f faults) *memory {
	return &memory{faults: f, token: make(chan struct{}, 1), twice: make(chan struct{}, 1), seen: map[string]bool{}}
}

// begin waits for the backend.
func (m *memory) begin(ctx context.Context) error {
	if m.overlapFails {
		select {
		case m.token <- struct{}{}:
		default:
			select {
			case m.twice <- struct{}{}:
			default:
			}
			return errors.New("called twice at once")
		}
		// Other calls only come during this one if it takes a while.
		select {
		case <-m.twice:
		case <-time.After(10 * time.Millisecond):
		}
		return nil
	}
	if m.deafToCancel {
		ctx = context.WithoutCancel(ctx)
	}
	err := context.Cause(ctx)
	if err == nil {
		select {
		case m.token <- struct{}{}:
			return nil
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	m.mu.Lock()
	m.cancelled = true
	m.mu.Unlock()
	if m.cancelPermanent {
		return sink.Permanent(err)
	}
	return err
}

func (m *memory) end() { <-m.token }

func (m *memory) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	if m.refuseNone && len(rows) == 0 {
		return errors.New("no rows")
	}
	if err := m.begin(ctx); err != nil {
		if m.blindCancel {
			return nil
		}
		return err
	}
	defer m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closesItself && m.cancelled {
		return errors.New("closed")
	}
	if m.err != nil {
		if m.blind {
			return nil
		}
		return m.err
	}
	m.flush()
	if m.sortRows {
		slices.Reverse(rows)
	}
	var records []sinktest.Record
	for _, row := range rows {
		if m.keepRows {
			m.rows = append(m.rows, row)
		}
		if r, ok := m.record(row); ok {
			records = append(records, r)
		}
		at := fmt.Sprintf("%x at %d", row.Key, row.CommitTs)
		if m.refuseRepeats && m.seen[at] {
			return fmt.Errorf("duplicate %s", at)
		}
		m.seen[at] = true
		if m.changeRow && row.Columns != nil {
			row.Columns[1] = event.TextValue("changed")
		}
	}
	if m.reverse {
		slices.Reverse(records)
	}
	if m.cut > 0 && len(records) > m.cut {
		records = records[:m.cut]
	}
	if m.dropLast && len(records) > 1 {
		records = records[:len(records)-1]
	}
	if m.lateRows {
		m.late = append(m.late, records...)
		return nil
	}
	m.records = append(m.records, records...)
	return nil
}

func (m *memory) record(row *event.RowChanged) (sinktest.Record, bool) {
	image := row.Image()
	if m.staleImage && row.PreColumns != nil {
		image = row.PreColumns
	}
	r := sinktest.Record{Kind: row.Kind(), ID: image[0].Int64(), Name: image[1].Text(), CommitTs: row.CommitTs}
	if len(image) > 2 {
		r.Note = image[2].Text()
	}
	if m.wrongTs {
		r.CommitTs = row.StartTs
	}
	dropped := m.dropDelete && r.Kind == event.Delete || m.dropUpdate && r.Kind == event.Update
	return r, !dropped
}

func (m *memory) flush() {
	m.records = append(m.records, m.late...)
	m.late = nil
}

func (m *memory) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flush()
	if m.refuseDDLAgain && m.seen[ddl.Query] {
		return errors.New("column exists")
	}
	m.seen[ddl.Query] = true
	r := sinktest.Record{DDL: ddl.Query, CommitTs: ddl.CommitTs}
	switch {
	case m.lateDDL:
		m.late = append(m.late, r)
	case m.earlyDDL && len(m.records) > 0:
		m.records = slices.Insert(m.records, len(m.records)-1, r)
	case !m.dropDDL:
		m.records = append(m.records, r)
	}
	return nil
}

func (m *memory) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.checkpointStrict && ts <= m.checkpoint {
		return errors.New("checkpoint goes back")
	}
	m.prev, m.checkpoint = m.checkpoint, ts
	if m.checkpointBack {
		m.checkpoint = min(ts, 1000)
	}
	return nil
}

func (m *memory) held() (event.Ts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.checkpointLate {
		return m.prev, nil
	}
	return m.checkpoint, nil
}

func (m *memory) got() ([]sinktest.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keepRows {
		var out []sinktest.Record
		for _, row := range m.rows {
			r, _ := m.record(row)
			out = append(out, r)
		}
		return out, nil
	}
	return slices.Clone(m.records), nil
}

// state is what got sums up to.
func (m *memory) state() ([]sinktest.Record, error) {
	records, err := m.got()
	rows := map[int64]sinktest.Record{}
	for _, r := range records {
		switch {
		case r.DDL != "":
		case r.Kind == event.Delete:
			delete(rows, r.ID)
		default:
			r.Kind = event.Insert
			rows[r.ID] = r
		}
	}
	var out []sinktest.Record
	for _, r := range rows {
		out = append(out, r)
	}
	return out, err
}

func (m *memory) block() (unblock func()) {
	m.token <- struct{}{}
	return func() { <-m.token }
}

// fail makes writes fail with an error that is permanent or not.
func (m *memory) fail(permanent bool) func() (mend func()) {
	set := func(err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.err = err
	}
	return func() (mend func()) {
		err := errors.New("out of order")
		if permanent {
			err = sink.Permanent(err)
		}
		set(err)
		return func() { set(nil) }
	}
}

func (m *memory) subject() sinktest.Subject {
	return sinktest.Subject{
		Sink: m, Got: m.got, IgnoresDDL: m.keepRows, Concurrent: true, Checkpoint: m.held,
		Block: m.block, Break: m.fail(m.breakPermanent), Refuse: m.fail(!m.refuseTransient),
	}
}

func TestCorrectSink(t *testing.T) {
	sinktest.Run(t, func(testing.TB) sinktest.Subject { return newMemory(faults{}).subject() })
}

func TestCorrectTable(t *testing.T) {
	sinktest.Run(t, func(testing.TB) sinktest.Subject {
		m := newMemory(faults{})
		s := m.subject()
		s.Got, s.State = m.state, true
		return s
	})
}

// TestLeastSink has nothing that is optional.
func TestLeastSink(t *testing.T) {
	sinktest.Run(t, func(testing.TB) sinktest.Subject {
		return sinktest.Subject{Sink: sink.RowFunc(func(context.Context, []*event.RowChanged) error { return nil })}
	})
}

// TestRowFunc ignores DDL and repeats everything.
func TestRowFunc(t *testing.T) {
	sinktest.Run(t, func(testing.TB) sinktest.Subject {
		m := newMemory(faults{})
		s := m.subject()
		s.Sink = sink.RowFunc(func(ctx context.Context, rows []*event.RowChanged) error {
			return errors.Join(m.WriteRows(ctx, rows), m.WriteRows(ctx, rows))
		})
		s.IgnoresDDL, s.Checkpoint = true, nil
		return s
	})
}

// recorder is a testing.TB that keeps failures to itself.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *recorder) Error(args ...any) { r.failures = append(r.failures, fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	r.stop()
}

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	r.stop()
}
func (r *recorder) Skip(...any) { r.stop() }
func (r *recorder) Helper()     {}
func (r *recorder) stop()       { runtime.Goexit() }

// failed returns the checks that a sink fails, in order.
func failed(t *testing.T, open func(testing.TB) sinktest.Subject) []string {
	var out []string
	var name string
	var current *recorder
	sinktest.Checks(func(check string) testing.TB {
		name, current = check, &recorder{TB: t}
		return current
	}, func() {
		if len(current.failures) > 0 {
			t.Logf("%s: %.200s", name, current.failures[0])
			out = append(out, name)
		}
	}, open)
	return out
}

func TestBrokenSinks(t *testing.T) {
	tests := []struct {
		name   string
		want   string // the check that must notice; others may
		faults faults
	}{
		{"none", "", faults{}},
		{"rows reversed", "rows in order", faults{reverse: true}},
		{"last row lost", "rows in order", faults{dropLast: true}},
		{"deletes lost", "rows in order", faults{dropDelete: true}},
		{"updates lost", "rows in order", faults{dropUpdate: true}},
		{"old images", "rows in order", faults{staleImage: true}},
		{"start ts for commit ts", "rows in order", faults{wrongTs: true}},
		{"large batches cut", "no rows and many rows", faults{cut: 1000}},
		{"no rows refused", "no rows and many rows", faults{refuseNone: true}},
		{"repeats refused", "repeats", faults{refuseRepeats: true}},
		{"repeated DDL refused", "repeats", faults{refuseDDLAgain: true}},
		{"rows kept", "rows not kept", faults{keepRows: true}},
		{"rows changed", "rows not changed", faults{changeRow: true}},
		{"slice of rows changed", "rows not changed", faults{sortRows: true}},
		{"rows flushed by the next call", "rows in order", faults{lateRows: true}},
		{"DDL flushed by the next call", "DDL between rows", faults{lateDDL: true}},
		{"DDL lost", "DDL between rows", faults{dropDDL: true}},
		{"DDL before rows", "DDL between rows", faults{earlyDDL: true}},
		{"cancelled is permanent", "cancelled before", faults{cancelPermanent: true}},
		{"closed by cancelling", "cancelled before", faults{closesItself: true}},
		{"acknowledged though cancelled", "cancelled before", faults{blindCancel: true}},
		{"deaf to cancelling", "cancelled while blocked", faults{deafToCancel: true}},
		{"blocked and cancelled is permanent", "cancelled while blocked", faults{cancelPermanent: true}},
		{"blocked and cancelled is acknowledged", "cancelled while blocked", faults{blindCancel: true}},
		{"passing error is permanent", "error that passes", faults{breakPermanent: true}},
		{"passing error is swallowed", "error that passes", faults{blind: true}},
		{"staying error is not permanent", "error that stays", faults{refuseTransient: true}},
		{"staying error is swallowed", "error that stays", faults{blind: true}},
		{"checkpoint goes back", "checkpoints", faults{checkpointBack: true}},
		{"checkpoint stored late", "checkpoints", faults{checkpointLate: true}},
		{"lower checkpoint refused", "checkpoints", faults{checkpointStrict: true}},
		{"calls may not overlap", "concurrent writes", faults{overlapFails: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := failed(t, func(testing.TB) sinktest.Subject {
				m := newMemory(tt.faults)
				s := m.subject()
				return s
			})
			if tt.want == "" && len(got) > 0 || tt.want != "" && !slices.Contains(got, tt.want) {
				t.Errorf("checks that noticed: %q, want %q", got, tt.want)
			}
		})
	}
}

// TestBrokenTables are seen by the rows of the table alone.
func TestBrokenTables(t *testing.T) {
	tests := []struct {
		name   string
		faults faults
	}{
		{"rows reversed", faults{reverse: true}},
		{"last row lost", faults{dropLast: true}},
		{"deletes lost", faults{dropDelete: true}},
		{"updates lost", faults{dropUpdate: true}},
		{"old images", faults{staleImage: true}},
		{"flushed by the next call", faults{lateRows: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := failed(t, func(testing.TB) sinktest.Subject {
				m := newMemory(tt.faults)
				s := m.subject()
				s.Got, s.State = m.state, true
				return s
			})
			if !slices.Contains(got, "rows in order") {
				t.Errorf("checks that noticed: %q", got)
			}
		})
	}
}

func TestNoSink(t *testing.T) {
	if got := failed(t, func(testing.TB) sinktest.Subject { return sinktest.Subject{} }); len(got) == 0 {
		t.Error("no check noticed that there is no sink")
	}
}

func TestReadBackFails(t *testing.T) {
	got := failed(t, func(testing.TB) sinktest.Subject {
		s := newMemory(faults{}).subject()
		s.Got = func() ([]sinktest.Record, error) { return nil, errors.New("no such table") }
		return s
	})
	if !slices.Contains(got, "rows in order") {
		t.Errorf("checks that noticed: %q", got)
	}
}
