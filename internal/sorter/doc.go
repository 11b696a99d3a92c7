// Package sorter puts the changes of one span into the order in which they are
// delivered: by commit ts, then start ts, then deletes before puts, then key.
//
// A [Sorter] is fed by the puller ([Sorter.Add], [Sorter.Resolve]) and drained
// by the pipeline ([Sorter.Take]). It costs what it holds: it keeps the batches
// it is given, sorts 16-byte records that point into them when a resolved ts
// has made a range of commit ts final, and lets go of everything it handed out.
// An idle one holds no buffer and no goroutine, because a changefeed may own a
// hundred thousand.
package sorter
