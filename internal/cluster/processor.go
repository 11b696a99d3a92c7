package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
)

// processor is the part of one changefeed's run that this capture does.
type processor struct {
	node       *Node
	session    *Session
	member     Member
	changefeed string
	keys       feedKeys
	epoch      int64 // the create revision of the task
	task       Task
	log        *slog.Logger
	cancel     context.CancelCauseFunc
	ended      chan struct{}
	// wake, of capacity 1, tells that the pipeline has moved.
	wake chan struct{}

	// What follows belongs to the goroutine of sync.

	assigned   int64 // modification revision of the assignment in effect
	assignment assignment
	ddls       int64 // modification revision of the DDLs in effect
	confirmed  event.Ts
	reported   position
	awaited    event.Ts // the checkpoint that the first DDL waits for that waits for one
	reportedAt time.Time
	revision   int64 // modification revision of the position, as far as is known
	unsent     bool

	mu struct {
		sync.Mutex
		pipeline *pipeline.Pipeline // nil until it is open
	}
}

// errTaskEnded ends a processor whose task has ended.
var errTaskEnded = errors.New("the changefeed has been stopped")

// runProcessors has a processor for every task, until ctx ends. It returns when all
// have ended.
func (n *Node) runProcessors(ctx context.Context, session *Session) error {
	sub := n.mirror.subscribe(n.keys.changefeeds())
	defer n.mirror.unsubscribe(sub)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		tasks := n.tasks()
		n.mu.Lock()
		for id, p := range n.mu.processors {
			if e, ok := tasks[id]; !ok || e.created != p.epoch {
				p.cancel(errTaskEnded)
			}
			select {
			case <-p.ended:
				if e, ok := tasks[id]; !ok || e.created != p.epoch {
					delete(n.mu.processors, id)
				}
			default:
			}
		}
		for id, e := range tasks {
			if n.mu.processors[id] != nil {
				continue
			}
			p := n.newProcessor(session, id, e)
			n.mu.processors[id] = p
			pctx, cancel := context.WithCancelCause(ctx)
			p.cancel = cancel
			running.Go(func() {
				defer ring(sub.C) // a next one may wait for the end of this
				defer close(p.ended)
				defer cancel(nil)
				p.run(pctx)
			})
		}
		n.mu.Unlock()
		select {
		case <-ctx.Done():
			running.Wait()
			n.mu.Lock()
			clear(n.mu.processors)
			n.mu.Unlock()
			return context.Cause(ctx)
		case <-sub.C:
		}
	}
}

// tasks are the entries of the tasks that are to run, by changefeed.
func (n *Node) tasks() map[string]entry {
	out := map[string]entry{}
	for key, e := range n.mirror.under(n.keys.changefeeds()) {
		if id, isTask := strings.CutSuffix(key, "/task"); isTask && !stopping(e) {
			out[id] = e
		}
	}
	return out
}

func (n *Node) newProcessor(session *Session, changefeed string, e entry) *processor {
	p := &processor{
		node: n, session: session, member: memberOf(n.cfg.ID, session.Lease()),
		changefeed: changefeed, keys: n.keys.changefeed(changefeed), epoch: e.created,
		log:   n.log.With("changefeed", changefeed),
		ended: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if err := json.Unmarshal(e.value, &p.task); err != nil {
		p.log.Error("task not understood", "error", err)
	}
	return p
}

// run is the processor's whole life. Why it ended is in its last position.
func (p *processor) run(ctx context.Context) {
	defer p.node.subs.ring(p.changefeed)
	// Whoever ends the task waits for members that have a position.
	if err := p.reportAnyway(ctx, position{}); err != nil {
		p.log.Warn("processor not announced", "error", err)
		return
	}
	p.log.Info("processor has started")
	err := p.runPipeline(ctx)
	last := p.reported
	if pl := p.pipeline(); pl != nil {
		last = p.position(pl)
		// Whoever takes over need not repeat anything.
		for id, ts := range pl.Checkpoints() {
			last.Stopped[id] = ts
		}
	}
	last.Running, last.Ended, last.Retried = false, true, nil
	if err != nil && ctx.Err() == nil {
		last.Error = p.node.taskError(err)
		p.log.Warn("processor has failed", "error", err)
	} else {
		p.log.Info("processor has ended", "reason", context.Cause(ctx))
	}
	if err := p.reportAnyway(context.WithoutCancel(ctx), last); err != nil {
		p.log.Warn("last position not reported: work since the one before is repeated", "error", err)
	}
}

// reportAnyway reports a position that others wait for: it tries until that
// succeeds, ctx ends, or nobody waits any more.
func (p *processor) reportAnyway(ctx context.Context, pos position) error {
	for {
		if err := p.session.Check(); err != nil {
			return err
		}
		err := p.report(ctx, pos)
		if err == nil || errors.Is(err, errTaskEnded) {
			return err
		}
		p.log.Warn("position not reported, will try again", "error", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.session.Done():
		case <-time.After(p.node.cfg.TTL / 20):
		}
	}
}

func (n *Node) taskError(err error) *TaskError {
	if e := (*TaskError)(nil); errors.As(err, &e) {
		return e
	}
	out := &TaskError{Time: time.Now(), Capture: n.cfg.ID, Address: n.cfg.Address, Message: err.Error()}
	out.Code, out.Permanent = n.cfg.Classify(err)
	return out
}

func (p *processor) runPipeline(ctx context.Context) (err error) {
	pl, closeSink, err := p.node.cfg.Open(ctx, Job{
		Changefeed: p.changefeed, Task: p.startTask(), Session: p.session,
		ReadyDDL: func(*event.DDL) { ring(p.wake); p.node.subs.ring(p.changefeed) },
		Changed:  func() { ring(p.wake) },
	})
	if err != nil {
		return err
	}
	defer func() {
		if err := closeSink(); err != nil {
			p.log.Warn("sink not closed properly", "error", err)
		}
	}()
	p.mu.Lock()
	p.mu.pipeline = pl
	p.mu.Unlock()
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return pl.Run(gctx) })
	group.Go(func() error { return p.sync(gctx, pl) })
	return group.Wait()
}

// startTask is the task from where it has come by now.
func (p *processor) startTask() Task {
	t := p.task
	t.StartTs = max(t.StartTs, checkpointOf(p.node.mirror.get(p.keys.status())))
	p.confirmed = t.StartTs
	return t
}

// pipeline returns the processor's, nil until it is open.
func (p *processor) pipeline() *pipeline.Pipeline {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.pipeline
}

// syncInterval is the least time between two looks at the pipeline, at every span
// of it.
const syncInterval = 20 * time.Millisecond

// sync makes the pipeline do what the owner has written, and reports how far it is.
func (p *processor) sync(ctx context.Context, pl *pipeline.Pipeline) error {
	sub := p.node.mirror.subscribe(p.keys.ddls(), p.keys.status(), p.keys.spansOf(p.member))
	defer p.node.mirror.unsubscribe(sub)
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		err := p.followOwner(pl)
		if errors.Is(err, errPipelineEnded) {
			<-ctx.Done() // Run says why
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		wait, err := p.reportProgress(ctx, pl)
		if err != nil {
			return err
		}
		retry.Reset(wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-sub.C:
		case <-p.wake:
		case <-retry.C:
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(syncInterval):
		}
	}
}

// followOwner takes over what has changed. DDLs come first: an assignment may
// follow from them.
func (p *processor) followOwner(pl *pipeline.Pipeline) error {
	if e := p.node.mirror.get(p.keys.ddls()); e.modified != p.ddls {
		var d ddls
		if err := decode(e, &d); err != nil {
			return err
		}
		for _, commitTs := range d.Done {
			pl.FinishDDL(commitTs)
		}
		p.ddls = e.modified
		p.node.subs.ring(p.changefeed) // others may be next
	}
	if ts := checkpointOf(p.node.mirror.get(p.keys.status())); ts > p.confirmed {
		pl.ConfirmCheckpoint(ts, false)
		p.confirmed = ts
	}
	e := p.node.mirror.get(p.keys.spansOf(p.member))
	if e.modified != p.assigned {
		var a assignment
		if err := decode(e, &a); err != nil {
			return err
		}
		// What is reported is never said to be of an assignment that is in effect in part.
		switch complete, ok := p.assign(pl, a); {
		case !ok:
			return errPipelineEnded
		case complete:
			p.assigned = e.modified
		}
	}
	return nil
}

// errPipelineEnded: the pipeline does not take assignments any more.
var errPipelineEnded = errors.New("the pipeline has ended")

// assign makes the pipeline write what it is assigned. It is not complete if a write
// of a span of the same id, which is another table, has to end before, and not ok if
// the pipeline has ended.
func (p *processor) assign(pl *pipeline.Pipeline, a assignment) (complete, ok bool) {
	before := p.assignment
	p.assignment = a
	for _, id := range p.assignment.Stop {
		pl.StopSpan(id)
	}
	for _, id := range pl.SpanIDs() {
		if _, ok := p.assignment.Spans[id]; !ok {
			pl.StopSpan(id)
		}
	}
	for id := range pl.Progress().Stopped {
		if !slices.Contains(p.assignment.Stop, id) {
			pl.ReleaseSpan(id)
		}
	}
	for id, start := range p.assignment.Spans {
		if !slices.Contains(p.assignment.Stop, id) {
			if !pl.AddSpan(id, start) {
				p.assignment = before
				return false, false
			}
		}
	}
	return !slices.ContainsFunc(pl.Progress().Stopping, func(id int64) bool {
		_, wanted := p.assignment.Spans[id]
		return wanted && !slices.Contains(p.assignment.Stop, id)
	}), true
}

// position is how far the pipeline is.
func (p *processor) position(pl *pipeline.Pipeline) position {
	pr := pl.Progress()
	pos := position{
		Rev: p.assignment.Rev, CheckpointTs: pr.CheckpointTs, ResolvedTs: pr.ResolvedTs,
		Stopped: SpanSet{}, Running: true,
	}
	stopping := map[int64]bool{}
	for _, id := range pr.Stopping {
		stopping[id] = true
	}
	for _, id := range p.assignment.Stop {
		switch ts, ok := pr.Stopped[id]; {
		case ok:
			pos.Stopped[id] = ts
		case !stopping[id]:
			// It was to be stopped before it was ever begun.
			pos.Stopped[id] = p.assignment.Spans[id]
		}
	}
	for id := range pr.Stopped {
		if _, ok := pos.Stopped[id]; !ok {
			pl.ReleaseSpan(id)
		}
	}
	if at, err := pl.Retried(); err != nil {
		pos.Retried = p.node.taskError(err)
		pos.Retried.Time = at
	}
	p.awaited = 0
	for _, d := range pr.DDLs {
		if d.Reached {
			pos.Reached = append(pos.Reached, d.CommitTs)
		}
		if d.AwaitsSave && p.awaited == 0 {
			p.awaited = d.CommitTs - 1
		}
	}
	return pos
}

// reportProgress writes the position if that is due. It returns after which time to
// look again at the latest.
func (p *processor) reportProgress(ctx context.Context, pl *pipeline.Pipeline) (time.Duration, error) {
	const idle = time.Hour
	pos := p.position(pl)
	if !p.unsent && !p.urgent(pos) {
		if pos.CheckpointTs == p.reported.CheckpointTs && pos.ResolvedTs == p.reported.ResolvedTs {
			return idle, nil
		}
		if wait := p.node.reportInterval() - time.Since(p.reportedAt); wait > 0 {
			return wait, nil
		}
	}
	err := p.report(ctx, pos)
	switch {
	case err == nil:
		return idle, nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case errors.Is(err, errTaskEnded):
		return 0, err
	}
	p.unsent = true
	p.log.Warn("position not reported, will try again", "error", err)
	return time.Second, nil
}

// urgent tells news that others wait for.
func (p *processor) urgent(pos position) bool {
	old := &p.reported
	return pos.CheckpointTs >= p.awaited && old.CheckpointTs < p.awaited || pos.Rev != old.Rev || pos.Running != old.Running || len(pos.Stopped) != len(old.Stopped) ||
		!slices.Equal(pos.Reached, old.Reached) || (pos.Retried == nil) != (old.Retried == nil)
}

// report writes a position, as long as the lease and the task hold. etcd may carry
// out a write whose answer was not waited for, because it took too long or the pipeline
// has ended, after a later one. It must not undo that, or nobody learns that the
// processor has ended, and where.
func (p *processor) report(ctx context.Context, pos position) error {
	value, err := json.Marshal(pos)
	if err != nil {
		return fmt.Errorf("encode position: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.node.cfg.TTL/4)
	defer cancel()
	key := p.keys.positionOf(p.member)
	for {
		resp, err := p.node.cfg.Client.Txn(ctx).
			If(
				p.node.keys.holds(p.member), clientv3.Compare(clientv3.CreateRevision(p.keys.task()), "=", p.epoch),
				clientv3.Compare(clientv3.ModRevision(key), "=", p.revision),
			).
			Then(clientv3.OpPut(key, string(value))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil {
			return fmt.Errorf("write position: %w", err)
		}
		if resp.Succeeded {
			p.reported, p.reportedAt, p.unsent, p.revision = pos, time.Now(), false, resp.Header.Revision
			return nil
		}
		var found int64
		for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
			found = kv.ModRevision
		}
		if found == p.revision {
			return fmt.Errorf("write position: %w, or the capture has left the cluster", errTaskEnded)
		}
		p.revision = found // by a write of this processor whose answer has not come, or by the end of the task
	}
}
