package cdc

import (
	"context"
	"fmt"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// keepSafePoints holds back GC for changefeeds that do not run, until ctx ends. Those
// that run do so themselves.
func (o *owner) keepSafePoints(ctx context.Context) {
	tick := time.NewTicker(safePointInterval)
	defer tick.Stop()
	for {
		o.renewSafePoints(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (o *owner) renewSafePoints(ctx context.Context) {
	var now event.Ts // asked for when the first changefeed needs it
	for _, f := range o.feeds() {
		f.mu.Lock()
		state, released, gone := f.mu.record.State, f.mu.record.Released, f.mu.released
		f.mu.Unlock()
		var err error
		switch {
		case wantsToRun(state) || gone:
			continue
		case released:
			err = f.releaseSafePoint(ctx)
		default:
			if now == 0 {
				now, err = o.source.CurrentTs(ctx)
			}
			if err == nil {
				err = f.renewSafePoint(ctx, now)
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.log.Warn("service GC safe point not renewed, will retry", "error", err)
		}
	}
}

// renewSafePoint holds back GC for what is left of gc-ttl since the checkpoint.
func (f *feed) renewSafePoint(ctx context.Context, now event.Ts) error {
	checkpoint, ttl := f.checkpoint(), f.owner.cfg.GCTTL
	left := ttl - now.Time().Sub(checkpoint.Time())
	if left <= 0 {
		f.giveUp(ctx, fmt.Errorf("%w (%v): the checkpoint is %d (%s)", ErrGCTTLExceeded, ttl, checkpoint, checkpoint.Time().Format(time.DateTime)))
		return f.releaseSafePoint(ctx)
	}
	err := f.owner.source.HoldSafePoint(ctx, f.id, checkpoint, max(left, 2*safePointInterval))
	if isA[*gcError](err) {
		f.giveUp(ctx, fmt.Errorf("%w: %w", ErrSnapshotLostByGC, err))
		return nil
	}
	return err
}

// giveUp notes that the changes of a changefeed that does not run are no longer
// kept. An error that it failed with before says more than that.
func (f *feed) giveUp(ctx context.Context, err error) {
	f.transition(ctx, func(r *changefeedRecord) error {
		if wantsToRun(r.State) {
			return errInterrupted
		}
		r.Released = true
		if r.State != StateFailed {
			r.State = StateFailed
			r.setError(f.owner.cfg.runningError(err))
		}
		f.log.Error("changes are no longer kept for the changefeed", "error", err)
		return nil
	})
}

// releaseSafePoint lets PD forget about a changefeed. Nobody can resume it meanwhile,
// so that no run loses the safe point that it has just set.
func (f *feed) releaseSafePoint(ctx context.Context) error {
	if err := f.acquire(ctx); err != nil {
		return nil //nolint:nilerror // it is being removed, which releases it, or ctx has ended
	}
	defer f.release()
	if r := f.record(); !r.Released || wantsToRun(r.State) {
		return nil
	}
	if err := f.owner.source.ReleaseSafePoint(ctx, f.id); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.released = true
	return nil
}
