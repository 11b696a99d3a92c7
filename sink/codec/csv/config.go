package csv

import (
	"fmt"
	"strings"
	"time"
)

// Config configures an Encoder and a Decoder, under the names of TiCDC's section
// [sink.csv]. The zero value is TiCDC's defaults.
type Config struct {
	// Delimiter stands between values: one to three characters. Defaults to a comma.
	Delimiter string
	// NoQuote writes texts with escapes instead of quotes. Quote is the quote
	// otherwise, one byte; it defaults to ". Without quotes a text that is the same as
	// Null cannot be told from NULL, unless Null has a backslash as \N has.
	NoQuote bool
	Quote   string
	// Null stands for NULL. Defaults to \N. EmptyNull makes it nothing at all.
	Null      string
	EmptyNull bool
	// Terminator ends a line. Defaults to CR LF.
	Terminator string
	// IncludeCommitTs writes the commit ts.
	IncludeCommitTs bool
	// BinaryHex writes bytes in hex instead of base64.
	BinaryHex bool
	// OutputOldValue writes the old values of an update, as a line of their own, and
	// a column that says whether a line is part of an update.
	OutputOldValue bool
	// OutputHandleKey writes the handle of a row.
	OutputHandleKey bool
	// TimeZone is where TIMESTAMP values are written as local time. Defaults to UTC.
	TimeZone *time.Location
}

// withDefaults sets TiCDC's defaults. Afterwards an empty Quote means no quotes.
func (c Config) withDefaults() Config {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&c.Delimiter, ",")
	set(&c.Terminator, "\r\n")
	if c.NoQuote {
		c.Quote = ""
	} else {
		set(&c.Quote, `"`)
	}
	if c.EmptyNull {
		c.Null = ""
	} else {
		set(&c.Null, `\N`)
	}
	if c.TimeZone == nil {
		c.TimeZone = time.UTC
	}
	return c
}

// alphanumeric are characters that dates, numbers and base64 have.
const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// validate is for a Config with defaults.
func (c Config) validate() error {
	const maxDelimiter = 3
	switch {
	case len(c.Delimiter) > maxDelimiter:
		return fmt.Errorf("csv delimiter %q is longer than %d bytes", c.Delimiter, maxDelimiter)
	case strings.ContainsAny(c.Delimiter, "\r\n"):
		return fmt.Errorf("csv delimiter %q has a line break", c.Delimiter)
	case strings.Contains(c.Delimiter, `\`) && c.NoQuote:
		return fmt.Errorf("csv delimiter %q has a backslash, which is the escape when there are no quotes", c.Delimiter)
	case strings.ContainsAny(c.Delimiter, "0123456789+-.e"):
		return fmt.Errorf("csv delimiter %q has a character that numbers have, which are not in quotes", c.Delimiter)
	case strings.ContainsAny(c.Quote, alphanumeric+"+-./:= "):
		return fmt.Errorf("csv quote %q is a character of numbers, dates or base64", c.Quote)
	case len(c.Quote) > 1 || c.Quote != "" && strings.ContainsAny(c.Quote, "\r\n"):
		return fmt.Errorf("csv quote %q is not one character", c.Quote)
	case c.Quote != "" && strings.Contains(c.Delimiter, c.Quote):
		return fmt.Errorf("csv delimiter %q contains the quote", c.Delimiter)
	case c.Quote != "" && strings.Contains(c.Null, c.Quote), strings.Contains(c.Null, c.Delimiter), strings.ContainsAny(c.Null, "\r\n"):
		return fmt.Errorf("csv null %q contains the quote, the delimiter or a line break", c.Null)
	case strings.Contains(c.Terminator, c.Delimiter):
		return fmt.Errorf("csv terminator %q contains the delimiter", c.Terminator)
	case c.NoQuote && strings.Trim(c.Terminator, "\r\n") != "":
		return fmt.Errorf("csv terminator %q must be line breaks when there are no quotes: only those are escaped in values", c.Terminator)
	}
	return nil
}
