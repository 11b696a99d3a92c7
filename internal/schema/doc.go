// Package schema knows the schema of every table at every ts that a changefeed
// may still need.
//
// [Load] reads all schemas as of one ts from TiDB's meta keys. From then on
// finished DDL jobs arrive in commit-ts order: [JobReader] decodes them from
// the rows of mysql.tidb_ddl_job, [Storage.Apply] adds versions and tells what
// changed, [Storage.Advance] says that no more jobs come up to a ts, and
// [Storage.Forget] drops the versions below the checkpoint.
//
//	storage, err := schema.Load(ctx, reader, startTs, schema.Config{})
//	jobs, err := storage.JobReader()
//	...                              // for each row of schema.DDLSpans(), by commit ts:
//	job, err := jobs.ParseJob(kv)    // nil: not a finished job
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
// A DDL that finished at commit ts c is seen by lookups at c and above. A row
// committed at c was written with the schema before it, so rows are looked up
// at their commit ts minus one.
//
// # What is kept
//
// Tables that [Config.Keep] refuses, and those of TiDB's own schemas, are kept
// as a light record: ids and names, no columns. It gives a later DDL its
// [event.DDL.PreTable], for a table that is renamed into a wanted name, but
// lookups do not find it.
package schema
