// Package tidbnode runs a real TiDB server in this process, wired as TiDB's own
// main package does it. TiDB keeps much of its state in globals: there can be one
// node in the life of a process.
package tidbnode

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingcap/tidb/pkg/bindinfo"
	"github.com/pingcap/tidb/pkg/config"
	"github.com/pingcap/tidb/pkg/ddl"
	"github.com/pingcap/tidb/pkg/domain"
	"github.com/pingcap/tidb/pkg/executor"
	"github.com/pingcap/tidb/pkg/executor/mppcoordmanager"
	"github.com/pingcap/tidb/pkg/extension"
	"github.com/pingcap/tidb/pkg/kv"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/resourcemanager"
	"github.com/pingcap/tidb/pkg/server"
	"github.com/pingcap/tidb/pkg/session"
	kvstore "github.com/pingcap/tidb/pkg/store"
	"github.com/pingcap/tidb/pkg/store/copr"
	"github.com/pingcap/tidb/pkg/store/driver"
	"github.com/pingcap/tidb/pkg/util"
	"github.com/pingcap/tidb/pkg/util/logutil"
	"github.com/pingcap/tidb/pkg/util/memory"
	"github.com/pingcap/tidb/pkg/util/metricsutil"
	"github.com/tikv/client-go/v2/tikv"
)

const (
	schemaLease   = 45 * time.Second
	statsLease    = 3 * time.Second
	bindInfoLease = 3 * time.Second
	// slowThreshold in milliseconds keeps the slow log empty.
	slowThreshold = 100000
	// drainTimeout is how long running statements and then their cancellation may
	// take at the end.
	drainTimeout = time.Second
)

// Config describes the node.
type Config struct {
	// Version is what the node reports, without a leading v.
	Version string
	// PDAddr is the host and port of PD.
	PDAddr string
	// Port and StatusPort are ports of 127.0.0.1.
	Port, StatusPort int
	// Dir holds temporary files.
	Dir string
	// LogFile and LogLevel say where and what TiDB logs.
	LogFile, LogLevel string
	// CA, Cert and Key are PEM files for connections within the cluster and for
	// the status port, which they make HTTPS.
	CA, Cert, Key string
}

// Node is a running TiDB server.
type Node struct {
	storage kv.Storage
	dom     *domain.Domain
	svr     *server.Server
	served  chan error // gets the result of the server's Run
	closing sync.Once
}

func (c Config) apply() (*config.Config, error) {
	cfg := config.NewConfig()
	cfg.Store, cfg.Path = "tikv", c.PDAddr
	cfg.Host, cfg.AdvertiseAddress, cfg.Port = "127.0.0.1", "127.0.0.1", uint(c.Port)
	cfg.Status.StatusHost, cfg.Status.StatusPort = "127.0.0.1", uint(c.StatusPort)
	cfg.Status.ReportStatus = true
	cfg.Socket = ""
	cfg.TempDir = c.Dir
	cfg.TempStoragePath = filepath.Join(c.Dir, "tmp-storage")
	cfg.Log.Level = c.LogLevel
	cfg.Log.File.Filename = c.LogFile
	cfg.Log.SlowQueryFile = filepath.Join(c.Dir, "slow.log")
	cfg.Instance.SlowThreshold = slowThreshold
	cfg.TiKVClient.GrpcConnectionCount = 2
	cfg.Security.ClusterSSLCA, cfg.Security.ClusterSSLCert, cfg.Security.ClusterSSLKey = c.CA, c.Cert, c.Key
	if err := os.MkdirAll(cfg.TempStoragePath, 0o755); err != nil {
		return nil, fmt.Errorf("create temporary directory: %w", err)
	}
	config.StoreGlobalConfig(cfg)
	mysql.TiDBReleaseVersion = "v" + c.Version
	mysql.ServerVersion = "8.0.11-TiDB-v" + c.Version
	return cfg, nil
}

// Start runs a server over the cluster of a PD. It accepts connections soon
// after Start returned.
func Start(c Config) (*Node, error) {
	cfg, err := c.apply()
	if err != nil {
		return nil, err
	}
	if err := setup(cfg); err != nil {
		return nil, err
	}
	n := &Node{served: make(chan error, 1)}
	if n.storage, err = kvstore.New("tikv://" + c.PDAddr); err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	copr.GlobalMPPFailedStoreProber.Run()
	mppcoordmanager.InstanceMPPCoordinatorManager.Run()
	if n.dom, err = session.BootstrapSession(n.storage); err != nil {
		return nil, errors.Join(fmt.Errorf("bootstrap tidb: %w", err), n.storage.Close())
	}
	if n.svr, err = server.NewServer(cfg, server.NewTiDBDriver(n.storage)); err != nil {
		n.closeStorage()
		return nil, fmt.Errorf("create tidb server: %w", err)
	}
	n.svr.SetDomain(n.dom)
	n.dom.InfoSyncer().SetSessionManager(n.svr)
	go n.dom.ExpensiveQueryHandle().SetSessionManager(n.svr).Run()
	go n.dom.MemoryUsageAlarmHandle().SetSessionManager(n.svr).Run()
	go n.dom.ServerMemoryLimitHandle().SetSessionManager(n.svr).Run()
	go func() { n.served <- n.svr.Run(n.dom) }()
	return n, nil
}

// setup prepares TiDB's globals.
func setup(cfg *config.Config) error {
	if err := kvstore.Register("tikv", driver.TiKVDriver{}); err != nil {
		return fmt.Errorf("register storage driver: %w", err)
	}
	if err := metricsutil.RegisterMetrics(); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	if err := logutil.InitLogger(cfg.Log.ToLogConfig()); err != nil {
		return fmt.Errorf("set up tidb logger: %w", err)
	}
	util.InternalHTTPClient()
	memory.InitMemoryHook()
	if err := extension.Setup(); err != nil {
		return fmt.Errorf("set up extensions: %w", err)
	}
	session.SetSchemaLease(schemaLease)
	session.SetStatsLease(statsLease)
	bindinfo.Lease = bindInfoLease
	if cfg.SplitTable {
		atomic.StoreUint32(&ddl.EnableSplitTableRegion, 1)
	}
	executor.Start()
	resourcemanager.InstanceResourceManager.Start()
	return nil
}

// SaveGCSafePoint publishes a safe point where TiDB and client-go look for it
// before they read an old version.
func (n *Node) SaveGCSafePoint(ts uint64) error {
	store, ok := n.storage.(tikv.Storage)
	if !ok {
		return fmt.Errorf("storage of type %T has no safe point", n.storage)
	}
	if err := store.GetSafePointKV().Put(tikv.GcSavedSafePoint, strconv.FormatUint(ts, 10)); err != nil {
		return fmt.Errorf("save gc safe point: %w", err)
	}
	return nil
}

// Failed gets the error of a server that stopped by itself.
func (n *Node) Failed() <-chan error { return n.served }

// Close cuts the connections and stops the server. It may be called twice.
func (n *Node) Close() {
	n.closing.Do(func() {
		n.svr.Close()
		n.dom.StopAutoAnalyze()
		n.svr.DrainClients(drainTimeout, drainTimeout)
		n.svr.KillSysProcesses()
		n.closeStorage()
		resourcemanager.InstanceResourceManager.Stop()
		executor.Stop()
	})
}

func (n *Node) closeStorage() {
	tikv.StoreShuttingDown(1)
	n.dom.Close()
	copr.GlobalMPPFailedStoreProber.Stop()
	mppcoordmanager.InstanceMPPCoordinatorManager.Stop()
	_ = n.storage.Close()
}
