package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Sink writes to a MySQL-compatible database. Its methods may be called from any
// goroutine, at any WriteConcurrency, but for WriteTransactions, whose calls must not
// overlap.
type Sink struct {
	db     *sql.DB
	ddlDB  *sql.DB // without a read timeout, or db
	cfg    Config
	server server
	log    *slog.Logger

	// free are the connections that nobody uses; tokens are as many.
	free struct {
		sync.Mutex
		workers []*worker
	}
	tokens  chan struct{}
	batches sync.Pool // of *batch
	closing sync.Once

	// safeUntil is the commit ts up to which rows may have been written before:
	// what cfg says, and the rows of calls that failed.
	safeUntil atomic.Uint64
	plans     plans
	positions positions
	tails     tails
	// transactions is used by WriteTransactions alone.
	transactions transactions
	seed         maphash.Seed // of all hashes
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
	s := &Sink{db: db, ddlDB: db, cfg: cfg, server: server, log: cfg.Logger, tokens: make(chan struct{}, cfg.WorkerCount), seed: maphash.MakeSeed()}
	s.safeUntil.Store(uint64(cfg.SafeUntil))
	if cfg.ExactlyOnce {
		if err := s.makeProgressTable(ctx); err != nil {
			return nil, err
		}
	}
	for range cfg.WorkerCount {
		s.giveWorker(&worker{sink: s, script: script{
			joined: server.multiStatements, maxPacket: min(server.maxPacket/4, maxPacketBytes),
		}})
	}
	return s, nil
}

// maxPacketBytes is how large a packet of several statements becomes.
const maxPacketBytes = 4 << 20

// Close waits for the writes that have begun and closes the sink's connections.
// It does not close the sql.DB. What is written afterwards is an error.
func (s *Sink) Close() error {
	s.closing.Do(func() {
		for range s.cfg.WorkerCount {
			<-s.tokens
		}
		close(s.tokens)
		for _, w := range s.free.workers {
			w.close()
		}
	})
	return nil
}

// discard closes a connection for good, instead of giving it back to the pool.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// plans are those of the latest version of each table.
type plans struct {
	mu sync.Mutex
	// byTable is by the table's id. It grows with the tables that were written.
	byTable map[int64]*plan
}

// planOf returns what a row's table version means, and the tail of its physical
// table, nil for one whose handle keys do not wander.
func (s *Sink) planOf(row *event.RowChanged) (*plan, *tail) {
	p := s.planOfTable(row.Table)
	if !p.wanders() {
		return p, nil
	}
	return p, s.tails.of(row.PhysicalTableID)
}

func (s *Sink) planOfTable(t *event.TableInfo) *plan {
	s.plans.mu.Lock()
	defer s.plans.mu.Unlock()
	if p := s.plans.byTable[t.ID]; p != nil && p.table == t {
		return p
	}
	if s.plans.byTable == nil {
		s.plans.byTable = map[int64]*plan{}
	}
	p := newPlan(t, &s.server)
	s.plans.byTable[t.ID] = p
	return p
}

// positions are those that the sink has stored or read, by physical table.
type positions struct {
	mu      sync.Mutex
	byTable map[int64]position
}

func (ps *positions) get(table int64) (position, bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p, ok := ps.byTable[table]
	return p, ok
}

// set keeps a position, with a copy of its key, which belongs to the caller.
func (ps *positions) set(p position) {
	p.key = append([]byte(nil), p.key...)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.byTable == nil {
		ps.byTable = map[int64]position{}
	}
	ps.byTable[p.table] = p
}

func (ps *positions) forget(table int64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.byTable, table)
}
