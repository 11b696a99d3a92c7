package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
)

// startServer runs a server over a fake cluster until the test ends and returns
// its URL.
func startServer(t *testing.T, args ...string) (c *cdctest.Cluster, url string) {
	t.Helper()
	c, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // before the cleanup below is known, so that it is removed after
	ctx, cancel := context.WithCancel(context.Background())
	out := &firstLine{line: make(chan string, 1)}
	ended := make(chan int, 1)
	var stderr lockedBuffer
	go func() {
		ended <- run(ctx, append([]string{
			"server", "--standalone", "--pd", c.PDAddr(), "--addr", "127.0.0.1:0", "--data-dir", dir,
		}, args...), out, &stderr)
	}()
	t.Cleanup(func() {
		cancel()
		if rc := <-ended; rc != 0 {
			t.Errorf("server ended with %d: %s", rc, stderr.String())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	select {
	case line := <-out.line:
		url = strings.TrimPrefix(line, "cdc serves ")
		waitFor(t, "the server is ready", func() bool {
			resp, err := http.Get(url + "/readyz") //nolint:noctx // it is on this machine
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
		return c, url
	case rc := <-ended:
		ended <- rc
		t.Fatalf("server ended with %d: %s", rc, stderr.String())
	}
	return nil, ""
}

// firstLine passes the first line on that is written to it.
type firstLine struct {
	once sync.Once
	line chan string
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.once.Do(func() { f.line <- strings.TrimSpace(string(p)) })
	return len(p), nil
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// command runs a command and returns what it prints.
func command(t *testing.T, url string, args ...string) (stdout, stderr string, rc int) {
	t.Helper()
	var out, errs bytes.Buffer
	rc = run(t.Context(), append(args, "--server", url), &out, &errs)
	return out.String(), errs.String(), rc
}

func mustCDC(t *testing.T, url string, args ...string) string {
	t.Helper()
	out, errs, rc := command(t, url, args...)
	if rc != 0 {
		t.Fatalf("cdc %v ended with %d: %s", args, rc, errs)
	}
	return out
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-deadline:
			t.Fatal("still not: " + what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestLife takes a changefeed from its creation to its end by commands.
func TestLife(t *testing.T) {
	c, url := startServer(t)
	orders := c.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey(), cdctest.Text("what"))
	file := filepath.Join(t.TempDir(), "feed.toml")
	if err := os.WriteFile(file, []byte("force-replicate = true\n[filter]\nrules = ['shop.*']\n[sink]\nprotocol = 'canal-json'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := mustCDC(t, url, "changefeed", "create", "-c", "orders", "--sink-uri", "blackhole://u:hunter2@/", "--config", file)
	for _, want := range []string{"ID: orders", "normal"} {
		if !strings.Contains(out, want) {
			t.Errorf("create prints no %q:\n%s", want, out)
		}
	}
	orders.Insert(1, "book")
	waitFor(t, "the row is counted", func() bool {
		return strings.Contains(get(t, url+"/metrics"), `ticdc_sink_batch_row_count_sum{changefeed="orders",namespace="default",type="blackhole"} 1`)
	})
	metrics := get(t, url+"/metrics")
	for _, name := range []string{
		"ticdc_owner_checkpoint_ts_lag", "ticdc_owner_status", "ticdc_owner_ownership_counter", "ticdc_processor_num_of_tables",
		"ticdc_owner_barrier_ts", "ticdc_owner_current_pd_ts", "ticdc_kvclient_pull_event_count", "ticdc_puller_txn_collect_event_count",
		"ticdc_server_go_gc 1", "ticdc_server_go_max_procs", "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("no metric %s", name)
		}
	}
	if out := mustCDC(t, url, "cli", "changefeed", "list"); !strings.Contains(out, "orders") || !strings.Contains(out, "CHECKPOINT") {
		t.Errorf("list prints:\n%s", out)
	}
	var items []map[string]any
	if err := json.Unmarshal([]byte(mustCDC(t, url, "changefeed", "list", "--json")), &items); err != nil || len(items) != 1 {
		t.Errorf("list --json: %v, %v", items, err)
	}
	if _, errs, rc := command(t, url, "changefeed", "update", "-c", "orders", "--target-ts", "1"); rc != 1 || !strings.Contains(errs, "CDC:ErrChangefeedUpdateRefused") {
		t.Errorf("update of a running changefeed: %d, %s", rc, errs)
	}
	mustCDC(t, url, "changefeed", "pause", "-c", "orders")
	waitFor(t, "stopped", func() bool {
		return strings.Contains(mustCDC(t, url, "changefeed", "query", "-c", "orders"), "stopped")
	})
	target := uint64(c.Oracle().Now())
	mustCDC(t, url, "changefeed", "update", "-c", "orders", "--target-ts", strconv.FormatUint(target, 10))
	mustCDC(t, url, "changefeed", "resume", "-c", "orders")
	waitFor(t, "finished", func() bool {
		return strings.Contains(mustCDC(t, url, "changefeed", "query", "-c", "orders"), "finished")
	})
	all := out + mustCDC(t, url, "changefeed", "query", "-c", "orders", "--json") + mustCDC(t, url, "changefeed", "list", "--all")
	if strings.Contains(all, "hunter2") {
		t.Error("the sink's password is shown")
	}
	mustCDC(t, url, "changefeed", "remove", "-c", "orders")
	waitFor(t, "removed", func() bool { return !strings.Contains(mustCDC(t, url, "changefeed", "list", "--all"), "orders") })
	waitFor(t, "its metrics are gone", func() bool { return !strings.Contains(get(t, url+"/metrics"), `changefeed="orders"`) })
}

func TestCaptures(t *testing.T) {
	_, url := startServer(t)
	mustCDC(t, url, "changefeed", "create", "-c", "a", "--sink-uri", "blackhole://")
	out := mustCDC(t, url, "capture", "list")
	if !strings.Contains(out, strings.TrimPrefix(url, "http://")) || !strings.Contains(out, "yes") {
		t.Errorf("capture list prints:\n%s", out)
	}
	var captures []struct{ ID string }
	if err := json.Unmarshal([]byte(mustCDC(t, url, "capture", "list", "--json")), &captures); err != nil || len(captures) != 1 {
		t.Fatalf("capture list --json: %v, %v", captures, err)
	}
	waitFor(t, "the processor is listed", func() bool { return strings.Contains(mustCDC(t, url, "processor", "list"), captures[0].ID) })
	out = mustCDC(t, url, "processor", "query", "-c", "a", "-p", captures[0].ID)
	if !strings.Contains(out, "Checkpoint ts") {
		t.Errorf("processor query prints:\n%s", out)
	}
	mustCDC(t, url, "log", "level", "debug")
	if _, errs, rc := command(t, url, "log", "level", "loud"); rc != 1 || !strings.Contains(errs, "CDC:ErrAPIInvalidParam") {
		t.Errorf("log level loud: %d, %s", rc, errs)
	}
	for _, path := range []string{"/livez", "/readyz", "/api/v1/health", "/status"} {
		get(t, url+path)
	}
}

func TestDrainCommand(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"current_table_count": 3}`)
	}))
	defer server.Close()
	if got, want := mustCDC(t, server.URL, "capture", "drain", "--capture-id", "a"), "3 tables are left on it\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := mustCDC(t, server.URL, "capture", "drain", "--capture-id", "a", "--json"), "{\n  \"current_table_count\": 3\n}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // it is on this machine
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v: %s", url, resp.Status, err, body)
	}
	return string(body)
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		args []string
		rc   int
		want string
	}{
		"unknown flag":         {[]string{"server", "--adr", "x"}, 2, "unknown flag: --adr"},
		"bad address":          {[]string{"server", "--addr", "8300"}, 2, "want host:port"},
		"unreachable address":  {[]string{"server", "--addr", "0.0.0.0:8300"}, 2, "give --advertise-addr"},
		"bad zone":             {[]string{"server", "--tz", "Mars"}, 2, "tz \"Mars\""},
		"bad level":            {[]string{"server", "--log-level", "loud"}, 2, "log level \"loud\""},
		"names without TLS":    {[]string{"server", "--cert-allowed-cn", "a"}, 2, "cert-allowed-cn needs ca"},
		"unknown setting":      {[]string{"server", "--config", write("s.toml", "addr = '127.0.0.1:1'\nadress = 'x'\n")}, 2, "adress"},
		"malformed file":       {[]string{"server", "--config", write("m.toml", "addr = \n")}, 2, "m.toml"},
		"no file":              {[]string{"server", "--config", filepath.Join(dir, "none")}, 2, "no such file"},
		"no sink":              {[]string{"changefeed", "create"}, 2, "--sink-uri is required"},
		"no id":                {[]string{"changefeed", "pause"}, 2, "--changefeed-id is required"},
		"unknown feed setting": {[]string{"changefeed", "create", "--sink-uri", "x://", "--config", write("f.toml", "[filter]\nrule = ['a.*']\n")}, 1, "rule"},
		"no server":            {[]string{"changefeed", "list", "--server", "127.0.0.1:1"}, 1, "is it running?"},
		"no PD":                {[]string{"server", "--pd", "127.0.0.1:1", "--addr", "127.0.0.1:0", "--data-dir", dir, "--log-file", filepath.Join(dir, "log")}, 1, "PD did not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if rc := run(t.Context(), c.args, &out, &errs); rc != c.rc || !strings.Contains(errs.String(), c.want) {
				t.Errorf("ends with %d, want %d, and says, without %q:\n%s", rc, c.rc, c.want, errs.String())
			}
		})
	}
}

// TestLogToStandardStreams: the device is not taken for a file, which is put aside when
// it has become large.
func TestLogToStandardStreams(t *testing.T) {
	for name, want := range map[string]io.Writer{"": os.Stderr, "/dev/stderr": os.Stderr, "/dev/stdout": os.Stdout} {
		_, out := openLog(&serverConfig{LogFile: name}, slog.LevelInfo)
		if got, ok := out.(standardStream); !ok || got.Writer != want {
			t.Errorf("%q: logs to %#v", name, out)
		}
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFlagsWin: what flags say goes over what the file says.
func TestFlagsWin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.toml")
	text := `addr = "127.0.0.1:1111"
gc-ttl = 100
data-dir = "/d"
log-level = "warn"
[security]
cert-allowed-cn = ["x"]
ca-path = "ca"
[kv-client]
region-scan-limit = 40
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := defaultServerConfig()
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	cfg.addFlags(flags)
	if err := flags.Parse([]string{"--addr", "127.0.0.1:2222", "--cert-allowed-cn", "a,b", "--owner-flush-interval=50ms", "--sort-dir=/d"}); err != nil {
		t.Fatal(err)
	}
	if err := cfg.load(file, flags); err != nil {
		t.Fatal(err)
	}
	if cfg.Addr != "127.0.0.1:2222" || cfg.AdvertiseAddr != "127.0.0.1:2222" || cfg.GCTTL != 100 || cfg.DataDir != "/d" || cfg.LogLevel != "warn" {
		t.Errorf("got %+v", cfg)
	}
	if got := strings.Join(cfg.Security.CertAllowedCN, " "); got != "a b" {
		t.Errorf("names %q", got)
	}
}

// TestExampleFile: the settings that examples/deploy shows are understood.
func TestExampleFile(t *testing.T) {
	cfg := defaultServerConfig()
	if err := cfg.load("../../examples/deploy/server.toml", pflag.NewFlagSet("server", pflag.ContinueOnError)); err != nil {
		t.Fatal(err)
	}
	if len(cfg.pd()) != 3 || cfg.Log.File.MaxBackups != 10 {
		t.Errorf("got %+v", cfg)
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if rc := run(t.Context(), []string{"version", "--json"}, &out, io.Discard); rc != 0 {
		t.Fatal(rc)
	}
	var b buildInfo
	if err := json.Unmarshal(out.Bytes(), &b); err != nil || b.Version == "" || b.Go == "" {
		t.Errorf("%s: %v", out.String(), err)
	}
}
