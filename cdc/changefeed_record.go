package cdc

import (
	"context"
	"slices"
	"time"
)

// changefeedRecord is what is stored of a changefeed, besides its checkpoint.
type changefeedRecord struct {
	Spec           Spec          `json:"spec"`
	State          State         `json:"state"`
	CreateTime     time.Time     `json:"create_time"`
	CreatorVersion string        `json:"creator_version"`
	Error          *RunningError `json:"error,omitempty"`
	// ErrorHistory are the times of the last errors since the changefeed was created
	// or resumed, the oldest first.
	ErrorHistory []time.Time `json:"error_history,omitempty"`
	// Released: PD no longer keeps changes for the changefeed, because it is
	// finished, has stood still for too long or has lost them already.
	Released bool `json:"released,omitempty"`
}

// errorHistory is how many errors a record remembers.
const errorHistory = 20

// setError notes an error that has ended a run, or failed the changefeed.
func (r *changefeedRecord) setError(e *RunningError) {
	r.Error = e
	history := append(slices.Clone(r.ErrorHistory), e.Time)
	r.ErrorHistory = history[max(0, len(history)-errorHistory):]
}

// changefeedStore keeps the changefeeds of an owner. What a method has done is
// durable when it returns nil. Only one process writes at a time: whoever cannot be
// sure that it still does gets an error that wraps ErrNotOwner.
type changefeedStore interface {
	CheckpointStore
	// Records returns all records.
	Records(ctx context.Context) ([]changefeedRecord, error)
	// PutRecord adds a record, or replaces the one of the same Spec.ID.
	PutRecord(ctx context.Context, r *changefeedRecord) error
	// Delete removes a record and its checkpoint; it is no error if there is none.
	Delete(ctx context.Context, id string) error
}

// runner runs one changefeed: in this process (a Changefeed), or on the captures of
// a cluster.
type runner interface {
	// Run is as Changefeed.Run: it delivers changes from the stored checkpoint, or
	// else the start ts of the Spec, until the target ts (nil), the end of ctx or an
	// error. Nothing of it goes on after it has returned.
	Run(ctx context.Context) error
	// Status may be called at any time.
	Status() Status
	// Processors returns what captures do for the changefeed now, by capture id.
	Processors() []ProcessorInfo
}

// launcher makes the runner of a changefeed for one Run, opening what that needs.
// The runner's checkpoints go through checkpoints. close is called after Run.
type launcher interface {
	Launch(ctx context.Context, spec *Spec, checkpoints CheckpointStore) (r runner, close func() error, err error)
}

// scheduling decides which capture does what.
type scheduling interface {
	Captures(ctx context.Context) ([]CaptureInfo, error)
	MoveTable(ctx context.Context, changefeed string, table int64, capture string) error
	RebalanceTables(ctx context.Context, changefeed string) error
	DrainCapture(ctx context.Context, capture string) (tables int, err error)
	ResignOwner(ctx context.Context) error
}
