package diff

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

type serverKind uint8

const (
	kindMySQL serverKind = iota
	kindMariaDB
	kindTiDB
)

// side is one of the databases, with connections that all see the same state.
type side struct {
	name string
	db   *sql.DB
	kind serverKind
	ts   event.Ts
	// newCollations: strings compare by their collation. A TiDB may have been set
	// up to compare them as bytes.
	newCollations bool
	conns         chan *sql.Conn
	all           []*sql.Conn
}

// openSide connects and fixes the state that is read.
func openSide(ctx context.Context, name string, e Endpoint, n int) (*side, error) {
	if e.DB == nil {
		return nil, fmt.Errorf("connect to the %s: Endpoint.DB is nil", name)
	}
	if limit := e.DB.Stats().MaxOpenConnections; limit > 0 {
		n = max(1, min(n, limit-2))
	}
	s := &side{name: name, db: e.DB, ts: e.SnapshotTs}
	err := s.identify(ctx)
	if err == nil {
		if s.kind == kindTiDB {
			err = s.openTiDB(ctx, n)
		} else {
			err = s.openMySQL(ctx, n)
		}
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("connect to the %s: %w", name, err)
	}
	s.conns = make(chan *sql.Conn, len(s.all))
	for _, c := range s.all {
		s.conns <- c
	}
	return s, nil
}

func (s *side) identify(ctx context.Context) error {
	var version string
	if err := s.db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return err
	}
	switch {
	case strings.Contains(version, "TiDB"):
		s.kind = kindTiDB
	case strings.Contains(version, "MariaDB"):
		s.kind = kindMariaDB
	}
	if s.kind != kindTiDB && s.ts != 0 {
		return errors.New("only a TiDB can be read at a SnapshotTs")
	}
	return nil
}

// open adds a connection and runs statements on it.
func (s *side) open(ctx context.Context, statements ...string) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	s.all = append(s.all, conn)
	statements = append([]string{"SET NAMES utf8mb4", "SET SESSION time_zone = '+00:00', sql_mode = ''"}, statements...)
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

func (s *side) openTiDB(ctx context.Context, n int) error {
	if s.ts == 0 {
		ts, err := s.currentTs(ctx)
		if err != nil {
			return err
		}
		s.ts = ts
	}
	for range n {
		if err := s.open(ctx, fmt.Sprintf("SET SESSION tidb_snapshot = '%d'", uint64(s.ts))); err != nil {
			return err
		}
	}
	return s.all[0].QueryRowContext(ctx, "SELECT 'a' = _utf8mb4 'A' COLLATE utf8mb4_general_ci").Scan(&s.newCollations)
}

func (s *side) currentTs(ctx context.Context) (event.Ts, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	var ts uint64
	if err := tx.QueryRowContext(ctx, "SELECT @@tidb_current_ts").Scan(&ts); err != nil {
		return 0, err
	}
	return event.Ts(ts), nil
}

// openMySQL opens transactions that see one state: under a lock that keeps
// writers out for the moment that takes. Without the privilege, or with writers
// that do not end, one connection has to do.
func (s *side) openMySQL(ctx context.Context, n int) error {
	s.newCollations = true
	if n > 1 {
		lock, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer discard(lock)
		const waitSeconds = 5
		if _, err := lock.ExecContext(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout = %d", waitSeconds)); err != nil {
			return err
		}
		if _, err := lock.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK"); err != nil {
			if ctx.Err() != nil {
				return err
			}
			n = 1
		}
	}
	for range n {
		err := s.open(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
		if err != nil {
			return err
		}
	}
	return nil
}

// close gives no connection back to its pool: their sessions are changed.
func (s *side) close() {
	for _, c := range s.all {
		discard(c)
	}
}

func discard(c *sql.Conn) {
	_ = c.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.Close()
}

// query runs a query on a free connection and passes its rows to scan. The
// bytes are valid until scan returns.
func (s *side) query(ctx context.Context, query string, scan func(values []sql.RawBytes) error) error {
	var conn *sql.Conn
	select {
	case conn = <-s.conns:
		defer func() { s.conns <- conn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := scanRows(ctx, conn, query, scan)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // the driver may say that the connection is invalid
	}
	if err != nil {
		return fmt.Errorf("read from the %s: %w", s.name, err)
	}
	return nil
}

func scanRows(ctx context.Context, conn *sql.Conn, query string, scan func(values []sql.RawBytes) error) error {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]sql.RawBytes, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		if err := scan(values); err != nil {
			return err
		}
	}
	return rows.Err()
}
