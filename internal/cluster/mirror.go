package cluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// mirror is a copy of the keys under a prefix, kept up to date by a watch. All that
// it shows at a time is of one revision of etcd. While etcd is out of reach it
// shows what was.
type mirror struct {
	client *clientv3.Client
	prefix string
	log    *slog.Logger

	mu struct {
		sync.Mutex
		entries  map[string]entry
		revision int64
		// advanced is closed, and replaced, when revision rises.
		advanced chan struct{}
		subs     map[*subscription]struct{}
	}
}

// entry is the value of a key. It is not to be changed.
type entry struct {
	key      string
	value    []byte
	created  int64 // revisions
	modified int64
	lease    clientv3.LeaseID
}

// subscription tells of changes under some prefixes.
type subscription struct {
	prefixes []string
	// C, of capacity 1, is sent to after a change.
	C chan struct{}
}

func newMirror(client *clientv3.Client, prefix string, log *slog.Logger) *mirror {
	m := &mirror{client: client, prefix: prefix, log: log}
	m.mu.entries = map[string]entry{}
	m.mu.subs = map[*subscription]struct{}{}
	m.mu.advanced = make(chan struct{})
	return m
}

// subscribe tells of changes from now on, until unsubscribe.
func (m *mirror) subscribe(prefixes ...string) *subscription {
	s := &subscription{prefixes: prefixes, C: make(chan struct{}, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.subs[s] = struct{}{}
	return s
}

func (m *mirror) unsubscribe(s *subscription) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mu.subs, s)
}

// ring wakes whoever waits on a channel of capacity 1.
func ring(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// get returns the entry of a key; its revisions are 0 if there is none.
func (m *mirror) get(key string) entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.entries[key]
}

// under yields the entries under a prefix, in no order, with the rest of their keys.
func (m *mirror) under(prefix string) iter.Seq2[string, entry] {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]entry{}
	for key, e := range m.mu.entries {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			found[rest] = e
		}
	}
	return func(yield func(string, entry) bool) {
		for rest, e := range found {
			if !yield(rest, e) {
				return
			}
		}
	}
}

// reach waits until the mirror shows a revision at which a key of it changed.
func (m *mirror) reach(ctx context.Context, revision int64) error {
	for {
		m.mu.Lock()
		reached, advanced := m.mu.revision >= revision, m.mu.advanced
		m.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-advanced:
		}
	}
}

// run keeps the mirror up to date until ctx ends.
func (m *mirror) run(ctx context.Context) error {
	const first, most = 100 * time.Millisecond, 2 * time.Second
	wait := first
	for ctx.Err() == nil {
		begin := time.Now()
		err := m.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		m.log.Warn("watch of etcd broken, will begin anew", "wait", wait, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, most)
		if time.Since(begin) > time.Minute {
			wait = first
		}
	}
	return context.Cause(ctx)
}

// follow loads everything and watches from there, until something is wrong.
func (m *mirror) follow(ctx context.Context) error {
	// A member that is cut off from the others must not make believe that nothing
	// happens.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	loadCtx, loaded := context.WithTimeout(ctx, 5*time.Second)
	resp, err := m.client.Get(loadCtx, m.prefix, clientv3.WithPrefix())
	loaded()
	if err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	m.replace(resp)
	for w := range m.client.Watch(ctx, m.prefix, clientv3.WithPrefix(), clientv3.WithRev(resp.Header.Revision+1)) {
		if err := w.Err(); err != nil {
			return err
		}
		m.apply(w.Events)
	}
	return errors.New("watch ended")
}

func (m *mirror) replace(resp *clientv3.GetResponse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.entries = make(map[string]entry, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		m.mu.entries[string(kv.Key)] = newEntry(kv)
	}
	m.advanceLocked(resp.Header.Revision)
	for s := range m.mu.subs {
		ring(s.C)
	}
}

func newEntry(kv *mvccpb.KeyValue) entry {
	return entry{key: string(kv.Key), value: kv.Value, created: kv.CreateRevision, modified: kv.ModRevision, lease: clientv3.LeaseID(kv.Lease)}
}

func (m *mirror) apply(events []*clientv3.Event) {
	if len(events) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		if e.Type == clientv3.EventTypeDelete {
			delete(m.mu.entries, string(e.Kv.Key))
		} else {
			m.mu.entries[string(e.Kv.Key)] = newEntry(e.Kv)
		}
		for s := range m.mu.subs {
			for _, prefix := range s.prefixes {
				if strings.HasPrefix(string(e.Kv.Key), prefix) {
					ring(s.C)
				}
			}
		}
	}
	m.advanceLocked(events[len(events)-1].Kv.ModRevision)
}

func (m *mirror) advanceLocked(revision int64) {
	m.mu.revision = max(m.mu.revision, revision)
	close(m.mu.advanced)
	m.mu.advanced = make(chan struct{})
}
