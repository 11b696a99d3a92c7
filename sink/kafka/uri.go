package kafka

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Open is a [sink.Opener] for the schemes kafka and kafka+ssl, which mean the same.
// Claim checks can be kept in files only: see [Opener] for other storage.
func Open(ctx context.Context, uri *url.URL, cfg sink.Config) (sink.Sink, io.Closer, error) {
	return Opener(openFiles)(ctx, uri, cfg)
}

// Opener returns a [sink.Opener] that keeps claim checks where openBucket opens
// claim-check-storage-uri.
func Opener(openBucket func(ctx context.Context, uri string) (*blob.Bucket, error)) sink.Opener {
	return func(ctx context.Context, uri *url.URL, cfg sink.Config) (sink.Sink, io.Closer, error) {
		parsed, err := ParseURI(uri, cfg)
		if err != nil {
			return nil, nil, err
		}
		parsed.LargeMessage.OpenBucket = openBucket
		s, err := New(ctx, parsed)
		if err != nil {
			return nil, nil, err
		}
		return s, s, nil
	}
}

// openFiles opens a folder that file:// names, and makes it if there is none.
func openFiles(_ context.Context, uri string) (*blob.Bucket, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" && u.Scheme != "local" {
		return nil, invalid("claim-check-storage-uri: this program knows file:// only")
	}
	return fileblob.OpenBucket(u.Path, &fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
}

// settings reads parameters of a URI and options, of which the first that is there
// counts. The first problem is kept.
type settings struct {
	query   url.Values
	used    []string
	problem error
}

// text returns a parameter or else the option.
func (s *settings) text(name, option string) string {
	s.used = append(s.used, name)
	if s.query.Has(name) {
		return s.query.Get(name)
	}
	return option
}

func (s *settings) fail(format string, args ...any) {
	if s.problem == nil {
		s.problem = invalid(format, args...)
	}
}

func (s *settings) boolean(name string, option *bool) (value, set bool) {
	s.used = append(s.used, name)
	if !s.query.Has(name) {
		return option != nil && *option, option != nil
	}
	value, err := strconv.ParseBool(s.query.Get(name))
	if err != nil {
		s.fail("%s is %q, want true or false", name, s.query.Get(name))
	}
	return value, true
}

// integer returns a parameter, else the option, else the default.
func integer[T int | int16 | int32 | int64](s *settings, name string, option *T, byDefault T) T {
	s.used = append(s.used, name)
	if !s.query.Has(name) {
		if option != nil {
			return *option
		}
		return byDefault
	}
	value, err := strconv.ParseInt(s.query.Get(name), 10, 64)
	if err != nil || int64(T(value)) != value {
		s.fail("%s is %q, want a number", name, s.query.Get(name))
	}
	return T(value)
}

func (s *settings) duration(name, option string) time.Duration {
	text := s.text(name, option)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		s.fail("%s is %q, want a time such as 10s", name, text)
	}
	return d
}

// choice returns one of the wanted texts, in lower case; the first is the default.
func (s *settings) choice(name, option string, want ...string) string {
	text := strings.ToLower(s.text(name, option))
	if text == "" {
		return want[0]
	}
	if !slices.Contains(want, text) {
		s.fail("%s is %q, want one of %s", name, text, strings.Join(want, ", "))
	}
	return text
}

// ParseURI returns the Config that a URI and the options in cfg describe, without
// connecting to anything. LargeMessage.OpenBucket is not set.
func ParseURI(uri *url.URL, cfg sink.Config) (Config, error) {
	query, err := url.ParseQuery(uri.RawQuery)
	if err != nil {
		return Config{}, invalid("the query is malformed")
	}
	if uri.User != nil {
		return Config{}, invalid("a user before the hosts means nothing: use sasl-user, sasl-password and sasl-mechanism")
	}
	s := &settings{query: query}
	options := cfg.Options.Kafka
	if options == nil {
		options = &sink.KafkaOptions{}
	}
	out := Config{
		Brokers: brokers(uri.Host), Topic: strings.Trim(uri.Path, "/"), Changefeed: cfg.Changefeed, Logger: cfg.Logger,
		ColumnSelectors: cfg.Options.ColumnSelectors, CaseSensitive: cfg.CaseSensitive,
	}
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	s.connection(&out, options)
	s.delivery(&out, options)
	if cfg.Options.TransactionAtomicity != "" || query.Has("transaction-atomicity") {
		if a := s.choice("transaction-atomicity", cfg.Options.TransactionAtomicity, "none", "table"); a == "table" {
			s.fail("transaction-atomicity=table: messages have no transactions; use none")
		}
	}
	protocol := s.protocol(&out, cfg)
	if s.problem != nil {
		return Config{}, s.problem
	}
	var rules []dispatcher.Rule
	for _, r := range cfg.Options.Dispatchers {
		rules = append(rules, dispatcher.Rule(r))
	}
	out.Dispatcher, err = dispatcher.New(dispatcher.Config{
		DefaultTopic: out.Topic, Rules: rules, CaseSensitive: out.CaseSensitive, Protocol: protocol, TimeZone: cfg.TimeZone,
	})
	if err != nil {
		return Config{}, invalid("%w", err)
	}
	for name := range query {
		if !slices.Contains(s.used, name) {
			out.Logger.Warn("a parameter of the sink URI is not known and means nothing", "parameter", name)
		}
	}
	return out, nil
}

// brokers returns the hosts with their ports.
func brokers(hosts string) []string {
	const defaultPort = "9092"
	var out []string
	for host := range strings.SplitSeq(hosts, ",") {
		if host == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), defaultPort)
		}
		out = append(out, host)
	}
	return out
}

var kafkaVersion = regexp.MustCompile(`^\d+\.\d+(\.\d+){0,2}$`)

// connection reads what is about reaching the brokers.
func (s *settings) connection(out *Config, o *sink.KafkaOptions) {
	out.ClientID = s.text("kafka-client-id", o.KafkaClientID)
	out.DialTimeout = s.duration("dial-timeout", o.DialTimeout)
	out.WriteTimeout = s.duration("write-timeout", o.WriteTimeout)
	out.ReadTimeout = s.duration("read-timeout", o.ReadTimeout)
	// Versions of requests are negotiated; a wrong text is told as TiCDC does.
	if v := s.text("kafka-version", o.KafkaVersion); v != "" && !kafkaVersion.MatchString(v) {
		s.fail("kafka-version is %q, want a form such as 2.4.0", v)
	}
	out.TLS = s.tls(o)
	out.SASL = s.sasl(o)
}

// delivery reads what is about topics and messages.
func (s *settings) delivery(out *Config, o *sink.KafkaOptions) {
	out.PartitionNum = integer(s, "partition-num", o.PartitionNum, 0)
	if (s.query.Has("partition-num") || o.PartitionNum != nil) && out.PartitionNum < 1 {
		s.fail("partition-num is %d, want at least 1", out.PartitionNum)
	}
	out.ReplicationFactor = integer(s, "replication-factor", o.ReplicationFactor, 1)
	out.MaxMessageBytes = integer(s, "max-message-bytes", o.MaxMessageBytes, defaultMaxMessageBytes)
	switch acks := integer(s, "required-acks", o.RequiredAcks, -1); acks {
	case -1:
	case 0:
		out.Acks = AcksNone
	case 1:
		out.Acks = AcksLeader
	default:
		s.fail("required-acks is %d, want -1, 0 or 1", acks)
	}
	names := []string{"none", "gzip", "snappy", "lz4", "zstd"} // in the order of their codes
	out.Compression = kafka.Compression(slices.Index(names, s.choice("compression", o.Compression, names...)))
	create, set := s.boolean("auto-create-topic", o.AutoCreateTopic)
	out.NoTopicCreation = set && !create
	out.RawUpdates, _ = s.boolean("output-raw-change-event", o.OutputRawChangeEvent)
	out.ExactlyOnce, _ = s.boolean("exactly-once", o.ExactlyOnce)
	out.ProgressTopic = s.text("progress-topic", o.ProgressTopic)

	large := o.LargeMessage
	if large == nil {
		large = &sink.LargeMessageOptions{}
	}
	switch s.choice("large-message-handle-option", large.Option, "none", "handle-key-only", "claim-check") {
	case "handle-key-only":
		out.LargeMessage.Handling = HandleKeyOnly
	case "claim-check":
		out.LargeMessage.Handling = ClaimCheck
	}
	out.LargeMessage.Compression = s.choice("large-message-handle-compression", large.Compression, "none", "lz4", "snappy")
	if out.LargeMessage.Compression == "none" {
		out.LargeMessage.Compression = ""
	}
	out.LargeMessage.StorageURI = s.text("claim-check-storage-uri", large.ClaimCheckStorageURI)
	if out.LargeMessage.Handling == ClaimCheck && out.LargeMessage.StorageURI == "" {
		s.fail("large-message-handle-option=claim-check needs claim-check-storage-uri")
	}
	out.LargeMessage.RawValue = large.ClaimCheckRawValue
}

// String names the target without what may be secret.
func (c *Config) String() string {
	return fmt.Sprintf("kafka://%s/%s", strings.Join(c.Brokers, ","), c.Topic)
}
