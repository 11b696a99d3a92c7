// Package dispatcher decides which topic and which partition of it a change goes
// to. It can be used alone.
//
// # Rules
//
// A [Rule] names tables with a list of table rules, in the grammar of package
// filter; the first Rule in [Config.Rules] that includes a table decides, and a
// table that none includes has the default topic and the default partition rule.
//
//	partition     a row's partition of n is              order is kept
//	default       that of table                          per table
//	table         hash(schema, table) mod n              per table
//	index-value   hash of the above and the handle key   per row
//	  with index  hash of the above and a unique index   per value of the index
//	columns       hash of the above and those columns    per value of the columns
//	ts            commit ts mod n                        not at all
//
// With index-value, all rows of a table without a handle key share a partition.
// Values are those of the new image, of the old one for a delete. An update that
// changes what is hashed may thus leave its old partition without a trace: see
// [Dispatcher.Moves].
//
// # The names of TiCDC 5.2
//
// That version has the four rules default, ts, rowid and table, under the key
// "dispatcher"; later ones call the key "partition" and rowid "index-value", and
// all of these names are understood. Of the four only default has come to mean
// something else. In 5.2, with enable-old-value switched off, a table with exactly
// one unique index, the primary key included, is dispatched as by rowid, and any
// other as by table; [Config.WithoutOldValue] restores that. With old values,
// which is the default there and the only choice later, default is table.
//
// # The hash
//
// A row goes to the partition to which TiCDC would send it. The hash is the XOR of
// CRC-32 (IEEE) sums, so that the order of columns does not count: one sum of
// the schema's name followed by the table's, and one for each column of its name
// followed by the text of its value. Names are in the case in which they were
// created. NULL is the text null; FLOAT and DOUBLE have their shortest digits
// without an exponent; ENUM, SET and BIT are their numbers; a TIMESTAMP is seen in
// [Config.TimeZone]; all else is as [event.Value.AppendText] has it.
//
// Nothing stands between the names, nor between name and value, so that table c of
// schema ab and table bc of schema a share a partition. More partitions mean other
// partitions for the same rows.
//
// # Topics
//
// A Rule's topic is a name made of letters, digits, '.', '_' and '-', in which
// {schema} and, behind it, {table} may stand for the names of the table:
//
//	changes_{schema}_{table}
//
// Any other character of those names becomes '_', a topic is cut after 249
// characters, and the topics '.' and '..', which Kafka does not allow, become '_'
// and '__'. Different tables may thus have the same topic.
//
// # Differences from TiCDC
//
//   - The index PRIMARY is found also if the primary key is a clustered integer,
//     and names of indexes are compared without regard to case, as MySQL has it.
//   - A Rule without a matcher, or one for columns that lists none or one twice,
//     is refused by New.
package dispatcher
