package avro

import (
	"time"
)

// Config configures an Encoder. The zero value is valid.
type Config struct {
	// Namespace is the first part of the records' namespace, TiCDC's namespace of the
	// changefeed. Defaults to "default".
	Namespace string
	// TimeZone is where TIMESTAMP values are written as local time. Defaults to UTC.
	TimeZone *time.Location
	// TiDBExtension adds the fields that start with _tidb to a value.
	TiDBExtension bool
	// DecimalAsString writes DECIMAL as text instead of bytes with the logical type
	// decimal (avro-decimal-handling-mode string instead of precise).
	DecimalAsString bool
	// UnsignedBigintAsString writes BIGINT UNSIGNED as text instead of a long, which
	// is negative from 2^63 on (avro-bigint-unsigned-handling-mode string instead of long).
	UnsignedBigintAsString bool
	// Watermark writes messages for watermarks and DDL (avro-enable-watermark).
	// Ordinary consumers of Avro fail on them; a Decoder of this package does not.
	Watermark bool
}

func (c Config) withDefaults() Config {
	if c.Namespace == "" {
		c.Namespace = "default"
	}
	if c.TimeZone == nil {
		c.TimeZone = time.UTC
	}
	return c
}
