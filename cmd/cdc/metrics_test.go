package main

import (
	"context"
	"errors"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// fakeCapture has what a test says.
type fakeCapture struct {
	feeds []cdc.ChangefeedInfo
	err   error // of Changefeeds
	parts map[string]cdc.Status
}

func (c *fakeCapture) Node() cdc.NodeInfo {
	return cdc.NodeInfo{CaptureInfo: cdc.CaptureInfo{ID: "me", IsOwner: c.err == nil}}
}

func (c *fakeCapture) Changefeeds(context.Context) ([]cdc.ChangefeedInfo, error) {
	return c.feeds, c.err
}

func (c *fakeCapture) LocalStatus() map[string]cdc.Status { return c.parts }

// fakeUpstream is a cluster whose PD has a time.
type fakeUpstream struct{ now time.Time }

func (u *fakeUpstream) CurrentTs(context.Context) (event.Ts, error) { return event.NewTs(u.now), nil }

func (u *fakeUpstream) Status() cdc.UpstreamStatus {
	return cdc.UpstreamStatus{Received: 7, ServiceSafePoint: event.NewTs(time.Unix(900, 0))}
}

// metricsWorld is what metrics are made of, and a registry that has them.
type metricsWorld struct {
	t        *testing.T
	capture  *fakeCapture
	sinks    *sinkMetrics
	registry *prometheus.Registry
	now      time.Time
}

func newMetricsWorld(t *testing.T) *metricsWorld {
	w := &metricsWorld{t: t, capture: &fakeCapture{}, registry: prometheus.NewPedanticRegistry(), now: time.Unix(1000, 0)}
	w.sinks = newSinkMetrics(w.registry)
	m := newChangefeedMetrics(w.capture, &fakeUpstream{w.now}, w.sinks)
	m.now = func() time.Time { return w.now }
	w.registry.MustRegister(m)
	return w
}

// read collects 15 seconds later, and returns the first value of a metric: the
// number of observations of a histogram; -1 if there is none.
func (w *metricsWorld) read(name string) float64 {
	w.t.Helper()
	w.now = w.now.Add(15 * time.Second)
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if m := f.GetMetric()[0]; f.GetName() == name {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return -1
}

func (w *metricsWorld) want(name string, want float64) {
	w.t.Helper()
	if got := w.read(name); got != want {
		w.t.Errorf("%s is %v, want %v", name, got, want)
	}
}

// wantGone collects twice: collectors are asked in any order, so that what one finds
// to be gone may still be there once.
func (w *metricsWorld) wantGone(name string) {
	w.t.Helper()
	w.read(name)
	w.want(name, -1)
}

// TestChangefeedMetrics: errors count once, and those of writes that are tried again
// not at all; time as owner grows; what is gone is forgotten.
func TestChangefeedMetrics(t *testing.T) {
	w := newMetricsWorld(t)
	w.sinks.observeSink(sink.RowFunc(nil), "a", "test")
	failed := func(at int64) []cdc.ChangefeedInfo {
		return []cdc.ChangefeedInfo{{
			Spec: cdc.Spec{ID: "a"}, State: cdc.StateFailed,
			Error: &cdc.RunningError{Time: time.Unix(at, 0)},
		}}
	}
	w.capture.feeds = failed(1)
	w.want("ticdc_processor_exit_with_error_count", 1)
	w.want("ticdc_processor_exit_with_error_count", 1)
	w.capture.feeds = failed(2)
	w.want("ticdc_processor_exit_with_error_count", 2)
	w.capture.feeds = failed(3)
	w.capture.feeds[0].Status.Err = errors.New("the sink is away")
	w.want("ticdc_processor_exit_with_error_count", 2)
	w.want("ticdc_owner_status", 2)
	w.want("ticdc_owner_ownership_counter", 75)
	w.want("ticdc_owner_current_pd_ts", 1_000_000)
	w.want("ticdc_sink_execution_error", 0)
	w.capture.feeds = nil
	w.want("ticdc_owner_status", -1)
	w.wantGone("ticdc_sink_execution_error")
}

// TestPartMetrics: a capture that is not the owner has those of what it does itself.
func TestPartMetrics(t *testing.T) {
	w := newMetricsWorld(t)
	at := func(seconds int64) event.Ts { return event.NewTs(time.Unix(seconds, 0)) }
	w.capture.parts = map[string]cdc.Status{"a": {
		Tables: 3, MemoryBytes: 4, SpilledBytes: 5, Received: 9, Rows: 6, BarrierTs: at(990),
		Slowest: []cdc.TableStatus{{PhysicalID: 108, CheckpointTs: at(985), ResolvedTs: at(995)}},
	}}
	for _, owner := range []bool{false, true} {
		barrier := -1.0
		if w.capture.err = cdc.ErrNotOwner; owner {
			w.capture.err, w.capture.feeds, barrier = nil, []cdc.ChangefeedInfo{{Spec: cdc.Spec{ID: "a"}}}, 990_000
		}
		w.want("ticdc_owner_barrier_ts", barrier)
		w.want("ticdc_processor_num_of_tables", 3)
		w.want("ticdc_sorter_in_memory_data_size_gauge", 4)
		w.want("ticdc_sorter_on_disk_data_size_gauge", 5)
		w.want("ticdc_sorter_output_event_count", 6)
		w.want("ticdc_kvclient_pull_event_count", 7)
		w.want("ticdc_puller_txn_collect_event_count", 9)
		w.want("ticdc_gc_min_service_gc_safepoint", 900_000)
		w.want("ticdc_scheduler_slow_table_id", 108)
		w.now = time.Unix(985, 0)
		w.want("ticdc_scheduler_slow_table_checkpoint_ts_lag", 15)
		w.now = time.Unix(985, 0)
		w.want("ticdc_scheduler_slow_table_puller_resolved_ts_lag", 5)
	}
}

// fullSink has all the methods that a sink may have.
type fullSink struct {
	sink.RowFunc
	calls string
}

func (s *fullSink) WriteCheckpoint(context.Context, event.Ts) error {
	s.calls += "checkpoint "
	return nil
}

func (s *fullSink) WriteTransactions(context.Context, []*event.RowChanged) error {
	s.calls += "transactions "
	return nil
}

// TestObservedSink: a sink that is observed can do what it can do unobserved.
func TestObservedSink(t *testing.T) {
	rows := sink.RowFunc(func(context.Context, []*event.RowChanged) error { return nil })
	full := &fullSink{RowFunc: rows}
	for _, s := range []sink.Sink{
		rows, full,
		struct {
			sink.Sink
			sink.CheckpointWriter
		}{rows, full},
		struct {
			sink.Sink
			sink.TransactionWriter
		}{rows, full},
	} {
		w := newMetricsWorld(t)
		o := w.sinks.observeSink(s, "a", "kafka")
		_, wantCheckpoints := s.(sink.CheckpointWriter)
		_, wantTransactions := s.(sink.TransactionWriter)
		checkpoints, isCheckpointWriter := o.(sink.CheckpointWriter)
		transactions, isTransactionWriter := o.(sink.TransactionWriter)
		if isCheckpointWriter != wantCheckpoints || isTransactionWriter != wantTransactions {
			t.Fatalf("%T: takes checkpoints: %t, transactions: %t", s, isCheckpointWriter, isTransactionWriter)
		}
		full.calls = ""
		want, calls := "", 1
		if err := o.WriteRows(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if isCheckpointWriter {
			want += "checkpoint "
			if err := checkpoints.WriteCheckpoint(t.Context(), 1); err != nil {
				t.Error(err)
			}
		}
		if isTransactionWriter {
			want, calls = want+"transactions ", 2
			if err := transactions.WriteTransactions(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
		if full.calls != want {
			t.Errorf("%T: calls %q, want %q", s, full.calls, want)
		}
		w.want("ticdc_sink_mq_worker_send_message_duration", float64(calls))
		w.want("ticdc_sink_txn_worker_flush_duration", -1)
	}
}

// TestUnusedSinkMetrics: those of changefeeds that have no sink here any more go by
// themselves: nobody says so to a capture that is not the owner.
func TestUnusedSinkMetrics(t *testing.T) {
	w := newMetricsWorld(t)
	w.capture.err = cdc.ErrNotOwner
	openers := w.sinks.observe(sink.Openers{"test": func(context.Context, *url.URL, sink.Config) (sink.Sink, io.Closer, error) {
		return sink.RowFunc(nil), nil, nil
	}})
	_, closer, err := openers.Open(t.Context(), "test://", sink.Config{Changefeed: "a"})
	if err != nil {
		t.Fatal(err)
	}
	w.now = time.Now().Add(time.Hour)
	w.want("ticdc_sink_execution_error", 0)
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	w.now = time.Now()
	w.want("ticdc_sink_execution_error", 0)
	w.now = time.Now().Add(time.Hour)
	w.wantGone("ticdc_sink_execution_error")
}
