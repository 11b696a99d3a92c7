// Package canaljson encodes and decodes canal-json: a JSON object per message, in
// the shape of Alibaba Canal's FlatMessage, without a key.
//
// # Messages
//
// A row:
//
//	{"id":0,"database":"shop","table":"orders","pkNames":["id"],"isDdl":false,"type":"UPDATE",
//	 "es":1716300000000,"ts":1716300000123,"sql":"",
//	 "sqlType":{"id":-5,"state":12},"mysqlType":{"id":"bigint","state":"varchar"},
//	 "old":[{"id":"7","state":"new"}],"data":[{"id":"7","state":"paid"}]}
//
// type is INSERT, UPDATE or DELETE; es is the time of the commit and ts that of
// encoding, both in milliseconds since 1970. data is the row, of a DELETE the row
// that was deleted; old is the row before an UPDATE, else null. pkNames are the
// columns of the primary key, null without one. Columns stand in the order of the
// table. sqlType has numbers of java.sql.Types: an unsigned integer that is too
// great for its signed type has the next wider one, BIGINT then DECIMAL.
//
// A value is a string, or null for NULL:
//
//	integers, YEAR, DECIMAL         as MySQL prints them
//	FLOAT, DOUBLE                   the shortest digits, without an exponent
//	ENUM, SET, BIT                  their number
//	CHAR, VARCHAR, TEXT, JSON       as they are
//	BINARY, VARBINARY, BLOB         each byte as the character with its number (ISO-8859-1)
//	DATE, TIME, DATETIME            as MySQL prints them
//	TIMESTAMP                       the same, as clocks in Config.TimeZone show it
//	VECTOR                          [1,2.5]
//
// A DDL has isDdl true, the statement in sql, and null for everything about
// columns. Its type is CREATE, RENAME, CINDEX and DINDEX (indexes and keys), ALTER,
// ERASE (DROP TABLE), TRUNCATE, or QUERY for all else.
//
// # The TiDB extension
//
// With Config.TiDBExtension an object has a last member, _tidb:
//
//	{"commitTs":449917100630016001}                              a row or DDL
//	{"commitTs":449917100630016001,"onlyHandleKey":true}         a row without its other columns
//	{"commitTs":449917100630016001,"claimCheckLocation":"s3:…"}  the same, and where the whole message is
//	{"watermarkTs":449917100630016001}                           of an object with the type TIDB_WATERMARK
//
// Without it there are no watermarks, and rows that are too large cannot be
// degraded; a Decoder knows the commit ts to the millisecond only.
//
// # Decoding
//
// A [Decoder] reads what TiCDC writes, of any version, and messages of Alibaba
// Canal itself, which may hold several rows. Types without lengths, which is all
// there is without Config.ContentCompatible, leave Length and Decimal at -1 and
// Elems nil; values of ENUM and SET are then numbers ([event.KindUint64]), and a BIT
// is taken for BIT(64). Of several kinds of DDL that share a type the Decoder gives
// the most general one.
//
// # Differences from TiCDC
//
//   - mysqlType lists columns in the order of the table, not at random, so that one
//     row always gives the same bytes.
//   - <, > and & are not escaped.
//   - A TIMESTAMP has the zone of the configuration, UTC by default, never that of
//     the machine.
//   - A DELETE of a table without a handle key has all columns, also with
//     Config.DeleteOnlyHandleKey.
package canaljson
