package simple

import (
	_ "embed"
	"fmt"
	"time"
)

// AvroSchema is the schema of the messages in Avro: a union of record types.
//
//go:embed message.avsc
var AvroSchema string

// Format is how messages are written.
type Format uint8

const (
	// JSON is the default.
	JSON Format = iota
	// Avro is binary and has the schema AvroSchema (encoding-format avro).
	Avro
)

// Config configures an Encoder. The zero value is valid.
type Config struct {
	Format Format
	// TimeZone is where TIMESTAMP values are written as local time. Its name is part
	// of the message, so it must have one that others know. Defaults to UTC.
	TimeZone *time.Location
	// Now tells the time for buildTs. Defaults to time.Now.
	Now func() time.Time
}

// withDefaults refuses the zone Local: a consumer would take its own for it.
func (c Config) withDefaults() (Config, error) {
	if c.TimeZone == nil {
		c.TimeZone = time.UTC
	}
	if name := c.TimeZone.String(); name == "Local" || name == "" {
		return c, fmt.Errorf("time zone %q means another time on another machine: name one, such as Asia/Tokyo", name)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}
