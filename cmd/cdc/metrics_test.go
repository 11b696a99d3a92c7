package main

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// fakeCapture has what a test says.
type fakeCapture struct{ feeds []cdc.ChangefeedInfo }

func (*fakeCapture) Node() cdc.NodeInfo {
	return cdc.NodeInfo{CaptureInfo: cdc.CaptureInfo{ID: "me", IsOwner: true}}
}

func (c *fakeCapture) Changefeeds(context.Context) ([]cdc.ChangefeedInfo, error) {
	return c.feeds, nil
}

// partialSink is a sink of which tests add optional interfaces.
type partialSink struct{ calls []string }

func (s *partialSink) WriteRows(context.Context, []*event.RowChanged) error { return nil }
func (s *partialSink) WriteDDL(context.Context, *event.DDL) error           { return nil }
func (s *partialSink) CheckTable(*event.TableInfo) error                    { return errFits }

var errFits = errors.New("the table fits")

type partialCheckpoints struct{ *partialSink }

func (s partialCheckpoints) WriteCheckpoint(context.Context, event.Ts) error {
	s.calls = append(s.calls, "checkpoint")
	return nil
}

func (s partialCheckpoints) WriteTables(context.Context, []*event.TableInfo) error {
	s.calls = append(s.calls, "tables")
	return nil
}

type partialTransactions struct{ *partialSink }

func (s partialTransactions) WriteTransactions(context.Context, []*event.RowChanged) error {
	s.calls = append(s.calls, "transactions")
	return nil
}

// TestObservedSinkIsWhole: what a sink can do besides rows and DDL is not lost behind
// the metrics.
func TestObservedSinkIsWhole(t *testing.T) {
	metrics := newSinkMetrics(prometheus.NewPedanticRegistry())
	for name, of := range map[string]func(*partialSink) sink.Sink{
		"":                  func(s *partialSink) sink.Sink { return s },
		"checkpoint tables": func(s *partialSink) sink.Sink { return partialCheckpoints{s} },
		"transactions":      func(s *partialSink) sink.Sink { return partialTransactions{s} },
		"checkpoint tables transactions": func(s *partialSink) sink.Sink {
			return struct {
				partialCheckpoints
				partialTransactions
				*partialSink
			}{partialCheckpoints{s}, partialTransactions{s}, s}
		},
	} {
		inner := &partialSink{}
		openers := metrics.observe(sink.Openers{"x": func(context.Context, *url.URL, sink.Config) (sink.Sink, io.Closer, error) {
			return of(inner), nil, nil
		}})
		s, _, err := openers.Open(t.Context(), "x://", sink.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := s.(sink.TableChecker); !ok || c.CheckTable(nil) != errFits {
			t.Errorf("a sink for %q is not asked about tables", name)
		}
		if w, ok := s.(sink.CheckpointWriter); ok {
			err = w.WriteCheckpoint(t.Context(), 1)
		}
		if w, ok := s.(sink.TablesWriter); ok && err == nil {
			err = w.WriteTables(t.Context(), nil)
		}
		if w, ok := s.(sink.TransactionWriter); ok && err == nil {
			err = w.WriteTransactions(t.Context(), nil)
		}
		if got := strings.Join(inner.calls, " "); got != name || err != nil {
			t.Errorf("a sink for %q is called for %q, error %v", name, got, err)
		}
	}
}

// TestChangefeedMetrics: errors count once, time as owner grows, and what is gone
// is forgotten.
func TestChangefeedMetrics(t *testing.T) {
	c := &fakeCapture{}
	var forgotten []string
	m := newChangefeedMetrics(c, func(id string) { forgotten = append(forgotten, id) })
	now := time.Unix(1000, 0)
	m.now = func() time.Time { return now }
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	read := func(name string) float64 {
		t.Helper()
		now = now.Add(15 * time.Second)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == name {
				return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return -1
	}
	failed := func(at int64) []cdc.ChangefeedInfo {
		return []cdc.ChangefeedInfo{{
			Spec: cdc.Spec{ID: "a"}, State: cdc.StateFailed,
			Error: &cdc.RunningError{Time: time.Unix(at, 0)},
		}}
	}
	c.feeds = failed(1)
	for _, want := range []float64{1, 1} {
		if got := read("ticdc_processor_exit_with_error_count"); got != want {
			t.Errorf("%v errors, want %v", got, want)
		}
	}
	c.feeds = failed(2)
	if got := read("ticdc_processor_exit_with_error_count"); got != 2 {
		t.Errorf("%v errors, want 2", got)
	}
	if got := read("ticdc_owner_status"); got != 2 {
		t.Errorf("state %v, want 2 for failed", got)
	}
	if got := read("ticdc_owner_ownership_counter"); got != 60 {
		t.Errorf("owner for %v s, want 60", got)
	}
	c.feeds = nil
	if got := read("ticdc_owner_status"); got != -1 || strings.Join(forgotten, " ") != "a" {
		t.Errorf("state %v, forgotten %v", got, forgotten)
	}
}
