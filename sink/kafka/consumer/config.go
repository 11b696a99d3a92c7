package consumer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/segmentio/kafka-go/sasl"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/kafka"
)

// Config says what to read and how. Brokers, Topics and NewDecoder are required;
// every other field may be zero.
type Config struct {
	// Brokers are addresses, host:port, to begin with: the others are learned from them.
	Brokers []string
	// Topics are names, in which * stands for any characters.
	Topics []string
	// NewDecoder makes a decoder for a partition. A decoder may have a method
	//
	//	Prepare(ctx context.Context, key, value []byte) error
	//
	// which is called before a message is decoded, for what needs I/O.
	NewDecoder func() (codec.Decoder, error)
	// Watermarks: the protocol has watermarks in all partitions.
	Watermarks bool
	// NeedsTables: messages do not tell the types and keys of columns, so that a database
	// can be filled only with Describe. Only ParseURI sets it.
	NeedsTables bool
	// Describe returns what a target knows of a table: its columns with their types, and
	// its handle key; nil if there is no such table. With NeedsTables it is asked for each
	// table, again after each DDL, and messages are read without regard to watermarks,
	// because they mean what the table is when they are written. Otherwise it is not used.
	Describe func(ctx context.Context, schema, table string) (*event.TableInfo, error)

	// FromEnd begins at the end of the partitions instead of their beginning.
	FromEnd bool
	// TargetTs, if not 0, ends Run when all up to it has been delivered, and nothing above
	// it is. It needs Watermarks.
	TargetTs event.Ts
	// UntilEnd ends Run when it has read what the partitions held when it began. What no
	// watermark has passed then is not delivered.
	UntilEnd bool

	// HandleKeyRows delivers inserts and updates of which a message had only the handle
	// key, with NULL in the other columns or without them. Otherwise they are an error.
	HandleKeyRows bool
	// LargeMessage says how values are compressed and where claim checks are; without
	// StorageURI, at the place that messages name. Handling does not matter.
	LargeMessage kafka.LargeMessage
	// GeneratedColumns returns the generated columns of a table in the target, which are
	// not written there and which most protocols do not tell. It is asked for each table
	// again after each DDL. Nil is for none.
	GeneratedColumns func(ctx context.Context, schema, table string) ([]string, error)

	// MaxBufferedBytes bounds the memory for changes that wait for watermarks, which is
	// an estimate. Defaults to 512 MiB.
	MaxBufferedBytes int
	// BatchRows is about how many rows are delivered at a time. Defaults to 1024. What one
	// commit did to a table stays together.
	BatchRows int
	// RetryTimeout is for how long a request, or a write of the sink, is tried again.
	// Defaults to 2 min.
	RetryTimeout time.Duration

	// ClientID is what brokers see. Defaults to tidbcdc-consumer.
	ClientID string
	// Dial opens connections; the default is a net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS encrypts connections unless it is nil; SASL authenticates unless it is nil.
	TLS  *tls.Config
	SASL sasl.Mechanism
	// DialTimeout bounds connecting, ReadTimeout a request. They default to 10 s.
	DialTimeout, ReadTimeout time.Duration
	// Logger receives what an operator should know. The default discards it.
	Logger *slog.Logger

	// newDescribed is NewDecoder with what tells the columns of a table, for NeedsTables.
	newDescribed func(table func(schema, table string) *event.TableInfo) codec.Decoder
}

const (
	defaultTimeout     = 10 * time.Second
	defaultRetry       = 2 * time.Minute
	defaultMaxBuffered = 512 << 20
	defaultBatchRows   = 1024
)

// described reports whether messages are read with what Describe tells.
func (c *Config) described() bool { return c.NeedsTables && c.Describe != nil && c.newDescribed != nil }

func (c *Config) setDefaults() {
	c.Watermarks = c.Watermarks && !c.described()
	if c.ClientID == "" {
		c.ClientID = "tidbcdc-consumer"
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.DialTimeout, defaultTimeout)
	setDefault(&c.ReadTimeout, defaultTimeout)
	setDefault(&c.RetryTimeout, defaultRetry)
	setDefault(&c.MaxBufferedBytes, defaultMaxBuffered)
	setDefault(&c.BatchRows, defaultBatchRows)
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
	case len(c.Topics) == 0:
		problem = errors.New("no topic is named: write it as the path, kafka://host:port/topic")
	case c.NewDecoder == nil:
		problem = errors.New("NewDecoder is required")
	case c.TargetTs != 0 && c.described():
		problem = errors.New("messages that do not tell types are written as they come, not up to a target ts: read until the end instead")
	case c.TargetTs != 0 && !c.Watermarks:
		problem = errors.New("the protocol has no watermarks to tell when a target ts is reached: read until the end instead")
	default:
		return nil
	}
	return fmt.Errorf("%w: %w", sink.ErrInvalidURI, problem)
}
