package kafka_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/sink"
)

// seeded returns random numbers; SEED repeats a run.
func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal("SEED:", err)
		}
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// persist writes rows as a changefeed does: again and again until it succeeds.
func persist(ctx context.Context, s sink.Sink, rows []*event.RowChanged) (failures int, err error) {
	for {
		err := s.WriteRows(ctx, rows)
		if err == nil || sink.IsPermanent(err) || ctx.Err() != nil {
			return failures, err
		}
		failures++
		const pause = 20 * time.Millisecond
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return failures, ctx.Err()
		}
	}
}

// workload is rows of one table, each id with rising commit ts, in batches.
type workload struct {
	table   *event.TableInfo
	batches [][]*event.RowChanged
}

func newWorkload(id int64, rng *rand.Rand, batches int) workload {
	w := workload{table: item(id)}
	ts := event.Ts(1000)
	const ids = 20
	for range batches {
		var rows []*event.RowChanged
		for range 1 + rng.IntN(50) {
			ts += 10
			rows = append(rows, put(w.table, ts, rng.Int64N(ids), fmt.Sprintf("%d at %d %s", id, ts, strings.Repeat("x", rng.IntN(200)))))
		}
		w.batches = append(w.batches, rows)
	}
	return w
}

// verify holds what the topic has against the workloads: every change is there, the
// first time in order for its key, and the last record of a key is its last change.
// With once, nothing is there twice.
func verify(t *testing.T, topic string, once bool, loads ...workload) {
	t.Helper()
	type change struct {
		key string
		ts  event.Ts
	}
	var first []change
	seen, last, place := map[change]bool{}, map[string]event.Ts{}, map[string]int32{}
	for partition, records := range readAll(t, broker.addrs, topic) {
		for i, m := range decode(t, records) {
			if m.Watermark > 0 || m.DDL != "" {
				continue
			}
			c := change{m.Table + "/" + m.Row["id"], m.CommitTs}
			if p, ok := place[c.key]; ok && p != partition {
				t.Errorf("changes of %s are in partitions %d and %d", c.key, p, partition)
			}
			place[c.key], last[c.key] = partition, c.ts
			switch {
			case !seen[c]:
				first = append(first, c)
			case once:
				t.Errorf("record %d of partition %d repeats %v", i, partition, c)
			}
			seen[c] = true
		}
	}
	newest := map[string]event.Ts{}
	for _, c := range first {
		if c.ts < newest[c.key] {
			t.Errorf("%s: the change at %d comes first behind the one at %d", c.key, c.ts, newest[c.key])
		}
		newest[c.key] = c.ts
	}
	want := map[string]event.Ts{}
	total := 0
	for _, w := range loads {
		for _, rows := range w.batches {
			for _, row := range rows {
				c := change{row.Table.Table + "/" + row.Columns[0].Text(), row.CommitTs}
				want[c.key] = c.ts
				total++
				if !seen[c] {
					t.Errorf("%v is lost", c)
				}
			}
		}
	}
	for key, ts := range want {
		if last[key] != ts {
			t.Errorf("the last record of %s is from %d, want %d", key, last[key], ts)
		}
	}
	if len(first) != total {
		t.Errorf("the topic has %d changes, want %d", len(first), total)
	}
}

// byKey sends each key to a partition of its own.
func byKey(t testing.TB, topic string) *dispatcher.Dispatcher {
	d, err := dispatcher.New(dispatcher.Config{
		DefaultTopic: topic, Rules: []dispatcher.Rule{{Matcher: []string{"*.*"}, Partition: "index-value"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestBrokerKilled: the broker is killed and restarted while several tables are
// written; nothing is lost, doubled or out of order.
func TestBrokerKilled(t *testing.T) {
	server := realBroker(t)
	for _, exactly := range []bool{false, true} {
		t.Run("exactly once "+strconv.FormatBool(exactly), func(t *testing.T) {
			rng := seeded(t)
			topic := newTopicName(t)
			createTopic(t, admin(t, broker.addrs...), topic, 3)
			cfg := config(t, topic)
			cfg.Dispatcher, cfg.ExactlyOnce, cfg.WriteTimeout, cfg.ReadTimeout = byKey(t, topic), exactly, 5*time.Second, 5*time.Second
			cfg.TransactionTimeout = 10 * time.Second
			s := open(t, cfg)
			var loads []workload
			var written, failures atomic.Int64
			var group errgroup.Group
			half := make(chan struct{})
			const batches = 60
			for i := range 4 {
				w := newWorkload(broker.topics.Add(1)+1000, rand.New(rand.NewPCG(rng.Uint64(), uint64(i))), batches)
				loads = append(loads, w)
				group.Go(func() error {
					for _, rows := range w.batches {
						n, err := persist(t.Context(), s, rows)
						failures.Add(int64(n))
						if err != nil {
							return err
						}
						if written.Add(1) == 2*batches {
							close(half)
						}
					}
					return nil
				})
			}
			<-half
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d calls failed and were repeated", failures.Load())
			verify(t, topic, exactly || failures.Load() == 0, loads...)
		})
	}
}

// fragile is a connection that breaks after some bytes have been written.
type fragile struct {
	net.Conn
	left int
}

func (c *fragile) Write(b []byte) (int, error) {
	if c.left -= len(b); c.left >= 0 {
		return c.Conn.Write(b)
	}
	n, _ := c.Conn.Write(b[:max(0, len(b)+c.left)])
	_ = c.Conn.Close()
	return n, errCut
}

// TestConnectionCut: connections break in the middle of batches.
func TestConnectionCut(t *testing.T) {
	rng := seeded(t)
	topic := newTopicName(t)
	createTopic(t, admin(t, broker.addrs...), topic, 3)
	cfg := config(t, topic)
	way := &network{}
	var mu sync.Mutex
	cuts := 0
	way.wrap = func(c net.Conn) net.Conn {
		mu.Lock()
		defer mu.Unlock()
		const most = 40
		if cuts++; cuts > most {
			return c
		}
		return &fragile{c, 500 + rng.IntN(20000)}
	}
	cfg.Dial, cfg.Dispatcher = way.dial, byKey(t, topic)
	s := open(t, cfg)
	w := newWorkload(1, rng, 200)
	failures := 0
	for _, rows := range w.batches {
		n, err := persist(t.Context(), s, rows)
		if failures += n; err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d connections, %d calls failed", cuts, failures)
	if cuts < 10 {
		t.Errorf("only %d connections were made: nothing was cut", cuts)
	}
	verify(t, topic, failures == 0, w)
}

// slowListener delays the first produce request after arm until it is released, as
// a congested link would, even if the client has hung up.
type slowListener struct {
	net.Listener
	armed            *atomic.Bool
	release, handled chan struct{}
}

func (l *slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{Conn: c, l: l}, nil
}

type slowConn struct {
	net.Conn
	l       *slowListener
	delayed bool
}

func (c *slowConn) Read(b []byte) (int, error) {
	if c.delayed {
		close(c.l.handled) // the broker took the request and wants the next
		c.delayed = false
	}
	n, err := c.Conn.Read(b)
	// The broker reads four bytes of size, then the request, which begins with its
	// kind: 0 is produce.
	if n >= 4 && len(b) != 4 && binary.BigEndian.Uint16(b) == 0 && c.l.armed.CompareAndSwap(true, false) {
		<-c.l.release
		c.delayed = true
	}
	return n, err
}

// TestStaleDuplicate delays a request until its writer has timed out, sent it again,
// and gone on. kafka-go's Writer then ends the key with the old value; the sink does
// not, whether it repeats the request itself or fails and gets the rows again.
func TestStaleDuplicate(t *testing.T) {
	const short = 150 * time.Millisecond
	type writer func(t *testing.T, addrs []string, topic string) (write func(version int) error)
	plain := func(t *testing.T, addrs []string, topic string) func(int) error {
		transport := &kafkago.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		w := &kafkago.Writer{
			Addr: kafkago.TCP(addrs...), Topic: topic, RequiredAcks: kafkago.RequireAll, BatchSize: 1, Transport: transport,
			ReadTimeout: 2 * short, WriteTimeout: 2 * short, WriteBackoffMin: time.Millisecond, WriteBackoffMax: time.Millisecond,
		}
		t.Cleanup(func() { _ = w.Close() })
		return func(version int) error {
			return w.WriteMessages(t.Context(), kafkago.Message{Key: []byte("k"), Value: []byte(fmt.Sprintf(`{"CommitTs":%d}`, version))})
		}
	}
	ours := func(delivery time.Duration) writer {
		return func(t *testing.T, addrs []string, topic string) func(int) error {
			cfg := config(t, topic)
			cfg.Brokers, cfg.ReadTimeout, cfg.WriteTimeout, cfg.DeliveryTimeout = addrs, short, short, delivery
			s := open(t, cfg)
			return func(version int) error {
				_, err := persist(t.Context(), s, []*event.RowChanged{put(item(1), event.Ts(version), 1, "v")})
				return err
			}
		}
	}
	tests := []struct {
		name  string
		write writer
		stale bool
	}{
		{"kafka-go's Writer", plain, true},
		{"sink that repeats requests", ours(time.Minute), false},
		{"sink whose calls fail", ours(short), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var armed atomic.Bool
			release, handled := make(chan struct{}), make(chan struct{})
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "x"), kfake.ListenFn(func(network, addr string) (net.Listener, error) {
				l, err := net.Listen(network, addr)
				return &slowListener{l, &armed, release, handled}, err
			}))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			write := tt.write(t, c.ListenAddrs(), "x")
			for version := 1; version <= 4; version++ {
				armed.Store(version == 2)
				if err := write(version); err != nil {
					t.Fatal(err)
				}
			}
			if armed.Load() {
				t.Fatal("no request was delayed")
			}
			close(release)
			<-handled
			var got []event.Ts
			for _, m := range decode(t, readAll(t, c.ListenAddrs(), "x")[0]) {
				got = append(got, m.CommitTs)
			}
			if stale := got[len(got)-1] != 4; stale != tt.stale {
				t.Errorf("the key's records are %v: stale is %t, want %t", got, stale, tt.stale)
			}
			t.Log(got)
		})
	}
}

// TestAcksRefused: too few replicas are in sync, for a while. A real broker that is
// alone never says so.
func TestAcksRefused(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(1, "x"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := config(t, "x")
	cfg.Brokers, cfg.DeliveryTimeout = c.ListenAddrs(), 500*time.Millisecond
	s := open(t, cfg)
	w := newWorkload(1, seeded(t), 3)
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "x", Err: kerr.NotEnoughReplicas, Count: 1000})
	err = s.WriteRows(t.Context(), w.batches[0])
	if err == nil || sink.IsPermanent(err) || !errors.Is(err, kafkago.NotEnoughReplicas) || !strings.Contains(err.Error(), "min.insync.replicas") {
		t.Fatalf("got %v, want NotEnoughReplicas that passes, and what to do", err)
	}
	if fault.Hits() < 2 {
		t.Errorf("%d attempts were made, want several", fault.Hits())
	}
	fault.Remove()
	want := 0
	for _, rows := range w.batches {
		if _, err := persist(t.Context(), s, rows); err != nil {
			t.Fatal(err)
		}
		want += len(rows)
	}
	if got := len(readAll(t, cfg.Brokers, "x")[0]); got != want {
		t.Errorf("the topic has %d records, want %d", got, want)
	}
}

// TestBrokerForgets: what becomes of a producer that the broker does not know any
// more, or whose records it has lost.
func TestBrokerForgets(t *testing.T) {
	tests := []struct {
		code     int16
		failures int
	}{
		{59, 0}, // UNKNOWN_PRODUCER_ID: nothing had been sent, so it begins anew
		{45, 1}, // OUT_OF_ORDER_SEQUENCE_NUMBER: acknowledged records are gone: that is told
	}
	for _, tt := range tests {
		t.Run(strconv.Itoa(int(tt.code)), func(t *testing.T) {
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "x"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			cfg := config(t, "x")
			cfg.Brokers = c.ListenAddrs()
			s := open(t, cfg)
			w := newWorkload(1, seeded(t), 5)
			for i, rows := range w.batches {
				if i == 2 {
					c.Fault(kfake.Fault{Keys: []kmsg.Key{0}, Topic: "x", Err: kerr.TypedErrorForCode(tt.code), Count: 1})
				}
				n, err := persist(t.Context(), s, rows)
				if err != nil {
					t.Fatal(err)
				}
				if want := tt.failures; i == 2 && n != want || i != 2 && n != 0 {
					t.Errorf("batch %d failed %d times, want %d", i, n, want)
				}
			}
			n := len(readAll(t, c.ListenAddrs(), "x")[0])
			want := 0
			for _, rows := range w.batches {
				want += len(rows)
			}
			if n != want {
				t.Errorf("the topic has %d records, want %d", n, want)
			}
		})
	}
}
