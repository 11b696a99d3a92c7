package canaljson

import "time"

// Config configures an Encoder. The zero value is valid: Alibaba Canal's format.
type Config struct {
	// TiDBExtension adds the member _tidb, and messages for watermarks.
	TiDBExtension bool
	// OnlyOutputUpdatedColumns leaves out of old what an UPDATE did not change.
	OnlyOutputUpdatedColumns bool
	// DeleteOnlyHandleKey leaves all columns but those of the handle key out of a
	// DELETE (delete-only-output-handle-key-columns).
	DeleteOnlyHandleKey bool
	// ContentCompatible writes types as Canal does, with lengths and elements:
	// "varchar(255)", "enum('a','b')".
	ContentCompatible bool
	// RowKey adds rowkey, TiKV's key of the row in base64, to _tidb.
	RowKey bool
	// TimeZone is where TIMESTAMP values are shown. Defaults to UTC.
	TimeZone *time.Location
	// Now returns the time for ts. Defaults to time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.TimeZone == nil {
		c.TimeZone = time.UTC
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// DecoderConfig configures a Decoder. The zero value is valid.
type DecoderConfig struct {
	// TimeZone is where TIMESTAMP values were written, as messages do not tell.
	// Defaults to UTC.
	TimeZone *time.Location
}
