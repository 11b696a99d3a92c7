package apiserver

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Options configures the API. The zero value is ready for use.
type Options struct {
	// SetLogLevel changes what the process logs. Levels that slog does not know are
	// above slog.LevelError. Nil: the API refuses to.
	SetLogLevel func(slog.Level)
	// Metrics is served at /metrics. Nil: there is nothing.
	Metrics http.Handler
	// Page is served at /, for people: the owner's, if that answers. Nil: there is
	// nothing.
	Page http.Handler
	// Pprof serves Go's profiles under /debug/pprof/.
	Pprof bool

	// Authenticate, unless nil, asks for a user and a password (HTTP basic
	// authentication) and returns an error if they are not right. It is called for
	// every request. Compare secrets in constant time.
	Authenticate func(ctx context.Context, user, password string) error
	// OpenReads lets requests through without Authenticate that only read (GET, HEAD).
	// TiCDC does so, and its tools and Prometheus have no credentials.
	OpenReads bool
	// AllowedClientNames, unless empty, are the common names of the client
	// certificates that are allowed. The server must verify them:
	// tls.RequireAndVerifyClientCert.
	AllowedClientNames []string

	// TimeZone is that of times in answers. Defaults to time.Local.
	TimeZone *time.Location
	// MaxBodyBytes bounds a request's body. Defaults to 1 MiB.
	MaxBodyBytes int64
	// Transport passes requests on to the owner. Defaults to http.DefaultTransport,
	// which is not enough for client certificates.
	Transport http.RoundTripper
	// TLS: the owner is reached by https.
	TLS bool
	// Logger gets the calls that change something. Defaults to slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.TimeZone == nil {
		o.TimeZone = time.Local
	}
	if o.MaxBodyBytes == 0 {
		o.MaxBodyBytes = 1 << 20
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// server answers requests.
type server struct {
	control Controller
	Options
	mux *http.ServeMux
}

// healthPath is open to everybody: load balancers have no credentials.
const healthPath = "/api/v1/health"

// New returns the handler of the API.
func New(c Controller, o Options) http.Handler {
	s := &server{control: c, Options: o.withDefaults(), mux: http.NewServeMux()}
	for _, r := range s.routes() {
		h := http.Handler(s.answer(r.handle))
		if !r.local {
			h = s.atOwner(h, s.writeError)
		}
		s.mux.Handle(r.pattern, h)
	}
	s.handleOperations()
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(s.answer(func(http.ResponseWriter, *http.Request) error { return errCrossOrigin }))
	return s.guard(sameOrigin.Handler(http.HandlerFunc(s.route)))
}

// route is an endpoint of the API.
type route struct {
	pattern string // of http.ServeMux
	// local endpoints are about this process; others are answered by the owner.
	local  bool
	handle func(http.ResponseWriter, *http.Request) error
}

// routes lists version 1 of the API.
func (s *server) routes() []route {
	const feed = "/api/v1/changefeeds/{changefeed_id}"
	return []route{
		{"GET /status", true, s.getStatus}, // TiDB Operator asks here
		{"GET /api/v1/status", true, s.getStatus},
		{"GET " + healthPath, false, s.getHealth},
		{"POST /api/v1/log", true, s.setLogLevel},
		{"POST /admin/log", true, s.setLogLevelByText}, // what operators' notes had before version 1
		{"GET /api/openapi.json", true, s.getOpenAPI},

		{"GET /api/v1/changefeeds", false, s.listChangefeeds},
		{"POST /api/v1/changefeeds", false, s.createChangefeed},
		{"GET " + feed, false, s.getChangefeed},
		{"PUT " + feed, false, s.updateChangefeed},
		{"DELETE " + feed, false, s.removeChangefeed},
		{"POST " + feed + "/pause", false, s.pauseChangefeed},
		{"POST " + feed + "/resume", false, s.resumeChangefeed},
		{"POST " + feed + "/tables/rebalance_table", false, s.rebalanceTables},
		{"POST " + feed + "/tables/move_table", false, s.moveTable},

		{"POST /api/v1/owner/resign", false, s.resignOwner},
		{"GET /api/v1/processors", false, s.listProcessors},
		{"GET /api/v1/processors/{changefeed_id}/{capture_id}", false, s.getProcessor},
		{"GET /api/v1/captures", false, s.listCaptures},
		{"PUT /api/v1/captures/drain", false, s.drainCapture},
	}
}

// route passes a request to its endpoint. What ServeMux would answer in plain text is
// answered in JSON.
func (s *server) route(w http.ResponseWriter, r *http.Request) {
	if !isRead(r) {
		s.Logger.Info("API call", "method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr, "client_version", r.Header.Get("X-client-version"))
	}
	r.Body = http.MaxBytesReader(w, r.Body, s.MaxBodyBytes)
	h, pattern := s.mux.Handler(r)
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	var refusal statusOnly
	h.ServeHTTP(&refusal, r)
	err := errNoSuchRoute
	if allow := refusal.Header().Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
		err = errMethod
	}
	s.writeError(w, r, err)
}

// statusOnly takes the headers of an answer and drops the rest.
type statusOnly struct{ header http.Header }

func (w *statusOnly) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

func (*statusOnly) Write(p []byte) (int, error) { return len(p), nil }
func (*statusOnly) WriteHeader(int)             {}
