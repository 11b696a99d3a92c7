package cdctest_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func startCluster(t *testing.T, cfg cdctest.Config) *cdctest.Cluster {
	t.Helper()
	c, err := cdctest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Rows are as TiDB's encoder writes them.
func TestRowFormat(t *testing.T) {
	c := startCluster(t, cdctest.Config{})
	tests := []struct {
		column cdctest.Column
		value  any
		want   string
		text   string
	}{
		{cdctest.Int("v"), 1, "80000100000002010001", "1"},
		{cdctest.Int("v"), -1, "800001000000020100ff", "-1"},
		{cdctest.Int("v"), 300, "8000010000000202002c01", "300"},
		{cdctest.Int("v"), math.MinInt64, "8000010000000208000000000000000080", "-9223372036854775808"},
		{cdctest.Uint("v"), 255, "800001000000020100ff", "255"},
		{cdctest.Uint("v"), 65536, "80000100000002040000000100", "65536"},
		{cdctest.Uint("v"), uint64(math.MaxUint64), "800001000000020800ffffffffffffffff", "18446744073709551615"},
		{cdctest.Float("v"), 1.5, "800001000000020800bff8000000000000", "1.5"},
		{cdctest.Float("v"), -1.5, "8000010000000208004007ffffffffffff", "-1.5"},
		{cdctest.Text("v"), "hi", "8000010000000202006869", "hi"},
		{cdctest.Bytes("v"), []byte{0, 255}, "80000100000002020000ff", "\x00\xff"},
		{cdctest.Text("v"), nil, "80000000010002", cdctest.Null},
	}
	for i, tt := range tests {
		table := c.CreateTable("test", fmt.Sprintf("t%d", i), cdctest.Int("id").PrimaryKey(), tt.column)
		start := c.Oracle().Now()
		ts := table.Insert(7, tt.value)
		history := c.History(table.Span(), start, ts)
		if len(history) != 1 || hex.EncodeToString(history[0].Value) != tt.want {
			t.Errorf("%v as %s: %x, want %s", tt.value, tt.column.Name, history, tt.want)
		}
		got := c.State(ts).Rows[table.ID()][string(table.Key(7))]
		if len(got) != 2 || got[0] != "7" || got[1] != tt.text {
			t.Errorf("%v is read as %q, want %q", tt.value, got, tt.text)
		}
	}
	if got := hex.EncodeToString(cdctest.RowKey(104, -2)); got != "7480000000000000685f727ffffffffffffffe" {
		t.Errorf("key %s", got)
	}
}

// A row of more than 64 KiB has wide offsets; the state is read through them.
func TestLargeRowFormat(t *testing.T) {
	c := startCluster(t, cdctest.Config{})
	table := c.CreateTable("test", "t", cdctest.Int("id").PrimaryKey(), cdctest.Text("a"), cdctest.Text("b"), cdctest.Text("c"))
	long := strings.Repeat("x", 1<<17)
	ts := table.Insert(1, "short", long, nil)
	got := c.State(ts).Rows[table.ID()][string(table.Key(1))]
	if len(got) != 4 || got[1] != "short" || got[2] != long || got[3] != cdctest.Null {
		t.Errorf("read %d columns", len(got))
	}
}

// A state is what a reader at its ts sees, schema included.
func TestState(t *testing.T) {
	c := startCluster(t, cdctest.Config{})
	table := c.CreateTable("test", "t", cdctest.Uint("id").PrimaryKey(), cdctest.Text("a"))
	row := func(ts event.Ts, id, key int64) string {
		return fmt.Sprintf("%q", c.State(ts).Rows[id][string(cdctest.RowKey(id, key))])
	}
	first := table.Insert(uint64(1), "one")
	id := table.ID()
	txn := c.Begin().Update(table, uint64(1), "two").Insert(table, uint64(2), "three").Prewrite()
	if got := row(c.Oracle().Now(), id, 1); got != `["1" "one"]` {
		t.Errorf("with a lock: %s", got)
	}
	second := txn.Commit()
	added := table.AddColumn(cdctest.Int("n").NotNull())
	third := table.Update(uint64(1), "four", 5)
	truncated := table.Truncate()
	for _, tt := range []struct {
		ts   event.Ts
		key  int64
		want string
	}{
		{first - 1, 1, "[]"},
		{first, 1, `["1" "one"]`},
		{second - 1, 2, "[]"},
		{second, 2, `["2" "three"]`},
		{added, 2, `["2" "three" "0"]`},
		{third, 1, `["1" "four" "5"]`},
		{truncated, 1, "[]"},
	} {
		if got := row(tt.ts, id, tt.key); got != tt.want {
			t.Errorf("row %d at %d: %s, want %s", tt.key, tt.ts, got, tt.want)
		}
	}
	if table.ID() == id || c.State(truncated).Tables[id] != nil || c.State(truncated).Tables[table.ID()] == nil {
		t.Error("the truncated table has not changed its id")
	}
	table.Drop()
	if n := len(c.State(c.Oracle().Now()).Tables); n != 0 {
		t.Errorf("%d tables are left", n)
	}
}

// Mistakes of a script end it where it is wrong, and leave the cluster usable.
func TestMistakes(t *testing.T) {
	c := startCluster(t, cdctest.Config{})
	table := c.CreateTable("test", "t", cdctest.Int("id").PrimaryKey(), cdctest.Text("a").NotNull())
	table.Insert(1, "a")
	c.Begin().Update(table, 1, "locked").Prewrite()
	tests := map[string]func(){
		"exists":                func() { c.CreateTable("test", "T", cdctest.Int("id")) },
		"not an integer":        func() { c.CreateTable("test", "u", cdctest.Text("id").PrimaryKey()) },
		"2 columns, got 1":      func() { table.Insert(1) },
		"NOT NULL":              func() { table.Insert(2, nil) },
		"cannot hold a float64": func() { table.Insert(2, 1.5) },
		"(string) is not an":    func() { table.Insert("2", "a") },
		"locked by":             func() { table.Update(1, "b") },
		"no region 99":          func() { c.TransferLeader(99, 1) },
		"no store 99":           func() { c.StopStore(99) },
		"begins at":             func() { c.Split(c.Regions()[0].Start) },
		"no column x":           func() { table.DropColumn("x") },
		"no lock of it":         func() { c.Begin().Put([]byte("k"), nil).CommitKeys(1<<60, []byte("k")) },
	}
	for want, fn := range tests {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("panic %q, want %q", got, want)
				}
			}()
			fn()
		})
	}
	table.Insert(3, "still works")
}

// Timestamps grow whatever happens to the clock.
func TestOracle(t *testing.T) {
	c := startCluster(t, cdctest.Config{ResolvedTsInterval: -1})
	o := c.Oracle()
	last := o.Now()
	grows := func(what string) event.Ts {
		t.Helper()
		now := o.Now()
		if now <= last {
			t.Errorf("%s: %d after %d", what, now, last)
		}
		last = now
		return now
	}
	o.Freeze()
	before := grows("frozen")
	if now := grows("frozen"); now != before+1 {
		t.Errorf("a frozen clock went from %d to %d", before, now)
	}
	o.Advance(1e9)
	if now := grows("advanced"); now.Physical() < before.Physical()+900 {
		t.Errorf("advanced from %d to %d", before, now)
	}
	o.Advance(-2e9)
	grows("set back")
	for range 1 << 18 { // more than a millisecond has room for
		grows("many")
	}
	o.Thaw()
	grows("thawed")
}
