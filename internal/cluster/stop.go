package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// StopTasks stops changefeeds that run and that nobody wants to: an owner before may
// have died when it had stored that a changefeed is paused, and had yet to stop it.
func (l *Leadership) StopTasks(ctx context.Context, wanted func(changefeed string) bool, logger *slog.Logger) error {
	var group errgroup.Group
	for key, e := range l.node.mirror.under(l.node.keys.changefeeds()) {
		id, isTask := strings.CutSuffix(key, "/task")
		if !isTask || wanted(id) {
			continue
		}
		group.Go(func() error {
			store := l.Store()
			saved, err := store.Load(ctx, id)
			if err != nil {
				return err
			}
			logger.Info("stopping a changefeed that runs and should not", "changefeed", id)
			c := l.NewCoordinator(CoordinatorConfig{
				Changefeed: id, StartTs: saved, Logger: logger.With("changefeed", id),
				SaveCheckpoint: func(ctx context.Context, ts event.Ts) error { return store.Save(ctx, id, ts) },
			})
			c.epoch = e.created
			return c.stop(ctx)
		})
	}
	return group.Wait()
}

// stop ends the changefeed's task on all members, saves the checkpoint that they
// have reached, and removes it. When it returns nil, nobody writes any more.
func (c *Coordinator) stop(ctx context.Context) error {
	sub := c.node.mirror.subscribe(string(c.keys), c.node.keys.captures())
	defer c.node.mirror.unsubscribe(sub)
	for {
		done, err := c.stopStep(ctx)
		if done || errors.Is(err, ErrNotOwner) {
			return err
		}
		wait := time.Hour
		if err != nil {
			wait = time.Second
			if !errors.Is(err, errConflict) {
				c.log.Warn("changefeed not stopped yet, will try again", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.lead.left: // the next owner stops it
			return ErrLeft
		case <-sub.C:
		case <-time.After(wait):
		}
	}
}

// stopStep does what can be done by now.
func (c *Coordinator) stopStep(ctx context.Context) (done bool, err error) {
	e := c.node.mirror.get(c.keys.task())
	if e.created == 0 || e.created != c.epoch {
		return true, nil
	}
	if !stopping(e) {
		var t Task
		if err := decode(e, &t); err != nil {
			return false, err
		}
		t.Stop = true
		value, err := json.Marshal(t)
		if err != nil {
			return false, fmt.Errorf("encode task: %w", err)
		}
		return false, c.lead.commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(e.key), "=", e.modified)},
			clientv3.OpPut(e.key, string(value)))
	}
	s, ended, err := c.lastState()
	if err != nil || !ended {
		return false, err
	}
	if ts := lastCheckpoint(s); ts > c.saved {
		if err := c.cfg.SaveCheckpoint(ctx, ts); err != nil {
			return false, err
		}
		c.saved = ts
	}
	// The checkpoint stays. That the task has gone is seen in the mirror.
	err = c.lead.commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(e.key), "=", e.modified)},
		clientv3.OpDelete(e.key), clientv3.OpDelete(c.keys.ddls()),
		clientv3.OpDelete(c.keys.spans(), clientv3.WithPrefix()), clientv3.OpDelete(c.keys.positions(), clientv3.WithPrefix()))
	return false, err
}

// lastState is what members have reported when they ended. All live ones have if
// ended is set.
func (c *Coordinator) lastState() (s state, ended bool, err error) {
	s = state{members: c.node.members(), positions: map[Member]position{}, assignments: map[Member]assignment{}, checkpoint: c.saved}
	for m, e := range c.node.mirror.under(c.keys.positions()) {
		var pos position
		if err := decode(e, &pos); err != nil {
			return s, false, err
		}
		if _, live := s.members[Member(m)]; live && !pos.Ended {
			return s, false, nil
		}
		s.positions[Member(m)] = pos
	}
	for m, e := range c.node.mirror.under(c.keys.spans()) {
		var a assignment
		if err := decode(e, &a); err != nil {
			return s, false, err
		}
		s.assignments[Member(m)] = a
	}
	return s, true, decode(c.node.mirror.get(c.keys.ddls()), &s.ddls)
}

// lastCheckpoint is the least of what the members have reported, if that is all
// there is to know: the owner's own pipeline, which knows the tables, has ended.
// Every table is in an assignment but those that are created by DDLs above what
// members report.
func lastCheckpoint(s state) event.Ts {
	if len(s.assignments) == 0 {
		return s.checkpoint
	}
	ts := event.Ts(1<<64 - 1)
	for m := range maps.Keys(s.assignments) {
		if s.positions[m].Rev != s.assignments[m].Rev {
			return s.checkpoint
		}
		ts = min(ts, s.positions[m].CheckpointTs)
		for _, stopped := range s.positions[m].Stopped {
			ts = min(ts, stopped)
		}
	}
	for _, d := range s.ddls.Executing {
		ts = min(ts, d-1)
	}
	return max(ts, s.checkpoint)
}
