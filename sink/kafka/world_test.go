package kafka_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/kafkabroker"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/kafka"
)

// broker is what the tests of this package share: a real Kafka, or an in-process one
// where there is none.
var broker struct {
	addrs  []string
	real   *kafkabroker.Server
	topics atomic.Int64
}

func TestMain(m *testing.M) {
	if code := run(m); code != 0 {
		os.Exit(code) //nolint:forbidigo // TestMain is the tests' main
	}
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "pki-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	options := kafkabroker.Options{User: saslUser, Password: saslPassword}
	if err := makePKI(dir, &options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var stop func() error
	if _, _, err = kafkabroker.Find(); err == nil {
		if broker.real, err = kafkabroker.Start(ctx, options); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		broker.addrs, stop = []string{broker.real.Addr}, broker.real.Close
		fmt.Println("broker: Apache Kafka")
	} else {
		if kafkabroker.Required() {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Printf("broker: in-process, because %v\n", err)
		cluster, err := kfake.NewCluster(kfake.NumBrokers(3))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		broker.addrs, stop = cluster.ListenAddrs(), func() error { cluster.Close(); return nil }
	}
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// realBroker skips the test without a real Kafka.
func realBroker(t testing.TB) *kafkabroker.Server {
	t.Helper()
	if broker.real == nil {
		t.Skip("needs a real Kafka")
	}
	return broker.real
}

func newTopicName(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%s-%d", name, broker.topics.Add(1))
}

// admin returns a client with a transport of its own, which lives as long as the test.
func admin(t testing.TB, addrs ...string) *kafkago.Client {
	transport := &kafkago.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafkago.Client{Addr: kafkago.TCP(addrs...), Transport: transport}
}

func createTopic(t testing.TB, c *kafkago.Client, name string, partitions int, settings ...kafkago.ConfigEntry) {
	t.Helper()
	res, err := c.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
		{Topic: name, NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: settings},
	}})
	if err != nil || res.Errors[name] != nil {
		t.Fatal("create topic:", res, err)
	}
}

func setTopic(t testing.TB, c *kafkago.Client, name, setting, value string) {
	t.Helper()
	res, err := c.IncrementalAlterConfigs(t.Context(), &kafkago.IncrementalAlterConfigsRequest{
		Resources: []kafkago.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: name,
			Configs: []kafkago.IncrementalAlterConfigsRequestConfig{{Name: setting, Value: value, ConfigOperation: kafkago.ConfigOperationSet}},
		}},
	})
	if err != nil || res.Resources[0].Error != nil {
		t.Fatal("set topic:", res, err)
	}
}

// config returns the settings of a sink with the tests' own encoder.
func config(t testing.TB, topic string) kafka.Config {
	return kafka.Config{
		Brokers: broker.addrs, Topic: topic, NewEncoder: newEncoder, Changefeed: "feed-" + topic,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

func open(t testing.TB, cfg kafka.Config) *kafka.Sink {
	t.Helper()
	s, err := kafka.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// message is what the tests' encoder writes as a value.
type message struct {
	DDL       string            `json:",omitempty"`
	Watermark event.Ts          `json:",omitempty"`
	Kind      event.Kind        `json:",omitempty"`
	Table     string            `json:",omitempty"`
	CommitTs  event.Ts          `json:",omitempty"`
	Row       map[string]string `json:",omitempty"`
	KeyOnly   bool              `json:",omitempty"`
	Location  string            `json:",omitempty"`
}

// encoder writes a message of JSON for each event.
type encoder struct{}

func newEncoder(int) (codec.Encoder, error) { return encoder{}, nil }

func (encoder) append(dst *codec.Messages, key []byte, m message, rows int) error {
	value, err := json.Marshal(m)
	if err != nil {
		return err
	}
	keyBytes := len(key)
	if key == nil {
		keyBytes = -1
	}
	dst.Append(append(append(dst.Buffer(), key...), value...), keyBytes, len(value), rows, m.CommitTs)
	return nil
}

func (e encoder) AppendRows(dst *codec.Messages, _ string, rows []*event.RowChanged) error {
	for _, row := range rows {
		m := message{Kind: row.Kind(), Table: row.Table.Table, CommitTs: row.CommitTs, Row: map[string]string{}}
		for i, c := range row.Table.Columns {
			m.Row[c.Name] = row.Image()[i].Text()
		}
		if err := e.append(dst, row.Key, m, 1); err != nil {
			return err
		}
	}
	return nil
}

func (e encoder) AppendDDL(dst *codec.Messages, _ string, ddl *event.DDL) error {
	return e.append(dst, nil, message{DDL: ddl.Query, CommitTs: ddl.CommitTs}, 0)
}

func (e encoder) AppendWatermark(dst *codec.Messages, _ string, ts event.Ts) error {
	return e.append(dst, nil, message{Watermark: ts}, 0)
}

func (e encoder) AppendHandleKey(dst *codec.Messages, _ string, row *event.RowChanged) error {
	return e.append(dst, row.Key, message{Kind: row.Kind(), Table: row.Table.Table, CommitTs: row.CommitTs, KeyOnly: true}, 1)
}

func (e encoder) AppendClaimCheck(dst *codec.Messages, _ string, row *event.RowChanged, location string) error {
	return e.append(dst, row.Key, message{Kind: row.Kind(), Table: row.Table.Table, CommitTs: row.CommitTs, Location: location}, 1)
}

var endKey = []byte("\x00end of what the test reads")

// readAll returns what a topic's partitions hold as committed, each in its order. It
// marks the end with a record of its own.
func readAll(t testing.TB, addrs []string, topic string, more ...kgo.Opt) map[int32][]*kgo.Record {
	t.Helper()
	out, err := readTopic(t.Context(), addrs, topic, more...)
	if err != nil {
		t.Fatal("read:", err)
	}
	return out
}

func readTopic(ctx context.Context, addrs []string, topic string, more ...kgo.Opt) (map[int32][]*kgo.Record, error) {
	const patience = time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(100 * time.Millisecond), kgo.MetadataMinAge(10 * time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()),
	}, more...)...)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	found, err := (&kafkago.Client{Addr: kafkago.TCP(addrs...), Transport: transport}).Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	mark := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	open := len(found.Topics[0].Partitions)
	for p := range open {
		r := &kgo.Record{Topic: topic, Partition: int32(p), Key: endKey, Value: mark}
		if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
			return nil, err
		}
	}
	out := map[int32][]*kgo.Record{}
	for open > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			switch {
			case !bytes.Equal(r.Key, endKey):
				out[r.Partition] = append(out[r.Partition], r)
			case bytes.Equal(r.Value, mark):
				open--
			}
		})
	}
	return out, nil
}

// decode returns the messages of a partition.
func decode(t testing.TB, records []*kgo.Record) []message {
	t.Helper()
	out := make([]message, len(records))
	for i, r := range records {
		if err := json.Unmarshal(r.Value, &out[i]); err != nil {
			t.Fatalf("record %d of partition %d is not of the sink: %q", i, r.Partition, r.Value)
		}
	}
	return out
}

// item is the table of most tests.
func item(id int64) *event.TableInfo {
	return &event.TableInfo{
		ID: id, SchemaID: 1, Schema: "shop", Table: fmt.Sprintf("item%d", id), UpdateTs: 1,
		Columns: []event.ColumnInfo{
			{ID: 1, Name: "id", Type: event.TypeLonglong, Length: 20, Flag: event.FlagNotNull | event.FlagPrimaryKey},
			{ID: 2, Name: "name", Type: event.TypeVarchar, Length: 255, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
		},
		PKIsHandle: true, HandleKey: []int{0},
	}
}

// put returns a row that is written at a ts.
func put(table *event.TableInfo, ts event.Ts, id int64, name string) *event.RowChanged {
	return &event.RowChanged{
		StartTs: ts - 1, CommitTs: ts, Table: table, PhysicalTableID: table.ID, Key: rowKey(table, id),
		Columns: []event.Value{event.Int64Value(id), event.TextValue(name)},
	}
}

func rowKey(table *event.TableInfo, id int64) []byte {
	return binary.BigEndian.AppendUint64(event.TableSpan(table.ID).Start, uint64(id)^1<<63)
}
