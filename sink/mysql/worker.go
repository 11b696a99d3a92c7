package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// worker is one connection that writes, with its prepared statements. One
// goroutine at a time uses it.
type worker struct {
	sink   *Sink
	conn   *sql.Conn // nil before the first use and after a failure
	script script
	stmts  statements
}

// close closes the connection for good.
func (w *worker) close() {
	if w.conn != nil {
		discard(w.conn)
		w.conn = nil
	}
	w.stmts.reset()
}

// connect sees to it that there is a connection.
func (w *worker) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	var err error
	w.conn, err = w.sink.open(ctx)
	return err
}

// write executes a shard in one transaction, which moves the position along if
// progress is not nil.
func (w *worker) write(ctx context.Context, b *batch, members []int32, safe bool, progress *advance) error {
	if err := w.connect(ctx); err != nil {
		return err
	}
	w.script.reset()
	progress.append(&w.script, w.sink.cfg.Changefeed)
	if err := w.build(ctx, b, members, safe); err != nil {
		w.close()
		return err
	}
	return w.execute(ctx)
}

// execute executes the script.
func (w *worker) execute(ctx context.Context) error {
	if w.script.statements == 0 {
		return nil
	}
	w.script.finish()
	broken, err := w.script.run(ctx, w.conn)
	if broken {
		w.close()
	}
	return err
}

// build adds the statements of a shard: first all deletes, then what is written.
func (w *worker) build(ctx context.Context, b *batch, members []int32, safe bool) error {
	s := &statement{script: &w.script, plan: b.plan, verb: verbDelete, max: w.sink.rowsPerStatement(b.plan, verbDelete)}
	hash := b.hash
	for _, i := range members {
		b.deletes(&hash, &b.changes[i], s.add)
	}
	s.end()
	if len(b.plan.enums) == 0 {
		return w.putAll(ctx, b, members, safe)
	}
	for len(members) > 0 {
		n := b.sameMode(members)
		lax := b.isLax(members[0])
		if lax {
			w.script.setLax(true)
		}
		if err := w.putAll(ctx, b, members[:n], safe); err != nil {
			return err
		}
		if lax {
			w.script.setLax(false)
		}
		members = members[n:]
	}
	return nil
}

// isLax reports whether a change needs a lax SQL mode.
func (b *batch) isLax(i int32) bool {
	after := b.after(&b.changes[i])
	return after != nil && b.plan.isLax(after)
}

// sameMode returns how many of the first members need the same SQL mode.
func (b *batch) sameMode(members []int32) int {
	n := 1
	for n < len(members) && b.isLax(members[n]) == b.isLax(members[0]) {
		n++
	}
	return n
}

// putAll adds the statements that write the new images.
func (w *worker) putAll(ctx context.Context, b *batch, members []int32, safe bool) error {
	if safe || b.plan.replaces && slices.ContainsFunc(members, func(i int32) bool { return b.changes[i].kind == changeUpdate }) {
		return w.puts(ctx, b, members, verbReplace, func(k changeKind) bool { return k != changeDelete })
	}
	if err := w.puts(ctx, b, members, verbUpsert, func(k changeKind) bool { return k == changeUpdate }); err != nil {
		return err
	}
	return w.puts(ctx, b, members, verbInsert, func(k changeKind) bool { return k == changeInsert || k == changeMove })
}

// puts adds the statements that write the new images of changes of some kinds.
func (w *worker) puts(ctx context.Context, b *batch, members []int32, v verb, of func(changeKind) bool) error {
	n, bytes := 0, 0
	sized := v == verbUpsert && w.sink.cfg.MaxMultiUpdateRow > 0
	for _, i := range members {
		if of(b.changes[i].kind) {
			n++
			if sized {
				bytes += imageBytes(b.after(&b.changes[i]))
			}
		}
	}
	limit := w.sink.rowsPerStatement(b.plan, v)
	if bytes > n*w.sink.cfg.MaxMultiUpdateRowSize {
		limit = 1
	}
	next := 0 // of members
	for n > 0 {
		rows := min(n, limit)
		n -= rows
		stmt, err := w.prepare(ctx, b.plan, v, rows)
		if err != nil {
			return err
		}
		s := &statement{script: &w.script, plan: b.plan, verb: v, max: limit}
		argFrom := len(w.script.args)
		for ; rows > 0; next++ {
			c := &b.changes[members[next]]
			if !of(c.kind) {
				continue
			}
			rows--
			if stmt == nil {
				s.add(b.after(c))
				continue
			}
			image := b.after(c)
			for _, offset := range b.plan.columns {
				w.script.argument(image[offset])
			}
		}
		if stmt != nil {
			w.script.execute(stmt, argFrom)
		}
		s.end()
	}
	return nil
}

// statement is one of text that is being built: it is begun by its first row and
// begun again when it is full.
type statement struct {
	script *script
	plan   *plan
	verb   verb
	max    int // rows
	rows   int
}

// maxStatementBytes is where a statement of several rows ends.
const maxStatementBytes = 1 << 20

func (s *statement) add(image []event.Value) {
	script := s.script
	if s.rows == 0 {
		script.open()
		script.text = s.plan.begin(script.text, s.verb)
	} else {
		script.text = append(script.text, s.plan.separator(s.verb)...)
	}
	script.text = s.plan.row(script.text, s.verb, image)
	s.rows++
	if s.rows >= s.max || len(script.text)-script.from > min(maxStatementBytes, script.maxPacket) {
		s.end()
	}
}

func (s *statement) end() {
	if s.rows > 0 {
		s.script.text = s.plan.end(s.script.text, s.verb)
		s.script.close()
		s.rows = 0
	}
}

// imageBytes estimates the size of a row.
func imageBytes(image []event.Value) int {
	n := 0
	for i := range image {
		n += max(8, len(image[i].Bytes()))
	}
	return n
}

// rowsPerStatement bounds the rows of one statement.
func (s *Sink) rowsPerStatement(p *plan, v verb) int {
	switch {
	case s.cfg.NoBatchDML || v == verbDelete && p.keyless:
		return 1
	case v == verbUpsert && s.cfg.MaxMultiUpdateRow > 0:
		return min(s.cfg.MaxMultiUpdateRow, s.cfg.MaxTxnRow)
	}
	return s.cfg.MaxTxnRow
}

// statements are the prepared statements of one connection. Those in use stay;
// when there are too many, all are closed, which costs a prepare each.
type statements struct {
	prepared map[statementKey]driver.Stmt
	// seen counts how often a statement was wanted before it was prepared.
	seen map[statementKey]int
}

type statementKey struct {
	plan *plan
	verb verb
	rows int
}

const (
	// maxPrepared is how many statements one connection keeps. The server's limit
	// for all connections is 16382 by default.
	maxPrepared = 64
	// minPreparedRows is the least number of rows that is worth it: text saves the
	// round trips of a transaction, and its parsing costs little.
	minPreparedRows = 32
	// prepareAfter is how often the same statement must have been wanted. Batches
	// of changing sizes are not worth preparing.
	prepareAfter = 2
	// maxParameters is what the protocol can number.
	maxParameters = 65535
)

func (s *statements) reset() { *s = statements{} }

// prepare returns a prepared statement of n rows, or nil if text is better.
func (w *worker) prepare(ctx context.Context, p *plan, v verb, n int) (driver.Stmt, error) {
	if w.sink.cfg.NoPreparedStatements || w.script.lax || n < minPreparedRows || n*len(p.columns) > maxParameters {
		return nil, nil
	}
	key := statementKey{p, v, n}
	if stmt, ok := w.stmts.prepared[key]; ok {
		return stmt, nil
	}
	if w.stmts.seen == nil || len(w.stmts.seen) > 16*maxPrepared {
		w.stmts.seen = map[statementKey]int{}
	}
	if w.stmts.seen[key]++; w.stmts.seen[key] <= prepareAfter {
		return nil, nil
	}
	if w.stmts.prepared == nil {
		w.stmts.prepared = map[statementKey]driver.Stmt{}
	}
	var stmt driver.Stmt
	err := w.conn.Raw(func(driverConn any) error {
		if len(w.stmts.prepared) >= maxPrepared {
			for key, old := range w.stmts.prepared {
				delete(w.stmts.prepared, key)
				if err := old.Close(); err != nil {
					return err
				}
			}
		}
		preparer, ok := driverConn.(driver.ConnPrepareContext)
		if !ok {
			return fmt.Errorf("driver connection %T cannot prepare statements", driverConn)
		}
		var err error
		stmt, err = preparer.PrepareContext(ctx, p.prepared(v, n))
		return err
	})
	if err != nil {
		return nil, err
	}
	w.stmts.prepared[key] = stmt
	return stmt, nil
}
