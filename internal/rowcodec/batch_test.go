package rowcodec_test

import (
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
)

// The room that Begin makes for values is a hint; that for rows is not.
func TestBatchRoom(t *testing.T) {
	p, err := rowcodec.NewPlan(abTable())
	if err != nil {
		t.Fatal(err)
	}
	kv := event.RawKV{
		Op: event.OpPut, Key: fromHex(t, rowKey),
		Value:    fromHex(t, "8000 0300 0000 010204 0100 0200 0400 01 02 6162"),
		OldValue: fromHex(t, "8000 0300 0000 010204 0100 0200 0400 03 04 6364"),
	}
	var b rowcodec.Batch
	if b.Plan() != nil || len(b.Rows()) != 0 {
		t.Error("a new batch is not empty")
	}
	b.Begin(3, 1)
	for range 3 {
		if _, err := b.Add(p, &kv); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Add(p, &kv); err == nil {
		t.Error("a fourth row was added to a batch of three")
	}
	if b.Plan() != p {
		t.Error("Plan is not that of the last row")
	}
	one, two, ab, three, four, cd := "1", "2", "ab", "3", "4", "cd"
	for _, row := range b.Rows() {
		compareImage(t, p.Table(), row.Columns, []*string{&one, &two, &ab})
		compareImage(t, p.Table(), row.PreColumns, []*string{&three, &four, &cd})
	}
}

// A table may consist of virtual columns alone; its rows are still inserts.
func TestBatchOfTableWithoutStoredColumns(t *testing.T) {
	p, err := rowcodec.NewPlan(&event.TableInfo{ID: 104, Schema: "test", Table: "t"})
	if err != nil {
		t.Fatal(err)
	}
	var b rowcodec.Batch
	b.Begin(1, 0)
	row, err := b.Add(p, &event.RawKV{Op: event.OpPut, Key: fromHex(t, rowKey), Value: fromHex(t, "800000000000")})
	if err != nil {
		t.Fatal(err)
	}
	if row.Kind() != event.Insert {
		t.Errorf("got %s", row.Kind())
	}
}
