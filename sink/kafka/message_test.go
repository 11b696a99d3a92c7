package kafka_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
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

// TestCompression: batches of every codec can be read by another client.
func TestCompression(t *testing.T) {
	for _, c := range []kafkago.Compression{0, kafkago.Gzip, kafkago.Snappy, kafkago.Lz4, kafkago.Zstd} {
		t.Run(c.String(), func(t *testing.T) {
			topic := newTopicName(t)
			createTopic(t, admin(t, broker.addrs...), topic, 3)
			cfg := config(t, topic)
			cfg.Compression, cfg.Dispatcher = c, byKey(t, topic)
			s := open(t, cfg)
			w := newWorkload(1, seeded(t), 5)
			for _, rows := range w.batches {
				if err := s.WriteRows(t.Context(), rows); err != nil {
					t.Fatal(err)
				}
			}
			verify(t, topic, true, w)
		})
	}
}

// TestLargeMessages: a row that is larger than the topic takes, between two that are not.
func TestLargeMessages(t *testing.T) {
	folder := t.TempDir()
	tests := []struct {
		name, query string
		want        string // in the error, "" for none
	}{
		{"refused", "", "max-message-bytes"},
		{"handle key only", "&large-message-handle-option=handle-key-only", ""},
		{"claim check", "&large-message-handle-option=claim-check&claim-check-storage-uri=file://" + folder, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			topic := newTopicName(t)
			createTopic(t, admin(t, broker.addrs...), topic, 1, kafkago.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "5000"})
			s := openURI(t, topic, "?protocol=canal-json&enable-tidb-extension=true"+tt.query, sink.Options{})
			table := item(1)
			rows := []*event.RowChanged{put(table, 10, 1, "small"), put(table, 20, 1, strings.Repeat("x", 6000)), put(table, 30, 1, "small again")}
			err := s.WriteRows(t.Context(), rows)
			if tt.want != "" {
				if !errors.Is(err, sink.ErrMessageTooLarge) || !sink.IsPermanent(err) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "shop.item1") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []map[string]any
			for _, r := range readAll(t, broker.addrs, topic)[0] {
				var m map[string]any
				if err := json.Unmarshal(r.Value, &m); err != nil {
					t.Fatal(err)
				}
				got = append(got, m)
			}
			if len(got) != 3 {
				t.Fatalf("got %d messages, want 3", len(got))
			}
			extension, _ := got[1]["_tidb"].(map[string]any)
			if extension["commitTs"] != 20.0 {
				t.Errorf("the second message is %v", got[1])
			}
			location, isClaim := extension["claimCheckLocation"].(string)
			if isClaim != (tt.name == "claim check") || !isClaim && extension["onlyHandleKey"] != true {
				t.Errorf("the second message says %v", extension)
			}
			if isClaim {
				checkClaim(t, location)
			}
		})
	}
}

// checkClaim: the stored message is whole.
func checkClaim(t *testing.T, location string) {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(u.Path)
	if err != nil {
		t.Fatal(err)
	}
	var stored struct{ Key, Value []byte }
	if err := json.Unmarshal(content, &stored); err != nil || !strings.Contains(string(stored.Value), strings.Repeat("x", 6000)) {
		t.Errorf("the stored message is %.100q, %v", content, err)
	}
}

// openURI opens what a changefeed would.
func openURI(t testing.TB, topic, query string, o sink.Options) sink.Sink {
	t.Helper()
	openers := sink.Openers{"kafka": kafka.Open}
	s, closer, err := openers.Open(t.Context(), "kafka://"+strings.Join(broker.addrs, ",")+"/"+topic+query, sink.Config{Changefeed: "f", Options: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestLimitLowered: a topic that takes less than it did when it was opened gets smaller batches.
func TestLimitLowered(t *testing.T) {
	realBroker(t)
	topic := newTopicName(t)
	client := admin(t, broker.addrs...)
	createTopic(t, client, topic, 1)
	s := open(t, config(t, topic))
	w := newWorkload(1, seeded(t), 20)
	for i, rows := range w.batches {
		if i == 5 {
			setTopic(t, client, topic, "max.message.bytes", "1000")
		}
		if err := s.WriteRows(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
	}
	verify(t, topic, true, w)
}

// TestMissingTopics: topics are made, or not, as configured.
func TestMissingTopics(t *testing.T) {
	topic := newTopicName(t)
	cfg := config(t, topic)
	cfg.NoTopicCreation = true
	refused := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !sink.IsPermanent(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a permanent error with %q", what, err, want)
		}
	}
	_, err := kafka.New(t.Context(), cfg)
	refused("default topic", err, "auto-create-topic")

	cfg = config(t, topic)
	cfg.PartitionNum = 5
	cfg.Dispatcher, err = dispatcher.New(dispatcher.Config{
		DefaultTopic: topic, Rules: []dispatcher.Rule{{Matcher: []string{"shop.*"}, Topic: topic + "_{schema}_{table}"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg)
	if err := s.WriteRows(t.Context(), []*event.RowChanged{put(item(7), 10, 1, "x")}); err != nil {
		t.Fatal(err)
	}
	res, err := admin(t, broker.addrs...).Metadata(t.Context(), &kafkago.MetadataRequest{Topics: []string{topic, topic + "_shop_item7"}})
	if err != nil || len(res.Topics[0].Partitions) != 5 || len(res.Topics[1].Partitions) != 5 {
		t.Errorf("topics are %+v, %v; want 5 partitions each", res, err)
	}

	cfg.NoTopicCreation = true
	err = open(t, cfg).WriteRows(t.Context(), []*event.RowChanged{put(item(8), 10, 1, "x")})
	refused("a table's topic", err, topic+"_shop_item8")

	cfg.PartitionNum = 6
	_, err = kafka.New(t.Context(), cfg)
	refused("more partitions than there are", err, "partition-num")
	if broker.real != nil {
		cfg = config(t, newTopicName(t))
		cfg.ReplicationFactor = 3
		_, err = kafka.New(t.Context(), cfg)
		refused("more replicas than brokers", err, "replication-factor")
	}
}

// TestBroadcast: DDL and watermarks go to the partitions that they are for.
func TestBroadcast(t *testing.T) {
	for _, firstOnly := range []bool{false, true} {
		topic := newTopicName(t)
		cfg := config(t, topic)
		cfg.PartitionNum, cfg.DDLToFirstPartition = 3, firstOnly
		var err error
		cfg.Dispatcher, err = dispatcher.New(dispatcher.Config{
			DefaultTopic: topic, Rules: []dispatcher.Rule{{Matcher: []string{"shop.item2"}, Topic: topic + "_two"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, cfg)
		watermark := func(ts event.Ts) {
			t.Helper()
			if err := s.WriteCheckpoint(t.Context(), ts); err != nil {
				t.Fatal(err)
			}
		}
		watermark(1) // no table yet: the default topic
		two := item(2)
		create := &event.DDL{CommitTs: 5, Type: event.DDLCreateTable, Query: "CREATE TABLE item2", Schema: "shop", Table: two, Changes: []event.TableChange{{After: two}}}
		if err := s.WriteDDL(t.Context(), create); err != nil {
			t.Fatal(err)
		}
		watermark(6) // the table's topic only
		if err := s.WriteRows(t.Context(), []*event.RowChanged{put(item(1), 10, 1, "x")}); err != nil {
			t.Fatal(err)
		}
		watermark(11) // both
		drop := &event.DDL{CommitTs: 15, Type: event.DDLDropTable, Query: "DROP TABLE item2", Schema: "shop", PreTable: two, Changes: []event.TableChange{{Before: two}}}
		if err := s.WriteDDL(t.Context(), drop); err != nil {
			t.Fatal(err)
		}
		watermark(16)
		want := map[string][]string{
			topic:          {"watermark 1", "watermark 11", "watermark 16"},
			topic + "_two": {"CREATE TABLE item2", "watermark 6", "watermark 11", "DROP TABLE item2"},
		}
		for name, want := range want {
			all := readAll(t, broker.addrs, name)
			for p := range int32(3) {
				var got []string
				for _, m := range decode(t, all[p]) {
					switch {
					case m.DDL != "":
						got = append(got, m.DDL)
					case m.Watermark > 0:
						got = append(got, fmt.Sprintf("watermark %d", m.Watermark))
					}
				}
				want := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return firstOnly && p > 0 && strings.Contains(s, "TABLE") })
				if !slices.Equal(got, want) {
					t.Errorf("DDL to the first only is %t: partition %d of %s has %q, want %q", firstOnly, p, name, got, want)
				}
			}
		}
	}
}

// TestWatermarksOfAllTables: topics get watermarks for tables that do not change, as
// long as the changefeed follows them.
func TestWatermarksOfAllTables(t *testing.T) {
	topic := newTopicName(t)
	cfg := config(t, topic)
	cfg.PartitionNum = 2
	var err error
	cfg.Dispatcher, err = dispatcher.New(dispatcher.Config{
		DefaultTopic: topic, Rules: []dispatcher.Rule{{Matcher: []string{"shop.*"}, Topic: topic + "_{table}"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg)
	for i, tables := range [][]*event.TableInfo{{item(1), item(2)}, {item(2)}, {}} {
		if err := s.WriteTables(t.Context(), tables); err != nil {
			t.Fatal(err)
		}
		ts := event.Ts(10*i + 10)
		if err := s.WriteRows(t.Context(), []*event.RowChanged{put(item(2), ts, 1, "x")}); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteCheckpoint(t.Context(), ts); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string][]event.Ts{topic + "_item1": {10}, topic + "_item2": {10, 20}, topic: {30}} {
		for p, records := range readAll(t, broker.addrs, name) {
			var got []event.Ts
			for _, m := range decode(t, records) {
				if m.Watermark > 0 {
					got = append(got, m.Watermark)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("partition %d of %s has watermarks %v, want %v", p, name, got, want)
			}
		}
	}
}

// TestDDLTopics: a DDL goes to the topics of the tables by their former names, one of a
// database to the default topic.
func TestDDLTopics(t *testing.T) {
	topic := newTopicName(t)
	cfg := config(t, topic)
	cfg.PartitionNum = 1
	var err error
	cfg.Dispatcher, err = dispatcher.New(dispatcher.Config{
		DefaultTopic: topic, Rules: []dispatcher.Rule{{Matcher: []string{"shop.*"}, Topic: topic + "_{table}"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg)
	change := func(from, to int64) event.TableChange { return event.TableChange{Before: item(from), After: item(to)} }
	for i, ddl := range []*event.DDL{
		{Type: event.DDLCreateSchema, Query: "CREATE DATABASE shop", Schema: "shop"},
		{Type: event.DDLRenameTables, Query: "RENAME TABLE item1 TO item3, item2 TO item4", Changes: []event.TableChange{change(1, 3), change(2, 4)}},
		{Type: event.DDLDropSchema, Query: "DROP DATABASE shop", Schema: "shop", Changes: []event.TableChange{{Before: item(3)}, {Before: item(4)}}},
	} {
		ddl.CommitTs = event.Ts(10 * i)
		if err := s.WriteDDL(t.Context(), ddl); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string][]string{
		topic:            {"CREATE DATABASE shop", "DROP DATABASE shop"},
		topic + "_item1": {"RENAME TABLE item1 TO item3, item2 TO item4"},
		topic + "_item2": {"RENAME TABLE item1 TO item3, item2 TO item4"},
	} {
		var got []string
		for _, m := range decode(t, readAll(t, broker.addrs, name)[0]) {
			got = append(got, m.DDL)
		}
		if !slices.Equal(got, want) {
			t.Errorf("topic %s has %q, want %q", name, got, want)
		}
	}
}

// TestSplitUpdates: updates of keys become two, in front of which all deletes go.
func TestSplitUpdates(t *testing.T) {
	table := item(1)
	update := func(ts event.Ts, from, to int64) *event.RowChanged {
		row := put(table, ts, to, "new")
		row.PreColumns = []event.Value{event.Int64Value(from), event.TextValue("old")}
		return row
	}
	rows := []*event.RowChanged{
		put(table, 10, 5, "x"),
		put(table, 20, 2, "takes the key of the next"), update(20, 2, 1), update(20, 7, 7),
		update(30, 5, 5),
	}
	tests := []struct {
		raw  bool
		want []string
	}{
		{false, []string{"10 insert 5", "20 delete 2", "20 insert 2", "20 insert 1", "20 update 7", "30 update 5"}},
		{true, []string{"10 insert 5", "20 insert 2", "20 update 1", "20 update 7", "30 update 5"}},
	}
	for _, tt := range tests {
		topic := newTopicName(t)
		cfg := config(t, topic)
		cfg.PartitionNum, cfg.RawUpdates = 1, tt.raw
		if err := open(t, cfg).WriteRows(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range decode(t, readAll(t, broker.addrs, topic)[0]) {
			got = append(got, fmt.Sprint(m.CommitTs, " ", m.Kind, " ", m.Row["id"]))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("raw is %t: got %q, want %q", tt.raw, got, tt.want)
		}
	}
}

// TestColumnSelectors: only some columns are delivered, the handle key always.
func TestColumnSelectors(t *testing.T) {
	topic := newTopicName(t)
	cfg := config(t, topic)
	cfg.PartitionNum = 1
	cfg.ColumnSelectors = []sink.ColumnSelector{
		{Matcher: []string{"shop.item1"}, Columns: []string{"*", "!N*"}},
		{Matcher: []string{"shop.item2"}, Columns: []string{"name"}},
		{Matcher: []string{"shop.*"}, Columns: []string{"id", "na?e"}},
	}
	s := open(t, cfg)
	for _, id := range []int64{1, 3} {
		if err := s.WriteRows(t.Context(), []*event.RowChanged{put(item(id), 10, 1, "x")}); err != nil {
			t.Fatal(err)
		}
	}
	got := decode(t, readAll(t, broker.addrs, topic)[0])
	if len(got) != 2 || len(got[0].Row) != 1 || got[0].Row["id"] != "1" || got[1].Row["name"] != "x" {
		t.Errorf("got %+v", got)
	}
	err := s.WriteRows(t.Context(), []*event.RowChanged{put(item(2), 10, 1, "x")})
	if err == nil || !sink.IsPermanent(err) || !strings.Contains(err.Error(), "handle key") {
		t.Errorf("a selector without the handle key: got %v", err)
	}
	cfg.ColumnSelectors = []sink.ColumnSelector{{Matcher: []string{"shop.*"}, Columns: []string{"[a"}}}
	if _, err := kafka.New(t.Context(), cfg); err == nil || !sink.IsPermanent(err) {
		t.Errorf("a malformed pattern: got %v", err)
	}
}

// TestSimpleBootstrap: a table's schema comes before its rows, in every partition.
func TestSimpleBootstrap(t *testing.T) {
	topic := newTopicName(t)
	s := openURI(t, topic, "?protocol=simple&partition-num=2", sink.Options{})
	table := item(1)
	for ts := event.Ts(10); ts < 50; ts += 10 {
		if err := s.WriteRows(t.Context(), []*event.RowChanged{put(table, ts, 1, "x")}); err != nil {
			t.Fatal(err)
		}
	}
	rows := 0
	for p, records := range readAll(t, broker.addrs, topic) {
		for i, r := range records {
			var m struct{ Type string }
			if err := json.Unmarshal(r.Value, &m); err != nil {
				t.Fatal(err)
			}
			if (m.Type == "BOOTSTRAP") != (i == 0) {
				t.Errorf("message %d of partition %d is a %s", i, p, m.Type)
			}
			if m.Type == "INSERT" {
				rows++
			}
		}
	}
	if rows != 4 {
		t.Errorf("%d rows, want 4", rows)
	}
}

// TestCheckTable: rules that do not fit a table are told before there is a row of it, and
// by the row.
func TestCheckTable(t *testing.T) {
	topic := newTopicName(t)
	table := item(1)
	var fits *dispatcher.TableError
	for name, tt := range map[string]struct {
		options sink.Options
		is      func(error) bool
	}{
		"index":    {sink.Options{Dispatchers: []sink.DispatchRule{{Matcher: []string{"*.*"}, Partition: "index-value", Index: "no"}}}, func(err error) bool { return errors.As(err, &fits) }},
		"columns":  {sink.Options{Dispatchers: []sink.DispatchRule{{Matcher: []string{"*.*"}, Partition: "columns", Columns: []string{"no"}}}}, func(err error) bool { return errors.As(err, &fits) }},
		"selector": {sink.Options{ColumnSelectors: []sink.ColumnSelector{{Matcher: []string{"*.*"}, Columns: []string{"name"}}}}, func(err error) bool { return errors.Is(err, sink.ErrColumnSelector) }},
		"all well": {sink.Options{}, func(err error) bool { return err == nil }},
	} {
		s := openURI(t, topic, "?protocol=canal-json", tt.options)
		for what, err := range map[string]error{
			"CheckTable": s.(sink.TableChecker).CheckTable(table),
			"WriteRows":  s.WriteRows(t.Context(), []*event.RowChanged{put(table, 10, 1, "x")}),
		} {
			if !tt.is(err) || err != nil && !sink.IsPermanent(err) {
				t.Errorf("%s: %s returns %v", name, what, err)
			}
		}
	}
}

// TestSimpleBootstrapAtStart: send-all-bootstrap-at-start sends the schemas of all tables
// once, of selected columns only, also of tables that do not change.
func TestSimpleBootstrapAtStart(t *testing.T) {
	topic := newTopicName(t)
	all := true
	s := openURI(t, topic, "?protocol=simple&partition-num=2", sink.Options{
		SendAllBootstrapAtStart: &all,
		ColumnSelectors:         []sink.ColumnSelector{{Matcher: []string{"shop.item2"}, Columns: []string{"id"}}},
	})
	tables := []*event.TableInfo{item(1), item(2)}
	for range 2 {
		if err := s.(sink.TablesWriter).WriteTables(t.Context(), tables); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.WriteRows(t.Context(), []*event.RowChanged{put(tables[1], 10, 1, "x")}); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for p, records := range readAll(t, broker.addrs, topic) {
		var got []string
		for _, r := range records {
			var m struct {
				Type        string
				TableSchema struct {
					Table   string
					Columns []any
				}
			}
			if err := json.Unmarshal(r.Value, &m); err != nil {
				t.Fatal(err)
			}
			if m.Type == "INSERT" {
				rows++
				continue
			}
			got = append(got, fmt.Sprintf("%s %s %d", m.Type, m.TableSchema.Table, len(m.TableSchema.Columns)))
		}
		if want := []string{"BOOTSTRAP item1 2", "BOOTSTRAP item2 1"}; !slices.Equal(got, want) {
			t.Errorf("partition %d has %q, want %q", p, got, want)
		}
	}
	if rows != 1 {
		t.Errorf("%d rows, want 1", rows)
	}
}

// TestCloseDuringWrite: closing ends a call that waits for a broker.
func TestCloseDuringWrite(t *testing.T) {
	way := &network{refused: make(chan struct{}, 1)}
	topic := newTopicName(t)
	cfg := config(t, topic)
	cfg.Dial = way.dial
	s, err := kafka.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	way.down.Store(true)
	way.cut()
	done := make(chan error, 1)
	go func() { done <- s.WriteRows(t.Context(), []*event.RowChanged{put(item(1), 10, 1, "x")}) }()
	<-way.refused
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("the write succeeded")
	}
}

// oddEncoder writes every combination of keys and values.
type oddEncoder struct{ encoder }

func (oddEncoder) AppendRows(dst *codec.Messages, _ string, _ []*event.RowChanged) error {
	for _, m := range oddMessages() {
		keyBytes, valueBytes := len(m[0]), len(m[1])
		if m[0] == nil {
			keyBytes = -1
		}
		if m[1] == nil {
			valueBytes = -1
		}
		dst.Append(append(append(dst.Buffer(), m[0]...), m[1]...), keyBytes, valueBytes, 1, 1)
	}
	return nil
}

func oddMessages() (out [][2][]byte) {
	texts := [][]byte{nil, {}, {0}, bytes.Repeat([]byte("k"), 63), bytes.Repeat([]byte("k"), 64), bytes.Repeat([]byte("v"), 8191), bytes.Repeat([]byte("v"), 70000)}
	for _, key := range texts {
		for _, value := range texts {
			out = append(out, [2][]byte{key, value})
		}
	}
	return out
}

// TestOddMessages: missing and empty keys and values, and lengths around the borders
// of their encoding, arrive as they are, with any acknowledgement.
func TestOddMessages(t *testing.T) {
	for _, acks := range []kafka.Acks{kafka.AcksAll, kafka.AcksLeader, kafka.AcksNone} {
		for _, c := range []kafkago.Compression{0, kafkago.Zstd} {
			topic := newTopicName(t)
			cfg := config(t, topic)
			cfg.PartitionNum, cfg.Acks, cfg.Compression = 1, acks, c
			cfg.NewEncoder = func(int) (codec.Encoder, error) { return oddEncoder{}, nil }
			s := open(t, cfg)
			if err := s.WriteRows(t.Context(), []*event.RowChanged{put(item(1), 1, 1, "")}); err != nil {
				t.Fatal(err)
			}
			want := oddMessages()
			got := readAll(t, broker.addrs, topic)[0]
			for acks == kafka.AcksNone && len(got) < len(want) && t.Context().Err() == nil {
				got = readAll(t, broker.addrs, topic)[0] // nobody said when they would be there
			}
			if len(got) != len(want) {
				t.Fatalf("acks %d, compression %s: got %d messages, want %d", acks, c, len(got), len(want))
			}
			for i, r := range got {
				same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
				if !same(r.Key, want[i][0]) || !same(r.Value, want[i][1]) {
					t.Errorf("acks %d, compression %s: message %d is %.20q %.20q, want %.20q %.20q", acks, c, i, r.Key, r.Value, want[i][0], want[i][1])
				}
			}
		}
	}
}

// TestWhyNotReached: an attempt that the end of all time has cut off does not hide why
// the ones before it failed.
func TestWhyNotReached(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	silent := make(chan error, 1)
	time.AfterFunc(2*time.Second, func() { // it never answers
		var err error
		l, err = net.Listen("tcp", addr)
		silent <- err
	})
	_, _, err = sink.Openers{"kafka": kafka.Open}.Open(ctx, "kafka://"+addr+"/topic?dial-timeout=1m", sink.Config{})
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want that the connection was refused", err)
	}
	if err := <-silent; err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
