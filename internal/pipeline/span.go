package pipeline

import (
	"context"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
)

// tableSpan is the way of one physical table through the pipeline. It is the
// source's receiver for the table's changes.
type tableSpan struct {
	pipeline   *Pipeline
	physicalID int64
	sorter     *sorter.Sorter

	// held are changes of a transaction that did not fit into the last batch, the
	// rest of which is in the sorter; heldBytes is reserved for them. They are the
	// worker's that has the span.
	held      []rawkv.Entry
	heldBytes int64

	// The fields below are guarded by pipeline.mu.

	// table is the schema that the span was last known under, for status and
	// messages; nil for a span that was added before its table became known.
	table *event.TableInfo
	sub   Subscription
	// written is the span's checkpoint ts: every change at or below it is
	// acknowledged by the sink, or there was none.
	written event.Ts
	// ddls that touch the table and have not been executed, in commit ts order.
	ddls []*pendingDDL
	// queued: the span waits for a worker; running: a worker has it. A span is
	// never both, so only one worker takes from its sorter.
	queued, running bool
	// closed: the DDL that ends the span has been executed, or the span is leaving;
	// nothing of it is written any more, once running is false.
	closed bool
	// ended: its subscription and sorter are closed, or are being closed.
	ended bool
	// interrupt ends the attempts of the worker that has the span, if the pipeline's
	// spans are assigned.
	interrupt context.CancelCauseFunc
}

// wantedTable is a physical table that a changefeed wants.
type wantedTable struct {
	info *event.TableInfo
	// from: the table's changes above it are wanted.
	from event.Ts
}

// formerTable is a table that has been dropped or renamed by a DDL of commit ts until.
type formerTable struct {
	info  *event.TableInfo
	until event.Ts
}

// name is for status and messages.
func (s *tableSpan) name() string {
	if s.table == nil {
		return event.TableSpan(s.physicalID).String()
	}
	return s.table.Name()
}

// Receive implements puller.Receiver.
func (s *tableSpan) Receive(kvs []rawkv.Entry) {
	s.pipeline.received.Add(int64(len(kvs)))
	if err := s.sorter.Add(kvs); err != nil {
		s.pipeline.fail(fmt.Errorf("hold changes of %s: %w", event.TableSpan(s.physicalID), err))
	}
}

// Resolve implements puller.Receiver.
func (s *tableSpan) Resolve(ts event.Ts) {
	s.sorter.Resolve(ts)
	// Whole transactions wait for every span, also for those without rows.
	if rows, _ := s.sorter.Pending(); rows > 0 || s.pipeline.cfg.WholeTransactions {
		s.pipeline.wakeSpan(s)
	}
	s.pipeline.notify()
}

// Fail implements puller.Receiver.
func (s *tableSpan) Fail(err error) { s.pipeline.fail(err) }

func (p *Pipeline) nameOf(s *tableSpan) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.name()
}

// limitLocked returns the ts up to which the span's rows may be written now, as
// far as DDLs and the target are concerned. The resolved ts comes on top.
func (s *tableSpan) limitLocked() event.Ts {
	if s.pipeline.cfg.WholeTransactions {
		return s.pipeline.transactionLimitLocked()
	}
	limit := s.pipeline.mu.ddlResolved
	if len(s.ddls) > 0 {
		limit = min(limit, s.ddls[0].event.CommitTs)
	}
	if t := s.pipeline.cfg.TargetTs; t != 0 {
		limit = min(limit, t)
	}
	return limit
}

// refreshLocked raises written for a span that has nothing to write.
func (s *tableSpan) refreshLocked() {
	if s.queued || s.running || s.closed {
		return
	}
	// The resolved ts is read before the pending rows: rows at or below it were
	// added before it rose, so if none are pending now, none are left below it.
	through := min(s.sorter.ResolvedTs(), s.limitLocked())
	if rows, _ := s.sorter.Pending(); rows == 0 && through > s.written {
		s.written = through
	}
}
