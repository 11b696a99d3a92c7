package main

import (
	"context"
	"io"
	"net/url"
	"sync"
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
	sendTime    *prometheus.HistogramVec // writeTime of Kafka
	flushLag    *prometheus.HistogramVec
	ddlTime     *prometheus.HistogramVec
	errors      *prometheus.CounterVec
	rowsMounted *prometheus.CounterVec

	mu   sync.Mutex
	uses map[string]*sinkUse // by changefeed
}

// sinkUse is how many sinks of a changefeed are open, and since when none is.
type sinkUse struct {
	open   int
	unused time.Time
}

// keepUnused is for how long metrics of a changefeed stay that has no open sink:
// longer than the longest wait after an error.
const keepUnused = 15 * time.Minute

func newSinkMetrics(registry prometheus.Registerer) *sinkMetrics {
	labels := []string{"namespace", "changefeed", "type"}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "ticdc", Subsystem: "sink", Name: name, Help: help, Buckets: buckets,
		}, labels)
	}
	times := prometheus.ExponentialBuckets(0.001, 2, 18)
	m := &sinkMetrics{
		batchRows: histogram("batch_row_count", "Rows of a call of the sink.", prometheus.ExponentialBuckets(1, 2, 13)),
		writeTime: histogram("txn_worker_flush_duration", "Seconds that the sink took to write rows.", times),
		sendTime:  histogram("mq_worker_send_message_duration", "Seconds that a Kafka sink took to write rows.", times),
		flushLag:  histogram("flush_lag_histogram", "Seconds from the commit of rows to their acknowledgement by the sink.", prometheus.ExponentialBuckets(0.01, 2, 18)),
		ddlTime:   histogram("ddl_exec_duration", "Seconds that the sink took to execute a DDL.", prometheus.ExponentialBuckets(0.001, 2, 20)),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ticdc", Subsystem: "sink", Name: "execution_error", Help: "Calls of the sink that failed.",
		}, labels),
		rowsMounted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ticdc", Subsystem: "mounter", Name: "total_rows_count", Help: "Rows that were decoded.",
		}, []string{"namespace", "changefeed"}),
		uses: map[string]*sinkUse{},
	}
	registry.MustRegister(m.batchRows, m.writeTime, m.sendTime, m.flushLag, m.ddlTime, m.errors, m.rowsMounted)
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
			return m.observeSink(s, cfg.Changefeed, scheme), m.use(cfg.Changefeed, closer), nil
		}
	}
	return observed
}

// observeSink returns a sink that has the optional methods that s has.
func (m *sinkMetrics) observeSink(s sink.Sink, changefeed, scheme string) sink.Sink {
	labels := []string{"default", changefeed, scheme}
	times := m.writeTime
	if scheme == "kafka" || scheme == "kafka+ssl" {
		times = m.sendTime
	}
	o := &observedSink{
		Sink: s, batchRows: m.batchRows.WithLabelValues(labels...), writeTime: times.WithLabelValues(labels...),
		flushLag: m.flushLag.WithLabelValues(labels...), ddlTime: m.ddlTime.WithLabelValues(labels...),
		errors: m.errors.WithLabelValues(labels...), rowsMounted: m.rowsMounted.WithLabelValues(labels[:2]...),
	}
	checkpointWriter, isCheckpointWriter := s.(sink.CheckpointWriter)
	transactionWriter, isTransactionWriter := s.(sink.TransactionWriter)
	checkpoints, transactions := passedCheckpoints{s, checkpointWriter}, observedTransactions{o, transactionWriter}
	switch {
	case isCheckpointWriter && isTransactionWriter:
		return &struct {
			observedTransactions
			passedCheckpoints
		}{transactions, checkpoints}
	case isTransactionWriter:
		return transactions
	case isCheckpointWriter:
		return &struct {
			*observedSink
			passedCheckpoints
		}{o, checkpoints}
	}
	return o
}

// use notes that a sink of a changefeed is open until the Closer is closed, which
// closes closer.
func (m *sinkMetrics) use(changefeed string, closer io.Closer) io.Closer {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.uses[changefeed]
	if u == nil {
		u = &sinkUse{}
		m.uses[changefeed] = u
	}
	u.open++
	return closerFunc(func() error {
		m.mu.Lock()
		u.open--
		u.unused = time.Now()
		m.mu.Unlock()
		if closer == nil {
			return nil
		}
		return closer.Close()
	})
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

// forgetUnused drops the metrics of changefeeds that have had no open sink for long:
// they are gone, or not run here.
func (m *sinkMetrics) forgetUnused(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for changefeed, u := range m.uses {
		if u.open == 0 && now.Sub(u.unused) >= keepUnused {
			m.forgetLocked(changefeed)
		}
	}
}

// forget drops the metrics of a changefeed that is gone.
func (m *sinkMetrics) forget(changefeed string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgetLocked(changefeed)
}

func (m *sinkMetrics) forgetLocked(changefeed string) {
	delete(m.uses, changefeed)
	labels := prometheus.Labels{"changefeed": changefeed}
	for _, v := range []*prometheus.HistogramVec{m.batchRows, m.writeTime, m.sendTime, m.flushLag, m.ddlTime} {
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
	return o.write(ctx, rows, o.Sink.WriteRows)
}

func (o *observedSink) write(ctx context.Context, rows []*event.RowChanged, write func(context.Context, []*event.RowChanged) error) error {
	begin := time.Now()
	err := write(ctx, rows)
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

// passedCheckpoints are for a sink that wants to know checkpoints, and perhaps tables.
type passedCheckpoints struct {
	sink   sink.Sink
	writer sink.CheckpointWriter
}

// WriteCheckpoint implements sink.CheckpointWriter.
func (c passedCheckpoints) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	return c.writer.WriteCheckpoint(ctx, ts)
}

// WriteTables implements sink.TablesWriter for a sink that wants to know the tables.
func (c passedCheckpoints) WriteTables(ctx context.Context, tables []*event.TableInfo) error {
	if w, ok := c.sink.(sink.TablesWriter); ok {
		return w.WriteTables(ctx, tables)
	}
	return nil
}

// observedTransactions is an observedSink that can keep transactions whole.
type observedTransactions struct {
	*observedSink
	writer sink.TransactionWriter
}

// WriteTransactions implements sink.TransactionWriter.
func (o observedTransactions) WriteTransactions(ctx context.Context, rows []*event.RowChanged) error {
	return o.write(ctx, rows, o.writer.WriteTransactions)
}
