// Package canal encodes and decodes the protocol canal: protobuf messages of
// Alibaba Canal 1.1.4, as its servers send them to Kafka, without a key.
//
// # Messages
//
// A value is a Packet of CanalProtocol.proto with version 1 and type MESSAGES. Its
// body is a Messages, which holds an Entry of EntryProtocol.proto for each of up to
// [Config.MaxBatchSize] rows, or for one DDL:
//
//	Entry
//	  header      version 1, serverenCode "UTF-8", executeTime (of the commit, in ms),
//	              sourceType MYSQL, schemaName, tableName, eventType, props rowsCount=1
//	  entryType   ROWDATA
//	  storeValue  RowChange
//	                eventType      INSERT, UPDATE, DELETE; or a kind of DDL
//	                isDdl
//	                sql            the statement of a DDL
//	                ddlSchemaName  its database
//	                rowDatas       one RowData: beforeColumns, of an update or a delete,
//	                               and afterColumns, of an insert or an update
//
// A Column has sqlType (a number of java.sql.Types), name, isKey (of the primary
// key), updated (unless the row was deleted), isNull, value and mysqlType. Types,
// values and kinds of DDL are those of package canaljson.
//
// DDL belong into partition 0. There are no watermarks, and no messages for rows
// that are too large.
//
// # Decoding
//
// A [Decoder] reads what TiCDC and Canal write; entries that begin or end
// transactions are left out. The commit ts is known to the millisecond only. For
// what is lost of types see package canaljson.
//
// # Differences from TiCDC
//
//   - What is not UTF-8 in a text becomes U+FFFD, because a protobuf string must be.
//   - A TIMESTAMP has the zone of the configuration, UTC by default, never that of
//     the machine.
//   - A DELETE of a table without a handle key has all columns, also with
//     Config.DeleteOnlyHandleKey.
package canal
