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
	// SaveCheckpoint makes a checkpoint durable.
	SaveCheckpoint func(ctx context.Context, ts event.Ts) error
	// StartTs: the first change delivered has a greater commit ts.
	StartTs event.Ts
	// TargetTs: the last change delivered has a commit ts at or below it; 0 for no end.
	TargetTs event.Ts
	// ForceReplicate includes tables without a key.
	ForceReplicate bool
	// WriteConcurrency is the number of calls of the sink that may overlap, 1 at least.
	WriteConcurrency int
	// BatchRows and BatchBytes bound one call of WriteRows.
	BatchRows  int
	BatchBytes int64
	// CheckpointInterval is the least time between two saves of the checkpoint.
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
	// failed, of capacity 1, carries the first error that a receiver reports.
	failed chan error

	ddlSources []*ddlSource
	rows, ddls atomic.Int64 // acknowledged by the sink

	mu struct {
		sync.Mutex
		cond *sync.Cond // there is a task or a queued span, or stopped is set
		// spans by physical table id; ending are those that a pending DDL ends.
		spans  map[int64]*tableSpan
		ending map[*tableSpan]struct{}
		// queue are the spans that wait for a worker, in turn; blocked are those
		// with resolved rows above their limit.
		queue   []*tableSpan
		blocked map[*tableSpan]struct{}
		// tasks come before spans: DDLs and checkpoints.
		tasks []task
		// ddls that have not been executed, in commit ts order.
		ddls        []*pendingDDL
		ddlResolved event.Ts
		checkpoint  event.Ts
		// reported is the last checkpoint that the sink was given.
		reported  event.Ts
		reporting bool
		lastErr   error // of a write that is being retried
		pulled    int64 // memory reserved for what subscriptions hold
		stopped   bool
	}
}

// New returns a Pipeline that has started nothing.
func New(cfg Config) *Pipeline {
	p := &Pipeline{
		cfg: cfg, log: cfg.Logger,
		dirty: make(chan struct{}, 1), saves: make(chan struct{}, 1), failed: make(chan error, 1),
	}
	p.mu.cond = sync.NewCond(&p.mu)
	p.mu.spans = map[int64]*tableSpan{}
	p.mu.ending = map[*tableSpan]struct{}{}
	p.mu.blocked = map[*tableSpan]struct{}{}
	p.mu.ddlResolved, p.mu.checkpoint = cfg.StartTs, cfg.StartTs
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
	group.Go(func() error { return p.save(gctx) })
	for range p.cfg.WriteConcurrency {
		group.Go(func() error { return p.work(gctx, writeCtx) })
	}
	err := group.Wait()
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
			created = append(created, p.newSpanLocked(id, table, p.cfg.StartTs))
		}
	}
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
	p.log.Info("pipeline started", "start_ts", p.cfg.StartTs, "spans", len(created))
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
	p.mu.Lock()
	spans := p.allSpansLocked()
	p.mu.Unlock()
	for _, s := range spans {
		if s.sub != nil {
			s.sub.Close()
		}
		if err := s.sorter.Close(); err != nil {
			p.log.Warn("close sorter", "table_id", s.physicalID, "error", err)
		}
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
	spans := make([]*tableSpan, 0, len(p.mu.spans)+len(p.mu.ending))
	for _, s := range p.mu.spans {
		spans = append(spans, s)
	}
	for s := range p.mu.ending {
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
