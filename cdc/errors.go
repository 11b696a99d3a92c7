package cdc

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Errors that callers branch on. They come wrapped in messages that name the
// values and say what to do.
var (
	// ErrPDUnreachable: no PD answered.
	ErrPDUnreachable = errors.New("PD did not answer")
	// ErrClusterIDMismatch: another cluster answered than the one expected.
	ErrClusterIDMismatch = errors.New("wrong cluster")
	// ErrStartTsBeforeGC: changes after the start ts of a new changefeed may have
	// been collected already.
	ErrStartTsBeforeGC = errors.New("start ts is before the GC safe point")
	// ErrStartTsInFuture: the cluster has not reached the start ts.
	ErrStartTsInFuture = errors.New("start ts is in the future")
	// ErrTargetTsBeforeStartTs: there is nothing between start and target.
	ErrTargetTsBeforeStartTs = errors.New("target ts is not above start ts")
	// ErrRunning: Run was called while the changefeed runs.
	ErrRunning = errors.New("changefeed is already running")
	// ErrSnapshotLostByGC: the GC safe point has passed the checkpoint of a
	// changefeed, so changes may be missing: while it ran without reaching PD, or
	// before it was started again.
	ErrSnapshotLostByGC = errors.New("the GC safe point has passed the checkpoint")
)

// Error is why a changefeed failed.
type Error struct {
	// Changefeed is its id.
	Changefeed string
	// CheckpointTs: everything at or below it had been acknowledged.
	CheckpointTs event.Ts
	Err          error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("changefeed %s at checkpoint ts %d: %v", e.Changefeed, e.CheckpointTs, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// IneligibleTablesError lists tables that pass the filter and cannot be
// replicated safely, because nothing in a row identifies it.
type IneligibleTablesError struct{ Tables []string }

// Error implements error.
func (e *IneligibleTablesError) Error() string {
	const most = 10
	names := e.Tables
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	return fmt.Sprintf("%d tables have neither a primary key nor a unique key over NOT NULL columns: %s%s: "+
		"add a key, filter them out, or set ForceReplicate or IgnoreIneligibleTables",
		len(e.Tables), strings.Join(names, ", "), more)
}
