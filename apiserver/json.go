package apiserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// errorBody is the body of every answer that is not a success.
type errorBody struct {
	Message string `json:"error_msg"` // begins with the code in brackets
	Code    string `json:"error_code"`
}

// answer makes a handler of a function that has either answered or returns why not.
func (s *server) answer(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := handle(w, r); err != nil {
			s.writeError(w, r, err)
		}
	}
}

func (s *server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody reads it
	}
	k := kindOf(err)
	if k.status >= http.StatusInternalServerError {
		s.Logger.Warn("API call failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if k.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="cdc", charset="UTF-8"`)
	}
	s.writeJSON(w, k.status, errorBody{"[" + k.code + "]" + err.Error(), k.code})
}

// writeJSON answers with a body, indented as TiCDC does. That the client has gone
// is its own business.
func (s *server) writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.MarshalIndent(body, "", "    ")
	if err != nil {
		s.Logger.Error("encode answer", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// readBody returns the whole body.
func readBody(r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fmt.Errorf("%w: at most %d bytes are read", errBodyTooLarge, tooLarge.Limit)
	case err != nil:
		return nil, fmt.Errorf("%w: it ends too early", errBody)
	}
	return data, nil
}

// decode reads a body, whatever its Content-Type says and whatever else is in it.
func decode(data []byte, into any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return fmt.Errorf("%w: it is empty, want JSON", errBody)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %s", errBody, strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func decodeBody(r *http.Request, into any) error {
	data, err := readBody(r)
	if err != nil {
		return err
	}
	return decode(data, into)
}

// pathID returns an id from the path.
func pathID(r *http.Request, name string) (string, error) {
	id := r.PathValue(name)
	if err := cdc.ValidateID(id); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return id, nil
}

// timeLayout is that of times in answers. They tell no zone.
const timeLayout = "2006-01-02 15:04:05.000"

func (s *server) time(t time.Time) string { return t.In(s.TimeZone).Format(timeLayout) }

// tsTime is the time of a ts; before there is one, that of year 1, as in TiCDC.
func (s *server) tsTime(ts event.Ts) string {
	if ts == 0 {
		return time.Time{}.Format(timeLayout)
	}
	return s.time(ts.Time())
}

// runningError is an error that a changefeed met.
type runningError struct {
	Addr    string `json:"addr"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Time    string `json:"time"` // RFC 3339
}

func (s *server) runningError(e *cdc.RunningError) *runningError {
	if e == nil {
		return nil
	}
	return &runningError{e.Addr, e.Code, e.Message, e.Time.In(s.TimeZone).Format(time.RFC3339)}
}
