package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/kafkabroker"
	"github.com/tidbcdc/tidbcdc/internal/mariadb"
	"github.com/tidbcdc/tidbcdc/sink"
)

// kafkaAddr starts a Kafka, an in-process one where there is no other.
func kafkaAddr(t *testing.T) string {
	t.Helper()
	server, err := kafkabroker.Start(t.Context(), kafkabroker.Options{})
	if err == nil {
		t.Cleanup(func() {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		})
		return server.Addr
	}
	if kafkabroker.Required() {
		t.Fatal(err)
	}
	t.Log("broker: in-process, because", err)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()[0]
}

// fillTopic writes a table with a few changes as a changefeed would.
func fillTopic(t *testing.T, uri string) {
	t.Helper()
	table := &event.TableInfo{
		ID: 42, Schema: "shop", Table: "orders", PKIsHandle: true, HandleKey: []int{0},
		Columns: []event.ColumnInfo{
			{ID: 1, Name: "id", Type: event.TypeLong, Flag: event.FlagNotNull | event.FlagPrimaryKey, Charset: "binary"},
			{ID: 2, Name: "what", Type: event.TypeVarchar, Length: 100, Charset: "utf8mb4"},
			{ID: 3, Name: "twice", Type: event.TypeLonglong, Charset: "binary", GeneratedExpr: "id * 2", Stored: true},
		},
	}
	row := func(ts event.Ts, before, after []event.Value) *event.RowChanged {
		return &event.RowChanged{StartTs: ts - 1, CommitTs: ts, Table: table, PhysicalTableID: 42, Key: []byte("k"), Columns: after, PreColumns: before}
	}
	image := func(id int64, what string) []event.Value {
		return []event.Value{event.Int64Value(id), event.TextValue(what), event.Int64Value(2 * id)}
	}
	to, closer, err := backends().Open(t.Context(), uri, sink.Config{Changefeed: "consume"})
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range []func() error{
		func() error {
			return to.WriteDDL(t.Context(), &event.DDL{
				CommitTs: 10, Type: event.DDLCreateTable, Schema: "shop", Table: table,
				Query: "CREATE TABLE orders (id INT PRIMARY KEY, what VARCHAR(100), twice BIGINT AS (id * 2) STORED)",
			})
		},
		func() error {
			return to.WriteRows(t.Context(), []*event.RowChanged{
				row(20, nil, image(1, "book")), row(20, nil, image(2, "pen")), row(30, image(1, "book"), image(1, "large book")), row(40, image(2, "pen"), nil),
			})
		},
		func() error { return to.(sink.CheckpointWriter).WriteCheckpoint(t.Context(), 50) },
		closer.Close,
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConsume(t *testing.T) {
	uri := "kafka://" + kafkaAddr(t) + "/shop?protocol=canal-json&enable-tidb-extension=true&partition-num=2"
	fillTopic(t, uri)
	var out, errs bytes.Buffer
	if rc := run(t.Context(), []string{"consume", uri, "--to-ts", "35"}, &out, &errs); rc != 0 {
		t.Fatalf("ends with %d: %s", rc, errs.String())
	}
	for i, want := range []string{`"query":"CREATE TABLE`, `"table":"orders","new":{"id":1,`, `"commit_ts":20`, `"type":"update","commit_ts":30`, ""} {
		lines := strings.Split(out.String(), "\n")
		if len(lines) != 5 || !strings.Contains(lines[i], want) {
			t.Fatalf("line %d lacks %s:\n%s", i, want, out.String())
		}
	}
	for name, c := range map[string]struct {
		args []string
		rc   int
		want string
	}{
		"none":       {nil, 1, "accepts 1 arg"},
		"not Kafka":  {[]string{"mysql://127.0.0.1/"}, 2, "want kafka://"},
		"no topic":   {[]string{"kafka://127.0.0.1:1/"}, 2, "no topic"},
		"protocol":   {[]string{"kafka://127.0.0.1:1/t?protocol=x"}, 2, "protocol"},
		"from":       {[]string{uri, "--from", "middle"}, 2, "beginning or end"},
		"zone":       {[]string{uri, "--tz", "Mars"}, 2, "Mars"},
		"bad target": {[]string{uri, "--to", "http://root:hunter2@h/"}, 2, "scheme"},
		"no marks":   {[]string{"kafka://127.0.0.1:1/t?protocol=canal", "--to-ts", "1"}, 2, "no watermarks"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			rc := run(t.Context(), append([]string{"consume"}, c.args...), &out, &errs)
			if all := out.String() + errs.String(); rc != c.rc || !strings.Contains(all, c.want) || strings.Contains(all, "hunter2") {
				t.Errorf("ends with %d, want %d, and says, without %q:\n%s", rc, c.rc, c.want, all)
			}
		})
	}
}

// TestConsumeIntoDatabase fills a MariaDB, twice, from a topic.
func TestConsumeIntoDatabase(t *testing.T) {
	server, err := mariadb.Start(t.Context(), mariadb.Options{})
	if err != nil {
		if mariadb.Required() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	db, err := server.DB("")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE shop"); err != nil {
		t.Fatal(err)
	}
	addr := kafkaAddr(t)
	for topic, until := range map[string][]string{
		"simple?protocol=simple&partition-num=3":                               {"--to-ts", "50"},
		"maxwell?protocol=maxwell&partition-num=1":                             {"--until-end"},
		"bare?protocol=debezium&debezium-disable-schema=true&partition-num=1":  {"--until-end"},
		"canal?protocol=canal-json&enable-tidb-extension=true&partition-num=2": {"--to-ts", "50"},
	} {
		uri := "kafka://" + addr + "/" + topic
		fillTopic(t, uri)
		if _, err := db.ExecContext(t.Context(), "DROP TABLE IF EXISTS shop.orders"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			var out, errs bytes.Buffer
			args := append([]string{"consume", uri, "--to", "mysql://" + server.Config("").User + "@" + server.Addr + "/"}, until...)
			if rc := run(t.Context(), args, &out, &errs); rc != 0 {
				t.Fatalf("%s: ends with %d: %s", topic, rc, errs.String())
			}
			var got string
			const query = "SELECT GROUP_CONCAT(CONCAT_WS(' ', id, what, twice)) FROM shop.orders"
			if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != "1 large book 2" {
				t.Errorf("%s: the table holds %q, %v", topic, got, err)
			}
		}
	}
}
