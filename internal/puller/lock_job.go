package puller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/tikvrpc"
	"github.com/tikv/client-go/v2/txnkv/txnlock"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// lockJob is a region whose resolved ts stands still, perhaps because a client
// died and left a lock.
type lockJob struct {
	region     *region
	resolvedTs event.Ts
}

const (
	// lockScanLimit is how many locks a store is asked for at once.
	lockScanLimit = 1024
	// lockPatience is how long, in milliseconds, one batch of locks may be retried.
	lockPatience = 10000
)

// queueLockJobs hands stuck regions of a span to the lock workers. A full queue
// is not waited for, because the caller receives from a stream.
func (c *Client) queueLockJobs(sub *Subscription, now time.Duration) {
	free := cap(c.locks) - len(c.locks)
	if free == 0 {
		return
	}
	for _, job := range sub.ranges.stuck(now, c.cfg.ResolveLockAfter, c.cfg.ResolveLockInterval, free) {
		select {
		case c.locks <- job:
			sub.ranges.lockTried(job.region, now)
		default:
			return
		}
	}
}

// resolveLocks handles lock jobs until ctx ends.
func (c *Client) resolveLocks(ctx context.Context) {
	for {
		select {
		case job := <-c.locks:
			if err := c.handleLockJob(ctx, job); err != nil && ctx.Err() == nil {
				c.log.warn("resolve locks", slog.Uint64("region", job.region.id()),
					slog.String("span", job.region.sub.span.String()), slog.Any("error", err))
			}
		case <-ctx.Done():
			return
		}
	}
}

// handleLockJob resolves the locks that hold a region back.
func (c *Client) handleLockJob(ctx context.Context, job lockJob) error {
	if job.region.sub.stopped() {
		return nil
	}
	physical, logical, err := c.cfg.PD.GetTS(ctx)
	if err != nil {
		return fmt.Errorf("get timestamp from PD: %w", err)
	}
	now := event.NewTs(time.UnixMilli(physical)) + event.Ts(logical)
	if now < job.resolvedTs.Add(c.cfg.ResolveLockAfter) {
		return nil // it is the clock here that is ahead
	}
	// ScanLock makes a store believe that max_version has been read, so
	// transactions commit above it. It must therefore not lie in the future of PD.
	target := min(now, job.resolvedTs.Add(c.cfg.ResolveLockAfter))
	found, err := c.resolveRegionLocks(ctx, job.region.id(), uint64(target))
	if err != nil {
		return fmt.Errorf("resolve locks up to %s: %w", target, err)
	}
	if found > 0 {
		return nil
	}
	// Nothing to resolve, yet the store sees a lock: it has missed its end, as
	// happens with an unprotected rollback that overlaps another write.
	if r := job.region; r.sub.ranges.noLocks(r, c.now(), c.cfg.StuckRegionTimeout) {
		r.stream.stop(r, &regionError{
			kind: kindStuck,
			err:  fmt.Errorf("resolved ts stands at %s without a lock", job.resolvedTs),
		})
	}
	return nil
}

// resolveRegionLocks ends the transactions of a region whose locks are of target
// or before and have expired. It returns the number of locks it saw, alive or not.
func (c *Client) resolveRegionLocks(ctx context.Context, id, target uint64) (found int, err error) {
	var from []byte
	for first := true; ; first = false {
		bo := tikv.NewBackofferWithVars(ctx, lockPatience, nil)
		loc, err := c.cfg.Store.GetRegionCache().LocateRegionByID(bo, id)
		if err != nil {
			return found, fmt.Errorf("locate region %d: %w", id, err)
		}
		if first || bytes.Compare(from, loc.StartKey) < 0 {
			from = loc.StartKey
		}
		if before(loc.EndKey, from) {
			return found, nil
		}
		locks, last, err := c.scanLocks(bo, loc, from, target)
		if err != nil {
			return found, err
		}
		found += len(locks)
		if err := c.resolveTxns(bo, locks); err != nil {
			return found, err
		}
		if last == nil {
			return found, nil
		}
		from = append(bytes.Clone(last), 0)
	}
}

// resolveTxns ends the transactions of locks, except live ones, whose time is not
// waited for. The resolver asks for the status of a transaction anew for each lock
// as long as it lives, so a million locks of one transaction are asked about by one.
func (c *Client) resolveTxns(bo *tikv.Backoffer, locks []*txnlock.Lock) error {
	byTxn := make(map[uint64][]*txnlock.Lock)
	for _, l := range locks {
		byTxn[l.TxnID] = append(byTxn[l.TxnID], l)
	}
	resolver := c.cfg.Store.GetLockResolver()
	for _, locks := range byTxn {
		msToLive, err := resolver.ResolveLocks(bo, 0, locks[:1])
		if err != nil {
			return err
		}
		if msToLive > 0 || len(locks) == 1 {
			continue
		}
		if _, err := resolver.ResolveLocks(bo, 0, locks[1:]); err != nil {
			return err
		}
	}
	return nil
}

// scanLocks reads the locks of a region from a key on. The key of the last one is
// returned if there may be more behind it.
func (c *Client) scanLocks(bo *tikv.Backoffer, loc *tikv.KeyLocation, from []byte, target uint64) (locks []*txnlock.Lock, last []byte, err error) {
	for {
		req := tikvrpc.NewRequest(tikvrpc.CmdScanLock, &kvrpcpb.ScanLockRequest{
			MaxVersion: target, Limit: lockScanLimit,
			// Without the end, locks of other regions would be resolved as this one's.
			StartKey: from, EndKey: loc.EndKey,
		})
		resp, err := c.cfg.Store.SendReq(bo, req, loc.Region, tikv.ReadTimeoutMedium)
		if err != nil {
			return nil, nil, fmt.Errorf("scan locks: %w", err)
		}
		regionErr, err := resp.GetRegionError()
		if err != nil {
			return nil, nil, fmt.Errorf("scan locks: %w", err)
		}
		if regionErr != nil {
			// The region has changed, or is out of order for now. The former ends
			// the subscription of the region, and the latter comes again.
			return nil, nil, fmt.Errorf("scan locks: %s", regionErr)
		}
		body, ok := resp.Resp.(*kvrpcpb.ScanLockResponse)
		if !ok || body == nil {
			return nil, nil, errors.New("scan locks: response without a body")
		}
		if keyErr := body.GetError(); keyErr != nil {
			// An async-commit prewrite is in progress, in memory. It will be over soon.
			if keyErr.GetLocked() == nil {
				return nil, nil, fmt.Errorf("scan locks: %s", keyErr)
			}
			if err := bo.Backoff(tikv.BoTxnLock(), fmt.Errorf("scan locks: %s", keyErr)); err != nil {
				return nil, nil, err
			}
			continue
		}
		infos := body.GetLocks()
		for _, info := range infos {
			locks = appendLocks(locks, info)
		}
		if len(infos) >= lockScanLimit {
			last = infos[len(infos)-1].GetKey()
		}
		return locks, last, nil
	}
}

// appendLocks adds a lock or, of a shared one, those of its members.
func appendLocks(locks []*txnlock.Lock, info *kvrpcpb.LockInfo) []*txnlock.Lock {
	if members := info.GetSharedLockInfos(); len(members) > 0 {
		for _, m := range members {
			locks = append(locks, txnlock.NewLock(m))
		}
		return locks
	}
	return append(locks, txnlock.NewLock(info))
}
