// Package simple encodes rows, DDL, tables' schemas and watermarks in TiCDC's
// simple protocol, as JSON or as Avro.
//
// # Messages
//
// Messages have no key. Each has a version (1), a type and the time when it was
// made (buildTs, ms). A row is INSERT, UPDATE or DELETE, with the table's id and the
// version of its schema, and its images as data and old: an object of all columns
// by name. Values are strings: ENUM, SET and BIT as numbers, bytes in base64,
// floats without an exponent, a TIMESTAMP as an object of location, the name of
// Config.TimeZone, and value. NULL is null. A row that is too large has only the
// columns of its handle key, and either handleKeyOnly or claimCheckLocation.
//
// A DDL carries the statement and the schema after and before it; its type is one
// of CREATE, RENAME, CINDEX, DINDEX, ERASE, TRUNCATE, ALTER and QUERY. A BOOTSTRAP
// carries a table's schema. A consumer finds a row's schema by database, table and
// version, so a BOOTSTRAP or DDL has to come first: [Bootstraps] says when one is
// due and [Encoder.AppendBootstrap] makes it. A WATERMARK carries a ts.
//
// In Avro a message is the union of the record types of [AvroSchema], always with
// the branch Message, without a schema id or a header. Integers, ENUM, SET and BIT
// are long, BIGINT UNSIGNED is a record UnsignedBigint whose long may be negative,
// FLOAT is float, DOUBLE is double, bytes are bytes, a TIMESTAMP is a record, and
// all else is string.
//
// # Differences from TiCDC
//
//   - Columns stand in the table's order, not sorted by name.
//   - The default of a BIT column is a number in Avro too, not its bytes as text.
//   - Row checksums are not written: a row carries none here.
//   - A new version of a table is a reason for a BOOTSTRAP, also if its DDL was sent.
package simple
