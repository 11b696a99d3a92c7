package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// ErrNotOwner tells that another capture is the owner, or for the moment nobody is.
var ErrNotOwner = errors.New("capture is not the owner")

// Leadership is a capture's time as the owner. Its writes fail once that is over.
type Leadership struct {
	node     *Node
	election *concurrency.Election
	session  *Session
	// resign, of capacity 1, asks to end it. left is closed when it is ending.
	resign chan struct{}
	left   <-chan struct{}

	mu struct {
		sync.Mutex
		coordinators map[string]*Coordinator // by changefeed
	}
}

// campaign takes part in elections, and leads when the capture has won one.
func (n *Node) campaign(ctx context.Context, session *Session) error {
	for {
		election := concurrency.NewElection(session.inner, n.keys.owner())
		if err := election.Campaign(ctx, n.cfg.ID); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("campaign for owner: %w", err)
		}
		n.log.Info("capture has become the owner")
		l := &Leadership{node: n, election: election, session: session, resign: make(chan struct{}, 1)}
		l.mu.coordinators = map[string]*Coordinator{}
		err := n.lead(ctx, l)
		n.log.Info("capture has stopped to be the owner", "reason", err)
		resignCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.TTL)
		err = election.Resign(resignCtx)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("resign as owner: %w", err)
		}
		// Whoever waits longer comes first.
	}
}

// lead calls Config.Lead until the capture resigns or ctx ends. Of errors of Lead's
// own it recovers by a new election.
func (n *Node) lead(ctx context.Context, l *Leadership) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leadCtx, leave := context.WithCancelCause(context.WithoutCancel(ctx))
	defer leave(nil)
	stop := context.AfterFunc(ctx, func() { leave(fmt.Errorf("%w: %w", ErrLeft, context.Cause(ctx))) })
	defer stop()
	resigned := make(chan struct{})
	go func() {
		defer close(resigned)
		select {
		case <-leadCtx.Done():
		case <-l.resign:
			leave(fmt.Errorf("%w: it was asked to resign", ErrLeft))
		}
	}()
	l.left = leadCtx.Done()
	// From here on the mirror shows all that owners before have written.
	err := l.commit(leadCtx, nil, clientv3.OpPut(n.keys.leader(), n.cfg.ID))
	if err == nil {
		n.setLeadership(l)
		err = n.cfg.Lead(leadCtx, l)
		n.setLeadership(nil)
	}
	failed := leadCtx.Err() == nil
	leave(ErrLeft)
	<-resigned
	if failed {
		n.log.Error("owner failed, another is elected", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second): // not in a tight loop
		}
	}
	return err
}

func (n *Node) setLeadership(l *Leadership) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.leadership = l
}

// Leadership returns the capture's, nil while it is not the owner.
func (n *Node) Leadership() *Leadership {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.leadership
}

// Resign asks the owner to step down. It does not wait.
func (l *Leadership) Resign() { ring(l.resign) }

// errConflict: a key was not as the mirror shows it; it will be soon.
var errConflict = errors.New("keys have changed meanwhile")

// commit makes changes as the owner, if conds hold too (otherwise errConflict). When
// it returns nil the mirror shows them.
func (l *Leadership) commit(ctx context.Context, conds []clientv3.Cmp, ops ...clientv3.Op) error {
	if err := l.session.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotOwner, err)
	}
	ctx, cancel := context.WithTimeout(ctx, l.node.cfg.TTL/2)
	defer cancel()
	owns := clientv3.Compare(clientv3.CreateRevision(l.election.Key()), "=", l.election.Rev())
	resp, err := l.node.cfg.Client.Txn(ctx).
		If(owns).
		Then(clientv3.OpTxn(conds, ops, []clientv3.Op{clientv3.OpGet(l.election.Key())})).
		Commit()
	switch {
	case err != nil:
		return fmt.Errorf("write to etcd: %w", err)
	case !resp.Succeeded:
		return ErrNotOwner
	case !resp.Responses[0].GetResponseTxn().Succeeded:
		return errConflict
	}
	for _, op := range ops {
		if op.IsPut() {
			return l.node.mirror.reach(ctx, resp.Header.Revision)
		}
	}
	return nil
}
