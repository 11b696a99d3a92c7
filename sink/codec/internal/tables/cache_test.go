package tables_test

import (
	"strconv"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

func TestCache(t *testing.T) {
	var c tables.Cache
	describe := func(texts ...string) *event.TableInfo {
		c.Begin()
		for _, text := range texts {
			c.Add(text)
		}
		c.AddNumber(1 << 40)
		return c.Table()
	}
	if describe("ab", "c") != nil {
		t.Error("a table that nobody kept")
	}
	want := &event.TableInfo{Table: "c"}
	c.Keep(want)
	if describe("a", "bc") != nil || describe("ab", "c") != want {
		t.Error("a table by another's description")
	}
	wide := &event.TableInfo{Columns: make([]event.ColumnInfo, tables.MaxColumns)}
	for i := range 20 { // what is forgotten is asked for again
		describe(strconv.Itoa(i))
		c.Keep(wide)
	}
	if describe("ab", "c") != nil {
		t.Error("descriptions are kept for ever")
	}
}

func TestPlans(t *testing.T) {
	var p tables.Plans[int]
	made := 0
	get := func(table *event.TableInfo) *int {
		return p.Get(table, func(*event.TableInfo) *int {
			made++
			return new(made)
		})
	}
	a, b := &event.TableInfo{}, &event.TableInfo{}
	for range 3 {
		for want, table := range map[int]*event.TableInfo{1: a, 2: b} {
			get(a)
			if *get(table) != want {
				t.Fatalf("%d plans for 2 tables", made)
			}
		}
	}
	for range 20000 { // what is forgotten is made again
		get(&event.TableInfo{})
	}
	if get(a); made != 20003 {
		t.Errorf("%d plans were made: they are kept for ever", made)
	}
}
