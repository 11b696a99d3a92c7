// Package cdc follows a TiDB cluster and delivers its changes.
//
// Three types do it:
//
//   - An [Upstream] is a cluster: connections to PD and TiKV that changefeeds share.
//   - A [Changefeed] takes the changes of chosen tables to a [sink.Sink].
//   - A [Mounter] decodes TiKV's bytes into rows; a Changefeed has one inside, and
//     it works alone for programs that get their bytes elsewhere.
//
// # What a changefeed promises
//
//   - Nothing is lost: when the checkpoint ts of [Changefeed.Status] is C, the
//     sink has acknowledged every change of the tables that the filter wants
//     with a commit ts above the start ts and up to C.
//   - Order: of each row, changes arrive in commit ts order. A DDL arrives after
//     every row of its tables up to its commit ts and before every row above it.
//   - At least once: after a restart, delivery begins again at the stored
//     checkpoint, so the sink may see changes above it a second time, in order.
//   - A DDL that was delivered is never followed by rows of its tables from before
//     it, also after a restart: it is delivered only once the stored checkpoint has
//     come up to it. So its tables wait until all others have come that far; the
//     others go on. DDL that old rows do not mind does not wait: CREATE, ADD
//     PARTITION, ADD and DROP INDEX unless it is unique, ADD COLUMN unless its
//     values depend on when a row is written.
//   - Rows are decoded with the schema that they were written under.
//
// It does not promise that transactions arrive whole or that tables keep step
// with each other: rows of one transaction arrive together only as far as they
// are of one physical table.
//
// # Lifetime
//
// [Dial] connects and [Upstream.Close] disconnects. [NewChangefeed] only
// validates; [Changefeed.Run] blocks, owns everything it starts and ends when its
// context is cancelled. Nothing else is started, and nothing is global but the
// logger of the TiKV client, see [UpstreamConfig].Logger.
//
// While a changefeed runs, and for Config.GCTTL after, a service GC safe point in
// PD keeps the versions that it has still to read.
package cdc
