package main

import (
	"runtime/metrics"

	"github.com/prometheus/client_golang/prometheus"
)

// registerRuntimeMetrics adds what TiCDC tells of Go, besides the usual metrics.
func registerRuntimeMetrics(registry prometheus.Registerer) {
	gauge := func(name, help, source string) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "ticdc", Subsystem: "server", Name: name, Help: help}, func() float64 {
			sample := []metrics.Sample{{Name: source}}
			metrics.Read(sample)
			if sample[0].Value.Kind() != metrics.KindUint64 {
				return 0 // unknown to this version of Go
			}
			return float64(sample[0].Value.Uint64())
		})
	}
	registry.MustRegister(
		gauge("go_gc", "GOGC.", "/gc/gogc:percent"),
		gauge("go_max_procs", "GOMAXPROCS.", "/sched/gomaxprocs:threads"),
	)
}
