package main

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// capture is what metrics are made of.
type capture interface {
	Node() cdc.NodeInfo
	Changefeeds(ctx context.Context) ([]cdc.ChangefeedInfo, error)
	LocalStatus() map[string]cdc.Status
}

// upstream is the cluster that changefeeds follow.
type upstream interface {
	CurrentTs(ctx context.Context) (event.Ts, error)
	Status() cdc.UpstreamStatus
}

// changefeedMetrics collects, when it is asked, how changefeeds are: the owner all of
// them, and every capture its own parts.
type changefeedMetrics struct {
	capture  capture
	upstream upstream
	sinks    *sinkMetrics
	now      func() time.Time

	mu    sync.Mutex
	known map[string]*errorCount // changefeeds of the last collection
	// owned is for how many seconds this capture has been the owner, as far as
	// collections have seen it.
	owned     float64
	collected time.Time
}

// errorCount is how many errors of a changefeed collections have seen.
type errorCount struct {
	n    float64
	last time.Time
}

func newChangefeedMetrics(c capture, up upstream, sinks *sinkMetrics) *changefeedMetrics {
	return &changefeedMetrics{capture: c, upstream: up, sinks: sinks, now: time.Now}
}

// Names, labels and units are TiCDC's.
var (
	perChangefeed     = []string{"namespace", "changefeed"}
	perType           = []string{"namespace", "changefeed", "type"}
	checkpointTsDesc  = prometheus.NewDesc("ticdc_owner_checkpoint_ts", "Checkpoint of a changefeed, in milliseconds since 1970.", perChangefeed, nil)
	checkpointLagDesc = prometheus.NewDesc("ticdc_owner_checkpoint_ts_lag", "How far a changefeed's checkpoint is behind, in seconds.", perChangefeed, nil)
	resolvedTsDesc    = prometheus.NewDesc("ticdc_owner_resolved_ts", "Resolved ts of a changefeed, in milliseconds since 1970.", perChangefeed, nil)
	resolvedLagDesc   = prometheus.NewDesc("ticdc_owner_resolved_ts_lag", "How far a changefeed's resolved ts is behind, in seconds.", perChangefeed, nil)
	barrierTsDesc     = prometheus.NewDesc("ticdc_owner_barrier_ts", "Commit of the first DDL of a changefeed that waits, or else up to when there is none, in milliseconds since 1970.", perChangefeed, nil)
	currentTsDesc     = prometheus.NewDesc("ticdc_owner_current_pd_ts", "PD's time, in milliseconds since 1970.", perChangefeed, nil)
	statusDesc        = prometheus.NewDesc("ticdc_owner_status", "State of a changefeed: 0 normal, 1 pending, 2 failed, 3 stopped, 4 finished, 6 warning.", perChangefeed, nil)
	ownershipDesc     = prometheus.NewDesc("ticdc_owner_ownership_counter", "Seconds for which this capture has been the owner.", nil, nil)
	tablesDesc        = prometheus.NewDesc("ticdc_processor_num_of_tables", "Tables and partitions that this capture follows.", perChangefeed, nil)
	exitErrorDesc     = prometheus.NewDesc("ticdc_processor_exit_with_error_count", "Errors that ended a changefeed's work, or failed it.", perChangefeed, nil)
	pulledDesc        = prometheus.NewDesc("ticdc_kvclient_pull_event_count", "Rows that this capture has received from TiKV, once for all changefeeds that share them.", []string{"type"}, nil)
	collectedDesc     = prometheus.NewDesc("ticdc_puller_txn_collect_event_count", "Rows that a changefeed has received since it was started.", perType, nil)
	inMemoryDesc      = prometheus.NewDesc("ticdc_sorter_in_memory_data_size_gauge", "Bytes that a changefeed holds in memory.", perChangefeed, nil)
	onDiskDesc        = prometheus.NewDesc("ticdc_sorter_on_disk_data_size_gauge", "Bytes that a changefeed holds on disk.", perChangefeed, nil)
	outputDesc        = prometheus.NewDesc("ticdc_sorter_output_event_count", "Rows that a changefeed has written since it was started.", perChangefeed, nil)
	slowTableLagDesc  = prometheus.NewDesc("ticdc_scheduler_slow_table_checkpoint_ts_lag", "How far the slowest table of a changefeed on this capture is behind, in seconds.", perChangefeed, nil)
	slowTablePullDesc = prometheus.NewDesc("ticdc_scheduler_slow_table_puller_resolved_ts_lag", "How far reading of the slowest table is behind, in seconds.", perChangefeed, nil)
	slowTableIDDesc   = prometheus.NewDesc("ticdc_scheduler_slow_table_id", "Id of the slowest table of a changefeed on this capture.", perChangefeed, nil)
	safePointDesc     = prometheus.NewDesc("ticdc_gc_min_service_gc_safepoint", "Least service GC safe point of the upstream as this capture last saw it, in milliseconds since 1970.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *changefeedMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		checkpointTsDesc, checkpointLagDesc, resolvedTsDesc, resolvedLagDesc, barrierTsDesc, currentTsDesc, statusDesc, ownershipDesc,
		tablesDesc, exitErrorDesc, pulledDesc, collectedDesc, inMemoryDesc, onDiskDesc, outputDesc,
		slowTableLagDesc, slowTablePullDesc, slowTableIDDesc, safePointDesc,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *changefeedMetrics) Collect(out chan<- prometheus.Metric) {
	now := m.now()
	m.sinks.forgetUnused(now)
	m.collectUpstream(out)
	owner := m.capture.Node().IsOwner
	out <- prometheus.MustNewConstMetric(ownershipDesc, prometheus.CounterValue, m.ownedSeconds(now, owner))
	parts := m.capture.LocalStatus()
	for id, st := range parts {
		collectPart(out, now, id, &st)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	feeds, err := m.capture.Changefeeds(ctx)
	if err != nil {
		return // the capture is starting, or not the owner
	}
	var current event.Ts // 0: PD does not say
	if len(feeds) > 0 {
		current, _ = m.currentTs(ctx)
	}
	errors := m.countErrors(feeds)
	for i := range feeds {
		f := &feeds[i]
		gauge := gaugesOf(out, f.Spec.ID)
		gauge(statusDesc, stateCode(f.State))
		gauge(checkpointTsDesc, float64(f.CheckpointTs.Physical()))
		gauge(checkpointLagDesc, lagSeconds(now, f.CheckpointTs))
		if f.ResolvedTs != 0 {
			gauge(resolvedTsDesc, float64(f.ResolvedTs.Physical()))
			gauge(resolvedLagDesc, lagSeconds(now, f.ResolvedTs))
		}
		if st, ok := parts[f.Spec.ID]; ok && st.BarrierTs != 0 {
			gauge(barrierTsDesc, float64(st.BarrierTs.Physical()))
		}
		if current != 0 {
			gauge(currentTsDesc, float64(current.Physical()))
		}
		out <- prometheus.MustNewConstMetric(exitErrorDesc, prometheus.CounterValue, errors[f.Spec.ID], "default", f.Spec.ID)
	}
}

// collectUpstream says what this capture and the cluster have to do with each other.
func (m *changefeedMetrics) collectUpstream(out chan<- prometheus.Metric) {
	st := m.upstream.Status()
	out <- prometheus.MustNewConstMetric(pulledDesc, prometheus.CounterValue, float64(st.Received), "row")
	if st.ServiceSafePoint != 0 {
		out <- prometheus.MustNewConstMetric(safePointDesc, prometheus.GaugeValue, float64(st.ServiceSafePoint.Physical()))
	}
}

// collectPart says how the part of a changefeed is that runs here.
func collectPart(out chan<- prometheus.Metric, now time.Time, id string, st *cdc.Status) {
	gauge := gaugesOf(out, id)
	gauge(tablesDesc, float64(st.Tables))
	gauge(inMemoryDesc, float64(st.MemoryBytes))
	gauge(onDiskDesc, float64(st.SpilledBytes))
	out <- prometheus.MustNewConstMetric(collectedDesc, prometheus.CounterValue, float64(st.Received), "default", id, "kv")
	out <- prometheus.MustNewConstMetric(outputDesc, prometheus.CounterValue, float64(st.Rows), "default", id)
	if len(st.Slowest) > 0 {
		slowest := &st.Slowest[0]
		gauge(slowTableIDDesc, float64(slowest.PhysicalID))
		gauge(slowTableLagDesc, lagSeconds(now, slowest.CheckpointTs))
		gauge(slowTablePullDesc, lagSeconds(now, slowest.ResolvedTs))
	}
}

func gaugesOf(out chan<- prometheus.Metric, changefeed string) func(*prometheus.Desc, float64) {
	return func(desc *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, "default", changefeed)
	}
}

// currentTs asks PD for its time; a scrape does not wait long for it.
func (m *changefeedMetrics) currentTs(ctx context.Context) (event.Ts, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return m.upstream.CurrentTs(ctx)
}

func (m *changefeedMetrics) ownedSeconds(now time.Time, owner bool) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if owner && !m.collected.IsZero() {
		m.owned += now.Sub(m.collected).Seconds()
	}
	m.collected = now
	return m.owned
}

// countErrors counts the errors that changefeeds show and have not shown before,
// and drops the metrics of changefeeds that were removed.
func (m *changefeedMetrics) countErrors(feeds []cdc.ChangefeedInfo) map[string]float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts, present := map[string]float64{}, map[string]*errorCount{}
	for i := range feeds {
		f := &feeds[i]
		c := m.known[f.Spec.ID]
		if c == nil {
			c = &errorCount{}
		}
		// While a write is being tried again, the work goes on.
		retried := f.Status.Err != nil
		if f.Error != nil && !retried && !f.Error.Time.Equal(c.last) {
			c.n, c.last = c.n+1, f.Error.Time
		}
		counts[f.Spec.ID], present[f.Spec.ID] = c.n, c
	}
	for id := range m.known {
		if present[id] == nil {
			m.sinks.forget(id)
		}
	}
	m.known = present
	return counts
}

func lagSeconds(now time.Time, ts event.Ts) float64 {
	if ts == 0 {
		return 0
	}
	return max(now.Sub(ts.Time()).Seconds(), 0)
}

// stateCode is TiCDC's number for a state, in which its alerts are written.
func stateCode(s cdc.State) float64 {
	switch s {
	case cdc.StateNormal:
		return 0
	case cdc.StatePending:
		return 1
	case cdc.StateFailed:
		return 2
	case cdc.StateStopped:
		return 3
	case cdc.StateFinished:
		return 4
	case cdc.StateWarning:
		return 6
	}
	return -1
}
