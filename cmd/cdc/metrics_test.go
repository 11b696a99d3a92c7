package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidbcdc/tidbcdc/cdc"
)

// fakeCapture has what a test says.
type fakeCapture struct{ feeds []cdc.ChangefeedInfo }

func (*fakeCapture) Node() cdc.NodeInfo {
	return cdc.NodeInfo{CaptureInfo: cdc.CaptureInfo{ID: "me", IsOwner: true}}
}

func (c *fakeCapture) Changefeeds(context.Context) ([]cdc.ChangefeedInfo, error) {
	return c.feeds, nil
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
