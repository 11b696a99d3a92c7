package cluster

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// lateKV keeps a transaction back whose answer nobody waits for.
type lateKV struct {
	clientv3.KV
	hold bool
	held []func() error
}

func (kv *lateKV) Txn(ctx context.Context) clientv3.Txn {
	if !kv.hold {
		return kv.KV.Txn(ctx)
	}
	return &lateTxn{Txn: kv.KV.Txn(context.WithoutCancel(ctx)), kv: kv}
}

// arrive has etcd carry out what was kept back.
func (kv *lateKV) arrive(t *testing.T) {
	t.Helper()
	for _, commit := range kv.held {
		if err := commit(); err != nil {
			t.Fatal(err)
		}
	}
	kv.held = nil
}

type lateTxn struct {
	clientv3.Txn
	kv *lateKV
}

func (t *lateTxn) If(conds ...clientv3.Cmp) clientv3.Txn { t.Txn = t.Txn.If(conds...); return t }
func (t *lateTxn) Then(ops ...clientv3.Op) clientv3.Txn  { t.Txn = t.Txn.Then(ops...); return t }
func (t *lateTxn) Else(ops ...clientv3.Op) clientv3.Txn  { t.Txn = t.Txn.Else(ops...); return t }

func (t *lateTxn) Commit() (*clientv3.TxnResponse, error) {
	t.kv.held = append(t.kv.held, func() error { _, err := t.Txn.Commit(); return err })
	return nil, context.Canceled
}

// A position whose answer was not waited for may arrive after the last one. It does
// not undo that.
func TestLatePosition(t *testing.T) {
	_, client := startEtcd(t)
	const ttl = 4 * time.Second
	session, _ := newSession(t, client, ttl)
	kv := &lateKV{KV: client.KV}
	client.KV = kv
	n := NewNode(Config{Client: client, Prefix: "/test", ID: "c1", TTL: ttl, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx := t.Context()
	if _, err := client.Put(ctx, n.keys.capture("c1"), "{}", clientv3.WithLease(session.Lease())); err != nil {
		t.Fatal(err)
	}
	task, err := client.Put(ctx, n.keys.changefeed("feed").task(), "{}")
	if err != nil {
		t.Fatal(err)
	}
	p := n.newProcessor(session, "feed", entry{value: []byte("{}"), created: task.Header.Revision})
	report := func(ts event.Ts, ended bool) {
		t.Helper()
		if err := p.report(ctx, position{CheckpointTs: ts, Running: !ended, Ended: ended}); err != nil {
			t.Fatal(err)
		}
	}
	late := func(ts event.Ts) {
		t.Helper()
		kv.hold = true
		if err := p.report(ctx, position{CheckpointTs: ts, Running: true}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		kv.hold = false
	}
	report(100, false)
	late(110)
	kv.arrive(t) // before the next
	report(120, false)
	late(130)
	late(140)
	report(150, true)
	kv.arrive(t) // after the last
	resp, err := client.Get(ctx, p.keys.positionOf(p.member))
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatal(resp, err)
	}
	var got position
	if err := decode(newEntry(resp.Kvs[0]), &got); err != nil || got.CheckpointTs != 150 || !got.Ended {
		t.Errorf("position %+v, %v; want the last one", got, err)
	}
	// The end of the task takes the position with it.
	if _, err := client.Delete(ctx, string(p.keys), clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if err := p.report(ctx, position{CheckpointTs: 160}); !errors.Is(err, errTaskEnded) {
		t.Errorf("reported after the end of the task: %v", err)
	}
}
