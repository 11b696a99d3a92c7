package playground_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/util/codec"
	"github.com/tikv/client-go/v2/txnkv"
)

const (
	verifyTime    = 12 * time.Second
	verifyWriters = 6
	verifyRows    = 300
	verifyStride  = 1000 // between handles, so that splits fall between rows
)

// TestVerify runs random transactions while regions split, merge and move and
// streams break. The state rebuilt from the changes up to a resolved ts must be
// what a snapshot shows at that ts.
func TestVerify(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	name, id := createTable(t, "id INT PRIMARY KEY, v VARCHAR(64), k INT, KEY (k)")
	start, end := tableSpan(id)
	p := newPuller(t)
	p.subscribe(codec.EncodeBytes(nil, start), codec.EncodeBytes(nil, end), now(t))

	ctx, stop := context.WithTimeout(t.Context(), verifyTime)
	defer stop()
	var committed, failed atomic.Int64
	var writers sync.WaitGroup
	for w := range verifyWriters {
		writers.Go(func() {
			wr := writer{table: name, rnd: rand.New(rand.NewPCG(seed, uint64(w))), committed: &committed, failed: &failed}
			if err := wr.run(ctx); err != nil {
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	disturb(ctx, t, rand.New(rand.NewPCG(seed, 1000)), id)
	writers.Wait()

	snapshot := now(t)
	catchUp(t, p, name, snapshot)
	p.mu.Lock()
	defer p.mu.Unlock()
	t.Logf("%d transactions, %d failed; rows and errors: %v", committed.Load(), failed.Load(), p.counts)
	for i, problem := range p.problems {
		if i == 10 {
			t.Errorf("and %d more problems", len(p.problems)-i)
			break
		}
		t.Error(problem)
	}
	compare(t, p.versions, snapshot, start, end)
}

// catchUp waits until the puller has reached ts. A transaction whose end lost
// against the region changes leaves locks behind, which hold the resolved ts back
// until somebody reads their keys and finds them expired.
func catchUp(t *testing.T, p *puller, table string, ts uint64) {
	t.Helper()
	const patience = 3 * time.Second
	start := time.Now()
	for resolved := false; p.reached() < ts; {
		switch d := time.Since(start); {
		case d > 2*wait:
			t.Fatalf("resolved ts stays below the snapshot %d: %s; stores: %+v", ts, p.describe(ts), stats(t))
		case d > patience && !resolved:
			t.Logf("read the table to resolve locks: %s", p.describe(ts))
			exec(t, "SELECT COUNT(v) FROM "+table+" USE INDEX ()")
			exec(t, "SELECT COUNT(k) FROM "+table+" USE INDEX (k)")
			resolved = true
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// disturb changes regions and breaks streams until ctx ends.
func disturb(ctx context.Context, t *testing.T, rnd *rand.Rand, table int64) {
	start, end := tableSpan(table)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		here := regions(t, start, end)
		r := here[rnd.IntN(len(here))]
		switch n := rnd.IntN(10); {
		case n < 4:
			key := rowKey(table, int64(rnd.IntN(verifyRows)*verifyStride+verifyStride/2))
			try(t, "/regions/split", map[string]any{"key": hexKey(key)})
		case n < 7:
			try(t, "/regions/transfer", map[string]any{"region": r.ID, "store": env.info.Stores[rnd.IntN(len(env.info.Stores))].ID})
		case n < 9:
			i := rnd.IntN(len(here))
			if i+1 < len(here) {
				try(t, "/regions/merge", map[string]any{"source": here[i].ID, "target": here[i+1].ID})
			}
		default:
			try(t, "/streams/break", map[string]any{"store": 0, "count": 1})
		}
	}
}

// try calls the control API. The answer may be that the call came too late.
func try(t *testing.T, path string, body any) {
	t.Helper()
	code, answer := do(t, http.MethodPost, path, body)
	switch code {
	case http.StatusOK, http.StatusBadRequest, http.StatusConflict, http.StatusNotFound:
	default:
		t.Errorf("%s %v: status %d: %s", path, body, code, answer)
	}
}

// compare rebuilds the newest state at a ts, compares it with a snapshot read,
// and every old value with the version before.
func compare(t *testing.T, versions map[string]map[uint64]change, ts uint64, start, end []byte) {
	t.Helper()
	got := map[string][]byte{}
	for key, changes := range versions {
		var order []uint64
		for commitTs := range changes {
			if commitTs <= ts {
				order = append(order, commitTs)
			}
		}
		slices.Sort(order)
		var value []byte
		for _, commitTs := range order {
			if c := changes[commitTs]; !bytes.Equal(c.oldValue, value) {
				t.Errorf("version %d of %x has old value %x, want %x", commitTs, key, c.oldValue, value)
			}
			value = changes[commitTs].value
		}
		if value != nil {
			got[key] = value
		}
	}
	cli, err := txnkv.NewClient([]string{env.info.PD})
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	it, err := cli.GetSnapshot(ts).Iter(start, end)
	keys := 0
	for ; err == nil && it.Valid(); err = it.Next() {
		keys++
		if want := it.Value(); !bytes.Equal(got[string(it.Key())], want) {
			t.Errorf("key %x is %x, want %x", it.Key(), got[string(it.Key())], want)
		}
		delete(got, string(it.Key()))
	}
	if err != nil {
		t.Fatalf("scan the table: %v", err)
	}
	if keys == 0 {
		t.Error("the table is empty: the test proves nothing")
	}
	for key := range got {
		t.Errorf("key %x should not exist", key)
	}
}

// writer runs random transactions on one connection.
type writer struct {
	table             string
	rnd               *rand.Rand
	committed, failed *atomic.Int64
}

func (w *writer) run(ctx context.Context) error {
	conn, err := env.db.Conn(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer conn.Close()
	exec := func(query string) error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), query)
		return err
	}
	for ctx.Err() == nil {
		for _, option := range []string{
			fmt.Sprintf("SET tidb_enable_async_commit = %d", w.rnd.IntN(2)),
			fmt.Sprintf("SET tidb_enable_1pc = %d", w.rnd.IntN(2)),
			fmt.Sprintf("SET tidb_txn_mode = '%s'", []string{"optimistic", "pessimistic"}[w.rnd.IntN(2)]),
		} {
			if err := exec(option); err != nil {
				return err
			}
		}
		for range 20 {
			if err := w.transaction(exec); err == nil {
				w.committed.Add(1)
			} else { // a conflict or a deadlock
				w.failed.Add(1)
				if err := exec("ROLLBACK"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *writer) transaction(exec func(string) error) error {
	if err := exec("BEGIN"); err != nil {
		return err
	}
	for range 1 + w.rnd.IntN(4) {
		id := w.rnd.IntN(verifyRows) * verifyStride
		query := fmt.Sprintf("REPLACE INTO %s VALUES (%d, '%d', %d)", w.table, id, w.rnd.Uint64(), w.rnd.IntN(50))
		if w.rnd.IntN(4) == 0 {
			query = fmt.Sprintf("DELETE FROM %s WHERE id = %d", w.table, id)
		}
		if err := exec(query); err != nil {
			return err
		}
	}
	if w.rnd.IntN(10) == 0 {
		return exec("ROLLBACK")
	}
	return exec("COMMIT")
}
