package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// recorder is a sink that keeps everything and checks the promises of delivery
// as it comes: order per key, nothing new at or below a checkpoint, DDL between
// the right rows. It lives on over several runs of a changefeed.
type recorder struct {
	mu         sync.Mutex
	violations []string
	seen       map[rowID]*event.RowChanged // the first delivery of every change
	newest     map[string]event.Ts         // by key: the newest change delivered
	ddls       map[int64]*event.DDL        // by job id
	checkpoint event.Ts                    // the highest reported
	resumed    event.Ts                    // where the present run started
	run        runState
	repeats    int
}

// rowID identifies a change.
type rowID struct {
	key string
	ts  event.Ts
}

// runState is what holds for one run: by table id, the newest row and DDL.
type runState struct {
	rows, ddls map[int64]event.Ts
}

func newRecorder() *recorder {
	return &recorder{seen: map[rowID]*event.RowChanged{}, newest: map[string]event.Ts{}, ddls: map[int64]*event.DDL{}}
}

// begin starts a new run from a checkpoint.
func (r *recorder) begin(checkpoint event.Ts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if checkpoint < r.checkpoint {
		r.violate("resumed at %d, below checkpoint %d that was reported", checkpoint, r.checkpoint)
	}
	r.resumed = checkpoint
	r.run = runState{rows: map[int64]event.Ts{}, ddls: map[int64]event.Ts{}}
}

func (r *recorder) violate(format string, args ...any) {
	if len(r.violations) < 20 {
		r.violations = append(r.violations, fmt.Sprintf(format, args...))
	}
}

// WriteRows implements sink.Sink.
func (r *recorder) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, row := range rows {
		if i > 0 && (row.CommitTs < rows[i-1].CommitTs || row.PhysicalTableID != rows[0].PhysicalTableID) {
			r.violate("one call mixes %s@%d after %s@%d", row.Table.Name(), row.CommitTs, rows[i-1].Table.Name(), rows[i-1].CommitTs)
		}
		r.row(row)
	}
	return nil
}

func (r *recorder) row(row *event.RowChanged) {
	if row.CommitTs <= r.resumed {
		r.violate("%s key %x commit ts %d is not above the start %d", row.Table.Name(), row.Key, row.CommitTs, r.resumed)
	}
	if d := r.run.ddls[row.Table.ID]; row.CommitTs <= d {
		r.violate("%s key %x commit ts %d after its DDL of %d", row.Table.Name(), row.Key, row.CommitTs, d)
	}
	r.run.rows[row.Table.ID] = max(r.run.rows[row.Table.ID], row.CommitTs)
	id := rowID{string(row.Key), row.CommitTs}
	if first := r.seen[id]; first != nil {
		r.repeats++
		if !sameRow(first, row) {
			r.violate("%s key %x commit ts %d was delivered twice, differently: %s with the schema of %d, %s with that of %d",
				row.Table.Name(), row.Key, row.CommitTs, image(first), first.Table.UpdateTs, image(row), row.Table.UpdateTs)
		}
		return
	}
	if row.CommitTs <= r.checkpoint {
		r.violate("%s key %x commit ts %d is new below checkpoint %d", row.Table.Name(), row.Key, row.CommitTs, r.checkpoint)
	}
	if n := r.newest[id.key]; n > row.CommitTs {
		r.violate("%s key %x commit ts %d is new after %d of the same key", row.Table.Name(), row.Key, row.CommitTs, n)
	}
	r.newest[id.key] = row.CommitTs
	r.seen[id] = row.Clone()
}

// image lists the columns of a row.
func image(r *event.RowChanged) string {
	var b []byte
	for i, v := range r.Image() {
		b = append(v.AppendText(append(append(b, r.Table.Columns[i].Name...), '=')), ' ')
	}
	return fmt.Sprintf("%s %s of %s", r.Kind(), b, r.Table.Name())
}

func sameRow(a, b *event.RowChanged) bool {
	same := func(x, y []event.Value) bool {
		return slices.EqualFunc(x, y, func(v, w event.Value) bool {
			return v.Kind() == w.Kind() && bytes.Equal(v.AppendText(nil), w.AppendText(nil))
		})
	}
	return same(a.Columns, b.Columns) && same(a.PreColumns, b.PreColumns)
}

// WriteDDL implements sink.Sink.
func (r *recorder) WriteDDL(_ context.Context, ddl *event.DDL) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range ddl.Changes {
		for _, t := range []*event.TableInfo{c.Before, c.After} {
			if t == nil {
				continue
			}
			if n := r.run.rows[t.ID]; n > ddl.CommitTs {
				r.violate("DDL of %d (%s) after a row of %s with commit ts %d", ddl.CommitTs, ddl.Query, t.Name(), n)
			}
			r.run.ddls[t.ID] = max(r.run.ddls[t.ID], ddl.CommitTs)
		}
	}
	if ddl.CommitTs <= r.resumed {
		r.violate("DDL of %d (%s) is not above the start %d", ddl.CommitTs, ddl.Query, r.resumed)
	}
	if r.ddls[ddl.JobID] != nil {
		r.repeats++
		return nil
	}
	if ddl.CommitTs <= r.checkpoint {
		r.violate("DDL of %d (%s) is new below checkpoint %d", ddl.CommitTs, ddl.Query, r.checkpoint)
	}
	r.ddls[ddl.JobID] = ddl
	return nil
}

// WriteCheckpoint implements sink.CheckpointWriter.
func (r *recorder) WriteCheckpoint(_ context.Context, ts event.Ts) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ts < r.checkpoint {
		r.violate("checkpoint went back from %d to %d", r.checkpoint, ts)
	}
	r.checkpoint = max(r.checkpoint, ts)
	return nil
}

// counts returns how many different rows and DDLs were delivered, and how many
// deliveries were repeats.
func (r *recorder) counts() (rows, ddls, repeats int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen), len(r.ddls), r.repeats
}
