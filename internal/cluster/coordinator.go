package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
)

// CoordinatorConfig describes a changefeed that is to run. Every field without a
// stated default is required.
type CoordinatorConfig struct {
	Changefeed string
	// Spec is the Task's. A changefeed that runs with another one is stopped first.
	Spec json.RawMessage
	// StartTs: everything at or below it is delivered. TargetTs is where the
	// changefeed ends, 0 for never.
	StartTs, TargetTs event.Ts
	// SaveCheckpoint stores the checkpoint under the changefeed's status, see [Store].
	SaveCheckpoint func(ctx context.Context, ts event.Ts) error
	// CheckpointInterval is the least time between two saves. It is stretched if there
	// are many changefeeds, as Config.ReportInterval is, and not kept if a DDL waits for
	// a save.
	CheckpointInterval time.Duration
	Logger             *slog.Logger
}

// Coordinator runs one changefeed on all members: the owner's part of it.
type Coordinator struct {
	cfg   CoordinatorConfig
	lead  *Leadership
	node  *Node
	keys  feedKeys
	log   *slog.Logger
	wake  chan struct{} // of capacity 1
	epoch int64

	// What follows belongs to the goroutine of Run.

	saved   event.Ts
	savedAt time.Time
	tables  map[int64]event.Ts
	version uint64 // of tables
	known   *pipeline.Pipeline
	running map[event.Ts]bool // DDLs
	// read are the assignments as they were decoded last, by key.
	read map[string]readAssignment
	// matched is what tables and assignments were when a plan found that they match.
	matched string

	executions sync.WaitGroup
	mu         struct {
		sync.Mutex
		executed  []event.Ts
		moves     map[int64]string // to captures
		rebalance bool
	}
}

// NewCoordinator returns a Coordinator that has started nothing.
func (l *Leadership) NewCoordinator(cfg CoordinatorConfig) *Coordinator {
	c := &Coordinator{
		cfg: cfg, lead: l, node: l.node, keys: l.node.keys.changefeed(cfg.Changefeed),
		log: cfg.Logger, wake: make(chan struct{}, 1), saved: cfg.StartTs, running: map[event.Ts]bool{}, read: map[string]readAssignment{},
	}
	c.mu.moves = map[int64]string{}
	return c
}

// Run runs the changefeed, or goes on with one that runs already, until the target
// ts (nil), an error of a member or the end of ctx, which it returns the cause of.
// Then the changefeed has been stopped everywhere, and its last checkpoint is saved.
// If the cause is ErrLeft, though, or the capture turns out not to be the owner any
// more (ErrNotOwner), the members go on, for the next owner.
func (c *Coordinator) Run(ctx context.Context) error {
	c.lead.add(c)
	defer c.lead.remove(c)
	err := c.run(ctx)
	c.executions.Wait() // they end with the processor at the latest
	left := errors.Is(err, ErrLeft) || errors.Is(err, ErrNotOwner)
	stopCtx := context.WithoutCancel(ctx)
	if left {
		c.handOver(stopCtx)
		return err
	}
	if stopErr := c.stop(stopCtx); stopErr != nil {
		return errors.Join(err, stopErr)
	}
	return err
}

// handOver writes which DDLs have been executed, or the next owner would do it again.
func (c *Coordinator) handOver(ctx context.Context) {
	s, seen, err := c.look()
	if len(s.executed) == 0 {
		return
	}
	if err == nil {
		err = c.carryOut(ctx, s, plan(s), seen)
	}
	if err != nil {
		c.log.Warn("executed DDLs not noted: the next owner executes them again", "commit_ts", s.executed, "error", err)
	}
}

// errFinished ends run at the target ts.
var errFinished = errors.New("target ts reached")

func (c *Coordinator) run(ctx context.Context) error {
	sub := c.node.mirror.subscribe(string(c.keys), c.node.keys.captures(), c.node.keys.draining())
	defer c.node.mirror.unsubscribe(sub)
	defer c.node.subs.add(c.cfg.Changefeed, c.wake)()
	if err := c.begin(ctx); err != nil {
		return err
	}
	for {
		begin := time.Now()
		wait, err := c.step(ctx)
		switch {
		case errors.Is(err, errFinished):
			return nil
		case err == nil:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrNotOwner), isTaskError(err):
			return err
		default:
			// Whether a change was made is seen in the mirror.
			if !errors.Is(err, errConflict) {
				c.log.Warn("changefeed not coordinated, will try again", "error", err)
			}
			wait = time.Second
		}
		// A look at all spans takes its time; most of it is for others.
		pause := max(syncInterval, 4*time.Since(begin))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-sub.C:
		case <-c.wake:
		case <-time.After(wait):
		}
	}
}

func isTaskError(err error) bool {
	var e *TaskError
	return errors.As(err, &e)
}

// begin makes the changefeed's task, or goes on with the one that there is.
func (c *Coordinator) begin(ctx context.Context) error {
	return c.retry(ctx, func() error {
		e := c.node.mirror.get(c.keys.task())
		if e.created == 0 {
			return c.beginTask(ctx)
		}
		var t Task
		if err := decode(e, &t); err != nil {
			return err
		}
		c.epoch = e.created
		if t.Stop || !sameJSON(t.Spec, c.cfg.Spec) {
			if err := c.stop(ctx); err != nil {
				return err
			}
			return errConflict // look again
		}
		c.log.Info("owner goes on with a changefeed that runs", "checkpoint_ts", c.saved)
		return nil
	})
}

func (c *Coordinator) beginTask(ctx context.Context) error {
	value, err := json.Marshal(Task{Spec: c.cfg.Spec, StartTs: c.saved})
	if err != nil {
		return fmt.Errorf("encode task: %w", err)
	}
	err = c.lead.commit(ctx, []clientv3.Cmp{absent(c.keys.task())},
		clientv3.OpPut(c.keys.task(), string(value)), clientv3.OpPut(c.keys.ddls(), "{}"))
	if err == nil {
		c.epoch = c.node.mirror.get(c.keys.task()).created
	}
	return err
}

func absent(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), "=", 0) }

// sameJSON compares what etcd gave back with what would be written.
func sameJSON(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// retry repeats what etcd may not be able to do at the moment.
func (c *Coordinator) retry(ctx context.Context, write func() error) error {
	for {
		err := write()
		if err == nil || errors.Is(err, ErrNotOwner) || errors.Is(err, ErrLeft) {
			return err
		}
		wait := syncInterval
		if !errors.Is(err, errConflict) {
			wait = time.Second
			c.log.Warn("etcd not written, will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// step takes one look, and makes the changes that follow from it. It returns after
// which time to look again at the latest.
func (c *Coordinator) step(ctx context.Context) (time.Duration, error) {
	const idle = time.Minute
	s, seen, err := c.look()
	if err != nil {
		return 0, err
	}
	if s.positions == nil {
		return idle, nil // the owner's own processor is being opened
	}
	d := plan(s)
	if d.complete {
		c.matched = c.match(&s)
	}
	if err := c.carryOut(ctx, s, d, seen); err != nil {
		return 0, err
	}
	c.execute(ctx, c.current())
	return c.saveCheckpoint(ctx, d.checkpoint, d.hurry)
}

// look reads the state of the changefeed, and the modification revisions of the keys
// that hold it. Without positions, it is too early.
func (c *Coordinator) look() (s state, seen map[string]int64, err error) {
	s = state{
		members: c.node.members(), positions: map[Member]position{}, assignments: map[Member]assignment{},
		checkpoint: c.saved, target: c.cfg.TargetTs,
	}
	seen = map[string]int64{}
	if e := c.node.mirror.get(c.keys.task()); e.created != c.epoch {
		return s, nil, fmt.Errorf("changefeed %s is run by another owner: %w", c.cfg.Changefeed, ErrNotOwner)
	}
	for m, e := range c.node.mirror.under(c.keys.positions()) {
		var pos position
		if err := decode(e, &pos); err != nil {
			return s, nil, err
		}
		if _, live := s.members[Member(m)]; live && pos.Error != nil {
			return s, nil, pos.Error
		}
		s.positions[Member(m)] = pos
	}
	for m, e := range c.node.mirror.under(c.keys.spans()) {
		a, err := c.readAssignment(e)
		if err != nil {
			return s, nil, err
		}
		s.assignments[Member(m)] = a
		seen[e.key] = e.modified
	}
	e := c.node.mirror.get(c.keys.ddls())
	if err := decode(e, &s.ddls); err != nil {
		return s, nil, err
	}
	seen[c.keys.ddls()] = e.modified
	if !c.lookAtPipeline(&s) {
		return state{}, nil, nil
	}
	c.lookAtRequests(&s)
	s.complete = c.matched == c.match(&s)
	return s, seen, nil
}

// readAssignment is an assignment of a revision.
type readAssignment struct {
	modified int64
	assignment
}

// readAssignment decodes an assignment that has changed. It is large.
func (c *Coordinator) readAssignment(e entry) (assignment, error) {
	if r, ok := c.read[e.key]; ok && r.modified == e.modified {
		return r.assignment, nil
	}
	var a assignment
	if err := decode(e, &a); err != nil {
		return a, err
	}
	c.read[e.key] = readAssignment{e.modified, a}
	return a, nil
}

// match identifies which tables there are and who has which.
func (c *Coordinator) match(s *state) string {
	out := fmt.Sprintf("%p %d", c.known, c.version)
	for _, m := range slices.Sorted(maps.Keys(s.assignments)) {
		out += fmt.Sprintf(" %s=%d", m, s.assignments[m].Rev)
	}
	return out
}

// current is the owner's own pipeline of the changefeed, nil if it does not run.
func (c *Coordinator) current() *pipeline.Pipeline {
	p := c.node.processor(c.cfg.Changefeed)
	if p == nil || p.epoch != c.epoch {
		return nil
	}
	return p.pipeline()
}

func (c *Coordinator) lookAtPipeline(s *state) bool {
	pl := c.current()
	if pl == nil {
		return false
	}
	pr := pl.Progress()
	if pl != c.known || pr.TablesVersion != c.version {
		c.known, c.version, c.tables = pl, pr.TablesVersion, pl.Tables()
	}
	s.tables, s.ddlResolved = c.tables, pr.DDLResolvedTs
	for _, d := range pr.DDLs {
		s.pending = append(s.pending, pendingDDL{commitTs: d.CommitTs, behind: d.Behind, awaitsSave: d.AwaitsSave, touched: d.Touched, removed: d.Removed})
	}
	return true
}

func (c *Coordinator) lookAtRequests(s *state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.executed, s.rebalance, s.moves = slices.Clone(c.mu.executed), c.mu.rebalance, map[int64]Member{}
	for id, capture := range c.mu.moves {
		s.moves[id] = ""
		for m := range s.members {
			if owner, _ := m.capture(); owner == capture {
				s.moves[id] = m
			}
		}
	}
}

// carryOut writes a decision in one transaction, on condition that what it was made
// from is still so.
func (c *Coordinator) carryOut(ctx context.Context, s state, d decision, seen map[string]int64) error {
	conds := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(c.keys.task()), "=", c.epoch)}
	var ops []clientv3.Op
	put := func(key string, value any) error {
		data, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode %s: %w", key, err)
		}
		conds = append(conds, clientv3.Compare(clientv3.ModRevision(key), "=", seen[key]))
		ops = append(ops, clientv3.OpPut(key, string(data)))
		return nil
	}
	for _, m := range slices.Sorted(maps.Keys(d.put)) {
		if err := put(c.keys.spansOf(m), d.put[m]); err != nil {
			return err
		}
	}
	if d.ddls != nil {
		if err := put(c.keys.ddls(), d.ddls); err != nil {
			return err
		}
	}
	for _, m := range d.gone {
		conds = append(conds, c.node.keys.gone(m))
		ops = append(ops, clientv3.OpDelete(c.keys.spansOf(m)), clientv3.OpDelete(c.keys.positionOf(m)))
	}
	if len(ops) > 0 {
		if err := c.lead.commit(ctx, conds, ops...); err != nil {
			return err
		}
		c.log.Debug("changefeed coordinated", "assignments", len(d.put), "gone", len(d.gone), "ddls", d.ddls)
	}
	c.noteDone(s, d)
	return nil
}

// noteDone forgets the requests that a decision has dealt with.
func (c *Coordinator) noteDone(s state, d decision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.executed = slices.DeleteFunc(c.mu.executed, func(ts event.Ts) bool { return slices.Contains(s.executed, ts) })
	for _, ts := range s.executed {
		delete(c.running, ts)
	}
	for _, id := range d.moved {
		delete(c.mu.moves, id)
	}
	if s.rebalance && d.rebalanced {
		c.mu.rebalance = false
	}
}

// execute begins to execute what etcd says is to be.
func (c *Coordinator) execute(ctx context.Context, pl *pipeline.Pipeline) {
	var d ddls
	if pl == nil || decode(c.node.mirror.get(c.keys.ddls()), &d) != nil {
		return
	}
	var known []event.Ts
	for _, pending := range pl.Progress().DDLs {
		known = append(known, pending.CommitTs)
	}
	for _, ts := range d.Executing {
		if c.running[ts] || !slices.Contains(known, ts) {
			continue
		}
		c.running[ts] = true
		c.executions.Go(func() {
			// Nobody else may execute it before this attempt has ended.
			if err := pl.ExecuteDDL(context.WithoutCancel(ctx), ts); err != nil {
				c.log.Warn("DDL not executed", "commit_ts", ts, "error", err) // the processor fails too
				return
			}
			c.mu.Lock()
			c.mu.executed = append(c.mu.executed, ts)
			c.mu.Unlock()
			ring(c.wake)
		})
	}
}

// saveCheckpoint stores a checkpoint that has risen, and lets the sink know it. It
// does so at once if a DDL waits for that.
func (c *Coordinator) saveCheckpoint(ctx context.Context, ts event.Ts, hurry bool) (time.Duration, error) {
	const idle = time.Minute
	if ts <= c.saved {
		return idle, c.finished()
	}
	atTarget := c.cfg.TargetTs != 0 && ts >= c.cfg.TargetTs
	if wait := c.lead.stretched(c.cfg.CheckpointInterval) - time.Since(c.savedAt); wait > 0 && !atTarget && !hurry {
		return wait, nil
	}
	if err := c.cfg.SaveCheckpoint(ctx, ts); err != nil {
		return 0, err
	}
	c.saved, c.savedAt = ts, time.Now()
	if pl := c.current(); pl != nil {
		pl.ConfirmCheckpoint(ts, true)
	}
	if hurry {
		ring(c.wake)
	}
	return idle, c.finished()
}

func (c *Coordinator) finished() error {
	if c.cfg.TargetTs != 0 && c.saved >= c.cfg.TargetTs {
		return errFinished
	}
	return nil
}
