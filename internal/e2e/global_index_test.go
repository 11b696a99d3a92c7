package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
)

// TestGlobalIndex: under a GLOBAL index, unique values pass from one partition to another,
// which are spans of their own. Whole transactions bring them in order.
func TestGlobalIndex(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	server := startMariaDB(ctx, t)
	downstream := mariaDB(t, server)
	random := rand.New(rand.NewPCG(seed(t), 0))
	up := dial(t)
	db := database(t, "global_index")
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY, v INT) PARTITION BY HASH (id) PARTITIONS 4")
	session, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for _, query := range []string{"SET tidb_enable_global_index = ON", "ALTER TABLE t ADD UNIQUE (v)"} {
		if _, err := session.ExecContext(ctx, query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	mustExec(t, downstream, "CREATE DATABASE global_index", "CREATE TABLE global_index.t (id INT PRIMARY KEY, v INT, UNIQUE (v))")
	start := now(ctx, t, up)
	for range 500 {
		id, v := random.IntN(30), random.IntN(20)
		switch random.IntN(3) {
		case 0:
			mustExec(t, db, fmt.Sprintf("DELETE FROM t WHERE v = %d", v))
		case 1:
			mustExec(t, db, fmt.Sprintf("UPDATE IGNORE t SET id = %d WHERE v = %d", id, v))
		case 2: // instead of up to two rows, of any partition
			mustExec(t, db, fmt.Sprintf("REPLACE INTO t VALUES (%d, %d)", id, v))
		}
	}
	end := now(ctx, t, up)
	feed := newFeed(t, cdc.Config{
		ID: "global-index", Upstream: up, Sink: openMariaDB(ctx, t, server), Filter: rules(t, "global_index.*"), StartTs: start, TargetTs: end,
		WholeTransactions: true, BatchRows: 8, RetryTimeout: time.Minute,
	})
	if err := feed.Run(ctx); err != nil {
		t.Fatal(err)
	}
	sameRowsAt(ctx, t, end, downstream, "global_index", 1)
}
