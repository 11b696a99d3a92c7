// Package diff compares the tables of two databases: an upstream TiDB and what
// replicates it, or any two of TiDB, MySQL and MariaDB.
//
//	result, err := diff.Compare(ctx, diff.Endpoint{DB: tidb, SnapshotTs: ts}, diff.Endpoint{DB: mariadb}, diff.Options{})
//	if err == nil && !result.Equal() {
//		result.Print(os.Stdout, 10)
//	}
//
// # Which states are compared
//
// Each side is read as of one moment. A TiDB is read at Endpoint.SnapshotTs, or
// at the present. A MySQL or MariaDB can only be read as it is when Compare begins,
// in transactions with a consistent snapshot, which needs InnoDB.
//
// The caller sees to it that the two moments belong together:
//
//   - With a TiDB downstream, take a pair of ts from a sync point.
//   - Otherwise let the changefeed reach the upstream's SnapshotTs and no more:
//     stop it at that ts, with its target ts, or stop writing upstream and wait
//     until its checkpoint ts is beyond the SnapshotTs. A changefeed that goes on
//     writes rows that the upstream's snapshot does not have.
//
// Several connections see one state of a MySQL or MariaDB only if nothing is
// written while they begin: Compare takes FLUSH TABLES WITH READ LOCK for that
// moment. Without the privilege, or if that takes more than five seconds, it
// reads over one connection.
//
// # How rows are compared
//
// Tables with a primary key, or a unique key over NOT NULL columns, are compared in
// ranges of keys: rows are read and compared here or, with Options.Checksums, summed
// up by the servers first. Tables without one, or with one whose order the two servers may
// not agree on, are read as a whole and compared as bags of rows.
//
// Values are compared by what they mean, where the servers write equal ones down
// differently: JSON by its contents, FLOAT and DOUBLE by their bits, TIMESTAMP in
// UTC. Virtual generated columns are not compared, since they follow from
// others. Structures are compared by columns and indexes; defaults, comments,
// partitions and foreign keys are not looked at.
package diff
