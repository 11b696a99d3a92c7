// Package avro encodes rows as Apache Avro with the schemas in a registry: the
// protocol avro, also known as flat-avro.
//
// # Messages
//
// Each row is a message. Its key is an Avro record of the handle key's columns,
// its value one of all columns; a delete has a nil value, a tombstone. In front of
// a record stands the id of its schema: a zero byte and four bytes, big-endian, for
// a Confluent-compatible registry; the bytes 3 and 0 and a UUID of 16 bytes for AWS
// Glue, without its compression. The schemas are registered under the topic's name,
// each . replaced by _, with -key or -value added; so a topic holds one table.
//
// A record is named after the table and has the namespace Namespace.schema;
// characters other than A to Z, a to z, 0 to 9 and _ become _, and a leading digit
// gets a _ in front. A field's type is an object with the parameter tidb_type, in
// a union with null if the column may be NULL: null comes first, or second if the
// column has a default, because an Avro default is of the first branch.
//
//	TINYINT SMALLINT MEDIUMINT, also UNSIGNED; INT; YEAR    int
//	INT UNSIGNED, BIGINT                                    long
//	BIGINT UNSIGNED                                         long, negative from 2^63 on; or string
//	FLOAT, DOUBLE                                           float, double
//	DECIMAL                                                 bytes, logical type decimal; or string
//	BIT                                                     bytes, big-endian, without leading zeros
//	CHAR VARCHAR TEXT                                       string
//	BINARY VARBINARY BLOB                                   bytes
//	ENUM SET                                                string, the parameter allowed lists the names
//	JSON DATE DATETIME TIME VECTOR                          string
//	TIMESTAMP                                               string, in Config.TimeZone
//
// With Config.TiDBExtension a value ends with the fields _tidb_op (c or u),
// _tidb_commit_ts and _tidb_commit_physical_time (ms).
//
// There is no old image, and no DDL or watermark, except with Config.Watermark:
// then a value is the byte 1 and a JSON object for a DDL, and the byte 2 and the ts
// in eight bytes, big-endian, for a watermark.
//
// # Registry
//
// An [Encoder] does no I/O while it encodes. [Encoder.Prepare] registers what a
// version of a table needs and must be called before the version's first row for a
// topic; a [Decoder] has Prepare too, which fetches the schemas of a message. Both
// return at once if there is nothing to do, so they can be called for each batch.
// Package registry has a client for registries that speak Confluent's API.
//
// # Differences from TiCDC
//
//   - A default of bytes and BIT is written in the schema as the Avro specification
//     says, one character for each byte, not as base64.
//   - A default that is an expression, other than CURRENT_TIMESTAMP, is left out: a
//     reader would take its text for the value.
//   - The text null as a default is that text, not NULL.
//   - The empty string that MySQL stores for a wrong ENUM element is an empty
//     string, not an error.
//   - A table without a handle key is an error: neither a key nor a tombstone could
//     say which row is meant.
//   - Row checksums are not written: a row carries none here.
package avro
