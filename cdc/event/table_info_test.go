package event_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// col describes a column of a test table: name, flags, and generated expressions.
type col struct {
	name      string
	flag      event.ColumnFlag
	generated string
	stored    bool
	state     int
}

// idx describes an index: columns by their place.
type idx struct {
	name            string
	unique, primary bool
	state           int
	cols            []int
}

func parse(t *testing.T, pkIsHandle bool, cols []col, indexes []idx) *event.TableInfo {
	t.Helper()
	name := func(s string) any { return map[string]string{"O": s, "L": strings.ToLower(s)} }
	var cs, is []any
	for i, c := range cols {
		state := c.state
		if state == 0 {
			state = 5
		}
		cs = append(cs, map[string]any{
			"id": i + 1, "name": name(c.name), "offset": i, "state": state, "type": map[string]any{"Tp": 8, "Flag": c.flag},
			"generated_expr_string": c.generated, "generated_stored": c.stored,
		})
	}
	for i, x := range indexes {
		var on []any
		for _, at := range x.cols {
			on = append(on, map[string]any{"name": name(cols[at].name), "offset": at, "length": -1})
		}
		state := x.state
		if state == 0 {
			state = 5
		}
		is = append(is, map[string]any{"id": i + 1, "idx_name": name(x.name), "idx_cols": on, "state": state, "is_unique": x.unique, "is_primary": x.primary})
	}
	data, err := json.Marshal(map[string]any{"id": 7, "name": name("T"), "cols": cs, "index_info": is, "pk_is_handle": pkIsHandle})
	if err != nil {
		t.Fatal(err)
	}
	table, err := event.ParseTableInfo(data, 3, "db")
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestHandleKey(t *testing.T) {
	notNull, pk := event.FlagNotNull, event.FlagNotNull|event.FlagPrimaryKey
	for _, c := range []struct {
		name       string
		pkIsHandle bool
		cols       []col
		indexes    []idx
		want       []int
	}{
		{"none", false, []col{{name: "a"}}, nil, nil},
		{"integer primary key", true, []col{{name: "a"}, {name: "id", flag: pk}}, nil, []int{1}},
		{
			"primary key before unique keys", false,
			[]col{{name: "a", flag: notNull}, {name: "b", flag: pk}, {name: "c", flag: pk}},
			[]idx{{name: "u", unique: true, cols: []int{0}}, {name: "PRIMARY", unique: true, primary: true, cols: []int{2, 1}}},
			[]int{2, 1},
		},
		{
			"shortest unique key", false,
			[]col{{name: "a", flag: notNull}, {name: "b", flag: notNull}},
			[]idx{{name: "ab", unique: true, cols: []int{0, 1}}, {name: "b", unique: true, cols: []int{1}}},
			[]int{1},
		},
		{
			"first of equals", false,
			[]col{{name: "a", flag: notNull}, {name: "b", flag: notNull}},
			[]idx{{name: "b", unique: true, cols: []int{1}}, {name: "a", unique: true, cols: []int{0}}},
			[]int{1},
		},
		{
			"nullable unique key", false,
			[]col{{name: "a", flag: notNull}, {name: "b"}},
			[]idx{{name: "ab", unique: true, cols: []int{0, 1}}},
			nil,
		},
		{
			"virtual column in the key", false,
			[]col{{name: "a", flag: notNull, generated: "b + 1"}, {name: "b"}},
			[]idx{{name: "a", unique: true, cols: []int{0}}},
			nil,
		},
		{
			"stored column in the key", false,
			[]col{{name: "v", generated: "1"}, {name: "a", flag: notNull, generated: "b + 1", stored: true}},
			[]idx{{name: "a", unique: true, cols: []int{1}}},
			[]int{0},
		},
		{
			"index that is being built", false,
			[]col{{name: "a", flag: notNull}},
			[]idx{{name: "a", unique: true, state: 3, cols: []int{0}}},
			nil,
		},
		{"ordinary index", false, []col{{name: "a", flag: notNull}}, []idx{{name: "a", cols: []int{0}}}, nil},
	} {
		table := parse(t, c.pkIsHandle, c.cols, c.indexes)
		if !slices.Equal(table.HandleKey, c.want) || table.HasHandleKey() != (c.want != nil) {
			t.Errorf("%s: handle key %v, want %v", c.name, table.HandleKey, c.want)
		}
	}
}

func TestColumnsThatAreStored(t *testing.T) {
	table := parse(t, false, []col{{name: "a"}, {name: "virt", generated: "a"}, {name: "Stored", generated: "a", stored: true}, {name: "half", state: 3}, {name: "b"}},
		[]idx{{name: "i", cols: []int{4, 1}}})
	var names []string
	for _, c := range table.Columns {
		names = append(names, c.Name)
	}
	if fmt.Sprint(names) != "[a Stored b]" || len(table.VirtualColumns) != 1 || table.VirtualColumns[0].Name != "virt" {
		t.Errorf("columns %v, virtual %v", names, table.VirtualColumns)
	}
	if table.ColumnOffset("STORED") != 1 || table.ColumnOffset("virt") != -1 {
		t.Errorf("offsets %d, %d", table.ColumnOffset("STORED"), table.ColumnOffset("virt"))
	}
	if on := table.Indexes[0].Columns; on[0].Offset != 2 || on[1].Offset != -1 {
		t.Errorf("index columns %+v", on)
	}
}

// The table of testdata was written by TiDB 8.2.
func TestParseTableInfoOfTiDB(t *testing.T) {
	data, err := os.ReadFile("testdata/wide.table.json")
	if err != nil {
		t.Fatal(err)
	}
	table, err := event.ParseTableInfo(data, 2, "test")
	if err != nil {
		t.Fatal(err)
	}
	if table.Name() != "test.wide" || table.ID != 106 || len(table.Columns) != 44 || len(table.Indexes) != 2 || fmt.Sprint(table.HandleKey) != "[0]" ||
		fmt.Sprint(table.PhysicalIDs()) != "[106]" || table.UpdateTs != 470633840826646529 {
		t.Errorf("table %+v", table)
	}
	set := table.Columns[table.ColumnOffset("c_set")]
	if set.Type != event.TypeSet || fmt.Sprint(set.Elems) != "[a b c d]" || set.Collation != "utf8mb4_bin" {
		t.Errorf("column %+v", set)
	}
	if d := table.Columns[table.ColumnOffset("c_default")].Default; d == nil || *d != "42" {
		t.Errorf("default %v", d)
	}
	if c := table.Columns[table.ColumnOffset("c_ubigint")]; !c.Unsigned() || c.NotNull() {
		t.Errorf("column %+v", c)
	}
	if c := table.Columns[table.ColumnOffset("c_blob")]; !c.Binary() {
		t.Errorf("column %+v", c)
	}
}

func TestPartitionsAndViews(t *testing.T) {
	parse := func(s string) *event.TableInfo {
		table, err := event.ParseTableInfo([]byte(s), 1, "d")
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	for s, want := range map[string]string{
		`{"id": 5, "partition": {"enable": true, "definitions": [{"id": 8, "name": {"O": "p0"}}, {"id": 9, "name": {"O": "p1"}}]}}`: "[8 9]",
		`{"id": 5, "partition": {"enable": false, "definitions": [{"id": 8}]}}`:                                                     "[5]",
		`{"id": 5, "view": {}}`:     "[]",
		`{"id": 5, "sequence": {}}`: "[]",
	} {
		if got := fmt.Sprint(parse(s).PhysicalIDs()); got != want {
			t.Errorf("%s: physical ids %s, want %s", s, got, want)
		}
	}
}

func FuzzParseTableInfo(f *testing.F) {
	data, err := os.ReadFile("testdata/wide.table.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"cols": [{"state": 5}], "index_info": [{"state": 5, "idx_cols": [{"offset": 9}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := event.ParseTableInfo(data, 1, "d")
		if err != nil {
			return
		}
		for _, i := range table.HandleKey {
			_ = table.Columns[i]
		}
	})
}
