// Package schema knows the schema of every table at every ts that a changefeed
// may still need.
//
// [Load] reads all schemas as of one ts from TiDB's meta keys. From then on DDL
// jobs arrive in the order of the commit ts at which they took effect, mostly that
// of their end: [JobReader] decodes them from the rows of mysql.tidb_ddl_job,
// [Storage.Apply] adds versions and tells what changed, [Storage.Advance] says that no more jobs come up to a ts, and
// [Storage.Forget] drops the versions below the checkpoint.
//
//	storage, err := schema.Load(ctx, reader, startTs, schema.Config{})
//	jobs, err := storage.JobReader()
//	...                              // for each row of schema.DDLSpans(), by commit ts:
//	job, err := jobs.ParseJob(kv)    // nil: no job took effect
//	ddl, err := storage.Apply(job)   // nil: nothing changed
//	storage.Advance(resolvedTs)
//	...                              // in another goroutine, for a row committed at ts:
//	table, err := storage.Table(physicalID, commitTs-1)
//
// # Versions
//
// Every physical id (a table or one partition) has a chain of versions, each
// valid from the commit ts of a DDL on. A lookup takes one map access and a
// binary search, without a lock. A DDL costs a copy of the chains of its own
// tables, however many other tables there are.
//
// A DDL that took effect at commit ts c is seen by lookups at c and above. A row
// committed at c was written with the schema before it, so rows are looked up
// at their commit ts minus one.
//
// # Steps
//
// TiDB changes a schema in steps, each a transaction, so that servers may be one
// step apart. DDL takes effect here with the last one, but what replaces or drops
// partitions with the one from which on no row goes into the old ones: a later
// commit ts would put the DDL after rows that it must not touch, or that are in
// partitions which nobody knows. A snapshot from the middle of a job has tables as
// they were before it, or as they are if it has taken effect.
//
// # What is kept
//
// Tables that [Config.Keep] refuses, and those of TiDB's own schemas, are kept
// as a light record: ids and names, no columns. It gives a later DDL its
// [event.DDL.PreTable], for a table that is renamed into a wanted name, but
// lookups do not find it.
package schema
