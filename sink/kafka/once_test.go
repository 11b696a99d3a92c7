package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/kafka"
)

func onceConfig(t testing.TB, topic string) kafka.Config {
	cfg := config(t, topic)
	cfg.Dispatcher, cfg.ExactlyOnce, cfg.ProgressTopic = byKey(t, topic), true, topic+"-progress"
	cfg.WriteTimeout, cfg.ReadTimeout, cfg.TransactionTimeout = 5*time.Second, 5*time.Second, 10*time.Second
	return cfg
}

// counted is a connection that tells of each request before it is sent.
type counted struct {
	net.Conn
	before func()
}

func (c *counted) Write(b []byte) (int, error) {
	c.before()
	return c.Conn.Write(b)
}

// TestExactlyOnceRestarts: writers are killed at random moments, in the middle of a
// transaction too, and their successors replay from an older checkpoint.
func TestExactlyOnceRestarts(t *testing.T) {
	rng := seeded(t)
	topic := newTopicName(t)
	createTopic(t, admin(t, broker.addrs...), topic, 3)
	w := newWorkload(1, rng, 80)
	interrupted, skipped := 0, 0
	for next := 0; next < len(w.batches); {
		way := &network{}
		var left atomic.Int64 // requests until stop is called
		var stop atomic.Pointer[func()]
		way.wrap = func(c net.Conn) net.Conn {
			return &counted{c, func() {
				if left.Add(-1) == 0 {
					(*stop.Load())()
				}
			}}
		}
		cfg := onceConfig(t, topic)
		cfg.Dial, cfg.DeliveryTimeout = way.dial, 2*time.Second
		s, err := kafka.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		// The checkpoint is older than what has been written.
		from := max(0, next-rng.IntN(10))
		skipped += next - from
		next = from
		ctx, cancel := context.WithCancel(t.Context())
		cut := rng.IntN(2) == 0
		stop.Store(new(func() {
			if cut {
				way.down.Store(true)
				way.cut()
			}
			cancel()
		}))
		const most = 60 // requests
		left.Store(1 + rng.Int64N(most))
		for next < len(w.batches) {
			if err := s.WriteRows(ctx, w.batches[next]); err != nil {
				if ctx.Err() == nil && !errors.Is(err, errCut) {
					t.Fatal(err)
				}
				interrupted++
				break
			}
			next++
		}
		cancel()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d writes were interrupted, %d batches came again", interrupted, skipped)
	if interrupted == 0 {
		t.Error("no write was interrupted")
	}
	verify(t, topic, true, w)
	// What was begun and not committed is there for those who do not care.
	all := readAll(t, broker.addrs, topic, kgo.FetchIsolationLevel(kgo.ReadUncommitted()))
	records := 0
	for _, partition := range all {
		records += len(partition)
	}
	t.Logf("%d records, committed or not", records)
}

// TestExactlyOnceTakeover: of two writers of a changefeed the later one takes over;
// whatever the former still tries, each change is there once.
func TestExactlyOnceTakeover(t *testing.T) {
	topic := newTopicName(t)
	createTopic(t, admin(t, broker.addrs...), topic, 3)
	former, later := open(t, onceConfig(t, topic)), open(t, onceConfig(t, topic))
	w := newWorkload(1, seeded(t), 30)
	for i, rows := range w.batches {
		// The one that is behind repeats what the other has written.
		for _, s := range []*kafka.Sink{former, later} {
			if i%3 == 0 || s == later {
				if _, err := persist(t.Context(), s, rows); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	verify(t, topic, true, w)
}

// TestExactlyOnceDDL: a DDL that comes again after a restart is there once, whatever
// happens to other tables.
func TestExactlyOnceDDL(t *testing.T) {
	topic := newTopicName(t)
	createTopic(t, admin(t, broker.addrs...), topic, 2)
	var want []string
	for restart := range 3 {
		s := open(t, onceConfig(t, topic))
		for i := range 2 + restart {
			// The DDL of the other table is older, and comes later.
			for n, table := range []*event.TableInfo{item(1), item(2)} {
				ts := event.Ts(100*i - 50*n)
				ddl := &event.DDL{
					StartTs: ts + 101, CommitTs: ts + 105, JobID: int64(10*i + n), Type: event.DDLModifyTableComment,
					Query: fmt.Sprintf("ALTER TABLE %s COMMENT = '%d'", table.Table, i), Schema: "shop", Table: table, PreTable: table,
					Changes: []event.TableChange{{Before: table, After: table}},
				}
				if err := s.WriteDDL(t.Context(), ddl); err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(want, ddl.Query) {
					want = append(want, ddl.Query)
				}
			}
		}
	}
	for partition, records := range readAll(t, broker.addrs, topic) {
		var got []string
		for _, m := range decode(t, records) {
			got = append(got, m.DDL)
		}
		if !slices.Equal(got, want) {
			t.Errorf("partition %d has %q, want %q", partition, got, want)
		}
	}
}
