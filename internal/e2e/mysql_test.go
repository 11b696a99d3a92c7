package e2e_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/internal/playground"
	tablediff "github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// downstream is a database that is replicated into.
type downstream struct {
	name string
	db   *sql.DB
	uri  string
}

// onEachDownstream runs a test against a MariaDB and another TiDB.
func onEachDownstream(t *testing.T, test func(t *testing.T, d *downstream)) {
	t.Run("MariaDB", func(t *testing.T) {
		server := startMariaDB(t.Context(), t)
		test(t, &downstream{"mariadb", mariaDB(t, server), fmt.Sprintf("mysql://%s@%s/?", server.Config("").User, server.Addr)})
	})
	t.Run("TiDB", func(t *testing.T) {
		p, err := playground.Start(t.Context(), playground.Options{Binary: playgroundBinary(), Args: []string{"--stores=1"}, Stderr: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		db, err := p.DB("", "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		test(t, &downstream{"tidb", db, "mysql://root@" + p.MySQL + "/?"})
	})
}

// harass kills connections, those of the replica among them, until ctx ends.
func (d *downstream) harass(ctx context.Context, random *rand.Rand) {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(50+random.IntN(400)) * time.Millisecond):
		}
		var id int64
		query := "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() ORDER BY RAND() LIMIT 1"
		if conn.QueryRowContext(ctx, query).Scan(&id) == nil {
			_, _ = conn.ExecContext(ctx, fmt.Sprint("KILL ", id)) // it may have ended by now
		}
	}
}

// compare fails the test unless the tables that a consumer replicates are equal.
func (d *downstream) compare(ctx context.Context, t *testing.T, c consumerConfig, atLeast int) {
	t.Helper()
	up, err := cluster.DB("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	result, err := tablediff.Compare(ctx, tablediff.Endpoint{DB: up, SnapshotTs: c.TargetTs}, tablediff.Endpoint{DB: d.db},
		tablediff.Options{Filter: rules(t, append([]string{c.Rule}, c.Except...)...)})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Equal() || len(result.Tables) < atLeast {
		_ = result.Print(t.Output(), 10)
		t.Errorf("%d tables, which differ", len(result.Tables))
	}
}

// mirror is a process that replicates into a database.
type mirror struct {
	cmd  *exec.Cmd
	done chan error
}

func startMirror(ctx context.Context, t *testing.T, c consumerConfig) *mirror {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), consumerVar+"="+string(config))
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	stdin, err := cmd.StdinPipe() // it ends when this test does
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &mirror{cmd, make(chan error, 1)}
	go func(io.Closer) { p.done <- cmd.Wait() }(stdin)
	return p
}

// replicate runs a consumer for a while, killing it at random moments: mostly when
// it has got somewhere, now and then while it starts.
func replicate(ctx context.Context, t *testing.T, c consumerConfig, random *rand.Rand, d time.Duration) {
	t.Helper()
	// The file is the replica's alone while it runs: it is only looked at.
	stored := func() string {
		b, err := os.ReadFile(filepath.Join(c.Dir, c.ID+".checkpoint"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(b)
	}
	kills := 0
	for began := time.Now(); time.Since(began) < d; kills++ {
		p := startMirror(ctx, t, c)
		wait := func(d time.Duration) {
			select {
			case err := <-p.done:
				t.Fatalf("the replica ended by itself: %v", err)
			case <-ctx.Done():
				t.Fatal(context.Cause(ctx))
			case <-time.After(d):
			}
		}
		if random.IntN(4) > 0 {
			for before := stored(); stored() == before; {
				wait(10 * time.Millisecond)
			}
		}
		wait(time.Duration(random.IntN(1500)) * time.Millisecond)
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatalf("kill the replica: %v", err)
		}
		if err := <-p.done; err == nil {
			t.Log("the replica ended before it was killed")
		}
	}
	t.Logf("the replica was killed %d times", kills)
}

// finish runs a consumer until its target ts.
func finish(ctx context.Context, t *testing.T, c consumerConfig) {
	t.Helper()
	if err := <-startMirror(ctx, t, c).done; err != nil {
		t.Fatalf("the last replica: %v", err)
	}
}

// TestReplica replicates the random workload with its DDL into a database, while
// there are faults upstream, the replicating process is killed and so are its
// connections. In the end the database is equal.
func TestReplica(t *testing.T) {
	onEachDownstream(t, func(t *testing.T, d *downstream) {
		for _, mode := range []string{"at-least-once", "exactly-once"} {
			t.Run(mode, func(t *testing.T) {
				ctx := testContext(t, workloadTime()+5*time.Minute)
				seed := seed(t)
				random := rand.New(rand.NewPCG(seed, 3))
				up := dial(t)
				start := now(ctx, t, up)
				name := "replica_" + map[string]string{"at-least-once": "least", "exactly-once": "once"}[mode] + "_" + d.name
				c := consumerConfig{
					ID: "replica", PD: cluster.PD, Dir: t.TempDir(), Rule: name + ".*", StartTs: start,
					SinkURI: d.uri + "time-zone=UTC&worker-count=4&max-txn-row=20",
				}
				if mode == "exactly-once" {
					c.SinkURI += "&exactly-once=true"
				} else {
					// Rows that are written twice are two, without a key.
					c.Except = append(c.Except, "!"+name+".keyless", "!"+name+".moved_keyless")
				}
				w := &workload{db: database(t, name), tables: tables(), seed: seed}
				if err := w.create(ctx); err != nil {
					t.Fatal(err)
				}
				busy, calm := context.WithCancel(ctx)
				defer calm()
				w.start(busy, 3)
				var faults sync.WaitGroup
				faults.Go(func() { d.harass(busy, rand.New(rand.NewPCG(seed, 4))) })
				faults.Go(func() {
					chaosCtx, end := context.WithTimeout(busy, workloadTime()/2)
					defer end()
					chaos(chaosCtx, cluster, func() []int64 { return physicalIDs(busy, w.db) }, seed)
				})
				replicate(ctx, t, c, random, workloadTime())
				calm()
				w.wg.Wait()
				faults.Wait()
				c.TargetTs = now(ctx, t, up)
				finish(ctx, t, c)
				d.compare(ctx, t, c, len(w.tables)-2)
				t.Logf("%d transactions, %d DDLs, %d refused", w.committed.Load(), w.altered.Load(), w.failed.Load())
			})
		}
	})
}

// bank moves money between accounts in several tables. Transactions of a third of
// them touch the table solo alone.
type bank struct {
	db    *sql.DB
	total int64
}

const bankAccounts = 20 // of each table

var bankTables = []string{"current", "savings", "solo"}

func (b *bank) create(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, table := range bankTables {
		mustExec(t, b.db, "CREATE TABLE "+table+" (id INT PRIMARY KEY, balance BIGINT NOT NULL)")
	}
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range bankTables {
		for id := range bankAccounts {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s VALUES (%d, 1000)", table, id)); err != nil {
				t.Fatal(err)
			}
			b.total += 1000
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// work transfers until ctx ends.
func (b *bank) work(ctx context.Context, t *testing.T, random *rand.Rand) {
	done, ddls := 0, 0
	for ; ctx.Err() == nil; done++ {
		if random.IntN(60) == 0 {
			// A transfer that it meets is refused.
			ddls++
			table := bankTables[random.IntN(len(bankTables))]
			_, _ = b.db.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("ALTER TABLE %s ADD COLUMN c%d INT DEFAULT 7", table, random.IntN(1e9)))
		}
		_ = b.transfer(ctx, random) // a conflict: the next one may do
	}
	t.Logf("%d transfers, %d DDLs", done, ddls)
}

func (b *bank) transfer(ctx context.Context, r *rand.Rand) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	tables := bankTables[:2]
	if r.IntN(3) == 0 {
		tables = bankTables[2:]
	}
	for range 1 + r.IntN(5) {
		from, to := r.IntN(bankAccounts), r.IntN(bankAccounts)
		source, target := tables[r.IntN(len(tables))], tables[r.IntN(len(tables))]
		amount := int64(r.IntN(100))
		var statements []string
		if r.IntN(4) == 0 && (from != to || source != target) { // close an account
			err := tx.QueryRowContext(ctx, fmt.Sprintf("SELECT balance FROM %s WHERE id = %d FOR UPDATE", source, from)).Scan(&amount)
			if errors.Is(err, sql.ErrNoRows) {
				continue // nothing is locked: somebody may open it any moment
			}
			if err != nil {
				_ = tx.Rollback()
				return err
			}
			statements = append(statements, fmt.Sprintf("DELETE FROM %s WHERE id = %d", source, from))
		} else {
			statements = append(statements, fmt.Sprintf("INSERT INTO %s (id, balance) VALUES (%d, %d) ON DUPLICATE KEY UPDATE balance = balance + VALUES(balance)", source, from, -amount))
		}
		statements = append(statements, fmt.Sprintf("INSERT INTO %s (id, balance) VALUES (%d, %d) ON DUPLICATE KEY UPDATE balance = balance + VALUES(balance)", target, to, amount))
		for _, q := range statements {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				_ = tx.Rollback()
				return err
			}
		}
	}
	return tx.Commit()
}

// watch sums up the balances of some tables downstream, again and again, until stop
// is called: the sum never changes.
func (b *bank) watch(ctx context.Context, t *testing.T, d *downstream, name string, tables []string, want int64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	query := ""
	for i, table := range tables {
		if i > 0 {
			query += " UNION ALL "
		}
		query += "SELECT balance FROM " + name + "." + table
	}
	var group sync.WaitGroup
	group.Go(func() {
		looks, seen := 0, false
		for ctx.Err() == nil {
			var sum sql.NullInt64
			// One statement reads one snapshot.
			if err := d.db.QueryRowContext(ctx, "SELECT SUM(balance) FROM ("+query+") accounts").Scan(&sum); err != nil {
				continue // there are no tables yet, or the connection was killed
			}
			if sum.Valid && sum.Int64 != want || !sum.Valid && seen {
				t.Errorf("look %d: the balances of %v sum up to %v, want %d", looks, tables, sum, want)
				return
			}
			seen = seen || sum.Valid
			looks++
		}
		t.Logf("looked %d times", looks)
		if !seen {
			t.Errorf("there was never anything to see")
		}
	})
	return func() {
		cancel()
		group.Wait()
	}
}

// TestReplicaBank: money neither appears nor disappears: in the end, and at every
// moment where transactions are kept whole.
func TestReplicaBank(t *testing.T) {
	modes := []struct {
		name, parameters string
		whole            bool
		always           []string // tables whose sum is right at every moment
	}{
		{"parts", "", false, nil},
		{"table", "&exactly-once=true&transaction-atomicity=table", false, bankTables[2:]},
		{"whole", "&exactly-once=true", true, bankTables},
	}
	onEachDownstream(t, func(t *testing.T, d *downstream) {
		for _, mode := range modes {
			t.Run(mode.name, func(t *testing.T) {
				ctx := testContext(t, workloadTime()+5*time.Minute)
				seed := seed(t)
				name := "bank_" + mode.name + "_" + d.name
				b := &bank{db: database(t, name)}
				mustExec(t, d.db, "CREATE DATABASE "+name)
				up := dial(t)
				c := consumerConfig{
					ID: "bank-" + mode.name, PD: cluster.PD, Dir: t.TempDir(), Rule: name + ".*", StartTs: now(ctx, t, up),
					SinkURI: d.uri + "worker-count=4&max-txn-row=20" + mode.parameters, WholeTransactions: mode.whole,
				}
				b.create(ctx, t)
				busy, calm := context.WithCancel(ctx)
				defer calm()
				var load sync.WaitGroup
				const sessions = 3
				for session := range uint64(sessions) {
					load.Go(func() { b.work(busy, t, rand.New(rand.NewPCG(seed, session))) })
				}
				load.Go(func() { d.harass(busy, rand.New(rand.NewPCG(seed, 4))) })
				stop := func() {}
				if mode.always != nil {
					want := b.total / int64(len(bankTables)) * int64(len(mode.always))
					stop = b.watch(ctx, t, d, name, mode.always, want)
				}
				replicate(ctx, t, c, rand.New(rand.NewPCG(seed, 5)), workloadTime())
				calm()
				load.Wait()
				c.TargetTs = now(ctx, t, up)
				finish(ctx, t, c)
				stop()
				d.compare(ctx, t, c, len(bankTables))
				b.verify(ctx, t, d, name)
			})
		}
	})
}

// verify looks at all tables when everything has arrived.
func (b *bank) verify(ctx context.Context, t *testing.T, d *downstream, name string) {
	t.Helper()
	var sum int64
	for _, table := range bankTables {
		var part int64
		if err := d.db.QueryRowContext(ctx, "SELECT SUM(balance) FROM "+name+"."+table).Scan(&part); err != nil {
			t.Fatal(err)
		}
		sum += part
	}
	if sum != b.total {
		t.Errorf("in the end the balances sum up to %d, want %d", sum, b.total)
	}
}

func TestExampleMySQL(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	server := startMariaDB(ctx, t)
	d := &downstream{"mariadb", mariaDB(t, server), fmt.Sprintf("mysql://%s@%s/", server.Config("").User, server.Addr)}
	program := build(t, "./examples/mysql")
	up := dial(t)
	start := now(ctx, t, up)
	db := database(t, "ex_mysql")
	mustExec(t, db, "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO a VALUES (1, 'a'), (2, 'b')")
	c := consumerConfig{Rule: "ex_mysql.*"}
	dir := t.TempDir()
	for _, query := range []string{"UPDATE a SET v = 'Größe' WHERE id = 1", "CREATE TABLE b (id INT PRIMARY KEY)"} { // the second run goes on where the first stopped
		mustExec(t, db, query)
		c.TargetTs = now(ctx, t, up)
		out := output(ctx, t, program, "-pd", cluster.PD, "-sink", d.uri, "-rules", c.Rule, "-dir", dir, "-start-ts", start.String(), "-target-ts", c.TargetTs.String())
		t.Log(out)
		d.compare(ctx, t, c, 1)
	}
}
