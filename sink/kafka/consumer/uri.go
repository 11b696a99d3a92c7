package consumer

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/avro"
	"github.com/tidbcdc/tidbcdc/sink/codec/avro/registry"
	"github.com/tidbcdc/tidbcdc/sink/codec/canal"
	"github.com/tidbcdc/tidbcdc/sink/codec/canaljson"
	"github.com/tidbcdc/tidbcdc/sink/codec/debezium"
	"github.com/tidbcdc/tidbcdc/sink/codec/maxwell"
	"github.com/tidbcdc/tidbcdc/sink/codec/openprotocol"
	"github.com/tidbcdc/tidbcdc/sink/codec/simple"
	"github.com/tidbcdc/tidbcdc/sink/kafka"
)

// ParseURI returns the Config for what a changefeed with that sink URI and those
// options writes, without connecting to anything. The path may name several topics,
// with commas between them, and patterns such as shop_*.
//
// Claim checks are read from file:// unless LargeMessage.OpenBucket is set to something
// else.
func ParseURI(uri *url.URL, cfg sink.Config) (Config, error) {
	query := uri.Query()
	path := strings.Trim(uri.Path, "/")
	// The rest is as for the writer, for which the path must be a topic.
	plain := *uri
	plain.Path = "/topics"
	parsed, err := kafka.ParseURI(&plain, cfg)
	if err != nil {
		return Config{}, err
	}
	out := Config{
		Brokers: parsed.Brokers, LargeMessage: parsed.LargeMessage, TLS: parsed.TLS, SASL: parsed.SASL,
		DialTimeout: parsed.DialTimeout, ReadTimeout: parsed.ReadTimeout, Logger: cfg.Logger,
		ClientID: query.Get("kafka-client-id"),
	}
	out.LargeMessage.OpenBucket = openFiles
	for topic := range strings.SplitSeq(path, ",") {
		if topic != "" {
			out.Topics = append(out.Topics, topic)
		}
	}
	if err := out.setDecoder(query, &cfg); err != nil {
		return Config{}, err
	}
	return out, nil
}

// option returns a parameter, or else the option in words.
func option[T any](query url.Values, name string, o *T) string {
	if query.Has(name) || o == nil {
		return query.Get(name)
	}
	return fmt.Sprint(*o)
}

// setDecoder sets what depends on the protocol. kafka.ParseURI has checked all values.
func (c *Config) setDecoder(query url.Values, cfg *sink.Config) error {
	o, zone := &cfg.Options, cfg.TimeZone
	codecs := &sink.CodecOptions{}
	registryURL := o.SchemaRegistry
	if o.Kafka != nil && o.Kafka.Codec != nil {
		codecs = o.Kafka.Codec
	}
	extension := isTrue(option(query, "enable-tidb-extension", codecs.EnableTiDBExtension))
	switch strings.ToLower(option(query, "protocol", &o.Protocol)) {
	case "canal-json":
		c.Watermarks = extension
		c.NewDecoder = func() (codec.Decoder, error) {
			return canaljson.NewDecoder(canaljson.DecoderConfig{TimeZone: zone}), nil
		}
	case "canal":
		c.NewDecoder = func() (codec.Decoder, error) { return canal.NewDecoder(canal.DecoderConfig{TimeZone: zone}), nil }
	case "maxwell":
		c.NeedsTables = true
		c.newDescribed = func(table func(string, string) *event.TableInfo) codec.Decoder {
			return maxwell.NewDecoder(maxwell.DecoderConfig{Table: table, TimeZone: zone})
		}
		c.NewDecoder = func() (codec.Decoder, error) { return maxwell.NewDecoder(maxwell.DecoderConfig{TimeZone: zone}), nil }
	case "debezium":
		c.Watermarks = extension
		c.NeedsTables = isTrue(option(query, "debezium-disable-schema", o.DebeziumDisableSchema))
		c.newDescribed = func(table func(string, string) *event.TableInfo) codec.Decoder {
			return debezium.NewDecoder(debezium.DecoderConfig{Table: table})
		}
		c.NewDecoder = func() (codec.Decoder, error) { return debezium.NewDecoder(debezium.DecoderConfig{}), nil }
	case "simple":
		c.Watermarks = true
		format := simple.JSON
		if strings.EqualFold(option(query, "encoding-format", &codecs.EncodingFormat), "avro") {
			format = simple.Avro
		}
		c.NewDecoder = func() (codec.Decoder, error) {
			return simple.NewDecoder(simple.DecoderConfig{Format: format, TimeZone: zone}), nil
		}
	case "avro", "flat-avro":
		c.Watermarks = isTrue(option(query, "avro-enable-watermark", codecs.AvroEnableWatermark))
		client, err := registry.New(registry.Config{URL: option(query, "schema-registry", &registryURL), TLS: c.TLS.Clone()})
		if err != nil {
			return fmt.Errorf("schema-registry: %w", err)
		}
		c.NewDecoder = func() (codec.Decoder, error) { return avro.NewDecoder(avro.DecoderConfig{TimeZone: zone}, client), nil }
	default: // open-protocol
		c.Watermarks = true
		c.NewDecoder = func() (codec.Decoder, error) {
			return openprotocol.NewDecoder(openprotocol.DecoderConfig{TimeZone: zone}), nil
		}
	}
	return nil
}

// isTrue knows the spellings of true that strconv.ParseBool accepts.
func isTrue(text string) bool {
	switch text {
	case "1", "t", "T", "true", "TRUE", "True":
		return true
	}
	return false
}

// openFiles opens a folder that file:// names.
func openFiles(_ context.Context, uri string) (*blob.Bucket, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" && u.Scheme != "local" {
		return nil, fmt.Errorf("%w: claim checks are read from file:// only", sink.ErrInvalidURI)
	}
	return fileblob.OpenBucket(u.Path, nil)
}
