package sink

// KafkaOptions are about Kafka. Their defaults are those of the URI's parameters
// of the same names. Durations are such as 10s.
type KafkaOptions struct {
	PartitionNum      *int32 `json:"partition-num,omitempty" toml:"partition-num,omitempty"`
	ReplicationFactor *int16 `json:"replication-factor,omitempty" toml:"replication-factor,omitempty"`
	KafkaVersion      string `json:"kafka-version,omitempty" toml:"kafka-version,omitempty"`
	// MaxMessageBytes bounds a message and a batch of messages.
	MaxMessageBytes *int   `json:"max-message-bytes,omitempty" toml:"max-message-bytes,omitempty"`
	Compression     string `json:"compression,omitempty" toml:"compression,omitempty"`
	KafkaClientID   string `json:"kafka-client-id,omitempty" toml:"kafka-client-id,omitempty"`
	AutoCreateTopic *bool  `json:"auto-create-topic,omitempty" toml:"auto-create-topic,omitempty"`
	DialTimeout     string `json:"dial-timeout,omitempty" toml:"dial-timeout,omitempty"`
	WriteTimeout    string `json:"write-timeout,omitempty" toml:"write-timeout,omitempty"`
	ReadTimeout     string `json:"read-timeout,omitempty" toml:"read-timeout,omitempty"`
	RequiredAcks    *int   `json:"required-acks,omitempty" toml:"required-acks,omitempty"`

	SASLUser      string `json:"sasl-user,omitempty" toml:"sasl-user,omitempty"`
	SASLPassword  string `json:"sasl-password,omitempty" toml:"sasl-password,omitempty"`
	SASLMechanism string `json:"sasl-mechanism,omitempty" toml:"sasl-mechanism,omitempty"`

	SASLGSSAPIAuthType           string `json:"sasl-gssapi-auth-type,omitempty" toml:"sasl-gssapi-auth-type,omitempty"`
	SASLGSSAPIKeytabPath         string `json:"sasl-gssapi-keytab-path,omitempty" toml:"sasl-gssapi-keytab-path,omitempty"`
	SASLGSSAPIKerberosConfigPath string `json:"sasl-gssapi-kerberos-config-path,omitempty" toml:"sasl-gssapi-kerberos-config-path,omitempty"`
	SASLGSSAPIServiceName        string `json:"sasl-gssapi-service-name,omitempty" toml:"sasl-gssapi-service-name,omitempty"`
	SASLGSSAPIUser               string `json:"sasl-gssapi-user,omitempty" toml:"sasl-gssapi-user,omitempty"`
	SASLGSSAPIPassword           string `json:"sasl-gssapi-password,omitempty" toml:"sasl-gssapi-password,omitempty"`
	SASLGSSAPIRealm              string `json:"sasl-gssapi-realm,omitempty" toml:"sasl-gssapi-realm,omitempty"`
	SASLGSSAPIDisablePAFXFAST    *bool  `json:"sasl-gssapi-disable-pafxfast,omitempty" toml:"sasl-gssapi-disable-pafxfast,omitempty"`

	SASLOAuthClientID string `json:"sasl-oauth-client-id,omitempty" toml:"sasl-oauth-client-id,omitempty"`
	// SASLOAuthClientSecret is in base64.
	SASLOAuthClientSecret string   `json:"sasl-oauth-client-secret,omitempty" toml:"sasl-oauth-client-secret,omitempty"`
	SASLOAuthTokenURL     string   `json:"sasl-oauth-token-url,omitempty" toml:"sasl-oauth-token-url,omitempty"`
	SASLOAuthScopes       []string `json:"sasl-oauth-scopes,omitempty" toml:"sasl-oauth-scopes,omitempty"`
	// SASLOAuthGrantType is client_credentials, the default.
	SASLOAuthGrantType string `json:"sasl-oauth-grant-type,omitempty" toml:"sasl-oauth-grant-type,omitempty"`
	SASLOAuthAudience  string `json:"sasl-oauth-audience,omitempty" toml:"sasl-oauth-audience,omitempty"`

	EnableTLS *bool `json:"enable-tls,omitempty" toml:"enable-tls,omitempty"`
	// CA, Cert and Key are paths of PEM files.
	CA                 string `json:"ca,omitempty" toml:"ca,omitempty"`
	Cert               string `json:"cert,omitempty" toml:"cert,omitempty"`
	Key                string `json:"key,omitempty" toml:"key,omitempty"`
	InsecureSkipVerify *bool  `json:"insecure-skip-verify,omitempty" toml:"insecure-skip-verify,omitempty"`

	// OutputRawChangeEvent keeps an update that changes a key as one event. By
	// default it becomes a delete and an insert.
	OutputRawChangeEvent *bool `json:"output-raw-change-event,omitempty" toml:"output-raw-change-event,omitempty"`

	Codec        *CodecOptions        `json:"codec-config,omitempty" toml:"codec-config,omitempty"`
	LargeMessage *LargeMessageOptions `json:"large-message-handle,omitempty" toml:"large-message-handle,omitempty"`
	GlueRegistry *GlueRegistryOptions `json:"glue-schema-registry-config,omitempty" toml:"glue-schema-registry-config,omitempty"`

	// ExactlyOnce writes rows and the table's progress in one transaction, and goes
	// on from that progress after a restart. TiCDC has no such option.
	ExactlyOnce *bool `json:"exactly-once,omitempty" toml:"exactly-once,omitempty"`
	// ProgressTopic is where exactly-once keeps progress.
	ProgressTopic string `json:"progress-topic,omitempty" toml:"progress-topic,omitempty"`
}

// CodecOptions are about protocols in Kafka.
type CodecOptions struct {
	EnableTiDBExtension            *bool  `json:"enable-tidb-extension,omitempty" toml:"enable-tidb-extension,omitempty"`
	MaxBatchSize                   *int   `json:"max-batch-size,omitempty" toml:"max-batch-size,omitempty"`
	AvroEnableWatermark            *bool  `json:"avro-enable-watermark,omitempty" toml:"avro-enable-watermark,omitempty"`
	AvroDecimalHandlingMode        string `json:"avro-decimal-handling-mode,omitempty" toml:"avro-decimal-handling-mode,omitempty"`
	AvroBigintUnsignedHandlingMode string `json:"avro-bigint-unsigned-handling-mode,omitempty" toml:"avro-bigint-unsigned-handling-mode,omitempty"`
	// EncodingFormat is json, the default, or avro, of the simple protocol.
	EncodingFormat string `json:"encoding-format,omitempty" toml:"encoding-format,omitempty"`
	// OutputRowKey adds TiKV's key of a row to messages of canal-json with the TiDB
	// extension.
	OutputRowKey *bool `json:"output-row-key,omitempty" toml:"output-row-key,omitempty"`
	// AvroIncludeBeforeValue is refused: messages of avro have no old values.
	AvroIncludeBeforeValue *bool `json:"avro-include-before-value,omitempty" toml:"avro-include-before-value,omitempty"`
}

// LargeMessageOptions say what becomes of a message that is too large.
type LargeMessageOptions struct {
	// Option is none, the default: the changefeed fails; handle-key-only: only the
	// key's columns are sent; or claim-check: the message is stored elsewhere and
	// its place is sent.
	Option string `json:"large-message-handle-option,omitempty" toml:"large-message-handle-option,omitempty"`
	// Compression of every message's value is none, the default, lz4 or snappy.
	Compression string `json:"large-message-handle-compression,omitempty" toml:"large-message-handle-compression,omitempty"`
	// ClaimCheckStorageURI is where messages are stored.
	ClaimCheckStorageURI string `json:"claim-check-storage-uri,omitempty" toml:"claim-check-storage-uri,omitempty"`
	// ClaimCheckRawValue stores the value alone instead of key and value in JSON.
	ClaimCheckRawValue bool `json:"claim-check-raw-value,omitempty" toml:"claim-check-raw-value,omitempty"`
}

// GlueRegistryOptions name an AWS Glue schema registry.
type GlueRegistryOptions struct {
	Region          string `json:"region,omitempty" toml:"region,omitempty"`
	RegistryName    string `json:"registry-name,omitempty" toml:"registry-name,omitempty"`
	AccessKey       string `json:"access-key,omitempty" toml:"access-key,omitempty"`
	SecretAccessKey string `json:"secret-access-key,omitempty" toml:"secret-access-key,omitempty"`
	Token           string `json:"token,omitempty" toml:"token,omitempty"`
}
