package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tidbcdc/tidbcdc/sink"
)

// client is kafka-go's, with retries.
type client struct {
	*kafka.Client
	transport *kafka.Transport
	// timeout bounds an attempt, retries all of them.
	timeout, retries time.Duration
	log              *slog.Logger
}

func newClient(cfg *Config) *client {
	t := &kafka.Transport{Dial: cfg.Dial, DialTimeout: cfg.DialTimeout, ClientID: cfg.ClientID, TLS: cfg.TLS, SASL: cfg.SASL}
	return &client{
		Client: &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: t}, transport: t,
		timeout: cfg.ReadTimeout, retries: cfg.RetryTimeout, log: cfg.Logger,
	}
}

const (
	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second
)

// isFinal reports whether an error of a broker stays when the cluster recovers.
func isFinal(err error) bool {
	var code kafka.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case kafka.OffsetOutOfRange, kafka.InvalidTopic, kafka.SASLAuthenticationFailed, kafka.UnsupportedSASLMechanism,
		kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.UnsupportedVersion:
		return true
	}
	return false
}

// retry calls do until it succeeds.
func (c *client) retry(ctx context.Context, do func(context.Context) error) error {
	deadline := time.Now().Add(c.retries)
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		attempt, cancel := context.WithTimeout(ctx, c.timeout)
		err := do(attempt)
		cancel()
		if err == nil || isFinal(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		c.log.Warn("reading from Kafka failed and is tried again", "error", err)
		c.transport.CloseIdleConnections() // and learn anew where partitions are
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

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

// readers makes a reader for each partition of the topics, at the place to begin.
func (c *client) readers(ctx context.Context, cfg *Config, tables *descriptions) ([]*reader, error) {
	var topics []kafka.Topic
	err := c.retry(ctx, func(ctx context.Context) (err error) {
		topics, err = c.topics(ctx, cfg.Topics)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find topics %s: %w", strings.Join(cfg.Topics, ", "), err)
	}
	var out []*reader
	for _, t := range topics {
		var offsets []kafka.PartitionOffsets
		err := c.retry(ctx, func(ctx context.Context) (err error) {
			offsets, err = c.offsets(ctx, &t)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("find the offsets of topic %s: %w", t.Name, err)
		}
		for _, o := range offsets {
			decode, err := newMessageDecoder(cfg, tables)
			if err != nil {
				return nil, err
			}
			r := &reader{
				cfg: cfg, client: c, topic: t.Name, id: int32(o.Partition), set: recordSet{next: o.FirstOffset}, end: o.LastOffset,
				decode: decode, grants: make(chan struct{}, 1),
			}
			if cfg.FromEnd {
				r.set.next = o.LastOffset
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// topics returns those that the patterns name. Of each pattern there must be one.
func (c *client) topics(ctx context.Context, patterns []string) ([]kafka.Topic, error) {
	meta, err := c.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	var out []kafka.Topic
	for _, pattern := range patterns {
		if strings.ContainsAny(pattern, `?[\`) {
			return nil, sink.Permanent(fmt.Errorf("topic %q: only * stands for other characters", pattern))
		}
		found := false
		for _, t := range meta.Topics {
			ok, err := path.Match(pattern, t.Name)
			if err != nil || !ok || t.Internal || t.Error != nil || len(t.Partitions) == 0 {
				continue
			}
			found = true
			if !slices.ContainsFunc(out, func(o kafka.Topic) bool { return o.Name == t.Name }) {
				out = append(out, t)
			}
		}
		if !found {
			return nil, fmt.Errorf("%w: %s", kafka.UnknownTopicOrPartition, pattern)
		}
	}
	return out, nil
}

// offsets returns where the partitions of a topic begin and, of what is committed, end.
func (c *client) offsets(ctx context.Context, t *kafka.Topic) ([]kafka.PartitionOffsets, error) {
	var all [2]map[int]kafka.PartitionOffsets
	for i, of := range []func(int) kafka.OffsetRequest{kafka.FirstOffsetOf, kafka.LastOffsetOf} {
		req := &kafka.ListOffsetsRequest{IsolationLevel: kafka.ReadCommitted, Topics: map[string][]kafka.OffsetRequest{}}
		for _, p := range t.Partitions {
			req.Topics[t.Name] = append(req.Topics[t.Name], of(p.ID))
		}
		res, err := c.ListOffsets(ctx, req)
		if err != nil {
			return nil, err
		}
		all[i] = map[int]kafka.PartitionOffsets{}
		for _, o := range res.Topics[t.Name] {
			if o.Error != nil {
				return nil, o.Error
			}
			all[i][o.Partition] = o
		}
	}
	var out []kafka.PartitionOffsets
	for _, p := range t.Partitions {
		first, ok := all[0][p.ID]
		last, ok2 := all[1][p.ID]
		if !ok || !ok2 {
			return nil, fmt.Errorf("partition %d: the broker tells no offsets", p.ID)
		}
		first.LastOffset = last.LastOffset
		out = append(out, first)
	}
	slices.SortFunc(out, func(a, b kafka.PartitionOffsets) int { return a.Partition - b.Partition })
	return out, nil
}
