// Package openprotocol encodes and decodes TiCDC's open protocol: messages whose
// keys say what happened to which table, and whose values say how.
//
// # Messages
//
// A key is the version, 1, and then for each event a length and a JSON object; the
// value is for each event, in the same order, a length and a JSON object. Version
// and lengths are eight bytes, big-endian. A message holds up to
// [Config.MaxBatchSize] rows.
//
//	{"ts":449917100630016001,"scm":"shop","tbl":"orders","rid":7,"ptn":108,"t":1}
//
// ts is the commit ts; rid TiDB's handle of the row, if it is a number other than 0;
// ptn the id of the partition, if the table has some; t is 1 for a row, 2 for a DDL
// and 3 for a watermark. Members that have nothing to say are left out. The values:
//
//	{"u":{"id":{…},"state":{…}}}                      an insert
//	{"u":{…},"p":{…}}                                 an update: the row, and before
//	{"d":{…}}                                         a delete: the row that was
//	{"q":"ALTER TABLE orders ADD note TEXT","t":5}    a DDL, with TiDB's number of its kind
//	nothing, that is the length 0                     a watermark
//
// A column is {"t":15,"h":true,"f":10,"v":"paid"}: t is MySQL's number of the type
// (see [event.ColumnType]), h there for the handle key, v the value and f the sum of
//
//	1 binary   2 handle key   4 generated   8 primary key
//	16 unique  32 part of an index of several columns   64 nullable   128 unsigned
//
// Values are JSON numbers for integers, YEAR, FLOAT, DOUBLE, and ENUM, SET and BIT
// (their number); null for NULL; and for all else strings:
//
//	CHAR, VARCHAR                             as they are
//	BINARY, VARBINARY                         with Go's escapes, such as \x89PNG
//	the TEXTs and BLOBs                       in base64
//	DECIMAL, DATE, TIME, DATETIME, JSON       as MySQL prints them
//	TIMESTAMP                                 the same, as clocks in Config.TimeZone show it
//	VECTOR                                    [1,2.5]
//
// A row that is too large can be sent with its handle key only: its key then says
// "ohk":true, or "ccl" and where the whole message is.
//
// DDL and watermarks belong into all partitions of a topic.
//
// # Decoding
//
// Messages tell the types of columns but no lengths, so that Length and Decimal are
// -1 and Elems nil: values of ENUM and SET are numbers ([event.KindUint64]) and a BIT
// is taken for BIT(64). A generated column has Stored set, but its expression is not
// known. With [Config.WithoutOldValue] an update cannot be told from an insert, and
// is decoded as one.
//
// # Differences from TiCDC
//
//   - Columns stand in the order of the table; before its new architecture TiCDC
//     sorted them by name.
//   - <, > and & are not escaped.
//   - With Config.OnlyOutputUpdatedColumns, values such as 0, ” and the zero date
//     stay what they are in p (TiCDC's new architecture makes them null), and an
//     update that changes nothing has an empty p, not none.
//   - A TIMESTAMP has the zone of the configuration, UTC by default, never that of
//     the machine.
//   - A delete of a table without a handle key has all columns, also with
//     Config.DeleteOnlyHandleKey.
package openprotocol
