package sink

// Options are what a changefeed says about its sink besides the URI: the [sink]
// section of TiCDC's files, under TiCDC's names. The zero value means the defaults,
// and so does every field that is zero. A parameter of the URI wins over the option
// that means the same.
//
// A backend takes what concerns it and checks it when it is opened; the others'
// options it leaves alone. A pointer tells an option that is absent from one that
// is zero.
type Options struct {
	// Protocol is how changes are encoded: open-protocol, canal-json, canal, maxwell,
	// avro, simple, debezium or csv. Message queues and storage need one, here or in
	// the URI.
	Protocol string `json:"protocol,omitempty" toml:"protocol,omitempty"`
	// Dispatchers choose the topic and the partition of a table's changes; the
	// first whose matcher includes the table counts.
	Dispatchers []DispatchRule `json:"dispatchers,omitempty" toml:"dispatchers,omitempty"`
	// ColumnSelectors leave out columns of some tables; the first whose matcher
	// includes the table counts.
	ColumnSelectors []ColumnSelector `json:"column-selectors,omitempty" toml:"column-selectors,omitempty"`
	// SchemaRegistry is the URL of a Confluent schema registry, for avro. It may hold
	// a user and a password.
	SchemaRegistry string `json:"schema-registry,omitempty" toml:"schema-registry,omitempty"`
	// EncoderConcurrency is how many encoders may run at a time. The default is 32.
	EncoderConcurrency int `json:"encoder-concurrency,omitempty" toml:"encoder-concurrency,omitempty"`
	// Terminator ends a record in a file. The default is "\r\n".
	Terminator string `json:"terminator,omitempty" toml:"terminator,omitempty"`
	// DateSeparator puts files into folders by date: none, year, month or day, the default.
	DateSeparator string `json:"date-separator,omitempty" toml:"date-separator,omitempty"`
	// EnablePartitionSeparator puts each partition's files into a folder. The
	// default is true.
	EnablePartitionSeparator *bool `json:"enable-partition-separator,omitempty" toml:"enable-partition-separator,omitempty"`
	// FileIndexDigit is the number of digits in a file's name, 6 to 20, the default.
	FileIndexDigit int `json:"file-index-digit,omitempty" toml:"file-index-digit,omitempty"`
	// TransactionAtomicity is none, the default, or table, which keeps what a
	// transaction does to a table together. Only databases know table.
	TransactionAtomicity string `json:"transaction-atomicity,omitempty" toml:"transaction-atomicity,omitempty"`
	// OnlyOutputUpdatedColumns leaves out of an update's old image what did not change.
	OnlyOutputUpdatedColumns *bool `json:"only-output-updated-columns,omitempty" toml:"only-output-updated-columns,omitempty"`
	// DeleteOnlyOutputHandleKeyColumns leaves out of a delete all but its key.
	DeleteOnlyOutputHandleKeyColumns *bool `json:"delete-only-output-handle-key-columns,omitempty" toml:"delete-only-output-handle-key-columns,omitempty"`
	// ContentCompatible makes canal-json write types with their lengths, as Canal does.
	ContentCompatible *bool `json:"content-compatible,omitempty" toml:"content-compatible,omitempty"`
	// SafeMode makes a database sink replace rows rather than insert them.
	SafeMode *bool `json:"safe-mode,omitempty" toml:"safe-mode,omitempty"`
	// SendBootstrapIntervalInSec and SendBootstrapInMsgCount are after how many
	// seconds (120) and rows (10000) the simple protocol repeats a table's schema;
	// a value below 1 means never.
	SendBootstrapIntervalInSec *int64 `json:"send-bootstrap-interval-in-sec,omitempty" toml:"send-bootstrap-interval-in-sec,omitempty"`
	SendBootstrapInMsgCount    *int64 `json:"send-bootstrap-in-msg-count,omitempty" toml:"send-bootstrap-in-msg-count,omitempty"`
	// SendBootstrapToAllPartition sends it to all partitions, the default, rather
	// than to the first.
	SendBootstrapToAllPartition *bool `json:"send-bootstrap-to-all-partition,omitempty" toml:"send-bootstrap-to-all-partition,omitempty"`
	// SendAllBootstrapAtStart sends the schemas of all tables at the start, not only of
	// those that change.
	SendAllBootstrapAtStart *bool `json:"send-all-bootstrap-at-start,omitempty" toml:"send-all-bootstrap-at-start,omitempty"`
	// DebeziumDisableSchema leaves the schema out of debezium messages.
	DebeziumDisableSchema *bool `json:"debezium-disable-schema,omitempty" toml:"debezium-disable-schema,omitempty"`
	// AdvanceTimeoutInSec and EnableKafkaSinkV2 are accepted from old files and
	// mean nothing.
	AdvanceTimeoutInSec *uint `json:"advance-timeout-in-sec,omitempty" toml:"advance-timeout-in-sec,omitempty"`
	EnableKafkaSinkV2   *bool `json:"enable-kafka-sink-v2,omitempty" toml:"enable-kafka-sink-v2,omitempty"`

	CSV          *CSVOptions          `json:"csv,omitempty" toml:"csv,omitempty"`
	Open         *OpenOptions         `json:"open,omitempty" toml:"open,omitempty"`
	Debezium     *DebeziumOptions     `json:"debezium,omitempty" toml:"debezium,omitempty"`
	Kafka        *KafkaOptions        `json:"kafka-config,omitempty" toml:"kafka-config,omitempty"`
	MySQL        *MySQLOptions        `json:"mysql-config,omitempty" toml:"mysql-config,omitempty"`
	CloudStorage *CloudStorageOptions `json:"cloud-storage-config,omitempty" toml:"cloud-storage-config,omitempty"`
}

// DispatchRule says where the changes of some tables go.
type DispatchRule struct {
	// Matcher are table rules, see package filter.
	Matcher []string `json:"matcher" toml:"matcher"`
	// Partition is default, table, ts, index-value, rowid or columns. Dispatcher is
	// an old name of it; a rule may have one of the two.
	Partition  string `json:"partition,omitempty" toml:"partition,omitempty"`
	Dispatcher string `json:"dispatcher,omitempty" toml:"dispatcher,omitempty"`
	// Index is the unique index whose values choose the partition, for index-value.
	Index string `json:"index,omitempty" toml:"index,omitempty"`
	// Columns are the columns whose values choose the partition, for columns.
	Columns []string `json:"columns,omitempty" toml:"columns,omitempty"`
	// Topic is a topic's name, in which {schema} and {table} stand for the table's.
	Topic string `json:"topic,omitempty" toml:"topic,omitempty"`
}

// ColumnSelector says which columns of some tables are delivered.
type ColumnSelector struct {
	// Matcher are table rules, see package filter.
	Matcher []string `json:"matcher" toml:"matcher"`
	// Columns are patterns: * is any run of characters, ? is any one, [a-z] one of a
	// class, and a leading ! leaves out what it matches. Of those that match a column
	// the last counts; a column that none matches is left out. Case does not matter.
	Columns []string `json:"columns" toml:"columns"`
}

// CSVOptions are about the csv protocol.
type CSVOptions struct {
	// Delimiter stands between fields, 1 to 3 characters; the default is a comma.
	Delimiter string `json:"delimiter,omitempty" toml:"delimiter,omitempty"`
	// Quote encloses text: one character, or none if it is empty. The default is ".
	Quote *string `json:"quote,omitempty" toml:"quote,omitempty"`
	// Null is what NULL looks like; the default is \N.
	Null            *string `json:"null,omitempty" toml:"null,omitempty"`
	IncludeCommitTs bool    `json:"include-commit-ts,omitempty" toml:"include-commit-ts,omitempty"`
	// BinaryEncodingMethod is base64, the default, or hex.
	BinaryEncodingMethod string `json:"binary-encoding-method,omitempty" toml:"binary-encoding-method,omitempty"`
	// OutputOldValue writes an update as a delete and an insert.
	OutputOldValue    bool `json:"output-old-value,omitempty" toml:"output-old-value,omitempty"`
	OutputHandleKey   bool `json:"output-handle-key,omitempty" toml:"output-handle-key,omitempty"`
	OutputFieldHeader bool `json:"output-field-header,omitempty" toml:"output-field-header,omitempty"`
}

// OpenOptions are about open-protocol.
type OpenOptions struct {
	// OutputOldValue writes the old image of an update; the default is true.
	OutputOldValue *bool `json:"output-old-value,omitempty" toml:"output-old-value,omitempty"`
}

// DebeziumOptions are about the debezium protocol.
type DebeziumOptions struct {
	// OutputOldValue writes the old image of an update; the default is true.
	OutputOldValue *bool `json:"output-old-value,omitempty" toml:"output-old-value,omitempty"`
	IncludeStartTs bool  `json:"include-start-ts,omitempty" toml:"include-start-ts,omitempty"`
}

// MySQLOptions are about a MySQL or TiDB downstream. Their defaults are those of
// the URI's parameters of the same names.
type MySQLOptions struct {
	WorkerCount                  int    `json:"worker-count,omitempty" toml:"worker-count,omitempty"`
	MaxTxnRow                    int    `json:"max-txn-row,omitempty" toml:"max-txn-row,omitempty"`
	MaxMultiUpdateRow            int    `json:"max-multi-update-row,omitempty" toml:"max-multi-update-row,omitempty"`
	MaxMultiUpdateRowSize        int    `json:"max-multi-update-row-size,omitempty" toml:"max-multi-update-row-size,omitempty"`
	TiDBTxnMode                  string `json:"tidb-txn-mode,omitempty" toml:"tidb-txn-mode,omitempty"`
	SSLCa                        string `json:"ssl-ca,omitempty" toml:"ssl-ca,omitempty"`
	SSLCert                      string `json:"ssl-cert,omitempty" toml:"ssl-cert,omitempty"`
	SSLKey                       string `json:"ssl-key,omitempty" toml:"ssl-key,omitempty"`
	TimeZone                     string `json:"time-zone,omitempty" toml:"time-zone,omitempty"`
	WriteTimeout                 string `json:"write-timeout,omitempty" toml:"write-timeout,omitempty"`
	ReadTimeout                  string `json:"read-timeout,omitempty" toml:"read-timeout,omitempty"`
	Timeout                      string `json:"timeout,omitempty" toml:"timeout,omitempty"`
	EnableBatchDML               *bool  `json:"enable-batch-dml,omitempty" toml:"enable-batch-dml,omitempty"`
	EnableMultiStatement         *bool  `json:"enable-multi-statement,omitempty" toml:"enable-multi-statement,omitempty"`
	EnableCachePreparedStatement *bool  `json:"enable-cache-prepared-statement,omitempty" toml:"enable-cache-prepared-statement,omitempty"`
	AsyncDDLTimeout              string `json:"async-ddl-timeout,omitempty" toml:"async-ddl-timeout,omitempty"`
}

// CloudStorageOptions are about files in a storage service.
type CloudStorageOptions struct {
	WorkerCount int `json:"worker-count,omitempty" toml:"worker-count,omitempty"`
	// FlushInterval is a duration such as 5s, the default.
	FlushInterval string `json:"flush-interval,omitempty" toml:"flush-interval,omitempty"`
	// FileSize is in bytes; the default is 64 MiB.
	FileSize           int   `json:"file-size,omitempty" toml:"file-size,omitempty"`
	OutputColumnID     *bool `json:"output-column-id,omitempty" toml:"output-column-id,omitempty"`
	FileExpirationDays int   `json:"file-expiration-days,omitempty" toml:"file-expiration-days,omitempty"`
	// FileCleanupCronSpec has six fields, from seconds on.
	FileCleanupCronSpec  string `json:"file-cleanup-cron-spec,omitempty" toml:"file-cleanup-cron-spec,omitempty"`
	FlushConcurrency     int    `json:"flush-concurrency,omitempty" toml:"flush-concurrency,omitempty"`
	OutputRawChangeEvent *bool  `json:"output-raw-change-event,omitempty" toml:"output-raw-change-event,omitempty"`
	UseTableIDAsPath     *bool  `json:"use-table-id-as-path,omitempty" toml:"use-table-id-as-path,omitempty"`
}
