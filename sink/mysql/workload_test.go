package mysql_test

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

// shape is a kind of table: how its rows are identified.
type shape struct {
	name, keys string
	// clustered: TiKV's key holds id, else a number that no column has.
	clustered bool
	handle    []int
	indexes   []event.IndexInfo
}

// All have the columns id, u and n; u ignores case.
const (
	columnID = iota
	columnU
	columnN
)

var shapes = []shape{
	{
		name: "clustered", keys: "PRIMARY KEY (id), UNIQUE KEY u (u)", clustered: true, handle: []int{columnID},
		indexes: []event.IndexInfo{unique(2, "u", columnU)},
	},
	{
		name: "nonclustered", keys: "PRIMARY KEY (id), UNIQUE KEY u (u)", handle: []int{columnID},
		indexes: []event.IndexInfo{{ID: 1, Name: "PRIMARY", Primary: true, Unique: true, Columns: indexColumns(columnID)}, unique(2, "u", columnU)},
	},
	{
		name: "unique", keys: "UNIQUE KEY u (u), UNIQUE KEY i (id)", handle: []int{columnU},
		indexes: []event.IndexInfo{unique(2, "u", columnU), unique(3, "i", columnID)},
	},
	{
		name: "two columns", keys: "PRIMARY KEY (u, id), UNIQUE KEY i (id)", handle: []int{columnU, columnID},
		indexes: []event.IndexInfo{{ID: 1, Name: "PRIMARY", Primary: true, Unique: true, Columns: indexColumns(columnU, columnID)}, unique(3, "i", columnID), unique(2, "u", columnU)},
	},
}

func unique(id int64, name string, columns ...int) event.IndexInfo {
	return event.IndexInfo{ID: id, Name: name, Unique: true, Columns: indexColumns(columns...)}
}

func indexColumns(columns ...int) []event.IndexColumn {
	var out []event.IndexColumn
	for _, c := range columns {
		out = append(out, event.IndexColumn{Name: []string{"id", "u", "n"}[c], Offset: c, Length: -1})
	}
	return out
}

func (s shape) table(schema string) *event.TableInfo {
	return &event.TableInfo{
		ID: 77, Schema: schema, Table: "t", PKIsHandle: s.clustered, HandleKey: s.handle, Indexes: s.indexes,
		Columns: []event.ColumnInfo{
			{ID: 1, Name: "id", Type: event.TypeLonglong, Flag: event.FlagNotNull, Charset: "binary", Collation: "binary"},
			{ID: 2, Name: "u", Type: event.TypeVarchar, Flag: event.FlagNotNull, Length: 20, Charset: "utf8mb4", Collation: "utf8mb4_general_ci"},
			{ID: 3, Name: "n", Type: event.TypeLong, Charset: "binary", Collation: "binary"},
		},
	}
}

func (s shape) create() string {
	return "CREATE TABLE t (id BIGINT NOT NULL, u VARCHAR(20) COLLATE utf8mb4_general_ci NOT NULL, n INT, " + s.keys + ")"
}

// upstream is a table with its history, made up at random. Transactions keep the
// unique keys of the table when they end, and not on the way.
type upstream struct {
	shape  shape
	table  *event.TableInfo
	rand   *rand.Rand
	rows   map[int64]modelRow // by what TiKV's key holds
	nextID int64
	ts     event.Ts
	// history are the transactions, in commit order, with their rows as TiKV
	// orders them.
	history [][]*event.RowChanged
	// states are what the table holds after each of them.
	states []map[int64]modelRow
}

type modelRow struct {
	id int64
	u  string
	n  int64
}

func (r modelRow) image() []event.Value {
	n := event.Int64Value(r.n)
	if r.n == 0 {
		n = event.Value{}
	}
	return []event.Value{event.Int64Value(r.id), event.TextValue(r.u), n}
}

func newUpstream(s shape, schema string, r *rand.Rand) *upstream {
	return &upstream{shape: s, table: s.table(schema), rand: r, rows: map[int64]modelRow{}, nextID: 1000, ts: 1000}
}

// commit adds a transaction of a few changes.
func (u *upstream) commit() {
	after := maps.Clone(u.rows)
	for range 1 + u.rand.IntN(6) {
		u.change(after)
	}
	u.commitRows(after)
}

// commitRows adds the transaction that leads to the given rows.
func (u *upstream) commitRows(after map[int64]modelRow) {
	u.ts += 10
	var deletes, puts []*event.RowChanged
	keys := slices.Sorted(maps.Keys(after))
	for key := range u.rows {
		if _, ok := after[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		old, existed := u.rows[key]
		now, exists := after[key]
		if existed == exists && old == now {
			continue
		}
		row := &event.RowChanged{
			StartTs: u.ts - 5, CommitTs: u.ts, Table: u.table, PhysicalTableID: u.table.ID,
			Key: binary.BigEndian.AppendUint64([]byte("t77_r"), uint64(key)^1<<63),
		}
		if existed {
			row.PreColumns = old.image()
		}
		if exists {
			row.Columns = now.image()
			puts = append(puts, row)
		} else {
			deletes = append(deletes, row)
		}
	}
	u.rows = after
	if len(deletes)+len(puts) > 0 {
		u.history = append(u.history, append(deletes, puts...))
		u.states = append(u.states, after)
	}
}

const domain = 12 // so few values that they meet again soon

// change does something to rows that keeps their keys unique.
func (u *upstream) change(rows map[int64]modelRow) {
	keys := slices.Sorted(maps.Keys(rows))
	pick := func() int64 { return keys[u.rand.IntN(len(keys))] }
	what := u.rand.IntN(7)
	if len(keys) < 2 {
		what = 0
	}
	switch what {
	case 0, 1: // a new row, perhaps with values that another one had
		row := modelRow{int64(u.rand.IntN(domain)), u.name(), u.number()}
		if u.free(rows, row, -1) {
			key := row.id
			if !u.shape.clustered {
				u.nextID++
				key = u.nextID
			}
			rows[key] = row
		}
	case 2:
		delete(rows, pick())
	case 3: // rows swap their names
		a, b := pick(), pick()
		x, y := rows[a], rows[b]
		x.u, y.u = y.u, x.u
		rows[a], rows[b] = x, y
	case 4: // and their ids
		a, b := pick(), pick()
		x, y := rows[a], rows[b]
		if !u.shape.clustered {
			x.id, y.id = y.id, x.id
		}
		rows[a], rows[b] = x, y
	case 5: // another name
		key := pick()
		row := rows[key]
		row.u = u.name()
		if u.free(rows, row, key) {
			rows[key] = row
		}
	default:
		key := pick()
		row := rows[key]
		row.n = u.number()
		rows[key] = row
	}
}

func (u *upstream) name() string {
	name := []byte(fmt.Sprintf("name %c", 'a'+u.rand.IntN(domain)))
	if u.rand.IntN(2) == 0 {
		name = []byte(strings.ToUpper(string(name)))
	}
	return string(name)
}

func (u *upstream) number() int64 { return int64(u.rand.IntN(1000)) }

func (u *upstream) free(rows map[int64]modelRow, row modelRow, except int64) bool {
	for key, other := range rows {
		if key != except && (other.id == row.id || strings.EqualFold(other.u, row.u)) {
			return false
		}
	}
	return true
}

// want returns what SELECT id, u, n ORDER BY id should return after the first
// transactions.
func (u *upstream) want(transactions int) []string {
	rows := slices.SortedFunc(maps.Values(u.states[transactions-1]), func(a, b modelRow) int { return int(a.id - b.id) })
	var out []string
	for _, r := range rows {
		n := fmt.Sprint(r.n)
		if r.n == 0 {
			n = "NULL"
		}
		out = append(out, fmt.Sprintf("%d %s %s", r.id, r.u, n))
	}
	return out
}

func (u *upstream) verify(t *testing.T, db *sql.DB, transactions int) {
	t.Helper()
	if got, want := rowsOf(t, db, "SELECT id, u, n FROM t ORDER BY id"), u.want(transactions); !slices.Equal(got, want) {
		t.Fatalf("after %d transactions the downstream has\n%s\nwant\n%s", transactions, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestConverge delivers random transactions, several or a part of one in a call,
// and begins again at an earlier one now and then, as after a crash.
func TestConverge(t *testing.T) {
	n := seed(t)
	modes := map[string]mysql.Config{
		"plain": {SafeUntil: 1}, "safe": {}, "sharded": {SafeUntil: 1, MaxTxnRow: 3, WorkerCount: 4},
		"sharded safe": {MaxTxnRow: 3, WorkerCount: 4}, "table": {SafeUntil: 1, MaxTxnRow: 3, WorkerCount: 4, Atomicity: mysql.AtomicityTable},
		"exactly once": {SafeUntil: 1, MaxTxnRow: 3, ExactlyOnce: true, Changefeed: "converge"},
		"row by row":   {SafeUntil: 1, NoBatchDML: true, NoMultiStatements: true},
	}
	onEach(t, func(t *testing.T, s *server) {
		for _, shape := range shapes {
			for mode, cfg := range modes {
				transactions := 150
				if s.name == "TiDB" {
					if mode != "sharded" && mode != "safe" {
						continue // the modes differ by what is sent, not by the server
					}
					transactions = 40
				}
				t.Run(shape.name+"/"+mode, func(t *testing.T) {
					db := s.database(t, "converge")
					mustExec(t, db, "DROP DATABASE IF EXISTS tidbcdc", shape.create())
					u := newUpstream(shape, "converge", rand.New(rand.NewPCG(n, 1)))
					converge(t, s, u, cfg, transactions, func(n int) { u.verify(t, db, n) })
				})
			}
		}
	})
}

// converge delivers transactions to sinks that are opened anew at random.
// In between it lets verify look.
func converge(t *testing.T, s *server, u *upstream, cfg mysql.Config, transactions int, verify func(transactions int)) {
	t.Helper()
	cfg.Logger = logger(t)
	pool := s.connect(t, "", nil)
	var out *mysql.Sink
	reopen := func() {
		if out != nil {
			out.Close()
		}
		var err error
		if out, err = mysql.New(t.Context(), pool, cfg); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	defer func() { out.Close() }()
	for range transactions {
		u.commit()
	}
	reached := 0 // what was delivered before a crash is ahead of what is replayed
	for next := 0; next < len(u.history); {
		batch := u.history[next:min(len(u.history), next+1+u.rand.IntN(8))]
		rows := slices.Concat(batch...)
		crash := u.rand.IntN(6) == 0
		if crash { // in the middle of it
			rows = rows[:u.rand.IntN(len(rows)+1)]
		}
		// A transaction that is too large for one call comes in several.
		cut := u.rand.IntN(len(rows) + 1)
		for _, rows := range [][]*event.RowChanged{rows[:cut], rows[cut:]} {
			if err := out.WriteRows(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
		}
		next += len(batch)
		if !crash && (u.rand.IntN(4) == 0 || next == len(u.history)) && next >= reached {
			verify(next)
		}
		reached = max(reached, next)
		if crash {
			reopen()
			next -= len(batch) + u.rand.IntN(min(10, next-len(batch)+1))
		}
	}
}
