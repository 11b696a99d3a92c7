package cdctest

import (
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// The checks of a Validator. All are called with its lock held.

// beginRows checks a call of WriteRows.
func (v *Validator) beginRows(rows []*event.RowChanged) {
	physical, table := rows[0].PhysicalTableID, rows[0].Table
	if v.run.writing[physical] > 0 {
		v.violate("%s (physical table %d) is written by two calls at once", table.Name(), physical)
	}
	v.run.writing[physical]++
	for i, row := range rows {
		if row.PhysicalTableID != physical {
			v.violate("one call mixes physical tables %d and %d", physical, row.PhysicalTableID)
		}
		if i > 0 && row.CommitTs < rows[i-1].CommitTs {
			v.violate("one call has %s at %d after %d", row.Table.Name(), row.CommitTs, rows[i-1].CommitTs)
		}
		v.checkRow(row)
	}
}

// endRows notes whether the sink has the rows.
func (v *Validator) endRows(rows []*event.RowChanged, acked bool) {
	physical := rows[0].PhysicalTableID
	if v.run.writing[physical]--; v.run.writing[physical] == 0 {
		delete(v.run.writing, physical)
	}
	if !acked {
		return
	}
	for _, row := range rows {
		id := changeID{string(row.Key), row.CommitTs}
		delete(v.run.pending, id)
		v.run.acked[id.key] = max(v.run.acked[id.key], row.CommitTs)
	}
}

func (v *Validator) checkRow(row *event.RowChanged) {
	name, ts := row.Table.Name(), row.CommitTs
	if row.StartTs >= ts || len(row.Key) == 0 || row.Columns == nil && row.PreColumns == nil {
		v.violate("%s key %x at %d is malformed: start ts %d, %d columns, %d old columns", name, row.Key, ts, row.StartTs, len(row.Columns), len(row.PreColumns))
	}
	for _, image := range [][]event.Value{row.Columns, row.PreColumns} {
		if image != nil && len(image) != len(row.Table.Columns) {
			v.violate("%s key %x at %d has %d values for %d columns", name, row.Key, ts, len(image), len(row.Table.Columns))
		}
	}
	if !slices.Contains(row.Table.PhysicalIDs(), row.PhysicalTableID) {
		v.violate("%s key %x at %d: physical table %d is not one of the table's", name, row.Key, ts, row.PhysicalTableID)
	}
	if ts <= v.run.start {
		v.violate("%s key %x at %d is not above the start %d", name, row.Key, ts, v.run.start)
	}
	if c := v.run.checkpoint; c > v.run.start && ts <= c {
		v.violate("%s key %x at %d came after checkpoint %d", name, row.Key, ts, c)
	}
	v.checkRowSchema(row)
	v.checkRowOrder(row)
	v.run.rows[row.Table.ID] = max(v.run.rows[row.Table.ID], ts)
}

// checkRowSchema holds a row against the last DDL of its table.
func (v *Validator) checkRowSchema(row *event.RowChanged) {
	id := row.Table.ID
	if d := v.run.ddls[id]; row.CommitTs <= d {
		v.violate("%s key %x at %d came after the table's DDL of %d", row.Table.Name(), row.Key, row.CommitTs, d)
	}
	known := v.run.schemas[id]
	switch {
	case known == nil:
		v.run.schemas[id] = row.Table
	case !v.cfg.Filtered && !sameSchema(known, row.Table):
		v.violate("%s key %x at %d has the columns (%s), by the last DDL they are (%s)",
			row.Table.Name(), row.Key, row.CommitTs, columnNames(row.Table), columnNames(known))
		v.run.schemas[id] = row.Table
	}
}

// checkRowOrder holds a change against the others of its row.
func (v *Validator) checkRowOrder(row *event.RowChanged) {
	id := changeID{string(row.Key), row.CommitTs}
	name := row.Table.Name()
	if a := v.run.acked[id.key]; a >= row.CommitTs {
		v.violate("%s key %x at %d came after %d of the same row had been acknowledged", name, row.Key, row.CommitTs, a)
	}
	v.run.pending[id] = struct{}{}
	if first := v.rows[id]; first != nil {
		v.repeats++
		if !sameChange(first, row) {
			v.violate("%s key %x at %d came twice, as %s and as %s", name, row.Key, row.CommitTs, describe(first), describe(row))
		}
		return
	}
	if row.CommitTs <= v.checkpoint {
		v.violate("%s key %x at %d is new at or below checkpoint %d", name, row.Key, row.CommitTs, v.checkpoint)
	}
	latest := v.latest[id.key]
	if latest != nil && latest.CommitTs > row.CommitTs {
		v.violate("%s key %x at %d is new after %d of the same row", name, row.Key, row.CommitTs, latest.CommitTs)
	}
	if !v.cfg.Filtered {
		v.checkOldImage(row, latest)
	}
	d := row.Clone()
	v.rows[id] = d
	if latest == nil || latest.CommitTs < row.CommitTs {
		v.latest[id.key] = d
	}
}

// checkOldImage compares a change's old image with the row as it was left; a
// difference means that a change between is lost.
func (v *Validator) checkOldImage(row *event.RowChanged, before *event.RowChanged) {
	var want []string
	switch {
	case before != nil && !sameSchema(before.Table, row.Table):
		return // columns came or went, and DDLs may have changed values
	case before != nil && before.Columns != nil:
		want = texts(before.Columns)
	case before == nil && v.cfg.Base == nil:
		return
	case before == nil:
		if t := v.cfg.Base.Tables[row.Table.ID]; t != nil && !sameSchema(t, row.Table) {
			return
		}
		want = v.cfg.Base.Rows[row.PhysicalTableID][string(row.Key)]
	}
	var got []string
	if row.PreColumns != nil {
		got = texts(row.PreColumns)
	}
	if !slices.Equal(want, got) {
		v.violate("%s key %x at %d replaces %s, but the row is %s", row.Table.Name(), row.Key, row.CommitTs, showRow(got), showRow(want))
	}
}

// sameSchema compares the columns of two versions of a table.
func sameSchema(a, b *event.TableInfo) bool {
	return a == b || a.ID == b.ID && slices.EqualFunc(a.Columns, b.Columns, func(x, y event.ColumnInfo) bool {
		return x.ID == y.ID && x.Name == y.Name && x.Type == y.Type && x.Flag == y.Flag
	})
}

func sameChange(a, b *event.RowChanged) bool {
	return a.StartTs == b.StartTs && a.Kind() == b.Kind() && a.PhysicalTableID == b.PhysicalTableID &&
		slices.Equal(texts(a.Columns), texts(b.Columns)) && slices.Equal(texts(a.PreColumns), texts(b.PreColumns))
}

func describe(row *event.RowChanged) string {
	return row.Kind().String() + " " + showRow(texts(row.Image()))
}

// beginDDL checks a call of WriteDDL.
func (v *Validator) beginDDL(d *event.DDL) {
	if d.CommitTs <= v.run.start {
		v.violate("DDL of %d (%s) is not above the start %d", d.CommitTs, d.Query, v.run.start)
	}
	if c := v.run.checkpoint; c > v.run.start && d.CommitTs <= c {
		v.violate("DDL of %d (%s) came after checkpoint %d", d.CommitTs, d.Query, c)
	}
	if _, again := v.run.ackedDDLs[d.JobID]; again {
		v.violate("DDL of %d (%s) came again after it had been acknowledged", d.CommitTs, d.Query)
	}
	for _, t := range touched(d) {
		if n := v.run.rows[t.ID]; n > d.CommitTs {
			v.violate("DDL of %d (%s) came after a row of %s at %d", d.CommitTs, d.Query, t.Name(), n)
		}
		if n := v.run.ddls[t.ID]; n > d.CommitTs {
			v.violate("DDL of %d (%s) came after the one of %d on %s", d.CommitTs, d.Query, n, t.Name())
		}
		v.run.ddls[t.ID] = max(v.run.ddls[t.ID], d.CommitTs)
		for _, id := range t.PhysicalIDs() {
			if v.run.writing[id] > 0 {
				v.violate("DDL of %d (%s) came while rows of %s were being written", d.CommitTs, d.Query, t.Name())
			}
		}
	}
	v.run.pendingDDLs[d.JobID] = d.CommitTs
	v.applySchemas(d)
	if old := v.ddls[d.JobID]; old != nil {
		v.repeats++
		if old.CommitTs != d.CommitTs || old.Query != d.Query || old.Type != d.Type {
			v.violate("DDL job %d came twice, as %d (%s) and as %d (%s)", d.JobID, old.CommitTs, old.Query, d.CommitTs, d.Query)
		}
		return
	}
	if d.CommitTs <= v.checkpoint {
		v.violate("DDL of %d (%s) is new at or below checkpoint %d", d.CommitTs, d.Query, v.checkpoint)
	}
	v.ddls[d.JobID] = d
}

// touched are the tables of a DDL, before and after it.
func touched(d *event.DDL) []*event.TableInfo {
	var out []*event.TableInfo
	for _, c := range d.Changes {
		for _, t := range []*event.TableInfo{c.Before, c.After} {
			same := func(o *event.TableInfo) bool { return o.ID == t.ID && slices.Equal(o.PhysicalIDs(), t.PhysicalIDs()) }
			if t != nil && !slices.ContainsFunc(out, same) {
				out = append(out, t)
			}
		}
	}
	return out
}

// applySchemas moves the schemas that rows must have.
func (v *Validator) applySchemas(d *event.DDL) {
	for _, c := range d.Changes {
		if c.Before != nil {
			delete(v.run.schemas, c.Before.ID)
		}
	}
	for _, c := range d.Changes {
		if c.After != nil {
			v.run.schemas[c.After.ID] = c.After
		}
	}
}

func (v *Validator) checkCheckpoint(ts event.Ts) {
	if ts < v.run.checkpoint {
		v.violate("checkpoint went back from %d to %d", v.run.checkpoint, ts)
	}
	for id := range v.run.pending {
		if id.ts <= ts {
			v.violate("checkpoint %d passes the change of key %x at %d, which was not acknowledged", ts, id.key, id.ts)
		}
	}
	for job, at := range v.run.pendingDDLs {
		if at <= ts {
			v.violate("checkpoint %d passes DDL job %d of %d, which was not acknowledged", ts, job, at)
		}
	}
	v.run.checkpoint = max(v.run.checkpoint, ts)
	v.checkpoint = max(v.checkpoint, ts)
}
