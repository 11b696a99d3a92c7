package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/segmentio/kafka-go"

	"github.com/tidbcdc/tidbcdc/sink"
)

// topic is a topic that is written to.
type topic struct {
	name       string
	partitions []*partition
	// maxBytes bounds a message.
	maxBytes int
	// lost: brokers said that it does not exist, so it is looked up again.
	lost atomic.Bool
}

// topics finds topics, and makes them if that is allowed.
type topics struct {
	cfg    *Config
	client *client
	known  sync.Map      // name to *topic
	opener chan struct{} // holds one token: who has it may open a topic
}

func newTopics(cfg *Config, c *client) *topics {
	t := &topics{cfg: cfg, client: c, opener: make(chan struct{}, 1)}
	t.opener <- struct{}{}
	return t
}

// get returns a topic, which it opens at the first time.
func (t *topics) get(ctx context.Context, name string) (*topic, error) {
	if found, ok := t.lookup(name); ok {
		return found, nil
	}
	select {
	case <-t.opener:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { t.opener <- struct{}{} }()
	if found, ok := t.lookup(name); ok {
		return found, nil
	}
	opened, err := t.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open topic %s: %w", name, err)
	}
	t.known.Store(name, opened)
	return opened, nil
}

func (t *topics) lookup(name string) (*topic, bool) {
	v, ok := t.known.Load(name)
	if !ok {
		return nil, false
	}
	found, _ := v.(*topic)
	return found, !found.lost.Load()
}

func (t *topics) open(ctx context.Context, name string) (*topic, error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.DeliveryTimeout)
	defer cancel()
	found, err := t.find(ctx, name)
	if err != nil {
		return nil, err
	}
	n, want := int32(len(found.Partitions)), t.cfg.PartitionNum
	if t.isProgress(name) {
		want = 1
	}
	if want > n {
		return nil, invalid("partition-num is %d, but topic %s has %d partitions: lower it or add partitions", want, name, n)
	}
	if want > 0 {
		n = want
	}
	if before, ok := t.known.Load(name); ok {
		// The partitions keep their producers, which fence what is still on its way.
		if before, _ := before.(*topic); len(before.partitions) == int(n) {
			before.lost.Store(false)
			return before, nil
		}
	}
	out := &topic{name: name, maxBytes: t.limit(ctx, name)}
	for id := range n {
		leader, ok := leaderOf(found, name, id)
		if !ok {
			return nil, fmt.Errorf("partition %d is missing", id)
		}
		out.partitions = append(out.partitions, &partition{
			topic: out, id: id, leader: leader, limit: min(out.maxBytes, maxBatchBytes), producer: producerState{id: -1},
		})
	}
	return out, nil
}

// maxBatchBytes keeps batches of small messages from becoming larger than is good
// for their latency.
const maxBatchBytes = 4 << 20

// find returns what brokers say of a topic that has a leader for each partition,
// and makes the topic if there is none.
func (t *topics) find(ctx context.Context, name string) (*kafka.Topic, error) {
	created := false
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		found, err := t.describe(ctx, name)
		switch {
		case err == nil:
			return found, nil
		case errors.Is(err, kafka.UnknownTopicOrPartition) && !created:
			if t.cfg.NoTopicCreation {
				return nil, invalid("topic %s does not exist and auto-create-topic is false: create it", name)
			}
			if err := t.create(ctx, name); err != nil {
				return nil, err
			}
			created = true
		case !isRetriable(err):
			return nil, err
		}
		t.client.refresh()
		if err := sleep(ctx, wait); err != nil {
			return nil, fmt.Errorf("wait for its leaders: %w", err)
		}
	}
}

func (t *topics) describe(ctx context.Context, name string) (*kafka.Topic, error) {
	ctx, cancel := context.WithTimeout(ctx, t.client.timeout)
	defer cancel()
	res, err := t.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{name}})
	if err != nil {
		return nil, fmt.Errorf("ask for its partitions: %w", err)
	}
	found := &res.Topics[0]
	if found.Error != nil {
		return found, found.Error
	}
	for i := range found.Partitions {
		if p := &found.Partitions[i]; p.Error != nil || p.Leader.Port == 0 {
			return found, errors.Join(kafka.LeaderNotAvailable, p.Error)
		}
	}
	return found, nil
}

// isProgress reports whether a topic is the one of exactly-once.
func (t *topics) isProgress(name string) bool {
	return t.cfg.ExactlyOnce && name == t.cfg.ProgressTopic
}

// create makes a topic. It may exist: what kafka-go knows is some seconds old.
func (t *topics) create(ctx context.Context, name string) error {
	partitions := t.cfg.PartitionNum
	if partitions == 0 {
		partitions = defaultPartitions
	}
	replicas := t.cfg.ReplicationFactor
	if err := t.checkReplicas(ctx, replicas); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.client.timeout)
	defer cancel()
	made := kafka.TopicConfig{Topic: name, NumPartitions: int(partitions), ReplicationFactor: int(replicas)}
	if t.isProgress(name) {
		made.NumPartitions = 1
		made.ConfigEntries = []kafka.ConfigEntry{{ConfigName: "cleanup.policy", ConfigValue: "compact"}}
	}
	res, err := t.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{made}})
	if err == nil {
		err = res.Errors[name]
	}
	switch {
	case err == nil:
		t.cfg.Logger.Info("created a topic", "topic", name, "partitions", partitions, "replication_factor", replicas)
		return nil
	case errors.Is(err, kafka.TopicAlreadyExists), isRetriable(err):
		return nil // whoever waits for its leaders will see
	case errors.Is(err, kafka.InvalidReplicationFactor):
		return invalid("create topic %s with replication-factor %d: %w", name, replicas, err)
	case errors.Is(err, kafka.InvalidTopic):
		return sink.Permanent(fmt.Errorf("create it: %w", err))
	}
	return fmt.Errorf("create it: %w", err)
}

// checkReplicas refuses a number of replicas with which nothing could be written.
func (t *topics) checkReplicas(ctx context.Context, replicas int16) error {
	if t.cfg.Acks != AcksAll {
		return nil
	}
	least, ok := t.setting(ctx, kafka.ResourceTypeBroker, "", "min.insync.replicas")
	if ok && int(replicas) < least {
		return invalid("replication-factor is %d, less than min.insync.replicas of the brokers, %d: raise it, or lower required-acks", replicas, least)
	}
	return nil
}

// The headroom below what brokers accept, which TiCDC leaves for a batch's header.
const limitHeadroom = 128

// limit returns how large a message may be in a topic.
func (t *topics) limit(ctx context.Context, name string) int {
	limit := t.cfg.MaxMessageBytes
	if accepted, ok := t.setting(ctx, kafka.ResourceTypeTopic, name, "max.message.bytes"); ok && limit > accepted-limitHeadroom {
		limit = accepted - limitHeadroom
		t.cfg.Logger.Info("max-message-bytes is lowered to what the topic accepts",
			"topic", name, "max_message_bytes", limit, "configured", t.cfg.MaxMessageBytes)
	}
	return limit
}

// setting asks for a number in the settings of a topic, or of any broker. Users need
// not have the right to see it.
func (t *topics) setting(ctx context.Context, kind kafka.ResourceType, resource, name string) (int, bool) {
	ctx, cancel := context.WithTimeout(ctx, t.client.timeout)
	defer cancel()
	value, err := t.askSetting(ctx, kind, resource, name)
	if err != nil {
		t.cfg.Logger.Warn("a setting of Kafka is not known", "setting", name, "topic", resource, "error", err)
	}
	return value, err == nil
}

func (t *topics) askSetting(ctx context.Context, kind kafka.ResourceType, resource, name string) (int, error) {
	if kind == kafka.ResourceTypeBroker {
		cluster, err := t.client.Metadata(ctx, &kafka.MetadataRequest{})
		if err != nil {
			return 0, err
		}
		resource = strconv.Itoa(cluster.Controller.ID)
	}
	res, err := t.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kind, ResourceName: resource, ConfigNames: []string{name}},
	}})
	if err != nil {
		return 0, err
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			return 0, r.Error
		}
		for _, entry := range r.ConfigEntries {
			if entry.ConfigName == name {
				return strconv.Atoi(entry.ConfigValue)
			}
		}
	}
	return 0, errors.New("the broker does not tell it")
}

// invalid is an error about settings that must be changed.
func invalid(format string, args ...any) error {
	return sink.Permanent(fmt.Errorf("%w: %w", sink.ErrInvalidURI, fmt.Errorf(format, args...)))
}

// reach connects to any broker.
func (s *Sink) reach(ctx context.Context) error {
	var why error // that time was up says nothing, if there is more to say
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		// One attempt must not use up all time: a broker may be starting.
		attempt, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout)
		_, err := s.client.ApiVersions(attempt, &kafka.ApiVersionsRequest{})
		cancel()
		if err == nil {
			return nil
		}
		if timeout := net.Error(nil); why == nil || !errors.As(err, &timeout) || !timeout.Timeout() {
			why = err
		}
		if refused(err) || sleep(ctx, wait) != nil {
			return fmt.Errorf("connect to %s: %w%s", &s.cfg, why, s.hint(why))
		}
		s.client.refresh()
	}
}

// refused reports whether another attempt to connect would end the same way.
func refused(err error) bool {
	switch {
	case errors.Is(err, kafka.SASLAuthenticationFailed), errors.Is(err, kafka.UnsupportedSASLMechanism), errors.Is(err, errToken):
		return true
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return true // see hint
	}
	// What the other side of TLS says has no exported type.
	return strings.Contains(err.Error(), "tls: ")
}

// hint says what an error at connecting often comes from.
func (s *Sink) hint(err error) string {
	switch {
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		return ": the broker refuses sasl-user, sasl-password or the token"
	case errors.Is(err, kafka.UnsupportedSASLMechanism):
		return ": choose another sasl-mechanism"
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return ""
	case s.cfg.SASL == nil && s.cfg.TLS == nil:
		return ": the broker hangs up; it may want TLS (enable-tls) or a login (sasl-mechanism)"
	case s.cfg.SASL == nil:
		return ": the broker hangs up; it may want a client certificate or a login, or no TLS"
	}
	return ": the broker hangs up; it may refuse the login, or want TLS (enable-tls)"
}
