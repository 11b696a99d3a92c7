// Package control serves an HTTP API on 127.0.0.1 through which tests steer the
// stores of a playground. Requests and answers are JSON; an error is
// {"error": "…"} with a status of 4xx or 5xx.
package control

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/tidbcdc/tidbcdc/examples/playground/kvnode"
	"github.com/tidbcdc/tidbcdc/examples/playground/loopback"
)

const (
	maxBody         = 1 << 20
	shutdownTimeout = 2 * time.Second
)

// SafePoints publishes a GC safe point to the readers of the cluster.
type SafePoints interface {
	SaveGCSafePoint(ts uint64) error
}

// PD can be kept from answering for a while.
type PD interface {
	Pause(d time.Duration)
}

// Server is the running API.
type Server struct {
	kv     *kvnode.Cluster
	points SafePoints
	pd     PD
	srv    *http.Server
	addr   string
}

// Start serves the API on a port of 127.0.0.1; 0 chooses one.
func Start(kv *kvnode.Cluster, points SafePoints, pd PD, port int) (*Server, error) {
	s := &Server{kv: kv, points: points, pd: pd}
	var ln net.Listener
	var err error
	if port == 0 {
		ln, err = loopback.Listen()
	} else {
		ln, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	}
	if err != nil {
		return nil, fmt.Errorf("listen for control api: %w", err)
	}
	s.addr = ln.Addr().String()
	s.srv = &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.srv.Serve(ln) }() // ends with Close
	return s, nil
}

// Addr is the host and port of the API.
func (s *Server) Addr() string { return s.addr }

// Close stops the API; running requests get a moment to end.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := s.srv.Shutdown(ctx); err != nil {
		return s.srv.Close()
	}
	return nil
}

// Handler is the API as a handler. It routes by hand: PD needs the ServeMux of Go
// 1.21 in the whole process, which knows neither methods nor wildcards.
func (s *Server) Handler() http.Handler {
	routes := map[string]http.HandlerFunc{
		"GET /regions":             s.regions,
		"POST /regions/split":      handle(s.split),
		"POST /regions/merge":      handle(s.merge),
		"POST /regions/transfer":   handle(s.transfer),
		"POST /streams/break":      handle(s.breakStreams),
		"POST /registrations/fail": handle(s.failRegistrations),
		"POST /resolved/hold":      handle(s.holdResolved),
		"POST /resolved/release":   handle(s.releaseResolved),
		"POST /events/delay":       handle(s.delayEvents),
		"POST /gc/safepoint":       handle(s.gcSafePoint),
		"POST /pd/pause":           handle(s.pausePD),
		"GET /stats":               func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, s.kv.Stats()) },
	}
	for _, st := range s.kv.Stores() {
		routes[fmt.Sprintf("POST /stores/%d/stop", st.ID)] = handle(s.stopStore(st.ID))
		routes[fmt.Sprintf("POST /stores/%d/start", st.ID)] = handle(s.startStore(st.ID))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f, ok := routes[r.Method+" "+r.URL.Path]; ok {
			f(w, r)
			return
		}
		write(w, http.StatusNotFound, problem{fmt.Sprintf("no such call or store: %s %s", r.Method, r.URL.Path)})
	})
}

type problem struct {
	Error string `json:"error"`
}

type empty struct{}

// handle decodes the body, which may be empty, and encodes the result.
func handle[In, Out any](f func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := read(r, &in); err != nil {
			fail(w, err)
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			fail(w, err)
			return
		}
		write(w, http.StatusOK, out)
	}
}

func read(r *http.Request, into any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("decode request: %w: %w", err, kvnode.ErrInvalid)
	}
	return nil
}

func write(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client is gone
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, kvnode.ErrInvalid):
		code = http.StatusBadRequest
	case errors.Is(err, kvnode.ErrNoRegion), errors.Is(err, kvnode.ErrNoStore):
		code = http.StatusNotFound
	case errors.Is(err, kvnode.ErrChanged):
		code = http.StatusConflict
	}
	write(w, code, problem{err.Error()})
}

func (s *Server) regions(w http.ResponseWriter, r *http.Request) {
	var keys [2][]byte
	for i, name := range []string{"start", "end"} {
		key, err := hex.DecodeString(r.URL.Query().Get(name))
		if err != nil {
			fail(w, fmt.Errorf("decode %s: %w: %w", name, err, kvnode.ErrInvalid))
			return
		}
		keys[i] = key
	}
	write(w, http.StatusOK, s.kv.Regions(keys[0], keys[1]))
}

type regionList struct {
	Regions []kvnode.Region `json:"regions"`
}

func (s *Server) split(_ context.Context, in struct {
	Key kvnode.HexBytes `json:"key"`
},
) (regionList, error) {
	parts, err := s.kv.Split(in.Key)
	return regionList{parts}, err
}

func (s *Server) merge(_ context.Context, in struct{ Source, Target uint64 }) (kvnode.Region, error) {
	return s.kv.Merge(in.Source, in.Target)
}

func (s *Server) transfer(_ context.Context, in struct{ Region, Store uint64 }) (kvnode.Region, error) {
	return s.kv.Transfer(in.Region, in.Store)
}

func (s *Server) stopStore(id uint64) func(context.Context, struct{ Transfer bool }) (empty, error) {
	return func(_ context.Context, in struct{ Transfer bool }) (empty, error) {
		return empty{}, s.kv.StopStore(id, in.Transfer)
	}
}

func (s *Server) startStore(id uint64) func(context.Context, empty) (empty, error) {
	return func(context.Context, empty) (empty, error) { return empty{}, s.kv.StartStore(id) }
}

func (s *Server) breakStreams(_ context.Context, in struct {
	Store uint64
	Count int
},
) (map[string]int, error) {
	broken, err := s.kv.BreakStreams(in.Store, in.Count)
	return map[string]int{"broken": broken}, err
}

func (s *Server) failRegistrations(_ context.Context, in struct {
	Count     int
	Error     kvnode.FailureKind
	BackoffMs int `json:"backoff_ms"`
},
) (empty, error) {
	return empty{}, s.kv.FailRegistrations(kvnode.Failure{
		Count: in.Count, Kind: in.Error, Backoff: time.Duration(in.BackoffMs) * time.Millisecond,
	})
}

func (s *Server) holdResolved(_ context.Context, in struct {
	Region uint64
	Silent bool
},
) (empty, error) {
	s.kv.HoldResolved(in.Region, in.Silent)
	return empty{}, nil
}

func (s *Server) releaseResolved(_ context.Context, in struct{ Region uint64 }) (empty, error) {
	s.kv.ReleaseResolved(in.Region)
	return empty{}, nil
}

func (s *Server) delayEvents(_ context.Context, in struct{ Duration string }) (empty, error) {
	d, err := time.ParseDuration(in.Duration)
	if err != nil {
		return empty{}, fmt.Errorf("decode duration: %w: %w", err, kvnode.ErrInvalid)
	}
	return empty{}, s.kv.DelayEvents(d)
}

// pausePD also ends a pause, with a duration of 0.
func (s *Server) pausePD(_ context.Context, in struct{ Duration string }) (empty, error) {
	d, err := time.ParseDuration(in.Duration)
	if err != nil || d < 0 {
		return empty{}, fmt.Errorf("decode duration %q: %w", in.Duration, kvnode.ErrInvalid)
	}
	s.pd.Pause(d)
	return empty{}, nil
}

func (s *Server) gcSafePoint(ctx context.Context, in struct{ Ts uint64 }) (map[string]uint64, error) {
	now, err := s.kv.AdvanceGCSafePoint(ctx, in.Ts)
	if err != nil {
		return nil, err
	}
	return map[string]uint64{"safe_point": now}, s.points.SaveGCSafePoint(now)
}
