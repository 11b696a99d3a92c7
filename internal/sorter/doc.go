// Package sorter puts the changes of one span into the order in which they are
// delivered: by commit ts, then start ts, then deletes before puts, then key.
//
// A [Sorter] is fed by the puller ([Sorter.Add], [Sorter.Resolve]) and drained
// by the pipeline ([Sorter.Take]). It costs what it holds: it keeps the batches
// it is given, sorts 16-byte records that point into them when a resolved ts
// has made a range of commit ts final, and lets go of everything it handed out.
// An idle one holds no buffer and no goroutine, because a changefeed may own a
// hundred thousand.
//
// The sorters of a changefeed share a [Pool]. While they fit into its memory, no
// byte is written to disk. What exceeds it goes to disk in sorted runs, which
// Take merges. Each change is written once and read once, and a run is read
// through a buffer of 16 KiB at least. A run has up to 3/16 of the quota, if one
// sorter holds most, so with a quota of 64 MiB what is on disk takes 1/750 of its
// size in memory while it is read back, and with 1 GiB 1/12000: a table that is
// 48 GiB behind its sink wants more than 64 MiB. Disk is bounded
// by what the file system has: when that is full, the pool fails. Runs are not
// merged beforehand, because that would write everything twice; on Linux a run
// gives its room back when it has been read, elsewhere the file does with its last.
//
// Why runs and not an LSM tree: a million changes of 200 bytes through 16 MiB of
// memory, on one core, take 0.5 to 0.8 µs each to write and read back in order,
// and the same CPU time; Pebble v2.1.7 with as much memory and without a log took
// 2.5 to 4.5 µs, and 2.6 to 2.8 µs of CPU time, because it keeps what it writes
// searchable, which nobody asks for.
package sorter
