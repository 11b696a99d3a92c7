// Package csv encodes rows as lines for files: the protocol csv of storage sinks.
//
// A line is an operation (I, U or D), the table and the schema; then, as
// configured, the commit ts, whether it is part of an update, and the row's handle;
// then the values of all columns in the table's order. Texts, and all that is
// written as text such as decimals and dates, are in quotes, with a quote within
// doubled; numbers, true and false are not, and NULL is a word without quotes. If
// there are no quotes, a backslash stands in front of each backslash and of each
// character of a delimiter, and line breaks are written \r and \n.
//
// ENUM and SET are written by name, BIT as a number, bytes in base64 or hex, a
// TIMESTAMP in Config.TimeZone. A handle is the number of an integer key or of a
// row without a clustered key, and {a, b} of a clustered key of other types.
//
// An update is one line, U, with the new values; with Config.OutputOldValue it is
// two, D with the old values and I with the new ones, both marked as an update.
// There is no message for a DDL or a watermark: what a storage sink writes into the
// schema file and the metadata file says that. [Encoder.AppendHeader] makes the
// line that names the columns.
//
// # Differences from TiCDC
//
//   - A name in the header is in quotes, or escaped, if it has to be.
//   - The empty string that MySQL stores for a wrong ENUM element is an empty
//     string, not an error.
//   - A handle is written from the row's values; TiCDC prints sort keys for a
//     column with a case-insensitive collation.
//   - Lines have no limit: all rows of a call are one message.
package csv
