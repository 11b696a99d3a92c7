// Package cdctest is for tests of programs that follow a TiDB cluster: a
// cluster in the test's own process, and validators of what is delivered.
//
// [Start] brings up a [Cluster]: a fake PD and stores that speak TiKV's
// protocols over gRPC on loopback, in milliseconds and without SQL. A
// changefeed dials it like any other cluster. The test plays the users of the
// database:
//
//   - [Cluster.CreateTable] gives a [Table], whose methods insert, update and
//     delete rows by value and change the schema;
//   - [Cluster.Begin] gives a [Txn], a transaction step by step: prewrite, commit,
//     roll back, one-phase, async commit, or left behind for others to resolve;
//
// and the operator of the cluster: regions split, merge and change leaders, stores
// stop, streams break, timestamps stand still. A [Subscription] is what a
// store knows of a client's request; through it a test sends what no healthy
// store would.
//
// [Validate] wraps a sink and checks the promises of delivery as rows, DDLs and
// checkpoints pass: nothing lost, order per row, nothing new at or below a
// checkpoint, DDLs between the right rows, one writer. [Cluster.State] and
// [Validator.State] are the contents of all tables at a ts, to be compared.
//
// # Mistakes
//
// Methods of a test's script panic when they ask for the impossible: a table
// that exists already, a region that does not, a key that another transaction
// has locked. It is the test that is wrong then. What clients do wrong is never
// a panic: [Cluster.Err] tells it.
//
// # How it works
//
// All state is under one lock. A mutation changes the store (mvcc), which tells
// the rows that TiKV would observe; these are routed by key to subscriptions and
// queued in their streams. A scan is taken of the store when a client
// subscribes, and sent in pieces between live rows. A ticker sends resolved ts.
//
//	oracle          timestamps
//	mvcc            versions, locks, and the change rows of every step
//	txn             transactions, as a script
//	region          regions and stores, as a script
//	pd_server       PD's service
//	kv_server       the part of TiKV's service that reads meta keys and resolves locks
//	feed_server     TiKV's change data service: streams and registrations
//	subscription    scan, live rows, resolved ts of one request
//	schema, table   TiDB's schema and rows on top of keys
//	validator       the promises of delivery
package cdctest
