package mysql_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

var _ sink.TransactionWriter = (*mysql.Sink)(nil)

// bank is an upstream with accounts in several tables, a line of a journal for each
// transaction, in a table without a key, and a row that counts them.
type bank struct {
	schema   string
	rand     *rand.Rand
	tables   []*event.TableInfo // of accounts
	counter  *event.TableInfo
	journal  *event.TableInfo
	balances [][]int64 // by table and account
	// history are the transactions; states the balances after each of them, those
	// before the first at 0.
	history [][]*event.RowChanged
	states  [][][]int64
}

const (
	bankTables   = 3
	bankAccounts = 6
	bankBalance  = 1000 // of each account at first
)

func newBank(schema string, seed uint64) *bank {
	b := &bank{schema: schema, rand: rand.New(rand.NewPCG(seed, 7))}
	number := func(id int64, name string) event.ColumnInfo {
		return event.ColumnInfo{ID: id, Name: name, Type: event.TypeLonglong, Flag: event.FlagNotNull, Charset: "binary", Collation: "binary"}
	}
	table := func(id int64, name string, keys []int) *event.TableInfo {
		return &event.TableInfo{
			ID: id, Schema: schema, Table: name, PKIsHandle: keys != nil, HandleKey: keys,
			Columns: []event.ColumnInfo{number(1, "id"), number(2, "amount")},
		}
	}
	for i := range int64(bankTables) {
		b.tables = append(b.tables, table(100+i, fmt.Sprint("accounts", i), []int{0}))
		b.balances = append(b.balances, slices.Repeat([]int64{0}, bankAccounts))
	}
	b.counter, b.journal = table(200, "counter", []int{0}), table(201, "journal", nil)
	b.states = append(b.states, b.snapshot())
	return b
}

func (b *bank) create(t *testing.T, s *server) *sql.DB {
	db := s.database(t, b.schema)
	for _, table := range append(slices.Clone(b.tables), b.counter) {
		mustExec(t, db, "CREATE TABLE "+table.Table+" (id BIGINT PRIMARY KEY, amount BIGINT NOT NULL)")
	}
	mustExec(t, db, "CREATE TABLE journal (id BIGINT NOT NULL, amount BIGINT NOT NULL)", "DROP DATABASE IF EXISTS tidbcdc")
	return db
}

func (b *bank) snapshot() [][]int64 {
	var out [][]int64
	for _, balances := range b.balances {
		out = append(out, slices.Clone(balances))
	}
	return out
}

// commit adds a transaction: the first opens all accounts, later ones transfer
// between some of them.
func (b *bank) commit() {
	n := int64(len(b.history))
	commitTs := event.Ts(1000 + 10*n)
	var rows []*event.RowChanged
	change := func(table *event.TableInfo, id int64, before, after []event.Value) {
		rows = append(rows, &event.RowChanged{
			StartTs: commitTs - 5, CommitTs: commitTs, Table: table, PhysicalTableID: table.ID,
			Key: binary.BigEndian.AppendUint64(fmt.Append(nil, table.ID), uint64(id)), Columns: after, PreColumns: before,
		})
	}
	image := func(id, amount int64) []event.Value {
		return []event.Value{event.Int64Value(id), event.Int64Value(amount)}
	}
	before := b.snapshot()
	if n == 0 {
		for i := range b.balances {
			for j := range b.balances[i] {
				b.balances[i][j] = bankBalance
			}
		}
	} else {
		for range 1 + b.rand.IntN(4) {
			amount := int64(b.rand.IntN(100))
			b.balances[b.rand.IntN(bankTables)][b.rand.IntN(bankAccounts)] -= amount
			b.balances[b.rand.IntN(bankTables)][b.rand.IntN(bankAccounts)] += amount
		}
	}
	for i, balances := range b.balances {
		for j, amount := range balances {
			switch {
			case n == 0:
				change(b.tables[i], int64(j), nil, image(int64(j), amount))
			case amount != before[i][j]:
				change(b.tables[i], int64(j), image(int64(j), before[i][j]), image(int64(j), amount))
			}
		}
	}
	if n == 0 {
		change(b.counter, 0, nil, image(0, 1))
	} else {
		change(b.counter, 0, image(0, n), image(0, n+1))
	}
	change(b.journal, n, nil, image(n, n))
	b.history, b.states = append(b.history, rows), append(b.states, b.snapshot())
}

// watch reads the downstream in snapshots until stop is called, each of which must
// be the upstream's after some transaction, and never an earlier one than before.
func (b *bank) watch(t *testing.T, db *sql.DB) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		seen, latest := 0, int64(0)
		for ; ctx.Err() == nil; seen++ {
			n, problem, err := b.look(ctx, db)
			if err != nil {
				continue // its connection was killed, or it is over
			}
			if problem == "" && n < latest {
				problem = fmt.Sprintf("it went back from transaction %d to %d", latest, n)
			}
			if problem != "" {
				t.Errorf("look %d at the downstream: %s", seen, problem)
				return
			}
			latest = n
		}
		t.Logf("looked %d times", seen)
	})
	return func() {
		cancel()
		group.Wait()
	}
}

// look returns how many transactions the downstream shows, and what is wrong. An
// error says that it could not be read.
func (b *bank) look(ctx context.Context, db *sql.DB) (transactions int64, problem string, err error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = tx.Rollback() }()
	query := "SELECT 'counter', id, amount FROM counter UNION ALL SELECT 'journal', COUNT(*), COUNT(DISTINCT id) FROM journal"
	for _, table := range b.tables {
		query += fmt.Sprintf(" UNION ALL SELECT '%s', id, amount FROM %[1]s", table.Table)
	}
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return 0, "", err
	}
	defer rows.Close()
	var got []string
	var lines, different int64
	for rows.Next() {
		var table string
		var id, amount int64
		if err := rows.Scan(&table, &id, &amount); err != nil {
			return 0, "", err
		}
		switch table {
		case "counter":
			transactions = amount
		case "journal":
			lines, different = id, amount
		default:
			got = append(got, fmt.Sprintf("%s %d %d", table, id, amount))
		}
	}
	if err := rows.Err(); err != nil {
		return 0, "", err
	}
	var want []string
	for i, balances := range b.states[transactions] {
		for j, amount := range balances {
			if transactions > 0 {
				want = append(want, fmt.Sprintf("%s %d %d", b.tables[i].Table, j, amount))
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return 0, fmt.Sprintf("after %d transactions it has\n%s\nwant\n%s", transactions, strings.Join(got, "\n"), strings.Join(want, "\n")), nil
	}
	if lines != transactions || different != transactions {
		return 0, fmt.Sprintf("after %d transactions it has %d lines of which %d are different", transactions, lines, different), nil
	}
	return transactions, "", nil
}

// verify looks when nobody disturbs.
func (b *bank) verify(t *testing.T, db *sql.DB, transactions int) {
	t.Helper()
	n, problem, err := b.look(t.Context(), db)
	if err != nil || problem != "" || n != int64(transactions) {
		t.Fatalf("the downstream shows %d transactions, want %d; %s (%v)", n, transactions, problem, err)
	}
}

// TestWholeTransactions: whoever reads the downstream sees the upstream as it was
// between two transactions, while connections are killed and the sink is restarted.
func TestWholeTransactions(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		for name, most := range map[string]int{"alone": 1, "several": 40} {
			t.Run(name, func(t *testing.T) {
				n := seed(t)
				b := newBank("bank", n)
				db := b.create(t, s)
				transactions := 300
				if s.name == "TiDB" {
					transactions = 20
				}
				for range transactions {
					b.commit()
				}
				cfg := mysql.Config{SafeUntil: 1, MaxTxnRow: most, ExactlyOnce: true, Changefeed: "bank", Logger: logger(t)}
				pool := s.connect(t, "", nil)
				open := func() (out *mysql.Sink) {
					persist(t, func() (err error) { out, err = mysql.New(t.Context(), pool, cfg); return err })
					return out
				}
				out := open()
				stop := b.watch(t, db)
				for next := 0; next < len(b.history); {
					batch := b.history[next:min(len(b.history), next+1+b.rand.IntN(10))]
					calm := func() {}
					if b.rand.IntN(4) == 0 {
						calm = disturb(t, s)
					}
					persist(t, func() error { return out.WriteTransactions(t.Context(), slices.Concat(batch...)) })
					calm()
					next += len(batch)
					if b.rand.IntN(10) == 0 { // again from a checkpoint
						out.Close()
						out = open()
						next -= b.rand.IntN(min(next, 20) + 1)
					}
				}
				stop()
				out.Close()
				b.verify(t, db, transactions)
				last := b.history[len(b.history)-1][0]
				want := []string{fmt.Sprintf("bank 0 %d %d", last.CommitTs, last.StartTs)}
				if got := rowsOf(t, db, "SELECT changefeed, table_id, commit_ts, start_ts FROM tidbcdc.progress"); !slices.Equal(got, want) {
					t.Errorf("the table of positions has %q, want %q", got, want)
				}
			})
		}
	})
}

// disturb kills connections until calm is called.
func disturb(t *testing.T, s *server) (calm func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	killer.Go(func() { killConnections(ctx, t, s) })
	return func() {
		cancel()
		killer.Wait()
	}
}

// persist tries again what fails, as a changefeed does.
func persist(t *testing.T, what func() error) {
	t.Helper()
	for tries := 0; ; tries++ {
		err := what()
		if err == nil {
			return
		}
		if sink.IsPermanent(err) || tries == 1000 || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

// TestWholeTransactionsConverge: without exactly-once, what is delivered again ends
// in equality, whatever the shape of the table.
func TestWholeTransactionsConverge(t *testing.T) {
	n := seed(t)
	s := onAny(t)
	for _, shape := range shapes {
		for name, cfg := range map[string]mysql.Config{"plain": {SafeUntil: 1, MaxTxnRow: 5}, "safe": {MaxTxnRow: 20}} {
			t.Run(shape.name+"/"+name, func(t *testing.T) {
				db := s.database(t, "whole")
				mustExec(t, db, shape.create())
				u := newUpstream(shape, "whole", rand.New(rand.NewPCG(n, 8)))
				for range 120 {
					u.commit()
				}
				pool := s.connect(t, "", nil)
				cfg.Logger = logger(t)
				reached := 0
				for next := 0; next < len(u.history); {
					out, err := mysql.New(t.Context(), pool, cfg)
					if err != nil {
						t.Fatal(err)
					}
					for range 1 + u.rand.IntN(20) {
						batch := u.history[next:min(len(u.history), next+u.rand.IntN(8))]
						if err := out.WriteTransactions(t.Context(), slices.Concat(batch...)); err != nil {
							t.Fatal(err)
						}
						next += len(batch)
						if next >= reached && next > 0 {
							u.verify(t, db, next)
							reached = next
						}
					}
					out.Close()
					if next < len(u.history) {
						next -= u.rand.IntN(min(next, 30) + 1)
					}
				}
				u.verify(t, db, len(u.history))
			})
		}
	}
}

// TestWholeTransactionsResumed: a call that failed in the middle and is repeated
// goes on where it stopped, so that nobody sees an earlier state again.
func TestWholeTransactionsResumed(t *testing.T) {
	s := mariaDB(t) // which enforces the constraint
	b := newBank("resumed", 1)
	db := b.create(t, s)
	for range 10 {
		b.commit()
	}
	cfg := mysql.Config{SafeUntil: 1, MaxTxnRow: 1, Logger: logger(t)}
	out, err := mysql.New(t.Context(), s.connect(t, "", nil), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	mustExec(t, db, "ALTER TABLE counter ADD CONSTRAINT six CHECK (amount <= 6)")
	rows := slices.Concat(b.history...)
	err = out.WriteTransactions(t.Context(), rows)
	if err == nil {
		t.Fatal("written")
	}
	commitTs := b.history[6][0].CommitTs
	for _, want := range []string{"resumed.counter", fmt.Sprintf("commit ts %d to %d", commitTs, commitTs), "4025"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want something about %s", err, want)
		}
	}
	b.verify(t, db, 6)
	mustExec(t, db, "ALTER TABLE counter DROP CONSTRAINT six")
	stop := b.watch(t, db)
	if err := out.WriteTransactions(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	stop()
	b.verify(t, db, 10)
}

// TestPredecessor: with exactly-once a sink that another has overtaken, such as the
// connection of a process that is gone, writes nothing twice.
func TestPredecessor(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		for _, whole := range []bool{true, false} {
			t.Run(fmt.Sprintf("whole=%t", whole), func(t *testing.T) {
				b := newBank("predecessor", 1)
				db := b.create(t, s)
				for range 10 {
					b.commit()
				}
				cfg := mysql.Config{SafeUntil: 1, ExactlyOnce: true, Changefeed: "predecessor", MaxTxnRow: 30, Logger: logger(t)}
				var sinks [2]*mysql.Sink
				for i := range sinks {
					var err error
					if sinks[i], err = mysql.New(t.Context(), s.connect(t, "", nil), cfg); err != nil {
						t.Fatal(err)
					}
					defer sinks[i].Close()
				}
				for i := 0; i < len(b.history); i += 2 {
					for _, out := range sinks {
						for _, rows := range b.history[i : i+2] {
							if whole {
								if err := out.WriteTransactions(t.Context(), rows); err != nil {
									t.Fatal(err)
								}
								continue
							}
							for _, row := range rows {
								if err := out.WriteRows(t.Context(), []*event.RowChanged{row}); err != nil {
									t.Fatal(err)
								}
							}
						}
					}
				}
				b.verify(t, db, 10)
			})
		}
	})
}

// TestTruncateOnce: with exactly-once a TRUNCATE TABLE that is delivered again does
// not remove rows that are left out as written.
func TestTruncateOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		for _, whole := range []bool{true, false} {
			shape := shapes[0]
			db := s.database(t, "truncated")
			mustExec(t, db, "DROP DATABASE IF EXISTS tidbcdc", shape.create())
			before, after := shape.table("truncated"), shape.table("truncated")
			after.ID = 78
			row := func(table *event.TableInfo, id int64, ts event.Ts) []*event.RowChanged {
				return []*event.RowChanged{{
					StartTs: ts - 1, CommitTs: ts, Table: table, PhysicalTableID: table.ID, Key: fmt.Append(nil, table.ID, id),
					Columns: []event.Value{event.Int64Value(id), event.TextValue(fmt.Sprint("name ", id)), event.Int64Value(id)},
				}}
			}
			truncate := &event.DDL{
				StartTs: 199, CommitTs: 200, JobID: 4711, Type: event.DDLTruncateTable, Query: "TRUNCATE TABLE truncated.t", Schema: "truncated",
				Table: after, PreTable: before, Changes: []event.TableChange{{Before: before, After: after}},
			}
			for range 2 { // the second time as after a crash
				out, err := mysql.New(t.Context(), s.connect(t, "", nil), mysql.Config{ExactlyOnce: true, Changefeed: "truncated", Logger: logger(t)})
				if err != nil {
					t.Fatal(err)
				}
				write := out.WriteRows
				if whole {
					write = out.WriteTransactions
				}
				for _, err := range []error{write(t.Context(), row(before, 1, 100)), out.WriteDDL(t.Context(), truncate), write(t.Context(), row(after, 2, 300))} {
					if err != nil {
						t.Fatal(err)
					}
				}
				out.Close()
				if got := rowsOf(t, db, "SELECT id, n FROM t"); !slices.Equal(got, []string{"2 2"}) {
					t.Fatalf("the table has %q, want row 2", got)
				}
			}
		}
	})
}

// TestEnumWithoutElement: rows that only a lax SQL mode accepts leave it strict for
// the others, of the same call and later.
func TestEnumWithoutElement(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		db := s.database(t, "lax")
		mustExec(t, db, "CREATE TABLE t (id BIGINT PRIMARY KEY, e ENUM('a','b'), n TINYINT)")
		number := event.ColumnInfo{Name: "id", Type: event.TypeLonglong}
		enum := event.ColumnInfo{Name: "e", Type: event.TypeEnum, Elems: []string{"a", "b"}}
		table := &event.TableInfo{
			ID: 1, Schema: "lax", Table: "t", PKIsHandle: true, HandleKey: []int{0},
			Columns: []event.ColumnInfo{number, enum, {Name: "n", Type: event.TypeTiny}},
		}
		row := func(id int64, e int, n int64) *event.RowChanged {
			return &event.RowChanged{
				StartTs: 1, CommitTs: event.Ts(100 + id), Table: table, PhysicalTableID: 1, Key: fmt.Append(nil, id),
				Columns: []event.Value{event.Int64Value(id), event.EnumValue(uint64(e), enum.Elems), event.Int64Value(n)},
			}
		}
		out, err := mysql.New(t.Context(), s.connect(t, "", nil), mysql.Config{WorkerCount: 1, Logger: logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := out.WriteRows(t.Context(), []*event.RowChanged{row(1, 1, 1), row(2, 0, 2), row(3, 0, 3), row(4, 2, 4)}); err != nil {
			t.Fatal(err)
		}
		for _, rows := range [][]*event.RowChanged{{row(5, 0, 5), row(6, 1, 1000)}, {row(7, 1, 1000)}} {
			if err := out.WriteRows(t.Context(), rows); err == nil {
				t.Error("a number that is too large was written")
			}
		}
		if got, want := rowsOf(t, db, "SELECT id, e+0, n FROM t ORDER BY id"), []string{"1 1 1", "2 0 2", "3 0 3", "4 2 4"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestPartitionedRowUpdatedAndDeleted: deletes of a partitioned table look at the
// whole row, which is not what it was last if the update before is left out.
func TestPartitionedRowUpdatedAndDeleted(t *testing.T) {
	s := onAny(t)
	shape := shapes[0]
	table := shape.table("partitioned")
	table.Partition = &event.PartitionInfo{}
	image := func(n int64) []event.Value {
		return []event.Value{event.Int64Value(1), event.TextValue("name"), event.Int64Value(n)}
	}
	row := func(ts event.Ts, before, after []event.Value) *event.RowChanged {
		return &event.RowChanged{StartTs: ts - 1, CommitTs: ts, Table: table, PhysicalTableID: 77, Key: []byte("t77_r1"), PreColumns: before, Columns: after}
	}
	rows := []*event.RowChanged{row(10, nil, image(1)), row(20, image(1), image(2)), row(30, image(2), image(3)), row(40, image(3), nil)}
	for _, calls := range [][][]*event.RowChanged{
		{rows},
		{rows[:1], rows[1:]},
		{rows[:2], rows[2:]},
		{rows[:3], rows[1:]}, // again from a checkpoint
		{rows[:3], rows[:1], rows[1:]},
	} {
		db := s.database(t, "partitioned")
		mustExec(t, db, shape.create())
		out, err := mysql.New(t.Context(), s.connect(t, "", nil), mysql.Config{SafeUntil: 1, Logger: logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		for _, rows := range calls {
			if err := out.WriteRows(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
		}
		out.Close()
		if got := rowsOf(t, db, "SELECT * FROM t"); len(got) > 0 {
			t.Errorf("%q is left", got)
		}
	}
}
