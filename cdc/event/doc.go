// Package event is the vocabulary of change data capture: what the pipeline
// produces and what filters, dispatchers and sinks consume. It imports the
// standard library only.
//
//   - [Ts] is a TiDB timestamp (TSO); every change has a start ts and a commit ts.
//   - [Span] is a range of keys, usually all rows of one physical table.
//   - [RawKV] is a committed change as TiKV stores it: a key, a value and the value before.
//   - [RowChanged] is that change decoded: a [TableInfo] and two images of [Value].
//   - [DDL] is a schema change.
//
// # Ownership
//
// A sink gets rows for the duration of one call. The RowChanged structs and
// their Value slices are reused afterwards; call [RowChanged.Clone] to keep one.
// The bytes and strings that Values point to are never overwritten, so a string
// from [Value.Text] stays valid, but it keeps the batch it came from in memory:
// clone what is kept for long. A [TableInfo] is immutable and may be kept.
package event
