package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"
)

// serverConfig is what cdc server is told by its file and, before that, by its
// flags. The names are those of TiCDC's server.
type serverConfig struct {
	Addr          string `toml:"addr"`
	AdvertiseAddr string `toml:"advertise-addr"`
	PD            string `toml:"pd"`
	ClusterID     string `toml:"cluster-id"`
	DataDir       string `toml:"data-dir"`
	// GCTTL is in seconds.
	GCTTL int64 `toml:"gc-ttl"`
	// TZ is a time zone's name; System is the machine's.
	TZ string `toml:"tz"`
	// CaptureSessionTTL is in seconds.
	CaptureSessionTTL int `toml:"capture-session-ttl"`
	// Standalone keeps changefeeds in DataDir alone, for this process alone.
	Standalone bool   `toml:"standalone"`
	LogFile    string `toml:"log-file"`
	LogLevel   string `toml:"log-level"`
	// MemoryQuota of a changefeed that has none of its own, in bytes.
	MemoryQuota int64          `toml:"memory-quota"`
	Pprof       bool           `toml:"pprof"`
	Log         logConfig      `toml:"log"`
	Security    securityConfig `toml:"security"`

	// What follows is accepted from files for TiCDC and means nothing here.
	OwnerFlushInterval     any `toml:"owner-flush-interval"`
	ProcessorFlushInterval any `toml:"processor-flush-interval"`
	PerTableMemoryQuota    any `toml:"per-table-memory-quota"`
	Sorter                 any `toml:"sorter"`
	KVClient               any `toml:"kv-client"`
	Debug                  any `toml:"debug"`
	NewArch                any `toml:"newarch"`
}

type logConfig struct {
	File logFileConfig `toml:"file"`
}

// logFileConfig says when a log file is put aside: at MaxSize MiB; of the old ones
// MaxBackups are kept for MaxDays, 0 meaning all and for ever.
type logFileConfig struct {
	MaxSize    int `toml:"max-size"`
	MaxDays    int `toml:"max-days"`
	MaxBackups int `toml:"max-backups"`
}

type securityConfig struct {
	CAPath   string `toml:"ca-path"`
	CertPath string `toml:"cert-path"`
	KeyPath  string `toml:"key-path"`
	// CertAllowedCN are the common names of clients that may use the API, besides
	// servers with a certificate of the same name as this one's.
	CertAllowedCN []string `toml:"cert-allowed-cn"`
	// MTLS demands a certificate of clients.
	MTLS bool `toml:"mtls"`
	// ClientUserRequired demands a name and a password of clients that change
	// something: those of a user of the upstream's TiDB, one of ClientAllowedUser.
	ClientUserRequired bool     `toml:"client-user-required"`
	ClientAllowedUser  []string `toml:"client-allowed-user"`
}

func defaultServerConfig() serverConfig {
	return serverConfig{
		Addr: "127.0.0.1:8300", PD: "http://127.0.0.1:2379", ClusterID: "default", DataDir: "cdc-data",
		GCTTL: 24 * 60 * 60, TZ: "System", CaptureSessionTTL: 10, LogLevel: "info",
		Log: logConfig{logFileConfig{MaxSize: 300}},
	}
}

// addFlags defines flags that write to c. Their defaults are what c holds.
func (c *serverConfig) addFlags(f *pflag.FlagSet) {
	f.StringVar(&c.Addr, "addr", c.Addr, "listen for the API on `host:port`")
	f.StringVar(&c.AdvertiseAddr, "advertise-addr", "", "`host:port` under which others reach the API (default: --addr)")
	f.StringVar(&c.PD, "pd", c.PD, "`URLs` of PD's clients, separated by commas")
	f.StringVar(&c.ClusterID, "cluster-id", c.ClusterID, "`name` of the set of servers that share their work")
	f.StringVar(&c.DataDir, "data-dir", c.DataDir, "`directory` for what exceeds memory and, with --standalone, for changefeeds")
	f.Int64Var(&c.GCTTL, "gc-ttl", c.GCTTL, "`seconds` for which the cluster keeps changes that a stopped changefeed has still to read")
	f.StringVar(&c.TZ, "tz", c.TZ, "time `zone` in which TIMESTAMP values become text")
	f.IntVar(&c.CaptureSessionTTL, "capture-session-ttl", c.CaptureSessionTTL, "`seconds` after which others take over from a server that is gone")
	f.BoolVar(&c.Standalone, "standalone", false, "keep changefeeds in --data-dir instead of PD's etcd, for this server alone")
	f.StringVar(&c.LogFile, "log-file", "", "log to `file` instead of standard error")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	f.Int64Var(&c.MemoryQuota, "memory-quota", 0, "`bytes` that a changefeed may hold in memory, unless it says otherwise (default 1 GiB)")
	f.BoolVar(&c.Pprof, "pprof", false, "serve profiles under /debug/pprof/")
	f.StringVar(&c.Security.CAPath, "ca", "", "PEM `file` of the authority that signed the certificates of PD, TiKV and API clients")
	f.StringVar(&c.Security.CertPath, "cert", "", "PEM `file` of this server's certificate")
	f.StringVar(&c.Security.KeyPath, "key", "", "PEM `file` of its key")
	f.StringSliceVar(&c.Security.CertAllowedCN, "cert-allowed-cn", nil, "common `names` of clients that may use the API")
	for _, name := range []string{"owner-flush-interval", "processor-flush-interval", "sort-dir"} {
		f.String(name, "", "accepted for TiCDC's sake: it means nothing here")
		_ = f.MarkHidden(name) // it exists
	}
}

// load reads a file over the defaults, and puts the flags that were given over that.
func (c *serverConfig) load(file string, f *pflag.FlagSet) error {
	if file == "" {
		return c.validate()
	}
	given := map[string]string{}
	f.Visit(func(flag *pflag.Flag) { given[flag.Name] = strings.Trim(flag.Value.String(), "[]") })
	data, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer data.Close()
	fresh := defaultServerConfig()
	if err := toml.NewDecoder(data).DisallowUnknownFields().Decode(&fresh); err != nil {
		if unknown := (*toml.StrictMissingError)(nil); errors.As(err, &unknown) {
			return fmt.Errorf("read configuration %s: unknown settings:\n%s", file, unknown.String())
		}
		if bad := (*toml.DecodeError)(nil); errors.As(err, &bad) {
			return fmt.Errorf("read configuration %s:\n%s", file, bad.String())
		}
		return fmt.Errorf("read configuration %s: %w", file, err)
	}
	*c = fresh
	for name, value := range given {
		if slice, ok := f.Lookup(name).Value.(pflag.SliceValue); ok {
			if err := slice.Replace(strings.Split(value, ",")); err != nil {
				return err
			}
			continue
		}
		if err := f.Set(name, value); err != nil {
			return err
		}
	}
	return c.validate()
}

func (c *serverConfig) validate() error {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("addr %q: want host:port: %w", c.Addr, err)
	}
	if c.AdvertiseAddr == "" {
		c.AdvertiseAddr = c.Addr
	}
	host, port, err := net.SplitHostPort(c.AdvertiseAddr)
	if err != nil {
		return fmt.Errorf("advertise-addr %q: want host:port: %w", c.AdvertiseAddr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() || port == "0" && c.AdvertiseAddr != c.Addr {
		return fmt.Errorf("advertise-addr %q cannot be reached by others: give --advertise-addr a host and a port", c.AdvertiseAddr)
	}
	switch {
	case len(c.pd()) == 0:
		return errors.New("pd: give the URL of PD, such as http://127.0.0.1:2379")
	case c.DataDir == "":
		return errors.New("data-dir must not be empty")
	case c.GCTTL <= 0:
		return fmt.Errorf("gc-ttl %d must be above 0", c.GCTTL)
	case c.CaptureSessionTTL < 2:
		return fmt.Errorf("capture-session-ttl %d: want 2 seconds at least", c.CaptureSessionTTL)
	case c.Security.ClientUserRequired && len(c.Security.ClientAllowedUser) == 0:
		return errors.New("client-user-required: name the users that may use the API in client-allowed-user")
	case len(c.Security.CertAllowedCN) > 0 && c.Security.CAPath == "":
		return errors.New("cert-allowed-cn needs ca, cert and key: without TLS clients have no certificates")
	}
	if _, err := c.zone(); err != nil {
		return err
	}
	_, err = parseLevel(c.LogLevel)
	return err
}

// pd returns PD's addresses.
func (c *serverConfig) pd() []string {
	var addrs []string
	for addr := range strings.SplitSeq(c.PD, ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

func (c *serverConfig) zone() (*time.Location, error) {
	if strings.EqualFold(c.TZ, "system") || c.TZ == "" {
		return time.Local, nil
	}
	zone, err := time.LoadLocation(c.TZ)
	if err != nil {
		return nil, fmt.Errorf("tz %q: want an IANA name such as Asia/Shanghai, or System", c.TZ)
	}
	return zone, nil
}

// parseLevel knows the levels of TiCDC's log; the ones above error are never
// reached here.
func parseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "debug":
		return slog.LevelDebug, nil
	case "info", "":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "dpanic", "panic", "fatal":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: want debug, info, warn or error", name)
}
