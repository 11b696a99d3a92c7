package schema

import "errors"

var (
	// ErrTableNotFound is returned for an id that no wanted table has at the ts.
	ErrTableNotFound = errors.New("table not found")
	// ErrForgotten is returned for a ts whose versions were dropped, or that is
	// older than the snapshot.
	ErrForgotten = errors.New("schema versions are forgotten")
	// ErrUnresolved is returned for a ts up to which DDLs may still arrive.
	ErrUnresolved = errors.New("schema is not resolved yet")
	// ErrIncomplete is returned by [Storage.Apply] for a job that does not carry
	// its tables; see [Storage.Complete].
	ErrIncomplete = errors.New("DDL job lacks its tables: complete it with a reader at its commit ts")
	// ErrFlashback is returned by [Storage.Apply] for a FLASHBACK CLUSTER that
	// took schemas back in time. The changefeed cannot go on: the rows that it
	// restored were written below its commit ts, with schemas of another time.
	ErrFlashback = errors.New("FLASHBACK CLUSTER changed schemas")
)
