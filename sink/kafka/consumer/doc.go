// Package consumer reads what package kafka writes, or TiCDC, and hands the
// changes to a [sink.Sink]: for tests, to look at a topic, to fill a database.
//
//	cfg, err := consumer.ParseURI(uri, sink.Config{})
//	c, err := consumer.New(cfg)
//	err = c.Run(ctx, to)
//
// It reads all partitions, from their beginning or their end, and only what
// transactions have committed. Topics and partitions are looked up when Run begins;
// later ones are not seen. No offsets are kept: a second Run begins anew, and a
// sink that is not empty must bear repeats.
//
// # With watermarks
//
// open-protocol, simple, canal-json and debezium with enable-tidb-extension, and avro
// with avro-enable-watermark have watermarks in every partition. A change waits until
// the watermarks of all partitions have passed its commit ts. Then all that is due is
// delivered as a changefeed would: the rows of a table in the order of commit ts, of one
// commit deletes first, and a DDL once, between the rows before and after it.
// What a partition holds at or below its own watermark is a repeat and is dropped, and
// so are rows that came twice above it, unless their table has no handle key.
//
// A topic that gets no watermarks holds everything back: so does one whose only table has
// been dropped or renamed.
//
// # Without watermarks
//
// Other protocols do not tell when a partition is complete, and most of them know
// the commit ts only roughly. Changes are delivered as they come: rows in the order of
// their partition, repeats included, and a DDL when it is first met, though rows of other
// partitions may lag behind it. Only a topic of one partition is free of that. So is a
// database only then equal to the upstream if rows pass unique values on to each other.
//
// # What can be written to a database
//
// Names, types and keys of columns are those that messages tell; open-protocol,
// canal-json, canal, simple, and debezium with its schemas tell enough. avro has no DDL,
// its names may have been changed to what Avro allows, and tables must exist. maxwell,
// and debezium without schemas, tell neither types nor, maxwell, keys: they are read by
// what [Config].Describe says of the target's tables, message by message as they are
// written, so that rows and DDL of a table should be in one partition.
//
// Tables get ids of the consumer's own, and rows keys made of their handle keys. A row
// whose handle key changes becomes a delete and an insert. As messages of most protocols
// name no unique index but the handle key, a MySQL sink must be in safe mode, where rows
// push aside whatever has their unique values. Debezium has no room for dates that do
// not exist; other protocols lose nothing that a database would notice.
package consumer
