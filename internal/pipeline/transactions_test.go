package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
	"github.com/tidbcdc/tidbcdc/internal/rawkv/rawkvtest"
	"github.com/tidbcdc/tidbcdc/sink"
)

// transactionSink notes the rows of a call in one line.
type transactionSink struct {
	*world
	hook func() error
}

// WriteTransactions implements sink.TransactionWriter.
func (s *transactionSink) WriteTransactions(_ context.Context, rows []*event.RowChanged) error {
	if s.hook != nil {
		if err := s.hook(); err != nil {
			return err
		}
	}
	var line []string
	for _, r := range rows {
		line = append(line, fmt.Sprintf("%s%d", r.Table.Table, r.CommitTs))
	}
	s.note("%s", strings.Join(line, " "))
	return nil
}

var _ sink.TransactionWriter = (*transactionSink)(nil)

func wholeTransactions(c *pipeline.Config) {
	c.Sink = &transactionSink{world: c.Sink.(*world)}
	c.WholeTransactions = true
}

func TestTransactionsArriveWholeAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(wholeTransactions)
		w.put(1, 110, 120, 130)
		w.put(2, 120, 115, 131)
		w.resolve(140, jobTable, histTbl, 1)
		w.wants() // table b may still have rows of 110
		w.resolve(125, 2)
		w.wants("a110 b115 a120 b120")
		w.wantCheckpoint(125)
		w.resolve(140, 2)
		w.wants("a130 b131")
		w.wantCheckpoint(140)
		w.resolveAll(150)
		w.wantCheckpoint(150)
		_ = w.stop()
	})
}

func TestTransactionsWaitForTheDDLOfAnyTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(wholeTransactions)
		w.ddl(120, tableJob(tpAddColumn, 1, 1, "a", 2, "alter a"))
		w.ddl(125, createTable(3, "c"))
		w.put(1, 119, 121)
		w.put(2, 118, 122, 126)
		w.resolve(130, jobTable, histTbl, 2)
		w.wants()
		w.resolve(130, 1)
		w.wants("b118 a119", "ddl 120 alter a", "a121 b122", "ddl 125 create c")
		w.put(3, 126)
		w.resolve(130, 3)
		w.wants("b126 c126")
		w.wantCheckpoint(130)
		_ = w.stop()
	})
}

func TestTransactionIsNeverSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(wholeTransactions, func(c *pipeline.Config) { c.BatchRows = 4 })
		w.put(1, 110, 111)
		w.putRows(1, 120, 7)
		w.putRows(2, 120, 3)
		w.put(2, 112, 121, 122)
		w.resolveAll(130)
		w.wants("a110 a111", "b112", strings.Repeat("a120 ", 7)+"b120 b120 b120", "b121 b122")
		w.wantCheckpoint(130)
		_ = w.stop()
	})
}

// A transaction that fits into a batch is not cut at its edge; a larger one fills
// batches.
func TestBatchesEndWithTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var calls []string
		w.run(func(c *pipeline.Config) {
			c.BatchRows = 4
			c.Sink = &callSink{world: w, calls: &calls}
		})
		w.putRows(1, 110, 3)
		w.putRows(1, 111, 3)
		w.putRows(1, 112, 1)
		w.putRows(1, 113, 9)
		w.putRows(1, 114, 2)
		w.resolveAll(130)
		w.wantCheckpoint(130)
		want := []string{"110 110 110", "111 111 111 112", "113 113 113 113", "113 113 113 113", "113 114 114"}
		if !slices.Equal(calls, want) {
			t.Errorf("calls %q, want %q", calls, want)
		}
		_ = w.stop()
	})
}

// callSink notes the commit ts of each call.
type callSink struct {
	*world
	calls *[]string
}

// WriteRows implements sink.Sink.
func (s *callSink) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	var line []string
	for _, r := range rows {
		line = append(line, fmt.Sprint(r.CommitTs))
	}
	s.locked(func() { *s.calls = append(*s.calls, strings.Join(line, " ")) })
	return nil
}

// putRows delivers rows of one transaction.
func (w *world) putRows(table int64, commit event.Ts, rows int) {
	var kvs []event.RawKV
	for i := range rows {
		key := append(event.TableSpan(table).Start, byte(i), 0, byte(commit))
		kvs = append(kvs, event.RawKV{Op: event.OpPut, Key: key, Value: []byte("v"), StartTs: commit - 1, CommitTs: commit})
	}
	w.source(table).out.Receive(rawkvtest.Pack(w.t, kvs...))
}

func TestTransactionIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fails := 2
		w.run(wholeTransactions, func(c *pipeline.Config) {
			c.Sink.(*transactionSink).hook = func() error {
				if fails--; fails >= 0 {
					return errors.New("away")
				}
				return nil
			}
		})
		w.put(1, 110)
		w.put(2, 110)
		w.resolveAll(120)
		w.wants("a110 b110")
		w.wantCheckpoint(120)
		_ = w.stop()
	})
}

func TestTransactionsUpToTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(wholeTransactions, func(c *pipeline.Config) { c.TargetTs = 120 })
		w.put(1, 110, 121)
		w.put(2, 120)
		w.resolveAll(130)
		w.wants("a110 b120")
		if err := <-w.done; err != nil {
			t.Error(err)
		}
	})
}

// TestRandomTransactions: whatever order rows and resolved ts come in, the sink
// gets all transactions once, whole and in order.
func TestRandomTransactions(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("SEED=%d", seed)
	for round := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, round))
			w := newWorld(t)
			w.run(wholeTransactions, func(c *pipeline.Config) { c.BatchRows = 1 + rng.IntN(6) })
			tables := []int64{1, 2}
			resolved := map[int64]event.Ts{1: startTs, 2: startTs, jobTable: startTs}
			var want []string
			for ts := startTs + 1; ts < startTs+100; ts++ {
				var line []string
				for i, id := range tables {
					if rng.IntN(3) == 0 {
						n := 1 + rng.IntN(5)
						w.putRows(id, ts, n)
						line = append(line, slices.Repeat([]string{fmt.Sprintf("%c%d", 'a'+i, ts)}, n)...)
					}
				}
				want = append(want, line...)
				for id := range resolved {
					if rng.IntN(4) == 0 {
						resolved[id] = ts
						w.resolve(ts, id)
						if id == jobTable {
							w.resolve(ts, histTbl)
						}
					}
				}
			}
			w.resolveAll(startTs + 100)
			w.settle()
			var calls []string
			w.locked(func() { calls, w.log = w.log, nil })
			if got := strings.Fields(strings.Join(calls, " ")); !slices.Equal(got, want) {
				t.Errorf("round %d: the sink got\n%v\nwant\n%v", round, got, want)
			}
			for i := range calls[:max(len(calls)-1, 0)] {
				before, after := strings.Fields(calls[i]), strings.Fields(calls[i+1])
				if before[len(before)-1][1:] == after[0][1:] {
					t.Errorf("round %d: the transaction %s is split", round, after[0][1:])
				}
			}
			w.wantCheckpoint(startTs + 100)
			_ = w.stop()
		})
	}
}
