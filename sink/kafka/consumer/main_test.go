package consumer_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/kafkabroker"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/kafka/consumer"
)

// brokers are the addresses of a real Kafka, or of an in-process one where there is none.
var brokers string

func TestMain(m *testing.M) { os.Exit(runTests(m)) } //nolint:forbidigo // how a TestMain ends

func runTests(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var stop func() error
	if _, _, err := kafkabroker.Find(); err == nil {
		server, err := kafkabroker.Start(ctx, kafkabroker.Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		brokers, stop = server.Addr, server.Close
		fmt.Println("broker: Apache Kafka")
	} else {
		if kafkabroker.Required() {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Printf("broker: in-process, because %v\n", err)
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		brokers, stop = strings.Join(cluster.ListenAddrs(), ","), func() error { cluster.Close(); return nil }
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

// producer returns a client that puts records where they say, and makes a topic.
func producer(t *testing.T, topic string, partitions int, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	options = append(options, kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic))
	c, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	admin := &kafkago.Client{Addr: kafkago.TCP(strings.Split(brokers, ",")...), Transport: transport}
	res, err := admin.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{
		{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1},
	}})
	if err != nil || res.Errors[topic] != nil {
		t.Fatal("create topic:", res, err)
	}
	return c
}

// source returns the consumer's settings for a topic.
func source(t *testing.T, topic, query string, options sink.Options) consumer.Config {
	t.Helper()
	uri, err := url.Parse("kafka://" + brokers + "/" + topic + "?" + query)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := consumer.ParseURI(uri, sink.Config{Options: options, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// consume runs a consumer to its end and returns what it delivered.
func consume(t *testing.T, cfg consumer.Config) (*recorder, consumer.Status, error) {
	t.Helper()
	c, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := &recorder{}
	err = c.Run(ctx, r)
	return r, c.Status(), err
}

// recorder is a sink that writes down what it gets: "insert 1@10" is the row with id 1
// and commit ts 10, and calls are separate.
type recorder struct {
	mu    sync.Mutex
	calls []string
	rows  []*event.RowChanged
	ddls  []*event.DDL
	// fail, if set, is asked before each call.
	fail func() error
}

func (r *recorder) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		if err := r.fail(); err != nil {
			return err
		}
	}
	var call []string
	for _, row := range rows {
		r.rows = append(r.rows, row.Clone())
		call = append(call, fmt.Sprintf("%s %s@%d", row.Kind(), row.Image()[0].Text(), row.CommitTs))
	}
	r.calls = append(r.calls, strings.Join(call, ", "))
	return nil
}

func (r *recorder) WriteDDL(_ context.Context, ddl *event.DDL) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ddls = append(r.ddls, ddl)
	r.calls = append(r.calls, fmt.Sprintf("%s@%d", ddl.Query, ddl.CommitTs))
	return nil
}

func (r *recorder) WriteCheckpoint(_ context.Context, ts event.Ts) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprintf("checkpoint %d", ts))
	return nil
}
