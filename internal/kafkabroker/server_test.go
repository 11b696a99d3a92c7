package kafkabroker_test

import (
	"context"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"github.com/tidbcdc/tidbcdc/internal/kafkabroker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestServer: a topic outlives a kill; settings reach the server.
func TestServer(t *testing.T) {
	if _, _, err := kafkabroker.Find(); err != nil && !kafkabroker.Required() {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := kafkabroker.Start(ctx, kafkabroker.Options{
		User: "u", Password: "p", Properties: []string{"message.max.bytes=12345"}, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(s.Addr), Transport: transport}
	created, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: "x", NumPartitions: 2, ReplicationFactor: 1}},
	})
	if err != nil || created.Errors["x"] != nil {
		t.Fatal(created, err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	after := &kafka.Transport{}
	defer after.CloseIdleConnections()
	client.Transport = after
	found, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{"x"}})
	if err != nil || len(found.Topics[0].Partitions) != 2 {
		t.Fatal(found, err)
	}
	settings, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeBroker, ResourceName: "1", ConfigNames: []string{"message.max.bytes"}},
	}})
	if err != nil || settings.Resources[0].ConfigEntries[0].ConfigValue != "12345" {
		t.Fatal(settings, err)
	}
}
