package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/canal"
	"github.com/tidbcdc/tidbcdc/sink/codec/canaljson"
	"github.com/tidbcdc/tidbcdc/sink/codec/debezium"
	"github.com/tidbcdc/tidbcdc/sink/codec/maxwell"
	"github.com/tidbcdc/tidbcdc/sink/codec/openprotocol"
	"github.com/tidbcdc/tidbcdc/sink/kafka"
	"github.com/tidbcdc/tidbcdc/sink/kafka/consumer"
)

// orders has the columns id, its primary key, and v.
var orders = &event.TableInfo{
	ID: 42, Schema: "shop", Table: "orders", PKIsHandle: true, HandleKey: []int{0},
	Columns: []event.ColumnInfo{
		{ID: 1, Name: "id", Type: event.TypeLong, Flag: event.FlagNotNull | event.FlagPrimaryKey, Charset: "binary"},
		{ID: 2, Name: "v", Type: event.TypeVarchar, Length: 100, Charset: "utf8mb4"},
	},
}

func image(id int64, v string) []event.Value {
	return []event.Value{event.Int64Value(id), event.TextValue(v)}
}

func insert(ts event.Ts, id int64, v string) *event.RowChanged {
	return &event.RowChanged{StartTs: ts - 1, CommitTs: ts, Table: orders, PhysicalTableID: 42, Key: []byte{byte(id)}, Columns: image(id, v)}
}

func remove(ts event.Ts, id int64) *event.RowChanged {
	return &event.RowChanged{StartTs: ts - 1, CommitTs: ts, Table: orders, PhysicalTableID: 42, Key: []byte{byte(id)}, PreColumns: image(id, "v")}
}

// message is a row, a DDL or a watermark for a partition.
type message struct {
	partition int32
	what      any
}

// send encodes messages and puts them where they belong, one after the other.
func send(t *testing.T, p *kgo.Client, e codec.Encoder, messages ...message) {
	t.Helper()
	for _, m := range messages {
		for _, r := range records(t, e, m) {
			if err := p.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func records(t *testing.T, e codec.Encoder, m message) []*kgo.Record {
	t.Helper()
	var ms codec.Messages
	var err error
	switch what := m.what.(type) {
	case *event.RowChanged:
		err = e.AppendRows(&ms, "", []*event.RowChanged{what})
	case *event.DDL:
		err = e.AppendDDL(&ms, "", what)
	case event.Ts:
		err = e.AppendWatermark(&ms, "", what)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []*kgo.Record
	for i := range ms.Len() {
		out = append(out, &kgo.Record{Partition: m.partition, Key: slices.Clone(ms.At(i).Key), Value: slices.Clone(ms.At(i).Value)})
	}
	return out
}

func check(t *testing.T, r *recorder, want ...string) {
	t.Helper()
	if !slices.Equal(r.calls, want) {
		t.Errorf("delivered\n%s\nwant\n%s", strings.Join(r.calls, "\n"), strings.Join(want, "\n"))
	}
}

// TestWatermarks: rows wait for the slowest partition, come in commit order with a DDL
// between them once, and repeats are dropped.
func TestWatermarks(t *testing.T) {
	p := producer(t, "watermarks", 2)
	e := openprotocol.NewEncoder(openprotocol.Config{})
	ddl := &event.DDL{CommitTs: 30, Type: event.DDLAddColumn, Query: "ALTER TABLE orders ADD COLUMN n INT", Schema: "shop", PreTable: orders, Table: orders}
	send(
		t, p, e,
		message{0, insert(10, 1, "a")}, message{0, insert(40, 1, "c")}, message{0, ddl}, message{0, event.Ts(50)},
		message{0, insert(10, 1, "a")}, message{0, ddl}, message{0, insert(70, 8, "late")}, message{0, event.Ts(65)},
		message{1, insert(20, 2, "b")}, message{1, insert(20, 2, "b")}, message{1, event.Ts(25)}, message{1, insert(20, 2, "b")},
		message{1, ddl}, message{1, insert(40, 3, "d")}, message{1, remove(40, 2)}, message{1, event.Ts(60)},
	)
	cfg := source(t, "watermarks", "protocol=open-protocol", sink.Options{})
	cfg.TargetTs = 55
	r, st, err := consume(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	// How many steps the watermarks make depends on what an answer holds.
	r.calls = slices.DeleteFunc(r.calls, func(c string) bool { return strings.HasPrefix(c, "checkpoint") && c != "checkpoint 55" })
	got := strings.Join(r.calls, ", ")
	want := "insert 1@10, insert 2@20, ALTER TABLE orders ADD COLUMN n INT@30, delete 2@40, insert 1@40, insert 3@40, checkpoint 55"
	if got != want {
		t.Errorf("delivered %s\nwant      %s", got, want)
	}
	if st.Rows != 5 || st.DDLs != 1 || st.ResolvedTs != 55 || st.Repeats < 4 {
		t.Errorf("status %+v", st)
	}
	for _, row := range r.rows {
		if row.Table.ID == 0 || row.PhysicalTableID != row.Table.ID || len(row.Key) == 0 || row.Table != r.rows[0].Table && len(r.ddls) == 0 {
			t.Errorf("a row of table %d, %d with the key %x", row.Table.ID, row.PhysicalTableID, row.Key)
		}
	}
}

// TestTruncateOfDebezium: a message that lists no change of a table empties it all
// the same.
func TestTruncateOfDebezium(t *testing.T) {
	p := producer(t, "emptied", 1)
	e := debezium.NewEncoder(debezium.Config{TiDBExtension: true})
	ddl := &event.DDL{CommitTs: 3, Type: event.DDLTruncateTable, Query: "TRUNCATE TABLE orders", Schema: "shop", PreTable: orders, Table: orders}
	send(t, p, e, message{0, insert(2, 1, "a")}, message{0, ddl}, message{0, event.Ts(5)})
	cfg := source(t, "emptied", "protocol=debezium&enable-tidb-extension=true", sink.Options{})
	cfg.TargetTs = 5
	r, _, err := consume(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.ddls) != 1 || r.ddls[0].Type != event.DDLTruncateTable || r.ddls[0].Table == nil || r.ddls[0].Table.Name() != "shop.orders" || len(r.ddls[0].Changes) != 1 {
		t.Errorf("got %+v", r.ddls)
	}
}

// TestWithoutWatermarks: rows come as they are, a DDL once.
func TestWithoutWatermarks(t *testing.T) {
	p := producer(t, "arrival", 1)
	e := canal.NewEncoder(canal.Config{})
	ts := func(ms int64) event.Ts { return event.NewTs(time.UnixMilli(ms)) }
	ddl := &event.DDL{CommitTs: ts(3), Type: event.DDLTruncateTable, Query: "TRUNCATE TABLE orders", Schema: "shop", PreTable: orders, Table: orders}
	send(t, p, e, message{0, insert(ts(2), 1, "a")}, message{0, insert(ts(1), 2, "b")}, message{0, ddl}, message{0, ddl}, message{0, insert(ts(4), 3, "c")})
	cfg := source(t, "arrival", "protocol=canal", sink.Options{})
	cfg.UntilEnd, cfg.BatchRows = true, 1
	r, st, err := consume(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	at := func(ms int64) string { return "@" + ts(ms).String() }
	check(t, r, "insert 1"+at(2), "insert 2"+at(1), "TRUNCATE TABLE orders"+at(3), "insert 3"+at(4))
	if st.Repeats != 1 {
		t.Errorf("status %+v", st)
	}
	cfg.UntilEnd, cfg.TargetTs = false, 5
	if _, err := consumer.New(cfg); err == nil || !strings.Contains(err.Error(), "no watermarks") {
		t.Errorf("a target without watermarks: %v", err)
	}
}

// TestCommitted: what a transaction did is there when it has been committed, never when
// it was aborted.
func TestCommitted(t *testing.T) {
	p := producer(t, "committed", 1, kgo.TransactionalID("consumer-test"))
	e := canaljson.NewEncoder(canaljson.Config{TiDBExtension: true})
	ctx := t.Context()
	for i := range 6 {
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		send(t, p, e, message{0, insert(event.Ts(10*i+10), int64(i), "a")}, message{0, insert(event.Ts(10*i+11), int64(i), "b")})
		if err := p.EndTransaction(ctx, kgo.TransactionEndTry(i%2 == 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	send(t, p, e, message{0, event.Ts(100)})
	if err := p.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	cfg := source(t, "committed", "protocol=canal-json&enable-tidb-extension=true", sink.Options{})
	cfg.TargetTs = 100
	r, _, err := consume(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, "insert 1@20, insert 1@21, insert 3@40, insert 3@41, insert 5@60, insert 5@61", "checkpoint 100")
}

// TestKeyChange: an update of the handle key becomes a delete and an insert.
func TestKeyChange(t *testing.T) {
	p := producer(t, "key-change", 1)
	row := insert(10, 2, "a")
	row.PreColumns = image(1, "a")
	send(t, p, openprotocol.NewEncoder(openprotocol.Config{}), message{0, row}, message{0, event.Ts(20)})
	cfg := source(t, "key-change", "protocol=open-protocol", sink.Options{})
	cfg.TargetTs = 20
	cfg.GeneratedColumns = func(context.Context, string, string) ([]string, error) { return []string{"V"}, nil }
	r, _, err := consume(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, "delete 1@10, insert 2@10", "checkpoint 20")
	if table := r.rows[0].Table; !table.Columns[1].Generated() || table.Columns[0].Generated() {
		t.Error("the generated column is not marked")
	}
}

// TestLimit: what waits for a watermark is bounded, and the error says for which.
func TestLimit(t *testing.T) {
	p := producer(t, "limit", 2)
	e := openprotocol.NewEncoder(openprotocol.Config{})
	for i := range 20 {
		send(t, p, e, message{1, insert(event.Ts(10+i), int64(i), strings.Repeat("x", 1000))})
	}
	cfg := source(t, "limit", "protocol=open-protocol", sink.Options{})
	cfg.MaxBufferedBytes = 30_000
	if _, _, err := consume(t, cfg); err == nil || !strings.Contains(err.Error(), "wait for a watermark of partition 0 of topic limit") {
		t.Errorf("got %v", err)
	}
}

// TestLargeMessages reads what the sink made of rows that are too large.
func TestLargeMessages(t *testing.T) {
	dir := t.TempDir()
	long := incompressible()
	for name, query := range map[string]string{
		"claims":     "protocol=open-protocol&large-message-handle-option=claim-check",
		"compressed": "protocol=canal-json&enable-tidb-extension=true&large-message-handle-option=claim-check&large-message-handle-compression=lz4",
		"raw":        "protocol=simple&large-message-handle-option=claim-check",
		"keys":       "protocol=open-protocol&large-message-handle-option=handle-key-only&large-message-handle-compression=snappy",
	} {
		t.Run(name, func(t *testing.T) {
			options := sink.Options{Kafka: &sink.KafkaOptions{LargeMessage: &sink.LargeMessageOptions{
				ClaimCheckStorageURI: "file://" + dir, ClaimCheckRawValue: name == "raw",
			}}}
			topic := "large-" + name
			uri, err := url.Parse("kafka://" + brokers + "/" + topic + "?partition-num=1&max-message-bytes=3000&" + query)
			if err != nil {
				t.Fatal(err)
			}
			out, closer, err := kafka.Open(t.Context(), uri, sink.Config{Options: options, Changefeed: "large"})
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(
				out.WriteRows(t.Context(), []*event.RowChanged{insert(10, 1, "small"), insert(20, 2, long), remove(30, 1)}),
				out.(sink.CheckpointWriter).WriteCheckpoint(t.Context(), 40),
				closer.Close(),
			)
			if err != nil {
				t.Fatal(err)
			}
			cfg := source(t, topic, query, options)
			cfg.TargetTs = 40
			r, _, err := consume(t, cfg)
			if name == "keys" {
				if err == nil || !strings.Contains(err.Error(), "only its handle key") || !strings.Contains(err.Error(), "offset 1") {
					t.Errorf("got %v", err)
				}
				cfg.HandleKeyRows = true
				if r, _, err = consume(t, cfg); err == nil && len(r.rows[1].Columns) != 1 {
					t.Error("a column that was not sent is there")
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(r.calls, ", "); got != "insert 1@10, insert 2@20, delete 1@30, checkpoint 40" {
				t.Errorf("delivered %s", got)
			}
			if name != "keys" && r.rows[1].Columns[1].Text() != long {
				t.Error("the large row is not whole")
			}
		})
	}
}

// incompressible returns text in which nothing repeats.
func incompressible() string {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "%x.", i*i*7919)
	}
	return b.String()
}

// TestSinkErrors: a call that fails is repeated as it was, unless that cannot help.
func TestSinkErrors(t *testing.T) {
	p := producer(t, "sink-errors", 1)
	send(t, p, openprotocol.NewEncoder(openprotocol.Config{}), message{0, insert(10, 1, "a")}, message{0, event.Ts(20)})
	cfg := source(t, "sink-errors", "protocol=open-protocol", sink.Options{})
	cfg.TargetTs = 20
	c, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	failures := 0
	r := &recorder{fail: func() error {
		if failures++; failures < 3 {
			return errors.New("try again")
		}
		return nil
	}}
	if err := c.Run(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	check(t, r, "insert 1@10", "checkpoint 20")
	refusal := errors.New("refused")
	if err := c.Run(t.Context(), &recorder{fail: func() error { return sink.Permanent(refusal) }}); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
}

// TestDDL: the statement tells what the message does not.
func TestDDL(t *testing.T) {
	named := func(name string) *event.TableInfo { return &event.TableInfo{Schema: "shop", Table: name} }
	tests := []struct {
		ddl  event.DDL
		kind event.DDLType
		want string // the changes
	}{
		{event.DDL{Type: event.DDLRenameTable, Query: "RENAME TABLE a TO b, other.c TO shop.d", PreTable: named("a"), Table: named("b")}, event.DDLRenameTables, "shop.a>shop.b other.c>shop.d"},
		{event.DDL{Type: event.DDLRenameTable, Query: "ALTER TABLE a RENAME b", PreTable: named("a"), Table: named("b")}, event.DDLRenameTables, "shop.a>shop.b"},
		{event.DDL{Type: event.DDLDropTable, Query: "DROP TABLE a, b", PreTable: named("b")}, event.DDLDropTable, "shop.b>"},
		{event.DDL{Type: event.DDLDropView, Query: "DROP VIEW a", PreTable: named("a")}, event.DDLDropView, "shop.a>"},
		{event.DDL{Type: event.DDLCreateTable, Query: "CREATE TABLE a (id INT)", Table: named("a")}, event.DDLCreateTable, ">shop.a"},
		{event.DDL{Type: event.DDLAddColumn, Query: "ALTER TABLE a ADD COLUMN x INT", PreTable: named("a"), Table: named("a")}, event.DDLMultiSchemaChange, ""},
		{event.DDL{Type: event.DDLCreateSchema, Query: "CREATE DATABASE shop"}, event.DDLCreateSchema, ""},
		{event.DDL{Type: event.DDLDropSchema, Query: "DROP DATABASE shop"}, event.DDLDropSchema, "other.c> shop.a> shop.b> shop.d>"},
	}
	p := producer(t, "ddl", 1)
	e := canaljson.NewEncoder(canaljson.Config{TiDBExtension: true})
	for i := range tests {
		d := &tests[i].ddl
		d.CommitTs, d.Schema = event.Ts(10+i), "shop"
		send(t, p, e, message{0, d})
	}
	send(t, p, e, message{0, event.Ts(100)})
	cfg := source(t, "ddl", "protocol=canal-json&enable-tidb-extension=true", sink.Options{})
	cfg.TargetTs = 100
	r, _, err := consume(t, cfg)
	if err != nil || len(r.ddls) != len(tests) {
		t.Fatalf("%d DDLs, %v", len(r.ddls), err)
	}
	for i, tt := range tests {
		var changes []string
		for _, c := range r.ddls[i].Changes {
			text := ""
			if c.Before != nil {
				text = c.Before.Name()
			}
			if text += ">"; c.After != nil {
				text += c.After.Name()
			}
			changes = append(changes, text)
		}
		slices.Sort(changes)
		want := strings.Fields(tt.want)
		slices.Sort(want)
		if tt.ddl.Type == event.DDLDropSchema {
			want = slices.DeleteFunc(want, func(s string) bool { return strings.HasPrefix(s, "other.") })
		}
		if r.ddls[i].Type != tt.kind || !slices.Equal(changes, want) {
			t.Errorf("%s: %v, changes %v, want %v, %v", tt.ddl.Query, r.ddls[i].Type, changes, tt.kind, want)
		}
	}
}

// TestRoughTs: calls with rows of one ts, because messages tell seconds only, do not look
// like parts of a transaction: a sink may order what is in one.
func TestRoughTs(t *testing.T) {
	p := producer(t, "rough", 1)
	e := maxwell.NewEncoder(maxwell.Config{})
	ts := event.NewTs(time.UnixMilli(1100))
	gone := insert(ts, 1, "a")
	gone.Columns, gone.PreColumns = nil, gone.Columns
	send(t, p, e, message{0, insert(ts, 1, "a")}, message{0, &event.DDL{CommitTs: ts, Type: event.DDLAddIndex, Query: "ALTER …", Schema: "shop", PreTable: orders, Table: orders}},
		message{0, gone})
	cfg := source(t, "rough", "protocol=maxwell", sink.Options{})
	cfg.UntilEnd = true
	r, _, err := consume(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.rows) != 2 || r.rows[0].CommitTs != r.rows[1].CommitTs || r.rows[0].StartTs == r.rows[1].StartTs {
		t.Errorf("got %q, %+v", r.calls, r.rows)
	}
}

// TestDescribe: messages that do not describe their tables are read as the target has
// these at the time, and a table that is not there is told.
func TestDescribe(t *testing.T) {
	p := producer(t, "bare", 1)
	e := debezium.NewEncoder(debezium.Config{DisableSchema: true, TiDBExtension: true})
	ddl := &event.DDL{CommitTs: 20, Type: event.DDLModifyColumn, Query: "ALTER TABLE orders …", Schema: "shop", PreTable: orders, Table: orders}
	send(t, p, e, message{0, insert(10, 1, "YWJj")}, message{0, event.Ts(15)}, message{0, ddl}, message{0, insert(30, 2, "YWJj")})
	cfg := source(t, "bare", "protocol=debezium&debezium-disable-schema=true&enable-tidb-extension=true", sink.Options{})
	if !cfg.NeedsTables {
		t.Error("NeedsTables is not set")
	}
	cfg.UntilEnd = true
	asked := 0
	cfg.Describe = func(_ context.Context, schema, table string) (*event.TableInfo, error) {
		if asked++; schema != "shop" || table != "orders" {
			t.Errorf("asked for %s.%s", schema, table)
		}
		if asked == 1 {
			return orders, nil
		}
		binary := *orders
		binary.Columns = slices.Clone(orders.Columns)
		binary.Columns[1].Charset = "binary"
		return &binary, nil
	}
	r, _, err := consume(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.rows) != 2 || len(r.ddls) != 1 || asked != 2 {
		t.Fatalf("got %d rows, %d DDLs; asked %d times", len(r.rows), len(r.ddls), asked)
	}
	for i, want := range []string{"YWJj", "abc"} {
		if got := r.rows[i]; got.Columns[1].Text() != want || !got.Table.HasHandleKey() {
			t.Errorf("row %d is %q, want %q", i, got.Columns[1].Text(), want)
		}
	}
	cfg.Describe = func(context.Context, string, string) (*event.TableInfo, error) { return nil, nil }
	if _, _, err := consume(t, cfg); err == nil || !strings.Contains(err.Error(), "shop.orders") {
		t.Errorf("without a table: %v", err)
	}
	cfg.TargetTs = 15
	if _, err := consumer.New(cfg); !errors.Is(err, sink.ErrInvalidURI) {
		t.Errorf("with a target ts: %v", err)
	}
}

func TestErrors(t *testing.T) {
	for path, want := range map[string]string{
		"?protocol=canal-json":                 "no topic",
		"/t?protocol=craft":                    "unknown protocol",
		"/t?protocol=avro":                     "needs schema-registry",
		"/t?protocol=simple&encoding-format=x": "encoding-format",
	} {
		uri, err := url.Parse("kafka://127.0.0.1:1" + path)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := consumer.ParseURI(uri, sink.Config{})
		if err == nil {
			_, err = consumer.New(cfg)
		}
		if !errors.Is(err, sink.ErrInvalidURI) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
	for protocol, only := range map[string]bool{"maxwell": true, "debezium": false, "debezium&debezium-disable-schema=true": true, "canal": false} {
		if cfg := source(t, "t", "protocol="+protocol, sink.Options{}); cfg.NeedsTables != only {
			t.Errorf("%s: needs tables: %t", protocol, cfg.NeedsTables)
		}
	}
	cfg := source(t, "missing-*", "protocol=canal", sink.Options{})
	cfg.RetryTimeout = time.Millisecond
	if _, _, err := consume(t, cfg); err == nil || !strings.Contains(err.Error(), "missing-*") {
		t.Errorf("a topic that is not there: %v", err)
	}
	p := producer(t, "garbage", 1)
	if err := p.ProduceSync(t.Context(), &kgo.Record{Value: []byte("hunter2")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cfg = source(t, "garbage", "protocol=canal-json", sink.Options{})
	if _, _, err := consume(t, cfg); err == nil || !strings.Contains(err.Error(), "partition 0 of topic garbage: message at offset 0") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a message that is none: %v", err)
	}
}
