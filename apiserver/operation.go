package apiserver

import (
	_ "embed" // the API's description
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

//go:embed openapi.json
var openAPI []byte

func (s *server) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(openAPI)
	return nil
}

// handleOperations adds what is for operators and no part of the API.
func (s *server) handleOperations() {
	s.mux.Handle("GET /debug/info", s.answer(s.getDebugInfo))
	if s.Metrics != nil {
		s.mux.Handle("GET /metrics", s.Metrics)
	}
	if s.Page != nil {
		s.mux.Handle("GET /{$}", s.pageAtOwner())
	}
	if s.Pprof {
		s.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		s.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		s.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		s.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		s.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
}

func (s *server) setLogLevel(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		LogLevel string `json:"log_level"`
	}
	if err := decodeBody(r, &body); err != nil {
		return err
	}
	return s.changeLogLevel(w, body.LogLevel)
}

// setLogLevelByText gets the level alone, as JSON.
func (s *server) setLogLevelByText(w http.ResponseWriter, r *http.Request) error {
	var level string
	if err := decodeBody(r, &level); err != nil {
		return err
	}
	return s.changeLogLevel(w, level)
}

func (s *server) changeLogLevel(w http.ResponseWriter, name string) error {
	level, ok := parseLevel(name)
	if !ok {
		return fmt.Errorf("%w: %q", errLogLevelUnknown, name)
	}
	if s.SetLogLevel == nil {
		return fmt.Errorf("%w: the log level of this process is fixed", errParameter)
	}
	s.SetLogLevel(level)
	w.WriteHeader(http.StatusOK)
	return nil
}

// parseLevel knows the levels of TiCDC, of which slog has four.
func parseLevel(name string) (slog.Level, bool) {
	switch strings.ToLower(name) {
	case "debug":
		return slog.LevelDebug, true
	case "info":
		return slog.LevelInfo, true
	case "warn":
		return slog.LevelWarn, true
	case "error":
		return slog.LevelError, true
	case "dpanic", "panic", "fatal":
		return slog.LevelError + 4, true
	}
	return 0, false
}

// getDebugInfo tells people what this process knows, in plain text.
func (s *server) getDebugInfo(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	n := s.control.Node()
	fmt.Fprintf(w, "*** capture ***\n\nid: %s\naddress: %s\nowner: %t\nversion: %s %s\ncluster: %s, upstream %d\n",
		n.ID, n.Address, n.IsOwner, n.Version, n.GitHash, n.ClusterID, n.UpstreamID)
	now := time.Now()
	lag := func(ts event.Ts) time.Duration { return max(0, now.Sub(ts.Time())).Round(time.Millisecond) }

	fmt.Fprint(w, "\n*** changefeeds ***\n\n")
	if feeds, err := s.control.Changefeeds(r.Context()); err != nil {
		fmt.Fprintf(w, "unknown: %v\n", err)
	} else {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprint(table, "id\tstate\tcheckpoint\tlag\tsink\terror\n")
		for i := range feeds {
			f := &feeds[i]
			message := ""
			if f.Error != nil {
				message = f.Error.Message
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%v\t%s\t%s\n", f.Spec.ID, f.State, f.CheckpointTs, lag(f.CheckpointTs), f.Spec.SinkURI, message)
		}
		_ = table.Flush() // the client may have gone
	}

	fmt.Fprint(w, "\n*** parts of changefeeds in this process ***\n\n")
	parts := s.control.LocalStatus()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "id\tcheckpoint\tlag\ttables\tregions\trows\tpending rows\tmemory\tspilled\n")
	for _, id := range slices.Sorted(maps.Keys(parts)) {
		st := parts[id]
		fmt.Fprintf(table, "%s\t%d\t%v\t%d\t%d/%d\t%d\t%d\t%d\t%d\n", id, st.CheckpointTs, lag(st.CheckpointTs),
			st.Tables, st.ScannedRegions, st.Regions, st.Rows, st.PendingRows, st.MemoryBytes, st.SpilledBytes)
	}
	_ = table.Flush() // as above
	return nil
}
