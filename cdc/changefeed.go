package cdc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/internal/schema"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// Changefeed delivers the changes of a cluster to a sink. Use NewChangefeed.
type Changefeed struct {
	cfg Config
	log *slog.Logger

	mu struct {
		sync.Mutex
		running  bool
		state    State
		pipeline *pipeline.Pipeline // of the present Run, or the last
		saved    event.Ts           // the last checkpoint stored
		err      error              // why the last Run failed
		errAt    time.Time
		catchUp  catchUp // of the present Run
	}
}

// NewChangefeed validates cfg. It does no I/O and starts nothing.
func NewChangefeed(cfg Config) (*Changefeed, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("new changefeed: %w", err)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("new changefeed: %w", err)
	}
	c := &Changefeed{cfg: cfg, log: cfg.Logger.With("changefeed", cfg.ID)}
	c.mu.state = StateStopped
	return c, nil
}

// Run delivers changes, from the stored checkpoint or else from the start ts,
// until one of these:
//
//   - the target ts is reached: nil;
//   - ctx is cancelled: its cause;
//   - something fails that retrying cannot mend: an *Error.
//
// When it returns, everything that it started has ended and the checkpoint is
// stored. It may be called again, but not while it runs (ErrRunning).
func (c *Changefeed) Run(ctx context.Context) error {
	if err := c.begin(); err != nil {
		return err
	}
	err := c.run(ctx)
	switch {
	case err == nil:
		c.end(StateFinished, nil)
		return nil
	case ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || !c.hasBegun()):
		// Calls of PD and TiKV that are cut off while it starts fail with errors of their own.
		c.end(StateStopped, nil)
		return context.Cause(ctx)
	}
	err = &Error{Changefeed: c.cfg.ID, CheckpointTs: c.Status().CheckpointTs, Err: err}
	c.end(StateFailed, err)
	return err
}

func (c *Changefeed) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.running {
		return fmt.Errorf("changefeed %s: %w", c.cfg.ID, ErrRunning)
	}
	c.mu.running, c.mu.state, c.mu.err, c.mu.pipeline, c.mu.catchUp = true, StateNormal, nil, nil, catchUp{}
	return nil
}

// hasBegun reports whether Run has come so far that rows may be written.
func (c *Changefeed) hasBegun() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.pipeline != nil
}

func (c *Changefeed) end(state State, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.running, c.mu.state, c.mu.err, c.mu.errAt = false, state, err, time.Time{}
	if err != nil {
		c.mu.errAt = time.Now()
	}
}

func (c *Changefeed) run(ctx context.Context) error {
	start, fresh, err := c.startTs(ctx)
	if err != nil {
		return err
	}
	if t := c.cfg.TargetTs; t != 0 && start >= t {
		if fresh {
			return fmt.Errorf("%w: target ts %d, start ts %d", ErrTargetTsBeforeStartTs, t, start)
		}
		return nil // an earlier Run got there
	}
	gc := &safePoint{upstream: c.cfg.Upstream, service: c.cfg.SafePointService, ttl: c.cfg.GCTTL}
	if err := gc.begin(ctx, start, fresh); err != nil {
		return err
	}
	sorters := sorter.NewPool(c.cfg.MemoryQuota, spill.Config{Dir: c.cfg.SpillDir, Name: c.cfg.ID})
	defer func() {
		if err := sorters.Close(); err != nil {
			c.log.Warn("spilled changes not removed", "error", err)
		}
	}()
	if err := sorters.RemoveStale(); err != nil {
		c.log.Warn("changes that were spilled earlier not removed", "error", err)
	}
	pipelineCfg, err := c.pipelineConfig(ctx, sorters, start, fresh)
	if err != nil {
		return err
	}
	if fresh {
		// Or a start ts of "now" would be a later one if this process dies before the
		// first checkpoint.
		if err := c.saveCheckpoint(ctx, start); err != nil {
			return fmt.Errorf("save the start ts: %w", err)
		}
	}
	p := pipeline.New(pipelineCfg)
	c.mu.Lock()
	c.mu.pipeline, c.mu.saved = p, start
	c.mu.Unlock()

	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := p.Run(gctx); err != nil {
			return err
		}
		return errFinished
	})
	group.Go(func() error { return gc.keep(gctx, c.log, c.savedTs) })
	if err = group.Wait(); !errors.Is(err, errFinished) {
		return err
	}
	if err := gc.release(ctx); err != nil {
		c.log.Warn("the changefeed has finished, but PD keeps changes for it until its safe point expires", "ttl", c.cfg.GCTTL, "error", err)
	}
	return nil
}

// errFinished ends the group of a Run that has reached its target.
var errFinished = errors.New("target ts reached")

// startTs returns the ts to start from, and whether the changefeed starts
// afresh rather than from a stored checkpoint.
func (c *Changefeed) startTs(ctx context.Context) (ts event.Ts, fresh bool, err error) {
	now, err := c.cfg.Upstream.CurrentTs(ctx)
	if err != nil {
		return 0, false, err
	}
	ts, err = c.cfg.Checkpoints.Load(ctx, c.cfg.ID)
	if err != nil {
		return 0, false, err
	}
	if ts == 0 {
		ts, fresh = c.cfg.StartTs, true
	}
	if ts == 0 {
		ts = now
	}
	if ts > now {
		return 0, false, fmt.Errorf("%w: start ts %d (%s), the cluster is at %d (%s): is it a ts of this cluster?",
			ErrStartTsInFuture, ts, ts.Time().Format(time.DateTime), now, now.Time().Format(time.DateTime))
	}
	return ts, fresh, nil
}

// pipelineConfig loads the schema as of start and wires the stages.
func (c *Changefeed) pipelineConfig(ctx context.Context, sorters *sorter.Pool, start event.Ts, fresh bool) (cfg pipeline.Config, err error) {
	up := c.cfg.Upstream
	storage, err := schema.Load(ctx, up.metaReader(start), start, schema.Config{
		ReaderAt: func(ts event.Ts) schema.Reader { return up.metaReader(ts) },
		Logger:   c.log,
	})
	if err != nil {
		return cfg, fmt.Errorf("load schema: %w", err)
	}
	if err := c.checkEligible(storage, start, fresh); err != nil {
		return cfg, err
	}
	jobs, err := storage.JobReader()
	if err != nil {
		return cfg, err
	}
	return pipeline.Config{
		Schema: storage, ParseJob: jobs.ParseJob,
		CompleteJob: func(ctx context.Context, job *schema.Job) error {
			return storage.Complete(ctx, job, up.metaReader(job.FinishedTs))
		},
		Subscribe: func(span event.Span, startTs event.Ts, out puller.Receiver) pipeline.Subscription {
			return up.source.Subscribe(span, startTs, out)
		},
		Sorters: sorters,
		Mounter: NewMounter(storage, MounterOptions{}),
		Filter:  c.cfg.Filter, Sink: c.cfg.Sink, SinkScheme: c.cfg.scheme, SaveCheckpoint: c.saveCheckpoint,
		StartTs: start, TargetTs: c.cfg.TargetTs, ForceReplicate: c.cfg.ForceReplicate,
		WholeTransactions: c.cfg.WholeTransactions,
		WriteConcurrency:  c.cfg.WriteConcurrency, BatchRows: c.cfg.BatchRows, BatchBytes: c.cfg.BatchBytes,
		CheckpointInterval: c.cfg.CheckpointInterval, RetryTimeout: c.cfg.RetryTimeout,
		DrainTimeout: c.cfg.DrainTimeout, Logger: c.log,
	}, nil
}

// checkEligible fails a changefeed that starts afresh if tables would be left
// out silently. Later ones are left out with a warning: a running feed must not
// die of somebody's CREATE TABLE.
func (c *Changefeed) checkEligible(storage *schema.Storage, start event.Ts, fresh bool) error {
	if !fresh || c.cfg.ForceReplicate || c.cfg.IgnoreIneligibleTables {
		return nil
	}
	var names []string
	for t := range storage.Tables(start) {
		if !t.View && !t.Sequence && !t.HasHandleKey() && c.cfg.Filter.Table(t.Schema, t.Table) {
			names = append(names, t.Name())
		}
	}
	if len(names) > 0 {
		return &IneligibleTablesError{Tables: names}
	}
	return nil
}

func (c *Changefeed) saveCheckpoint(ctx context.Context, ts event.Ts) error {
	if err := c.cfg.Checkpoints.Save(ctx, c.cfg.ID, ts); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.saved = ts
	return nil
}

func (c *Changefeed) savedTs() event.Ts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.saved
}
