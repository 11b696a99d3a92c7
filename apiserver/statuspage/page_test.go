package statuspage_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidbcdc/tidbcdc/apiserver/statuspage"
	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// control has one changefeed, which pauses after a number of looks at it.
type control struct {
	looks       atomic.Int64
	pausesAfter int64
	away        atomic.Bool
	more        []cdc.ProcessorInfo // of other captures
}

func (c *control) Node() cdc.NodeInfo {
	return cdc.NodeInfo{CaptureInfo: cdc.CaptureInfo{ID: "me", Address: "10.0.0.1:8300", ClusterID: "default", Version: "v1.2.3"}}
}

func (c *control) Captures(context.Context) ([]cdc.CaptureInfo, error) {
	return []cdc.CaptureInfo{c.Node().CaptureInfo, {ID: "other", Address: "10.0.0.2:8300", IsOwner: true}}, nil
}

func (c *control) Changefeeds(context.Context) ([]cdc.ChangefeedInfo, error) {
	if c.away.Load() {
		return nil, errors.New("capture is not the owner")
	}
	f := cdc.ChangefeedInfo{
		Spec: cdc.Spec{ID: "orders", SinkURI: "mysql://root:xxxxx@db/"}, State: cdc.StateNormal,
		CheckpointTs: event.NewTs(time.Now().Add(-90 * time.Second)),
		Error:        &cdc.RunningError{Code: "CDC:ErrX", Message: "<script>alert(1)</script>"},
		Tasks:        append([]cdc.ProcessorInfo{{CaptureID: "me", TableIDs: []int64{1, 2}}}, c.more...),
		Status: cdc.Status{
			Rows: 4711, PendingRows: 12, MemoryBytes: 3 << 20, Regions: 8, ScannedRegions: 3,
			Slowest: []cdc.TableStatus{{Table: "shop.orders", CheckpointTs: event.NewTs(time.Now().Add(-90 * time.Second))}},
		},
	}
	if c.pausesAfter > 0 && c.looks.Add(1) > c.pausesAfter {
		f.State = cdc.StateStopped
	}
	return []cdc.ChangefeedInfo{f}, nil
}

func show(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("status %d, headers %v", w.Code, w.Header())
	}
	return w.Body.String()
}

func TestPage(t *testing.T) {
	body := show(t, statuspage.New(&control{}))
	for _, want := range []string{
		"orders", `class="state normal"`, "1m30s", "4711", "12 rows", "3 MiB", "3 of 8 regions scanned", "shop.orders",
		"<dt>Rows written</dt>", "<h3>Tables behind</h3>", "CDC:ErrX: &lt;script&gt;", "mysql://root:xxxxx@db/", "10.0.0.2:8300", "v1.2.3",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if strings.Contains(body, "<script>alert") {
		t.Error("an error's text is taken for HTML")
	}
}

// TestSharedChangefeed: what is known of one capture alone is not said of all.
func TestSharedChangefeed(t *testing.T) {
	body := show(t, statuspage.New(&control{more: []cdc.ProcessorInfo{
		{CaptureID: "other", TableIDs: []int64{3, 4, 5}, CheckpointTs: event.NewTs(time.Now().Add(-40 * time.Second))}, {CaptureID: "late"},
	}}))
	for _, want := range []string{
		"<dd>5 · 3 of 8", "<dt>10.0.0.2:8300</dt><dd>3 tables, 40s behind</dd>", "<dt>late</dt><dd>0 tables</dd>",
		"<dt>Rows written here</dt>", "<h3>Tables behind here</h3>",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q on the page:\n%s", want, body)
		}
	}
}

func TestProblem(t *testing.T) {
	c := &control{}
	c.away.Store(true)
	body := show(t, statuspage.New(c))
	for _, want := range []string{"capture is not the owner", `href="//10.0.0.2:8300/"`, "Not known here."} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if strings.Contains(body, "Create one") {
		t.Error("the page says that there is no changefeed, which is not known")
	}
}

// TestChart: lag over the last hour is drawn, and forgotten with the changefeed.
func TestChart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &control{}
		page := statuspage.New(c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- page.Run(ctx) }()
		<-time.After(12 * time.Second) // of the bubble: three samples
		synctest.Wait()
		body := show(t, page)
		if !strings.Contains(body, `points="0.0,0.0 120.0,0.0 240.0,0.0"`) || !strings.Contains(body, "top 1m30s") {
			t.Errorf("no chart of three equal lags:\n%s", body)
		}
		c.away.Store(true)
		<-time.After(2 * time.Hour)
		c.away.Store(false)
		<-time.After(8 * time.Second)
		synctest.Wait()
		if body = show(t, page); !strings.Contains(body, `points="0.0,0.0 240.0,0.0"`) {
			t.Errorf("no chart of the two samples after a gap of two hours:\n%s", body)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestBrowser: a real browser shows the page, and its script fetches it again.
func TestBrowser(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		if os.Getenv("TIDBCDC_REQUIRE_SERVERS") == "1" {
			t.Fatal("no Chromium (make servers)")
		}
		t.Skip("no Chromium (make servers)")
	}
	server := httptest.NewServer(statuspage.New(&control{pausesAfter: 1}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=12000", "--dump-dom", server.URL+"/")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run the browser: %v", err)
	}
	if !strings.Contains(string(out), `class="state stopped"`) {
		t.Errorf("the page was not refreshed:\n%s", out)
	}
}
