package apiserver

import (
	"context"

	"github.com/tidbcdc/tidbcdc/cdc"
)

// Controller is what the API serves; *cdc.Capture is one. Methods may be called
// from any goroutine. Errors are told apart as package cdc exports them, and shown
// as they are: they hold no secrets. Ids that reach a Controller have been checked
// by cdc.ValidateID.
type Controller interface {
	// Node describes this process, at once and whatever its state.
	Node() cdc.NodeInfo
	// Health returns an error that wraps cdc.ErrUnhealthy, or cdc.ErrNotReady, unless
	// the captures together do their work. A changefeed that failed is no reason.
	Health(ctx context.Context) error
	// Owner describes the capture that decides about changefeeds. If it is another
	// one, requests are passed on to its address.
	Owner(ctx context.Context) (cdc.CaptureInfo, error)

	// CreateChangefeed validates, stores and starts a changefeed. What it returns
	// has the start ts that was chosen.
	CreateChangefeed(ctx context.Context, spec cdc.Spec) (cdc.ChangefeedInfo, error)
	// UpdateChangefeed changes the Spec of a stopped or failed changefeed; all
	// errors but those about the id wrap cdc.ErrUpdateRefused. A sink URI as shown,
	// with its secrets masked, is no change. The state is looked at before change is
	// called.
	UpdateChangefeed(ctx context.Context, id string, change func(*cdc.Spec) error) error
	// PauseChangefeed, ResumeChangefeed and RemoveChangefeed are accepted and without
	// effect in a state that they do not apply to.
	PauseChangefeed(ctx context.Context, id string) error
	ResumeChangefeed(ctx context.Context, id string) error
	RemoveChangefeed(ctx context.Context, id string) error
	// LocalStatus describes what of changefeeds runs in this process, by changefeed.
	LocalStatus() map[string]cdc.Status
	// Changefeeds returns all changefeeds by id.
	Changefeeds(ctx context.Context) ([]cdc.ChangefeedInfo, error)
	Changefeed(ctx context.Context, id string) (cdc.ChangefeedInfo, error)

	// Processors returns what captures do for changefeeds, by both ids.
	Processors(ctx context.Context) ([]cdc.ProcessorInfo, error)
	Processor(ctx context.Context, changefeed, capture string) (cdc.ProcessorInfo, error)

	// Captures returns all captures by id.
	Captures(ctx context.Context) ([]cdc.CaptureInfo, error)
	// DrainCapture begins to move all tables away from a capture and returns how many
	// it still has.
	DrainCapture(ctx context.Context, capture string) (tables int, err error)
	// MoveTable asks that a capture takes over a table. Neither need exist.
	MoveTable(ctx context.Context, changefeed string, table int64, capture string) error
	RebalanceTables(ctx context.Context, changefeed string) error
	// ResignOwner makes the owner step down, so that another is elected.
	ResignOwner(ctx context.Context) error
}

var _ Controller = (*cdc.Capture)(nil)
