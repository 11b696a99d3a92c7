package cdc

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// safePointInterval is how often a service GC safe point is renewed.
const safePointInterval = time.Minute

// safePoint is a changefeed's service GC safe point in PD: while it lives, TiKV
// keeps the versions that an incremental scan from the checkpoint needs.
type safePoint struct {
	upstream *Upstream
	service  string
	ttl      time.Duration
	interval time.Duration // 0 means safePointInterval
}

// hold sets the safe point so that changes above ts stay readable. PD answers
// with the least safe point of all services and silently ignores a lower one,
// so a greater answer means that they may be gone.
func (s *safePoint) hold(ctx context.Context, ts event.Ts) error {
	want := uint64(ts - 1)
	least, err := s.upstream.pd.UpdateServiceGCSafePoint(ctx, s.service, int64(s.ttl.Seconds()), want)
	if err != nil {
		return fmt.Errorf("set service GC safe point in PD: %w", err)
	}
	s.upstream.safePoint.Store(least)
	if least > want {
		return &gcError{ts: ts, safePoint: event.Ts(least)}
	}
	return nil
}

// begin is hold for a run that starts at ts: afresh, or from a stored checkpoint. What
// GC has taken from the latter is lost, which is another matter than a start ts that
// can still be chosen.
func (s *safePoint) begin(ctx context.Context, ts event.Ts, fresh bool) error {
	err := s.hold(ctx, ts)
	switch {
	case !isA[*gcError](err):
		return err
	case fresh:
		return fmt.Errorf("%w: %w: start from a later ts, or keep changes for longer (tidb_gc_life_time)", ErrStartTsBeforeGC, err)
	}
	return snapshotLost(err)
}

func snapshotLost(err error) error {
	return fmt.Errorf("%w: %w: changes may be missing, so start a new changefeed from a later ts", ErrSnapshotLostByGC, err)
}

// keep renews the safe point at the stored checkpoint until ctx ends (its cause) or
// changes may be missing.
func (s *safePoint) keep(ctx context.Context, logger *slog.Logger, saved func() event.Ts) error {
	tick := time.NewTicker(cmp.Or(s.interval, safePointInterval))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		err := s.hold(ctx, saved())
		if isA[*gcError](err) {
			return snapshotLost(err)
		}
		if err != nil {
			logger.Warn("service GC safe point not renewed, will retry", "error", err)
		}
	}
}

// release removes the safe point, for a changefeed that is finished.
func (s *safePoint) release(ctx context.Context) error {
	if _, err := s.upstream.pd.UpdateServiceGCSafePoint(ctx, s.service, 0, 0); err != nil {
		return fmt.Errorf("remove service GC safe point from PD: %w", err)
	}
	return nil
}

// gcError tells that versions above ts may have been collected.
type gcError struct{ ts, safePoint event.Ts }

func (e *gcError) Error() string {
	return fmt.Sprintf("GC safe point %d (%s) is past %d (%s)",
		e.safePoint, e.safePoint.Time().Format(time.DateTime), e.ts, e.ts.Time().Format(time.DateTime))
}
