package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
	"github.com/tidbcdc/tidbcdc/internal/schema"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Mounter decodes the changes of one table, in commit ts order, into rows that
// b owns until its next use.
type Mounter interface {
	MountBatch(kvs []event.RawKV, b *rowcodec.Batch) ([]*event.RowChanged, error)
}

// Subscription is what a source gives for a span. No call of its receiver
// begins after Close has returned.
type Subscription interface {
	Close()
	// PendingBytes is the memory held by rows whose transactions have not ended.
	PendingBytes() int64
	// Progress tells how much of the span has been scanned.
	Progress() puller.Progress
}

// Config wires a Pipeline. Every field without a stated default is required.
type Config struct {
	// Schema holds the schemas as of StartTs.
	Schema *schema.Storage
	// ParseJob reads a row of a table that holds DDL jobs; nil for a row to skip.
	ParseJob func(kv *event.RawKV) (*schema.Job, error)
	// CompleteJob reads what an incomplete job lacks (schema.Job.Incomplete).
	CompleteJob func(ctx context.Context, job *schema.Job) error
	// Subscribe starts to deliver the changes of a span above startTs. It does
	// not wait for them.
	Subscribe func(span event.Span, startTs event.Ts, out puller.Receiver) Subscription
	// Sorters makes the sorters of the spans. What is read, mounted and written is
	// reserved from its memory too. Whoever made it closes it, after Run.
	Sorters *sorter.Pool
	Mounter Mounter
	Filter  *filter.Filter
	Sink    sink.Sink
	// SinkScheme is that of the Sink's errors (sink.WriteError). It may be empty.
	SinkScheme string
	// SaveCheckpoint makes a checkpoint durable. Unused if Assigned.
	SaveCheckpoint func(ctx context.Context, ts event.Ts) error
	// Assigned makes the pipeline one of several that share a changefeed. It writes
	// only the spans that AddSpan gives it, and what concerns all spans together is
	// left to its user: to confirm checkpoints, and to end at the target ts.
	Assigned bool
	// ReadyDDL, unless nil, takes the execution of DDLs out of the pipeline's hands.
	// It is called without locks, must not block, and tells that all rows of the
	// pipeline's own spans up to the DDL are written and no earlier DDL is in its
	// way. The DDL stays a barrier until FinishDDL. No worker waits for it. AddSpan
	// may undo the readiness (see Progress); then it is called again.
	ReadyDDL func(ddl *event.DDL)
	// Changed, unless nil, is called like ReadyDDL when Progress may have changed.
	Changed func()
	// StartTs: the first change delivered has a greater commit ts.
	StartTs event.Ts
	// TargetTs: the last change delivered has a commit ts at or below it; 0 for no end.
	TargetTs event.Ts
	// ForceReplicate includes tables without a key.
	ForceReplicate bool
	// WholeTransactions delivers transactions of all tables whole and in commit
	// order, to a Sink that is a sink.TransactionWriter. WriteConcurrency must be 1,
	// and spans must not be assigned.
	WholeTransactions bool
	// WriteConcurrency is the number of calls of the sink that may overlap, 1 at least.
	WriteConcurrency int
	// BatchRows and BatchBytes bound one call of WriteRows.
	BatchRows  int
	BatchBytes int64
	// CheckpointInterval is the least time between two saves of the checkpoint, unless
	// a DDL waits for the next.
	CheckpointInterval time.Duration
	// RetryTimeout is for how long a failing write is tried again before the
	// pipeline fails with its error.
	RetryTimeout time.Duration
	// DrainTimeout is for how long a write that has begun may go on after cancellation.
	DrainTimeout time.Duration
	Logger       *slog.Logger
}

// Pipeline runs one changefeed. Use New.
type Pipeline struct {
	cfg Config
	log *slog.Logger
	// dirty, of capacity 1, tells the coordinator that progress may have changed.
	dirty chan struct{}
	// saves, of capacity 1, tells the saver that the checkpoint has risen.
	saves chan struct{}
	// urgent, of capacity 1, tells it that a DDL waits for that to be saved.
	urgent chan struct{}
	// failed, of capacity 1, carries the first error that a receiver reports.
	failed chan error

	ddlSources []*ddlSource
	received   atomic.Int64 // rows of tables
	rows, ddls atomic.Int64 // acknowledged by the sink
	// ended is closed when Run has let everything go.
	ended chan struct{}

	// control orders the calls that change which spans there are, and the end of
	// Run. It is locked before mu, and never by a receiver.
	control struct {
		sync.Mutex
		closed bool
	}

	mu struct {
		sync.Mutex
		cond *sync.Cond // there is a task or a queued span, or stopped is set
		// tables are all that the changefeed wants, by physical id, up to
		// ddlResolved; dropped are those whose end is pending. tablesVersion counts
		// the changes of both.
		tables        map[int64]wantedTable
		dropped       map[int64]wantedTable
		tablesVersion uint64
		// former are tables under names that a DDL takes from them, until the sink
		// knows a checkpoint that has passed it. namesVersion counts the changes of
		// these and of what is in tables; namesTold is the one that the sink knows.
		former       []formerTable
		namesVersion uint64
		namesTold    uint64
		// spans by physical table id; ending are those that a pending DDL ends, and
		// leaving those that StopSpan ends.
		spans   map[int64]*tableSpan
		ending  map[*tableSpan]struct{}
		leaving map[int64]*tableSpan
		// queue are the spans that wait for a worker, in turn; blocked are those
		// with resolved rows above their limit.
		queue   []*tableSpan
		blocked map[*tableSpan]struct{}
		// transactionsDue: there may be transactions to write, if they are kept whole.
		transactionsDue bool
		// tasks come before spans: DDLs and checkpoints.
		tasks []task
		// ddls that have not been executed, in commit ts order; finished are those
		// that FinishDDL named, by commit ts.
		ddls        []*pendingDDL
		finished    map[event.Ts]struct{}
		ddlResolved event.Ts
		checkpoint  event.Ts
		saved       event.Ts // the checkpoint that a restart begins at, unless Assigned
		confirmed   event.Ts // by ConfirmCheckpoint
		// reported is the last checkpoint that the sink was given.
		reported  event.Ts
		reporting bool
		retried   map[*worker]retriedError
		pulled    int64 // memory reserved for what subscriptions hold
		stopped   bool
	}
}

// New returns a Pipeline that has started nothing.
func New(cfg Config) *Pipeline {
	p := &Pipeline{
		cfg: cfg, log: cfg.Logger,
		dirty: make(chan struct{}, 1), saves: make(chan struct{}, 1), urgent: make(chan struct{}, 1), failed: make(chan error, 1),
		ended: make(chan struct{}),
	}
	p.mu.cond = sync.NewCond(&p.mu)
	p.mu.tables, p.mu.dropped = map[int64]wantedTable{}, map[int64]wantedTable{}
	p.mu.spans, p.mu.leaving = map[int64]*tableSpan{}, map[int64]*tableSpan{}
	p.mu.ending = map[*tableSpan]struct{}{}
	p.mu.finished = map[event.Ts]struct{}{}
	p.mu.retried = map[*worker]retriedError{}
	p.mu.blocked = map[*tableSpan]struct{}{}
	p.mu.ddlResolved, p.mu.checkpoint, p.mu.saved = cfg.StartTs, cfg.StartTs, cfg.StartTs
	return p
}

// errFinished ends the pipeline at its target ts.
var errFinished = errors.New("target ts reached")

// Run delivers changes until the target ts is reached (nil), ctx is cancelled
// (its cause) or something fails. It returns when everything that it started
// has ended and the last checkpoint is saved. A Pipeline runs once.
func (p *Pipeline) Run(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	// A write outlives gctx by DrainTimeout at most.
	writeCtx, cancelWrites := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancelWrites(nil)
	stopDrain := context.AfterFunc(gctx, func() {
		t := time.AfterFunc(p.cfg.DrainTimeout, func() {
			cancelWrites(fmt.Errorf("write did not end within the drain timeout of %v", p.cfg.DrainTimeout))
		})
		context.AfterFunc(writeCtx, func() { t.Stop() })
	})
	defer stopDrain()
	stopWorkers := context.AfterFunc(gctx, p.stop)
	defer stopWorkers()

	defer p.close()
	if err := p.start(); err != nil {
		return err
	}
	group.Go(func() error { return p.coordinate(gctx) })
	if !p.cfg.Assigned {
		group.Go(func() error { return p.save(gctx) })
	}
	for range p.cfg.WriteConcurrency {
		group.Go(func() error { return p.work(gctx, writeCtx) })
	}
	err := group.Wait()
	if p.cfg.Assigned {
		return err
	}
	saveErr := p.saveLast(context.WithoutCancel(ctx))
	switch {
	case errors.Is(err, errFinished):
		return saveErr
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		if saveErr != nil {
			p.log.Warn("last checkpoint not saved, the next run starts from an older one", "error", saveErr)
		}
		return context.Cause(ctx)
	}
	return errors.Join(err, saveErr)
}

// start subscribes to the DDL jobs and to every table wanted at the start ts. It
// fails if the filter's expressions do not fit a table.
func (p *Pipeline) start() error {
	for range schema.DDLSpans() {
		p.ddlSources = append(p.ddlSources, &ddlSource{pipeline: p, sorter: p.cfg.Sorters.New(p.cfg.StartTs)})
	}
	var created []*tableSpan
	var errs []error
	p.mu.Lock()
	for table := range p.cfg.Schema.Tables(p.cfg.StartTs) {
		if !p.wanted(table) {
			continue
		}
		errs = append(errs, p.cfg.Filter.Check(table))
		for _, id := range table.PhysicalIDs() {
			p.mu.tables[id] = wantedTable{info: table, from: p.cfg.StartTs}
			if s := p.mu.spans[id]; s != nil {
				s.table = table
			}
			if !p.cfg.Assigned {
				created = append(created, p.newSpanLocked(id, table, p.cfg.StartTs))
			}
		}
	}
	p.mu.tablesVersion++
	p.mu.namesVersion++
	p.mu.Unlock()
	if err := firstErrors(errs); err != nil {
		return err
	}
	p.subscribe(created, p.cfg.StartTs)
	for i, span := range schema.DDLSpans() {
		sub := p.cfg.Subscribe(span, p.cfg.StartTs, p.ddlSources[i])
		p.mu.Lock()
		p.ddlSources[i].sub = sub
		p.mu.Unlock()
	}
	p.log.Info("pipeline started", "start_ts", p.cfg.StartTs, "spans", len(created), "assigned", p.cfg.Assigned)
	return nil
}

// firstErrors joins the first few of errors: thousands of tables may have one each.
func firstErrors(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	const most = 5
	if rest := len(errs) - most; rest > 0 {
		errs = append(errs[:most], fmt.Errorf("and %d more", rest))
	}
	return errors.Join(errs...)
}

func (p *Pipeline) newSpanLocked(physicalID int64, table *event.TableInfo, startTs event.Ts) *tableSpan {
	s := &tableSpan{pipeline: p, physicalID: physicalID, table: table, sorter: p.cfg.Sorters.New(startTs), written: startTs}
	p.mu.spans[physicalID] = s
	return s
}

func (p *Pipeline) subscribe(spans []*tableSpan, startTs event.Ts) {
	for _, s := range spans {
		sub := p.cfg.Subscribe(event.TableSpan(s.physicalID), startTs, s)
		p.mu.Lock()
		s.sub = sub
		p.mu.Unlock()
	}
}

// close ends all subscriptions and sorters.
func (p *Pipeline) close() {
	p.control.Lock()
	defer p.control.Unlock()
	p.control.closed = true
	p.mu.Lock()
	spans := p.allSpansLocked()
	p.mu.Unlock()
	for _, s := range spans {
		p.endSpan(s)
	}
	for _, d := range p.ddlSources {
		if d.sub != nil {
			d.sub.Close()
		}
		if err := d.sorter.Close(); err != nil {
			p.log.Warn("close sorter of DDL jobs", "error", err)
		}
	}
	p.reservePulled(0)
	close(p.ended)
}

// endSpan closes a span's subscription and sorter, once. The caller holds no
// lock: closing waits for calls of the receiver, which take it.
func (p *Pipeline) endSpan(s *tableSpan) {
	p.mu.Lock()
	ended, sub := s.ended, s.sub
	s.closed, s.ended = true, true
	p.mu.Unlock()
	if ended {
		return
	}
	if sub != nil {
		sub.Close()
	}
	p.cfg.Sorters.Reserve(-s.heldBytes) // no worker has the span
	s.held, s.heldBytes = nil, 0
	if err := s.sorter.Close(); err != nil {
		p.log.Warn("close sorter", "table_id", s.physicalID, "error", err)
	}
}

// reservePulled makes room in memory for what subscriptions hold.
func (p *Pipeline) reservePulled(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reservePulledLocked(bytes)
}

func (p *Pipeline) reservePulledLocked(bytes int64) {
	p.cfg.Sorters.Reserve(bytes - p.mu.pulled)
	p.mu.pulled = bytes
}

func (p *Pipeline) allSpansLocked() []*tableSpan {
	spans := make([]*tableSpan, 0, len(p.mu.spans)+len(p.mu.ending)+len(p.mu.leaving))
	for _, s := range p.mu.spans {
		spans = append(spans, s)
	}
	for s := range p.mu.ending {
		spans = append(spans, s)
	}
	for _, s := range p.mu.leaving {
		spans = append(spans, s)
	}
	return spans
}

// notify wakes the coordinator. It never blocks.
func (p *Pipeline) notify() {
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// fail makes Run return err, unless an error is on its way already.
func (p *Pipeline) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

// stop lets the workers end after what they are at.
func (p *Pipeline) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.stopped = true
	p.mu.cond.Broadcast()
}

func (p *Pipeline) ddlResolvedTs() event.Ts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.ddlResolved
}
