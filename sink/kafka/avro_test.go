package kafka_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/kafkabroker"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec/avro"
	"github.com/tidbcdc/tidbcdc/sink/codec/avro/registry"
)

// schemaRegistry returns the URL of a real registry, or of a stand-in where there is none.
func schemaRegistry(t *testing.T) string {
	t.Helper()
	if _, _, err := kafkabroker.FindRegistry(); err != nil {
		if kafkabroker.Required() {
			t.Fatal(err)
		}
		t.Log("registry: stand-in, because", err)
		fake := srfake.New()
		t.Cleanup(fake.Close)
		return fake.URL()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := kafkabroker.StartRegistry(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Log("registry: Apicurio")
	return r.URL
}

// TestAvro writes rows of two versions of a table, whose schemas the registry then knows.
func TestAvro(t *testing.T) {
	url := schemaRegistry(t)
	topic := newTopicName(t)
	options := sink.Options{SchemaRegistry: url, Dispatchers: []sink.DispatchRule{{Matcher: []string{"*.*"}, Topic: topic + "_{schema}_{table}"}}}
	s := openURI(t, topic, "?protocol=avro&enable-tidb-extension=true&partition-num=1", options)
	table := item(1)
	if err := s.WriteRows(t.Context(), []*event.RowChanged{put(table, 10, 1, "x")}); err != nil {
		t.Fatal(err)
	}
	wider := item(1)
	note := wider.Columns[1]
	note.ID, note.Name = 3, "note"
	wider.Columns = append(wider.Columns, note)
	wider.UpdateTs = 15
	row := put(wider, 20, 1, "y")
	row.Columns = append(row.Columns, event.TextValue("new"))
	gone := put(wider, 30, 1, "y")
	gone.Columns, gone.PreColumns = nil, row.Columns
	if err := s.WriteRows(t.Context(), []*event.RowChanged{row, gone}); err != nil {
		t.Fatal(err)
	}

	lookup, err := registry.New(registry.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lookup.Close() })
	decoder := avro.NewDecoder(avro.DecoderConfig{}, lookup)
	var got []string
	for _, r := range readAll(t, broker.addrs, topic+"_shop_item1")[0] {
		if err := decoder.Prepare(t.Context(), r.Key, r.Value); err != nil {
			t.Fatal(err)
		}
		events, err := decoder.Decode(r.Key, r.Value)
		if err != nil || len(events) != 1 {
			t.Fatal(events, err)
		}
		text := events[0].Row.Kind().String()
		for _, v := range events[0].Row.Image() {
			text += " " + v.Text()
		}
		got = append(got, text)
	}
	if len(got) != 3 || got[0] != "insert 1 x" || got[1] != "insert 1 y new" || !strings.HasPrefix(got[2], "delete 1") {
		t.Errorf("got %q", got)
	}
}
