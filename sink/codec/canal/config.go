package canal

import "time"

// Config configures an Encoder. The zero value is valid.
type Config struct {
	// MaxBatchSize is how many rows a message may hold. Defaults to 16.
	MaxBatchSize int
	// MaxMessageBytes bounds messages of several rows: the value, and 36 bytes that
	// Kafka needs for a record. Defaults to 10 MiB.
	MaxMessageBytes int
	// DeleteOnlyHandleKey leaves all columns but those of the handle key out of a
	// DELETE (delete-only-output-handle-key-columns).
	DeleteOnlyHandleKey bool
	// ContentCompatible writes types as Canal does, with lengths and elements:
	// "varchar(255)", "enum('a','b')".
	ContentCompatible bool
	// TimeZone is where TIMESTAMP values are shown. Defaults to UTC.
	TimeZone *time.Location
}

// The defaults of a Config.
const (
	DefaultMaxBatchSize    = 16
	DefaultMaxMessageBytes = 10 << 20
)

// recordOverhead is what Kafka may need for a record besides key and value.
const recordOverhead = 36

func (c Config) withDefaults() Config {
	if c.MaxBatchSize <= 0 {
		c.MaxBatchSize = DefaultMaxBatchSize
	}
	if c.MaxMessageBytes <= 0 {
		c.MaxMessageBytes = DefaultMaxMessageBytes
	}
	if c.TimeZone == nil {
		c.TimeZone = time.UTC
	}
	return c
}

// DecoderConfig configures a Decoder. The zero value is valid.
type DecoderConfig struct {
	// TimeZone is where TIMESTAMP values were written, as messages do not tell.
	// Defaults to UTC.
	TimeZone *time.Location
}
