package cdc_test

import (
	"encoding/json"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/sink"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestSpecFromTOML reads a file of TiCDC strictly, and back from the JSON that is stored.
func TestSpecFromTOML(t *testing.T) {
	const file = `
memory-quota = 1073741824
case-sensitive = false
force-replicate = true
ignore-ineligible-table = false
check-gc-safe-point = true
enable-sync-point = false
sync-point-interval = "5m"
sync-point-retention = "1h"
sql-mode = "ONLY_FULL_GROUP_BY"
changefeed-error-stuck-duration = "20m"
bdr-mode = false

[mounter]
worker-num = 8

[filter]
rules = ["*.*", "!test.*"]
ignore-txn-start-ts = [1, 2]

[[filter.event-filters]]
matcher = ["test.worker"]
ignore-event = ["insert"]
ignore-sql = ["^drop", "add column"]
ignore-insert-value-expr = "price > 1000 and origin = 'no where'"

[scheduler]
enable-table-across-nodes = false
region-threshold = 100_000

[sink]
protocol = "canal-json"
dispatchers = [{matcher = ["test1.*"], topic = "{schema}", partition = "ts"}, {matcher = ["test6.*"], dispatcher = "rowid"}]
schema-registry = "http://user:pw@127.0.0.1:8081"

[sink.kafka-config]
sasl-password = "secret"
partition-num = 3

[consistent]
level = "none"
max-log-size = 64

[integrity]
integrity-check-level = "none"
corruption-handle-level = "warn"
`
	var spec cdc.Spec
	decoder := toml.NewDecoder(strings.NewReader(file))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&spec); err != nil {
		t.Fatal(err)
	}
	if time.Duration(spec.ErrorStuckDuration) != 20*time.Minute || spec.Mounter.WorkerNum != 8 || !spec.ForceReplicate ||
		len(spec.Filter.Rules) != 2 || spec.Filter.IgnoreTxnStartTs[1] != 2 || spec.Filter.EventFilters[0].IgnoreSQL[1] != "add column" ||
		spec.Sink.Dispatchers[1].Dispatcher != "rowid" || *spec.Sink.Kafka.PartitionNum != 3 {
		t.Errorf("%+v", spec)
	}
	stored, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	var again cdc.Spec
	if err := json.Unmarshal(stored, &again); err != nil {
		t.Fatal(err)
	}
	if second, err := json.Marshal(again); err != nil || string(second) != string(stored) {
		t.Errorf("stored, loaded and stored again:\n%s\n%s\n%v", stored, second, err)
	}
	shown, err := json.Marshal(spec.Redacted())
	if err != nil || strings.Contains(string(shown), "secret") || strings.Contains(string(shown), "pw@") {
		t.Errorf("shown: %s", shown)
	}
	if spec.Sink.Kafka.SASLPassword != "secret" {
		t.Error("Redacted changed the Spec itself")
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{`"1h30m"`: 90 * time.Minute, `1000`: 1000, `null`: 0, `0`: 0} {
		var d cdc.Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(d), err)
		}
	}
	for _, text := range []string{`"soon"`, `1.5`, `true`, `{}`} {
		if err := json.Unmarshal([]byte(text), new(cdc.Duration)); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}

// TestSpecMasksSecrets fills every text in a Spec: what sounds like a secret must not
// be shown, so that an option that is added later cannot be forgotten.
func TestSpecMasksSecrets(t *testing.T) {
	const canary = "canary-7f3a"
	secret := regexp.MustCompile(`(?i)password|secret|token|accesskey`)
	plain := regexp.MustCompile(`(?i)mechanism|scopes`)
	spec := cdc.Spec{SinkURI: "kafka://u:" + canary + "@h/t?sasl-password=" + canary}
	spec.Sink.SchemaRegistry = "https://u:" + canary + "@h/"
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		for i := range v.NumField() {
			f, name := v.Field(i), v.Type().Field(i).Name
			switch {
			case f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct:
				f.Set(reflect.New(f.Type().Elem()))
				fill(f.Elem())
			case f.Kind() == reflect.String && secret.MatchString(name) && !plain.MatchString(name):
				f.SetString(canary + name)
			case f.Kind() == reflect.String && strings.HasSuffix(name, "URI"):
				f.SetString("s3://bucket/?secret-access-key=" + canary + name)
			}
		}
	}
	fill(reflect.ValueOf(&spec.Sink).Elem())
	if spec.Sink.Kafka.GlueRegistry.SecretAccessKey == "" {
		t.Fatal("nothing was filled")
	}
	shown, err := json.Marshal(spec.Redacted())
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.Index(string(shown), canary); i >= 0 {
		t.Errorf("shown: %s", shown[max(0, i-40):min(len(shown), i+60)])
	}
}

func TestRedactedShowsWhatIsNoSecret(t *testing.T) {
	spec := cdc.Spec{ID: "a", SinkURI: "blackhole://", Sink: sink.Options{Protocol: "avro"}}
	if got := spec.Redacted(); !reflect.DeepEqual(got, spec) {
		t.Errorf("%+v, want %+v", got, spec)
	}
}
