package consumer

import (
	"context"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// rowID tells changes apart: a commit deletes a row and makes one of the same key at
// most once each.
type rowID struct {
	key    string
	delete bool
}

// writeRows delivers rows table by table, each table's in the order in which they are
// here. With watermarks they are sorted, and repeats are left out.
func (r *run) writeRows(ctx context.Context, rows []*event.RowChanged) error {
	var order []*event.TableInfo // the first version of each table
	of := map[int64][]*event.RowChanged{}
	for _, row := range rows {
		whole, err := r.tables.append(ctx, nil, row)
		if err != nil {
			return err
		}
		for _, row := range whole {
			id := row.Table.ID
			if of[id] == nil {
				order = append(order, row.Table)
			}
			of[id] = append(of[id], row)
		}
	}
	for _, table := range order {
		if err := r.writeTable(ctx, of[table.ID]); err != nil {
			return fmt.Errorf("write rows of %s: %w", table.Name(), err)
		}
	}
	return nil
}

// writeTable delivers rows of one table in calls of about BatchRows, in which a commit
// stays whole. Rows without a handle key go one by one, since nothing tells a sink which
// of them are about one row. Without watermarks the commit ts may be rough, and what seems
// to be one transaction in two calls is not: its start ts then tells them apart.
func (r *run) writeTable(ctx context.Context, rows []*event.RowChanged) error {
	if r.cfg.Watermarks {
		sortRows(rows) // a row that became a delete and an insert
		rows = r.withoutRepeats(rows)
	}
	for len(rows) > 0 {
		n := 1
		if rows[0].Table.HasHandleKey() {
			for n < len(rows) && rows[n].Table == rows[0].Table && (n < r.cfg.BatchRows || rows[n].CommitTs == rows[n-1].CommitTs) {
				n++
			}
		}
		part := rows[:n]
		if !r.cfg.Watermarks {
			r.calls++
			for _, row := range part {
				if row.StartTs == 0 {
					row.StartTs = r.calls
				}
			}
		}
		if err := r.write(ctx, func() error { return r.to.WriteRows(ctx, part) }); err != nil {
			return fmt.Errorf("commit ts %d to %d: %w", part[0].CommitTs, part[n-1].CommitTs, err)
		}
		r.rows.Add(uint64(n))
		rows = rows[n:]
	}
	return nil
}

// withoutRepeats leaves out rows that came twice above a watermark.
func (r *run) withoutRepeats(rows []*event.RowChanged) []*event.RowChanged {
	seen := map[rowID]bool{}
	out := rows[:0]
	var ts event.Ts
	for _, row := range rows {
		if row.CommitTs != ts {
			ts = row.CommitTs
			clear(seen)
		}
		if row.Table.HasHandleKey() {
			id := rowID{string(row.Key), row.Columns == nil}
			if seen[id] {
				r.repeats.Add(1)
				continue
			}
			seen[id] = true
		}
		out = append(out, row)
	}
	return out
}
