package kafka

import (
	"crypto/tls"
	"strings"
	"time"

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
)

// protocol reads what is about the protocol, and returns its name.
func (s *settings) protocol(out *Config, cfg sink.Config) string {
	o := &cfg.Options
	// All are read, so that a parameter of another protocol is not taken for unknown.
	p := protocolOptions{zone: cfg.TimeZone, cluster: cfg.Cluster}
	name := strings.ToLower(s.text("protocol", o.Protocol))
	p.read(s, o)
	switch name {
	case "open-protocol", "default", "":
		name = "open-protocol"
		out.NewEncoder = p.openProtocol
	case "canal-json":
		out.NewEncoder, out.DDLToFirstPartition = p.canalJSON, true
	case "maxwell":
		out.NewEncoder = p.maxwell
	case "avro", "flat-avro":
		name = "avro"
		s.avro(out, &p, o)
	case "debezium":
		out.NewEncoder = p.debeziumEncoder
	case "simple":
		out.NewEncoder = p.simple
		out.BootstrapInterval, out.BootstrapRows = seconds(o.SendBootstrapIntervalInSec), count(o.SendBootstrapInMsgCount)
		out.BootstrapToFirstPartition = o.SendBootstrapToAllPartition != nil && !*o.SendBootstrapToAllPartition
		out.BootstrapAll = o.SendAllBootstrapAtStart != nil && *o.SendAllBootstrapAtStart
	case "canal":
		out.NewEncoder, out.DDLToFirstPartition = p.canal, true
	default:
		s.fail("%w for Kafka: %q: use open-protocol, canal-json, canal, maxwell, avro, simple or debezium", sink.ErrUnknownProtocol, name)
	}
	switch large := out.LargeMessage; {
	case large.Handling == RefuseLarge:
	case name == "canal-json" && !p.extension:
		s.fail("large-message-handle-option needs enable-tidb-extension=true with canal-json")
	case name == "open-protocol" && large.RawValue:
		s.fail("claim-check-raw-value: in open-protocol the key says what the value is about; leave it false")
	}
	if out.ExactlyOnce && name == "avro" && p.watermark {
		s.fail("avro-enable-watermark is for tests only and does not go with exactly-once")
	}
	return name
}

// protocolOptions are the settings of all protocols.
type protocolOptions struct {
	zone              *time.Location
	extension         bool
	maxBatchSize      int
	watermark         bool
	decimalAsString   bool
	unsignedAsString  bool
	avroFormat        bool
	onlyUpdated       bool
	contentCompatible bool
	deleteOnlyKey     bool
	disableSchema     bool
	rowKey            bool
	cluster           string
	debezium          sink.DebeziumOptions
	openWithoutOld    bool
}

func (p *protocolOptions) read(s *settings, o *sink.Options) {
	c := &sink.CodecOptions{}
	if o.Kafka != nil && o.Kafka.Codec != nil {
		c = o.Kafka.Codec
	}
	p.extension, _ = s.boolean("enable-tidb-extension", c.EnableTiDBExtension)
	p.maxBatchSize = integer(s, "max-batch-size", c.MaxBatchSize, 0)
	p.watermark, _ = s.boolean("avro-enable-watermark", c.AvroEnableWatermark)
	p.decimalAsString = s.choice("avro-decimal-handling-mode", c.AvroDecimalHandlingMode, "precise", "string") == "string"
	p.unsignedAsString = s.choice("avro-bigint-unsigned-handling-mode", c.AvroBigintUnsignedHandlingMode, "long", "string") == "string"
	p.avroFormat = s.choice("encoding-format", c.EncodingFormat, "json", "avro") == "avro"
	p.onlyUpdated, _ = s.boolean("only-output-updated-columns", o.OnlyOutputUpdatedColumns)
	p.contentCompatible, _ = s.boolean("content-compatible", o.ContentCompatible)
	p.deleteOnlyKey, _ = s.boolean("delete-only-output-handle-key-columns", o.DeleteOnlyOutputHandleKeyColumns)
	p.disableSchema, _ = s.boolean("debezium-disable-schema", o.DebeziumDisableSchema)
	p.rowKey, _ = s.boolean("output-row-key", c.OutputRowKey)
	if before, _ := s.boolean("avro-include-before-value", c.AvroIncludeBeforeValue); before {
		s.fail("avro-include-before-value is not supported: messages of avro have no old values; use another protocol")
	}
	if o.Debezium != nil {
		p.debezium = *o.Debezium
	}
	p.openWithoutOld = o.Open != nil && o.Open.OutputOldValue != nil && !*o.Open.OutputOldValue
}

func (p *protocolOptions) openProtocol(maxMessageBytes int) (codec.Encoder, error) {
	return openprotocol.NewEncoder(openprotocol.Config{
		MaxBatchSize: p.maxBatchSize, MaxMessageBytes: maxMessageBytes, WithoutOldValue: p.openWithoutOld,
		OnlyOutputUpdatedColumns: p.onlyUpdated, DeleteOnlyHandleKey: p.deleteOnlyKey, TimeZone: p.zone,
	}), nil
}

func (p *protocolOptions) canalJSON(int) (codec.Encoder, error) {
	return canaljson.NewEncoder(canaljson.Config{
		TiDBExtension: p.extension, OnlyOutputUpdatedColumns: p.onlyUpdated, DeleteOnlyHandleKey: p.deleteOnlyKey,
		ContentCompatible: p.contentCompatible, RowKey: p.rowKey, TimeZone: p.zone,
	}), nil
}

func (p *protocolOptions) debeziumEncoder(int) (codec.Encoder, error) {
	return debezium.NewEncoder(debezium.Config{
		ClusterID: p.cluster, DisableSchema: p.disableSchema, NoOldValue: p.debezium.OutputOldValue != nil && !*p.debezium.OutputOldValue,
		IncludeStartTs: p.debezium.IncludeStartTs, TiDBExtension: p.extension,
	}), nil
}

func (p *protocolOptions) canal(maxMessageBytes int) (codec.Encoder, error) {
	return canal.NewEncoder(canal.Config{
		MaxBatchSize: p.maxBatchSize, MaxMessageBytes: maxMessageBytes, DeleteOnlyHandleKey: p.deleteOnlyKey,
		ContentCompatible: p.contentCompatible, TimeZone: p.zone,
	}), nil
}

func (p *protocolOptions) maxwell(maxMessageBytes int) (codec.Encoder, error) {
	return maxwell.NewEncoder(maxwell.Config{
		TimeZone: p.zone, MaxMessageBytes: maxMessageBytes, DeleteOnlyHandleKey: p.deleteOnlyKey,
	}), nil
}

func (p *protocolOptions) simple(int) (codec.Encoder, error) {
	format := simple.JSON
	if p.avroFormat {
		format = simple.Avro
	}
	return simple.NewEncoder(simple.Config{Format: format, TimeZone: p.zone})
}

// avro needs a registry of schemas.
func (s *settings) avro(out *Config, p *protocolOptions, o *sink.Options) {
	if o.Kafka != nil && o.Kafka.GlueRegistry != nil {
		s.fail("glue-schema-registry-config is not supported: use a registry with Confluent's API (schema-registry)")
		return
	}
	address := s.text("schema-registry", o.SchemaRegistry)
	if address == "" {
		s.fail("protocol avro needs schema-registry")
		return
	}
	client, err := registry.New(registry.Config{URL: address, TLS: registryTLS(out.TLS)})
	if err != nil {
		s.fail("schema-registry: %w", err)
		return
	}
	out.closers = append(out.closers, client)
	out.NewEncoder = func(int) (codec.Encoder, error) {
		return avro.NewEncoder(avro.Config{
			TimeZone: p.zone, TiDBExtension: p.extension, DecimalAsString: p.decimalAsString,
			UnsignedBigintAsString: p.unsignedAsString, Watermark: p.watermark,
		}, client), nil
	}
}

// registryTLS is the brokers' CA and client certificate, for a registry with https.
func registryTLS(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	return c.Clone()
}

func seconds(n *int64) time.Duration {
	switch {
	case n == nil:
		return 0
	case *n < 1:
		return -1
	}
	return time.Duration(*n) * time.Second
}

func count(n *int64) int {
	switch {
	case n == nil:
		return 0
	case *n < 1:
		return -1
	}
	return int(*n)
}
