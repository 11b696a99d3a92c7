package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"gocloud.dev/blob"

	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// Config says where to write and how. Brokers, Topic and NewEncoder are required;
// every other field may be zero.
type Config struct {
	// Brokers are addresses, host:port, to begin with: the others are learned from them.
	Brokers []string
	// Topic is where changes go that Dispatcher does not send elsewhere.
	Topic string
	// NewEncoder makes an encoder of messages of at most so many bytes. It is called
	// as often as writes overlap. An Encoder may have a method
	//
	//	Prepare(ctx context.Context, topic string, table *event.TableInfo) error
	//
	// which is called before rows of a table version are encoded, for what needs I/O.
	NewEncoder func(maxMessageBytes int) (codec.Encoder, error)
	// Dispatcher chooses topics and partitions. Nil sends a table's changes to one
	// partition of Topic.
	Dispatcher *dispatcher.Dispatcher
	// DDLToFirstPartition sends DDL to partition 0 instead of to all.
	DDLToFirstPartition bool

	// BootstrapInterval and BootstrapRows are after how much time and how many rows an
	// encoder that has a method AppendBootstrap repeats a table's schema: 120 s and
	// 10000 by default, never if negative. BootstrapToFirstPartition sends it there only.
	BootstrapInterval         time.Duration
	BootstrapRows             int
	BootstrapToFirstPartition bool
	// BootstrapAll sends the schemas of all tables when the changefeed starts, before the
	// first watermark, also of those that do not change.
	BootstrapAll bool

	// Changefeed names the writer, in messages and in ClientID.
	Changefeed string
	// ClientID is what brokers see. Defaults to tidbcdc_ and the changefeed.
	ClientID string
	// Logger receives what an operator should know. The default discards it.
	Logger *slog.Logger

	// Dial opens connections; the default is a net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS encrypts connections unless it is nil; SASL authenticates unless it is nil.
	TLS  *tls.Config
	SASL sasl.Mechanism
	// DialTimeout bounds connecting, with all handshakes; WriteTimeout and ReadTimeout
	// together bound a request. They default to 10 s each.
	DialTimeout, WriteTimeout, ReadTimeout time.Duration
	// DeliveryTimeout is for how long requests are repeated before a write fails, which
	// the changefeed then repeats in its turn. Defaults to 2 min.
	DeliveryTimeout time.Duration

	// Acks is who must have a message before it counts as written.
	Acks Acks
	// Compression of batches; zero is none.
	Compression kafka.Compression
	// MaxMessageBytes bounds a message. It is lowered to what brokers accept.
	// Defaults to 10 MiB.
	MaxMessageBytes int

	// NoTopicCreation makes a topic that does not exist an error.
	NoTopicCreation bool
	// PartitionNum is how many partitions of a topic are used: the first ones. Zero
	// means all, and 3 for a topic that is made.
	PartitionNum int32
	// ReplicationFactor of topics that are made. Defaults to 1.
	ReplicationFactor int16

	// ColumnSelectors leave out columns; the first that includes a table counts.
	ColumnSelectors []sink.ColumnSelector
	// CaseSensitive makes ColumnSelectors distinguish upper from lower case in names of
	// tables.
	CaseSensitive bool
	// RawUpdates keeps an update that changes a key in one piece. Otherwise it becomes
	// a delete and an insert.
	RawUpdates bool
	// LargeMessage says what becomes of messages above MaxMessageBytes.
	LargeMessage LargeMessage

	// ExactlyOnce writes with transactions, see the package comment. It needs a
	// Changefeed, which no other writer to the same Kafka has, and physical tables that
	// are one span each, as package cdc makes them: rows of a table must come in order.
	ExactlyOnce bool
	// ProgressTopic is where ExactlyOnce keeps progress. Defaults to
	// tidbcdc_progress.
	ProgressTopic string
	// TransactionTimeout is after how long brokers end the transaction of a writer
	// that is gone. Defaults to 1 min, the most that brokers allow is 15 min.
	TransactionTimeout time.Duration

	closers []io.Closer // what ParseURI opened
}

// Acks is who must have a message before it counts as written.
type Acks uint8

const (
	// AcksAll is all replicas that are in sync.
	AcksAll Acks = iota
	// AcksLeader is the leader of the partition. What only it has is lost with it.
	AcksLeader
	// AcksNone is nobody. What is lost on the way is lost.
	AcksNone
)

func (a Acks) kafka() kafka.RequiredAcks {
	switch a {
	case AcksLeader:
		return kafka.RequireOne
	case AcksNone:
		return kafka.RequireNone
	default:
		return kafka.RequireAll
	}
}

// LargeMessage says what becomes of messages that are too large. The zero value
// refuses them.
type LargeMessage struct {
	Handling LargeHandling
	// Compression of the value of every message: "", lz4 or snappy.
	Compression string
	// StorageURI is where ClaimCheck stores messages, opened with OpenBucket.
	StorageURI string
	OpenBucket func(ctx context.Context, uri string) (*blob.Bucket, error)
	// RawValue stores the value of a message alone, not with its key in JSON.
	RawValue bool
}

// LargeHandling is what becomes of a message that is too large.
type LargeHandling uint8

const (
	// RefuseLarge fails the changefeed.
	RefuseLarge LargeHandling = iota
	// HandleKeyOnly sends the columns of the handle key only.
	HandleKeyOnly
	// ClaimCheck stores the message elsewhere and sends where.
	ClaimCheck
)

const (
	defaultTimeout         = 10 * time.Second
	defaultDelivery        = 2 * time.Minute
	defaultMaxMessageBytes = 10 << 20
	defaultPartitions      = 3
	defaultProgressTopic   = "tidbcdc_progress"
)

// notInClientID is what TiCDC replaces in a client id.
var notInClientID = regexp.MustCompile(`[^A-Za-z0-9._-]`)

func (c *Config) setDefaults() error {
	if c.ClientID == "" {
		c.ClientID = strings.TrimSuffix("tidbcdc_"+c.Changefeed, "_")
	}
	c.ClientID = notInClientID.ReplaceAllString(c.ClientID, "_")
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	for _, d := range []*time.Duration{&c.DialTimeout, &c.WriteTimeout, &c.ReadTimeout} {
		setDefault(d, defaultTimeout)
	}
	setDefault(&c.DeliveryTimeout, defaultDelivery)
	setDefault(&c.MaxMessageBytes, defaultMaxMessageBytes)
	setDefault(&c.ReplicationFactor, 1)
	setDefault(&c.ProgressTopic, defaultProgressTopic)
	setDefault(&c.TransactionTimeout, time.Minute)
	if c.Dispatcher == nil {
		d, err := dispatcher.New(dispatcher.Config{DefaultTopic: c.Topic})
		if err != nil {
			return err
		}
		c.Dispatcher = d
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) validate() error {
	var problem error
	switch {
	case len(c.Brokers) == 0:
		problem = errors.New("no broker is named")
	case c.Topic == "":
		problem = errors.New("no topic is named: write it as the path, kafka://host:port/topic")
	case c.NewEncoder == nil:
		problem = errors.New("NewEncoder is required")
	case c.PartitionNum < 0:
		problem = fmt.Errorf("partition-num is %d, want at least 1", c.PartitionNum)
	case c.ReplicationFactor < 1:
		problem = fmt.Errorf("replication-factor is %d, want at least 1", c.ReplicationFactor)
	case c.MaxMessageBytes <= batchOverhead+recordOverhead:
		problem = fmt.Errorf("max-message-bytes is %d, too small for any message", c.MaxMessageBytes)
	case c.Compression < 0 || c.Compression > kafka.Zstd:
		problem = fmt.Errorf("compression %d is not known", c.Compression)
	case c.LargeMessage.Handling == ClaimCheck && (c.LargeMessage.StorageURI == "" || c.LargeMessage.OpenBucket == nil):
		problem = errors.New("claim-check needs claim-check-storage-uri and a function that opens it")
	case c.ExactlyOnce && c.Changefeed == "":
		problem = errors.New("exactly-once needs the id of a changefeed")
	case c.ExactlyOnce && c.Acks != AcksAll:
		problem = errors.New("exactly-once needs required-acks=-1")
	case c.ExactlyOnce && c.ProgressTopic == c.Topic:
		problem = errors.New("progress-topic must not be the topic of changes")
	default:
		return nil
	}
	return invalid("%w", problem)
}
