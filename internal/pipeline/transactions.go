package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
	"github.com/tidbcdc/tidbcdc/sink"
)

// transactionSpan is a span while whole transactions are put together from all.
type transactionSpan struct {
	*tableSpan
	// kvs have been taken and not been written; through is the ts up to which
	// everything has been taken.
	kvs     []rawkv.Entry
	through event.Ts
	batch   rowcodec.Batch
}

// transactionRow is a row with its place among those of the same transaction.
type transactionRow struct {
	*event.RowChanged
	place int
}

// wakeTransactionsLocked lets a worker look for transactions that can be written.
func (p *Pipeline) wakeTransactionsLocked() {
	p.mu.transactionsDue = true
	p.mu.cond.Signal()
}

// beginTransactions marks the spans that have rows as running, and returns them
// with the ts up to which transactions are complete. No other row up to it can
// come any more.
func (p *Pipeline) beginTransactions() (spans []*transactionSpan, complete event.Ts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.allSpansLocked()
	complete = p.transactionLimitLocked()
	for _, s := range all {
		complete = min(complete, s.sorter.ResolvedTs())
	}
	for _, s := range all {
		if rows, _ := s.sorter.Pending(); rows > 0 && !s.closed && s.written < complete {
			s.running = true
			spans = append(spans, &transactionSpan{tableSpan: s, through: s.written})
		}
	}
	// The rows of a transaction come in the same order again after a restart.
	slices.SortFunc(spans, func(a, b *transactionSpan) int { return cmp.Compare(a.physicalID, b.physicalID) })
	return spans, complete
}

// transactionLimitLocked is the limit of every span: a DDL waits for the rows of
// all tables up to its commit ts, and all rows above it wait for the DDL.
func (p *Pipeline) transactionLimitLocked() event.Ts {
	limit := p.mu.ddlResolved
	if len(p.mu.ddls) > 0 {
		limit = min(limit, p.mu.ddls[0].event.CommitTs)
	}
	if t := p.cfg.TargetTs; t != 0 {
		limit = min(limit, t)
	}
	return limit
}

// advanceTransactions notes that everything up to written is acknowledged.
func (p *Pipeline) advanceTransactions(spans []*transactionSpan, written event.Ts) {
	p.mu.Lock()
	for _, s := range spans {
		s.written = max(s.written, written)
	}
	p.mu.Unlock()
	p.notify()
}

// endTransactions gives the spans back.
func (p *Pipeline) endTransactions(spans []*transactionSpan) {
	p.mu.Lock()
	for _, s := range spans {
		s.running = false
	}
	// Limits and resolved ts may have risen since the worker looked.
	p.wakeTransactionsLocked()
	p.mu.Unlock()
	p.notify()
}

// writeTransactions writes all transactions that are complete, in commit order.
func (w *worker) writeTransactions(ctx, writeCtx context.Context) error {
	p := w.p
	spans, complete := p.beginTransactions()
	if len(spans) == 0 {
		return nil
	}
	var held int64 // memory reserved for what was taken
	defer func() { p.cfg.Sorters.Reserve(-held) }()
	for written := event.Ts(0); written < complete; {
		next, err := w.takeTransactions(spans, complete, &held)
		if err != nil {
			return err
		}
		if err := w.writeThrough(ctx, writeCtx, spans, next, &held); err != nil {
			return err
		}
		written = next
		p.advanceTransactions(spans, written)
	}
	p.endTransactions(spans)
	return nil
}

// takeTransactions takes rows of spans until something has been taken of all of
// them up to a common ts, which it returns: the transactions up to it are whole.
func (w *worker) takeTransactions(spans []*transactionSpan, complete event.Ts, held *int64) (through event.Ts, err error) {
	// Spans share a batch, so that many of them do not take too much at once.
	rows := max(w.p.cfg.BatchRows/len(spans), 1)
	bytes := max(w.p.cfg.BatchBytes/int64(len(spans)), 1)
	for {
		through = complete
		any := false
		for _, s := range spans {
			if len(s.kvs) == 0 && s.through < complete {
				if err := w.take(s, complete, rows, bytes, held); err != nil {
					return 0, err
				}
			}
			through = min(through, s.through)
		}
		for _, s := range spans {
			any = any || len(s.kvs) > 0 && s.kvs[0].CommitTs <= through
		}
		if any || through == complete {
			return through, nil
		}
		// A transaction is larger than what was taken: it is whole when its spans
		// have come further.
		for _, s := range spans {
			if s.through == through {
				if err := w.take(s, complete, rows, bytes, held); err != nil {
					return 0, err
				}
			}
		}
	}
}

func (w *worker) take(s *transactionSpan, limit event.Ts, rows int, bytes int64, held *int64) error {
	before := len(s.kvs)
	var err error
	s.kvs, s.through, err = s.sorter.Take(s.kvs, limit, rows, bytes)
	if err != nil {
		return fmt.Errorf("sort changes of %s: %w", w.p.nameOf(s.tableSpan), err)
	}
	var size int64
	for i := range s.kvs[before:] {
		size += mountedFactor * s.kvs[before+i].Size()
	}
	w.p.cfg.Sorters.Reserve(size)
	*held += size
	return nil
}

// writeThrough writes what has been taken up to a ts.
func (w *worker) writeThrough(ctx, writeCtx context.Context, spans []*transactionSpan, through event.Ts, held *int64) error {
	var merged []transactionRow
	var size int64
	for _, s := range spans {
		n, _ := slices.BinarySearchFunc(s.kvs, through, func(kv rawkv.Entry, ts event.Ts) int {
			if kv.CommitTs <= ts {
				return -1
			}
			return 1
		})
		if n == 0 {
			continue
		}
		for i := range s.kvs[:n] {
			size += mountedFactor * s.kvs[i].Size()
		}
		kvs := unpack(nil, s.kvs[:n])
		rest := copy(s.kvs, s.kvs[n:])
		clear(s.kvs[rest:])
		s.kvs = s.kvs[:rest]
		if len(kvs) == 0 {
			continue
		}
		rows, err := w.p.cfg.Mounter.MountBatch(kvs, &s.batch)
		if err != nil {
			return err
		}
		if rows, err = w.filter(rows); err != nil {
			return err
		}
		for _, r := range rows {
			merged = append(merged, transactionRow{r, len(merged)})
		}
	}
	slices.SortFunc(merged, func(a, b transactionRow) int {
		return cmp.Or(cmp.Compare(a.CommitTs, b.CommitTs), cmp.Compare(a.StartTs, b.StartTs), cmp.Compare(a.place, b.place))
	})
	err := w.writeMerged(ctx, writeCtx, merged)
	w.p.cfg.Sorters.Reserve(-size)
	*held -= size
	return err
}

// writeMerged hands rows to the sink in calls of whole transactions, of BatchRows
// rows at most as far as a transaction has no more.
func (w *worker) writeMerged(ctx, writeCtx context.Context, merged []transactionRow) error {
	writer := w.p.cfg.Sink.(sink.TransactionWriter)
	for len(merged) > 0 {
		end := transactionsEnd(merged, w.p.cfg.BatchRows)
		rows := make([]*event.RowChanged, end)
		for i := range rows {
			rows[i] = merged[i].RowChanged
		}
		what := func() string {
			return fmt.Sprintf("write %d rows of transactions up to commit ts %d", len(rows), rows[len(rows)-1].CommitTs)
		}
		if err := w.retry(ctx, writeCtx, what, func() error {
			return w.p.sinkError("WriteTransactions", writer.WriteTransactions(writeCtx, rows))
		}); err != nil {
			return err
		}
		w.p.rows.Add(int64(len(rows)))
		merged = merged[end:]
	}
	return nil
}

// transactionsEnd returns how many of the rows make up whole transactions: as many
// as fit in most rows, or the first one if it alone has more.
func transactionsEnd(rows []transactionRow, most int) int {
	if len(rows) <= most {
		return len(rows)
	}
	end := most
	for end > 0 && sameTransaction(rows[end-1], rows[end]) {
		end--
	}
	if end > 0 {
		return end
	}
	for end = most; end < len(rows) && sameTransaction(rows[end-1], rows[end]); {
		end++
	}
	return end
}

func sameTransaction(a, b transactionRow) bool {
	return a.CommitTs == b.CommitTs && a.StartTs == b.StartTs
}
