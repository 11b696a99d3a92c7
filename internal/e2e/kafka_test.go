package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/kafkabroker"
	"github.com/tidbcdc/tidbcdc/internal/playground"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/kafka"
	kafkaconsumer "github.com/tidbcdc/tidbcdc/sink/kafka/consumer"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
	mysqldiff "github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// replica is what the tests of Kafka share: a broker, and a TiDB into which a
// consumer writes what it reads. They are started when a test first asks for them.
var replica struct {
	once   sync.Once
	err    error
	broker *kafkabroker.Server
	tidb   *playground.Playground
}

// startReplica starts them, or skips the test where there is no Kafka.
func startReplica(t *testing.T) {
	t.Helper()
	replica.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if replica.broker, replica.err = kafkabroker.Start(ctx, kafkabroker.Options{}); replica.err == nil {
			replica.tidb, replica.err = playground.Start(ctx, playground.Options{Binary: playgroundBinary()})
		}
	})
	switch {
	case errors.Is(replica.err, kafkabroker.ErrMissing) && !kafkabroker.Required():
		t.Skip(replica.err)
	case replica.err != nil:
		t.Fatal(replica.err)
	}
}

func stopReplica() (err error) {
	if replica.tidb != nil {
		err = replica.tidb.Close()
	}
	if replica.broker != nil {
		err = errors.Join(err, replica.broker.Close())
	}
	return err
}

// replication is a changefeed into Kafka and a consumer of it, with their ends: a
// database that a workload changes, and one of the same name that must become equal.
type replication struct {
	name       string
	uri        string // of the sink
	options    sink.Options
	work       *workload
	downstream *sql.DB
	up         *cdc.Upstream
	start      event.Ts
	// dial, if not nil, opens the changefeed's connections to Kafka.
	dial        func(ctx context.Context, network, addr string) (net.Conn, error)
	checkpoints *cdc.MemoryCheckpoints
	validator   *cdctest.Validator // in front of the sinks of all runs
}

// newReplication makes the databases and starts a workload.
func newReplication(ctx context.Context, t *testing.T, name, query string, workTables []table) *replication {
	t.Helper()
	r := prepareReplication(ctx, t, name, query, workTables)
	busy, calm := context.WithCancel(ctx)
	r.work.start(busy, 2)
	r.work.stop = func() {
		calm()
		r.work.wg.Wait()
	}
	t.Cleanup(r.work.stop)
	return r
}

// prepareReplication makes the databases, and tables in the one upstream.
func prepareReplication(ctx context.Context, t *testing.T, name, query string, workTables []table) *replication {
	t.Helper()
	startReplica(t)
	r := &replication{
		name: name, uri: fmt.Sprintf("kafka://%s/%s?%s", replica.broker.Addr, name, query), up: dial(t), checkpoints: &cdc.MemoryCheckpoints{},
		// Rows of a table are spread over partitions.
		options: sink.Options{Dispatchers: []sink.DispatchRule{{Matcher: []string{"*.*"}, Partition: "index-value"}}},
	}
	r.work = &workload{db: database(t, name), tables: workTables, seed: seed(t)}
	r.start = now(ctx, t, r.up)
	r.validator = validated(t, nil, cdctest.ValidatorConfig{StartTs: r.start, Concurrent: true})
	if err := r.work.create(ctx); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.downstream, err = replica.tidb.DB("", ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.downstream.Close() })
	mustExec(t, r.downstream, "DROP DATABASE IF EXISTS "+name, "CREATE DATABASE "+name)
	return r
}

// end returns a ts at which no DDL is under way. The workload goes on.
func (r *replication) end(ctx context.Context, t *testing.T) event.Ts {
	t.Helper()
	return r.work.between(func() event.Ts { return now(ctx, t, r.up) })
}

// openSink opens the changefeed's sink.
func (r *replication) openSink(ctx context.Context, t *testing.T) *kafka.Sink {
	t.Helper()
	uri, err := url.Parse(r.uri)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := kafka.ParseURI(uri, sink.Config{Changefeed: r.name, Options: r.options, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dial = r.dial
	out, err := kafka.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// replicate runs a changefeed, with a sink of its own, for a while, or up to a target.
func (r *replication) replicate(ctx context.Context, t *testing.T, target event.Ts, d time.Duration) {
	t.Helper()
	out := r.openSink(ctx, t)
	defer func() {
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	}()
	feed := newFeed(t, cdc.Config{
		ID: strings.ReplaceAll(r.name, "_", "-"), Upstream: r.up, Sink: r.validator.Wrap(out), Filter: rules(t, r.name+".*"), StartTs: r.start, TargetTs: target,
		Checkpoints: r.checkpoints, WriteConcurrency: 4, CheckpointInterval: 100 * time.Millisecond, BatchRows: 16,
	})
	if target == 0 {
		runFor(ctx, t, feed, d)
	} else if err := feed.Run(ctx); err != nil {
		t.Fatalf("%v; status %+v", err, feed.Status())
	}
	r.validator.Resume(checkpoint(ctx, t, r.checkpoints, strings.ReplaceAll(r.name, "_", "-"), r.start))
}

// consumer returns a consumer of what the changefeed writes, and the sink it writes to.
func (r *replication) consumer(ctx context.Context, t *testing.T, change func(*kafkaconsumer.Config)) (*kafkaconsumer.Consumer, sink.Sink) {
	t.Helper()
	uri, err := url.Parse(r.uri)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := kafkaconsumer.ParseURI(uri, sink.Config{Options: r.options, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	cfg.GeneratedColumns = func(ctx context.Context, schema, table string) ([]string, error) {
		return generatedColumns(ctx, r.downstream, schema, table)
	}
	cfg.Describe = func(ctx context.Context, schema, table string) (*event.TableInfo, error) {
		return mysql.DescribeTable(ctx, r.downstream, schema, table)
	}
	change(&cfg)
	c, err := kafkaconsumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	safe := true
	openers := sink.Openers{"tidb": mysql.Open}
	to, closer, err := openers.Open(ctx, "tidb://root@"+replica.tidb.MySQL+"/?worker-count=4",
		sink.Config{Options: sink.Options{SafeMode: &safe}, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, to
}

func generatedColumns(ctx context.Context, db *sql.DB, schema, table string) ([]string, error) {
	rows, err := db.QueryContext(ctx, "SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = ? AND generation_expression <> ''", schema, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, rows.Err()
}

// compare holds the replica against the upstream at a ts.
func (r *replication) compare(ctx context.Context, t *testing.T, ts event.Ts, c *kafkaconsumer.Consumer) {
	t.Helper()
	st := c.Status()
	t.Logf("%d transactions, %d DDLs, %d refused; consumed %d rows, %d DDLs, %d repeats",
		r.work.committed.Load(), r.work.altered.Load(), r.work.failed.Load(), st.Rows, st.DDLs, st.Repeats)
	result, err := mysqldiff.Compare(ctx, mysqldiff.Endpoint{DB: r.work.db, SnapshotTs: ts}, mysqldiff.Endpoint{DB: r.downstream},
		mysqldiff.Options{Filter: rules(t, r.name+".*"), Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Equal() {
		var b strings.Builder
		if err := result.Print(&b, 5); err != nil {
			t.Fatal(err)
		}
		t.Errorf("the replica differs at ts %d:\n%s", ts, b.String())
	}
	if st.Rows < 50 {
		t.Errorf("the workload was too small to tell anything: %d rows", st.Rows)
	}
}

// noEmptyEnum leaves out what a wrong element of an ENUM becomes: a TiDB with a strict SQL
// mode, as the MySQL sink has it, refuses it.
const noEmptyEnum = "alltypes.e='red'|'blue'|NULL"

// without returns tables without one of them, and without literals of columns that a
// protocol cannot carry. The table of which partitions are dropped is not among them:
// while TiDB drops one, it writes new rows of its range to the next, below the ts of the DDL,
// which then drops them downstream.
func without(name string, literals ...string) []table {
	var out []table
	for _, t := range tables() {
		if t.name == name || t.name == "ranged" {
			continue
		}
		t.columns = slices.Clone(t.columns)
		for i, c := range t.columns {
			for _, l := range literals {
				column, value, _ := strings.Cut(l, "=")
				if t.name+"."+c.name == column {
					t.columns[i].gen = lit(strings.Split(value, "|")...)
				}
			}
		}
		out = append(out, t)
	}
	return out
}

// TestKafka runs the workload with its DDL through Kafka in every protocol that tells
// enough to fill a database again, with a changefeed that is stopped and resumed, and
// holds what a consumer makes of it against the upstream.
func TestKafka(t *testing.T) {
	rows := without("keyless", noEmptyEnum)
	debeziumRows := without(
		"keyless", noEmptyEnum, "alltypes.d='2024-02-29'|'9999-12-31'|NULL", "alltypes.dt='2024-01-02 03:04:05'|'9999-12-31 23:59:59'",
	)
	for _, p := range []struct {
		name, query string
		tables      []table
		watermarks  bool
	}{
		{"open", "protocol=open-protocol&partition-num=3", rows, true},
		{"canaljson", "protocol=canal-json&enable-tidb-extension=true&partition-num=3", rows, true},
		{"simple", "protocol=simple&partition-num=3", rows, true},
		{"simpleavro", "protocol=simple&encoding-format=avro&partition-num=3&compression=zstd", rows, true},
		{"debezium", "protocol=debezium&enable-tidb-extension=true&partition-num=3", debeziumRows, true},
		{"canal", "protocol=canal&partition-num=1", rows, false},
		{"maxwell", "protocol=maxwell&partition-num=1", rows, false},
		{"debeziumbare", "protocol=debezium&debezium-disable-schema=true&partition-num=1", debeziumRows, false},
		{"once", "protocol=open-protocol&partition-num=3&exactly-once=true", rows, true},
	} {
		t.Run(p.name, func(t *testing.T) {
			ctx := testContext(t, 4*time.Minute)
			r := newReplication(ctx, t, "kafka_"+p.name, p.query, p.tables)
			r.replicate(ctx, t, 0, 2*time.Second)
			c, to := r.consumer(ctx, t, func(c *kafkaconsumer.Config) { c.UntilEnd = !p.watermarks })
			consuming, stop := context.WithCancelCause(ctx)
			done := make(chan error, 1)
			if p.watermarks { // reads while the changefeed goes on
				go func() { done <- c.Run(consuming, to) }()
			}
			r.replicate(ctx, t, 0, 2*time.Second)
			end := r.end(ctx, t)
			r.replicate(ctx, t, end, 0)
			if p.watermarks {
				enough := errors.New("enough")
				await(ctx, t, done, func() bool { return c.Status().ResolvedTs >= end })
				stop(enough)
				if err := <-done; !errors.Is(err, enough) {
					t.Fatalf("Run after cancellation: %v", err)
				}
			} else if err := c.Run(ctx, to); err != nil {
				t.Fatal(err)
			}
			stop(nil)
			r.compare(ctx, t, end, c)
		})
	}
}

// await waits for a condition, or fails the test with what done receives.
func await(ctx context.Context, t *testing.T, done chan error, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case err := <-done:
			t.Fatalf("ended too early: %v", err)
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// TestKafkaFaults kills the broker and cuts connections in the middle of batches
// while the workload goes through Kafka: nothing is lost, no row ends on an older
// value, and with exactly-once nothing comes twice.
func TestKafkaFaults(t *testing.T) {
	for name, query := range map[string]string{
		"least": "protocol=canal-json&enable-tidb-extension=true&partition-num=3",
		"once":  "protocol=open-protocol&partition-num=3&exactly-once=true",
	} {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t, 5*time.Minute)
			r := newReplication(ctx, t, "kafka_faults_"+name, query, without("keyless", noEmptyEnum))
			var cuts atomic.Int64
			r.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &shortLived{Conn: conn, left: 60_000, cuts: &cuts}, nil
			}
			r.replicate(ctx, t, 0, 2*time.Second)
			killed := make(chan error, 1)
			go func() {
				select { // in the middle of the run, whatever happens then
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
				killed <- errors.Join(replica.broker.Kill(), replica.broker.Restart(ctx))
			}()
			r.replicate(ctx, t, 0, 6*time.Second)
			if err := <-killed; err != nil {
				t.Fatal(err)
			}
			end := r.end(ctx, t)
			r.replicate(ctx, t, end, 0)
			if cuts.Load() == 0 {
				t.Error("no connection was cut")
			}
			c, to := r.consumer(ctx, t, func(c *kafkaconsumer.Config) { c.TargetTs = end })
			if err := c.Run(ctx, to); err != nil {
				t.Fatal(err)
			}
			r.compare(ctx, t, end, c)
			t.Logf("%d connections cut", cuts.Load())
			if n := c.Status().Repeats; name == "once" && n > uint64(c.Status().DDLs)*2 {
				t.Errorf("%d repeats with exactly-once, which knows only those of DDLs in other partitions", n)
			}
		})
	}
}

// shortLived is a connection that breaks in the middle of what is written, but lets
// every batch through that is the first.
type shortLived struct {
	net.Conn
	left int
	cuts *atomic.Int64
}

func (c *shortLived) Write(b []byte) (int, error) {
	if len(b) < c.left {
		c.left -= len(b)
		return c.Conn.Write(b)
	}
	n, _ := c.Conn.Write(b[:c.left])
	c.left -= n
	c.cuts.Add(1)
	_ = c.Close()
	return n, net.ErrClosed
}

// TestKafkaAvro sends rows through a real schema registry, with a topic for each table.
// The protocol has no DDL, so that the tables are there before.
func TestKafkaAvro(t *testing.T) {
	if _, _, err := kafkabroker.FindRegistry(); err != nil {
		if kafkabroker.Required() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	ctx := testContext(t, 4*time.Minute)
	registry, err := kafkabroker.StartRegistry(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	all := slices.DeleteFunc(without("keyless", noEmptyEnum), func(t table) bool { return t.name == "computed" })
	r := prepareReplication(ctx, t, "kafka_avro", "protocol=avro&partition-num=1&enable-tidb-extension=true&schema-registry="+url.QueryEscape(registry.URL), all)
	r.options.Dispatchers[0].Topic = "{schema}_{table}"
	for _, t2 := range all {
		mustExec(t, r.downstream, "CREATE TABLE kafka_avro."+t2.name+" "+t2.create)
	}
	r.start = now(ctx, t, r.up)
	busy, calm := context.WithCancel(ctx)
	for i := range 2 {
		r.work.wg.Go(func() { r.work.write(busy, rand.New(rand.NewPCG(r.work.seed, uint64(i)))) })
	}
	r.work.stop = func() {
		calm()
		r.work.wg.Wait()
	}
	t.Cleanup(r.work.stop)
	r.replicate(ctx, t, 0, 3*time.Second)
	end := r.end(ctx, t)
	r.replicate(ctx, t, end, 0)
	r.uri = strings.Replace(r.uri, "/kafka_avro?", "/kafka_avro_*?", 1)
	c, to := r.consumer(ctx, t, func(c *kafkaconsumer.Config) { c.UntilEnd = true })
	if err := c.Run(ctx, to); err != nil {
		t.Fatal(err)
	}
	r.compare(ctx, t, end, c)
}

// TestKafkaQuietTopics: with a topic for each table, a consumer of all of them comes to the
// end also if, since the changefeed was started again, no table has changed.
func TestKafkaQuietTopics(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	r := prepareReplication(ctx, t, "kafka_quiet", "protocol=canal-json&enable-tidb-extension=true&partition-num=1", without("keyless", noEmptyEnum))
	r.options.Dispatchers[0].Topic = "{schema}_{table}"
	busy, calm := context.WithTimeout(ctx, 2*time.Second)
	defer calm()
	r.work.write(busy, rand.New(rand.NewPCG(r.work.seed, 0)))
	before := now(ctx, t, r.up)
	r.replicate(ctx, t, before, 0)
	end := now(ctx, t, r.up)
	r.replicate(ctx, t, end, 0)
	r.uri = strings.Replace(r.uri, "/kafka_quiet?", "/kafka_quiet_*?", 1)
	c, to := r.consumer(ctx, t, func(c *kafkaconsumer.Config) { c.TargetTs = end })
	reading, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	if err := c.Run(reading, to); err != nil {
		t.Fatalf("%v; it has come to %d, the changefeed was started again at %d and ended at %d", err, c.Status().ResolvedTs, before, end)
	}
	r.compare(ctx, t, end, c)
}

// TestDaemonsShareTopics: of two daemons that share tables with a topic each, the one that
// tells how far the changefeed is does so in all topics, also in those of the other.
func TestDaemonsShareTopics(t *testing.T) {
	startReplica(t)
	ctx := testContext(t, 4*time.Minute)
	db := database(t, "topics")
	f := newFleet(t, 2)
	const tables = 6
	create := func(i int) { mustExec(t, db, fmt.Sprintf("CREATE TABLE t%d (id INT PRIMARY KEY)", i)) }
	for i := range tables {
		create(i)
	}
	start := now(ctx, t, dial(t))
	uri := "kafka://" + replica.broker.Addr + "/topics?protocol=open-protocol&partition-num=1"
	waitFor(t, "the changefeed to be created", func() bool {
		err := f.daemons[0].call(ctx, http.MethodPost, "/api/v1/changefeeds", map[string]any{
			"changefeed_id": "topics", "sink_uri": uri, "start_ts": start, "filter_rules": []string{"topics.*"},
			"sink_config": map[string]any{"dispatchers": []any{map[string]any{"matcher": []string{"*.*"}, "topic": "{schema}_{table}"}}},
		}, nil)
		if err != nil {
			t.Log(err) // there may be no owner yet
		}
		return err == nil
	})
	f.awaitShared(ctx, "topics", 2)
	create(tables)
	for i := range tables + 1 {
		mustExec(t, db, fmt.Sprintf("INSERT INTO t%d VALUES (1)", i))
	}
	end := now(ctx, t, dial(t))
	f.awaitCheckpoint(ctx, "topics", end)
	parsed, err := url.Parse(strings.Replace(uri, "/topics?", "/topics_t*?", 1))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := kafkaconsumer.ParseURI(parsed, sink.Config{Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	cfg.TargetTs = end
	c, err := kafkaconsumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	reading, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	err = c.Run(reading, sink.RowFunc(func(_ context.Context, rows []*event.RowChanged) error {
		for _, r := range rows {
			seen[r.Table.Table]++
		}
		return nil
	}))
	if err != nil || len(seen) != tables+1 {
		t.Errorf("%v; come to %d of %d, rows of %v", err, c.Status().ResolvedTs, end, seen)
	}
}
