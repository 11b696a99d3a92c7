package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"github.com/tidbcdc/tidbcdc/sink"
)

// client is kafka-go's with requests for several partitions at a time.
type client struct {
	*kafka.Client
	transport *kafka.Transport
	acks      kafka.RequiredAcks
	// timeout bounds a request: how long the broker may wait for its replicas and
	// answer.
	timeout time.Duration

	mu struct {
		sync.Mutex
		refreshed time.Time
	}
}

func newClient(cfg *Config) *client {
	transport := &kafka.Transport{
		Dial: cfg.Dial, DialTimeout: cfg.DialTimeout, ClientID: cfg.ClientID, TLS: cfg.TLS, SASL: cfg.SASL,
	}
	return &client{
		Client:    &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: transport},
		transport: transport, acks: cfg.Acks.kafka(), timeout: cfg.WriteTimeout + cfg.ReadTimeout,
	}
}

// partitionBatch is a record batch, with its size before it, for a partition.
type partitionBatch struct {
	topic     string
	partition int32
	batch     []byte
	queue     *partition // whose batch it is, for the producer
}

// produce sends one request with the batches, which must be for partitions with
// one leader, each for another. It returns an error for each, or one if the request
// failed as a whole: it may have been carried out all the same.
func (c *client) produce(ctx context.Context, transaction string, batches []partitionBatch) ([]error, error) {
	slices.SortStableFunc(batches, func(a, b partitionBatch) int { return strings.Compare(a.topic, b.topic) })
	req := &rawproduce.Request{
		TransactionalID: transaction, Acks: int16(c.acks),
		// The broker gives up before we do, so that its answer is heard.
		Timeout: int32((c.timeout / 2).Milliseconds()),
	}
	for i, b := range batches {
		if i == 0 || b.topic != batches[i-1].topic {
			req.Topics = append(req.Topics, rawproduce.RequestTopic{Topic: b.topic})
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, rawproduce.RequestPartition{
			Partition: b.partition, RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(b.batch)},
		})
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := c.transport.RoundTrip(ctx, c.Addr, req)
	if err != nil {
		return nil, fmt.Errorf("produce: %w", err)
	}
	errs := make([]error, len(batches))
	if c.acks == kafka.RequireNone {
		return errs, nil
	}
	res, ok := answer.(*produce.Response)
	if !ok {
		return nil, fmt.Errorf("produce: the broker answered with %T", answer)
	}
	for i, b := range batches {
		errs[i] = resultOf(res, b)
	}
	return errs, nil
}

var errNoAnswer = errors.New("the broker's answer lacks the partition")

func resultOf(res *produce.Response, b partitionBatch) error {
	for i := range res.Topics {
		if res.Topics[i].Topic != b.topic {
			continue
		}
		for j := range res.Topics[i].Partitions {
			p := &res.Topics[i].Partitions[j]
			switch {
			case p.Partition != b.partition:
			case p.ErrorCode == 0:
				return nil
			case p.ErrorMessage != "":
				return fmt.Errorf("%w (%s)", kafka.Error(p.ErrorCode), p.ErrorMessage)
			default:
				return kafka.Error(p.ErrorCode)
			}
		}
	}
	return errNoAnswer
}

// refresh makes the next request learn anew where partitions are. kafka-go does so
// by itself every few seconds only; a new pool of connections does at once.
func (c *client) refresh() {
	const often = 100 * time.Millisecond
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.mu.refreshed) < often {
		return
	}
	c.mu.refreshed = time.Now()
	c.transport.CloseIdleConnections()
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// newProducerID asks for a producer id that nobody has. Of a transactional id it
// ends the transactions and fences all who use it.
func (c *client) newProducerID(ctx context.Context, transaction string, timeout time.Duration) (producerState, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := c.InitProducerID(ctx, &kafka.InitProducerIDRequest{
		TransactionalID: transaction, TransactionTimeoutMs: int(timeout.Milliseconds()), ProducerID: -1, ProducerEpoch: -1,
	})
	if err == nil {
		err = res.Error
	}
	switch {
	case err == nil:
		return producerState{id: int64(res.Producer.ProducerID), epoch: int16(res.Producer.ProducerEpoch)}, nil
	case errors.Is(err, kafka.ClusterAuthorizationFailed):
		err = fmt.Errorf("%w: grant the user IdempotentWrite on the cluster", err)
	case errors.Is(err, kafka.TransactionalIDAuthorizationFailed):
		err = fmt.Errorf("%w: grant the user Write on transactional ids that begin with tidbcdc", err)
	case errors.Is(err, kafka.InvalidTransactionTimeout):
		err = sink.Permanent(fmt.Errorf("%w: the brokers' transaction.max.timeout.ms is less than %s", err, timeout))
	}
	return producerState{id: -1}, fmt.Errorf("get a producer id: %w", err)
}

const (
	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second
)

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
