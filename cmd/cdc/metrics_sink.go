package main

import (
	"context"
	"io"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// sinkMetrics observe the calls of all sinks. Names and labels are TiCDC's, so
// that its dashboards and alerts work; namespace is always "default".
type sinkMetrics struct {
	batchRows   *prometheus.HistogramVec
	writeTime   *prometheus.HistogramVec
	flushLag    *prometheus.HistogramVec
	ddlTime     *prometheus.HistogramVec
	errors      *prometheus.CounterVec
	rowsMounted *prometheus.CounterVec
}

func newSinkMetrics(registry prometheus.Registerer) *sinkMetrics {
	labels := []string{"namespace", "changefeed", "type"}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "ticdc", Subsystem: "sink", Name: name, Help: help, Buckets: buckets,
		}, labels)
	}
	m := &sinkMetrics{
		batchRows: histogram("batch_row_count", "Rows of a call of the sink.", prometheus.ExponentialBuckets(1, 2, 13)),
		writeTime: histogram("txn_worker_flush_duration", "Seconds that the sink took to write rows.", prometheus.ExponentialBuckets(0.001, 2, 18)),
		flushLag:  histogram("flush_lag_histogram", "Seconds from the commit of rows to their acknowledgement by the sink.", prometheus.ExponentialBuckets(0.01, 2, 18)),
		ddlTime:   histogram("ddl_exec_duration", "Seconds that the sink took to execute a DDL.", prometheus.ExponentialBuckets(0.001, 2, 20)),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ticdc", Subsystem: "sink", Name: "execution_error", Help: "Calls of the sink that failed.",
		}, labels),
		rowsMounted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ticdc", Subsystem: "mounter", Name: "total_rows_count", Help: "Rows that were decoded.",
		}, []string{"namespace", "changefeed"}),
	}
	registry.MustRegister(m.batchRows, m.writeTime, m.flushLag, m.ddlTime, m.errors, m.rowsMounted)
	return m
}

// observe returns openers whose sinks are observed.
func (m *sinkMetrics) observe(openers sink.Openers) sink.Openers {
	observed := sink.Openers{}
	for scheme, open := range openers {
		observed[scheme] = func(ctx context.Context, uri *url.URL, cfg sink.Config) (sink.Sink, io.Closer, error) {
			s, closer, err := open(ctx, uri, cfg)
			if err != nil {
				return nil, closer, err
			}
			labels := []string{"default", cfg.Changefeed, scheme}
			o := &observedSink{
				Sink: s, batchRows: m.batchRows.WithLabelValues(labels...), writeTime: m.writeTime.WithLabelValues(labels...),
				flushLag: m.flushLag.WithLabelValues(labels...), ddlTime: m.ddlTime.WithLabelValues(labels...),
				errors: m.errors.WithLabelValues(labels...), rowsMounted: m.rowsMounted.WithLabelValues(labels[:2]...),
			}
			return o.whole(), closer, nil
		}
	}
	return observed
}

// forget drops the metrics of a changefeed that is gone.
func (m *sinkMetrics) forget(changefeed string) {
	labels := prometheus.Labels{"changefeed": changefeed}
	for _, v := range []*prometheus.HistogramVec{m.batchRows, m.writeTime, m.flushLag, m.ddlTime} {
		v.DeletePartialMatch(labels)
	}
	m.errors.DeletePartialMatch(labels)
	m.rowsMounted.DeletePartialMatch(labels)
}

// observedSink measures the calls of a sink.
type observedSink struct {
	sink.Sink
	batchRows, writeTime, flushLag, ddlTime prometheus.Observer
	errors, rowsMounted                     prometheus.Counter
}

// WriteRows implements sink.Sink.
func (o *observedSink) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	return o.observeRows(rows, func() error { return o.Sink.WriteRows(ctx, rows) })
}

func (o *observedSink) observeRows(rows []*event.RowChanged, write func() error) error {
	begin := time.Now()
	err := write()
	if err != nil {
		o.errors.Inc()
		return err
	}
	end := time.Now()
	o.batchRows.Observe(float64(len(rows)))
	o.rowsMounted.Add(float64(len(rows)))
	o.writeTime.Observe(end.Sub(begin).Seconds())
	if len(rows) > 0 {
		o.flushLag.Observe(max(end.Sub(rows[0].CommitTs.Time()).Seconds(), 0))
	}
	return nil
}

// WriteDDL implements sink.Sink.
func (o *observedSink) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	begin := time.Now()
	err := o.Sink.WriteDDL(ctx, ddl)
	if err != nil {
		o.errors.Inc()
		return err
	}
	o.ddlTime.Observe(time.Since(begin).Seconds())
	return nil
}

// CheckTable implements sink.TableChecker for a sink that may not like a table.
func (o *observedSink) CheckTable(table *event.TableInfo) error {
	if c, ok := o.Sink.(sink.TableChecker); ok {
		return c.CheckTable(table)
	}
	return nil
}

// whole returns the sink with the optional interfaces of what it observes.
func (o *observedSink) whole() sink.Sink {
	_, checkpoints := o.Sink.(sink.CheckpointWriter)
	_, transactions := o.Sink.(sink.TransactionWriter)
	switch {
	case checkpoints && transactions:
		return &struct {
			*observedCheckpointSink
			*observedTransactions
		}{&observedCheckpointSink{o}, &observedTransactions{o}}
	case checkpoints:
		return &observedCheckpointSink{o}
	case transactions:
		return &struct {
			*observedSink
			*observedTransactions
		}{o, &observedTransactions{o}}
	}
	return o
}

// observedTransactions is what is added for a sink that keeps transactions whole.
type observedTransactions struct{ observed *observedSink }

// WriteTransactions implements sink.TransactionWriter.
func (o *observedTransactions) WriteTransactions(ctx context.Context, rows []*event.RowChanged) error {
	return o.observed.observeRows(rows, func() error {
		return o.observed.Sink.(sink.TransactionWriter).WriteTransactions(ctx, rows)
	})
}

// observedCheckpointSink is one whose sink wants to know the checkpoint.
type observedCheckpointSink struct{ *observedSink }

// WriteCheckpoint implements sink.CheckpointWriter.
func (o *observedCheckpointSink) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	return o.Sink.(sink.CheckpointWriter).WriteCheckpoint(ctx, ts)
}

// WriteTables implements sink.TablesWriter for a sink that wants to know the tables.
func (o *observedCheckpointSink) WriteTables(ctx context.Context, tables []*event.TableInfo) error {
	if w, ok := o.Sink.(sink.TablesWriter); ok {
		return w.WriteTables(ctx, tables)
	}
	return nil
}
