package apiserver_test

import (
	"context"

	"github.com/tidbcdc/tidbcdc/apiserver"
	"github.com/tidbcdc/tidbcdc/cdc"
)

// fake is a Controller that answers everything with err, if it has one. It is for
// what no real capture can be made to say.
type fake struct {
	err    error
	owner  cdc.CaptureInfo
	feeds  []cdc.ChangefeedInfo
	tables int
	// ownerErr is of Owner.
	ownerErr error
	spec     cdc.Spec // of the last create or update
}

var _ apiserver.Controller = (*fake)(nil)

func (f *fake) Node() cdc.NodeInfo {
	return cdc.NodeInfo{CaptureInfo: cdc.CaptureInfo{ID: captureID, Address: "127.0.0.1:8300"}}
}
func (f *fake) Health(context.Context) error { return f.err }
func (f *fake) Owner(context.Context) (cdc.CaptureInfo, error) {
	if f.ownerErr != nil || f.owner.ID == "" {
		return f.Node().CaptureInfo, f.ownerErr
	}
	return f.owner, nil
}

func (f *fake) CreateChangefeed(_ context.Context, spec cdc.Spec) (cdc.ChangefeedInfo, error) {
	f.spec = spec
	return cdc.ChangefeedInfo{Spec: spec}, f.err
}

func (f *fake) UpdateChangefeed(_ context.Context, _ string, change func(*cdc.Spec) error) error {
	if f.err != nil {
		return f.err
	}
	return change(&f.spec)
}
func (f *fake) PauseChangefeed(context.Context, string) error  { return f.err }
func (f *fake) ResumeChangefeed(context.Context, string) error { return f.err }
func (f *fake) RemoveChangefeed(context.Context, string) error { return f.err }
func (f *fake) LocalStatus() map[string]cdc.Status {
	return map[string]cdc.Status{"a": {Tables: 1234}}
}

func (f *fake) Changefeeds(context.Context) ([]cdc.ChangefeedInfo, error) {
	return f.feeds, f.err
}

func (f *fake) Changefeed(_ context.Context, id string) (cdc.ChangefeedInfo, error) {
	for _, feed := range f.feeds {
		if feed.Spec.ID == id {
			return feed, f.err
		}
	}
	return cdc.ChangefeedInfo{Spec: cdc.Spec{ID: "a"}, State: cdc.StateNormal}, f.err
}
func (f *fake) Processors(context.Context) ([]cdc.ProcessorInfo, error) { return nil, f.err }
func (f *fake) Processor(context.Context, string, string) (cdc.ProcessorInfo, error) {
	return cdc.ProcessorInfo{}, f.err
}
func (f *fake) Captures(context.Context) ([]cdc.CaptureInfo, error)    { return nil, f.err }
func (f *fake) DrainCapture(context.Context, string) (int, error)      { return f.tables, f.err }
func (f *fake) MoveTable(context.Context, string, int64, string) error { return f.err }
func (f *fake) RebalanceTables(context.Context, string) error          { return f.err }
func (f *fake) ResignOwner(context.Context) error                      { return f.err }
