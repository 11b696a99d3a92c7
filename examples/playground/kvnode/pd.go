package kvnode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	uspd "github.com/pingcap/tidb/pkg/store/mockstore/unistore/pd"
	pd "github.com/tikv/pd/client"
)

// gcWorkerService is the service id under which TiDB's GC worker holds its safe
// point.
const gcWorkerService = "gc_worker"

// pdClient is what the stores know of PD: the public client for what it offers
// (a batching TSO above all) and PD's gRPC service for what only stores call.
type pdClient struct {
	cli       pd.Client
	clusterID uint64
}

// dialPD connects to PD until close, whatever becomes of ctx: the client keeps the
// context it is made with.
func dialPD(ctx context.Context, addr string, security pd.SecurityOption) (*pdClient, error) {
	ctx = context.WithoutCancel(ctx)
	cli, err := pd.NewClientWithContext(ctx, []string{addr}, security)
	if err != nil {
		return nil, fmt.Errorf("dial pd %s: %w", addr, err)
	}
	return &pdClient{cli: cli, clusterID: cli.GetClusterID(ctx)}, nil
}

func (p *pdClient) close() { p.cli.Close() }

func (p *pdClient) rpc() (pdpb.PDClient, error) {
	conn := p.cli.GetServiceDiscovery().GetServingEndpointClientConn()
	if conn == nil {
		return nil, errors.New("pd has no leader")
	}
	return pdpb.NewPDClient(conn), nil
}

func (p *pdClient) header() *pdpb.RequestHeader { return &pdpb.RequestHeader{ClusterId: p.clusterID} }

// call runs one unary RPC and turns an error in the header into a Go error.
func call[T interface{ GetHeader() *pdpb.ResponseHeader }](p *pdClient, what string, f func(pdpb.PDClient) (T, error)) (T, error) {
	var zero T
	cli, err := p.rpc()
	if err != nil {
		return zero, fmt.Errorf("%s: %w", what, err)
	}
	resp, err := f(cli)
	if err != nil {
		return zero, fmt.Errorf("%s: %w", what, err)
	}
	if e := resp.GetHeader().GetError(); e != nil {
		return zero, fmt.Errorf("%s: %v: %s", what, e.GetType(), e.GetMessage())
	}
	return resp, nil
}

func (p *pdClient) timestamp(ctx context.Context) (uint64, error) {
	physical, logical, err := p.cli.GetTS(ctx)
	if err != nil {
		return 0, fmt.Errorf("get timestamp: %w", err)
	}
	return uint64(physical)<<18 + uint64(logical), nil
}

func (p *pdClient) allocID(ctx context.Context) (uint64, error) {
	resp, err := call(p, "allocate id", func(c pdpb.PDClient) (*pdpb.AllocIDResponse, error) {
		return c.AllocID(ctx, &pdpb.AllocIDRequest{Header: p.header()})
	})
	return resp.GetId(), err
}

func (p *pdClient) bootstrap(ctx context.Context, store *metapb.Store, region *metapb.Region) error {
	_, err := call(p, "bootstrap cluster", func(c pdpb.PDClient) (*pdpb.BootstrapResponse, error) {
		return c.Bootstrap(ctx, &pdpb.BootstrapRequest{Header: p.header(), Store: store, Region: region})
	})
	return err
}

func (p *pdClient) putStore(ctx context.Context, store *metapb.Store) error {
	_, err := call(p, "put store", func(c pdpb.PDClient) (*pdpb.PutStoreResponse, error) {
		return c.PutStore(ctx, &pdpb.PutStoreRequest{Header: p.header(), Store: store})
	})
	return err
}

func (p *pdClient) storeHeartbeat(ctx context.Context, stats *pdpb.StoreStats) error {
	_, err := call(p, "send store heartbeat", func(c pdpb.PDClient) (*pdpb.StoreHeartbeatResponse, error) {
		return c.StoreHeartbeat(ctx, &pdpb.StoreHeartbeatRequest{Header: p.header(), Stats: stats})
	})
	return err
}

func (p *pdClient) askBatchSplit(ctx context.Context, region *metapb.Region, n int) ([]*pdpb.SplitID, error) {
	resp, err := call(p, "ask batch split", func(c pdpb.PDClient) (*pdpb.AskBatchSplitResponse, error) {
		return c.AskBatchSplit(ctx, &pdpb.AskBatchSplitRequest{Header: p.header(), Region: region, SplitCount: uint32(n)})
	})
	return resp.GetIds(), err
}

func (p *pdClient) reportBatchSplit(ctx context.Context, regions []*metapb.Region) error {
	_, err := call(p, "report batch split", func(c pdpb.PDClient) (*pdpb.ReportBatchSplitResponse, error) {
		return c.ReportBatchSplit(ctx, &pdpb.ReportBatchSplitRequest{Header: p.header(), Regions: regions})
	})
	return err
}

func (p *pdClient) gcSafePoint(ctx context.Context) (uint64, error) {
	resp, err := call(p, "get gc safe point", func(c pdpb.PDClient) (*pdpb.GetGCSafePointResponse, error) {
		return c.GetGCSafePoint(ctx, &pdpb.GetGCSafePointRequest{Header: p.header()})
	})
	return resp.GetSafePoint(), err
}

// advanceGCSafePoint does what TiDB's GC worker does: it raises its own service
// safe point, takes the minimum over all services, and publishes that. The
// result is the safe point that is now in force.
func (p *pdClient) advanceGCSafePoint(ctx context.Context, ts uint64) (uint64, error) {
	least, err := p.cli.UpdateServiceGCSafePoint(ctx, gcWorkerService, math.MaxInt64, ts)
	if err != nil {
		return 0, fmt.Errorf("update service gc safe point: %w", err)
	}
	now, err := p.cli.UpdateGCSafePoint(ctx, min(ts, least))
	if err != nil {
		return 0, fmt.Errorf("update gc safe point: %w", err)
	}
	return now, nil
}

// enginePD is the pd client that unistore's engine asks for. The engine only
// gets timestamps and the GC safe point; everything else is done by the stores.
type enginePD struct{ pd *pdClient }

var _ uspd.Client = enginePD{}

var errNotForEngine = errors.New("not served to the engine")

// GetTS is asked for with a context that never ends, while snapshot reads wait (see
// engine.awaitCommits): a request that PD's client has lost must not hold up all.
func (e enginePD) GetTS(ctx context.Context) (int64, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return e.pd.cli.GetTS(ctx)
}

func (e enginePD) GetGCSafePoint(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return e.pd.gcSafePoint(ctx)
}

func (e enginePD) GetClusterID(context.Context) uint64 { return e.pd.clusterID }

func (e enginePD) GetStore(ctx context.Context, id uint64) (*metapb.Store, error) {
	return e.pd.cli.GetStore(ctx, id)
}

func (e enginePD) GetRegion(ctx context.Context, key []byte, opts ...pd.GetRegionOption) (*pd.Region, error) {
	return e.pd.cli.GetRegion(ctx, key, opts...)
}

func (e enginePD) GetRegionByID(ctx context.Context, id uint64, opts ...pd.GetRegionOption) (*pd.Region, error) {
	return e.pd.cli.GetRegionByID(ctx, id, opts...)
}

func (enginePD) AllocID(context.Context) (uint64, error) { return 0, errNotForEngine }

func (enginePD) Bootstrap(context.Context, *metapb.Store, *metapb.Region) (*pdpb.BootstrapResponse, error) {
	return nil, errNotForEngine
}

func (enginePD) IsBootstrapped(context.Context) (bool, error) { return true, nil }

func (enginePD) PutStore(context.Context, *metapb.Store) error { return errNotForEngine }

func (enginePD) AskSplit(context.Context, *metapb.Region) (*pdpb.AskSplitResponse, error) {
	return nil, errNotForEngine
}

func (enginePD) AskBatchSplit(context.Context, *metapb.Region, int) (*pdpb.AskBatchSplitResponse, error) {
	return nil, errNotForEngine
}

func (enginePD) ReportBatchSplit(context.Context, []*metapb.Region) error { return errNotForEngine }

func (enginePD) StoreHeartbeat(context.Context, *pdpb.StoreStats) error { return errNotForEngine }

func (enginePD) ReportRegion(*pdpb.RegionHeartbeatRequest) {}

func (enginePD) SetRegionHeartbeatResponseHandler(func(*pdpb.RegionHeartbeatResponse)) {}

func (enginePD) Close() {}
