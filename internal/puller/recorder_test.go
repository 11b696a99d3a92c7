package puller_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// Rows as a store sends them. A value of "" is a delete.

func row(typ cdcpb.Event_LogType, key, value string, startTs, commitTs uint64) *cdcpb.Event_Row {
	r := &cdcpb.Event_Row{Type: typ, Key: []byte(key), Value: []byte(value), StartTs: startTs, CommitTs: commitTs, OpType: cdcpb.Event_Row_PUT}
	if value == "" {
		r.OpType = cdcpb.Event_Row_DELETE
	}
	return r
}

func prewrite(key, value string, startTs uint64) *cdcpb.Event_Row {
	return row(cdcpb.Event_PREWRITE, key, value, startTs, 0)
}

// commit is of a put; its value is too long to be inlined.
func commit(key string, startTs, commitTs uint64) *cdcpb.Event_Row {
	r := row(cdcpb.Event_COMMIT, key, "", startTs, commitTs)
	r.OpType = cdcpb.Event_Row_PUT
	return r
}

func committed(key, value string, startTs, commitTs uint64) *cdcpb.Event_Row {
	return row(cdcpb.Event_COMMITTED, key, value, startTs, commitTs)
}

func rollback(key string, startTs uint64) *cdcpb.Event_Row {
	return &cdcpb.Event_Row{Type: cdcpb.Event_ROLLBACK, Key: []byte(key), StartTs: startTs}
}

// recorder is a Receiver that checks the promises made to it.
type recorder struct {
	t *testing.T

	mu       sync.Mutex
	rows     []string
	resolved event.Ts
	calls    int // of Resolve
	batches  int // calls of Receive
	failure  error
	closed   bool
	changed  chan struct{}
	gate     chan struct{} // if not nil, Receive waits until it is closed
}

func newRecorder(t *testing.T) *recorder {
	return &recorder{t: t, changed: make(chan struct{})}
}

func (r *recorder) update(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) Receive(kvs []rawkv.Entry) {
	r.mu.Lock()
	gate := r.gate
	r.mu.Unlock()
	r.update(func() {
		r.batches++
		for _, kv := range kvs {
			if kv.CommitTs <= r.resolved {
				r.t.Errorf("received commit ts %d after resolved ts %d", kv.CommitTs, r.resolved)
			}
			if kv.Op == event.OpPut && len(kv.Value()) == 0 {
				r.t.Errorf("received a put of %q without a value", kv.Key())
			}
			r.rows = append(r.rows, fmt.Sprintf("%s=%s@%d", kv.Key(), kv.Value(), kv.CommitTs))
		}
		r.after()
	})
	if gate != nil {
		<-gate
	}
}

func (r *recorder) Resolve(ts event.Ts) {
	r.update(func() {
		if ts <= r.resolved && r.calls > 0 {
			r.t.Errorf("resolved ts %d after %d", ts, r.resolved)
		}
		r.calls++
		r.resolved = ts
		r.after()
	})
}

func (r *recorder) Fail(err error) {
	r.update(func() {
		r.after()
		r.failure, r.closed = err, true
	})
}

func (r *recorder) after() {
	if r.closed {
		r.t.Error("called after the end")
	}
}

// await waits until cond, which is called with the lock held.
func (r *recorder) await(what string, cond func() bool) {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		r.mu.Lock()
		ok, changed := cond(), r.changed
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Fatalf("%s: rows %v, resolved %d", what, r.rows, r.resolved)
		}
	}
}

func (r *recorder) awaitResolved(ts event.Ts) {
	r.t.Helper()
	r.await(fmt.Sprintf("resolved ts %d has not come", ts), func() bool { return r.resolved == ts })
}

func (r *recorder) awaitRows(want ...string) {
	r.t.Helper()
	r.await(fmt.Sprintf("rows %v have not come", want), func() bool { return len(r.rows) >= len(want) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.rows, want) {
		r.t.Fatalf("rows %v, want %v", r.rows, want)
	}
}

func span(start, end string) event.Span {
	return event.Span{Start: []byte(start), End: []byte(end)}
}
