package cdc_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

func TestNewChangefeedValidates(t *testing.T) {
	discard := sink.RowFunc(func(context.Context, []*event.RowChanged) error { return nil })
	valid := func() cdc.Config {
		return cdc.Config{ID: "a-1", Upstream: &cdc.Upstream{}, Sink: discard, Logger: slog.New(slog.DiscardHandler)}
	}
	if _, err := cdc.NewChangefeed(valid()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*cdc.Config)
		is     error
		naming string
	}{
		{"no id", func(c *cdc.Config) { c.ID = "" }, nil, "Config.ID"},
		{"id with a slash", func(c *cdc.Config) { c.ID = "../a" }, nil, `"../a"`},
		{"id with two dashes", func(c *cdc.Config) { c.ID = "a--b" }, nil, "Config.ID"},
		{"long id", func(c *cdc.Config) { c.ID = strings.Repeat("a", 129) }, nil, "128"},
		{"no upstream", func(c *cdc.Config) { c.Upstream = nil }, nil, "Config.Upstream"},
		{"no sink", func(c *cdc.Config) { c.Sink = nil }, nil, "Config.Sink"},
		{"target at start", func(c *cdc.Config) { c.StartTs, c.TargetTs = 5, 5 }, cdc.ErrTargetTsBeforeStartTs, "5"},
		{"negative concurrency", func(c *cdc.Config) { c.WriteConcurrency = -1 }, nil, "WriteConcurrency"},
		{"negative batch", func(c *cdc.Config) { c.BatchRows = -1 }, nil, "BatchRows"},
		{"small quota", func(c *cdc.Config) { c.MemoryQuota = 64 }, nil, "MemoryQuota 64"},
		{"negative quota", func(c *cdc.Config) { c.MemoryQuota = -1 }, nil, "MemoryQuota"},
		{"negative drain", func(c *cdc.Config) { c.DrainTimeout = -1 }, nil, "DrainTimeout"},
		{"GC TTL too short", func(c *cdc.Config) { c.GCTTL = time.Second }, nil, "GCTTL"},
	} {
		cfg := valid()
		c.change(&cfg)
		_, err := cdc.NewChangefeed(cfg)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.naming) {
			t.Errorf("%s: %v; want %v naming %s", c.name, err, c.is, c.naming)
		}
	}
}

func TestStatusBeforeRun(t *testing.T) {
	feed, err := cdc.NewChangefeed(cdc.Config{
		ID: "a", Upstream: &cdc.Upstream{}, Logger: slog.New(slog.DiscardHandler),
		Sink: sink.RowFunc(func(context.Context, []*event.RowChanged) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	st := feed.Status()
	if st.State != cdc.StateStopped || st.CheckpointTs != 0 || st.CheckpointLag(time.Now()) != 0 {
		t.Errorf("status %+v", st)
	}
}

func TestIneligibleTablesErrorIsShort(t *testing.T) {
	tables := strings.Fields(strings.Repeat("db.t ", 500))
	msg := (&cdc.IneligibleTablesError{Tables: tables}).Error()
	if len(msg) > 400 || !strings.Contains(msg, "500 tables") || !strings.Contains(msg, "490 more") {
		t.Errorf("message of %d bytes: %s", len(msg), msg)
	}
}
