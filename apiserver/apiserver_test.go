package apiserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/apiserver"
	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
)

// wantError looks at the body of an answer that is no success.
func wantError(t *testing.T, what string, a answer, status int, code string) {
	t.Helper()
	var body map[string]string
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || len(body) != 2 ||
		a.status != status || body["error_code"] != code || !strings.HasPrefix(body["error_msg"], "["+code+"]") {
		t.Errorf("%s: %d %s; want %d %s", what, a.status, a.body, status, code)
	}
}

// TestEndpoints is each endpoint with what is good, with ids and bodies that are not,
// in states that do not fit and with ids that nobody has.
func TestEndpoints(t *testing.T) {
	d := newDaemon(t)
	doc := loadDescription(t)
	d.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey())
	past := d.cluster.Oracle().Now()
	d.cluster.CreateTable("odd", "keyless", cdctest.Int("id"))
	const (
		feeds   = "/api/v1/changefeeds"
		a       = feeds + "/a"
		unknown = feeds + "/nobody"
		bad     = feeds + "/bad_id"
		invalid = "CDC:ErrAPIInvalidParam"
		gone    = "CDC:ErrChangeFeedNotExists"
		refused = "CDC:ErrChangefeedUpdateRefused"
	)
	long := feeds + "/" + strings.Repeat("a", 129)
	move := `{"capture_id":"` + captureID + `","table_id":49}`
	for _, tt := range []struct {
		method, path, body string
		status             int
		code               string // "" for a success
	}{
		{"GET", "/status", "", 200, ""},
		{"GET", "/api/v1/status", "", 200, ""},
		{"GET", "/api/v1/health", "", 200, ""},
		{"POST", "/api/v1/log", `{"log_level":"WARN"}`, 200, ""},
		{"POST", "/api/v1/log", `{"log_level":"fatal"}`, 200, ""},
		{"POST", "/api/v1/log", `{"log_level":"loud"}`, 400, invalid},
		{"POST", "/api/v1/log", `{}`, 400, invalid},
		{"POST", "/api/v1/log", ``, 400, invalid},
		{"POST", "/admin/log", `"debug"`, 200, ""},
		{"POST", "/admin/log", `"loud"`, 400, invalid},
		{"POST", "/admin/log", `debug`, 400, invalid},
		{"POST", "/admin/log", `{"log_level":"debug"}`, 400, invalid},
		{"GET", "/admin/log", "", 405, invalid},
		{"POST", "/capture/owner/resign", "", 404, invalid},

		{"GET", feeds, "", 200, ""},
		{"POST", feeds, `{"changefeed_id":"a","sink_uri":"blackhole://","filter_rules":["shop.*"],"namespace":"default","unknown":[]}`, 202, ""},
		{"POST", feeds, `{"changefeed_id":"a","sink_uri":"blackhole://"}`, 400, "CDC:ErrChangeFeedAlreadyExists"},
		{"POST", feeds, `{"changefeed_id":"bad_id","sink_uri":"blackhole://"}`, 400, invalid},
		{"POST", feeds, `{"changefeed_id":"b"}`, 400, "CDC:ErrSinkURIInvalid"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhome://"}`, 400, "CDC:ErrSinkURIInvalid"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhole://","start_ts":18446744073709551615}`, 400, invalid},
		{"POST", feeds, fmt.Sprintf(`{"changefeed_id":"b","sink_uri":"blackhole://","start_ts":%d,"target_ts":%d}`, past, past), 400, "CDC:ErrTargetTsBeforeStartTs"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhole://","filter_rules":["@/etc/passwd"]}`, 400, "CDC:ErrFilterRuleInvalid"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhole://","filter_rules":["shop"]}`, 400, "CDC:ErrFilterRuleInvalid"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhole://"}`, 400, "CDC:ErrTableIneligible"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhole://","ignore_ineligible_table":true,"timezone":"Moon"}`, 400, invalid},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhole://","filter":{"rules":["shop.*"],"event-filters":[{"matcher":["*.*"],"ignore-event":["bang"]}]}}`, 400, "CDC:ErrInvalidIgnoreEventType"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhole://","filter":{"rules":["shop.*"],"event-filters":[{"matcher":["*.*"],"ignore-insert-value-expr":"id +"}]}}`, 400, "CDC:ErrInvalidFilterExpression"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhole://","filter":{"rules":["shop.*"],"event-filters":[{"matcher":["*.*"],"ignore-insert-value-expr":"nix = 1"}]}}`, 400, "CDC:ErrExpressionColumnNotFound"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":"blackhole://","bdr_mode":true}`, 400, "CDC:ErrInvalidReplicaConfig"},
		{"POST", feeds, `{"changefeed_id":"b","sink_uri":7}`, 400, invalid},
		{"POST", feeds, `{`, 400, invalid},
		{"POST", feeds, `[]`, 400, invalid},
		{"POST", feeds, ``, 400, invalid},
		{"POST", feeds, `{"changefeed_id":"` + strings.Repeat("x", 1<<20) + `"}`, 413, invalid},

		{"GET", a, "", 200, ""},
		{"GET", a + "?config=true", "", 200, ""},
		{"GET", bad, "", 400, invalid},
		{"GET", long, "", 400, invalid},
		{"GET", unknown, "", 400, gone},

		{"PUT", a, `{"mounter_worker_num":32}`, 400, refused}, // it runs
		{"PUT", a, `{`, 400, refused},                         // the state is looked at first
		{"POST", a + "/pause", "", 202, ""},
		{"POST", a + "/pause", "", 202, ""},
		{"PUT", a, `{"mounter_worker_num":32}`, 202, ""},
		{"PUT", a, `{"mounter_worker_num":32}`, 400, refused}, // it is so already
		{"PUT", a, `{"start_ts":0}`, 400, refused},
		{"PUT", a, `{"target_ts":1}`, 400, refused},
		{"PUT", a, `{"sink_uri":"blackhome://"}`, 400, refused},
		{"PUT", a, `{"filter_rules":["shop"]}`, 400, refused},
		{"PUT", a, `{"filter_rules":["shop.*","a.*"],"ignore_txn_start_ts":[1,2],"sink_config":{"protocal":"default"}}`, 202, ""},
		{"PUT", a, `{`, 400, invalid},
		{"PUT", bad, `{}`, 400, invalid},
		{"PUT", unknown, `{"mounter_worker_num":32}`, 400, gone},
		{"POST", bad + "/pause", "", 400, invalid},
		{"POST", unknown + "/pause", "", 400, gone},
		{"POST", a + "/resume", "", 202, ""},
		{"POST", a + "/resume", "", 202, ""},
		{"POST", bad + "/resume", "", 400, invalid},
		{"POST", unknown + "/resume", "", 400, gone},

		{"POST", a + "/tables/rebalance_table", "", 202, ""},
		{"POST", bad + "/tables/rebalance_table", "", 400, invalid},
		{"POST", unknown + "/tables/rebalance_table", "", 400, gone},
		{"POST", a + "/tables/move_table", move, 202, ""},
		{"POST", a + "/tables/move_table", `{"target_capture_id":"` + otherID + `","table_id":49}`, 202, ""},
		{"POST", a + "/tables/move_table", `{"capture_id":"bad_id","table_id":49}`, 400, invalid},
		{"POST", a + "/tables/move_table", `{"table_id":49}`, 400, invalid},
		{"POST", a + "/tables/move_table", `{"capture_id":"` + captureID + `"}`, 400, invalid},
		{"POST", a + "/tables/move_table", `{"capture_id":"` + captureID + `","table_id":"49"}`, 400, invalid},
		{"POST", a + "/tables/move_table", ``, 400, invalid},
		{"POST", bad + "/tables/move_table", move, 400, invalid},
		{"POST", unknown + "/tables/move_table", move, 400, gone},

		{"POST", "/api/v1/owner/resign", "", 202, ""},
		{"GET", "/api/v1/processors", "", 200, ""},
		{"GET", "/api/v1/processors/a/" + captureID, "", 200, ""},
		{"GET", "/api/v1/processors/a/" + otherID, "", 400, "CDC:ErrCaptureNotExist"},
		{"GET", "/api/v1/processors/a/bad_id", "", 400, invalid},
		{"GET", "/api/v1/processors/bad_id/" + captureID, "", 400, invalid},
		{"GET", "/api/v1/processors/nobody/" + captureID, "", 400, gone},
		{"GET", "/api/v1/captures", "", 200, ""},
		{"PUT", "/api/v1/captures/drain", `{"capture_id":"` + captureID + `"}`, 400, "CDC:ErrSchedulerRequestFailed"},
		{"PUT", "/api/v1/captures/drain", `{"capture_id":"` + otherID + `"}`, 400, "CDC:ErrCaptureNotExist"},
		{"PUT", "/api/v1/captures/drain", `{"capture_id":"bad_id"}`, 400, invalid},
		{"PUT", "/api/v1/captures/drain", `{}`, 400, invalid},
		{"PUT", "/api/v1/captures/drain", `7`, 400, invalid},

		{"DELETE", bad, "", 400, invalid},
		{"DELETE", unknown, "", 400, gone},
		{"DELETE", a, "", 202, ""},
		{"DELETE", a, "", 400, gone},

		{"GET", "/api/openapi.json", "", 200, ""},
		{"GET", "/", "", 404, invalid},
		{"GET", "/metrics", "", 404, invalid},
		{"GET", "/debug/pprof/", "", 404, invalid},
		{"GET", "/api/v2/changefeeds", "", 404, invalid},
		{"GET", "/api/v1/changefeeds/a/pause/more", "", 404, invalid},
		{"PATCH", a, "", 405, invalid},
		{"DELETE", feeds, "", 405, invalid},
		{"GET", a + "/pause", "", 405, invalid},
		{"GET", "/api/v1/owner/resign", "", 405, invalid},
	} {
		got := d.call(tt.method, tt.path, tt.body)
		what := fmt.Sprintf("%s %.80s %.80s", tt.method, tt.path, tt.body)
		switch {
		case tt.code != "":
			wantError(t, what, got, tt.status, tt.code)
		case got.status != tt.status:
			t.Errorf("%s: %d %s; want %d", what, got.status, got.body, tt.status)
		}
		doc.check(t, tt.method, tt.path, got)
		if tt.status == 405 && got.header.Get("Allow") == "" {
			t.Errorf("%s: no header Allow", what)
		}
	}
}

func TestCreateMakesUpAnID(t *testing.T) {
	d := newDaemon(t)
	a := d.call("POST", "/api/v1/changefeeds", `{"sink_uri":"blackhole://"}`)
	if a.status != 202 || a.body != "" {
		t.Fatal(a)
	}
	if got := d.call("GET", a.header.Get("Location"), ""); got.status != 200 {
		t.Errorf("GET %s: %d %s", a.header.Get("Location"), got.status, got.body)
	}
}

// TestBodies: what the fields of a body become, the documentation's misprints among them.
func TestBodies(t *testing.T) {
	var f fake
	h := apiserver.New(&f, apiserver.Options{Logger: discard()})
	const body = `{"changefeed_id":"a","sink_uri":"kafka://h/t","start_ts":5,"target_ts":18446744073709551615,"force_replicate":true,
		"ignore_ineligible_table":true,"filter_rules":["foo*.*","bar*.*"],"ignore_txn_start_ts":[1,2],"mounter_worker_num":8,
		"memory_quota":1048576,"timezone":"UTC",
		"sink_config":{"dispatchers":[{"matcher":["test1.*","test2.*"],"dispatcher":"ts"},{"matcher":["test3.*","test4.*"],"dispatcher":"rowid"}],
		"protocal":"default"}}`
	if a := do(t, h, "POST", "/api/v1/changefeeds", body); a.status != 202 {
		t.Fatal(a)
	}
	want := cdc.Spec{
		ID: "a", SinkURI: "kafka://h/t", StartTs: 5, TargetTs: 18446744073709551615, ForceReplicate: true, IgnoreIneligibleTables: true,
		Filter:  filter.Config{Rules: []string{"foo*.*", "bar*.*"}, IgnoreTxnStartTs: []event.Ts{1, 2}},
		Mounter: cdc.MounterSpec{WorkerNum: 8}, MemoryQuota: 1 << 20, TimeZone: "UTC",
		Sink: sink.Options{Protocol: "default", Dispatchers: []sink.DispatchRule{
			{Matcher: []string{"test1.*", "test2.*"}, Dispatcher: "ts"}, {Matcher: []string{"test3.*", "test4.*"}, Dispatcher: "rowid"},
		}},
	}
	if !reflect.DeepEqual(f.spec, want) {
		t.Errorf("got  %+v\nwant %+v", f.spec, want)
	}
	// An update changes what is not zero, and replaces the whole of sink_config.
	if a := do(t, h, "PUT", "/api/v1/changefeeds/a", `{"start_ts":9,"force_replicate":false,"target_ts":0,"filter_rules":[],
		"ignore_txn_start_ts":[3],"mounter_worker_num":32,"sink_config":{"protocol":"avro","protocal":"csv"}}`); a.status != 202 {
		t.Fatal(a)
	}
	want.Filter.IgnoreTxnStartTs, want.Mounter.WorkerNum, want.Sink = []event.Ts{3}, 32, sink.Options{Protocol: "avro"}
	if !reflect.DeepEqual(f.spec, want) {
		t.Errorf("updated\ngot  %+v\nwant %+v", f.spec, want)
	}
}

// TestSecretsAreMasked plants one wherever a body can hold it, and looks for it in
// every answer and in the log.
func TestSecretsAreMasked(t *testing.T) {
	const canary = "canary-5b1c"
	var mu sync.Mutex
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	d := newDaemon(t, func(o *apiserver.Options) { o.Logger = logger })
	body := strings.ReplaceAll(`{"changefeed_id":"a","sink_uri":"blackhole://u:SECRET@h/t?sasl-password=SECRET&x=SECRET","filter_rules":["a.*"],
		"sink_config":{"schema-registry":"http://u:SECRET@h","kafka-config":{"sasl-password":"SECRET","sasl-oauth-client-secret":"SECRET",
		"large-message-handle":{"claim-check-storage-uri":"s3://b/?secret-access-key=SECRET"}}}}`, "SECRET", canary)
	var answers []answer
	answers = append(answers, d.call("POST", "/api/v1/changefeeds", body), d.call("POST", "/api/v1/changefeeds", body),
		d.call("POST", "/api/v1/changefeeds", strings.Replace(body, "blackhole", "mysql", 1)),
		d.call("POST", "/api/v1/changefeeds", body+"}"), d.call("PUT", "/api/v1/changefeeds/a", body))
	for _, path := range []string{"/api/v1/changefeeds?state=all", "/api/v1/changefeeds/a", "/api/v1/changefeeds/a?config=true", "/debug/info"} {
		answers = append(answers, d.call("GET", path, ""))
	}
	d.call("POST", "/api/v1/changefeeds/a/pause", "")
	answers = append(answers, d.call("PUT", "/api/v1/changefeeds/a", strings.Replace(body, "blackhole", "mysql", 1)), d.call("PUT", "/api/v1/changefeeds/a", body))
	for _, a := range answers {
		if strings.Contains(a.body, canary) {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(log.String(), canary) {
		t.Errorf("the log has it:\n%s", log.String())
	}
	if answers[0].status != 202 || !strings.Contains(answers[6].body, "blackhole://u:xxxxx@h/t") {
		t.Errorf("%v\n%v", answers[0], answers[6])
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestListByState has a changefeed in every state.
func TestListByState(t *testing.T) {
	var f fake
	for _, s := range []cdc.State{"normal", "warning", "pending", "stopped", "failed", "finished"} {
		f.feeds = append(f.feeds, cdc.ChangefeedInfo{Spec: cdc.Spec{ID: string(s)}, State: s})
	}
	h := apiserver.New(&f, apiserver.Options{Logger: discard(), TimeZone: time.UTC})
	for query, want := range map[string]string{
		"":                "normal warning pending stopped failed",
		"?state=":         "normal warning pending stopped failed",
		"?state=all":      "normal warning pending stopped failed finished",
		"?state=normal":   "normal",
		"?state=error":    "warning pending",
		"?state=finished": "finished",
		"?state=removed":  "",
	} {
		a := do(t, h, "GET", "/api/v1/changefeeds"+query, "")
		var items []struct {
			ID             string
			CheckpointTime string `json:"checkpoint_time"`
		}
		if err := json.Unmarshal([]byte(a.body), &items); err != nil || items == nil {
			t.Errorf("%s: %v: %s", query, err, a.body)
		}
		var got []string
		for _, item := range items {
			got = append(got, item.ID)
			if item.CheckpointTime != "0001-01-01 00:00:00.000" {
				t.Errorf("before the first checkpoint its time is %s", item.CheckpointTime)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
}

func TestRunningErrorIsShown(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	f := fake{feeds: []cdc.ChangefeedInfo{{
		Spec: cdc.Spec{ID: "a"}, State: cdc.StateFailed, CheckpointTs: event.NewTs(at.Add(time.Millisecond)),
		Error: &cdc.RunningError{Time: at, Addr: "h:1", Code: "CDC:ErrX", Message: "m <1>"},
	}}}
	h := apiserver.New(&f, apiserver.Options{Logger: discard(), TimeZone: time.FixedZone("", 3600)})
	const want = `[
    {
        "id": "a",
        "state": "failed",
        "checkpoint_tso": 470636140953862144,
        "checkpoint_time": "2026-11-22 09:00:00.001",
        "error": {
            "addr": "h:1",
            "code": "CDC:ErrX",
            "message": "m \u003c1\u003e",
            "time": "2026-11-22T09:00:00+01:00"
        },
        "upstream_id": 0,
        "namespace": "default"
    }
]`
	if a := do(t, h, "GET", "/api/v1/changefeeds", ""); a.body != want {
		t.Errorf("got %s\nwant %s", a.body, want)
	}
	for want, history := range map[string][]time.Time{
		"null": nil, "[\n        1795334400000,\n        1795334401500\n    ]": {at, at.Add(1500 * time.Millisecond)},
	} {
		f.feeds[0].ErrorHistory = history
		if a := do(t, h, "GET", "/api/v1/changefeeds/a", ""); !strings.Contains(a.body, `"error_history": `+want+",") {
			t.Errorf("got %s\nwant error_history %s", a.body, want)
		}
	}
}

// TestErrorTable: what each error of a Controller becomes, also when it is wrapped.
func TestErrorTable(t *testing.T) {
	open := func(scheme string) error { return &cdc.OpenSinkError{Scheme: scheme, Err: errors.New("x")} }
	write := func(scheme, method string) error {
		return &sink.WriteError{Scheme: scheme, Method: method, Err: errors.New("x")}
	}
	event := func(err error) error { return &filter.EventFilterError{Field: "ignore-sql", Err: err} }
	for _, tt := range []struct {
		err    error
		status int
		code   string
	}{
		{cdc.ErrNotReady, 503, "CDC:ErrServerIsNotReady"},
		{cdc.ErrNotOwner, 503, "CDC:ErrOwnerNotFound"},
		{cdc.ErrUnhealthy, 500, "CDC:ErrClusterIsUnhealthy"},
		{cdc.ErrRemovalUnfinished, 500, "CDC:ErrChangeFeedDeletionUnfinished"},
		{cdc.ErrStartTsBeforeGC, 400, "CDC:ErrStartTsBeforeGC"},
		{cdc.ErrSnapshotLostByGC, 500, "CDC:ErrSnapshotLostByGC"},
		{cdc.ErrGCTTLExceeded, 500, "CDC:ErrGCTTLExceeded"},
		{cdc.ErrPDUnreachable, 500, "CDC:ErrPDEtcdAPIError"},
		{fmt.Errorf("%w: %w", cdc.ErrNoProgress, errors.New("x")), 500, "CDC:ErrChangefeedUnretryable"},
		{fmt.Errorf("%w: %w", cdc.ErrNoProgress, open("kafka")), 500, "CDC:ErrKafkaNewProducer"},
		{fmt.Errorf("%w: %w", cdc.ErrUpdateRefused, sink.ErrInvalidURI), 400, "CDC:ErrChangefeedUpdateRefused"},
		{write("mysql", "WriteRows"), 500, "CDC:ErrMySQLTxnError"},
		{write("tidb+ssl", "WriteTransactions"), 500, "CDC:ErrMySQLTxnError"},
		{write("tidb", "WriteDDL"), 500, "CDC:ErrExecDDLFailed"},
		{write("kafka", "WriteRows"), 500, "CDC:ErrKafkaAsyncSendMessage"},
		{write("kafka+ssl", "WriteDDL"), 500, "CDC:ErrKafkaSendMessage"},
		{write("kafka", "WriteCheckpoint"), 500, "CDC:ErrKafkaSendMessage"},
		{fmt.Errorf("%w: %w", cdc.ErrNoProgress, write("mysql", "WriteRows")), 500, "CDC:ErrMySQLTxnError"},
		{&sink.WriteError{Scheme: "kafka", Method: "WriteRows", Err: sink.ErrMessageTooLarge}, 500, "CDC:ErrMessageTooLarge"},
		{&sink.WriteError{Scheme: "kafka", Method: "WriteRows", Err: &dispatcher.TableError{}}, 400, "CDC:ErrDispatcherFailed"},
		{write("mine", "WriteRows"), 500, "CDC:ErrInternalServerError"},
		{open("mysql"), 400, "CDC:ErrMySQLConnectionError"},
		{open("tidb+ssl"), 400, "CDC:ErrMySQLConnectionError"},
		{open("kafka"), 500, "CDC:ErrKafkaNewProducer"},
		{open("pulsar"), 500, "CDC:ErrPulsarNewProducer"},
		{open("s3"), 500, "CDC:ErrStorageInitialize"},
		{&cdc.OpenSinkError{Scheme: "mysql", Err: sink.ErrInvalidURI}, 400, "CDC:ErrSinkURIInvalid"},
		{&cdc.OpenSinkError{Scheme: "kafka", Err: fmt.Errorf("%w: %w", sink.ErrInvalidURI, sink.ErrUnknownProtocol)}, 400, "CDC:ErrSinkUnknownProtocol"},
		{&cdc.OpenSinkError{Scheme: "kafka", Err: fmt.Errorf("%w: %w", sink.ErrInvalidURI, &dispatcher.TopicError{})}, 400, "CDC:ErrKafkaTopicExprInvalid"},
		{sink.Permanent(&dispatcher.TableError{}), 400, "CDC:ErrDispatcherFailed"},
		{sink.Permanent(sink.ErrColumnSelector), 400, "CDC:ErrColumnSelectorFailed"},
		{sink.Permanent(sink.ErrMessageTooLarge), 500, "CDC:ErrMessageTooLarge"},
		{&cdc.OpenSinkError{Scheme: "tidb+ssl", Err: fmt.Errorf("x: %w: y", sink.ErrInvalidParameter)}, 400, "CDC:ErrMySQLInvalidConfig"},
		{&cdc.OpenSinkError{Scheme: "kafka", Err: sink.ErrInvalidParameter}, 400, "CDC:ErrSinkURIInvalid"},
		{open("mine"), 500, "CDC:ErrInternalServerError"},
		{event(errors.New("error parsing regexp")), 400, "CDC:ErrFilterRuleInvalid"},
		{event(&filter.RuleError{}), 400, "CDC:ErrFilterRuleInvalid"},
		{event(&filter.ExpressionError{Err: filter.ErrUnknownColumn}), 400, "CDC:ErrExpressionColumnNotFound"},
		{errors.New("anything"), 500, "CDC:ErrInternalServerError"},
	} {
		h := apiserver.New(&fake{err: fmt.Errorf("create: %w", tt.err)}, apiserver.Options{Logger: discard()})
		wantError(t, tt.err.Error(), do(t, h, "POST", "/api/v1/changefeeds", `{"sink_uri":"x://"}`), tt.status, tt.code)
		wantCode := tt.code
		if wantCode == "CDC:ErrInternalServerError" {
			wantCode = "CDC:ErrProcessorUnknown"
		}
		if got := apiserver.ErrorCode(tt.err); got != wantCode {
			t.Errorf("code of %v is %s, want %s", tt.err, got, wantCode)
		}
	}
}

// TestOpenReads: who only reads needs no credentials, if so configured.
func TestOpenReads(t *testing.T) {
	h := apiserver.New(&fake{}, apiserver.Options{
		Logger: discard(), OpenReads: true, Authenticate: func(context.Context, string, string) error { return errors.New("wrong") },
	})
	for _, method := range []string{"GET", "HEAD"} {
		if a := do(t, h, method, "/status", ""); a.status != 200 {
			t.Errorf("%s: %d", method, a.status)
		}
	}
	for _, call := range [][2]string{{"POST", "/api/v1/changefeeds/a/pause"}, {"PUT", "/api/v1/captures/drain"}, {"DELETE", "/api/v1/changefeeds/a"}} {
		wantError(t, call[0], do(t, h, call[0], call[1], "{}"), 401, "CDC:ErrCredentialNotFound")
	}
}

func TestBasicAuth(t *testing.T) {
	h := apiserver.New(&fake{}, apiserver.Options{
		Logger: discard(), Metrics: http.NotFoundHandler(), Pprof: true,
		Authenticate: func(_ context.Context, user, password string) error {
			if user != "root" || password != "pw" {
				return errors.New("wrong")
			}
			return nil
		},
	})
	as := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	for _, path := range []string{"/api/v1/status", "/api/v1/changefeeds", "/status", "/debug/info", "/metrics", "/debug/pprof/", "/nowhere"} {
		a := do(t, h, "GET", path, "")
		wantError(t, path, a, 401, "CDC:ErrCredentialNotFound")
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: no challenge", path)
		}
		wantError(t, path, do(t, h, "GET", path, "", as("root", "guess")), 401, "CDC:ErrUnauthorized")
	}
	if a := do(t, h, "GET", "/api/v1/changefeeds", "", as("root", "pw")); a.status != 200 {
		t.Error(a)
	}
	if a := do(t, h, "GET", "/api/v1/health", ""); a.status != 200 {
		t.Errorf("health asks for credentials: %v", a)
	}
}

func TestClientNames(t *testing.T) {
	h := apiserver.New(&fake{}, apiserver.Options{Logger: discard(), AllowedClientNames: []string{"tiup"}})
	named := func(name string) func(*http.Request) {
		return func(r *http.Request) {
			leaf := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
			r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
		}
	}
	unverified := func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "tiup"}}}}
	}
	if a := do(t, h, "GET", "/api/v1/captures", "", named("tiup")); a.status != 200 {
		t.Error(a)
	}
	wantError(t, "other name", do(t, h, "GET", "/api/v1/captures", "", named("mallory")), 403, "CDC:ErrUnauthorized")
	wantError(t, "unverified", do(t, h, "GET", "/api/v1/captures", "", unverified), 403, "CDC:ErrUnauthorized")
	wantError(t, "no TLS", do(t, h, "GET", "/api/v1/captures", ""), 403, "CDC:ErrUnauthorized")
	if a := do(t, h, "GET", "/api/v1/health", ""); a.status != 200 {
		t.Error(a)
	}
}

func TestCrossOrigin(t *testing.T) {
	h := apiserver.New(&fake{}, apiserver.Options{Logger: discard()})
	from := func(site string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", site) }
	}
	for _, call := range [][2]string{{"DELETE", "/api/v1/changefeeds/a"}, {"POST", "/api/v1/changefeeds/a/pause"}, {"PUT", "/api/v1/changefeeds/a"}} {
		wantError(t, call[0], do(t, h, call[0], call[1], "{}", from("cross-site")), 403, "CDC:ErrUnauthorized")
		if a := do(t, h, call[0], call[1], `{"target_ts":5}`, from("same-origin")); a.status != 202 {
			t.Errorf("%s from the same origin: %v", call[0], a)
		}
	}
	if a := do(t, h, "GET", "/api/v1/captures", "", from("cross-site")); a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error(a)
	}
}

func TestOperations(t *testing.T) {
	var level slog.LevelVar
	text := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) })
	}
	h := apiserver.New(&fake{feeds: []cdc.ChangefeedInfo{{Spec: cdc.Spec{ID: "feed-1"}, State: "normal"}}},
		apiserver.Options{Logger: discard(), Metrics: text("metrics"), Page: text("page"), Pprof: true, SetLogLevel: level.Set})
	for path, want := range map[string]string{
		"/metrics": "metrics", "/": "page", "/debug/pprof/": "goroutine", "/debug/pprof/cmdline": "test", "/debug/info": "feed-1",
	} {
		if a := do(t, h, "GET", path, ""); a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %.200s", path, a.status, a.body)
		}
	}
	for name, want := range map[string]slog.Level{"debug": slog.LevelDebug, "Error": slog.LevelError, "PANIC": slog.LevelError + 4} {
		if a := do(t, h, "POST", "/api/v1/log", `{"log_level":"`+name+`"}`); a.status != 200 || a.body != "" || level.Level() != want {
			t.Errorf("%s: %v, level %v", name, a, level.Level())
		}
	}
	fixed := apiserver.New(&fake{}, apiserver.Options{Logger: discard()})
	wantError(t, "fixed level", do(t, fixed, "POST", "/api/v1/log", `{"log_level":"info"}`), 400, "CDC:ErrAPIInvalidParam")
}

// TestNothingIsNotNull: lists of nothing are empty.
func TestNothingIsNotNull(t *testing.T) {
	h := apiserver.New(&fake{}, apiserver.Options{Logger: discard()})
	doc := loadDescription(t)
	for _, path := range []string{"changefeeds", "changefeeds/a", "processors", "processors/a/" + otherID, "captures"} {
		a := do(t, h, "GET", "/api/v1/"+path, "")
		doc.check(t, "GET", "/api/v1/"+path, a)
		if a.status != 200 || !strings.Contains(a.body, "[]") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// mortalOwner is a fake whose owner loses its office.
type mortalOwner struct {
	fake
	deposed atomic.Bool
}

func (f *mortalOwner) Owner(context.Context) (cdc.CaptureInfo, error) {
	if f.deposed.Load() {
		return f.Node().CaptureInfo, nil
	}
	return f.owner, nil
}

// TestOwnerIsLost: nobody waits for an owner that does not answer longer than it is
// the owner.
func TestOwnerIsLost(t *testing.T) {
	asked, leave := make(chan struct{}), make(chan struct{})
	paused := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(asked); <-leave }))
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer paused.Close()
	defer close(leave)
	f := &mortalOwner{fake: fake{owner: cdc.CaptureInfo{ID: otherID, Address: paused.Listener.Addr().String()}}}
	h := apiserver.New(f, apiserver.Options{Logger: discard()})
	go func() { <-asked; f.deposed.Store(true) }()
	a := do(t, h, "POST", "/api/v1/changefeeds/a/pause", "")
	wantError(t, "pause", a, 500, "ErrRequestForwardErr")
	if !strings.Contains(a.body, "not the owner any more") {
		t.Errorf("got %s", a.body)
	}
	if a := do(t, h, "POST", "/api/v1/changefeeds/a/pause", ""); a.status != 202 {
		t.Errorf("the next owner answers %v", a)
	}
}

// TestPageOfTheOwner: every capture shows the owner's page, or its own if the owner is
// not known or does not answer; its details are its own.
func TestPageOfTheOwner(t *testing.T) {
	page := func(s string) apiserver.Options {
		return apiserver.Options{Logger: discard(), Page: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) })}
	}
	owner := httptest.NewServer(apiserver.New(&fake{}, page("the owner's page")))
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer owner.Close()
	f := &fake{owner: cdc.CaptureInfo{ID: otherID, Address: owner.Listener.Addr().String()}}
	h := apiserver.New(f, page("own page"))
	want := func(body string) {
		t.Helper()
		if a := do(t, h, "GET", "/", ""); a.status != 200 || a.body != body {
			t.Errorf("got %d %s, want %s", a.status, a.body, body)
		}
	}
	want("the owner's page")
	owner.Close()
	want("own page")
	f.ownerErr = cdc.ErrNotOwner
	want("own page")
	f.err = cdc.ErrNotOwner
	if a := do(t, h, "GET", "/debug/info", ""); !strings.Contains(a.body, "unknown: ") || !strings.Contains(a.body, "1234") {
		t.Errorf("details of a capture that is not the owner:\n%s", a.body)
	}
}

func TestDrain(t *testing.T) {
	h := apiserver.New(&fake{tables: 3}, apiserver.Options{Logger: discard()})
	a := do(t, h, "PUT", "/api/v1/captures/drain", `{"capture_id":"`+otherID+`"}`)
	if a.status != 202 || a.body != "{\n    \"current_table_count\": 3\n}" {
		t.Error(a)
	}
	loadDescription(t).check(t, "PUT", "/api/v1/captures/drain", a)
}

// TestForwarding: what is the owner's business is passed on with all that belongs to
// it, and comes back as it is; a request does not go round and round.
func TestForwarding(t *testing.T) {
	o := apiserver.Options{Logger: discard()}
	var seen *http.Request
	atOwner := apiserver.New(&fake{err: cdc.ErrChangefeedExists}, o)
	owner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r; atOwner.ServeHTTP(w, r) }))
	defer owner.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	f := &fake{owner: cdc.CaptureInfo{ID: otherID, Address: owner.Listener.Addr().String()}}
	h := apiserver.New(f, o)
	a := do(t, h, "POST", "/api/v1/changefeeds?x=1", `{"changefeed_id":"a","sink_uri":"x://"}`, func(r *http.Request) { r.Header.Set("X-Mine", "yes") })
	wantError(t, "create", a, 400, "CDC:ErrChangeFeedAlreadyExists")
	if seen.Header.Get("TiCDC-ForwardFromCapture") != captureID || seen.Header.Get("X-Mine") != "yes" || seen.URL.RawQuery != "x=1" {
		t.Errorf("the owner saw %s %v", seen.URL, seen.Header)
	}
	seen = nil
	if a := do(t, h, "GET", "/api/v1/status", ""); a.status != 200 || seen != nil {
		t.Errorf("status is not local: %v", a)
	}
	loop := httptest.NewServer(nil)
	f.owner.Address = loop.Listener.Addr().String()
	hops := 0
	loop.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hops++; h.ServeHTTP(w, r) })
	wantError(t, "loop", do(t, h, "GET", "/api/v1/captures", ""), 500, "ErrRequestForwardErr")
	if hops != 2 {
		t.Errorf("passed on %d times, want 2", hops)
	}
	loop.Close()
	wantError(t, "nobody there", do(t, h, "GET", "/api/v1/captures", ""), 500, "ErrRequestForwardErr")
	// A process that works alone answers whatever the headers say.
	alone := apiserver.New(&fake{}, o)
	if a := do(t, alone, "GET", "/api/v1/captures", "", func(r *http.Request) {
		r.Header.Set("TiCDC-ForwardFromCapture", otherID)
		r.Header.Set("TiCDC-ForwardTimes", "9")
	}); a.status != 200 {
		t.Error(a)
	}
}

// TestClients lets a hundred clients loose on ten changefeeds: whatever they do at
// once, each answer is one that it could be alone.
func TestClients(t *testing.T) {
	d := newDaemon(t)
	doc := loadDescription(t)
	table := d.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey())
	table.Insert(1)
	allowed := map[string]bool{
		"CDC:ErrChangeFeedAlreadyExists": true, "CDC:ErrChangeFeedNotExists": true, "CDC:ErrChangefeedUpdateRefused": true,
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var group sync.WaitGroup
	for client := range 100 {
		rng := rand.New(rand.NewPCG(seed, uint64(client)))
		group.Go(func() {
			for range 8 {
				path := fmt.Sprintf("/api/v1/changefeeds/f%d", rng.IntN(10))
				method, body := "GET", ""
				switch rng.IntN(8) {
				case 0, 1:
					method, body = "POST", fmt.Sprintf(`{"changefeed_id":%q,"sink_uri":"blackhole://"}`, path[len("/api/v1/changefeeds/"):])
					path = "/api/v1/changefeeds"
				case 2:
					method, path = "POST", path+"/pause"
				case 3:
					method, path = "POST", path+"/resume"
				case 4:
					method, body = "PUT", fmt.Sprintf(`{"mounter_worker_num":%d}`, 1+rng.IntN(100))
				case 5:
					method = "DELETE"
				case 6:
					path = "/api/v1/changefeeds?state=all"
				}
				a, err := d.send(method, path, body)
				if err != nil {
					t.Error(err)
					return
				}
				doc.check(t, method, path, a)
				var e struct {
					Code string `json:"error_code"`
				}
				if a.status >= 400 && (json.Unmarshal([]byte(a.body), &e) != nil || !allowed[e.Code]) {
					t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
				}
			}
		})
	}
	group.Wait()
	for i := range 10 {
		path := fmt.Sprintf("/api/v1/changefeeds/f%d", i)
		if a := d.call("DELETE", path, ""); a.status != 202 && a.status != 400 {
			t.Errorf("%s: %v", path, a)
		}
	}
	if a := d.call("GET", "/api/v1/changefeeds?state=all", ""); a.body != "[]" {
		t.Errorf("left: %s", a.body)
	}
}

// FuzzBodies sends anything to whatever reads a body.
func FuzzBodies(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `{"changefeed_id":"a","sink_uri":"blackhole://","start_ts":1}`, `{"sink_config":null}`,
		`{"sink_config":{"dispatchers":[{"matcher":["test1.*"],"dispatcher":"rowid"}],"protocal":"default"}}`,
		`{"capture_id":"a","table_id":9223372036854775808}`, `{"log_level":"debug"}`, `{"changefeed_error_stuck_duration":"x"}`,
		`{"filter":{"event-filters":[{}]},"consistent":{"level":{}}}`, "{\"changefeed_id\":\"\x00\xff\"}", `{"target_ts":-1}`, `{"target_ts":1e400}`,
		strings.Repeat(`{"filter":`, 20000),
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		h := apiserver.New(&fake{}, apiserver.Options{Logger: discard(), SetLogLevel: func(slog.Level) {}})
		for _, call := range [][2]string{
			{"POST", "/api/v1/changefeeds"},
			{"PUT", "/api/v1/changefeeds/a"},
			{"POST", "/api/v1/changefeeds/a/tables/move_table"},
			{"PUT", "/api/v1/captures/drain"},
			{"POST", "/api/v1/log"},
			{"POST", "/admin/log"},
		} {
			a := do(t, h, call[0], call[1], body)
			if a.status == 200 || a.status == 202 {
				continue
			}
			wantError(t, call[1], a, 400, "CDC:ErrAPIInvalidParam")
		}
	})
}
