// Package spill keeps changes on disk that do not fit into memory, and gives
// them back in the order in which they were written.
//
// A [Store] is a directory of files. A [Writer] writes one file, front to back,
// of runs, each a sequence of changes. A [Run] is read front to back, once. A
// file is removed when all of its runs have been released; Close removes the
// directory, and [Store.RemoveStale] those that a killed process has left. What
// is on disk is worth nothing to another process, so nothing is ever synced.
//
// A run is a sequence of blocks, all numbers little-endian:
//
//	u32 length of the entries
//	u32 CRC-32C of the block's offset in the file (u64), the rest of the header, and the entries
//	u32 length of the values behind the block
//	entries
//	values of the last entry, if they are large
//
//	entry: u8 op, u64 start ts, u64 commit ts, u32 lengths of key, value, old value,
//	then the key, then the value and the old value. If they are large, then the
//	op's high bit is set, a u32 CRC-32C of both takes their place, and they
//	follow the block, so that reading many runs side by side takes a block of
//	memory for each and not a value.
//
// The offset in the checksum tells a block that was written elsewhere, or not at
// all, from the one that is asked for.
package spill
