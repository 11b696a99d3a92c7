// Package pdnode runs one real PD member, with the etcd inside it, in this
// process. PD takes over the process's global logger while it starts.
package pdnode

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/pingcap/log"
	"github.com/tikv/pd/pkg/autoscaling"
	"github.com/tikv/pd/pkg/schedule/schedulers"
	"github.com/tikv/pd/pkg/utils/logutil"
	"github.com/tikv/pd/pkg/utils/typeutil"
	"github.com/tikv/pd/pkg/versioninfo"
	"github.com/tikv/pd/server"
	"github.com/tikv/pd/server/api"
	"github.com/tikv/pd/server/apiv2"
	"github.com/tikv/pd/server/config"
	"go.etcd.io/etcd/embed"

	// PD finds its services by these registrations.
	_ "github.com/tikv/pd/pkg/mcs/resourcemanager/server/install"
	_ "github.com/tikv/pd/pkg/mcs/scheduling/server/install"
	_ "github.com/tikv/pd/pkg/mcs/tso/server/install"
)

// leaderTimeout bounds the wait for the member to elect itself.
const leaderTimeout = 30 * time.Second

// Config describes the member.
type Config struct {
	// Version is what the member reports, without a leading v.
	Version string
	// Dir holds etcd's data.
	Dir string
	// ClientPort, PeerPort and HiddenPort are ports of 127.0.0.1. PD listens at
	// HiddenPort; everybody, itself included, reaches it through a gate at ClientPort.
	ClientPort, PeerPort, HiddenPort int
	// Replicas is the number of peers PD wants each region to have.
	Replicas int
	// Balance lets PD move leaders between stores as it sees fit.
	Balance bool
	// LogFile and LogLevel say where and what PD logs.
	LogFile, LogLevel string
	// CA, Cert and Key are PEM files. When set, the client URL is served with
	// mutual TLS.
	CA, Cert, Key string
}

// Node is a running member.
type Node struct {
	svr  *server.Server
	gate *gate
	addr string
}

// Start runs a member and waits until it leads. Cancelling ctx stops it
// abruptly; Close is the way to end it.
func Start(ctx context.Context, c Config) (*Node, error) {
	cfg, err := c.build()
	if err != nil {
		return nil, err
	}
	gate, err := openGate(fmt.Sprintf("127.0.0.1:%d", c.ClientPort), fmt.Sprintf("127.0.0.1:%d", c.HiddenPort))
	if err != nil {
		return nil, err
	}
	n, err := start(ctx, c, cfg, gate)
	if err != nil {
		gate.close()
		return nil, err
	}
	return n, nil
}

func start(ctx context.Context, c Config, cfg *config.Config, gate *gate) (*Node, error) {
	schedulers.Register()
	versioninfo.PDReleaseVersion = "v" + c.Version
	if err := logutil.SetupLogger(cfg.Log, &cfg.Logger, &cfg.LogProps, false); err != nil {
		return nil, fmt.Errorf("set up pd logger: %w", err)
	}
	// Without this PD prints its configuration on stdout.
	log.ReplaceGlobals(cfg.Logger, cfg.LogProps)
	svr, err := server.CreateServer(ctx, cfg, nil, api.NewHandler, apiv2.NewV2Handler, autoscaling.NewHandler)
	if err != nil {
		return nil, fmt.Errorf("create pd server: %w", err)
	}
	if err := svr.Run(); err != nil {
		return nil, fmt.Errorf("run pd server: %w", err)
	}
	// etcd turns mutex profiling on for its pprof pages. The profiler follows frame
	// pointers, which assembly that the stores' engine calls (go-farm) does not
	// keep: a contended mutex under it would crash the process.
	runtime.SetMutexProfileFraction(0)
	n := &Node{svr: svr, gate: gate, addr: fmt.Sprintf("127.0.0.1:%d", c.ClientPort)}
	if err := n.waitLeader(ctx); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (c Config) build() (*config.Config, error) {
	cfg := config.NewConfig()
	cfg.Name = "pd"
	cfg.DataDir = c.Dir
	scheme := "http"
	if c.CA != "" {
		scheme = "https"
		cfg.Security.CAPath, cfg.Security.CertPath, cfg.Security.KeyPath = c.CA, c.Cert, c.Key
	}
	cfg.ClientUrls = fmt.Sprintf("%s://127.0.0.1:%d", scheme, c.HiddenPort)
	cfg.PeerUrls = fmt.Sprintf("%s://127.0.0.1:%d", scheme, c.PeerPort)
	cfg.AdvertiseClientUrls = fmt.Sprintf("%s://127.0.0.1:%d", scheme, c.ClientPort)
	cfg.AdvertisePeerUrls = cfg.PeerUrls
	cfg.InitialCluster = "pd=" + cfg.PeerUrls
	cfg.InitialClusterState = embed.ClusterStateFlagNew
	// One member on a loopback: short intervals make it lead within a second.
	cfg.LeaderLease = 3
	cfg.TickInterval = typeutil.NewDuration(100 * time.Millisecond)
	cfg.ElectionInterval = typeutil.NewDuration(time.Second)
	cfg.Log.Level = c.LogLevel
	cfg.Log.File.Filename = c.LogFile
	cfg.Replication.MaxReplicas = uint64(c.Replicas)
	cfg.Dashboard.InternalProxy = false
	if err := cfg.Adjust(nil, false); err != nil {
		return nil, fmt.Errorf("adjust pd configuration: %w", err)
	}
	// The stores merge only on demand, and never move peers.
	cfg.Schedule.MergeScheduleLimit = 0
	cfg.Schedule.RegionScheduleLimit = 0
	cfg.Schedule.HotRegionScheduleLimit = 0
	if !c.Balance {
		cfg.Schedule.LeaderScheduleLimit = 0
	}
	return cfg, nil
}

func (n *Node) waitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if n.svr.IsClosed() {
			return errors.New("wait for pd leader: server closed")
		}
		if n.svr.GetMember().IsLeader() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for pd leader: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// Addr is the host and port of the client URL.
func (n *Node) Addr() string { return n.addr }

// Close stops the member. It may be called twice.
func (n *Node) Close() {
	n.gate.open(0)
	n.svr.Close()
	n.gate.close()
}

// Pause keeps PD from answering anybody for a while. From the lease of 3 s on it
// loses its leadership, as a PD does that cannot be reached.
func (n *Node) Pause(d time.Duration) { n.gate.open(d) }
