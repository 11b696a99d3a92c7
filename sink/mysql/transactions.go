package mysql

import (
	"context"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// everyTable stands in the table of positions for all tables of a changefeed that
// keeps transactions whole: a commit ts and a start ts tell what was written.
const everyTable = 0

// transactions is how far WriteTransactions came. Its calls do not overlap.
type transactions struct {
	// at is the last transaction that was written: for exactly-once, as the
	// downstream has it, if known; otherwise during a call, and after one that
	// failed, so that its repetition goes on where it stopped.
	at    position
	known bool
	joint joint
}

// WriteTransactions implements [sink.TransactionWriter]. It writes upstream
// transactions in order over one connection, as many in one transaction downstream
// as fit in MaxTxnRow, each of them whole. A transaction that is larger has one of
// its own.
//
// Without ExactlyOnce a new sink does not know what an earlier one has written:
// transactions that are delivered again after a restart take rows back to what they
// were, until the last of them has been written again.
func (s *Sink) WriteTransactions(ctx context.Context, rows []*event.RowChanged) error {
	if len(rows) == 0 {
		return context.Cause(ctx)
	}
	w, err := s.takeWorker(ctx)
	if err != nil {
		return err
	}
	defer s.giveWorker(w)
	t := &s.transactions
	defer t.joint.reset(s)
	last := rows[len(rows)-1].CommitTs
	for len(rows) > 0 {
		n, err := s.writeWhole(ctx, w, rows)
		if err != nil {
			s.mayHaveWritten(last)
			return err
		}
		rows = rows[n:]
	}
	if !s.cfg.ExactlyOnce {
		t.at = position{}
	}
	return nil
}

// writeWhole writes the first transactions of rows in one, and returns how many
// rows that were, together with those that had been written before.
func (s *Sink) writeWhole(ctx context.Context, w *worker, rows []*event.RowChanged) (n int, err error) {
	t := &s.transactions
	safe, duplicate := s.isSafe(rows[0]), false
	err = s.retry(ctx, func() error {
		for {
			if s.cfg.ExactlyOnce && !t.known {
				var err error
				if t.at, err = w.readPosition(ctx, everyTable); err != nil {
					return err
				}
				t.known = true
			}
			written := t.at.transactionsCovered(rows)
			n = written + wholeTransactions(rows[written:], s.cfg.MaxTxnRow)
			if written == n {
				return nil
			}
			t.joint.reset(s)
			t.joint.add(s, rows[written:n])
			to := position{everyTable, rows[n-1].CommitTs, rows[n-1].StartTs, true, nil}
			var progress *advance
			if s.cfg.ExactlyOnce {
				progress = &advance{t.at, to}
			}
			err := w.writeJoint(ctx, &t.joint, safe, progress)
			t.known = err == nil
			if err == nil {
				t.at = to
				return nil
			}
			// It may have been committed though its answer was lost; and the position
			// may be another's, which looks like a row that is there already.
			safe = true
			if !isDuplicate(err) || duplicate {
				return err
			}
			duplicate = true
		}
	}, func(err error) error { return t.joint.describe(err) })
	return n, err
}

// wholeTransactions returns how many of the first rows make up whole transactions
// that have at most most rows, or the first one if that has more.
func wholeTransactions(rows []*event.RowChanged, most int) int {
	if len(rows) <= most {
		return len(rows)
	}
	end := most
	for end > 0 && sameTransaction(rows[end-1], rows[end]) {
		end--
	}
	if end > 0 {
		return end
	}
	for end = most; end < len(rows) && sameTransaction(rows[end-1], rows[end]); {
		end++
	}
	return end
}

func sameTransaction(a, b *event.RowChanged) bool {
	return a.CommitTs == b.CommitTs && a.StartTs == b.StartTs
}

// transactionsCovered returns how many of the first rows are of transactions that
// come at or before the position.
func (p *position) transactionsCovered(rows []*event.RowChanged) int {
	for i, row := range rows {
		if row.CommitTs > p.commitTs || row.CommitTs == p.commitTs && row.StartTs > p.startTs {
			return i
		}
	}
	return len(rows)
}

// joint is what one transaction downstream writes: whole transactions, reduced to
// the net changes of each table. All partitions of a table are one, so that a row
// that moves between them is deleted before it is inserted.
type joint struct {
	rows    []*event.RowChanged
	groups  []group
	byTable map[*event.TableInfo]int // the version's place in groups
}

type group struct {
	batch *batch
	rows  []*event.RowChanged
}

// reset gives back what the joint holds of the caller's rows.
func (j *joint) reset(s *Sink) {
	for i := range j.groups {
		g := &j.groups[i]
		s.giveBatch(g.batch)
		clear(g.rows)
		g.batch, g.rows = nil, g.rows[:0]
	}
	j.rows, j.groups = nil, j.groups[:0]
	clear(j.byTable)
}

// add sorts rows by tables.
func (j *joint) add(s *Sink, rows []*event.RowChanged) {
	if j.byTable == nil {
		j.byTable = map[*event.TableInfo]int{}
	}
	j.rows = rows
	var latest *event.TableInfo
	place := 0
	for _, row := range rows {
		if row.Table != latest {
			latest = row.Table
			place = j.place(s, latest)
		}
		j.groups[place].rows = append(j.groups[place].rows, row)
	}
	for i := range j.groups {
		g := &j.groups[i]
		g.batch.reset(s.planOfTable(g.rows[0].Table), nil, g.rows)
		g.batch.shard(len(g.rows), true)
	}
}

// place returns the place of a table version in groups.
func (j *joint) place(s *Sink, t *event.TableInfo) int {
	place, ok := j.byTable[t]
	if ok {
		return place
	}
	place = len(j.groups)
	j.byTable[t] = place
	if place == cap(j.groups) {
		j.groups = append(j.groups, group{})
	} else {
		j.groups = j.groups[:place+1] // with the list of rows that it had
	}
	j.groups[place].batch = s.takeBatch()
	return place
}

// writeJoint executes a joint in one transaction, which moves the position along if
// progress is not nil.
func (w *worker) writeJoint(ctx context.Context, j *joint, safe bool, progress *advance) error {
	if err := w.connect(ctx); err != nil {
		return err
	}
	w.script.reset()
	progress.append(&w.script, w.sink.cfg.Changefeed)
	for i := range j.groups {
		b := j.groups[i].batch
		if err := w.build(ctx, b, b.order, safe); err != nil {
			w.close()
			return err
		}
	}
	return w.execute(ctx)
}

// describe adds to an error what was being written.
func (j *joint) describe(err error) error {
	if len(j.rows) == 0 {
		return withoutValues(err)
	}
	const most = 5
	tables := ""
	for i := range j.groups {
		if i == most {
			tables += fmt.Sprintf(" and %d more", len(j.groups)-most)
			break
		}
		if i > 0 {
			tables += ", "
		}
		tables += j.groups[i].rows[0].Table.Name()
	}
	return fmt.Errorf("write whole transactions with %d rows of %s, commit ts %d to %d: %w", len(j.rows), tables,
		j.rows[0].CommitTs, j.rows[len(j.rows)-1].CommitTs, withoutValues(err))
}
