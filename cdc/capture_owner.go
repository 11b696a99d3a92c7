package cdc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/cluster"
	"github.com/tidbcdc/tidbcdc/sink"
)

// owner decides about the changefeeds of a store and runs them through a launcher.
// There is one at a time for a store: the capture alone, or the one elected.
type owner struct {
	cfg        *CaptureConfig
	store      changefeedStore
	launcher   launcher
	source     source
	scheduling scheduling
	log        *slog.Logger

	mu struct {
		sync.Mutex
		feeds map[string]*feed
		// creating are ids that a create is validating.
		creating map[string]bool
		// start runs a feed; nil before and after run.
		start func(*feed)
	}
}

// creationTTL is for how long PD keeps the changes of a changefeed that is being
// created, until it runs.
const creationTTL = time.Hour

// load takes over the changefeeds of the store.
func (o *owner) load(ctx context.Context) error {
	records, err := o.store.Records(ctx)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.feeds, o.mu.creating = map[string]*feed{}, map[string]bool{}
	for _, r := range records {
		saved, err := o.store.Load(ctx, r.Spec.ID)
		if err != nil {
			return err
		}
		o.mu.feeds[r.Spec.ID] = newFeed(o, r, saved)
	}
	return nil
}

// run runs the changefeeds until ctx ends, and returns when all have.
func (o *owner) run(ctx context.Context) error {
	var group errgroup.Group
	o.mu.Lock()
	o.mu.start = func(f *feed) {
		group.Go(func() error { f.run(ctx); return nil })
	}
	for _, f := range o.mu.feeds {
		o.mu.start(f)
	}
	o.mu.Unlock()

	o.keepSafePoints(ctx)

	o.mu.Lock()
	o.mu.start = nil // from here on none is added to the group
	o.mu.Unlock()
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (o *owner) feed(id string) (*feed, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := o.mu.feeds[id]; f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrChangefeedNotFound, id)
}

// feeds returns all feeds by id.
func (o *owner) feeds() []*feed {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]*feed, 0, len(o.mu.feeds))
	for _, f := range o.mu.feeds {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *feed) int { return cmp.Compare(a.id, b.id) })
	return out
}

// forget leaves out a feed that has been deleted.
func (o *owner) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.mu.feeds, id)
}

// create validates in the order in which TiCDC does, so that of several mistakes
// clients are told the same one.
func (o *owner) create(ctx context.Context, spec Spec) (info ChangefeedInfo, err error) {
	if spec.SinkURI == "" {
		return info, fmt.Errorf("%w: it is empty", sink.ErrInvalidURI)
	}
	if err := ValidateID(spec.ID); err != nil {
		return info, err
	}
	if err := o.reserve(spec.ID); err != nil {
		return info, err
	}
	defer o.unreserve(spec.ID)
	if err := o.chooseStart(ctx, &spec); err != nil {
		return info, err
	}
	defer func() {
		if err != nil {
			o.abandon(ctx, spec.ID)
		}
	}()
	if err := checkTargetTs(&spec); err != nil {
		return info, err
	}
	if err := o.checkSettings(ctx, &spec, spec.StartTs); err != nil {
		return info, err
	}
	record := changefeedRecord{Spec: spec, State: StateNormal, CreateTime: time.Now(), CreatorVersion: o.cfg.Version}
	// A checkpoint that an unfinished removal has left is not the new changefeed's.
	if err := o.store.Delete(ctx, spec.ID); err != nil {
		return info, err
	}
	if err := o.store.PutRecord(ctx, &record); err != nil {
		return info, err
	}
	f := newFeed(o, record, 0)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.feeds[spec.ID] = f
	if o.mu.start != nil { // else the next owner finds it in the store
		o.mu.start(f)
	}
	f.log.Info("changefeed created", "start_ts", uint64(spec.StartTs), "sink_uri", sink.Redact(spec.SinkURI))
	return f.info(), nil
}

func (o *owner) reserve(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.feeds[id] != nil || o.mu.creating[id] {
		return fmt.Errorf("%w: %s", ErrChangefeedExists, id)
	}
	o.mu.creating[id] = true
	return nil
}

func (o *owner) unreserve(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.mu.creating, id)
}

// chooseStart settles the start ts and makes PD keep what follows it.
func (o *owner) chooseStart(ctx context.Context, spec *Spec) error {
	now, err := o.source.CurrentTs(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPDUnreachable, err)
	}
	if spec.StartTs > now {
		return fmt.Errorf("%w: start ts %d (%s), the cluster is at %d (%s)", ErrStartTsInFuture,
			spec.StartTs, spec.StartTs.Time().Format(time.DateTime), now, now.Time().Format(time.DateTime))
	}
	if spec.StartTs == 0 {
		spec.StartTs = now
	}
	err = o.source.HoldSafePoint(ctx, spec.ID, spec.StartTs, creationTTL)
	if isA[*gcError](err) {
		return fmt.Errorf("%w: %w", ErrStartTsBeforeGC, err)
	}
	return err
}

// abandon ends what a create that failed has begun.
func (o *owner) abandon(ctx context.Context, id string) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := o.source.ReleaseSafePoint(ctx, id); err != nil {
		o.log.Warn("service GC safe point of a changefeed that was not created: it ends by itself",
			"changefeed", id, "within", creationTTL, "error", err)
	}
}

func checkTargetTs(spec *Spec) error {
	if spec.TargetTs != 0 && spec.TargetTs <= spec.StartTs {
		return fmt.Errorf("%w: target ts %d, start ts %d", ErrTargetTsBeforeStartTs, spec.TargetTs, spec.StartTs)
	}
	return nil
}

// checkSettings checks what a create and an update have in common: the sink's URI,
// the settings, the filter, the tables as of ts, the time zone, and that the sink
// can be reached.
func (o *owner) checkSettings(ctx context.Context, spec *Spec, ts event.Ts) error {
	if o.cfg.Openers[spec.scheme()] == nil {
		// Without an Opener this connects to nothing: it says what is wrong.
		_, closer, err := o.cfg.Openers.Open(ctx, spec.SinkURI, sink.Config{})
		if err != nil {
			return err
		}
		return errors.Join(fmt.Errorf("%w: unknown scheme", sink.ErrInvalidURI), closer.Close())
	}
	if err := spec.validateSettings(); err != nil {
		return err
	}
	if spec.WholeTransactions && o.cfg.Etcd != nil {
		return fmt.Errorf("%w: whole-transactions is for a capture that writes all tables by itself: "+
			"run the changefeed in a daemon with --standalone, or leave the option out", ErrInvalidSpec)
	}
	zone, zoneErr := spec.zone(o.cfg.TimeZone)
	if zoneErr != nil {
		zone = o.cfg.TimeZone
	}
	compiled := *spec
	compiled.TimeZone = "" // its mistakes come later
	f, err := compiled.filter(zone)
	if err != nil {
		return err
	}
	tables, ineligible, err := o.source.CheckTables(ctx, f, ts)
	if err != nil {
		return err
	}
	if len(ineligible) > 0 && !spec.ForceReplicate && !spec.IgnoreIneligibleTables {
		return &IneligibleTablesError{Tables: ineligible}
	}
	if zoneErr != nil {
		return zoneErr
	}
	s, closer, err := o.cfg.openSink(ctx, spec)
	if err != nil {
		return err
	}
	fits := checkTables(s, tables, spec.ForceReplicate)
	if err := closer.Close(); err != nil {
		o.log.Warn("sink not closed properly after a try", "changefeed", spec.ID, "error", err)
	}
	if fits != nil {
		return fits
	}
	if spec.WholeTransactions && !isTransactionWriter(s) {
		return fmt.Errorf("%w: whole-transactions: this sink cannot keep transactions whole, take another or leave the option out", ErrInvalidSpec)
	}
	return nil
}

// checkTables asks a sink whether it can take the tables that are replicated.
func checkTables(s sink.Sink, tables []*event.TableInfo, keyless bool) error {
	checker, ok := s.(sink.TableChecker)
	if !ok {
		return nil
	}
	for _, t := range tables {
		if !t.HasHandleKey() && !keyless {
			continue
		}
		if err := checker.CheckTable(t); err != nil {
			return err
		}
	}
	return nil
}

// runningError is err as it is kept and shown.
func (c *CaptureConfig) runningError(err error) *RunningError {
	re := &RunningError{Time: time.Now(), Addr: c.Address, Code: c.ErrorCode(err), Message: err.Error()}
	if remote := (*cluster.TaskError)(nil); errors.As(err, &remote) {
		re.Time, re.Addr, re.Code = remote.Time, remote.Address, remote.Code
	}
	return re
}
