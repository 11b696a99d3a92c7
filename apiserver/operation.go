package apiserver

import (
	_ "embed" // the API's description
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"text/tabwriter"
	"time"
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
		s.mux.Handle("GET /{$}", s.Page)
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
	level, ok := parseLevel(body.LogLevel)
	if !ok {
		return fmt.Errorf("%w: %q", errLogLevelUnknown, body.LogLevel)
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
	fmt.Fprintf(w, "*** capture ***\n\nid: %s\naddress: %s\nowner: %t\nversion: %s %s\ncluster: %s, upstream %d\n\n*** changefeeds ***\n\n",
		n.ID, n.Address, n.IsOwner, n.Version, n.GitHash, n.ClusterID, n.UpstreamID)
	feeds, err := s.control.Changefeeds(r.Context())
	if err != nil {
		fmt.Fprintf(w, "unknown: %v\n", err)
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "id\tstate\tcheckpoint\tlag\ttables\tregions\tpending rows\tmemory\tspilled\tsink\terror\n")
	now := time.Now()
	for i := range feeds {
		f := &feeds[i]
		message := ""
		if f.Error != nil {
			message = f.Error.Message
		}
		st := &f.Status
		fmt.Fprintf(table, "%s\t%s\t%d\t%v\t%d\t%d/%d\t%d\t%d\t%d\t%s\t%s\n", f.Spec.ID, f.State, f.CheckpointTs,
			max(0, now.Sub(f.CheckpointTs.Time())).Round(time.Millisecond), st.Tables, st.ScannedRegions, st.Regions,
			st.PendingRows, st.MemoryBytes, st.SpilledBytes, f.Spec.SinkURI, message)
	}
	_ = table.Flush() // the client may have gone
	return nil
}
