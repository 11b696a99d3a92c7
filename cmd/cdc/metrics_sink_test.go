package main

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

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
