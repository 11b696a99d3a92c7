package mysql

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Bounds of the limits. What is above is clamped, with a warning.
const (
	maxWorkerCount           = 1024
	maxTxnRow                = 2048
	maxMultiUpdateRow        = 256
	maxMultiUpdateRowSize    = 8192
	defaultWorkerCount       = 16
	defaultTxnRow            = 256
	defaultMultiUpdateRowLen = 1024
)

// Values of Config.TxnMode and Config.Atomicity.
const (
	// TxnOptimistic and TxnPessimistic are TiDB's transaction modes.
	TxnOptimistic  = "optimistic"
	TxnPessimistic = "pessimistic"
	// AtomicityNone may cut a transaction, for speed. AtomicityTable keeps what a
	// transaction did to one physical table in one transaction downstream.
	AtomicityNone  = "none"
	AtomicityTable = "table"
)

// Config says how a [Sink] writes. The zero value is valid. [Open] fills it from
// the parameters of a URI, whose names are those of TiCDC.
type Config struct {
	// Changefeed is the id under which ExactlyOnce keeps its progress, and is for
	// messages. It may be empty without ExactlyOnce.
	Changefeed string
	// WorkerCount is how many connections write at once (worker-count).
	// Defaults to 16; at most 1024.
	WorkerCount int
	// MaxTxnRow is how many rows a downstream transaction has (max-txn-row), and a
	// statement at most. Defaults to 256; at most 2048.
	MaxTxnRow int
	// MaxMultiUpdateRow is how many updates are merged in one statement
	// (max-multi-update-row). Defaults to MaxTxnRow; at most 256 otherwise.
	MaxMultiUpdateRow int
	// MaxMultiUpdateRowSize is the size in bytes of a row above which updates are
	// not merged (max-multi-update-row-size), if MaxMultiUpdateRow is set.
	// Defaults to 1024; at most 8192.
	MaxMultiUpdateRowSize int
	// TxnMode is how TiDB locks (tidb-txn-mode): TxnOptimistic, the default, or
	// TxnPessimistic. Other servers have no such mode.
	TxnMode string
	// SafeMode writes every row as if it might have been written before
	// (safe-mode): see the package on what that costs and when it is done anyway.
	SafeMode bool
	// SafeUntil is the commit ts up to which rows may have been written before, by
	// an earlier run; they are written as in SafeMode. Defaults to the clock's
	// time at New. What this gets wrong costs time, not correctness.
	SafeUntil event.Ts
	// Atomicity is AtomicityNone, the default, or AtomicityTable
	// (transaction-atomicity).
	Atomicity string
	// ExactlyOnce keeps in the table tidbcdc.progress how far each table has been
	// written, in the transaction that writes the rows, and leaves out rows that
	// were (exactly-once). It needs Changefeed.
	ExactlyOnce bool
	// TimeZone is the time zone in which DDL gives local times a meaning, unless
	// event.DDL.TimeZone tells it (time-zone). nil leaves the server's. Rows do not
	// depend on it.
	TimeZone *time.Location
	// NoBatchDML writes one statement per row (batch-dml-enable=false).
	NoBatchDML bool
	// NoMultiStatements sends each statement on its own (multi-stmt-enable=false).
	NoMultiStatements bool
	// NoPreparedStatements sends every statement as text (cache-prep-stmts=false).
	NoPreparedStatements bool
	// HasVectorType says that the downstream has TiDB's type VECTOR, which is a
	// LONGTEXT otherwise (has-vector-type).
	HasVectorType bool
	// Logger receives what an operator should know. The default discards it.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.TxnMode == "" {
		c.TxnMode = TxnOptimistic
	}
	if c.Atomicity == "" {
		c.Atomicity = AtomicityNone
	}
	for _, l := range c.limits() {
		if *l.value == 0 {
			*l.value = l.byDefault
		}
		if *l.value > l.max {
			c.Logger.Warn("limit is too large and was lowered", "limit", l.name, "value", *l.value, "max", l.max)
			*l.value = l.max
		}
	}
	if c.SafeUntil == 0 {
		c.SafeUntil = event.NewTs(time.Now())
	}
	return c
}

// limit is a number with bounds. 0 stands for the default.
type limit struct {
	name           string
	value          *int
	byDefault, max int
}

func (c *Config) limits() []limit {
	return []limit{
		{"worker-count", &c.WorkerCount, defaultWorkerCount, maxWorkerCount},
		{"max-txn-row", &c.MaxTxnRow, defaultTxnRow, maxTxnRow},
		{"max-multi-update-row", &c.MaxMultiUpdateRow, 0, maxMultiUpdateRow},
		{"max-multi-update-row-size", &c.MaxMultiUpdateRowSize, defaultMultiUpdateRowLen, maxMultiUpdateRowSize},
	}
}

// validate reports what withDefaults cannot mend. Its errors wrap sink.ErrInvalidURI.
func (c *Config) validate() error {
	for _, l := range c.limits() {
		if *l.value < 0 {
			return fmt.Errorf("%w: %s is %d, want at least 1", sink.ErrInvalidParameter, l.name, *l.value)
		}
	}
	switch {
	case c.TxnMode != TxnOptimistic && c.TxnMode != TxnPessimistic:
		return fmt.Errorf("%w: tidb-txn-mode is %q, want %s or %s", sink.ErrInvalidParameter, c.TxnMode, TxnOptimistic, TxnPessimistic)
	case c.Atomicity != AtomicityNone && c.Atomicity != AtomicityTable:
		return fmt.Errorf("%w: transaction-atomicity is %q, want %s or %s", sink.ErrInvalidURI, c.Atomicity, AtomicityNone, AtomicityTable)
	case c.ExactlyOnce && c.Changefeed == "":
		return fmt.Errorf("%w: exactly-once needs the id of the changefeed, to keep its progress under", sink.ErrInvalidParameter)
	case len(c.Changefeed) > maxChangefeedLen:
		return fmt.Errorf("%w: the id of the changefeed has %d bytes, exactly-once can keep %d", sink.ErrInvalidURI, len(c.Changefeed), maxChangefeedLen)
	}
	return nil
}

// maxChangefeedLen is the width of the column in tidbcdc.progress.
const maxChangefeedLen = 255
