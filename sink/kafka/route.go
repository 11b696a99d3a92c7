package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/simple"
)

// call is the work of one WriteRows, kept for the next.
type call struct {
	parts []*part // [:used] are in use
	used  int
	index map[*partition]*part
	last  *part
	// made are rows that stand for others: halves of updates, and rows with fewer columns.
	made     []*event.RowChanged
	usedMade int
	values   []event.Value
	moved    []*event.RowChanged
	tables   map[*event.TableInfo]tableRows
}

// part is what a call writes to one partition.
type part struct {
	topic     *topic
	partition *partition
	rows      []*event.RowChanged
	messages  *codec.Messages
	runs      []run
}

func (s *Sink) call() *call {
	c, ok := s.calls.Get().(*call)
	if !ok {
		return &call{index: map[*partition]*part{}, tables: map[*event.TableInfo]tableRows{}}
	}
	clear(c.index)
	c.used, c.usedMade, c.last = 0, 0, nil
	clear(c.values)
	c.values = c.values[:0]
	return c
}

func (c *call) part(t *topic, p *partition) *part {
	if c.last != nil && c.last.partition == p {
		return c.last
	}
	if found := c.index[p]; found != nil {
		c.last = found
		return found
	}
	if c.used == len(c.parts) {
		c.parts = append(c.parts, &part{messages: &codec.Messages{}})
	}
	out := c.parts[c.used]
	c.used++
	out.topic, out.partition, out.rows, out.runs = t, p, out.rows[:0], out.runs[:0]
	out.messages.Reset()
	c.index[p], c.last = out, out
	return out
}

// row returns a row to fill in, valid during the call.
func (c *call) row() *event.RowChanged {
	if c.usedMade == len(c.made) {
		c.made = append(c.made, &event.RowChanged{})
	}
	c.usedMade++
	return c.made[c.usedMade-1]
}

// tablePlan is what is done to all rows of a table version.
type tablePlan struct {
	topic string
	// selected are the offsets of the columns that are delivered, and table is the
	// table with them; nil for all.
	selected []int
	table    *event.TableInfo
	// keys are the offsets of columns in the primary key and unique indexes: an
	// update of one of them is split.
	keys []int
	// moves: other columns than keys choose the partition.
	moves bool
}

func (s *Sink) plan(table *event.TableInfo) (*tablePlan, error) {
	if v, ok := s.plans.Load(table); ok {
		p, _ := v.(*tablePlan)
		return p, nil
	}
	p := &tablePlan{topic: s.cfg.Dispatcher.TableTopic(table), moves: s.cfg.Dispatcher.Kind(table) == dispatcher.ByColumns}
	var err error
	if p.table, p.selected, err = s.selectors.project(table); err != nil {
		return nil, sink.Permanent(err)
	}
	if !s.cfg.RawUpdates {
		p.keys = keyColumns(table)
	}
	// Versions that no DDL has ended add up, if slowly.
	const most = 8192
	if s.planned.Add(1) > most {
		s.plans.Clear()
		s.planned.Store(0)
	}
	s.plans.Store(table, p)
	return p, nil
}

// keyColumns returns the offsets of the columns of all unique keys.
func keyColumns(table *event.TableInfo) []int {
	seen := make([]bool, len(table.Columns))
	mark := func(offset int) {
		if offset >= 0 && offset < len(seen) {
			seen[offset] = true
		}
	}
	for _, offset := range table.HandleKey {
		mark(offset)
	}
	for i, c := range table.Columns {
		if c.Flag&event.FlagPrimaryKey != 0 {
			mark(i)
		}
	}
	for _, index := range table.Indexes {
		if index.Unique || index.Primary {
			for _, c := range index.Columns {
				mark(c.Offset)
			}
		}
	}
	var out []int
	for i := range seen {
		if seen[i] {
			out = append(out, i)
		}
	}
	return out
}

// route divides rows among partitions, in their order. In a transaction in which an
// update is split, all deletes come first, so that a row that takes the key of
// another comes behind it.
func (s *Sink) route(ctx context.Context, c *call, rows []*event.RowChanged) error {
	var table *event.TableInfo
	var plan *tablePlan
	var to *topic
	for i := 0; i < len(rows); {
		if rows[i].Table != table {
			table = rows[i].Table
			var err error
			if plan, err = s.plan(table); err != nil {
				return err
			}
			if to, err = s.topics.get(ctx, plan.topic); err != nil {
				return err
			}
			s.active.add(table, plan.topic)
		}
		// A transaction, within this call and table version.
		n, split := i, false
		for n < len(rows) && rows[n].CommitTs == rows[i].CommitTs && rows[n].StartTs == rows[i].StartTs && rows[n].Table == table {
			is, err := s.splits(plan, to, rows[n])
			if err != nil {
				return err
			}
			split = split || is
			n++
		}
		if err := s.routeTxn(c, plan, to, rows[i:n], split); err != nil {
			return err
		}
		i = n
	}
	return nil
}

// splits reports whether an update is to be sent as a delete and an insert.
func (s *Sink) splits(plan *tablePlan, to *topic, row *event.RowChanged) (bool, error) {
	if s.cfg.RawUpdates || row.Columns == nil || row.PreColumns == nil {
		return false, nil
	}
	for _, i := range plan.keys {
		if i < len(row.Columns) && i < len(row.PreColumns) && !event.Equal(row.Columns[i], row.PreColumns[i]) {
			return true, nil
		}
	}
	if !plan.moves {
		return false, nil
	}
	moves, err := s.cfg.Dispatcher.Moves(row, int32(len(to.partitions)))
	return moves, sink.Permanent(err)
}

// routeTxn places the rows of a transaction. If it has updates to split, deletes and
// the first halves of updates come before the rest.
func (s *Sink) routeTxn(c *call, plan *tablePlan, to *topic, rows []*event.RowChanged, split bool) error {
	if !split {
		for _, row := range rows {
			if err := s.place(c, plan, to, row); err != nil {
				return err
			}
		}
		return nil
	}
	c.moved = c.moved[:0]
	for _, row := range rows {
		split, err := s.splits(plan, to, row)
		if err != nil {
			return err
		}
		if split {
			before, after := c.row(), c.row()
			*before, *after = *row, *row
			before.Columns, after.PreColumns = nil, nil
			c.moved = append(c.moved, after)
			row = before
		}
		if row.Kind() != event.Delete {
			c.moved = append(c.moved, row)
			continue
		}
		if err := s.place(c, plan, to, row); err != nil {
			return err
		}
	}
	for _, row := range c.moved {
		if err := s.place(c, plan, to, row); err != nil {
			return err
		}
	}
	return nil
}

// place puts a row into the part of its partition, without the columns that are not wanted.
func (s *Sink) place(c *call, plan *tablePlan, to *topic, row *event.RowChanged) error {
	id, err := s.cfg.Dispatcher.Partition(row, int32(len(to.partitions)))
	if err != nil {
		return sink.Permanent(err)
	}
	if plan.selected != nil {
		fewer := c.row()
		*fewer = *row
		fewer.Table = plan.table
		fewer.Columns = c.pick(plan.selected, row.Columns)
		fewer.PreColumns = c.pick(plan.selected, row.PreColumns)
		row = fewer
	}
	p := c.part(to, to.partitions[id])
	p.rows = append(p.rows, row)
	return nil
}

// pick copies some values of an image.
func (c *call) pick(offsets []int, image []event.Value) []event.Value {
	if image == nil {
		return nil
	}
	start := len(c.values)
	for _, i := range offsets {
		var v event.Value
		if i < len(image) {
			v = image[i]
		}
		c.values = append(c.values, v)
	}
	return c.values[start:len(c.values):len(c.values)]
}

// preparer is an Encoder that needs I/O before the first row of a table version.
type preparer interface {
	Prepare(ctx context.Context, topic string, table *event.TableInfo) error
}

// bootstrapper is an Encoder whose messages can be read only with the schema of their
// table, which is sent from time to time.
type bootstrapper interface {
	AppendBootstrap(dst *codec.Messages, topic string, table *event.TableInfo) error
}

// encodeAll encodes the parts of a call and hands on what goes to each partition.
func (s *Sink) encodeAll(ctx context.Context, c *call, emit func(*partition, run)) error {
	e, err := s.encoder()
	if err != nil {
		return err
	}
	if b, ok := e.(bootstrapper); ok {
		if err := s.bootstrap(ctx, b, c, emit); err != nil {
			return err
		}
	}
	for _, p := range c.parts[:c.used] {
		if err := s.encode(ctx, e, p); err != nil {
			return err // not released: nobody knows its state
		}
		for _, r := range p.runs {
			emit(p.partition, r)
		}
	}
	s.release(e)
	return nil
}

// bootstrap emits the schemas of the call's tables that are due.
func (s *Sink) bootstrap(ctx context.Context, b bootstrapper, c *call, emit func(*partition, run)) error {
	clear(c.tables)
	for _, p := range c.parts[:c.used] {
		for _, row := range p.rows {
			n := c.tables[row.Table]
			c.tables[row.Table] = tableRows{p.topic, n.rows + 1}
		}
	}
	for table, n := range c.tables {
		if !s.bootstraps.due(table, n.rows) {
			continue
		}
		m, to, err := s.announce(ctx, n.topic.name, s.cfg.BootstrapToFirstPartition, func(m *codec.Messages) error {
			return b.AppendBootstrap(m, n.topic.name, table)
		})
		if err != nil {
			return err
		}
		for _, p := range to {
			emit(p, run{m, 0, m.Len()})
		}
	}
	return nil
}

// bootstrapAll sends the schemas of tables that are due.
func (s *Sink) bootstrapAll(ctx context.Context, tables []*event.TableInfo) error {
	e, err := s.encoder()
	if err != nil {
		return err
	}
	defer s.release(e)
	b, ok := e.(bootstrapper)
	if !ok {
		return nil
	}
	d := newDelivery()
	for _, table := range tables {
		plan, err := s.plan(table)
		if err != nil {
			s.producer.abandon(d, err)
			return err
		}
		if plan.table != nil {
			table = plan.table // with fewer columns
		}
		if !s.bootstraps.due(table, 0) {
			continue
		}
		m, to, err := s.announce(ctx, plan.topic, s.cfg.BootstrapToFirstPartition, func(m *codec.Messages) error {
			return b.AppendBootstrap(m, plan.topic, table)
		})
		if err != nil {
			s.producer.abandon(d, err)
			return err
		}
		for _, p := range to {
			s.producer.enqueue(d, p, m, 0, m.Len())
		}
	}
	return s.producer.wait(ctx, d)
}

// tableRows is how many rows of a table a call has, and for which topic.
type tableRows struct {
	topic *topic
	rows  int
}

// bootstraps is simple.Bootstraps for several goroutines.
type bootstraps struct {
	mu      sync.Mutex
	cadence simple.Bootstraps
}

func (b *bootstraps) due(table *event.TableInfo, rows int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cadence.Due(table, rows, time.Now())
}

// reset makes all tables due, because a schema may not have been written.
func (b *bootstraps) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cadence = simple.Bootstraps{Interval: b.cadence.Interval, Rows: b.cadence.Rows}
}

func (s *Sink) encode(ctx context.Context, e codec.Encoder, p *part) error {
	if prepared, ok := e.(preparer); ok {
		var table *event.TableInfo
		for _, row := range p.rows {
			if row.Table == table {
				continue
			}
			table = row.Table
			if err := prepared.Prepare(ctx, p.topic.name, table); err != nil {
				return fmt.Errorf("prepare to encode table %s.%s: %w", table.Schema, table.Table, err)
			}
		}
	}
	if err := e.AppendRows(p.messages, p.topic.name, p.rows); err != nil {
		return sink.Permanent(err)
	}
	return s.fit(ctx, e, p)
}
