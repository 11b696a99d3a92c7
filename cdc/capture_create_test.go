package cdc_test

import (
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/opt"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
)

func isError(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func asError[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// TestCreateValidatesInOrder begins with a Spec that is wrong in everything and mends
// one mistake after the other: the next is then the one that is told.
func TestCreateValidatesInOrder(t *testing.T) {
	n := newNode(t)
	n.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey(), cdctest.Text("name"))
	n.cluster.CreateTable("shop", "loose", cdctest.Int("id"))
	beforeGC := n.cluster.Oracle().Now()
	n.cluster.AdvanceGC(n.cluster.Oracle().Now())
	n.create(cdc.Spec{ID: "taken", SinkURI: "test://", Filter: filter.Config{Rules: []string{"shop.items"}}})
	refused := errors.New("the database answers no")
	n.sinks.failOpen(refused)

	spec := cdc.Spec{
		ID: "in_valid", StartTs: n.cluster.Oracle().Now().Add(1e15), TargetTs: 1, TimeZone: "Mars/Olympus", BDRMode: true,
		Filter: filter.Config{Rules: []string{"shop"}, EventFilters: []filter.EventFilter{
			{Matcher: []string{"*.*"}, IgnoreEvent: []string{"explosion"}, IgnoreInsertValueExpr: "colour = 1"},
		}},
	}
	events := &spec.Filter.EventFilters[0]
	for _, step := range []struct {
		what string
		want func(error) bool
		mend func()
	}{
		{"no sink", isError(sink.ErrInvalidURI), func() { spec.SinkURI = "blackhome://" }},
		{"bad id", isError(cdc.ErrInvalidID), func() { spec.ID = "taken" }},
		{"taken id", isError(cdc.ErrChangefeedExists), func() { spec.ID = "new" }},
		{"start in the future", isError(cdc.ErrStartTsInFuture), func() { spec.StartTs = beforeGC }},
		{"start before GC", isError(cdc.ErrStartTsBeforeGC), func() { spec.StartTs = n.cluster.Oracle().Now() }},
		{"target", isError(cdc.ErrTargetTsBeforeStartTs), func() { spec.TargetTs = 0 }},
		{"scheme", isError(sink.ErrInvalidURI), func() { spec.SinkURI = "test://user:secret@host/" }},
		{"settings", isError(cdc.ErrInvalidSpec), func() { spec.BDRMode = false }},
		{"rule", asError[*filter.RuleError], func() { spec.Filter.Rules = []string{"shop.*"} }},
		{"event", asError[*filter.EventNameError], func() { events.IgnoreEvent = []string{"delete"} }},
		{"column", isError(filter.ErrUnknownColumn), func() { events.IgnoreInsertValueExpr = "id = 1" }},
		{"table without a key", asError[*cdc.IneligibleTablesError], func() { spec.ForceReplicate = true }},
		{"time zone", isError(cdc.ErrInvalidTimeZone), func() { spec.TimeZone = "Asia/Shanghai" }},
		{"sink", isError(refused), func() { n.sinks.failOpen(nil) }},
	} {
		_, err := n.CreateChangefeed(t.Context(), spec)
		if err == nil || !step.want(err) || strings.Contains(err.Error(), "secret") {
			t.Fatalf("%s: %v", step.what, err)
		}
		if _, err := n.Changefeed(t.Context(), "new"); !errors.Is(err, cdc.ErrChangefeedNotFound) {
			t.Fatalf("%s: there is a changefeed: %v", step.what, err)
		}
		if _, held := n.cluster.ServiceSafePoint("tidbcdc-default-changefeed-new"); held {
			t.Fatalf("%s: a service GC safe point is left", step.what)
		}
		step.mend()
	}
	n.create(spec)
	if ts, held := n.cluster.ServiceSafePoint("tidbcdc-default-changefeed-new"); !held || ts != spec.StartTs-1 {
		t.Errorf("service GC safe point %d, %t; want %d", ts, held, spec.StartTs-1)
	}
}

// TestCreateOnce: of many who create the same changefeed at once, one does.
func TestCreateOnce(t *testing.T) {
	n := newNode(t)
	var group sync.WaitGroup
	results := make(chan error, 20)
	for range cap(results) {
		group.Go(func() {
			_, err := n.CreateChangefeed(t.Context(), cdc.Spec{ID: "a", SinkURI: "test://"})
			results <- err
		})
	}
	group.Wait()
	created := 0
	for range cap(results) {
		switch err := <-results; {
		case err == nil:
			created++
		case !errors.Is(err, cdc.ErrChangefeedExists):
			t.Error(err)
		}
	}
	if created != 1 {
		t.Errorf("created %d times", created)
	}
}

func TestUpdate(t *testing.T) {
	n := newNode(t)
	ctx := t.Context()
	n.create(cdc.Spec{ID: "a", SinkURI: "test://user:secret@host/?x=token", Sink: sink.Options{Kafka: &sink.KafkaOptions{SASLPassword: "hidden"}}})
	set := func(change func(*cdc.Spec)) error {
		return n.UpdateChangefeed(ctx, "a", func(s *cdc.Spec) error { change(s); return nil })
	}
	if err := set(func(s *cdc.Spec) { s.MemoryQuota = 2 << 20 }); !errors.Is(err, cdc.ErrUpdateRefused) {
		t.Errorf("while it runs: %v", err)
	}
	if err := n.UpdateChangefeed(ctx, "b", nil); !errors.Is(err, cdc.ErrChangefeedNotFound) {
		t.Errorf("unknown: %v", err)
	}
	if err := n.PauseChangefeed(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	shown := n.get("a").Spec
	for name, change := range map[string]func(*cdc.Spec){
		"nothing":             func(*cdc.Spec) {},
		"the sink as shown":   func(s *cdc.Spec) { s.SinkURI, s.Sink = shown.SinkURI, shown.Sink },
		"the id":              func(s *cdc.Spec) { s.ID = "b" },
		"the start":           func(s *cdc.Spec) { s.StartTs++ },
		"a target too early":  func(s *cdc.Spec) { s.TargetTs = s.StartTs },
		"a bad rule":          func(s *cdc.Spec) { s.Filter.Rules = []string{"@/etc/passwd"} },
		"an unknown sink":     func(s *cdc.Spec) { s.SinkURI = "gopher://" },
		"an unsupported mode": func(s *cdc.Spec) { s.EnableSyncPoint = true },
	} {
		if err := set(change); !errors.Is(err, cdc.ErrUpdateRefused) || strings.Contains(err.Error(), "root:") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var seen cdc.Spec
	if err := n.UpdateChangefeed(ctx, "a", func(s *cdc.Spec) error {
		seen = *s
		s.SinkURI, s.Sink = shown.SinkURI, shown.Sink // masked
		s.Mounter.WorkerNum = 32
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := n.UpdateChangefeed(ctx, "a", func(s *cdc.Spec) error {
		if s.SinkURI != seen.SinkURI || s.Sink.Kafka.SASLPassword != "hidden" {
			t.Errorf("secrets are lost: %s", s.SinkURI)
		}
		return errors.New("only looking")
	}); !errors.Is(err, cdc.ErrUpdateRefused) {
		t.Error(err)
	}
	n.stop()
	n.start()
	if got := n.get("a").Spec.Mounter.WorkerNum; got != 32 {
		t.Errorf("after a restart worker-num is %d", got)
	}
}

// writeErrorCode makes a code of what is known of a failed call of a sink.
func writeErrorCode(err error) string {
	var write *sink.WriteError
	if !errors.As(err, &write) {
		return ""
	}
	return write.Scheme + " " + write.Method
}

// TestFailingSinks: errors that come and go, errors that stay, and a sink that does
// not open.
func TestFailingSinks(t *testing.T) {
	n := newNode(t, func(cfg *cdc.CaptureConfig) { cfg.ErrorCode = writeErrorCode })
	ctx := t.Context()
	table := n.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey())
	down := errors.New("connection refused")
	n.create(cdc.Spec{ID: "a", SinkURI: "test://"})
	n.sinks.failWrites("a", down)
	table.Insert(1)
	info := n.awaitState("a", cdc.StatePending)
	if info.Error == nil || !strings.Contains(info.Error.Message, "connection refused") || info.Error.Code != "test WriteRows" {
		t.Errorf("error %+v", info.Error)
	}
	if err := n.PauseChangefeed(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := n.ResumeChangefeed(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	n.awaitState("a", cdc.StatePending)
	n.sinks.failWrites("a", nil)
	n.stop()
	n.sinks.failOpen(down)
	n.start() // does not wait for the rest of the backoff
	n.awaitState("a", cdc.StatePending)
	n.sinks.failOpen(nil)
	n.stop()
	n.start()
	n.await("the row arrives", func() bool { return n.sinks.count("a") == 1 })
	n.awaitState("a", cdc.StateNormal)
	if err := n.RemoveChangefeed(ctx, "a"); err != nil {
		t.Fatal(err)
	}
}

// TestStuckSinkShowsWarning: a write that is being retried is a warning, before
// anything is started again.
func TestStuckSinkShowsWarning(t *testing.T) {
	n := newNode(t, func(cfg *cdc.CaptureConfig) { cfg.RetryTimeout = 0 })
	table := n.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey())
	n.create(cdc.Spec{ID: "a", SinkURI: "test://"})
	n.sinks.failWrites("a", errors.New("lock wait timeout"))
	table.Insert(1)
	info := n.awaitState("a", cdc.StateWarning)
	if info.Error == nil || !strings.Contains(info.Error.Message, "lock wait timeout") {
		t.Errorf("error %+v", info.Error)
	}
	if at := info.Status.ErrTime; at.IsZero() || !info.Error.Time.Equal(at) {
		t.Errorf("the error is of %v, want %v, when the write failed", info.Error.Time, at)
	}
	p, err := n.Processor(t.Context(), "a", n.Node().ID)
	if err != nil || p.Error == nil || !strings.Contains(p.Error.Message, "lock wait timeout") {
		t.Errorf("processor %+v, %v", p, err)
	}
	n.sinks.failWrites("a", nil)
	if info := n.awaitState("a", cdc.StateNormal); info.Error != nil {
		t.Errorf("normal with %+v", info.Error)
	}
}

// expireSafePoint does what time does to a safe point that nobody renews.
func (n *node) expireSafePoint(changefeed string) {
	n.t.Helper()
	client, err := pd.NewClientWithContext(n.t.Context(), []string{n.cluster.PDAddr()}, pd.SecurityOption{}, opt.WithInitMetricsOption(false))
	if err != nil {
		n.t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.UpdateServiceGCSafePoint(n.t.Context(), "tidbcdc-default-changefeed-"+changefeed, 0, 0); err != nil {
		n.t.Fatal(err)
	}
}

// TestResumeAfterGC: what PD has collected meanwhile cannot be delivered.
func TestResumeAfterGC(t *testing.T) {
	n := newNode(t)
	n.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey())
	n.create(cdc.Spec{ID: "a", SinkURI: "test://"})
	if err := n.PauseChangefeed(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n.expireSafePoint("a")
	n.cluster.AdvanceGC(n.cluster.Oracle().Now())
	n.start()
	n.awaitState("a", cdc.StateFailed) // the safe point cannot be held any more
	if err := n.ResumeChangefeed(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	info := n.awaitState("a", cdc.StateFailed)
	if info.Error == nil || !strings.Contains(info.Error.Message, "GC safe point") {
		t.Errorf("error %+v", info.Error)
	}
}

func TestNewCaptureValidates(t *testing.T) {
	open := func(context.Context, *url.URL, sink.Config) (sink.Sink, io.Closer, error) { return nil, nil, nil }
	valid := func() cdc.CaptureConfig {
		return cdc.CaptureConfig{Upstream: &cdc.Upstream{}, Openers: sink.Openers{"x": open}, DataDir: t.TempDir(), Logger: discard()}
	}
	if _, err := cdc.NewCapture(valid()); err != nil {
		t.Fatal(err)
	}
	for naming, change := range map[string]func(*cdc.CaptureConfig){
		"Upstream":         func(c *cdc.CaptureConfig) { c.Upstream = nil },
		"Openers":          func(c *cdc.CaptureConfig) { c.Openers = nil },
		"DataDir":          func(c *cdc.CaptureConfig) { c.DataDir = "" },
		"GCTTL":            func(c *cdc.CaptureConfig) { c.GCTTL = 1 },
		"MemoryQuota":      func(c *cdc.CaptureConfig) { c.MemoryQuota = 1 },
		"WriteConcurrency": func(c *cdc.CaptureConfig) { c.WriteConcurrency = -1 },
		"RetryTimeout":     func(c *cdc.CaptureConfig) { c.RetryTimeout = -1 },
		"ID":               func(c *cdc.CaptureConfig) { c.ID = "a/b" },
	} {
		cfg := valid()
		change(&cfg)
		if _, err := cdc.NewCapture(cfg); err == nil || !strings.Contains(err.Error(), "CaptureConfig."+naming) {
			t.Errorf("%s: %v", naming, err)
		}
	}
}

// pickySink does not take some tables.
type pickySink struct {
	sink.RowFunc
	refuses string
	asked   []string
}

func (s *pickySink) CheckTable(table *event.TableInfo) error {
	s.asked = append(s.asked, table.Name())
	if table.Name() == s.refuses {
		return &dispatcher.TableError{Table: table.Name(), Number: 1, Reason: "it does not fit"}
	}
	return nil
}

// TestCreateAsksTheSink: a changefeed is not created if its sink's settings do not fit a
// table that it would replicate.
func TestCreateAsksTheSink(t *testing.T) {
	picky := &pickySink{refuses: "shop.b"}
	n := newNode(t, func(c *cdc.CaptureConfig) {
		c.Openers["picky"] = func(context.Context, *url.URL, sink.Config) (sink.Sink, io.Closer, error) { return picky, nil, nil }
	})
	n.cluster.CreateTable("shop", "a", cdctest.Int("id").PrimaryKey())
	n.cluster.CreateTable("shop", "b", cdctest.Int("id").PrimaryKey())
	n.cluster.CreateTable("shop", "keyless", cdctest.Int("id"))
	n.cluster.CreateTable("other", "c", cdctest.Int("id").PrimaryKey())
	spec := cdc.Spec{ID: "x", SinkURI: "picky://", Filter: filter.Config{Rules: []string{"shop.*"}}, IgnoreIneligibleTables: true}
	if _, err := n.CreateChangefeed(t.Context(), spec); !asError[*dispatcher.TableError](err) {
		t.Errorf("got %v, want a *dispatcher.TableError", err)
	}
	picky.refuses, picky.asked = "", nil
	n.create(spec)
	slices.Sort(picky.asked)
	if want := []string{"shop.a", "shop.b"}; !slices.Equal(picky.asked, want) {
		t.Errorf("the sink was asked about %v, want %v", picky.asked, want)
	}
}
