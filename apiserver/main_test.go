package apiserver_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidbcdc/tidbcdc/apiserver"
	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/blackhole"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const (
	captureID = "c6a43c16-0717-45af-afd6-8b3e01e44f5d"
	otherID   = "6f19a6d9-0f8c-4dc9-b299-3ba7c0f216f5"
)

// daemon is the API over a capture over a fake cluster.
type daemon struct {
	t       *testing.T
	cluster *cdctest.Cluster
	capture *cdc.Capture
	server  *httptest.Server
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newDaemon(t *testing.T, change ...func(*apiserver.Options)) *daemon {
	t.Helper()
	cluster, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cluster.Close() })
	up, err := cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{cluster.PDAddr()}, Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	o := apiserver.Options{TimeZone: time.UTC, Logger: discard(), SetLogLevel: func(slog.Level) {}}
	for _, c := range change {
		c(&o)
	}
	capture, err := cdc.NewCapture(cdc.CaptureConfig{
		Upstream: up, Openers: sink.Openers{"blackhole": blackhole.Open}, DataDir: t.TempDir(), ID: captureID,
		Address: "127.0.0.1:8300", Version: "v5.2.0-master-dirty", GitHash: "f191cd00c53fdf7a2b1c9308a355092f9bf8824e",
		ErrorCode: apiserver.ErrorCode, Logger: o.Logger, CheckpointInterval: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	errStop := errors.New("the test ends")
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- capture.Run(ctx) }()
	t.Cleanup(func() {
		cancel(errStop)
		if err := <-ended; !errors.Is(err, errStop) {
			t.Errorf("Run returned %v", err)
		}
	})
	d := &daemon{t: t, cluster: cluster, capture: capture, server: httptest.NewServer(apiserver.New(capture, o))}
	t.Cleanup(d.server.Close)
	d.await("the capture is ready", func() bool { return capture.Health(t.Context()) == nil })
	return d
}

func (d *daemon) await(what string, cond func() bool) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	if err := d.cluster.Await(ctx, cond); err != nil {
		d.t.Fatalf("waited in vain until %s", what)
	}
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, h http.Handler, method, target, body string, change ...func(*http.Request)) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// call sends a request over the network.
func (d *daemon) call(method, path, body string) answer {
	d.t.Helper()
	a, err := d.send(method, path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

func (d *daemon) send(method, path, body string) (answer, error) {
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.server.URL+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	res, err := d.server.Client().Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(data)}, err
}
