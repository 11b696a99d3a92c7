package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestExampleKafka streams a table into Kafka, in two runs, and reads it with the
// command.
func TestExampleKafka(t *testing.T) {
	startReplica(t)
	ctx := testContext(t, 3*time.Minute)
	program, command := build(t, "./examples/kafka"), build(t, "./cmd/cdc")
	db := database(t, "ex_kafka")
	up := dial(t)
	uri := "kafka://" + replica.broker.Addr + "/ex_kafka?protocol=canal-json&enable-tidb-extension=true&partition-num=2"
	dir, start := t.TempDir(), now(ctx, t, up)
	mustExec(t, db, "CREATE TABLE orders (id INT PRIMARY KEY, state VARCHAR(20))", "INSERT INTO orders VALUES (1, 'new'), (2, 'new')")
	run := func(want string) string {
		target := now(ctx, t, up).String()
		out := output(ctx, t, program, "-pd", cluster.PD, "-sink", uri, "-rules", "ex_kafka.*", "-dir", dir, "-start-ts", start.String(), "-target-ts", target)
		if !strings.HasPrefix(out, want) {
			t.Errorf("printed %q, want %q", out, want)
		}
		return target
	}
	run("2 rows and 1 DDLs sent")
	mustExec(t, db, "UPDATE orders SET state = 'paid' WHERE id = 1", "DELETE FROM orders WHERE id = 2") // while it is stopped
	target := run("2 rows and 0 DDLs sent")

	var got []string
	out := output(ctx, t, command, "consume", uri, "--to", "stdout", "--to-ts", target)
	for line := range strings.Lines(out) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, fmt.Sprintf("%v %v %v", m["type"], m["old"], m["new"]))
	}
	want := "ddl <nil> <nil>; insert <nil> map[id:1 state:new]; insert <nil> map[id:2 state:new]; " +
		"update map[id:1 state:new] map[id:1 state:paid]; delete map[id:2 state:new] <nil>"
	if all := strings.Join(got, "; "); all != want {
		t.Errorf("read    %s\nwant    %s", all, want)
	}
}
