package puller

import (
	"crypto/tls"
	"log/slog"
	"os"
	"time"

	"github.com/tikv/client-go/v2/tikv"
	pd "github.com/tikv/pd/client"

	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// Config says which cluster a [Client] pulls from, and how patiently.
type Config struct {
	// Store gives the region cache and the lock resolver. Required; the caller
	// owns it and closes it after Run has returned. It must be of the kind that
	// txnkv.NewClient opens: the region cache then speaks raw keys.
	Store *tikv.KVStore
	// PD answers for timestamps and for the versions of stores. Nil means Store's.
	PD pd.Client
	// ClusterID is sent with every request, so that a store of another cluster
	// refuses it. Zero means PD's answer.
	ClusterID uint64
	// TLS is used for connections to stores. Nil means plain text.
	TLS *tls.Config
	// Logger gets failures, at a bounded rate; those that are part of a region's life
	// at debug level, unless they persist. Nil discards them.
	Logger *slog.Logger

	// TxnMemory bounds what rows of transactions that have not ended hold in memory,
	// of all subscriptions; the rest is on disk until they end. It is exceeded by
	// what comes in one message of each store. Zero means 32 MiB; negative no bound.
	TxnMemory int64
	// Spill says where on disk. Its Name defaults to "transactions".
	Spill spill.Config

	// Workers is the number of goroutines that load regions and place requests. Zero means 8.
	Workers int
	// LockWorkers is the number of goroutines that resolve locks. Zero means 4.
	LockWorkers int
	// ScanWindow bounds the requests of one stream whose initial scan has not
	// ended; the rest waits in the client, so a store that comes back is not
	// met by all regions at once. Zero means 256.
	ScanWindow int

	// ResolveLockAfter is how long a region's resolved ts must stand still
	// before locks in it are looked for. Zero means 4 s.
	ResolveLockAfter time.Duration
	// ResolveLockInterval is the least time between two searches in one region. Zero means 10 s.
	ResolveLockInterval time.Duration
	// StuckRegionTimeout is how long a region's resolved ts may stand still,
	// with no lock to be found, before the region is subscribed again. Zero means 1 min.
	StuckRegionTimeout time.Duration
	// SilentRegionTimeout is how long an initialised region may receive nothing,
	// not even the heartbeat that a resolved ts is, before it is subscribed
	// again. Zero means 1 min.
	SilentRegionTimeout time.Duration
	// DeregisterTimeout is how long a store may take to confirm that a region is
	// deregistered before the stream is given up instead. Zero means 10 s.
	DeregisterTimeout time.Duration
	// ReconnectDelay passes between the end of a stream and the next one to the same store. Zero means 1 s.
	ReconnectDelay time.Duration
	// IdleStreamTimeout closes a stream that has served no region for so long. Zero means 1 min.
	IdleStreamTimeout time.Duration
	// RetryBase and RetryMax bound the delay before a key range is tried again:
	// RetryBase·2ⁿ after n quick failures, at most RetryMax, less up to a half by
	// chance. Zero means 50 ms and 2 s.
	RetryBase, RetryMax time.Duration
}

// withDefaults replaces zero values.
func (cfg Config) withDefaults() Config {
	if cfg.PD == nil && cfg.Store != nil {
		cfg.PD = cfg.Store.GetPDClient()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.TxnMemory == 0 {
		cfg.TxnMemory = 32 << 20
	}
	if cfg.Spill.Dir == "" {
		cfg.Spill.Dir = os.TempDir()
	}
	if cfg.Spill.Name == "" {
		cfg.Spill.Name = "transactions"
	}
	setDefault(&cfg.Workers, 8)
	setDefault(&cfg.LockWorkers, 4)
	setDefault(&cfg.ScanWindow, 256)
	setDefault(&cfg.ResolveLockAfter, 4*time.Second)
	setDefault(&cfg.ResolveLockInterval, 10*time.Second)
	setDefault(&cfg.StuckRegionTimeout, time.Minute)
	setDefault(&cfg.SilentRegionTimeout, time.Minute)
	setDefault(&cfg.DeregisterTimeout, 10*time.Second)
	setDefault(&cfg.ReconnectDelay, time.Second)
	setDefault(&cfg.IdleStreamTimeout, time.Minute)
	setDefault(&cfg.RetryBase, 50*time.Millisecond)
	setDefault(&cfg.RetryMax, 2*time.Second)
	return cfg
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}
