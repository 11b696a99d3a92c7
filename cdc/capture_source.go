package cdc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/internal/schema"
	"github.com/tidbcdc/tidbcdc/sink"
)

// source is what an owner asks of the cluster that changefeeds follow, while they
// do not run.
type source interface {
	CurrentTs(ctx context.Context) (event.Ts, error)
	// CheckTables checks the tables that a filter wants as of ts: that its value
	// expressions fit them, and which of them have no handle key.
	CheckTables(ctx context.Context, f *filter.Filter, ts event.Ts) (tables []*event.TableInfo, ineligible []string, err error)
	// HoldSafePoint keeps the changes of a changefeed above ts for a while. The error
	// wraps a *gcError if they may be gone already.
	HoldSafePoint(ctx context.Context, changefeed string, ts event.Ts, ttl time.Duration) error
	ReleaseSafePoint(ctx context.Context, changefeed string) error
}

// upstreamSource is the source of a real cluster.
type upstreamSource struct {
	*Upstream
	// cluster is CaptureConfig.ClusterID: the same changefeed id in another one is
	// another changefeed.
	cluster string
	log     *slog.Logger
}

func (s *upstreamSource) safePointService(changefeed string) string {
	return "tidbcdc-" + s.cluster + "-changefeed-" + changefeed
}

func (s *upstreamSource) HoldSafePoint(ctx context.Context, changefeed string, ts event.Ts, ttl time.Duration) error {
	gc := &safePoint{upstream: s.Upstream, service: s.safePointService(changefeed), ttl: ttl}
	return gc.hold(ctx, ts)
}

func (s *upstreamSource) ReleaseSafePoint(ctx context.Context, changefeed string) error {
	gc := &safePoint{upstream: s.Upstream, service: s.safePointService(changefeed)}
	return gc.release(ctx)
}

func (s *upstreamSource) CheckTables(
	ctx context.Context, f *filter.Filter, ts event.Ts,
) (tables []*event.TableInfo, ineligible []string, err error) {
	storage, err := schema.Load(ctx, s.metaReader(ts), ts, schema.Config{
		ReaderAt: func(ts event.Ts) schema.Reader { return s.metaReader(ts) },
		Logger:   s.log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("load schema: %w", err)
	}
	for t := range storage.Tables(ts) {
		if t.View || t.Sequence || !f.Table(t.Schema, t.Table) {
			continue
		}
		if err := f.Check(t); err != nil {
			return nil, nil, err
		}
		tables = append(tables, t)
		if !t.HasHandleKey() {
			ineligible = append(ineligible, t.Name())
		}
	}
	return tables, ineligible, nil
}

// localLauncher runs changefeeds in this process.
type localLauncher struct {
	cfg     *CaptureConfig
	service func(changefeed string) string
}

func (l *localLauncher) Launch(ctx context.Context, spec *Spec, checkpoints CheckpointStore) (runner, func() error, error) {
	cfg, closer, err := l.cfg.build(ctx, spec)
	if err != nil {
		return nil, nil, err
	}
	cfg.Checkpoints, cfg.SafePointService = checkpoints, l.service(spec.ID)
	feed, err := NewChangefeed(cfg)
	if err != nil {
		return nil, nil, errors.Join(err, closer.Close())
	}
	return &localRunner{feed, l.cfg}, closer.Close, nil
}

// localRunner is a Changefeed whose only processor is this capture.
type localRunner struct {
	*Changefeed
	capture *CaptureConfig
}

func (r *localRunner) Processors() []ProcessorInfo {
	st := r.Status()
	info := ProcessorInfo{
		ChangefeedID: r.cfg.ID, CaptureID: r.capture.ID,
		CheckpointTs: st.CheckpointTs, ResolvedTs: st.ResolvedTs, TableIDs: r.TableIDs(),
	}
	if st.Err != nil {
		info.Error = r.capture.runningError(st.Err)
		info.Error.Time = st.ErrTime
	}
	return []ProcessorInfo{info}
}

// build makes the Config of a changefeed and opens its sink, which the caller closes.
func (c *CaptureConfig) build(ctx context.Context, spec *Spec) (Config, io.Closer, error) {
	zone, err := spec.zone(c.TimeZone)
	if err != nil {
		return Config{}, nil, err
	}
	f, err := spec.filter(zone)
	if err != nil {
		return Config{}, nil, err
	}
	s, closer, err := c.openSink(ctx, spec)
	if err != nil {
		return Config{}, nil, err
	}
	cfg := Config{
		ID: spec.ID, Upstream: c.Upstream, Sink: s, Filter: f, StartTs: spec.StartTs, TargetTs: spec.TargetTs,
		ForceReplicate: spec.ForceReplicate, IgnoreIneligibleTables: spec.IgnoreIneligibleTables,
		WriteConcurrency: c.WriteConcurrency, MemoryQuota: spec.MemoryQuota, SpillDir: c.spillDir(),
		CheckpointInterval: c.CheckpointInterval, RetryTimeout: c.RetryTimeout, DrainTimeout: c.DrainTimeout,
		GCTTL: c.GCTTL, Logger: c.Logger, WholeTransactions: spec.WholeTransactions, scheme: spec.scheme(),
	}
	if cfg.WholeTransactions {
		cfg.WriteConcurrency = 1
	}
	setDefault(&cfg.MemoryQuota, c.MemoryQuota)
	return cfg, closer, nil
}

// openSink connects to a changefeed's sink.
func (c *CaptureConfig) openSink(ctx context.Context, spec *Spec) (sink.Sink, io.Closer, error) {
	zone, err := spec.zone(c.TimeZone)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.OpenTimeout)
	defer cancel()
	s, closer, err := c.Openers.Open(ctx, spec.SinkURI, sink.Config{
		Changefeed: spec.ID, Cluster: c.ClusterID, Options: spec.Sink, CaseSensitive: spec.CaseSensitive, TimeZone: zone, Logger: c.Logger.With("changefeed", spec.ID),
	})
	if err != nil {
		return nil, nil, &OpenSinkError{Scheme: spec.scheme(), Err: err}
	}
	return s, closer, nil
}

// localScheduling is that of a capture that works alone.
type localScheduling struct{ node func() CaptureInfo }

func (s localScheduling) Captures(context.Context) ([]CaptureInfo, error) {
	return []CaptureInfo{s.node()}, nil
}

func (localScheduling) MoveTable(context.Context, string, int64, string) error { return nil }
func (localScheduling) RebalanceTables(context.Context, string) error          { return nil }
func (localScheduling) ResignOwner(context.Context) error                      { return nil }

func (s localScheduling) DrainCapture(_ context.Context, capture string) (int, error) {
	if capture != s.node().ID {
		return 0, fmt.Errorf("%w: %s", ErrCaptureNotFound, capture)
	}
	return 0, fmt.Errorf("%w: capture %s is the only one", ErrScheduling, capture)
}
