// Package kafka is a sink that writes changes to Apache Kafka, or to what speaks its
// protocol, in the protocols of package codec.
//
// A program lists it in its [sink.Openers] under the schemes kafka and kafka+ssl,
// which mean the same (TLS is a parameter):
//
//	backends := sink.Openers{"kafka": kafka.Open, "kafka+ssl": kafka.Open}
//
// and names it by a URI with the brokers, the default topic and parameters:
//
//	kafka://h1:9092,h2:9092/changes?protocol=canal-json&partition-num=6
//
// A program of its own can do without a URI: see [New] and [Config].
//
// # Parameters
//
// The same names stand in [sink.KafkaOptions] and its parts, for files and the API;
// the URI wins. Those marked * are options only.
//
//	protocol                      open-protocol (default), canal-json, canal, maxwell, avro, simple, debezium
//	partition-num                 how many partitions are used: at most as many as the topic has, which is the
//	                              default; 3 for a topic that is made
//	replication-factor            of topics that are made, 1
//	auto-create-topic             true
//	max-message-bytes             10485760, lowered to the topic's max.message.bytes less 128
//	compression                   none, gzip, snappy, lz4, zstd
//	required-acks                 -1 (all replicas in sync), 1 (the leader), 0 (nobody)
//	kafka-client-id               tidbcdc_ and the changefeed's id; other characters than A-Za-z0-9._- become _
//	kafka-version                 checked, then unused: versions are negotiated with each broker
//	dial-timeout, write-timeout, read-timeout   10s each
//	enable-tls                    true if ca, cert or key is given; without ca the roots of the machine count
//	ca, cert, key                 PEM files; ca may stand alone
//	insecure-skip-verify          false
//	sasl-mechanism                plain, scram-sha-256, scram-sha-512, oauthbearer
//	sasl-user, sasl-password
//	sasl-oauth-*                  * client-id, client-secret (base64), token-url, scopes, audience
//	schema-registry               avro: URL of a registry with Confluent's API
//	enable-tidb-extension         canal-json, avro, debezium
//	max-batch-size                open-protocol: rows in a message, 16
//	avro-decimal-handling-mode    precise, string
//	avro-bigint-unsigned-handling-mode   long, string
//	avro-enable-watermark         false; for tests
//	encoding-format               simple: json, avro
//	output-row-key                canal-json with enable-tidb-extension: false
//	only-output-updated-columns, delete-only-output-handle-key-columns, content-compatible,
//	debezium-disable-schema       false
//	send-bootstrap-interval-in-sec, send-bootstrap-in-msg-count   * simple: 120, 10000
//	send-bootstrap-to-all-partition, send-all-bootstrap-at-start  * simple: true, false
//	output-raw-change-event       false
//	large-message-handle-option   none, handle-key-only, claim-check
//	large-message-handle-compression   none, lz4, snappy
//	claim-check-storage-uri       where claim-check keeps messages; Open knows file:// only, see Opener
//	claim-check-raw-value         * false
//	exactly-once                  false
//	progress-topic                tidbcdc_progress
//
// Refused, with an error that says so: Kerberos (gssapi), for which kafka-go has
// nothing; the AWS Glue registry; the protocols craft and csv; avro-include-before-value;
// transaction-atomicity=table. encoder-concurrency means nothing: each call of WriteRows
// encodes what it writes. A parameter that is not known is logged.
//
// # Order
//
// Rows are written to a partition in the order in which they come, and a partition's
// batches have sequence numbers, by which the broker drops what it has already and
// refuses what is early. A request that times out is sent again as it was. If a call
// fails in the end and its rows come again, they are written under the next epoch of
// the partition's producer: from then on the broker refuses everything of the former
// epoch that may still be on its way. So a key's last record is its last change,
// whatever the network delays. (Writers without that may end with an old value
// and not know it: a delayed request is executed behind its own repetition.)
//
// Repeats are possible when a call failed, or after a restart from a checkpoint; they
// replay changes in their order. Within one process nothing is repeated without an error.
//
// A request that outlives its process is not fenced, except with exactly-once: what a
// killed process had sent may be written after the first rows of its successor.
//
// With required-acks 1 or 0 Kafka may lose what it said that it had.
//
// # Partitions
//
// Package dispatcher chooses topic and partition, so that they agree with TiCDC's. An
// update that changes the primary key or a unique key becomes a delete and an insert, so that each
// is in the partition of its key, and in a transaction with such updates deletes come
// first; so does an update of the columns that choose the partition. With
// output-raw-change-event updates stay whole and keys may lose their order.
//
// DDL goes to the topics of its tables by their former names, or to the default topic:
// to all partitions, but of canal and canal-json only to the first. Watermarks go, at each
// checkpoint, to all partitions of the topics of all tables that the changefeed follows,
// whether they change or not, or to the default topic if it follows none. Topics that do
// not exist are made for that, or are an error without auto-create-topic. The topic of a table that is dropped or renamed gets its
// last watermark after that DDL. (Without a changefeed that calls WriteTables, the topics
// are those of tables that have had changes.)
//
// # Large messages
//
// A message that is larger than the topic takes fails the changefeed, unless
// large-message-handle-option says otherwise: then the message has the handle key only,
// or the place where the whole message is stored. open-protocol, canal-json with the
// TiDB extension, and simple can say that.
//
// # Exactly once
//
// With exactly-once each call's rows are written in a Kafka transaction, together with the table's
// position, commit ts, start ts and key, in the compacted topic that progress-topic
// names. The transactional id is tidbcdc., the changefeed's id and the table: opening
// it ends the transaction of a writer that died and fences that writer. What
// then comes again at or below the position is skipped. Consumers that read committed
// records only (isolation.level=read_committed) see each change once, also across crashes,
// restarts from an older checkpoint, and tables that move between processes.
//
// DDL is exactly once in the same way, with a position for each table; watermarks are written outside of transactions
// and may repeat.
//
// It costs, for each call of WriteRows, three more round trips to the transaction's
// coordinator and a few milliseconds until its markers are written, before which the
// table's next transaction cannot begin; large batches and a WriteConcurrency above 1 make
// up for much of it. Consumers see rows at the end of the transaction. When a writer dies,
// those that read committed records wait behind its open transaction until another writer
// opens the table, or TransactionTimeout has passed. A physical table must be one span,
// as package cdc makes them: two that write parts of a table would skip each other's rows. To start a changefeed anew from an older
// ts under the same id, delete its records in the progress topic, or take another id.
package kafka
