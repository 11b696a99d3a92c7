package debezium

import "time"

// Config configures an Encoder. The zero value is valid.
type Config struct {
	// ClusterID is the logical name of the source and the first part of the schemas'
	// names. Defaults to "default".
	ClusterID string
	// DisableSchema leaves out the schemas (debezium-disable-schema).
	DisableSchema bool
	// NoOldValue leaves the old image of an update out (output-old-value false).
	NoOldValue bool
	// IncludeStartTs adds start_ts to the source of a row (include-start-ts).
	IncludeStartTs bool
	// TiDBExtension adds TiDB's type to each field of a schema, as tidb_type, and
	// writes watermarks, which Debezium's own consumers do not know.
	TiDBExtension bool
	// DecimalAsString writes DECIMAL as text instead of a number.
	DecimalAsString bool
	// Now tells the time for ts_ms. Defaults to time.Now.
	Now func() time.Time
}

// withDefaults sets the defaults.
func (c Config) withDefaults() Config {
	if c.ClusterID == "" {
		c.ClusterID = "default"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
