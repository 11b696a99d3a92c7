package sink

import (
	"context"
	"errors"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Sink receives the changes of one changefeed. The changefeed calls it; whoever
// opened it closes it.
type Sink interface {
	// WriteRows delivers rows of one span in commit-ts order. Returning nil means
	// that they are durable: the checkpoint may pass them. An error is retried
	// with backoff, with the same rows, unless it is wrapped by Permanent.
	//
	// The rows, and the slices in them, belong to the caller again when WriteRows
	// returns; see package event on what may be kept. ctx is cancelled when the
	// changefeed stops, after its DrainTimeout. Calls overlap, each for a
	// different span, only if the changefeed's WriteConcurrency is above 1.
	WriteRows(ctx context.Context, rows []*event.RowChanged) error
	// WriteDDL delivers a schema change. Every row of its tables with a commit ts
	// at or below the DDL's has been written, and none above it. Rows below it do not
	// come again, also if the changefeed is restarted, but for kinds of DDL that such
	// rows do not mind: CREATE, ADD PARTITION, ADD and DROP INDEX of an index that is
	// not unique, ADD COLUMN with a constant default, and comments. The DDL itself
	// may come again. Errors, ctx and overlapping are as for WriteRows.
	WriteDDL(ctx context.Context, ddl *event.DDL) error
}

// CheckpointWriter is an optional interface of a Sink. WriteCheckpoint is called
// as the changefeed advances: every row and DDL with a commit ts at or below ts
// has been written. ts never goes back while the changefeed runs. It is called
// between writes, never during one, if WriteConcurrency is 1.
type CheckpointWriter interface {
	WriteCheckpoint(ctx context.Context, ts event.Ts) error
}

// TablesWriter is an optional interface of a CheckpointWriter that has to know more
// tables than those that change, to tell their consumers how far it has come.
// WriteTables is called before the first WriteCheckpoint, and before a later one if
// the tables have changed since. They are all that the changefeed follows, whichever
// process writes them and whether they have changes or not, as the last known DDL
// leaves them; and, as they were before it, those that a DDL drops or renames, until
// a checkpoint at or above that DDL has been written. The order is that of their
// names. The slice is the Sink's to keep, the tables must not be changed.
type TablesWriter interface {
	WriteTables(ctx context.Context, tables []*event.TableInfo) error
}

// TableChecker is an optional interface of a Sink whose settings may not fit a table,
// such as one that names columns. CheckTable is asked for every table when a changefeed
// is created or changed by a cdc.Capture, so that its user learns of it. It does no I/O.
type TableChecker interface {
	CheckTable(table *event.TableInfo) error
}

// Errors that backends wrap, so that callers can tell what is wrong.
var (
	// ErrUnknownProtocol is about a protocol that there is not, or not for the backend.
	ErrUnknownProtocol = errors.New("unknown protocol")
	// ErrColumnSelector is about a column selector that does not fit a table.
	ErrColumnSelector = errors.New("invalid column selector")
	// ErrMessageTooLarge is about a row or DDL that the target's limit has no room for.
	ErrMessageTooLarge = errors.New("message too large")
)

// TransactionWriter is an optional interface of a Sink, for changefeeds that keep
// transactions whole (Config.WholeTransactions of package cdc). They call it
// instead of WriteRows.
type TransactionWriter interface {
	// WriteTransactions delivers rows of all tables in the order of commit ts, then
	// start ts. Every transaction of which a row is among them is there with all its
	// rows: those of one physical table together, in the order of WriteRows, and the
	// tables by id, so that a repeated transaction comes in the same order. Calls do not
	// overlap, and every transaction of an earlier call comes before those of a later
	// one. Otherwise it is like WriteRows.
	WriteTransactions(ctx context.Context, rows []*event.RowChanged) error
}

// RowFunc is a Sink that passes rows to a function and ignores DDL.
type RowFunc func(ctx context.Context, rows []*event.RowChanged) error

// WriteRows calls f.
func (f RowFunc) WriteRows(ctx context.Context, rows []*event.RowChanged) error { return f(ctx, rows) }

// WriteDDL does nothing.
func (f RowFunc) WriteDDL(context.Context, *event.DDL) error { return nil }

// Permanent marks an error that retrying cannot mend: the changefeed fails at
// once and keeps its checkpoint. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether err, or one it wraps, was marked by Permanent.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// WriteError is why a call of a Sink failed, as a changefeed reports it.
type WriteError struct {
	// Method is the method that failed: WriteRows, WriteTransactions, WriteDDL or
	// WriteCheckpoint.
	Method string
	// Scheme is that of the URI by which a cdc.Capture has opened the sink, in lower
	// case; otherwise it is empty.
	Scheme string
	// Err is what the method returned.
	Err error
}

// Error implements error.
func (e *WriteError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }
