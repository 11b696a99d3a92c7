package registry_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/avro"
	"github.com/tidbcdc/tidbcdc/sink/codec/avro/registry"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/rowtest"
)

var (
	_ avro.Registry     = (*registry.Client)(nil)
	_ avro.SchemaLookup = (*registry.Client)(nil)
)

func open(t *testing.T, cfg registry.Config) *registry.Client {
	t.Helper()
	c, err := registry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestEndToEnd: an encoder and a decoder that share nothing but the registry.
func TestEndToEnd(t *testing.T) {
	ctx := context.Background()
	fake := srfake.New()
	defer fake.Close()
	e := avro.NewEncoder(avro.Config{TiDBExtension: true}, open(t, registry.Config{URL: fake.URL()}))
	d := avro.NewDecoder(avro.DecoderConfig{}, open(t, registry.Config{URL: fake.URL() + "/"}))
	for _, row := range []*event.RowChanged{rowtest.Cases()[0].Row, rowtest.Pair(event.Insert)} {
		topic := "topic." + row.Table.Table
		if err := e.Prepare(ctx, topic, row.Table); err != nil {
			t.Fatal(err)
		}
		if !fake.SubjectExists("topic_" + row.Table.Table + "-value") {
			t.Errorf("no subject for %s", topic)
		}
		var ms codec.Messages
		if err := e.AppendRows(&ms, topic, []*event.RowChanged{row}); err != nil {
			t.Fatal(err)
		}
		m := ms.At(0)
		if err := d.Prepare(ctx, m.Key, m.Value); err != nil {
			t.Fatal(err)
		}
		events, err := d.Decode(m.Key, m.Value)
		if err != nil || len(events) != 1 || len(events[0].Row.Columns) != len(row.Columns) {
			t.Errorf("got %v, %v", events, err)
		}
	}
}

func TestCache(t *testing.T) {
	ctx := context.Background()
	fake := srfake.New()
	defer fake.Close()
	var calls atomic.Int64
	fake.Intercept(func(http.ResponseWriter, *http.Request) bool {
		calls.Add(1)
		return false
	})
	c := open(t, registry.Config{URL: fake.URL()})
	var ids []avro.SchemaID
	for _, r := range [][2]string{{"a", `"int"`}, {"a", `"int"`}, {"b", `"int"`}, {"a", `"long"`}, {"a", `"int"`}} {
		id, err := c.Register(ctx, r[0], r[1])
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if calls.Load() != 3 || ids[0] != ids[1] || ids[0] != ids[4] || ids[0] == ids[3] {
		t.Errorf("%d calls for ids %v", calls.Load(), ids)
	}
	for range 2 {
		s, err := c.Schema(ctx, ids[3])
		if err != nil || s != `"long"` {
			t.Errorf("got %s, %v", s, err)
		}
	}
	if calls.Load() != 4 {
		t.Errorf("%d calls", calls.Load())
	}
	if _, err := c.Schema(ctx, avro.GlueID([16]byte{1})); !sink.IsPermanent(err) {
		t.Errorf("a UUID: %v", err)
	}
}

// TestRetry: what may pass is tried again, what cannot is not.
func TestRetry(t *testing.T) {
	for _, tt := range []struct {
		name      string
		answers   []int
		body      string
		calls     int64
		wantError string
		permanent bool
	}{
		{"unavailable", []int{503, 429, 500, 200}, `{"id":7}`, 4, "", false},
		{"at the same time", []int{409, 200}, `{"id":7,"message":"An artifact with ID 'a-value' in group 'null' already exists."}`, 2, "", false},
		{"incompatible", []int{409}, `{"error_code":409,"message":"Schema being registered is incompatible"}`, 1, "error code 409: Schema being registered is incompatible", true},
		{"invalid", []int{422}, `{"error_code":42201,"message":"` + strings.Repeat("x", 5000) + `"}`, 1, "xxx…", true},
		{"wrong password", []int{401}, "go away", 1, "status 401", true},
		{"nonsense", []int{200}, "<html>", 1, "read the answer", false},
		{"no id", []int{200}, "{}", 1, "no id", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := calls.Add(1)
				var body struct{ Schema string }
				data, _ := io.ReadAll(r.Body)
				if err := json.Unmarshal(data, &body); err != nil || body.Schema != `"int"` || r.URL.Path != "/base/subjects/a-value/versions" {
					t.Errorf("got %s of %q, %v", r.URL.Path, data, err)
				}
				w.WriteHeader(tt.answers[min(int(n), len(tt.answers))-1])
				_, _ = io.WriteString(w, tt.body)
			}))
			defer server.Close()
			_, err := open(t, registry.Config{URL: server.URL + "/base"}).Register(context.Background(), "a-value", `"int"`)
			if calls.Load() != tt.calls || (err == nil) != (tt.wantError == "") || sink.IsPermanent(err) != tt.permanent {
				t.Errorf("%d calls, %v", calls.Load(), err)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.wantError) || !strings.Contains(err.Error(), "subject a-value")) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	arrived := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client leaves
		close(arrived)
		<-r.Context().Done()
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-arrived; cancel() }()
	if _, err := open(t, registry.Config{URL: server.URL}).Register(ctx, "a", `"int"`); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestMaxElapsed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
	defer server.Close()
	_, err := open(t, registry.Config{URL: server.URL, MaxElapsed: 150 * time.Millisecond}).Register(context.Background(), "a", `"int"`)
	if err == nil || !strings.Contains(err.Error(), "503") || sink.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
}

func TestAuthenticationAndTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "alice" || password != "p@ss" {
			t.Errorf("got user %q", user)
		}
		_, _ = io.WriteString(w, `{"id":7}`)
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	at := strings.Replace(server.URL, "https://", "https://alice:p%40ss@", 1)
	id, err := open(t, registry.Config{URL: at, TLS: &tls.Config{RootCAs: roots}}).Register(context.Background(), "a", `"int"`)
	if err != nil || id != avro.ConfluentID(7) {
		t.Errorf("got %v, %v", id, err)
	}
	// Without the root the server is not trusted, and the error keeps the password.
	_, err = open(t, registry.Config{URL: at, MaxElapsed: time.Millisecond}).Register(context.Background(), "a", `"int"`)
	if err == nil || strings.Contains(err.Error(), "p@ss") || strings.Contains(err.Error(), "p%40ss") {
		t.Errorf("got %v", err)
	}
}

func TestInvalidURL(t *testing.T) {
	for _, at := range []string{"", "localhost:8081", "ftp://host", "http://", "http://alice:se%zzcret@host", ":secret"} {
		if _, err := registry.New(registry.Config{URL: at}); !errors.Is(err, sink.ErrInvalidURI) || strings.Contains(err.Error(), "cret") {
			t.Errorf("%q: %v", at, err)
		}
	}
}
