package e2e_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/playground"
)

// table is one kind of table of the workload.
type table struct {
	name   string
	create string
	// columns are those that DML writes, with a generator of SQL literals; the
	// first keys of them identify a row.
	columns []column
	keys    int
}

type column struct {
	name string
	gen  func(*rand.Rand) string
}

// lit returns a generator that picks one of some SQL literals.
func lit(values ...string) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return values[r.IntN(len(values))] }
}

// num returns a generator of integers in [0, n).
func num(n int) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return fmt.Sprint(r.IntN(n)) }
}

// word returns a generator of short strings, or NULL now and then.
func word(nullable bool) func(*rand.Rand) string {
	words := []string{"", "a", "Ab", "tea  ", "Größe", "茶", "😀 tea", "it\\'s", "x\\\\y", strings.Repeat("long ", 30)}
	return func(r *rand.Rand) string {
		if nullable && r.IntN(6) == 0 {
			return "NULL"
		}
		return fmt.Sprintf("'%s%d'", words[r.IntN(len(words))], r.IntN(50))
	}
}

// tables returns every kind of table.
func tables() []table {
	key, val := num(40), num(1000)
	name := lit("'ann'", "'Bob'", "'bob '", "'Çem'", "'çem'", "'dora'", "'茶'", "''")
	return []table{
		{
			"clustered", "(id BIGINT PRIMARY KEY CLUSTERED, v INT, s VARCHAR(200))",
			[]column{{"id", key}, {"v", val}, {"s", word(true)}},
			1,
		},
		{
			"nonclustered", "(id INT, v INT, s VARCHAR(200), PRIMARY KEY (id) NONCLUSTERED, KEY (v))",
			[]column{{"id", key}, {"v", val}, {"s", word(true)}},
			1,
		},
		{
			"unsigned_pk", "(id BIGINT UNSIGNED PRIMARY KEY, v INT UNSIGNED)",
			[]column{{"id", lit("0", "1", "9223372036854775807", "9223372036854775808", "18446744073709551615")}, {"v", lit("0", "4294967295", "NULL")}},
			1,
		},
		{
			"composite", "(a VARCHAR(40) COLLATE utf8mb4_general_ci, b INT, c DATETIME(3), v VARCHAR(200), PRIMARY KEY (a, b, c) CLUSTERED)",
			[]column{{"a", name}, {"b", num(4)}, {"c", lit("'2024-01-01'", "'2024-02-29 12:34:56.789'")}, {"v", word(true)}},
			3,
		},
		{
			"prefix_pk", "(a VARCHAR(300), b DECIMAL(10,3), v VARCHAR(200), PRIMARY KEY (a(3), b) CLUSTERED)",
			[]column{{"a", lit("'abcdef'", "'abcxyz'", "'zz'", "''")}, {"b", lit("-1.5", "0", "12.345", "9999999.999")}, {"v", word(true)}},
			2,
		},
		{
			"binary_pk", "(a VARBINARY(20), b BIGINT UNSIGNED, v INT, PRIMARY KEY (a, b) CLUSTERED)",
			[]column{{"a", lit("x''", "x'00'", "x'00ff00ff00ff00ff00'", "'plain'")}, {"b", lit("0", "18446744073709551615")}, {"v", val}},
			2,
		},
		{
			"unique_only", "(a INT NOT NULL, b VARCHAR(20) NOT NULL, v INT, UNIQUE KEY ab (a, b))",
			[]column{{"a", num(6)}, {"b", name}, {"v", val}},
			2,
		},
		{
			"keyless", "(a INT, b VARCHAR(200))",
			[]column{{"a", num(5)}, {"b", word(true)}},
			1,
		},
		{
			"ranged", "(id INT, v INT, s VARCHAR(200), PRIMARY KEY (id) CLUSTERED) PARTITION BY RANGE (id) " +
				"(PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN (30), PARTITION pmax VALUES LESS THAN (1000))",
			[]column{{"id", key}, {"v", val}, {"s", word(true)}},
			1,
		},
		{
			"hashed", "(id INT, v INT, PRIMARY KEY (id) NONCLUSTERED) PARTITION BY HASH (id) PARTITIONS 3",
			[]column{{"id", key}, {"v", val}},
			1,
		},
		{
			"computed", "(id INT PRIMARY KEY, v INT, twice BIGINT AS (v * 2) VIRTUAL, thrice BIGINT AS (v * 3) STORED, KEY (twice))",
			[]column{{"id", key}, {"v", val}},
			1,
		},
		alltypes(),
	}
}

// alltypes has a column of every type.
func alltypes() table {
	c := []column{
		{"id", num(25)},
		{"i8", lit("-128", "0", "127", "NULL")},
		{"u8", lit("0", "255", "NULL")},
		{"i16", lit("-32768", "32767")},
		{"i24", lit("-8388608", "8388607")},
		{"i32", lit("-2147483648", "2147483647")},
		{"i64", lit("-9223372036854775808", "9223372036854775807", "300")},
		{"u64", lit("0", "18446744073709551615")},
		{"f32", lit("0", "-1.5", "3.14159", "1e30", "NULL")},
		{"f64", lit("0", "-2.5e-300", "1.7976931348623157e308", "0.1")},
		{"dec1", lit("0", "-0.01", "12345678.90", "NULL")},
		{"dec2", lit("0", "99999999999999999999999999999999999999", "-1")},
		{"dec3", lit("0.000000000000000000000000000001", "-99999.5", "1")},
		{"b1", lit("b'1'", "b'0'", "NULL")},
		{"b64", lit("b'0'", "18446744073709551615", "5")},
		{"y", lit("1901", "2024", "2155", "0", "NULL")},
		{"d", lit("'2024-02-29'", "'0000-00-00'", "'9999-12-31'", "NULL")},
		{"dt", lit("'2024-01-02 03:04:05'", "'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'")},
		{"dt6", lit("'2024-01-02 03:04:05.678901'", "'1000-01-01 00:00:00.000001'")},
		{"ts", lit("'2024-03-31 01:30:00'", "'1970-01-01 00:00:01'", "NULL")},
		{"ts6", lit("'2037-12-31 23:59:59.999999'", "NULL")},
		{"t", lit("'838:59:59'", "'-838:59:59'", "'00:00:00'", "NULL")},
		{"t6", lit("'-00:00:00.000001'", "'12:34:56.5'")},
		{"ch", word(true)},
		{"bi", lit("x'00ff'", "'abc'", "NULL")},
		{"vb", lit("x''", "x'deadbeef'")},
		{"tx", word(true)},
		{"bl", lit("x'00010203'", "''", "NULL")},
		{"e", lit("'red'", "'blue'", "''", "NULL")},
		{"st", lit("''", "'a'", "'a,c'", "'a,b,c,d'", "NULL")},
		{"j", lit(`'{"k": [1, -2.5, "x", null, true, {}], "ü": "a\\"b"}'`, `'[]'`, `'"text"'`, `'18446744073709551615'`, "NULL",
			`JSON_OBJECT('d', CAST('2024-01-02' AS DATE), 't', CAST('10:11:12.5' AS TIME(1)), 'b', 1e100)`)},
	}
	return table{"alltypes", `(id INT PRIMARY KEY, i8 TINYINT, u8 TINYINT UNSIGNED, i16 SMALLINT, i24 MEDIUMINT, i32 INT, i64 BIGINT,
		u64 BIGINT UNSIGNED, f32 FLOAT, f64 DOUBLE, dec1 DECIMAL(10,2), dec2 DECIMAL(38,0), dec3 DECIMAL(40,30), b1 BIT(1), b64 BIT(64), y YEAR,
		d DATE, dt DATETIME, dt6 DATETIME(6), ts TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL, t TIME, t6 TIME(6),
		ch CHAR(200), bi BINARY(4), vb VARBINARY(20), tx TEXT, bl BLOB, e ENUM('red','blue'), st SET('a','b','c','d'), j JSON)`, c, 1}
}

// workload changes a database at random: rows in transactions of all kinds, and
// tables.
type workload struct {
	db     *sql.DB
	tables []table
	seed   uint64
	// committed and altered count what succeeded; failed what the database refused.
	committed, altered, failed atomic.Int64
	wg                         sync.WaitGroup
	// stop ends it and waits.
	stop func()
	// altering is held for reading while a DDL is under way.
	altering sync.RWMutex
}

// between calls fn at a moment when no DDL is under way. While one is, what
// TiDB shows of a table is neither the old schema nor the new one: a column that
// is being dropped has gone, and the rest of the statement is still to come.
func (w *workload) between(fn func() event.Ts) event.Ts {
	w.altering.Lock()
	defer w.altering.Unlock()
	return fn()
}

// create makes the tables.
func (w *workload) create(ctx context.Context) error {
	for _, t := range w.tables {
		if _, err := w.db.ExecContext(ctx, "CREATE TABLE "+t.name+" "+t.create); err != nil {
			return fmt.Errorf("create %s: %w", t.name, err)
		}
	}
	return nil
}

// start runs the writers, and sessions of DDL, until ctx ends.
func (w *workload) start(ctx context.Context, writers int) {
	for i := range writers {
		w.wg.Go(func() { w.write(ctx, rand.New(rand.NewPCG(w.seed, uint64(i)))) })
	}
	// Two sessions, because one statement may wait long for the writers.
	for i := range 2 {
		w.wg.Go(func() { w.alter(ctx, rand.New(rand.NewPCG(w.seed, math.MaxUint64-uint64(i))), i) })
	}
}

// write runs random transactions, on one connection as long as it holds.
func (w *workload) write(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		conn, err := w.db.Conn(ctx)
		if err != nil {
			continue
		}
		w.writeOn(ctx, r, conn)
		_ = conn.Close()
	}
}

func (w *workload) writeOn(ctx context.Context, r *rand.Rand, conn *sql.Conn) {
	exec := func(q string) error { _, err := conn.ExecContext(ctx, q); return err }
	for ctx.Err() == nil {
		err := exec(fmt.Sprintf("SET tidb_enable_async_commit=%d, tidb_enable_1pc=%d, tidb_txn_mode='%s'",
			r.IntN(2), r.IntN(2), []string{"optimistic", "pessimistic"}[r.IntN(2)]))
		if err != nil {
			return // the connection is gone
		}
		for range 10 {
			err := exec("BEGIN")
			for n := 1 + r.IntN(5); err == nil && n > 0; n-- {
				err = exec(w.statement(r))
			}
			if err == nil && r.IntN(10) > 0 {
				err = exec("COMMIT")
			} else {
				_ = exec("ROLLBACK")
			}
			if err == nil {
				w.committed.Add(1)
			} else {
				w.failed.Add(1)
			}
		}
	}
}

// statement returns a random INSERT, UPDATE or DELETE.
func (w *workload) statement(r *rand.Rand) string {
	t := w.tables[r.IntN(len(w.tables))]
	switch r.IntN(10) {
	case 0, 1:
		return fmt.Sprintf("DELETE FROM %s WHERE %s LIMIT 3", t.name, t.where(r))
	case 2, 3, 4:
		c := t.columns[r.IntN(len(t.columns))]
		return fmt.Sprintf("UPDATE IGNORE %s SET %s = %s WHERE %s LIMIT 2", t.name, c.name, c.gen(r), t.where(r))
	}
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	var rows []string
	for range 1 + r.IntN(3) {
		values := make([]string, len(t.columns))
		for i, c := range t.columns {
			values[i] = c.gen(r)
		}
		rows = append(rows, "("+strings.Join(values, ", ")+")")
	}
	return fmt.Sprintf("REPLACE INTO %s (%s) VALUES %s", t.name, strings.Join(names, ", "), strings.Join(rows, ", "))
}

func (t *table) where(r *rand.Rand) string {
	var conds []string
	for _, c := range t.columns[:t.keys] {
		conds = append(conds, fmt.Sprintf("%s = %s", c.name, c.gen(r)))
	}
	return strings.Join(conds, " AND ")
}

// alter runs random DDL on one connection, one every so often.
func (w *workload) alter(ctx context.Context, r *rand.Rand, session int) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	d := &ddlSession{r: r, tables: w.tables, n: session * 1000}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.altering.RLock()
		query := d.next()
		err := w.execDDL(ctx, query)
		w.altering.RUnlock()
		if err == nil {
			w.altered.Add(1)
		} else {
			w.failed.Add(1)
		}
	}
}

// execDDL executes a statement of DDL. One that has begun is not cut off when ctx ends,
// because TiDB would go on with it in the background, unless TiDB does not come to its
// end: it waits for sessions that have used the table, and was seen to do so for ever
// when the connections of all of them had been closed.
func (w *workload) execDDL(ctx context.Context, query string) error {
	ctx = context.WithoutCancel(ctx)
	patient, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	_, err := w.db.ExecContext(patient, query)
	if patient.Err() != nil {
		fmt.Fprintf(os.Stderr, "TiDB does not come to the end of %q (%v). Its sessions:\n", query, err)
		w.printRows(ctx, "SELECT id, db, command, time, state, LEFT(info, 200) FROM information_schema.processlist")
		w.printRows(ctx, "ADMIN SHOW DDL JOBS 8")
	}
	return err
}

// printRows prints the answer to a query, for whoever looks for the reason of a failure.
func (w *workload) printRows(ctx context.Context, query string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rows, err := w.db.QueryContext(ctx, query)
	if err != nil {
		fmt.Fprintln(os.Stderr, query, err)
		return
	}
	defer rows.Close()
	columns, err := rows.Columns()
	values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for err == nil && rows.Next() {
		err = rows.Scan(into...)
		fmt.Fprintln(os.Stderr, values)
	}
	if err = errors.Join(err, rows.Err()); err != nil {
		fmt.Fprintln(os.Stderr, query, err)
	}
}

// ddlSession makes up DDL statements. It remembers what it made, so that most
// of them can be carried out.
type ddlSession struct {
	r      *rand.Rand
	tables []table
	n      int
	// undo are statements that take back what earlier ones did.
	undo []string
}

func (d *ddlSession) next() string {
	d.n++
	if len(d.undo) > 0 && d.r.IntN(2) == 0 {
		i := d.r.IntN(len(d.undo))
		q := d.undo[i]
		d.undo = slices.Delete(d.undo, i, i+1)
		return q
	}
	t, n := d.tables[d.r.IntN(len(d.tables))].name, d.n
	both := func(do, undo string) string {
		d.undo = append(d.undo, undo)
		return do
	}
	switch d.r.IntN(12) {
	case 0, 1:
		return both(fmt.Sprintf("ALTER TABLE %s ADD COLUMN x%d INT NOT NULL DEFAULT %d", t, n, n),
			fmt.Sprintf("ALTER TABLE %s DROP COLUMN x%d", t, n))
	case 2:
		return both(fmt.Sprintf("ALTER TABLE %s ADD COLUMN x%d VARCHAR(20) DEFAULT 'd%d' FIRST", t, n, n),
			fmt.Sprintf("ALTER TABLE %s RENAME COLUMN x%d TO z%d", t, n, n))
	case 3:
		return both(fmt.Sprintf("ALTER TABLE %s ADD COLUMN x%d TIMESTAMP NULL DEFAULT '2024-05-06 07:08:09', ADD COLUMN y%d DECIMAL(8,3) NULL", t, n, n),
			fmt.Sprintf("ALTER TABLE %s DROP COLUMN x%d, DROP COLUMN y%d", t, n, n))
	case 4:
		return both(fmt.Sprintf("CREATE INDEX i%d ON %s (%s)", n, t, d.tables[0].columns[1].name),
			fmt.Sprintf("DROP INDEX i%d ON %s", n, t))
	case 5, 6:
		return "TRUNCATE TABLE " + t
	case 7:
		return both(fmt.Sprintf("RENAME TABLE %s TO moved_%s", t, t), fmt.Sprintf("RENAME TABLE moved_%s TO %s", t, t))
	case 8:
		return fmt.Sprintf("ALTER TABLE ranged %s PARTITION p%d", []string{"TRUNCATE", "DROP"}[d.r.IntN(2)], d.r.IntN(3))
	case 9, 10:
		return both(fmt.Sprintf("CREATE TABLE extra%d (id INT PRIMARY KEY, v INT)", n), fmt.Sprintf("DROP TABLE extra%d", n))
	}
	// Only a change that keeps all values: TiDB rewrites rows of others, and those
	// writes are no changes of rows for change data capture.
	return "ALTER TABLE clustered MODIFY COLUMN v BIGINT"
}

// chaos splits and merges regions, moves leaders and cuts streams until ctx ends.
func chaos(ctx context.Context, p *playground.Playground, tableIDs func() []int64, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	tick := time.NewTicker(150 * time.Millisecond)
	defer func() { // none stays down
		_ = p.PausePD(context.WithoutCancel(ctx), 0)
		for _, s := range p.Stores {
			_ = p.StartStore(context.WithoutCancel(ctx), s.ID)
		}
	}()
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ids := tableIDs()
		if len(ids) == 0 {
			continue
		}
		// A fault that the cluster refuses, such as a merge of regions that have
		// just changed, is no fault of the library's.
		_ = fault(ctx, p, r, ids[r.IntN(len(ids))])
	}
}

// outage takes a store off the network for a while.
func outage(ctx context.Context, p *playground.Playground, store uint64, d time.Duration) error {
	if err := p.StopStore(ctx, store); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return p.StartStore(context.WithoutCancel(ctx), store)
}

func fault(ctx context.Context, p *playground.Playground, r *rand.Rand, id int64) error {
	start := binary.BigEndian.AppendUint64([]byte{'t'}, uint64(id)^(1<<63))
	end := binary.BigEndian.AppendUint64([]byte{'t'}, uint64(id+1)^(1<<63))
	switch n := r.IntN(14); {
	case n == 13:
		if r.IntN(4) > 0 {
			return nil // everybody needs PD: not too often
		}
		return p.PausePD(ctx, time.Duration(r.IntN(2000))*time.Millisecond)
	case n == 12:
		return outage(ctx, p, p.Stores[r.IntN(len(p.Stores))].ID, time.Duration(r.IntN(500))*time.Millisecond)
	case n < 4:
		key := binary.BigEndian.AppendUint64(append(start, "_r"...), uint64(r.IntN(40))^(1<<63))
		return p.Split(ctx, key)
	case n == 10:
		return p.BreakStreams(ctx, 0, 1+r.IntN(2))
	case n == 11:
		kinds := []string{"NotLeader", "EpochNotMatch", "RegionNotFound", "ServerIsBusy", "Congested"}
		return p.FailRegistrations(ctx, 1+r.IntN(4), kinds[r.IntN(len(kinds))], 20*time.Millisecond)
	default:
		regions, err := p.Regions(ctx, start, end)
		if err != nil || len(regions) == 0 {
			return err
		}
		i := r.IntN(len(regions))
		if n < 8 {
			return p.Transfer(ctx, regions[i].ID, p.Stores[r.IntN(len(p.Stores))].ID)
		}
		if i == 0 {
			return nil
		}
		return p.Merge(ctx, regions[i-1].ID, regions[i].ID)
	}
}
