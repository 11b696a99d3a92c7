package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Sink writes to a MySQL-compatible database. Its methods may be called from any
// goroutine, at any WriteConcurrency.
type Sink struct {
	db     *sql.DB
	ddlDB  *sql.DB // without a read timeout, or db
	cfg    Config
	server server
	log    *slog.Logger

	// safeUntil is the commit ts up to which rows may have been written before:
	// what cfg says, and the rows of calls that failed.
	safeUntil atomic.Uint64
}

// New returns a sink that writes through db, whose connections must be those of
// go-sql-driver/mysql; its MultiStatements saves round trips. ctx bounds the
// questions to the server. Close the Sink, then db.
func New(ctx context.Context, db *sql.DB, cfg Config) (*Sink, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, sink.Permanent(err)
	}
	server, err := probe(ctx, db, &cfg)
	if err != nil {
		return nil, err
	}
	s := &Sink{db: db, ddlDB: db, cfg: cfg, server: server, log: cfg.Logger}
	s.safeUntil.Store(uint64(cfg.SafeUntil))
	return s, nil
}

// Close closes the sink's connections. It does not close the sql.DB.
func (s *Sink) Close() error { return nil }

// WriteRows implements [sink.Sink].
func (s *Sink) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	return fmt.Errorf("write %d rows", len(rows))
}

// discard closes a connection for good, instead of giving it back to the pool.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}
