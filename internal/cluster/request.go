package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
)

// Errors of requests.
var (
	// ErrCaptureNotFound: no live capture has the id.
	ErrCaptureNotFound = errors.New("capture does not exist")
	// ErrDrainRefused: the capture cannot be drained.
	ErrDrainRefused = errors.New("capture cannot be drained")
)

// Capture is a live capture.
type Capture struct {
	ID, Address, Version string
	IsOwner, Draining    bool
}

// Captures returns the live captures by id, as far as is known: while etcd is out of
// reach, that is how it was.
func (n *Node) Captures() []Capture {
	owner := n.ownerID()
	var out []Capture
	for id, e := range n.mirror.under(n.keys.captures()) {
		var info captureInfo
		if decode(e, &info) != nil {
			continue
		}
		out = append(out, Capture{
			ID: id, Address: info.Address, Version: info.Version, IsOwner: id == owner,
			Draining: n.mirror.get(n.keys.drainingOf(id)).lease == e.lease,
		})
	}
	slices.SortFunc(out, func(a, b Capture) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Owner returns the owner, or an error that wraps ErrNotOwner while nobody is known
// to be.
func (n *Node) Owner() (Capture, error) {
	for _, c := range n.Captures() {
		if c.IsOwner {
			return c, nil
		}
	}
	return Capture{}, fmt.Errorf("%w: there is none at the moment", ErrNotOwner)
}

// ownerID is the capture whose election key is the oldest.
func (n *Node) ownerID() string {
	var first entry
	for _, e := range n.mirror.under(n.keys.owner() + "/") {
		if first.created == 0 || e.created < first.created {
			first = e
		}
	}
	return string(first.value)
}

// Joined returns nil while the capture has a lease that it can work with.
func (n *Node) Joined() error {
	n.mu.Lock()
	s := n.mu.session
	n.mu.Unlock()
	if s == nil {
		return errors.New("the capture has not joined the cluster: is etcd reachable?")
	}
	return s.Check()
}

// Pipeline returns the pipeline of a changefeed in this process, nil if there is none.
func (n *Node) Pipeline(changefeed string) *pipeline.Pipeline {
	if p := n.processor(changefeed); p != nil {
		return p.pipeline()
	}
	return nil
}

// Pipelines returns the pipelines that run in this process, by changefeed.
func (n *Node) Pipelines() map[string]*pipeline.Pipeline {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string]*pipeline.Pipeline{}
	for id, p := range n.mu.processors {
		select {
		case <-p.ended:
		default:
			if pl := p.pipeline(); pl != nil {
				out[id] = pl
			}
		}
	}
	return out
}

func (l *Leadership) add(c *Coordinator) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.coordinators[c.cfg.Changefeed] = c
}

func (l *Leadership) remove(c *Coordinator) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.coordinators[c.cfg.Changefeed] == c {
		delete(l.mu.coordinators, c.cfg.Changefeed)
	}
}

func (l *Leadership) stretched(interval time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return stretch(interval, len(l.mu.coordinators))
}

func (l *Leadership) coordinator(changefeed string) *Coordinator {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.coordinators[changefeed]
}

// MoveTable asks that a capture takes a physical table over. It is without effect if
// the changefeed does not run, or there is no such table or capture.
func (l *Leadership) MoveTable(changefeed string, physicalID int64, capture string) {
	if c := l.coordinator(changefeed); c != nil {
		c.mu.Lock()
		c.mu.moves[physicalID] = capture
		c.mu.Unlock()
		ring(c.wake)
	}
}

// Rebalance asks that the tables of a changefeed are spread evenly.
func (l *Leadership) Rebalance(changefeed string) {
	if c := l.coordinator(changefeed); c != nil {
		c.mu.Lock()
		c.mu.rebalance = true
		c.mu.Unlock()
		ring(c.wake)
	}
}

// Drain asks that all tables leave a capture, which gets no others for as long as it
// has its lease. It returns how many tables the capture still has.
func (l *Leadership) Drain(ctx context.Context, capture string) (tables int, err error) {
	n := l.node
	captures := n.Captures()
	i := slices.IndexFunc(captures, func(c Capture) bool { return c.ID == capture })
	switch {
	case i < 0:
		return 0, fmt.Errorf("%w: %s", ErrCaptureNotFound, capture)
	case len(captures) == 1:
		return 0, fmt.Errorf("%w: %s is the only one", ErrDrainRefused, capture)
	case captures[i].IsOwner:
		return 0, fmt.Errorf("%w: %s is the owner: have it resign first", ErrDrainRefused, capture)
	}
	e := n.mirror.get(n.keys.capture(capture))
	if !captures[i].Draining {
		member := memberOf(capture, e.lease)
		// The mark goes with the lease.
		err := l.commit(ctx, []clientv3.Cmp{n.keys.holds(member)},
			clientv3.OpPut(n.keys.drainingOf(capture), "", clientv3.WithLease(e.lease)))
		if err != nil {
			return 0, fmt.Errorf("drain capture %s: %w", capture, err)
		}
	}
	return n.tablesOf(memberOf(capture, e.lease)), nil
}

// tablesOf counts the spans that a member is assigned, of all changefeeds.
func (n *Node) tablesOf(m Member) int {
	count := 0
	for key, e := range n.mirror.under(n.keys.changefeeds()) {
		if strings.HasSuffix(key, "/spans/"+string(m)) {
			var a assignment
			if decode(e, &a) == nil {
				count += len(a.Spans)
			}
		}
	}
	return count
}

// Part is what a member does for a changefeed.
type Part struct {
	Capture                  string
	CheckpointTs, ResolvedTs event.Ts
	// Tables are physical tables, in order.
	Tables []int64
	// Error is why it has ended; Retried is that of a write which is being tried again.
	Error, Retried *TaskError
}

// Parts returns the parts of a changefeed that runs, by capture.
func (n *Node) Parts(changefeed string) []Part {
	k := n.keys.changefeed(changefeed)
	live := n.members()
	var out []Part
	for name, e := range n.mirror.under(k.positions()) {
		m := Member(name)
		var pos position
		if _, ok := live[m]; !ok || decode(e, &pos) != nil {
			continue
		}
		var a assignment
		if decode(n.mirror.get(k.spansOf(m)), &a) != nil {
			continue
		}
		capture, _ := m.capture()
		out = append(out, Part{
			Capture: capture, CheckpointTs: pos.CheckpointTs, ResolvedTs: pos.ResolvedTs,
			Tables: slices.Sorted(maps.Keys(a.Spans)), Error: pos.Error, Retried: pos.Retried,
		})
	}
	slices.SortFunc(out, func(a, b Part) int { return cmp.Compare(a.Capture, b.Capture) })
	return out
}
