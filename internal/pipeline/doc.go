// Package pipeline takes the committed changes of many spans, in any order, to
// one sink, in order, and tells how far it has come.
//
// Every physical table is a span with a sorter behind it. The source fills
// sorters and raises their resolved ts. Workers take ordered batches out of
// them, mount, filter and write them, one span at a time each, so that rows of
// one span never overtake each other.
//
//	source ──▶ sorter of the span ──▶ worker: take, mount, filter, write ──▶ sink
//	  │                                  ▲ limit
//	  └─────▶ DDL jobs ──▶ schema, barriers┘
//
// A span may be written up to its limit: the least of its resolved ts, the DDL
// resolved ts (no later DDL can still turn up below it) and the commit ts D of
// the first DDL that touches the table and has not been executed. Once every
// span that the DDL touches has written all rows up to and including D, the DDL
// is written, then the rows above D go on. A row with commit ts D itself was
// written under the old schema: its schema is the one as of D − 1.
//
// Tables do not keep step, so when the DDL's own have come to D, the checkpoint that
// is stored may be far below it. Were the DDL written then, a restart would bring
// rows of the old schema to a sink that has the new one. So it waits until the
// stored checkpoint is D − 1 at least, which is stored as soon as it is reached. Only
// its own tables wait with it. Of all such DDLs, one alone can be delivered a second
// time. Kinds that old rows do not mind, CREATE TABLE and most of ADD COLUMN and ADD
// INDEX among them, do not wait. (What can come again is a row of commit ts D itself.)
//
// The checkpoint ts is the least of all spans' written ts, the DDL resolved ts,
// and D − 1 of every DDL that waits. All at or below it has been acknowledged.
//
// Memory is one quota (sorter.Pool). Batches that are being written and rows of
// transactions that have not ended are reserved from it; the sorters spill to
// disk what exceeds the rest. So a sink that stands still holds up nobody who
// reads, and no transaction is too large. If spilling fails, sorters neither
// resolve nor give out anything any more, so that the checkpoint stays below what
// is missing.
//
// A pipeline may be one of several that share a changefeed (Config.Assigned). Each
// follows the DDLs and writes the spans that it is given; spans are added at a
// checkpoint and stopped, giving back their checkpoint, while it runs. DDLs are
// executed by whoever knows of all of them (Config.ReadyDDL, ExecuteDDL,
// FinishDDL): what a pipeline calls reached is so for its own spans only, and it
// does not know what is stored.
//
// Nothing polls. Spans with nothing to write cost a few loads when the
// checkpoint is computed, which happens when something has moved and at most
// every few milliseconds.
package pipeline
