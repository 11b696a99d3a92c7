package cdc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tikv/client-go/v2/config"
	"github.com/tikv/client-go/v2/oracle"
	"github.com/tikv/client-go/v2/tikv"
	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/opt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/sharing"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// UpstreamConfig says how to reach a TiDB cluster.
type UpstreamConfig struct {
	// PD are the client addresses of PD, host:port or URL; one that answers is enough.
	PD []string
	// CA, Cert and Key are PEM files for TLS to PD and TiKV: the authority that
	// signed the cluster's certificates, and this client's own. All three or none.
	CA, Cert, Key string
	// ClusterID, unless 0, must be the id of the cluster that answers.
	ClusterID uint64
	// DialTimeout bounds Dial. Defaults to 10 s.
	DialTimeout time.Duration
	// TxnMemory bounds the memory for rows of transactions that have not ended, which
	// changefeeds share; the rest is in SpillDir until they end. Defaults to 32 MiB.
	TxnMemory int64
	// SpillDir is where rows beyond TxnMemory go, in a directory that Close removes.
	// Nothing is written, and it need not exist, before. Defaults to os.TempDir().
	SpillDir string
	// Logger gets the library's messages. Defaults to slog.Default(). The TiKV
	// client beneath logs through a logger that the whole process shares; Dial
	// points it here, so that the last Upstream dialled has it.
	Logger *slog.Logger
}

// Upstream is a TiDB cluster. Changefeeds share one: its connections to TiKV, and
// what they read of the same tables, which is read once.
type Upstream struct {
	store  *tikv.KVStore
	pd     pd.Client
	puller *puller.Client
	source *sharing.Source // of the puller
	log    *slog.Logger
	id     uint64

	received  atomic.Int64
	safePoint atomic.Uint64

	cancel context.CancelFunc
	pulled chan error // the result of puller.Run, once
}

// UpstreamStatus is a picture of an Upstream.
type UpstreamStatus struct {
	// Received are the rows that stores have sent, once for all changefeeds that
	// share them.
	Received int64
	// ServiceSafePoint is the least service GC safe point of the whole cluster as PD
	// said when one of this process was last set; 0 before.
	ServiceSafePoint event.Ts
}

// Status may be called from any goroutine at any time.
func (u *Upstream) Status() UpstreamStatus {
	return UpstreamStatus{Received: u.received.Load(), ServiceSafePoint: event.Ts(u.safePoint.Load())}
}

// countingReceiver counts the rows that pass.
type countingReceiver struct {
	puller.Receiver
	rows *atomic.Int64
}

// Receive implements puller.Receiver.
func (r countingReceiver) Receive(kvs []rawkv.Entry) {
	r.rows.Add(int64(len(kvs)))
	r.Receiver.Receive(kvs)
}

// Dial connects to a cluster. It fails with ErrPDUnreachable if no PD answers in
// time, and with ErrClusterIDMismatch if another cluster answers. Close the
// Upstream after the changefeeds that use it have returned.
func Dial(ctx context.Context, cfg UpstreamConfig) (*Upstream, error) {
	if len(cfg.PD) == 0 {
		return nil, errors.New("dial upstream: UpstreamConfig.PD is empty: give PD's client address, such as 127.0.0.1:2379")
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, fmt.Errorf("dial upstream: %w", err)
	}
	redirectClientLog(cfg.Logger)

	// The clients keep the context they are made with for their whole life, so
	// it is cancelled by Close, or here if they cannot be made in time.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	dialCtx, done := context.WithTimeout(ctx, cfg.DialTimeout)
	defer done()
	stop := context.AfterFunc(dialCtx, cancel)
	u := &Upstream{log: cfg.Logger, cancel: cancel, pulled: make(chan error, 1)}
	err = u.connect(life, dialCtx, cfg, tlsConfig)
	if !stop() && err == nil {
		err = fmt.Errorf("%w within %v", ErrPDUnreachable, cfg.DialTimeout)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, errors.Join(fmt.Errorf("dial upstream %v: %w", cfg.PD, err), u.disconnect())
	}
	u.puller = puller.New(puller.Config{
		Store: u.store, PD: u.pd, ClusterID: u.id, TLS: tlsConfig, Logger: cfg.Logger,
		TxnMemory: cfg.TxnMemory, Spill: spill.Config{Dir: cfg.SpillDir, Name: fmt.Sprintf("transactions-%d", u.id)},
	})
	u.source = sharing.New(func(span event.Span, startTs event.Ts, out puller.Receiver) sharing.Subscription {
		return u.puller.Subscribe(span, startTs, countingReceiver{out, &u.received})
	})
	go func() { u.pulled <- u.puller.Run(life) }()
	return u, nil
}

// newPDClient tries until ctx ends: the client itself gives up after a few
// seconds, which the election of a PD leader may exceed.
func newPDClient(life, ctx context.Context, cfg *UpstreamConfig) (pd.Client, error) {
	const pause = 200 * time.Millisecond
	for {
		client, err := pd.NewClientWithContext(life, cfg.PD,
			pd.SecurityOption{CAPath: cfg.CA, CertPath: cfg.Cert, KeyPath: cfg.Key},
			opt.WithInitMetricsOption(false), opt.WithMaxErrorRetry(3))
		if err == nil {
			return client, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrPDUnreachable, err)
		case <-time.After(pause):
		}
	}
}

// connect makes the clients of PD and TiKV, which live as long as life; ctx bounds
// the wait for PD.
func (u *Upstream) connect(life, ctx context.Context, cfg UpstreamConfig, tlsConfig *tls.Config) error {
	client, err := newPDClient(life, ctx, &cfg)
	if err != nil {
		return err
	}
	codec := tikv.NewCodecPDClient(tikv.ModeTxn, client)
	u.pd = codec
	u.id = client.GetClusterID(life)
	if cfg.ClusterID != 0 && cfg.ClusterID != u.id {
		return fmt.Errorf("%w: want cluster %d, PD answers for %d: check the address", ErrClusterIDMismatch, cfg.ClusterID, u.id)
	}
	safePoints, err := tikv.NewEtcdSafePointKV(cfg.PD, tlsConfig)
	if err != nil {
		return fmt.Errorf("connect to PD's etcd: %w", err)
	}
	rpc := tikv.NewRPCClient(tikv.WithSecurity(cfg.security()), tikv.WithCodec(codec.GetCodec()))
	u.store, err = tikv.NewKVStore(fmt.Sprintf("tidbcdc-%d", u.id), codec, safePoints, rpc)
	if err != nil {
		return errors.Join(fmt.Errorf("open TiKV client: %w", err), safePoints.Close(), rpc.Close())
	}
	return nil
}

func (c *UpstreamConfig) security() config.Security {
	return config.NewSecurity(c.CA, c.Cert, c.Key, nil)
}

func (c *UpstreamConfig) tls() (*tls.Config, error) {
	given := 0
	for _, f := range []string{c.CA, c.Cert, c.Key} {
		if f != "" {
			given++
		}
	}
	switch given {
	case 0:
		return nil, nil
	case 3:
		security := c.security()
		cfg, err := security.ToTLSConfig()
		if err != nil {
			return nil, fmt.Errorf("load TLS files (CA %s, Cert %s, Key %s): %w", c.CA, c.Cert, c.Key, err)
		}
		return cfg, nil
	}
	return nil, fmt.Errorf("set all of CA, Cert and Key, or none: got CA %q, Cert %q, Key %q", c.CA, c.Cert, c.Key)
}

// ClusterID returns the id of the cluster.
func (u *Upstream) ClusterID() uint64 { return u.id }

// CurrentTs asks PD for a timestamp.
func (u *Upstream) CurrentTs(ctx context.Context) (event.Ts, error) {
	physical, logical, err := u.pd.GetTS(ctx)
	if err != nil {
		return 0, fmt.Errorf("get timestamp from PD: %w", err)
	}
	return event.Ts(oracle.ComposeTS(physical, logical)), nil
}

// Close disconnects. Changefeeds that still run fail.
func (u *Upstream) Close() error {
	u.cancel()
	err := <-u.pulled
	u.pulled <- nil // for a second Close
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, u.disconnect())
}

func (u *Upstream) disconnect() error {
	u.cancel()
	var err error
	if u.store != nil {
		err = u.store.Close() // closes the PD client too
		u.store = nil
	} else if u.pd != nil {
		u.pd.Close()
	}
	u.pd = nil
	return err
}
