package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/apiserver"
	"github.com/tidbcdc/tidbcdc/apiserver/statuspage"
	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/sink"
)

func serverCommand() *cobra.Command {
	cfg := defaultServerConfig()
	var file string
	cmd := &cobra.Command{
		Use: "server", Short: "Run changefeeds and serve the API", Args: cobra.NoArgs,
		Example: `  cdc server --pd http://127.0.0.1:2379 --addr 127.0.0.1:8300 --data-dir /var/lib/cdc`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.load(file, cmd.Flags()); err != nil {
				return usageError{err}
			}
			return serve(cmd.Context(), &cfg, cmd.OutOrStdout())
		},
	}
	cfg.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&file, "config", "", "TOML `file` with the settings that have flags, and more; flags win")
	return cmd
}

// serve runs a server until ctx is cancelled, and then ends what it has begun.
func serve(ctx context.Context, cfg *serverConfig, stdout io.Writer) (err error) {
	level := new(slog.LevelVar)
	named, err := parseLevel(cfg.LogLevel)
	if err != nil {
		return err
	}
	level.Set(named)
	log, logFile := openLog(cfg, level)
	defer logFile.Close()

	listener, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	defer listener.Close()
	if cfg.AdvertiseAddr == cfg.Addr {
		cfg.AdvertiseAddr = listener.Addr().String() // the port may have been 0
	}
	build := readBuildInfo()
	log.Info("server starts", "version", build.Version, "git_hash", build.GitHash, "addr", listener.Addr(), "advertise_addr", cfg.AdvertiseAddr, "pd", cfg.PD)
	upstream := cdc.UpstreamConfig{
		PD: cfg.pd(), CA: cfg.Security.CAPath, Cert: cfg.Security.CertPath, Key: cfg.Security.KeyPath, Logger: log,
	}
	up, err := cdc.Dial(ctx, upstream)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.Close()) }()
	etcd, err := cdc.DialEtcd(upstream)
	if err != nil {
		return err
	}
	defer etcd.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerRuntimeMetrics(registry)
	sinks := newSinkMetrics(registry)
	node, err := newCapture(cfg, up, etcd, sinks.observe(backends()), build, log)
	if err != nil {
		return err
	}
	registry.MustRegister(newChangefeedMetrics(node, up, sinks))
	page := statuspage.New(node)
	handler, err := apiHandler(cfg, node, etcd, page, registry, level, log)
	if err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return page.Run(gctx) })
	group.Go(func() error { return runServer(gctx, cfg, node, listener, handler, log, stdout) })
	if err := group.Wait(); ctx.Err() == nil || !errors.Is(err, context.Cause(ctx)) {
		return err
	}
	log.Info("server ends", "cause", context.Cause(ctx))
	return nil
}

func newCapture(cfg *serverConfig, up *cdc.Upstream, etcd *clientv3.Client, openers sink.Openers, build buildInfo, log *slog.Logger) (*cdc.Capture, error) {
	zone, err := cfg.zone()
	if err != nil {
		return nil, err
	}
	if cfg.Standalone {
		etcd = nil
	}
	return cdc.NewCapture(cdc.CaptureConfig{
		Upstream: up, Etcd: etcd, SessionTTL: time.Duration(cfg.CaptureSessionTTL) * time.Second, Openers: openers, DataDir: cfg.DataDir, Address: cfg.AdvertiseAddr, ClusterID: cfg.ClusterID,
		Version: build.Version, GitHash: build.GitHash, GCTTL: time.Duration(cfg.GCTTL) * time.Second, TimeZone: zone,
		MemoryQuota: cfg.MemoryQuota, ErrorCode: apiserver.ErrorCode, Logger: log,
	})
}

// apiHandler serves the API, metrics and probes.
func apiHandler(cfg *serverConfig, node *cdc.Capture, etcd *clientv3.Client, page http.Handler, registry *prometheus.Registry, level *slog.LevelVar, log *slog.Logger) (http.Handler, error) {
	zone, err := cfg.zone()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := cfg.Security.serverTLS()
	if err != nil {
		return nil, err
	}
	names, err := cfg.Security.allowedNames()
	if err != nil {
		return nil, err
	}
	o := apiserver.Options{
		SetLogLevel: level.Set, Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Page: page, Pprof: cfg.Pprof, AllowedClientNames: names, TimeZone: zone, Logger: log,
	}
	if cfg.Security.ClientUserRequired {
		o.OpenReads = true
		o.Authenticate = (&tidbUsers{etcd: etcd, allowed: cfg.Security.ClientAllowedUser}).authenticate
	}
	if tlsConfig != nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = cfg.Security.clientTLS(tlsConfig)
		o.TLS, o.Transport = true, transport
	}
	mux := http.NewServeMux()
	mux.Handle("/", apiserver.New(node, o))
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := node.Health(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	return mux, nil
}

// shutdownTimeout is how long requests may go on after changefeeds have ended.
const shutdownTimeout = 5 * time.Second

// runServer runs node and serves handler. When ctx is cancelled, changefeeds end
// first, while the API still answers.
func runServer(ctx context.Context, cfg *serverConfig, node *cdc.Capture, listener net.Listener, handler http.Handler, log *slog.Logger, stdout io.Writer) error {
	tlsConfig, err := cfg.Security.serverTLS()
	if err != nil {
		return err
	}
	api := &http.Server{
		Handler: handler, TLSConfig: tlsConfig, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 10 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	scheme := "http"
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var err error
		if tlsConfig != nil {
			err = api.ServeTLS(listener, "", "")
		} else {
			err = api.Serve(listener)
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve the API: %w", err)
	})
	group.Go(func() error {
		runErr := node.Run(gctx)
		notify(log, daemon.SdNotifyStopping)
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := api.Shutdown(closeCtx); err != nil {
			log.Warn("requests were cut off", "error", err)
		}
		return runErr
	})
	if tlsConfig != nil {
		scheme = "https"
	}
	fmt.Fprintf(stdout, "cdc serves %s://%s\n", scheme, listener.Addr())
	notify(log, daemon.SdNotifyReady)
	return group.Wait()
}

// notify tells systemd, if it started the process.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd not told", "state", state, "error", err)
	}
}
