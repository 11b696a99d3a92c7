package cdc

import (
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Plans of old versions and of long unused tables are forgotten: a Mounter that
// runs for months must not keep them.
func TestMounterForgetsPlans(t *testing.T) {
	m := NewMounter(nil, MounterOptions{})
	version := func(id int64) *event.TableInfo {
		return &event.TableInfo{ID: id, Schema: "test", Table: "t"}
	}
	for range 10 {
		if _, err := m.plan(version(1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.mu.plans[1]); n != plansPerTable {
		t.Errorf("%d plans of one table are kept, want %d", n, plansPerTable)
	}
	for id := range int64(maxPlanTables + 100) {
		if _, err := m.plan(version(id)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.mu.plans); n != maxPlanTables {
		t.Errorf("plans of %d tables are kept, want %d", n, maxPlanTables)
	}
}

func TestMounterKeepsPlansInUse(t *testing.T) {
	m := NewMounter(nil, MounterOptions{})
	before := &event.TableInfo{ID: 1, Schema: "test", Table: "t"}
	after := &event.TableInfo{ID: 1, Schema: "test", Table: "t"}
	first, err := m.plan(before)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.plan(after); err != nil {
		t.Fatal(err)
	}
	if again, _ := m.plan(before); again != first {
		t.Error("the plan of a version in use was made twice")
	}
}
