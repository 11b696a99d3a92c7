package cdc

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
)

// Node describes this process.
func (c *Capture) Node() NodeInfo {
	return NodeInfo{CaptureInfo: c.info(), Liveness: c.liveness(), GitHash: c.cfg.GitHash, PID: os.Getpid(), UpstreamID: c.cfg.Upstream.ClusterID()}
}

func (c *Capture) info() CaptureInfo {
	_, err := c.owned()
	return CaptureInfo{
		ID: c.cfg.ID, Address: c.cfg.Address, IsOwner: err == nil, ClusterID: c.cfg.ClusterID, Version: c.cfg.Version,
	}
}

// Health returns nil when changefeeds are being run, whether or not some failed. In
// a cluster, that takes a lease of this capture's and an owner.
func (c *Capture) Health(context.Context) error {
	if node := c.node(); node != nil {
		return clusterHealth(node)
	}
	_, err := c.owned()
	return err
}

// Owner describes the capture that decides about changefeeds.
func (c *Capture) Owner(context.Context) (CaptureInfo, error) {
	if node := c.node(); node != nil {
		return c.clusterOwner(node)
	}
	if _, err := c.owned(); err != nil {
		return CaptureInfo{}, err
	}
	return c.info(), nil
}

// CreateChangefeed stores a changefeed and starts it. Before, it checks in this
// order, and returns an error that wraps:
//
//   - sink.ErrInvalidURI if Spec.SinkURI is empty
//   - ErrInvalidID, ErrChangefeedExists
//   - ErrPDUnreachable, ErrStartTsInFuture, ErrStartTsBeforeGC
//   - ErrTargetTsBeforeStartTs
//   - sink.ErrInvalidURI if there is no Opener for the scheme; ErrInvalidSpec
//   - *filter.RuleError, *filter.EventFilterError
//   - *IneligibleTablesError
//   - ErrInvalidTimeZone
//   - whatever the Opener returns when it opens the sink, to be closed at once
func (c *Capture) CreateChangefeed(ctx context.Context, spec Spec) (ChangefeedInfo, error) {
	o, err := c.owned()
	if err != nil {
		return ChangefeedInfo{}, err
	}
	info, err := o.create(ctx, spec)
	if err != nil {
		return ChangefeedInfo{}, fmt.Errorf("create changefeed: %w", err)
	}
	return info, nil
}

// UpdateChangefeed changes the Spec of a changefeed that is stopped or failed. change
// gets the present one, with its secrets; secrets that it sets to what
// Spec.Redacted shows of the present ones stay. Errors wrap ErrChangefeedNotFound,
// or else ErrUpdateRefused and the reason, which may be the error of change.
func (c *Capture) UpdateChangefeed(ctx context.Context, id string, change func(*Spec) error) error {
	_, f, err := c.ownedFeed(id)
	if err != nil {
		return err
	}
	return f.update(ctx, change)
}

// PauseChangefeed stops a changefeed and keeps its checkpoint. It returns before
// everything has ended, and does nothing in the states stopped, failed and finished.
func (c *Capture) PauseChangefeed(ctx context.Context, id string) error {
	_, f, err := c.ownedFeed(id)
	if err != nil {
		return err
	}
	return f.pause(ctx)
}

// ResumeChangefeed starts a changefeed that is stopped, failed or finished, and does
// nothing in other states.
func (c *Capture) ResumeChangefeed(ctx context.Context, id string) error {
	_, f, err := c.ownedFeed(id)
	if err != nil {
		return err
	}
	return f.resume(ctx)
}

// RemoveChangefeed stops and forgets a changefeed, and waits for that. If ctx ends
// first, it goes on (ErrRemovalUnfinished).
func (c *Capture) RemoveChangefeed(ctx context.Context, id string) error {
	_, f, err := c.ownedFeed(id)
	if err != nil {
		return err
	}
	return f.removeAndWait(ctx)
}

// Changefeeds describes all changefeeds, by id.
func (c *Capture) Changefeeds(context.Context) ([]ChangefeedInfo, error) {
	o, err := c.owned()
	if err != nil {
		return nil, err
	}
	feeds := o.feeds()
	out := make([]ChangefeedInfo, len(feeds))
	for i, f := range feeds {
		out[i] = f.info()
	}
	return out, nil
}

// LocalStatus describes the parts of changefeeds that run in this process, by
// changefeed, whichever capture is the owner.
func (c *Capture) LocalStatus() map[string]Status {
	out := map[string]Status{}
	if node := c.node(); node != nil {
		for id, p := range node.Pipelines() {
			st := Status{State: StateNormal}
			st.describe(p)
			out[id] = st
		}
		return out
	}
	o, err := c.owned()
	if err != nil {
		return out
	}
	for _, f := range o.feeds() {
		f.mu.Lock()
		r := f.mu.runner
		f.mu.Unlock()
		if r != nil {
			out[f.id] = r.Status()
		}
	}
	return out
}

// Changefeed describes one changefeed.
func (c *Capture) Changefeed(_ context.Context, id string) (ChangefeedInfo, error) {
	_, f, err := c.ownedFeed(id)
	if err != nil {
		return ChangefeedInfo{}, err
	}
	return f.info(), nil
}

// Processors describes what captures do for changefeeds, by changefeed and capture.
func (c *Capture) Processors(ctx context.Context) ([]ProcessorInfo, error) {
	feeds, err := c.Changefeeds(ctx)
	if err != nil {
		return nil, err
	}
	var out []ProcessorInfo
	for _, f := range feeds {
		out = append(out, f.Tasks...)
	}
	return out, nil
}

// Processor describes what a capture does for a changefeed: no tables if nothing.
func (c *Capture) Processor(ctx context.Context, changefeed, capture string) (ProcessorInfo, error) {
	o, f, err := c.ownedFeed(changefeed)
	if err != nil {
		return ProcessorInfo{}, err
	}
	if err := o.checkCapture(ctx, capture); err != nil {
		return ProcessorInfo{}, err
	}
	info := f.info()
	for _, p := range info.Tasks {
		if p.CaptureID == capture {
			return p, nil
		}
	}
	return ProcessorInfo{ChangefeedID: changefeed, CaptureID: capture, CheckpointTs: info.CheckpointTs, Error: info.Error}, nil
}

func (o *owner) checkCapture(ctx context.Context, id string) error {
	captures, err := o.scheduling.Captures(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(captures, func(c CaptureInfo) bool { return c.ID == id }) {
		return fmt.Errorf("%w: %s", ErrCaptureNotFound, id)
	}
	return nil
}

// Captures describes all captures, by id. In a cluster each knows them.
func (c *Capture) Captures(ctx context.Context) ([]CaptureInfo, error) {
	if node := c.node(); node != nil {
		return capturesOf(node, c.cfg.ClusterID), nil
	}
	o, err := c.owned()
	if err != nil {
		return nil, err
	}
	captures, err := o.scheduling.Captures(ctx)
	slices.SortFunc(captures, func(a, b CaptureInfo) int { return cmp.Compare(a.ID, b.ID) })
	return captures, err
}

// DrainCapture begins to move all tables away from a capture, and returns how many it
// still has. A capture that is alone cannot be drained (ErrScheduling).
func (c *Capture) DrainCapture(ctx context.Context, capture string) (int, error) {
	o, err := c.owned()
	if err != nil {
		return 0, err
	}
	return o.scheduling.DrainCapture(ctx, capture)
}

// MoveTable asks that a capture takes over a table. Neither need exist.
func (c *Capture) MoveTable(ctx context.Context, changefeed string, table int64, capture string) error {
	o, _, err := c.ownedFeed(changefeed)
	if err != nil {
		return err
	}
	return o.scheduling.MoveTable(ctx, changefeed, table, capture)
}

// RebalanceTables asks that captures have about as many tables of a changefeed.
func (c *Capture) RebalanceTables(ctx context.Context, changefeed string) error {
	o, _, err := c.ownedFeed(changefeed)
	if err != nil {
		return err
	}
	return o.scheduling.RebalanceTables(ctx, changefeed)
}

// ResignOwner makes the owner step down, so that another is elected. A capture that
// is alone elects itself again.
func (c *Capture) ResignOwner(ctx context.Context) error {
	o, err := c.owned()
	if err != nil {
		return err
	}
	return o.scheduling.ResignOwner(ctx)
}

// info describes a changefeed now.
func (f *feed) info() ChangefeedInfo {
	f.mu.Lock()
	record, saved, r := f.mu.record, f.mu.saved, f.mu.runner
	f.mu.Unlock()
	info := ChangefeedInfo{
		Spec: record.Spec.Redacted(), State: record.State, CreateTime: record.CreateTime,
		CreatorVersion: record.CreatorVersion, CheckpointTs: saved, Error: record.Error, ErrorHistory: record.ErrorHistory,
		Status: Status{State: record.State, CheckpointTs: saved, SavedTs: saved},
	}
	if r == nil {
		return info
	}
	info.Status = r.Status()
	info.CheckpointTs = max(saved, info.Status.CheckpointTs)
	info.ResolvedTs = max(info.Status.ResolvedTs, info.CheckpointTs)
	if info.Status.State == StateWarning && info.State == StateNormal {
		info.State, info.Error = StateWarning, f.owner.cfg.runningError(info.Status.Err)
		info.Error.Time = info.Status.ErrTime
	}
	if wantsToRun(info.State) {
		info.Tasks = r.Processors()
	}
	return info
}
