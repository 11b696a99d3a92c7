package mysql

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// WriteRows implements [sink.Sink].
func (s *Sink) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	if len(rows) == 0 {
		return context.Cause(ctx)
	}
	b := s.takeBatch()
	defer s.giveBatch(b)
	last := rows[len(rows)-1].CommitTs
	for len(rows) > 0 {
		n := sameTable(rows)
		var err error
		if s.cfg.ExactlyOnce {
			err = s.writeOnce(ctx, b, rows[:n])
		} else {
			err = s.writeRun(ctx, b, rows[:n])
		}
		if err != nil {
			s.mayHaveWritten(last)
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// sameTable returns how many of the first rows are of one version of one table.
func sameTable(rows []*event.RowChanged) int {
	for i, row := range rows {
		if row.Table != rows[0].Table || row.PhysicalTableID != rows[0].PhysicalTableID {
			return i
		}
	}
	return len(rows)
}

// mayHaveWritten makes rows up to ts be written as in safe mode.
func (s *Sink) mayHaveWritten(ts event.Ts) {
	for {
		old := s.safeUntil.Load()
		if uint64(ts) <= old || s.safeUntil.CompareAndSwap(old, uint64(ts)) {
			return
		}
	}
}

func (s *Sink) isSafe(row *event.RowChanged) bool {
	return s.cfg.SafeMode || uint64(row.CommitTs) <= s.safeUntil.Load()
}

// writeRun writes rows of one table version, those that do not conflict in
// parallel.
func (s *Sink) writeRun(ctx context.Context, b *batch, rows []*event.RowChanged) error {
	p, t := s.planOf(rows[0])
	b.reset(p, t, rows)
	b.shard(shardRows(rows, s.cfg.MaxTxnRow), s.cfg.Atomicity == AtomicityTable)
	err := s.writeShards(ctx, b, s.isSafe(rows[0]))
	if err == nil && t != nil {
		t.add(&b.hash, p, rows)
	}
	return err
}

// shardBytes is about how large a shard is at most. The driver keeps a buffer of
// up to 256 KiB; beyond that every statement costs it a new one.
const shardBytes = 192 << 10

// shardRows returns how many rows a shard has. It halves the limit for large rows,
// so that sizes repeat and their statements are prepared.
func shardRows(rows []*event.RowChanged, limit int) int {
	const sample, least = 8, 16
	n, bytes := 0, 0
	for i := 0; i < len(rows); i += max(1, len(rows)/sample) {
		n, bytes = n+1, bytes+imageBytes(rows[i].Image())
	}
	for limit > least && limit*bytes > n*shardBytes {
		limit /= 2
	}
	return limit
}

func (s *Sink) writeShards(ctx context.Context, b *batch, safe bool) error {
	if len(b.ends) == 1 {
		return s.writeShard(ctx, b, b.order, safe)
	}
	var g errgroup.Group // what another shard has begun, it may as well end
	for members := range b.shards {
		g.Go(func() error { return s.writeShard(ctx, b, members, safe) })
	}
	return g.Wait()
}

// writeShard writes one shard on the next free connection.
func (s *Sink) writeShard(ctx context.Context, b *batch, members []int32, safe bool) error {
	w, err := s.takeWorker(ctx)
	if err != nil {
		return err
	}
	defer s.giveWorker(w)
	return s.retry(ctx, func() error {
		err := w.write(ctx, b, members, safe, nil)
		if isDuplicate(err) && !safe {
			s.log.Warn("a row is there already, or another with its key; writing in safe mode",
				"table", b.plan.table.Name(), "commit_ts", uint64(b.rows[0].CommitTs))
			safe = true
			err = w.write(ctx, b, members, safe, nil)
		}
		// A transaction may have been committed though its answer was lost.
		safe = safe || err != nil
		return err
	}, func(err error) error { return describe(err, b, members, safe) })
}

const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = time.Second
	maxTries   = 8
)

// retry runs write until it succeeds or fails for a reason that does not pass
// soon. explain makes the error that is returned.
func (s *Sink) retry(ctx context.Context, write func() error, explain func(error) error) error {
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = write()
		if last != nil && !isTransient(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	},
		backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval: firstRetry, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: lastRetry,
		}),
		backoff.WithMaxTries(maxTries),
		backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, wait time.Duration) {
			s.log.Info("rows could not be written, will retry", "wait", wait, "error", withoutValues(err))
		}),
	)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case last != nil:
		err = last
	}
	err = explain(err)
	if isRefused(err) {
		return sink.Permanent(err)
	}
	return err
}

var errClosed = errors.New("MySQL sink is closed")

// takeWorker waits for a free connection. It returns the one that was used last,
// whose statements are prepared.
func (s *Sink) takeWorker(ctx context.Context) (*worker, error) {
	select {
	case _, ok := <-s.tokens:
		if !ok {
			return nil, errClosed
		}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.free.Lock()
	defer s.free.Unlock()
	last := len(s.free.workers) - 1
	w := s.free.workers[last]
	s.free.workers = s.free.workers[:last]
	return w, nil
}

func (s *Sink) giveWorker(w *worker) {
	s.free.Lock()
	s.free.workers = append(s.free.workers, w)
	s.free.Unlock()
	s.tokens <- struct{}{}
}

// takeBatch returns a batch for one call.
func (s *Sink) takeBatch() *batch {
	if b, ok := s.batches.Get().(*batch); ok {
		return b
	}
	return &batch{hash: hasher{seed: s.seed}}
}

// giveBatch gives it back, without the caller's rows.
func (s *Sink) giveBatch(b *batch) {
	b.rows, b.plan, b.tail = nil, nil, nil
	s.batches.Put(b)
}
