package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
	"github.com/tidbcdc/tidbcdc/sink"
)

// worker writes one task after the other. Its buffers are reused.
type worker struct {
	p     *Pipeline
	taken []rawkv.Entry // from a sorter
	kvs   []event.RawKV // of these, those that are mounted
	batch rowcodec.Batch
	kept  []*event.RowChanged // of the batch's rows, those that are written
	// retrying: pipeline.mu.retried has an error of the worker.
	retrying bool
}

// work is one writer of the sink. It ends when the pipeline stops.
func (p *Pipeline) work(ctx, writeCtx context.Context) error {
	w := &worker{p: p}
	for {
		t, ok := p.next()
		if !ok {
			return context.Cause(ctx)
		}
		var err error
		switch {
		case t.result != nil:
			err = w.deliverDDL(ctx, writeCtx, t.ddl)
			t.result <- err
		case t.ddl != nil:
			err = w.writeDDL(ctx, writeCtx, t.ddl)
		case t.checkpoint != 0:
			err = w.writeCheckpoint(ctx, writeCtx, t.checkpoint)
		case t.transactions:
			err = w.writeTransactions(ctx, writeCtx)
		default:
			err = w.writeSpan(ctx, writeCtx, t.span)
		}
		if err != nil {
			return err
		}
	}
}

// writeSpan writes the next batch of a span.
func (w *worker) writeSpan(ctx, writeCtx context.Context, s *tableSpan) error {
	p := w.p
	ctx, limit, begun := p.beginSpan(ctx, s)
	if !begun {
		p.settle(s, 0)
		return nil
	}
	written, err := w.takeBatch(s, limit)
	if err != nil {
		return err
	}
	var inFlight int64
	for i := range w.taken {
		inFlight += mountedFactor * w.taken[i].Size()
	}
	p.cfg.Sorters.Reserve(inFlight)
	defer p.cfg.Sorters.Reserve(-inFlight)
	w.kvs = unpack(w.kvs[:0], w.taken)
	clear(w.taken)
	if len(w.kvs) > 0 {
		rows, err := p.cfg.Mounter.MountBatch(w.kvs, &w.batch)
		if err != nil {
			return err
		}
		if rows, err = w.filter(rows); err != nil {
			return err
		}
		if len(rows) > 0 {
			what := func() string {
				return fmt.Sprintf("write %d rows of %s up to commit ts %d", len(rows), rows[0].Table.Name(), rows[len(rows)-1].CommitTs)
			}
			err := w.retry(ctx, writeCtx, what, func() error { return p.sinkError("WriteRows", p.cfg.Sink.WriteRows(writeCtx, rows)) })
			switch {
			case errors.Is(err, errSpanStopped):
				written = 0
			case err != nil:
				return err
			default:
				p.rows.Add(int64(len(rows)))
			}
		}
		clear(w.kvs) // the rows' bytes are not ours to keep
	}
	p.settle(s, written)
	return nil
}

// takeBatch takes the next batch of a span into w.taken. A transaction that does not fit
// into the rest of a batch is held for the next, where its other rows are.
func (w *worker) takeBatch(s *tableSpan, limit event.Ts) (written event.Ts, err error) {
	p := w.p
	w.taken = append(w.taken[:0], s.held...)
	p.cfg.Sorters.Reserve(-s.heldBytes)
	rows, bytes := p.cfg.BatchRows-len(s.held), p.cfg.BatchBytes-s.heldBytes
	clear(s.held)
	s.held, s.heldBytes = s.held[:0], 0
	w.taken, written, err = s.sorter.Take(w.taken, limit, max(rows, 1), max(bytes, 1))
	if err != nil {
		return 0, fmt.Errorf("sort changes of %s: %w", p.nameOf(s), err)
	}
	if len(w.taken) == 0 || written >= w.taken[len(w.taken)-1].CommitTs {
		return written, nil
	}
	cut := len(w.taken) - 1 // where the transaction begins of which there is more
	for cut > 0 && w.taken[cut-1].CommitTs == w.taken[cut].CommitTs {
		cut--
	}
	if cut > 0 {
		s.held = append(s.held, w.taken[cut:]...)
		clear(w.taken[cut:])
		w.taken = w.taken[:cut]
		for i := range s.held {
			s.heldBytes += s.held[i].Size()
		}
		p.cfg.Sorters.Reserve(s.heldBytes)
	}
	return written, nil
}

// mountedFactor is what a change takes in memory while it is written, in sizes of
// the change: mounted, its columns take about as much again.
const mountedFactor = 2

// unpack appends changes to kvs in the form that is mounted, but for those of rows
// that never existed.
func unpack(kvs []event.RawKV, taken []rawkv.Entry) []event.RawKV {
	for i := range taken {
		if kv := taken[i].RawKV(); !neverExisted(&kv) {
			kvs = append(kvs, kv)
		}
	}
	return kvs
}

// neverExisted tells a delete that changed nothing: a transaction that inserts a
// row and deletes it commits one (pingcap/tidb#27564). It has no old value,
// while a row that existed always has: GC keeps the version below the checkpoint.
func neverExisted(kv *event.RawKV) bool {
	return kv.Op == event.OpDelete && len(kv.OldValue) == 0
}

// filter returns the rows that the filter wants. rows itself belongs to the
// batch and stays as it is.
func (w *worker) filter(rows []*event.RowChanged) ([]*event.RowChanged, error) {
	w.kept = w.kept[:0]
	for _, r := range rows {
		ok, err := w.p.cfg.Filter.Row(r)
		if err != nil {
			return nil, err
		}
		if ok {
			w.kept = append(w.kept, r)
		}
	}
	return w.kept, nil
}

func (w *worker) writeDDL(ctx, writeCtx context.Context, d *pendingDDL) error {
	if d.deliver {
		if err := w.deliverDDL(ctx, writeCtx, d); err != nil {
			return err
		}
	}
	w.p.finishDDL(d)
	return nil
}

func (w *worker) deliverDDL(ctx, writeCtx context.Context, d *pendingDDL) error {
	what := func() string {
		return fmt.Sprintf("write DDL of commit ts %d: %s", d.event.CommitTs, d.event.Query)
	}
	err := w.retry(ctx, writeCtx, what, func() error { return w.p.sinkError("WriteDDL", w.p.cfg.Sink.WriteDDL(writeCtx, d.event)) })
	if err == nil {
		w.p.ddls.Add(1)
	}
	return err
}

func (w *worker) writeCheckpoint(ctx, writeCtx context.Context, ts event.Ts) error {
	if tables, version := w.p.untoldTables(); tables != nil {
		what := func() string { return fmt.Sprintf("tell which %d tables are followed", len(tables)) }
		err := w.retry(ctx, writeCtx, what, func() error { return w.p.cfg.Sink.(sink.TablesWriter).WriteTables(writeCtx, tables) })
		if err != nil {
			return err
		}
		w.p.toldTables(version)
	}
	sink := w.p.cfg.Sink.(sink.CheckpointWriter)
	what := func() string { return fmt.Sprintf("write checkpoint ts %d", ts) }
	err := w.retry(ctx, writeCtx, what, func() error { return w.p.sinkError("WriteCheckpoint", sink.WriteCheckpoint(writeCtx, ts)) })
	if err == nil {
		w.p.reported(ts)
	}
	return err
}

// retry runs write until it succeeds, fails for good, or ctx is cancelled. A
// call that has begun is never cut off by ctx: write uses the drain context.
func (w *worker) retry(ctx, writeCtx context.Context, what func() string, write func() error) error {
	p := w.p
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := write()
		if err != nil && (sink.IsPermanent(err) || writeCtx.Err() != nil) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	},
		backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.3,
			Multiplier: 2, MaxInterval: 30 * time.Second,
		}),
		backoff.WithMaxElapsedTime(p.cfg.RetryTimeout),
		backoff.WithNotify(func(err error, wait time.Duration) {
			w.setRetried(err)
			p.log.Warn("sink error, will retry", "op", what(), "wait", wait, "error", err)
		}),
	)
	if err == nil || ctx.Err() != nil {
		w.setRetried(nil)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w", what(), err)
}

// sinkError says that an error is of a method of the sink. It may be nil.
func (p *Pipeline) sinkError(method string, err error) error {
	if err == nil {
		return nil
	}
	return &sink.WriteError{Method: method, Scheme: p.cfg.SinkScheme, Err: err}
}

// retriedError is an error of a write that is being tried again.
type retriedError struct {
	err error
	at  time.Time
}

// setRetried notes that the worker tries a write again, or that all is well again.
func (w *worker) setRetried(err error) {
	if err == nil && !w.retrying {
		return
	}
	w.retrying = err != nil
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if err == nil {
		delete(w.p.mu.retried, w)
		return
	}
	w.p.mu.retried[w] = retriedError{err, time.Now()}
}

// Retried returns the latest error of the writes that are being tried again, and when
// it was met; nil if all is well.
func (p *Pipeline) Retried() (at time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.retriedLocked()
	return e.at, e.err
}

// retriedLocked returns the latest of the errors that workers try to get over.
func (p *Pipeline) retriedLocked() (latest retriedError) {
	for _, e := range p.mu.retried {
		if e.at.After(latest.at) {
			latest = e
		}
	}
	return latest
}
