package kafka_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/kafka"
)

func ptr[T any](v T) *T { return &v }

func parseURI(t testing.TB, uri string, o sink.Options) (kafka.Config, error) {
	t.Helper()
	u, err := url.Parse(strings.ReplaceAll(uri, "h1:1,h2", "h1"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(uri, "h1:1,h2") {
		u.Host = "h1:1,h2"
	}
	return kafka.ParseURI(u, sink.Config{Changefeed: "feed", Options: o})
}

func TestParseURI(t *testing.T) {
	cfg, err := parseURI(t, "kafka://h1:1,h2/t?partition-num=4&replication-factor=3&max-message-bytes=5000&required-acks=1&compression=LZ4&"+
		"auto-create-topic=false&kafka-client-id=me&dial-timeout=3s&write-timeout=4s&read-timeout=5s&kafka-version=2.4.0&"+
		"large-message-handle-option=handle-key-only&large-message-handle-compression=snappy", sink.Options{
		Kafka: &sink.KafkaOptions{PartitionNum: ptr[int32](9), OutputRawChangeEvent: ptr(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(cfg.Brokers, " ") != "h1:1 h2:9092" || cfg.Topic != "t" || cfg.PartitionNum != 4 || cfg.ReplicationFactor != 3 ||
		cfg.MaxMessageBytes != 5000 || cfg.Acks != kafka.AcksLeader || cfg.Compression != kafkago.Lz4 || !cfg.NoTopicCreation ||
		cfg.ClientID != "me" || cfg.DialTimeout != 3*time.Second || cfg.WriteTimeout != 4*time.Second || cfg.ReadTimeout != 5*time.Second ||
		cfg.LargeMessage.Handling != kafka.HandleKeyOnly || cfg.LargeMessage.Compression != "snappy" || !cfg.RawUpdates {
		t.Errorf("got %+v", cfg)
	}
	cfg, err = parseURI(t, "kafka://h/t", sink.Options{Protocol: "canal-json"})
	if err != nil || cfg.Acks != kafka.AcksAll || cfg.NoTopicCreation || cfg.TLS != nil || cfg.SASL != nil || !cfg.DDLToFirstPartition {
		t.Errorf("defaults: got %+v, %v", cfg, err)
	}
	for _, protocol := range []string{"", "open-protocol", "default", "canal-json", "canal", "maxwell", "simple", "debezium"} {
		cfg, err := parseURI(t, "kafka://h/t?protocol="+protocol, sink.Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		if e, err := cfg.NewEncoder(1000); err != nil || e == nil {
			t.Errorf("%s: got %v, %v", protocol, e, err)
		}
	}
}

// TestProtocolParameters: each parameter changes the messages of its protocol as it says.
func TestProtocolParameters(t *testing.T) {
	encode := func(query string, o sink.Options) string {
		t.Helper()
		cfg, err := parseURI(t, "kafka://h/t?"+query, o)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		e, err := cfg.NewEncoder(1 << 20)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		table := item(1)
		update := put(table, 10, 1, "new")
		update.PreColumns = []event.Value{event.Int64Value(1), event.TextValue("was")}
		gone := put(table, 20, 2, "gone")
		gone.Columns, gone.PreColumns = nil, gone.Columns
		var m codec.Messages
		if err := e.AppendRows(&m, "t", []*event.RowChanged{update, gone}); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		out := fmt.Sprintf("%d messages: ", m.Len())
		for i := range m.Len() {
			out += string(m.At(i).Value) + "\n"
		}
		return out
	}
	for _, tt := range []struct {
		query   string // its last parameter is what is tested
		with    string // what the messages then have, and not otherwise
		without string // or the other way around
	}{
		{"protocol=canal-json&enable-tidb-extension=true", `"_tidb":{"commitTs":10}`, ""},
		{"protocol=canal-json&enable-tidb-extension=true&output-row-key=true", `"rowkey":`, ""},
		{"protocol=canal-json&content-compatible=true", `varchar(255)`, ""},
		{"protocol=canal-json&only-output-updated-columns=true", `"old":[{"name":"was"}]`, ""},
		{"protocol=canal-json&delete-only-output-handle-key-columns=true", "", `gone`},
		{"protocol=open-protocol&only-output-updated-columns=true", `"p":{"name":`, ""},
		{"protocol=open-protocol&delete-only-output-handle-key-columns=true", "", `gone`},
		{"protocol=open-protocol&max-batch-size=1", `2 messages`, ""},
		{"protocol=canal&max-batch-size=1", `2 messages`, ""},
		{"protocol=canal&content-compatible=true", `varchar(255)`, ""},
		{"protocol=canal&delete-only-output-handle-key-columns=true", "", `gone`},
		{"protocol=maxwell&delete-only-output-handle-key-columns=true", "", `gone`},
		{"protocol=simple&encoding-format=avro", "", `"version":1`},
		{"protocol=debezium&debezium-disable-schema=true", "", `"schema":`},
		{"protocol=debezium&enable-tidb-extension=true", `tidb_type`, ""},
	} {
		cut := strings.LastIndexByte(tt.query, '&')
		plain, set := encode(tt.query[:cut], sink.Options{}), encode(tt.query, sink.Options{})
		if tt.with != "" && (strings.Contains(plain, tt.with) || !strings.Contains(set, tt.with)) ||
			tt.without != "" && (!strings.Contains(plain, tt.without) || strings.Contains(set, tt.without)) {
			t.Errorf("%s:\n%s\nwithout it:\n%s", tt.query, set, plain)
		}
	}
	no := false
	for query, o := range map[string]sink.Options{
		"protocol=open-protocol": {Open: &sink.OpenOptions{OutputOldValue: &no}},
		"protocol=debezium":      {Debezium: &sink.DebeziumOptions{OutputOldValue: &no}},
	} {
		if plain, set := encode(query, sink.Options{}), encode(query, o); !strings.Contains(plain, "was") || strings.Contains(set, "was") {
			t.Errorf("%s without old values:\n%s\nwith:\n%s", query, set, plain)
		}
	}
	uri, err := url.Parse("kafka://h/t?protocol=debezium&debezium-disable-schema=true")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := kafka.ParseURI(uri, sink.Config{Cluster: "east"})
	if err != nil {
		t.Fatal(err)
	}
	e, err := cfg.NewEncoder(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	var m codec.Messages
	if err := e.AppendRows(&m, "t", []*event.RowChanged{put(item(1), 10, 1, "x")}); err != nil {
		t.Fatal(err)
	}
	if msg := m.At(0); !strings.Contains(string(msg.Value), `"cluster_id":"east"`) {
		t.Errorf("a changefeed of the cluster east: %s", msg.Value)
	}
	if set := encode("protocol=debezium", sink.Options{Debezium: &sink.DebeziumOptions{IncludeStartTs: true}}); !strings.Contains(set, `"start_ts":9`) {
		t.Errorf("include-start-ts: %s", set)
	}
}

func TestParseURIErrors(t *testing.T) {
	tests := []struct {
		uri     string
		options sink.Options
		want    string
	}{
		{"kafka://h/t?protocol=xml", sink.Options{}, "protocol"},
		{"kafka://h/t?protocol=csv", sink.Options{}, `for Kafka: "csv"`},
		{"kafka://h/t?protocol=avro", sink.Options{}, "schema-registry"},
		{"kafka://u:p@h/t", sink.Options{}, "sasl-user"},
		{"kafka://h/t?partition-num=0", sink.Options{}, "partition-num"},
		{"kafka://h/t?partition-num=x", sink.Options{}, "partition-num"},
		{"kafka://h/t?partition-num=99999999999", sink.Options{}, "partition-num"},
		{"kafka://h/t?required-acks=2", sink.Options{}, "required-acks"},
		{"kafka://h/t?compression=rar", sink.Options{}, "compression"},
		{"kafka://h/t?kafka-version=new", sink.Options{}, "kafka-version"},
		{"kafka://h/t?dial-timeout=10", sink.Options{}, "dial-timeout"},
		{"kafka://h/t?auto-create-topic=perhaps", sink.Options{}, "auto-create-topic"},
		{"kafka://h/t?enable-tls=false&ca=x", sink.Options{}, "enable-tls"},
		{"kafka://h/t?ca=/no/such/file", sink.Options{}, "ca"},
		{"kafka://h/t?enable-tls=true&cert=x", sink.Options{}, "cert and key"},
		{"kafka://h/t?insecure-skip-verify=true", sink.Options{}, "insecure-skip-verify"},
		{"kafka://h/t?sasl-user=u&sasl-password=s3cret", sink.Options{}, "sasl-mechanism"},
		{"kafka://h/t?sasl-mechanism=plain&sasl-user=u", sink.Options{}, "sasl-password"},
		{"kafka://h/t?sasl-mechanism=ntlm&sasl-user=u&sasl-password=s3cret", sink.Options{}, "sasl-mechanism"},
		{"kafka://h/t?sasl-mechanism=GSSAPI", sink.Options{}, "Kerberos"},
		{"kafka://h/t?sasl-gssapi-user=u", sink.Options{}, "Kerberos"},
		{"kafka://h/t?sasl-mechanism=oauthbearer", sink.Options{}, "sasl-oauth-client-id"},
		{"kafka://h/t?transaction-atomicity=table", sink.Options{}, "transaction-atomicity"},
		{"kafka://h/t?large-message-handle-option=claim-check", sink.Options{}, "claim-check-storage-uri"},
		{"kafka://h/t?protocol=avro&avro-include-before-value=true", sink.Options{}, "avro-include-before-value"},
		{"kafka://h/t?large-message-handle-option=shrug", sink.Options{}, "large-message-handle-option"},
		{"kafka://h/t?protocol=canal-json&large-message-handle-option=handle-key-only", sink.Options{}, "enable-tidb-extension"},
		{"kafka://h/t", sink.Options{Dispatchers: []sink.DispatchRule{{Matcher: []string{"*.*"}, Topic: "a b"}}}, "a b"},
		{"kafka://h/t", sink.Options{Kafka: &sink.KafkaOptions{
			SASLMechanism: "oauthbearer", SASLOAuthClientID: "c", SASLOAuthClientSecret: "s3cret not base64", SASLOAuthTokenURL: "http://h",
		}}, "base64"},
	}
	for _, tt := range tests {
		_, err := parseURI(t, tt.uri, tt.options)
		if err == nil || !sink.IsPermanent(err) || !errors.Is(err, sink.ErrInvalidURI) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want one about %s", tt.uri, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error shows a secret: %v", tt.uri, err)
		}
	}
	for _, uri := range []string{"kafka://h/t?protocol=xml", "kafka://h/t?protocol=craft"} {
		if _, err := parseURI(t, uri, sink.Options{}); !errors.Is(err, sink.ErrUnknownProtocol) {
			t.Errorf("%s: got %v, want ErrUnknownProtocol", uri, err)
		}
	}
	var topic *dispatcher.TopicError
	if _, err := parseURI(t, "kafka://h/t", sink.Options{Dispatchers: []sink.DispatchRule{{Matcher: []string{"*.*"}, Topic: "a b"}}}); !errors.As(err, &topic) {
		t.Errorf("got %v, want a *dispatcher.TopicError inside", err)
	}
	var rule *dispatcher.RuleError
	if _, err := parseURI(t, "kafka://h/t", sink.Options{Dispatchers: []sink.DispatchRule{{Matcher: []string{"*.*"}, Topic: "a b"}}}); !errors.As(err, &rule) {
		t.Errorf("got %v, want a *dispatcher.RuleError inside", err)
	}
}

// TestSecurity logs in to a real broker in every way, right and wrong.
func TestSecurity(t *testing.T) {
	server := realBroker(t)
	token := "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(
		[]byte(`{"sub":"writer","iat":`+unix(0)+`,"exp":`+unix(time.Hour)+`}`)) + "."
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "client" || password != saslPassword {
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"` + token + `","token_type":"bearer","expires_in":3600}`))
	}))
	t.Cleanup(endpoint.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	oauth := func(secret string) sink.Options {
		return sink.Options{Kafka: &sink.KafkaOptions{
			SASLMechanism: "OAUTHBEARER", SASLOAuthClientID: "client", SASLOAuthTokenURL: endpoint.URL, SASLOAuthScopes: []string{"kafka"},
			SASLOAuthClientSecret: base64.StdEncoding.EncodeToString([]byte(secret)),
		}}
	}
	login := func(mechanism, password string) string {
		return "&sasl-mechanism=" + mechanism + "&sasl-user=" + saslUser + "&sasl-password=" + password
	}
	ca := "&ca=" + pki.ca
	pair := "&cert=" + pki.cert + "&key=" + pki.key
	tests := []struct {
		name, addr, query string
		options           sink.Options
		want              string // in the error
	}{
		{"plain", server.SASLAddr, login("plain", saslPassword), sink.Options{}, ""},
		{"scram 256", server.SASLAddr, login("SCRAM-SHA-256", saslPassword), sink.Options{}, ""},
		{"scram 512", server.SASLAddr, login("scram-sha-512", saslPassword), sink.Options{}, ""},
		{"oauth", server.SASLAddr, "", oauth(saslPassword), ""},
		{"plain in TLS", server.SASLTLSAddr, login("plain", saslPassword) + ca, sink.Options{}, ""},
		{"scram in TLS", server.SASLTLSAddr, login("scram-sha-512", saslPassword) + ca, sink.Options{}, ""},
		{"unverified TLS", server.SASLTLSAddr, login("plain", saslPassword) + "&enable-tls=true&insecure-skip-verify=true", sink.Options{}, ""},
		{"certificate", server.TLSAddr, ca + pair, sink.Options{}, ""},

		{"wrong password, plain", server.SASLAddr, login("plain", "wr0ng"), sink.Options{}, "sasl-password"},
		{"wrong password, scram", server.SASLAddr, login("scram-sha-512", "wr0ng"), sink.Options{}, "sasl-password"},
		{"wrong secret, oauth", server.SASLAddr, "", oauth("wr0ng"), "token endpoint answered 401"},
		{"no login", server.SASLAddr, "", sink.Options{}, "sasl-mechanism"},
		{"no TLS", server.TLSAddr, "", sink.Options{}, "enable-tls"},
		{"no certificate", server.TLSAddr, ca, sink.Options{}, "certificate"},
		{"unknown authority", server.SASLTLSAddr, login("plain", saslPassword) + "&enable-tls=true", sink.Options{}, "unknown authority"},
		{"TLS to a plain port", server.Addr, "&enable-tls=true", sink.Options{}, "hangs up"},
		{"nobody there", "127.0.0.1:1", "&dial-timeout=300ms&read-timeout=100ms&write-timeout=100ms", sink.Options{}, "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			topic := newTopicName(t)
			_, closer, err := sink.Openers{"kafka+ssl": kafka.Open}.Open(t.Context(),
				"kafka+ssl://"+tt.addr+"/"+topic+"?protocol=simple"+tt.query, sink.Config{Changefeed: "f", Options: tt.options})
			if err == nil {
				if err := closer.Close(); err != nil {
					t.Error(err)
				}
			}
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error with %q", err, tt.want)
			case err != nil && (strings.Contains(err.Error(), "wr0ng") || strings.Contains(err.Error(), saslPassword)):
				t.Errorf("the error shows a password: %v", err)
			}
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("it took %s", took)
			}
			if err != nil {
				t.Log(err)
			}
		})
	}
}

// unix returns the time that is d away, in seconds.
func unix(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
