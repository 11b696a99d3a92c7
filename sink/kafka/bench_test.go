package kafka_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/canaljson"
)

// callRows is how many rows a changefeed gives to a call of WriteRows.
const callRows = 1024

// BenchmarkThroughput writes rows as canal-json into a real Kafka, next to what
// kafka-go's Writer makes of the same messages, encoded before, in the same run and
// with as many calls at a time. %ceiling is the ratio.
func BenchmarkThroughput(b *testing.B) {
	realBroker(b)
	tests := []struct {
		name                       string
		tables, writers, partition int
		exactlyOnce                bool
	}{
		{"one hot table", 1, 1, 1, false},
		{"64 tables", 64, 16, 16, false},
		{"64 tables, exactly once", 64, 16, 16, true},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			topic := newTopicName(b)
			createTopic(b, admin(b, broker.addrs...), topic, tt.partition)
			cfg := config(b, topic)
			cfg.NewEncoder = func(int) (codec.Encoder, error) { return canaljson.NewEncoder(canaljson.Config{}), nil }
			cfg.ExactlyOnce = tt.exactlyOnce
			s := open(b, cfg)
			tables := make([]*event.TableInfo, tt.tables)
			messages := make([][]kafkago.Message, tt.tables)
			for i := range tables {
				tables[i] = item(int64(i + 1))
				messages[i] = prebuilt(b, benchRows(tables[i], 0), i%tt.partition)
			}
			transport := &kafkago.Transport{}
			b.Cleanup(transport.CloseIdleConnections)
			w := &kafkago.Writer{
				Addr: kafkago.TCP(broker.addrs...), Topic: topic, RequiredAcks: kafkago.RequireAll, Transport: transport,
				BatchSize: callRows, BatchBytes: 4 << 20, BatchTimeout: time.Millisecond,
				Balancer: kafkago.BalancerFunc(func(m kafkago.Message, _ ...int) int { return m.WriterData.(int) }),
			}
			b.Cleanup(func() { _ = w.Close() })
			var ts atomic.Uint64
			ours := func(table int) error {
				return s.WriteRows(b.Context(), benchRows(tables[table], event.Ts(ts.Add(1))))
			}
			theirs := func(table int) error { return w.WriteMessages(b.Context(), messages[table]...) }
			const warm, calls = 64, 512
			for _, write := range []func(int) error{ours, theirs} {
				if _, err := writeCalls(tt.writers, tt.tables, warm, write); err != nil {
					b.Fatal(err)
				}
			}
			var our, their time.Duration
			for b.Loop() {
				// In turns, because the machine and the broker change with time.
				for range 4 {
					for _, side := range []struct {
						write func(int) error
						took  *time.Duration
					}{{ours, &our}, {theirs, &their}} {
						took, err := writeCalls(tt.writers, tt.tables, calls/4, side.write)
						if err != nil {
							b.Fatal(err)
						}
						*side.took += took
					}
				}
			}
			rows := float64(b.N) * calls * callRows
			b.ReportMetric(rows/our.Seconds(), "rows/s")
			b.ReportMetric(rows/their.Seconds(), "ceiling-rows/s")
			b.ReportMetric(100*their.Seconds()/our.Seconds(), "%ceiling")
			b.ReportMetric(float64(len(messages[0][0].Value)), "bytes/message")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// writeCalls makes calls with some writers at a time, each for tables of its own.
func writeCalls(writers, tables, calls int, write func(table int) error) (time.Duration, error) {
	start := time.Now()
	var group errgroup.Group
	for w := range writers {
		group.Go(func() error {
			table := w
			for i := w; i < calls; i += writers {
				if err := write(table); err != nil {
					return err
				}
				if table += writers; table >= tables {
					table = w
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(start), err
}

// benchRows are rows of one transaction, or as good as one.
func benchRows(table *event.TableInfo, ts event.Ts) []*event.RowChanged {
	rows := make([]event.RowChanged, callRows)
	values := make([]event.Value, 2*callRows)
	out := make([]*event.RowChanged, callRows)
	for i := range rows {
		image := values[2*i : 2*i+2]
		image[0], image[1] = event.Int64Value(int64(i)), event.TextValue("some text that is as long as texts are: 64 characters, or nearly so")
		rows[i] = event.RowChanged{
			StartTs: ts, CommitTs: ts + 1, Table: table, PhysicalTableID: table.ID, Key: rowKey(table, int64(i)), Columns: image,
		}
		out[i] = &rows[i]
	}
	return out
}

func prebuilt(b *testing.B, rows []*event.RowChanged, partition int) []kafkago.Message {
	b.Helper()
	var m codec.Messages
	if err := canaljson.NewEncoder(canaljson.Config{}).AppendRows(&m, "", rows); err != nil {
		b.Fatal(err)
	}
	out := make([]kafkago.Message, m.Len())
	for i := range out {
		one := m.At(i)
		out[i] = kafkago.Message{Key: bytes.Clone(one.Key), Value: bytes.Clone(one.Value), WriterData: partition}
	}
	return out
}

// BenchmarkEnqueue is the sink's own work for a call, without a broker: dividing rows,
// encoding them and making a batch, and what comes with them.
func BenchmarkEnqueue(b *testing.B) {
	for _, partitions := range []int32{1, 16} {
		b.Run(fmt.Sprint(partitions, " partitions"), func(b *testing.B) {
			c := silentCluster(b, partitions)
			cfg := config(b, "x")
			cfg.Brokers, cfg.Dispatcher = c, byKey(b, "x")
			cfg.NewEncoder = func(int) (codec.Encoder, error) { return canaljson.NewEncoder(canaljson.Config{}), nil }
			s := open(b, cfg)
			rows := benchRows(item(1), 1)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.WriteRows(b.Context(), rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/callRows, "ns/row")
		})
	}
}

// silentCluster is an in-process broker that keeps nothing.
func silentCluster(b *testing.B, partitions int32) []string {
	b.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "x"), kfake.BlackholeProduce())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c.ListenAddrs()
}
