package mysql

import (
	"context"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// writeOnce writes rows of one table version in order, in transactions that note
// how far they came, and leaves out those that a position covers. It uses one
// connection: the order is what makes one position say which rows have been written.
func (s *Sink) writeOnce(ctx context.Context, b *batch, rows []*event.RowChanged) error {
	w, err := s.takeWorker(ctx)
	if err != nil {
		return err
	}
	defer s.giveWorker(w)
	o := &onceWriter{worker: w, batch: b, rows: rows}
	o.plan, o.tail = s.planOf(rows[0])
	table := rows[0].PhysicalTableID
	o.at, o.known = s.positions.get(table)
	o.at.table = table
	for len(o.rows) > 0 {
		o.safe, o.duplicate = s.isSafe(o.rows[0]), false
		err := s.retry(ctx, func() error { return o.writeNext(ctx) }, func(err error) error { return describe(err, b, b.order, o.safe) })
		if err != nil {
			s.positions.forget(table)
			return err
		}
	}
	s.positions.set(o.at)
	return nil
}

// onceWriter is a call of writeOnce.
type onceWriter struct {
	worker *worker
	batch  *batch
	plan   *plan
	tail   *tail
	rows   []*event.RowChanged // what is left
	at     position            // how far the downstream is, if known
	known  bool
	safe   bool
	// duplicate: a key was there already in the transaction that is being tried.
	duplicate bool
}

// writeNext writes the next transaction.
func (o *onceWriter) writeNext(ctx context.Context) error {
	for {
		if !o.known {
			var err error
			if o.at, err = o.worker.readPosition(ctx, o.at.table); err != nil {
				return err
			}
			o.known = true
		}
		covered := 0
		for covered < len(o.rows) && o.at.covers(o.rows[covered]) {
			covered++
		}
		o.done(covered)
		n := o.worker.sink.transactionRows(o.rows)
		if n == 0 {
			return nil
		}
		o.batch.reset(o.plan, o.tail, o.rows[:n])
		o.batch.shard(n, true)
		to := positionOf(o.rows[n-1])
		err := o.worker.write(ctx, o.batch, o.batch.order, o.safe, &advance{o.at, to})
		if err == nil {
			o.at = to
			o.done(n)
			return nil
		}
		// It may have been committed though its answer was lost: the downstream knows.
		o.known = false
		if !isDuplicate(err) || o.duplicate {
			return err
		}
		// A row was there before, or the position is not what it was.
		o.safe, o.duplicate = true, true
	}
}

// done leaves out the first n rows, which are written.
func (o *onceWriter) done(n int) {
	if n > 0 && o.tail != nil {
		o.tail.add(&o.batch.hash, o.plan, o.rows[:n])
	}
	o.rows = o.rows[n:]
}

// transactionRows returns how many of the rows make the next transaction.
func (s *Sink) transactionRows(rows []*event.RowChanged) int {
	n := min(len(rows), s.cfg.MaxTxnRow)
	if s.cfg.Atomicity == AtomicityTable {
		for n > 0 && n < len(rows) && sameTransaction(rows[n-1], rows[n]) {
			n++
		}
	}
	return n
}
