package mysql_test

import (
	"slices"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// TestPartitions: a row that moves to another partition comes as a delete and an
// insert in different spans, in any order, with the same key if that is global.
func TestPartitions(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		for _, handle := range [][]int{{columnID}, {columnU}} {
			db := s.database(t, "partitions")
			shape := shape{keys: "PRIMARY KEY (id), UNIQUE KEY u (u)", clustered: handle[0] == columnID, handle: handle}
			mustExec(t, db, shape.create())
			table := shape.table("partitions")
			table.Partition = &event.PartitionInfo{Definitions: []event.PartitionDefinition{{ID: 101}, {ID: 102}}}
			out := s.open(t, "")
			ts := event.Ts(9)
			change := func(partition int64, key string, before, after []event.Value) []*event.RowChanged {
				ts += 2
				return []*event.RowChanged{{
					StartTs: ts - 1, CommitTs: ts, Table: table, PhysicalTableID: partition, Key: []byte(key), PreColumns: before, Columns: after,
				}}
			}
			old := []event.Value{event.Int64Value(1), event.TextValue("Ab"), {}}
			moved := []event.Value{event.Int64Value(1), event.TextValue("Ab"), event.Int64Value(5)}
			write(t, out, change(101, "p1", nil, old))
			write(t, out, change(102, "p2", nil, moved))
			write(t, out, change(101, "p1", old, nil))
			if got := rowsOf(t, db, "SELECT id, u, n FROM t"); !slices.Equal(got, []string{"1 Ab 5"}) {
				t.Errorf("the row that moved is now %q", got)
			}
			// Several deletes in a statement.
			var inserts, deletes []*event.RowChanged
			for i := range int64(30) {
				image := []event.Value{event.Int64Value(100 + i), event.TextValue(string(rune('a'+i)) + "'"), event.Int64Value(i)}
				inserts = append(inserts, change(101, string(rune('a'+i)), nil, image)...)
				deletes = append(deletes, change(101, string(rune('a'+i)), image, nil)...)
			}
			write(t, out, inserts)
			write(t, out, append(deletes, change(101, "p2", moved, nil)...))
			if got := rowsOf(t, db, "SELECT id, u, n FROM t"); len(got) != 0 {
				t.Errorf("left after deletes: %q", got)
			}
		}
	})
}

// TestPrefixKey: a row whose primary key is changed beyond its prefix, under the same
// key of TiKV, and deleted in one call.
func TestPrefixKey(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		db := s.database(t, "prefix")
		mustExec(t, db, "CREATE TABLE t (a VARCHAR(20), n INT, PRIMARY KEY (a(3)))")
		table := &event.TableInfo{
			ID: 77, Schema: "prefix", Table: "t", IsCommonHandle: true, HandleKey: []int{0},
			Columns: []event.ColumnInfo{
				{ID: 1, Name: "a", Type: event.TypeVarchar, Flag: event.FlagNotNull, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
				{ID: 2, Name: "n", Type: event.TypeLong},
			},
			Indexes: []event.IndexInfo{{ID: 1, Name: "PRIMARY", Primary: true, Unique: true, Columns: []event.IndexColumn{{Name: "a", Offset: 0, Length: 3}}}},
		}
		out := openFresh(t, s)
		change := func(ts event.Ts, before, after []event.Value) *event.RowChanged {
			return &event.RowChanged{StartTs: ts - 1, CommitTs: ts, Table: table, PhysicalTableID: 77, Key: []byte("abc"), PreColumns: before, Columns: after}
		}
		long := []event.Value{event.TextValue("abcxyz"), event.Int64Value(1)}
		short := []event.Value{event.TextValue("abc"), event.Int64Value(2)}
		write(t, out, []*event.RowChanged{change(3, nil, long)})
		write(t, out, []*event.RowChanged{change(5, long, short), change(7, short, nil)})
		if got := rowsOf(t, db, "SELECT a FROM t"); len(got) != 0 {
			t.Errorf("left after the delete: %q", got)
		}
	})
}
