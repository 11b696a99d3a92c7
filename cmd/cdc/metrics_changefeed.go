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
}

// changefeedMetrics collects, when it is asked, how changefeeds are.
type changefeedMetrics struct {
	capture capture
	forget  func(changefeed string)
	now     func() time.Time

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

func newChangefeedMetrics(c capture, forget func(string)) *changefeedMetrics {
	return &changefeedMetrics{capture: c, forget: forget, now: time.Now}
}

// Names, labels and units are TiCDC's.
var (
	perChangefeed     = []string{"namespace", "changefeed"}
	checkpointTsDesc  = prometheus.NewDesc("ticdc_owner_checkpoint_ts", "Checkpoint of a changefeed, in milliseconds since 1970.", perChangefeed, nil)
	checkpointLagDesc = prometheus.NewDesc("ticdc_owner_checkpoint_ts_lag", "How far a changefeed's checkpoint is behind, in seconds.", perChangefeed, nil)
	resolvedTsDesc    = prometheus.NewDesc("ticdc_owner_resolved_ts", "Resolved ts of a changefeed, in milliseconds since 1970.", perChangefeed, nil)
	resolvedLagDesc   = prometheus.NewDesc("ticdc_owner_resolved_ts_lag", "How far a changefeed's resolved ts is behind, in seconds.", perChangefeed, nil)
	statusDesc        = prometheus.NewDesc("ticdc_owner_status", "State of a changefeed: 0 normal, 1 pending, 2 failed, 3 stopped, 4 finished, 6 warning.", perChangefeed, nil)
	ownershipDesc     = prometheus.NewDesc("ticdc_owner_ownership_counter", "Seconds for which this capture has been the owner.", nil, nil)
	tablesDesc        = prometheus.NewDesc("ticdc_processor_num_of_tables", "Tables and partitions that this capture follows.", perChangefeed, nil)
	exitErrorDesc     = prometheus.NewDesc("ticdc_processor_exit_with_error_count", "Errors that ended a changefeed's work, or failed it.", perChangefeed, nil)
	inMemoryDesc      = prometheus.NewDesc("ticdc_sorter_in_memory_data_size_gauge", "Bytes that a changefeed holds in memory.", perChangefeed, nil)
	onDiskDesc        = prometheus.NewDesc("ticdc_sorter_on_disk_data_size_gauge", "Bytes that a changefeed holds on disk.", perChangefeed, nil)
	outputDesc        = prometheus.NewDesc("ticdc_sorter_output_event_count", "Rows that a changefeed has written since it was started.", perChangefeed, nil)
	slowTableLagDesc  = prometheus.NewDesc("ticdc_scheduler_slow_table_checkpoint_ts_lag", "How far the slowest table of a changefeed is behind, in seconds.", perChangefeed, nil)
	slowTableIDDesc   = prometheus.NewDesc("ticdc_scheduler_slow_table_id", "Id of the slowest table of a changefeed.", perChangefeed, nil)
)

// Describe implements prometheus.Collector.
func (m *changefeedMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		checkpointTsDesc, checkpointLagDesc, resolvedTsDesc, resolvedLagDesc, statusDesc, ownershipDesc,
		tablesDesc, exitErrorDesc, inMemoryDesc, onDiskDesc, outputDesc, slowTableLagDesc, slowTableIDDesc,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *changefeedMetrics) Collect(out chan<- prometheus.Metric) {
	now := m.now()
	node := m.capture.Node()
	out <- prometheus.MustNewConstMetric(ownershipDesc, prometheus.CounterValue, m.ownedSeconds(now, node.IsOwner))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	feeds, err := m.capture.Changefeeds(ctx)
	if err != nil {
		return // the capture is starting, or not the owner
	}
	errors := m.countErrors(feeds)
	for i := range feeds {
		f := &feeds[i]
		gauge := func(desc *prometheus.Desc, value float64) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, "default", f.Spec.ID)
		}
		gauge(statusDesc, stateCode(f.State))
		gauge(checkpointTsDesc, float64(f.CheckpointTs.Physical()))
		gauge(checkpointLagDesc, lagSeconds(now, f.CheckpointTs))
		if f.ResolvedTs != 0 {
			gauge(resolvedTsDesc, float64(f.ResolvedTs.Physical()))
			gauge(resolvedLagDesc, lagSeconds(now, f.ResolvedTs))
		}
		for _, task := range f.Tasks {
			if task.CaptureID == node.ID {
				gauge(tablesDesc, float64(len(task.TableIDs)))
			}
		}
		out <- prometheus.MustNewConstMetric(exitErrorDesc, prometheus.CounterValue, errors[f.Spec.ID], "default", f.Spec.ID)
		gauge(inMemoryDesc, float64(f.Status.MemoryBytes))
		gauge(onDiskDesc, float64(f.Status.SpilledBytes))
		out <- prometheus.MustNewConstMetric(outputDesc, prometheus.CounterValue, float64(f.Status.Rows), "default", f.Spec.ID)
		if len(f.Status.Slowest) > 0 {
			gauge(slowTableIDDesc, float64(f.Status.Slowest[0].PhysicalID))
			gauge(slowTableLagDesc, lagSeconds(now, f.Status.Slowest[0].CheckpointTs))
		}
	}
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
		if f.Error != nil && f.Error.Time.After(c.last) {
			c.n, c.last = c.n+1, f.Error.Time
		}
		counts[f.Spec.ID], present[f.Spec.ID] = c.n, c
	}
	for id := range m.known {
		if present[id] == nil {
			m.forget(id)
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
