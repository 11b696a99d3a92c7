package cdc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/cluster"
)

// DialEtcd returns a client of the etcd in PD, for CaptureConfig.Etcd. It does not
// wait for a connection. The caller closes it.
func DialEtcd(cfg UpstreamConfig) (*clientv3.Client, error) {
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, fmt.Errorf("dial etcd: %w", err)
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 10 * time.Second
	}
	logger := zap.NewNop()
	if cfg.Logger != nil {
		logger = zap.New(slogCore{cfg.Logger.With("component", "etcd-client").Handler()})
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: cfg.PD, TLS: tlsConfig, DialTimeout: cfg.DialTimeout,
		// A server that has gone without a word is noticed well within a lease.
		DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
		Logger: logger,
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd: %w", err)
	}
	return client, nil
}

// runInCluster runs the capture as one of a cluster until ctx ends.
func (c *Capture) runInCluster(ctx context.Context) error {
	source := &upstreamSource{c.cfg.Upstream, c.cfg.ClusterID, c.cfg.Logger}
	var node *cluster.Node
	node = cluster.NewNode(cluster.Config{
		Client: c.cfg.Etcd, Prefix: "/tidbcdc/" + c.cfg.ClusterID,
		ID: c.cfg.ID, Address: c.cfg.Address, Version: c.cfg.Version, TTL: c.cfg.SessionTTL,
		Open: c.openProcessor,
		Lead: func(ctx context.Context, l *cluster.Leadership) error {
			return c.leadCluster(ctx, node, l, source)
		},
		Classify: func(err error) (code string, permanent bool) { return c.cfg.ErrorCode(err), !isRetryable(err) },
		Logger:   c.cfg.Logger,
	})
	c.setNode(node)
	defer c.setNode(nil)
	return node.Run(ctx)
}

// leadCluster is what the capture does while it is the owner.
func (c *Capture) leadCluster(ctx context.Context, node *cluster.Node, l *cluster.Leadership, source *upstreamSource) error {
	store := clusterStore{l.Store()}
	records, err := store.Records(ctx)
	if err != nil {
		return err
	}
	running := map[string]bool{}
	for _, r := range records {
		running[r.Spec.ID] = wantsToRun(r.State) || r.State == StatePending
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := l.StopTasks(ctx, func(id string) bool { return running[id] }, c.cfg.Logger)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("stop changefeeds that are not to run: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		return c.lead(ctx, &owner{
			cfg: &c.cfg, log: c.cfg.Logger, store: store, source: source,
			launcher:   &clusterLauncher{cfg: &c.cfg, node: node, lead: l, service: source.safePointService},
			scheduling: clusterScheduling{node, l, c.cfg.ClusterID},
		})
	})
	return group.Wait()
}

func (c *Capture) setNode(n *cluster.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.node = n
}

// node returns the capture's part in a cluster, nil if there is none.
func (c *Capture) node() *cluster.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.node
}

func (c *Capture) liveness() Liveness {
	if node := c.node(); node != nil {
		for _, other := range node.Captures() {
			if other.ID == c.cfg.ID && other.Draining {
				return Stopping
			}
		}
	}
	return Alive
}

func clusterHealth(node *cluster.Node) error {
	if err := node.Joined(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnhealthy, err)
	}
	if _, err := node.Owner(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnhealthy, err)
	}
	return nil
}

func (c *Capture) clusterOwner(node *cluster.Node) (CaptureInfo, error) {
	o, err := node.Owner()
	if err != nil {
		return CaptureInfo{}, fmt.Errorf("%w: nobody is elected at the moment", ErrNotOwner)
	}
	if o.ID == c.cfg.ID {
		if _, err := c.owned(); err != nil {
			return CaptureInfo{}, fmt.Errorf("%w: it has just become the owner, or is to be no longer", ErrNotReady)
		}
	}
	return captureInfo(o, c.cfg.ClusterID), nil
}

func captureInfo(c cluster.Capture, clusterID string) CaptureInfo {
	return CaptureInfo{ID: c.ID, Address: c.Address, IsOwner: c.IsOwner, ClusterID: clusterID, Version: c.Version}
}

// clusterStore is a changefeedStore in etcd.
type clusterStore struct{ store *cluster.Store }

// asOwnerError says so in this package's words if a write was refused because
// another capture is the owner.
func asOwnerError(err error) error {
	if errors.Is(err, cluster.ErrNotOwner) {
		return fmt.Errorf("%w: %w", ErrNotOwner, err)
	}
	return err
}

func (s clusterStore) Records(ctx context.Context) ([]changefeedRecord, error) {
	records, err := s.store.Records(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]changefeedRecord, 0, len(records))
	for id, data := range records {
		var r changefeedRecord
		if err := json.Unmarshal(data, &r); err != nil {
			return nil, fmt.Errorf("load changefeed %s: %w", id, err)
		}
		if r.Spec.ID != id || ValidateID(id) != nil {
			return nil, fmt.Errorf("load changefeed %s: etcd has changefeed %q under its key", id, r.Spec.ID)
		}
		out = append(out, r)
	}
	return out, nil
}

func (s clusterStore) PutRecord(ctx context.Context, r *changefeedRecord) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode changefeed %s: %w", r.Spec.ID, err)
	}
	return asOwnerError(s.store.PutRecord(ctx, r.Spec.ID, data))
}

func (s clusterStore) Delete(ctx context.Context, id string) error {
	return asOwnerError(s.store.Delete(ctx, id))
}

func (s clusterStore) Load(ctx context.Context, changefeed string) (event.Ts, error) {
	return s.store.Load(ctx, changefeed)
}

func (s clusterStore) Save(ctx context.Context, changefeed string, ts event.Ts) error {
	return asOwnerError(s.store.Save(ctx, changefeed, ts))
}

// clusterScheduling is that of an owner.
type clusterScheduling struct {
	node      *cluster.Node
	lead      *cluster.Leadership
	clusterID string
}

func (s clusterScheduling) Captures(context.Context) ([]CaptureInfo, error) {
	return capturesOf(s.node, s.clusterID), nil
}

func capturesOf(node *cluster.Node, clusterID string) []CaptureInfo {
	captures := node.Captures()
	out := make([]CaptureInfo, len(captures))
	for i, c := range captures {
		out[i] = captureInfo(c, clusterID)
	}
	return out
}

func (s clusterScheduling) MoveTable(_ context.Context, changefeed string, table int64, capture string) error {
	s.lead.MoveTable(changefeed, table, capture)
	return nil
}

func (s clusterScheduling) RebalanceTables(_ context.Context, changefeed string) error {
	s.lead.Rebalance(changefeed)
	return nil
}

func (s clusterScheduling) DrainCapture(ctx context.Context, capture string) (int, error) {
	n, err := s.lead.Drain(ctx, capture)
	switch {
	case errors.Is(err, cluster.ErrCaptureNotFound):
		return 0, fmt.Errorf("%w: %s", ErrCaptureNotFound, capture)
	case errors.Is(err, cluster.ErrDrainRefused):
		return 0, fmt.Errorf("%w: %w", ErrScheduling, err)
	}
	return n, asOwnerError(err)
}

func (s clusterScheduling) ResignOwner(context.Context) error {
	s.lead.Resign()
	return nil
}
