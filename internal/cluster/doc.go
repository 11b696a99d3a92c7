// Package cluster makes several processes, called captures, share the tables of
// changefeeds. What they know of each other is in etcd, the one inside PD.
//
// Every capture runs a [Node]. It registers under a lease, takes part in the
// election of an owner, and for every changefeed that runs it has a processor: a
// pipeline (package pipeline) that follows the DDLs and writes the table spans that
// it is assigned. The owner runs a [Coordinator] for every changefeed: it assigns
// the spans, has DDLs executed once everybody's rows below them are written, and
// computes the checkpoint. What it does next follows from the state alone, by a
// function without I/O (plan).
//
//	<prefix>/captures/<id>                          a capture; leased
//	<prefix>/owner/<lease>                          election
//	<prefix>/leader                                 who has won it
//	<prefix>/changefeeds/<id>/spec                  [Store]: what is stored of it
//	<prefix>/changefeeds/<id>/status                its checkpoint
//	<prefix>/changefeeds/<id>/task                  exists while it runs
//	<prefix>/changefeeds/<id>/ddls                  being executed, and executed above the checkpoint
//	<prefix>/changefeeds/<id>/spans/<member>        assignment, written by the owner
//	<prefix>/changefeeds/<id>/positions/<member>    progress, written by the capture
//
// A member is a capture with the lease it has: one that lost its lease and came
// back is another member. All writes of the owner fail once it is not the owner,
// those of a member once its lease has ended, and those to a task's keys once it is
// another task.
//
// # One writer
//
// A span is in one member's assignment, always, from when it is first assigned. It
// moves in two steps: the owner asks the member to stop it; the member does so,
// lets a write that has begun end, and reports the span's checkpoint; then, in one
// transaction, the span leaves its assignment and enters another's, at that
// checkpoint. The spans of a member that has died go on elsewhere from the
// checkpoint that it reported last. That its lease has ended is safe to see, since
// a member stops to write before it can end: see [Session].
//
// # DDLs
//
// A DDL with commit ts D is begun when every member with a span that it touches has
// written all rows up to D, and unless old rows do not mind it (see package pipeline)
// the stored checkpoint is D − 1 at least: a changefeed that is stopped, or whose
// members all end, starts there again. Beginning it raises the start of these spans to D, so
// that nobody ever writes rows below D again, whatever fails from then on. So spans
// may move and captures may die while it is executed, and tables that it does not
// touch go on. If the owner dies, its successor executes it again. When it is
// executed the owner says so, and the members lift their barriers.
//
// # The checkpoint
//
// It is the least of what members report, of where spans that are not acknowledged
// by their member start, and of what is below DDLs that are not executed. It never
// goes back.
package cluster
