package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// script is what one downstream transaction executes: packets of text, each of
// one or several statements, and executions of prepared statements. Its buffers
// are reused.
type script struct {
	joined     bool // several statements may share a packet
	maxPacket  int  // bytes of a packet of several statements
	text       []byte
	steps      []step
	statements int
	from       int // where the statement begins that is being written

	lax   bool // statements are added that need a lax SQL mode
	laxed bool // there are such statements

	args  []driver.NamedValue
	arena []byte
}

// step is one round trip.
type step struct {
	from, to int         // of text
	prepared driver.Stmt // instead of text
	argFrom  int         // of args
	argTo    int
	closed   bool // no statement may be added
}

const begin, commit = "BEGIN", "COMMIT"

// reset begins a transaction.
func (s *script) reset() {
	s.text, s.steps, s.args, s.arena = s.text[:0], s.steps[:0], s.args[:0], s.arena[:0]
	s.lax, s.laxed = false, false
	s.open()
	s.text = append(s.text, begin...)
	s.close()
	s.statements = 0
}

// open begins a statement of text; the caller appends to text and calls close.
func (s *script) open() {
	if n := len(s.steps); n > 0 && s.joins(&s.steps[n-1]) {
		s.text = append(s.text, ';')
	}
	s.from = len(s.text)
}

func (s *script) joins(last *step) bool {
	return s.joined && last.prepared == nil && !last.closed && last.to-last.from < s.maxPacket
}

func (s *script) close() {
	s.statements++
	if n := len(s.steps); n > 0 && s.joins(&s.steps[n-1]) {
		s.steps[n-1].to = len(s.text)
		return
	}
	s.steps = append(s.steps, step{from: s.from, to: len(s.text)})
}

// setLax adds the statement that makes the SQL mode lax, or strict again.
func (s *script) setLax(lax bool) {
	mode := rowSQLMode
	if lax {
		mode = laxSQLMode
	}
	s.lax, s.laxed = lax, true
	s.open()
	s.text = append(append(append(s.text, "SET SESSION sql_mode = '"...), mode...), '\'')
	s.close()
}

// execute adds the execution of a prepared statement with the args since argFrom.
func (s *script) execute(stmt driver.Stmt, argFrom int) {
	s.statements++
	s.steps = append(s.steps, step{prepared: stmt, argFrom: argFrom, argTo: len(s.args)})
}

// argument adds a parameter of a prepared statement.
func (s *script) argument(v event.Value) {
	arena, value := parameter(s.arena, v)
	s.arena = arena
	s.args = append(s.args, driver.NamedValue{Ordinal: len(s.args) + 1, Value: value})
}

// finish ends the transaction. A statement that is alone needs none.
func (s *script) finish() {
	if s.statements != 1 {
		s.open()
		s.text = append(s.text, commit...)
		s.close()
		return
	}
	first := &s.steps[0]
	if first.to == len(begin) {
		s.steps = s.steps[1:]
	} else {
		first.from += len(begin) + len(";")
	}
}

// run executes the script. After an error the transaction is over: rolled back,
// or to be rolled back by closing the connection, which is what broken says.
func (s *script) run(ctx context.Context, conn *sql.Conn) (broken bool, err error) {
	err = conn.Raw(func(driverConn any) error {
		execer, ok := driverConn.(driver.ExecerContext)
		if !ok {
			return fmt.Errorf("driver connection %T cannot execute statements", driverConn)
		}
		for i := range s.steps {
			if err := s.steps[i].run(ctx, execer, s); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return false, nil
	}
	if isLost(err) || ctx.Err() != nil || s.laxed {
		return true, err
	}
	// The server has refused a statement; what came before it is still open.
	_, rollback := conn.ExecContext(ctx, "ROLLBACK")
	return rollback != nil, err
}

func (st *step) run(ctx context.Context, conn driver.ExecerContext, s *script) error {
	if st.prepared == nil {
		_, err := conn.ExecContext(ctx, viewString(s.text[st.from:st.to]), nil)
		return err
	}
	stmt, ok := st.prepared.(driver.StmtExecContext)
	if !ok {
		return errors.New("driver statement cannot be executed")
	}
	_, err := stmt.ExecContext(ctx, s.args[st.argFrom:st.argTo])
	return err
}
