package cdctest

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// DDLs returns those that came, in commit ts order, each once. They are shared.
func (v *Validator) DDLs() []*event.DDL {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.sortedDDLs()
}

// sortedDDLs returns the DDLs by commit ts.
func (v *Validator) sortedDDLs() []*event.DDL {
	return slices.SortedFunc(maps.Values(v.ddls), func(a, b *event.DDL) int {
		return cmp.Or(cmp.Compare(a.CommitTs, b.CommitTs), cmp.Compare(a.JobID, b.JobID))
	})
}

// State returns the tables as the changes up to ts, on top of the base, tell
// them. Compared with the database at ts, it shows whether anything was lost.
//
// DDLs that change the values of a column (MODIFY COLUMN to another type) leave
// the texts as they are.
func (v *Validator) State(ts event.Ts) *State {
	v.mu.Lock()
	defer v.mu.Unlock()
	type change struct {
		ts  event.Ts
		row *event.RowChanged // nil for a DDL
		ddl *event.DDL
	}
	var changes []change
	for id, row := range v.rows {
		if id.ts <= ts {
			changes = append(changes, change{ts: id.ts, row: row})
		}
	}
	for _, d := range v.sortedDDLs() {
		if d.CommitTs <= ts {
			changes = append(changes, change{ts: d.CommitTs, ddl: d})
		}
	}
	// A row with a DDL's own commit ts comes before it.
	slices.SortStableFunc(changes, func(a, b change) int {
		if c := cmp.Compare(a.ts, b.ts); c != 0 || (a.ddl == nil) == (b.ddl == nil) {
			return c
		}
		if a.ddl == nil {
			return -1
		}
		return 1
	})
	s := NewState()
	if v.cfg.Base != nil {
		s = v.cfg.Base.clone()
	}
	for _, c := range changes {
		if c.ddl != nil {
			s.applyDDL(c.ddl)
		} else {
			s.applyRow(c.row)
		}
	}
	maps.DeleteFunc(s.Rows, func(_ int64, rows map[string][]string) bool { return len(rows) == 0 })
	return s
}

func (s *State) applyRow(r *event.RowChanged) {
	s.Tables[r.Table.ID] = r.Table
	rows := s.Rows[r.PhysicalTableID]
	if rows == nil {
		rows = map[string][]string{}
		s.Rows[r.PhysicalTableID] = rows
	}
	if r.Kind() == event.Delete {
		delete(rows, string(r.Key))
		return
	}
	rows[string(r.Key)] = texts(r.Columns)
}

// applyDDL moves the contents to the new schema: tables and partitions come and
// go, and rows get the origin default of new columns.
func (s *State) applyDDL(d *event.DDL) {
	live := map[int64]bool{}
	for _, c := range d.Changes {
		if c.After != nil {
			for _, id := range c.After.PhysicalIDs() {
				live[id] = true
			}
		}
	}
	for _, c := range d.Changes {
		if c.Before == nil {
			continue
		}
		delete(s.Tables, c.Before.ID)
		for _, id := range c.Before.PhysicalIDs() {
			if !live[id] {
				delete(s.Rows, id)
			}
		}
	}
	for _, c := range d.Changes {
		if c.After == nil {
			continue
		}
		s.Tables[c.After.ID] = c.After
		if c.Before == nil || sameSchema(c.Before, c.After) {
			continue
		}
		for _, id := range c.After.PhysicalIDs() {
			for key, old := range s.Rows[id] {
				s.Rows[id][key] = convertRow(old, c.Before, c.After)
			}
		}
	}
}

// convertRow gives a row the columns of another schema version.
func convertRow(old []string, before, after *event.TableInfo) []string {
	out := make([]string, len(after.Columns))
	for i, c := range after.Columns {
		at := slices.IndexFunc(before.Columns, func(b event.ColumnInfo) bool { return b.ID == c.ID })
		switch {
		case at >= 0 && at < len(old):
			out[i] = old[at]
		case c.OriginDefault != nil:
			out[i] = *c.OriginDefault
		default:
			out[i] = Null
		}
	}
	return out
}
