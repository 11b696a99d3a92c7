// Package debezium encodes rows, DDL and watermarks as Debezium's connector for
// MySQL does, in JSON.
//
// # Messages
//
// A message is an object of a payload and, unless Config.DisableSchema, the Kafka
// Connect schema of it. The key's payload has the columns of the handle key; the
// value's has source (with commit_ts and cluster_id of TiDB), ts_ms (when it was
// made), transaction (null), op (c, u or d) and the images before and after. The
// value of a DDL has the statement and the tables that it changed; that of a
// watermark, with Config.TiDBExtension, has the op m and the ts as the commit_ts of
// its source.
//
//	BIT(1)                       boolean
//	BIT                          bytes Bits, little-endian
//	TINYINT, SMALLINT            int16
//	SMALLINT UNSIGNED, MEDIUMINT, INT     int32
//	INT UNSIGNED, BIGINT         int64
//	FLOAT                        float, or double with digits
//	DOUBLE                       double
//	DECIMAL                      double, or string with Config.DecimalAsString
//	CHAR VARCHAR TEXT            string
//	BINARY VARBINARY BLOB        bytes
//	ENUM, SET                    string Enum, EnumSet
//	DATE                         int32 Date, days since 1970
//	DATETIME                     int64 Timestamp, ms since 1970; MicroTimestamp, µs, from 4 digits on
//	TIMESTAMP                    string ZonedTimestamp, in UTC
//	TIME                         int64 MicroTime, µs
//	YEAR                         int32 Year
//	JSON                         string Json
//	VECTOR                       string TiDBVectorFloat32
//
// JSON holds bytes in base64. A date that does not exist, such as 0000-00-00, is
// null, or the first of 1970 if the column is NOT NULL.
//
// # Differences from TiCDC
//
//   - A NULL is null, also in a column with a default.
//   - BIGINT UNSIGNED is the number itself, also from 2^63 on, though the schema says
//     int64: a consumer that reads numbers of more than 63 bits gets it right, and
//     Kafka Connect's converter wraps it to the same negative number as before.
//   - DECIMAL is a number with all its digits, for consumers that do not round it to
//     a double.
//   - Bytes are declared as bytes, as Debezium does, not as string.
//   - Years below 100 are those years.
//   - Defaults have the type of the column; those of an expression are left out.
//   - The zero TIMESTAMP in a column that may be NULL is null, like other dates that
//     do not exist.
//   - A row of a table without a handle key has no key, instead of an empty one
//     which would make all its rows the same to log compaction.
//   - A DDL lists all tables that it changed, and no DDL is an error.
package debezium
