package consumer

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// buffer holds the changes that no watermark has passed yet.
type buffer struct {
	partitions []partitionBuffer
	// resolved is the least watermark of all partitions.
	resolved   event.Ts
	bytes, max int
	// repeats are what add has dropped.
	repeats uint64
}

// partitionBuffer is the part of one partition.
type partitionBuffer struct {
	name      string
	watermark event.Ts
	changes   []change // in the order in which they came
}

// change is a row or a DDL.
type change struct {
	row   *event.RowChanged
	ddl   *event.DDL
	ts    event.Ts
	bytes int
}

// A decoded change takes several times the bytes of its message, and some more.
const (
	memoryPerByte = 4
	memoryPerRow  = 256
)

// add takes events of a partition, whose messages had so many bytes.
func (b *buffer) add(partition int, events []codec.Event, bytes int) error {
	p := &b.partitions[partition]
	for i := range events {
		e := &events[i]
		c := change{row: e.Row, ddl: e.DDL, bytes: memoryPerRow + memoryPerByte*bytes/len(events)}
		switch {
		case e.Row != nil:
			c.ts = e.Row.CommitTs
		case e.DDL != nil:
			c.ts = e.DDL.CommitTs
		default:
			p.watermark = max(p.watermark, e.Watermark)
			continue
		}
		if c.ts <= p.watermark {
			b.repeats++
			continue
		}
		p.changes = append(p.changes, c)
		b.bytes += c.bytes
	}
	b.resolved = b.partitions[b.slowest()].watermark
	if b.bytes > b.max {
		// What is due is delivered before more is read, and all but the slowest wait.
		if due := b.dueBytes(); b.bytes-due > b.max {
			p := &b.partitions[b.slowest()]
			return fmt.Errorf("changes of %d bytes wait for a watermark of %s, whose last is %d: "+
				"raise the limit, or see whether the changefeed stands still or the topic gets no watermarks", b.bytes-due, p.name, p.watermark)
		}
	}
	return nil
}

func (b *buffer) dueBytes() int {
	n := 0
	for i := range b.partitions {
		for j := range b.partitions[i].changes {
			if c := &b.partitions[i].changes[j]; c.ts <= b.resolved {
				n += c.bytes
			}
		}
	}
	return n
}

// slowest is the partition with the least watermark.
func (b *buffer) slowest() int {
	out := 0
	for i := range b.partitions {
		if b.partitions[i].watermark < b.partitions[out].watermark {
			out = i
		}
	}
	return out
}

// wants reports whether a partition should be read on: one that is ahead of the others
// waits for them when the buffer is half full.
func (b *buffer) wants(partition int) bool {
	return b.bytes < b.max/2 || b.partitions[partition].watermark <= b.resolved
}

// take removes what has a ts of at most ts: rows in the order of ts, of one ts deletes
// first, else as they came, and DDLs in the order of ts, each once.
func (b *buffer) take(ts event.Ts) (rows []*event.RowChanged, ddls []*event.DDL) {
	for i := range b.partitions {
		p := &b.partitions[i]
		rest := p.changes[:0]
		for _, c := range p.changes {
			switch {
			case c.ts > ts:
				rest = append(rest, c)
				continue
			case c.row != nil:
				rows = append(rows, c.row)
			default:
				ddls = append(ddls, c.ddl)
			}
			b.bytes -= c.bytes
		}
		clear(p.changes[len(rest):])
		p.changes = rest
	}
	sortRows(rows)
	slices.SortStableFunc(ddls, func(a, b *event.DDL) int { return cmp.Compare(a.CommitTs, b.CommitTs) })
	seen := map[ddlID]bool{}
	ddls = slices.DeleteFunc(ddls, func(d *event.DDL) bool {
		id := idOf(d)
		again := seen[id]
		seen[id] = true
		return again
	})
	return rows, ddls
}

// sortRows sorts by ts, and then deletes before all else: another row may have taken
// over what the deleted one held.
func sortRows(rows []*event.RowChanged) {
	rank := func(r *event.RowChanged) int {
		if r.Columns == nil {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(rows, func(a, b *event.RowChanged) int {
		return cmp.Or(cmp.Compare(a.CommitTs, b.CommitTs), rank(a)-rank(b))
	})
}

// ddlID tells DDLs apart that come in several partitions and topics.
type ddlID struct {
	ts                   event.Ts
	schema, table, query string
}

func idOf(d *event.DDL) ddlID {
	id := ddlID{ts: d.CommitTs, schema: d.Schema, query: d.Query}
	for _, t := range []*event.TableInfo{d.PreTable, d.Table} {
		if t != nil {
			id.table = t.Table
		}
	}
	return id
}
