package cdc

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Config describes a changefeed.
type Config struct {
	// ID names the changefeed in the checkpoint store, in PD and in messages:
	// letters and digits, with single dashes between, 128 bytes at most. Required.
	ID string
	// Upstream is the cluster that is followed. Required.
	Upstream *Upstream
	// Sink gets the changes. Required. Whoever opened it closes it, after Run.
	Sink sink.Sink
	// Filter chooses tables and changes. Defaults to everything but the system schemas.
	Filter *filter.Filter
	// StartTs: changes with a greater commit ts are delivered. It counts only
	// while Checkpoints holds nothing for the changefeed. 0 means now.
	StartTs event.Ts
	// TargetTs: Run ends when everything with a commit ts at or below it has been
	// delivered, and delivers nothing above. 0 means never.
	TargetTs event.Ts
	// Checkpoints keeps the checkpoint, for a later Run to resume from. Defaults
	// to memory that the Changefeed itself holds.
	Checkpoints CheckpointStore
	// ForceReplicate includes tables whose rows cannot be told apart (neither a
	// primary key nor a unique key over NOT NULL columns). After a restart the
	// sink may get a row of such a table twice and has nothing to see it by but
	// RowChanged.Key.
	ForceReplicate bool
	// IgnoreIneligibleTables leaves such tables out with a warning. Otherwise a
	// changefeed that starts afresh fails with an IneligibleTablesError.
	IgnoreIneligibleTables bool
	// WriteConcurrency is how many calls of the sink may overlap, each for another
	// table. Defaults to 1: then a sink needs no lock.
	WriteConcurrency int
	// WholeTransactions delivers transactions whole, in commit order across all
	// tables, to a Sink that is a sink.TransactionWriter. A DDL then waits for the rows
	// of all tables, WriteConcurrency must be 1, and a transaction is held in memory
	// as a whole, whatever the MemoryQuota.
	WholeTransactions bool
	// MemoryQuota bounds what the changefeed holds in memory: rows whose
	// transactions have not ended, changes that wait for the sink, batches that are
	// being written. What waits beyond it goes to SpillDir; a slow sink or a huge
	// transaction fills the disk and not the memory. What the sink itself holds is
	// not counted. Go's collector lets the process grow to about twice of what is
	// held. Defaults to 1 GiB; 1 MiB at least, better 64 MiB.
	MemoryQuota int64
	// SpillDir is where changes beyond MemoryQuota go. Nothing is written there, and
	// it need not exist, before they exceed it. Run makes a directory of its own in
	// it, removes that when it returns, and first what killed ones have left. A disk
	// that becomes full ends Run with an error; nothing is lost. Defaults to
	// os.TempDir(), which may be small or in memory: better choose one.
	SpillDir string
	// BatchRows and BatchBytes bound one call of WriteRows; a transaction is
	// split only if it exceeds them. They default to 1024 rows, and to 4 MiB or as
	// much less as keeps all batches together within a sixteenth of MemoryQuota.
	BatchRows  int
	BatchBytes int64
	// CheckpointInterval is the least time between two saves of the checkpoint,
	// and between two calls of WriteCheckpoint, unless a DDL waits for them.
	// Defaults to 500 ms.
	CheckpointInterval time.Duration
	// RetryTimeout is for how long a failing write is tried again, with backoff,
	// before the changefeed fails. Defaults to 30 min; negative means for ever.
	RetryTimeout time.Duration
	// DrainTimeout is for how long a write that has begun may go on after the
	// context of Run is cancelled. Defaults to 10 s.
	DrainTimeout time.Duration
	// GCTTL is for how long PD keeps the changes that a stopped changefeed has not
	// delivered. Defaults to 24 h.
	GCTTL time.Duration
	// SafePointService names the changefeed's service GC safe point in PD. Defaults
	// to tidbcdc-changefeed-ID; two changefeeds of one id need two names.
	SafePointService string
	// Logger gets the changefeed's messages. Defaults to the Upstream's.
	Logger *slog.Logger

	scheme string // of the URI by which a Capture has opened Sink
}

// minMemoryQuota is what moves anything at all.
const minMemoryQuota = 1 << 20

var idPattern = regexp.MustCompile(`^[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$`)

// validate checks what can be checked without I/O.
func isTransactionWriter(s sink.Sink) bool {
	_, ok := s.(sink.TransactionWriter)
	return ok
}

func (c *Config) validate() error {
	switch {
	case len(c.ID) > 128 || !idPattern.MatchString(c.ID):
		return fmt.Errorf("Config.ID %q: want letters and digits with single dashes between, 128 bytes at most", c.ID)
	case c.Upstream == nil:
		return errors.New("Config.Upstream is nil: get one from Dial")
	case c.Sink == nil:
		return errors.New("Config.Sink is nil: give a sink.Sink, such as a sink.RowFunc")
	case c.WholeTransactions && !isTransactionWriter(c.Sink):
		return fmt.Errorf("Config.WholeTransactions: %T is no sink.TransactionWriter: take another sink, or leave the option out", c.Sink)
	case c.WholeTransactions && c.WriteConcurrency > 1:
		return fmt.Errorf("Config.WholeTransactions: WriteConcurrency %d must be 1, because transactions are written in order", c.WriteConcurrency)
	case c.TargetTs != 0 && c.TargetTs <= c.StartTs:
		return fmt.Errorf("%w: Config.TargetTs %d, Config.StartTs %d", ErrTargetTsBeforeStartTs, c.TargetTs, c.StartTs)
	case c.WriteConcurrency < 0 || c.BatchRows < 0 || c.BatchBytes < 0:
		return fmt.Errorf("Config.WriteConcurrency %d, BatchRows %d and BatchBytes %d must not be negative", c.WriteConcurrency, c.BatchRows, c.BatchBytes)
	case c.MemoryQuota != 0 && c.MemoryQuota < minMemoryQuota:
		return fmt.Errorf("Config.MemoryQuota %d: want %d bytes at least", c.MemoryQuota, minMemoryQuota)
	case c.CheckpointInterval < 0 || c.DrainTimeout < 0:
		return fmt.Errorf("Config.CheckpointInterval %v and DrainTimeout %v must not be negative", c.CheckpointInterval, c.DrainTimeout)
	case c.GCTTL != 0 && c.GCTTL < 2*safePointInterval:
		return fmt.Errorf("Config.GCTTL %v: want %v at least, because it is renewed every %v", c.GCTTL, 2*safePointInterval, safePointInterval)
	}
	return nil
}

// withDefaults returns c with every zero field at its documented default.
func (c Config) withDefaults() (Config, error) {
	if c.Filter == nil {
		f, err := filter.New(filter.Config{})
		if err != nil {
			return c, err
		}
		c.Filter = f
	}
	if c.Checkpoints == nil {
		c.Checkpoints = &MemoryCheckpoints{}
	}
	if c.Logger == nil {
		c.Logger = c.Upstream.log
	}
	if c.RetryTimeout < 0 {
		c.RetryTimeout = 0 // how the backoff library says for ever
	} else {
		setDefault(&c.RetryTimeout, 30*time.Minute)
	}
	setDefault(&c.WriteConcurrency, 1)
	setDefault(&c.BatchRows, 1024)
	setDefault(&c.MemoryQuota, 1<<30)
	setDefault(&c.BatchBytes, min(4<<20, c.MemoryQuota/16/int64(c.WriteConcurrency)))
	setDefault(&c.SpillDir, os.TempDir())
	setDefault(&c.CheckpointInterval, 500*time.Millisecond)
	setDefault(&c.DrainTimeout, 10*time.Second)
	setDefault(&c.GCTTL, 24*time.Hour)
	setDefault(&c.SafePointService, "tidbcdc-changefeed-"+c.ID)
	return c, nil
}

func setDefault[T int | int64 | string | time.Duration](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}
