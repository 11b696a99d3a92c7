// Package rowcodec decodes rows as TiDB stores them in TiKV, keys and values,
// into [event.Value]s.
//
// A [Plan] is made once per table version: it maps column ids to places and
// column types to decoders. Decoding then walks the row's bytes once. Texts,
// bytes, decimals, JSON and vectors stay where they are and are rendered by the
// Value when asked for, so the input must not change while Values are in use;
// what is decoded is checked first, so that rendering cannot fail.
//
// A [Batch] holds the rows of many changes in slabs that are reused.
//
// Both row formats are read, since a cluster that was upgraded holds both:
//
//	v2   0x80, flags, counts, column ids, end offsets, data [, checksum]
//	v1   (column id, value) pairs, every value tagged by a type flag
//
// A checksum behind a row is not verified: TiKV and gRPC have their own.
package rowcodec
