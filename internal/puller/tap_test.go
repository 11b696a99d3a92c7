package puller_test

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/tikvrpc"
	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/clients/router"
	"github.com/tikv/pd/client/opt"

	"github.com/tidbcdc/tidbcdc/internal/puller"
)

// tapPD is a PD client that counts and can fail.
type tapPD struct {
	pd.Client
	scans    atomic.Int64
	failures atomic.Int64
	behind   time.Duration // of its timestamps
	frozen   atomic.Int64  // if not zero, the only physical time it gives
	times    chan struct{} // if not nil, gets a value per timestamp given
	old      atomic.Bool   // stores have a version that is too old
}

func (p *tapPD) hijack(c pd.Client) pd.Client {
	p.Client = c
	return p
}

// fail makes the next n questions for regions fail.
func (p *tapPD) fail(n int64) { p.failures.Store(n) }

func (p *tapPD) ScanRegions(ctx context.Context, start, end []byte, limit int, opts ...opt.GetRegionOption) ([]*router.Region, error) {
	p.scans.Add(1)
	if p.failures.Add(-1) >= 0 {
		return nil, errTest
	}
	return p.Client.ScanRegions(ctx, start, end, limit, opts...) //nolint:staticcheck // what client-go calls
}

func (p *tapPD) GetTS(ctx context.Context) (int64, int64, error) {
	physical, logical, err := p.Client.GetTS(ctx)
	if f := p.frozen.Load(); f != 0 {
		physical = f
	}
	if p.times != nil {
		select {
		case p.times <- struct{}{}:
		default:
		}
	}
	return physical - p.behind.Milliseconds(), logical, err
}

func (p *tapPD) GetStore(ctx context.Context, id uint64) (*metapb.Store, error) {
	st, err := p.Client.GetStore(ctx, id)
	if err == nil && st != nil {
		old := *st
		st = &old
		st.Version = "8.5.0"
		if p.old.Load() {
			st.Version = "v4.0.16"
		}
	}
	return st, err
}

// tapKV is a client of stores that reports requests about locks.
type tapKV struct {
	tikv.Client
	scans    chan *kvrpcpb.ScanLockRequest
	resolves chan *kvrpcpb.ResolveLockRequest
}

func newTapKV() *tapKV {
	return &tapKV{
		scans:    make(chan *kvrpcpb.ScanLockRequest, 1<<10),
		resolves: make(chan *kvrpcpb.ResolveLockRequest, 1<<10),
	}
}

func (k *tapKV) hijack(c tikv.Client) tikv.Client {
	k.Client = c
	return k
}

func (k *tapKV) SendRequest(ctx context.Context, addr string, req *tikvrpc.Request, timeout time.Duration) (*tikvrpc.Response, error) {
	switch r := req.Req.(type) {
	case *kvrpcpb.ScanLockRequest:
		k.scans <- r
	case *kvrpcpb.ResolveLockRequest:
		k.resolves <- r
	}
	return k.Client.SendRequest(ctx, addr, req, timeout)
}

// heartbeats sends the resolved ts as stores do, every tick, until the region
// is no longer registered.
func (r *request) heartbeats(ts uint64) {
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			r.feed.mu.Lock()
			gone := r.feed.subs[[2]uint64{r.RequestId, r.RegionId}] != r
			r.feed.mu.Unlock()
			if gone {
				return
			}
			r.resolved(ts)
			select {
			case <-tick.C:
			case <-r.feed.raw.Context().Done():
				return
			}
		}
	}()
}

// run runs a client until the test ends.
func (c *cluster) run(client *puller.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				c.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			c.t.Error("Run has not returned")
		}
	})
}
