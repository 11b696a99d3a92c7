package cdc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/cluster"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
	"github.com/tidbcdc/tidbcdc/internal/spill"
	"github.com/tidbcdc/tidbcdc/sink"
)

// clusterLauncher runs changefeeds on the captures of a cluster.
type clusterLauncher struct {
	cfg     *CaptureConfig
	node    *cluster.Node
	lead    *cluster.Leadership
	service func(changefeed string) string
}

// Launch opens nothing: sinks are opened by the captures that write.
func (l *clusterLauncher) Launch(ctx context.Context, spec *Spec, checkpoints CheckpointStore) (runner, func() error, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, nil, fmt.Errorf("encode changefeed: %w", err)
	}
	start, err := checkpoints.Load(ctx, spec.ID)
	if err != nil {
		return nil, nil, err
	}
	r := &clusterRunner{
		launcher: l, spec: spec, data: data, checkpoints: checkpoints,
		gc: &safePoint{upstream: l.cfg.Upstream, service: l.service(spec.ID), ttl: l.cfg.GCTTL},
	}
	r.mu.saved = max(start, spec.StartTs)
	return r, func() error { return nil }, nil
}

// clusterRunner is a changefeed on the captures of a cluster, as its owner sees it.
type clusterRunner struct {
	launcher    *clusterLauncher
	spec        *Spec
	data        []byte // of spec
	checkpoints CheckpointStore
	gc          *safePoint

	mu struct {
		sync.Mutex
		saved event.Ts
	}
}

func (r *clusterRunner) checkpoint() event.Ts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.saved
}

func (r *clusterRunner) save(ctx context.Context, ts event.Ts) error {
	if err := r.checkpoints.Save(ctx, r.spec.ID, ts); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.saved = ts
	return nil
}

// Run implements runner. When the capture stops to be the owner, the changefeed
// goes on without it.
func (r *clusterRunner) Run(ctx context.Context) error {
	start := r.checkpoint()
	if err := r.gc.begin(ctx, start, start == r.spec.StartTs); err != nil {
		return err
	}
	interval := r.launcher.cfg.CheckpointInterval
	setDefault(&interval, 500*time.Millisecond)
	coordinator := r.launcher.lead.NewCoordinator(cluster.CoordinatorConfig{
		Changefeed: r.spec.ID, Spec: r.data, StartTs: start, TargetTs: r.spec.TargetTs,
		SaveCheckpoint: r.save, CheckpointInterval: interval,
		Logger: r.launcher.cfg.Logger.With("changefeed", r.spec.ID),
	})
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := coordinator.Run(gctx); err != nil {
			return err
		}
		return errFinished
	})
	group.Go(func() error { return r.gc.keep(gctx, r.launcher.cfg.Logger, r.checkpoint) })
	err := group.Wait()
	if errors.Is(err, errFinished) {
		return r.gc.release(ctx)
	}
	if remote := (*cluster.TaskError)(nil); errors.As(err, &remote) && remote.Permanent {
		return sink.Permanent(err)
	}
	return asOwnerError(err)
}

// Status has the figures of this capture's part, and the checkpoint of all.
func (r *clusterRunner) Status() Status {
	st := Status{State: StateNormal, SavedTs: r.checkpoint()}
	if p := r.launcher.node.Pipeline(r.spec.ID); p != nil {
		st.describe(p)
	}
	st.CheckpointTs, st.ResolvedTs = st.SavedTs, 0
	for _, part := range r.launcher.node.Parts(r.spec.ID) {
		if len(part.Tables) > 0 && (st.ResolvedTs == 0 || part.ResolvedTs < st.ResolvedTs) {
			st.ResolvedTs = part.ResolvedTs
		}
		if e := part.Retried; e != nil && !e.Time.Before(st.ErrTime) {
			st.State, st.Err, st.ErrTime = StateWarning, e, e.Time
		}
	}
	return st
}

// Processors implements runner.
func (r *clusterRunner) Processors() []ProcessorInfo {
	var out []ProcessorInfo
	for _, part := range r.launcher.node.Parts(r.spec.ID) {
		p := ProcessorInfo{
			ChangefeedID: r.spec.ID, CaptureID: part.Capture,
			CheckpointTs: part.CheckpointTs, ResolvedTs: part.ResolvedTs, TableIDs: part.Tables,
		}
		if e := cmp.Or(part.Error, part.Retried); e != nil {
			p.Error = &RunningError{Time: e.Time, Addr: e.Address, Code: e.Code, Message: e.Message}
		}
		out = append(out, p)
	}
	return out
}

// openProcessor makes this capture's part of a changefeed.
func (c *Capture) openProcessor(ctx context.Context, job cluster.Job) (*pipeline.Pipeline, func() error, error) {
	var spec Spec
	if err := json.Unmarshal(job.Task.Spec, &spec); err != nil {
		return nil, nil, fmt.Errorf("decode changefeed %s: %w", job.Changefeed, err)
	}
	cfg, closer, err := c.cfg.build(ctx, &spec)
	if err != nil {
		return nil, nil, err
	}
	cfg.Sink = leased(cfg.Sink, job.Session)
	sorters := sorter.NewPool(cfg.MemoryQuota, spill.Config{Dir: cfg.SpillDir, Name: cfg.ID})
	closeAll := func() error { return errors.Join(sorters.Close(), closer.Close()) }
	p, err := newProcessorPipeline(ctx, cfg, sorters, job)
	if err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	return p, closeAll, nil
}

func newProcessorPipeline(ctx context.Context, cfg Config, sorters *sorter.Pool, job cluster.Job) (*pipeline.Pipeline, error) {
	feed, err := NewChangefeed(cfg)
	if err != nil {
		return nil, err
	}
	if err := sorters.RemoveStale(); err != nil {
		feed.log.Warn("changes that were spilled earlier not removed", "error", err)
	}
	pipelineCfg, err := feed.pipelineConfig(ctx, sorters, job.Task.StartTs, false)
	if err != nil {
		return nil, err
	}
	pipelineCfg.SaveCheckpoint = nil // the owner's business
	pipelineCfg.Assigned, pipelineCfg.ReadyDDL, pipelineCfg.Changed = true, job.ReadyDDL, job.Changed
	return pipeline.New(pipelineCfg), nil
}

// leasedSink writes only while a capture's lease allows it.
type leasedSink struct {
	sink.Sink
	session *cluster.Session
}

// leasedCheckpointSink is a leasedSink whose sink wants to know checkpoints.
type leasedCheckpointSink struct{ leasedSink }

// leased makes every call of a sink begin and end within a session.
func leased(s sink.Sink, session *cluster.Session) sink.Sink {
	l := leasedSink{s, session}
	if _, ok := s.(sink.CheckpointWriter); ok {
		return leasedCheckpointSink{l}
	}
	return l
}

func (s leasedSink) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	return s.within(ctx, func(ctx context.Context) error { return s.Sink.WriteRows(ctx, rows) })
}

func (s leasedSink) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	return s.within(ctx, func(ctx context.Context) error { return s.Sink.WriteDDL(ctx, ddl) })
}

func (s leasedCheckpointSink) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	return s.within(ctx, func(ctx context.Context) error {
		return s.Sink.(sink.CheckpointWriter).WriteCheckpoint(ctx, ts)
	})
}

func (s leasedCheckpointSink) WriteTables(ctx context.Context, tables []*event.TableInfo) error {
	w, ok := s.Sink.(sink.TablesWriter)
	if !ok {
		return nil
	}
	return s.within(ctx, func(ctx context.Context) error { return w.WriteTables(ctx, tables) })
}

func (s leasedSink) within(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel, err := s.session.Bound(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return write(ctx)
}
