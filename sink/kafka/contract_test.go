package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/sinktest"
)

// network is a way to the broker that can be cut.
type network struct {
	down  atomic.Bool
	mu    sync.Mutex
	conns []net.Conn
	// wrap, if it is set, changes every new connection.
	wrap func(net.Conn) net.Conn
	// refused, if it is set, gets a value when someone dials in vain.
	refused chan struct{}
}

var errCut = errors.New("the network is down")

func (n *network) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if n.down.Load() {
		select {
		case n.refused <- struct{}{}:
		default:
		}
		return nil, errCut
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if n.wrap != nil {
		c = n.wrap(c)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	return c, nil
}

// cut ends all connections.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

func TestContract(t *testing.T) {
	for _, exactly := range []bool{false, true} {
		t.Run("exactly once "+strconv.FormatBool(exactly), func(t *testing.T) {
			sinktest.Run(t, func(t testing.TB) sinktest.Subject { return subject(t, exactly) })
		})
	}
}

func subject(t testing.TB, exactly bool) sinktest.Subject {
	topic := newTopicName(t)
	client := admin(t, broker.addrs...)
	createTopic(t, client, topic, 1)
	way := &network{}
	cfg := config(t, topic)
	cfg.Dial, cfg.ExactlyOnce, cfg.DeliveryTimeout = way.dial, exactly, 2*time.Second
	cfg.ReadTimeout, cfg.WriteTimeout = 5*time.Second, 5*time.Second
	s := open(t, cfg)
	out := sinktest.Subject{
		Sink: s,
		// A table is one span with exactly once; TestBrokerKilled writes several tables at a time.
		Concurrent: !exactly,
		Got: func() ([]sinktest.Record, error) {
			return records(t.Context(), topic)
		},
		Checkpoint: func() (event.Ts, error) { return lastWatermark(t.Context(), topic) },
		Break: func() func() {
			way.down.Store(true)
			way.cut()
			return func() { way.down.Store(false) }
		},
	}
	if broker.real != nil {
		out.Block = func() func() {
			resume, err := broker.real.Pause()
			if err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := resume(); err != nil {
					t.Error(err)
				}
			}
		}
		out.Refuse = func() func() {
			limitRecords(t, client, topic, "70", true)
			return func() { limitRecords(t, client, topic, "1000000", false) }
		}
	}
	return out
}

// limitRecords limits the size of records and waits until the partition knows, for
// which the broker's answer is too early: watermarks are refused, or taken.
func limitRecords(t testing.TB, client *kafkago.Client, topic, bytes string, refuses bool) {
	t.Helper()
	setTopic(t, client, topic, "max.message.bytes", bytes)
	watermark, err := json.Marshal(message{Watermark: 1})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		res, err := client.Produce(t.Context(), &kafkago.ProduceRequest{
			Topic: topic, RequiredAcks: kafkago.RequireAll, Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes(watermark)}),
		})
		switch {
		case err != nil:
			t.Fatal(err)
		case errors.Is(res.Error, kafkago.MessageSizeTooLarge) == refuses:
			return
		case time.Now().After(deadline):
			t.Fatalf("after a minute the topic with max.message.bytes=%s answers %v", bytes, res.Error)
		}
	}
}

func records(ctx context.Context, topic string) ([]sinktest.Record, error) {
	all, err := readTopic(ctx, broker.addrs, topic)
	if err != nil {
		return nil, err
	}
	var out []sinktest.Record
	for _, r := range all[0] {
		m, err := parse(r)
		if err != nil {
			return nil, err
		}
		if m.Watermark > 0 {
			continue
		}
		id, _ := strconv.ParseInt(m.Row["id"], 10, 64)
		out = append(out, sinktest.Record{DDL: m.DDL, Kind: m.Kind, ID: id, Name: m.Row["name"], Note: m.Row["note"], CommitTs: m.CommitTs})
	}
	return out, nil
}

func parse(r *kgo.Record) (m message, err error) {
	return m, json.Unmarshal(r.Value, &m)
}

func lastWatermark(ctx context.Context, topic string) (event.Ts, error) {
	all, err := readTopic(ctx, broker.addrs, topic)
	if err != nil {
		return 0, err
	}
	var last event.Ts
	for _, r := range all[0] {
		m, err := parse(r)
		if err != nil {
			return 0, err
		}
		last = max(last, m.Watermark)
	}
	return last, nil
}
