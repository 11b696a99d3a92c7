package cdctest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// ValidatorConfig says what a [Validator] may expect.
type ValidatorConfig struct {
	// StartTs is where the first run starts: nothing at or below it may come.
	StartTs event.Ts
	// Base is what the tables held at StartTs. Nil if that is not known; the first
	// old image of a row, and the first schema of a table, are then believed.
	Base *State
	// Concurrent allows writes of different tables to overlap, as a changefeed
	// with a WriteConcurrency above 1 does.
	Concurrent bool
	// Filtered: some rows or DDLs of the tables are left out on purpose, so
	// images and schemas need not follow from those before.
	Filtered bool
}

// Validator is a sink that passes everything on to another one, and checks the
// promises of delivery on the way:
//
//   - a call of WriteRows holds rows of one physical table in commit ts order;
//     calls overlap only as they may, and never for one table;
//   - the changes of a row come in commit ts order, each once; again only if the
//     call failed or the changefeed was started anew, and then unchanged;
//   - the old image of a row is the new image of the change before;
//   - nothing comes at or below the start, or at or below a checkpoint;
//   - a checkpoint never goes back and never passes what was not acknowledged;
//   - a DDL comes after all rows of its tables up to its ts and before all rows
//     above, and rows have the schema of the last DDL.
//
// That nothing is lost is seen by comparing State with the cluster's. It keeps
// every change. It may be used from several goroutines.
type Validator struct {
	cfg   ValidatorConfig
	inner sink.Sink

	mu         sync.Mutex
	violations []string
	omitted    int
	rows       map[changeID]*event.RowChanged
	latest     map[string]*event.RowChanged // by row key: the newest change of the row
	ddls       map[int64]*event.DDL         // by job id
	checkpoint event.Ts                     // the highest reported in any run
	repeats    int
	run        run
}

// changeID identifies a change of a row.
type changeID struct {
	key string
	ts  event.Ts
}

// run is what holds from one start of the changefeed to the next.
type run struct {
	start       event.Ts
	checkpoint  event.Ts
	rows, ddls  map[int64]event.Ts         // by table id: the newest row and DDL
	acked       map[string]event.Ts        // by row key: the newest acknowledged
	pending     map[changeID]struct{}      // delivered and not acknowledged
	pendingDDLs map[int64]event.Ts         // by job id
	ackedDDLs   map[int64]struct{}         // by job id
	schemas     map[int64]*event.TableInfo // by table id: what rows must have now
	writing     map[int64]int              // by physical table id: calls in progress
	calls       int                        // in progress, of all methods
}

// Validate returns a validator around a sink, which may be nil.
func Validate(inner sink.Sink, cfg ValidatorConfig) *Validator {
	if inner == nil {
		inner = sink.RowFunc(func(context.Context, []*event.RowChanged) error { return nil })
	}
	v := &Validator{
		cfg: cfg, inner: inner,
		rows: map[changeID]*event.RowChanged{}, latest: map[string]*event.RowChanged{}, ddls: map[int64]*event.DDL{},
	}
	v.begin(cfg.StartTs)
	return v
}

// Resume says that the changefeed starts anew from a checkpoint: what is above it
// may come again. It must not be running.
func (v *Validator) Resume(ts event.Ts) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id := range v.run.pending {
		if id.ts <= ts {
			v.violate("resumed at %d, above the change of key %x at %d that was never acknowledged", ts, id.key, id.ts)
		}
	}
	for job, at := range v.run.pendingDDLs {
		if at <= ts {
			v.violate("resumed at %d, above DDL job %d of %d that was never acknowledged", ts, job, at)
		}
	}
	if v.run.calls > 0 {
		v.violate("resumed at %d while %d calls of the sink were in progress", ts, v.run.calls)
	}
	v.begin(ts)
}

func (v *Validator) begin(start event.Ts) {
	v.run = run{
		start: start, checkpoint: start,
		rows: map[int64]event.Ts{}, ddls: map[int64]event.Ts{}, acked: map[string]event.Ts{},
		pending: map[changeID]struct{}{}, pendingDDLs: map[int64]event.Ts{}, ackedDDLs: map[int64]struct{}{},
		schemas: map[int64]*event.TableInfo{}, writing: map[int64]int{},
	}
	if v.cfg.Base != nil {
		for id, t := range v.cfg.Base.Tables {
			v.run.schemas[id] = t
		}
	}
	for _, d := range v.sortedDDLs() {
		if d.CommitTs <= start {
			v.applySchemas(d)
		}
	}
}

func (v *Validator) violate(format string, args ...any) {
	const most = 50
	if len(v.violations) == most {
		v.omitted++
		return
	}
	v.violations = append(v.violations, fmt.Sprintf(format, args...))
}

// Violations returns the broken promises, in the order in which they were seen.
func (v *Validator) Violations() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := slices.Clone(v.violations)
	if v.omitted > 0 {
		out = append(out, fmt.Sprintf("and %d more", v.omitted))
	}
	return out
}

// Err returns the violations as one error, nil if there are none.
func (v *Validator) Err() error {
	var errs []error
	for _, text := range v.Violations() {
		errs = append(errs, errors.New(text))
	}
	return errors.Join(errs...)
}

// Counts returns how many different rows and DDLs came, and how many deliveries
// were repeats.
func (v *Validator) Counts() (rows, ddls, repeats int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.rows), len(v.ddls), v.repeats
}

// Checkpoint returns the highest checkpoint that was reported, 0 if none.
func (v *Validator) Checkpoint() event.Ts {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.checkpoint
}

// Wrap returns a sink in front of another inner one that shares the checks, for
// a changefeed that several processes write at once.
func (v *Validator) Wrap(inner sink.Sink) sink.Sink { return &wrapped{v, inner} }

// WriteRows implements sink.Sink.
func (v *Validator) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	return v.writeRows(ctx, v.inner, rows)
}

// WriteDDL implements sink.Sink.
func (v *Validator) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	return v.writeDDL(ctx, v.inner, ddl)
}

// WriteCheckpoint implements sink.CheckpointWriter. The inner sink gets it if it
// wants it.
func (v *Validator) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	return v.writeCheckpoint(ctx, v.inner, ts)
}

// WriteTables implements sink.TablesWriter for an inner sink that wants it.
func (v *Validator) WriteTables(ctx context.Context, tables []*event.TableInfo) error {
	return v.writeTables(ctx, v.inner, tables)
}

type wrapped struct {
	*Validator
	inner sink.Sink
}

func (w *wrapped) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	return w.writeRows(ctx, w.inner, rows)
}

func (w *wrapped) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	return w.writeDDL(ctx, w.inner, ddl)
}

func (w *wrapped) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	return w.writeCheckpoint(ctx, w.inner, ts)
}

func (w *wrapped) WriteTables(ctx context.Context, tables []*event.TableInfo) error {
	return w.writeTables(ctx, w.inner, tables)
}

var (
	_ sink.Sink             = (*Validator)(nil)
	_ sink.CheckpointWriter = (*Validator)(nil)
	_ sink.TablesWriter     = (*Validator)(nil)
)

func (v *Validator) writeRows(ctx context.Context, inner sink.Sink, rows []*event.RowChanged) error {
	v.mu.Lock()
	v.enter("WriteRows")
	if len(rows) == 0 {
		v.violate("WriteRows without rows")
	} else {
		v.beginRows(rows)
	}
	v.mu.Unlock()

	err := inner.WriteRows(ctx, rows)

	v.mu.Lock()
	defer v.mu.Unlock()
	v.run.calls--
	if len(rows) > 0 {
		v.endRows(rows, err == nil)
	}
	return err
}

func (v *Validator) writeDDL(ctx context.Context, inner sink.Sink, ddl *event.DDL) error {
	v.mu.Lock()
	v.enter("WriteDDL")
	v.beginDDL(ddl)
	v.mu.Unlock()

	err := inner.WriteDDL(ctx, ddl)

	v.mu.Lock()
	defer v.mu.Unlock()
	v.run.calls--
	if err == nil {
		delete(v.run.pendingDDLs, ddl.JobID)
		v.run.ackedDDLs[ddl.JobID] = struct{}{}
	}
	return err
}

func (v *Validator) writeCheckpoint(ctx context.Context, inner sink.Sink, ts event.Ts) error {
	v.mu.Lock()
	v.enter("WriteCheckpoint")
	v.checkCheckpoint(ts)
	v.mu.Unlock()

	var err error
	if w, ok := inner.(sink.CheckpointWriter); ok {
		err = w.WriteCheckpoint(ctx, ts)
	}

	v.mu.Lock()
	defer v.mu.Unlock()
	v.run.calls--
	return err
}

func (v *Validator) writeTables(ctx context.Context, inner sink.Sink, tables []*event.TableInfo) error {
	v.mu.Lock()
	v.enter("WriteTables")
	v.mu.Unlock()

	var err error
	if w, ok := inner.(sink.TablesWriter); ok {
		err = w.WriteTables(ctx, tables)
	}

	v.mu.Lock()
	defer v.mu.Unlock()
	v.run.calls--
	return err
}

// enter notes a call of the sink.
func (v *Validator) enter(method string) {
	if v.run.calls > 0 && !v.cfg.Concurrent {
		v.violate("%s was called during another call", method)
	}
	v.run.calls++
}
