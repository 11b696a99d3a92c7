// Package mysql writes changes to a database that speaks MySQL's protocol: TiDB,
// MySQL, MariaDB.
//
//	backends := sink.Openers{"mysql": mysql.Open, "tidb": mysql.Open}
//	s, closer, err := backends.Open(ctx, "mysql://user:password@host:3306/?worker-count=8", sink.Config{})
//
// [New] writes through connections that a program has already.
//
// # Parameters
//
// The schemes mysql, mysql+ssl, tidb and tidb+ssl mean the same: the server says
// what it is, and TLS is what ssl-ca and ssl-cert ask for. A path is ignored, as are
// parameters that are not listed. A value out of its range is an error; one above
// its maximum is lowered, with a warning. The names are TiCDC's, except
// exactly-once.
//
//	user, password             userinfo  root, none; the server may also accept what the password holds in base64
//	host, port                 host:port port 4000; one host
//	worker-count               16        connections that write at once; 1 to 1024
//	max-txn-row                256       rows of a transaction downstream, and of a statement; 1 to 2048
//	max-multi-update-row       –         updates in one statement; 1 to 256, by default max-txn-row
//	max-multi-update-row-size  1024      average bytes of a row above which max-multi-update-row, if set, means 1; up to 8192
//	tidb-txn-mode              optimistic  or pessimistic; TiDB only
//	ssl-ca, ssl-cert, ssl-key  –         paths of PEM files on this machine
//	time-zone                  changefeed's  in which DDL is read where the upstream's is not known; empty leaves the server's
//	safe-mode                  false     write all rows as if they had been written before
//	batch-dml-enable           true      several rows in a statement
//	multi-stmt-enable          true      several statements in a round trip
//	cache-prep-stmts           true      large statements are prepared, 64 at most per connection
//	transaction-atomicity      none      or table: what a transaction did to a physical table is one transaction downstream
//	timeout                    2m        of connecting
//	read-timeout, write-timeout  2m      of each answer and packet
//	has-vector-type            false     the downstream has TiDB's VECTOR; else it gets LONGTEXT
//	exactly-once               false     see below
//
// The user needs SELECT, INSERT, UPDATE and DELETE, and for DDL what that needs.
//
// # How rows are written
//
// A call of WriteRows is reduced to its net effect: for each row, from its first
// old image to its last new one. Rows whose values a primary or unique key holds for
// the same, in any image that they had, stay together; collations are taken into
// account, if need be by keeping too much together. What does not conflict is
// written in parallel, in transactions of max-txn-row, whatever the size of the
// upstream's. In each all deletes come first, so that rows may swap their keys:
//
//	gone, or a unique key changed   DELETE … WHERE handle key IN (…)
//	updated                         INSERT … ON DUPLICATE KEY UPDATE, all columns
//	new, or a unique key changed    INSERT
//	in safe mode, all but the gone  REPLACE; and in a TiDB for BIT(57) to BIT(64)
//
// Generated columns are left out. An update is not an UPDATE: that would lose a row
// that is missing downstream, without a word. Since it sets all columns, the row
// that it meets is the new image afterwards, whichever of its keys it met it by.
//
// A table without a handle key (force-replicate) has its rows found by all columns,
// NULL-safe, one statement per row; JSON only on MariaDB. So are the deletes of a
// partitioned table, by their handle key and all else: a row that moves between
// partitions is a delete and an insert in different spans, which come in any order,
// and under a global index have the same key; the delete must not take the new row.
// Under a global index, rows that move there and back, or pass a unique value on to
// another partition, within the time that the spans of the two are apart, may still
// be applied in the wrong order: each span has an order of its own, and nothing here
// sees both. Config.WholeTransactions of package cdc brings them in order. Under local
// indexes, which hold the partition's columns, they cannot.
//
// Sessions have a strict SQL mode that accepts the dates that TiDB accepts, the time
// zone UTC, READ COMMITTED and no foreign key checks, whatever the server's settings.
// Rows with an ENUM that holds none of its elements, which no strict mode accepts,
// are written in a lax one.
//
// # Guarantees
//
// At least once: what WriteRows has acknowledged is committed. Changes of a row are
// applied in order. A transaction is atomic only as transaction-atomicity says, and
// only as far as a call holds it: a changefeed cuts those above its BatchRows, and
// those at the edge of a batch. To rely on it, take whole transactions.
//
// A crash at any point and a replay end in equality. Whatever a replayed change
// pushes aside was put there by a later change, which is replayed too, or by
// somebody else. Rows with a commit ts at or below the time when the sink was opened,
// and those of calls that failed, are written in safe mode, because they may be there
// already; if any other is there, the transaction is repeated in safe mode with a
// warning. Tables without any unique key can show a replayed row twice; only
// exactly-once prevents that. A transaction that is cut may pass a key from one row to
// another in different calls; that is followed for up to a million rows in between.
//
// Lost connections, deadlocks, lock waits, and TiDB's conflicts and unavailable
// regions are tried again with backoff, for a few seconds. All other errors are
// returned, with the table, the range of commit ts and the kind of statement, and
// never with a value. They are for the changefeed to retry, but for missing
// privileges and wrong passwords, which are permanent.
//
// # Exactly once
//
// With exactly-once the table tidbcdc.progress holds, for each changefeed and
// physical table, the position of the last row written: commit ts, start ts, whether
// it was a delete, and TiKV's key, which is the order in which a span's rows are
// delivered. It is moved on in the transaction that writes the rows, and only from
// where the sink believes it to be: a transaction of a connection or process that was
// given up, but which the server executes late, fails. Rows at or below it, which a
// changefeed delivers again after a restart, are left out, and so are DDLs, which
// have a line each, under their job's negated id. Because one position has to tell all
// rows that were written, those of one table are written in order over one
// connection; tables are parallel. It counts on one span per physical table.
//
// # Whole transactions
//
// A changefeed with Config.WholeTransactions of package cdc calls WriteTransactions.
// Then upstream transactions are written in commit order over one connection, each
// whole, with all its tables, and as many in one transaction downstream as have
// max-txn-row rows together: whoever reads the downstream in a snapshot sees the
// upstream as it was between two transactions. After a restart that holds from the
// first moment with exactly-once, whose line is then that of table id 0; without it,
// rows that are delivered again show earlier states first.
//
// Delete a changefeed's lines to have everything written again. Lines of tables that
// exist no more stay until somebody deletes them.
package mysql
