// Package maxwell encodes rows and DDL as Maxwell's daemon does.
//
// # Messages
//
// The key of a message of rows is the number 1 in eight bytes, big-endian; its value
// is the JSON objects of its rows one after another, with nothing between them. An
// object has the database, the table, the type (insert, update or delete), the
// commit ts in seconds as ts, and the row: an insert has data, an update data and in
// old the values of the columns that changed, a delete has the row in old.
//
// Integers, floats, and the numbers of ENUM, SET and BIT are numbers; bytes are
// base64; all else is text, also DECIMAL and JSON, and a TIMESTAMP as text in
// Config.TimeZone. A DDL is a message of its own, with a key as of open-protocol, the
// statement as sql and the columns of the table before (old) and after it (def).
// There is no watermark.
//
// # Differences from TiCDC
//
//   - Columns stand in the table's order, not sorted by name.
//   - Bytes and vectors are in old only if they changed; a column that became NULL, or
//     was NULL, is in old too.
//   - A DDL that changes a table is table-alter, also of the kinds that TiDB added after
//     version 4, which TiCDC calls by TiDB's names.
package maxwell
