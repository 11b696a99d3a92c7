package cdctest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/tikv/client-go/v2/oracle"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/sink"
)

// pending is the memory of rows whose transactions have not ended.
func (w *world) pending() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := int64(0)
	for _, s := range w.subs {
		select {
		case <-s.Done():
		default:
			n += s.PendingBytes()
		}
	}
	return n
}

// learnTime tells the TiKV client the time of PD, which it would ask for every
// other second.
func (w *world) learnTime() {
	w.t.Helper()
	if _, err := w.kv.CurrentTimestamp(oracle.GlobalTxnScope); err != nil {
		w.t.Fatal(err)
	}
}

// 17: a big transaction, of a million rows in a soak of ten minutes, is prewritten
// piece by piece.
// Its memory is accounted and bounded, the resolved ts stays at its lock, and
// looking for locks does not hurt it.
func TestBigTransaction(t *testing.T) {
	rows, pieces := 30_000, 100
	if n := soakSeconds(); n > 0 {
		rows, pieces = min(1_000_000, max(rows, 5000*n)), 1000
	}
	const memory = 1 << 20
	dir := t.TempDir()
	w := newWorld(t, cdctest.Config{QueueBytes: 1 << 30}, func(cfg *puller.Config) {
		cfg.TxnMemory, cfg.Spill.Dir = memory, dir
	})
	w.quota = 8 << 20
	w.run(nil)
	sub := w.normal(w.region, nil)
	value := strings.Repeat("v", 100)
	txn := w.Begin()
	txn.TTL = time.Hour
	most := int64(0)
	for i := range int64(rows) {
		txn.Insert(w.table, i, value)
		if i%int64(rows/pieces) == 0 {
			txn.Prewrite()
			most = max(most, w.pending())
		}
	}
	txn.Prewrite()
	scans := w.LockScans()
	w.await("searches for locks", func() bool { most = max(most, w.pending()); return w.LockScans() >= scans+2 })
	if checks, scans := w.TxnChecks(), w.LockScans(); checks > scans {
		t.Errorf("the status of one transaction was asked for %d times in %d searches", checks, scans)
	}
	if n := w.Locked(); n != rows {
		t.Errorf("%d locks are left of %d", n, rows)
	}
	stood := sub.ResolvedTs()
	if w.Tick(); sub.ResolvedTs() != stood {
		t.Errorf("resolved ts moved from %d to %d while the transaction is open", stood, sub.ResolvedTs())
	}
	txn.Commit()
	w.leftRows = true
	w.verify()
	w.undisturbed(sub)
	t.Logf("%d rows, %d KiB in memory at most", rows, most>>10)
	if most < memory/4 || most > 2*memory {
		t.Errorf("%d bytes in memory, want about %d", most, memory)
	}
	// An index of what is on disk stays, a small part of that, until PD's time has
	// gone on for some seconds; then nothing does.
	if n := w.pending(); n > int64(rows*len(value))/100 {
		t.Errorf("%d bytes are kept", n)
	}
	w.Oracle().Advance(10 * time.Second)
	w.await("the end of what is on disk", func() bool { w.Tick(); return w.pending() == 0 })
}

// 17: there is no room on the disk, for rows of an open transaction or for what waits
// for the sink. The feed ends with an error that says so; when there is room again, it
// goes on from its checkpoint and nothing is missing.
func TestFullDisk(t *testing.T) {
	const rows = 400
	for name, of := range map[string]string{"open": "open transactions", "committed": "changes of"} {
		t.Run(name, func(t *testing.T) {
			d := new(disk)
			d.full.Store(true)
			w := newWorld(t, cdctest.Config{}, func(cfg *puller.Config) {
				if name == "open" {
					cfg.TxnMemory, cfg.Spill.Dir, cfg.Spill.Files = 1<<10, t.TempDir(), d
				}
			})
			gate := make(chan struct{})
			if name == "committed" {
				w.quota, w.files = 16<<10, d
			}
			w.run(sink.RowFunc(func(ctx context.Context, _ []*event.RowChanged) error {
				select {
				case <-gate:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}))
			w.normal(w.region, nil)
			txn := w.Begin()
			txn.TTL = time.Hour
			for i := range int64(rows) {
				txn.Insert(w.table, i, strings.Repeat("v", 100))
			}
			txn.Prewrite()
			if name == "committed" {
				txn.Commit()
			}
			err := w.failure()
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), of) || !strings.Contains(err.Error(), "choose a spill directory") {
				t.Errorf("the feed failed with %v", err)
			}
			if n, _, _ := w.validator.Counts(); event.Ts(w.saved.Load()) >= w.Oracle().Now() || n > rows {
				t.Errorf("checkpoint %d, %d rows", w.saved.Load(), n)
			}
			w.end()
			if again := <-w.feed; !errors.Is(again, err) {
				t.Errorf("the feed ended with %v", again)
			}
			w.mu.Lock()
			w.taps = nil // they remember the failure
			w.mu.Unlock()
			w.validator.Resume(event.Ts(w.saved.Load()))
			d.full.Store(false)
			close(gate)
			w.resume()
			if name == "open" {
				w.normal(w.region, nil)
				txn.Commit()
			}
			w.leftRows = name == "open" // the index of what is on disk
			w.verify()
			if n, _, _ := w.validator.Counts(); n != rows {
				t.Errorf("%d rows came, want %d", n, rows)
			}
		})
	}
}

// disk may be full.
type disk struct{ full atomic.Bool }

func (d *disk) Create(name string) (io.WriteCloser, error) {
	f, err := os.Create(name)
	return &diskFile{f, d}, err
}

func (*disk) ReadAt(name string, b []byte, offset int64) (int, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(b, offset)
}

func (*disk) Remove(name string) error { return os.Remove(name) }

type diskFile struct {
	*os.File
	disk *disk
}

func (f *diskFile) Write(b []byte) (int, error) {
	if f.disk.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(b)
}

// 18: one row above 6 MiB, and a command of many rows above 32 KiB.
func TestLargeRows(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.run(nil)
	w.table.Insert(1, strings.Repeat("large", 7<<20/5))
	txn := w.Begin()
	for i := range int64(100) {
		txn.Insert(w.table, 10+i, strings.Repeat("y", 1<<10))
	}
	txn.Commit()
	w.verify()
}

// 19: one-phase commits have no prewrite.
func TestOnePhase(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.run(nil)
	s := w.normal(w.region, nil)
	w.Begin().Insert(w.table, 1, "a").Insert(w.table, 2, "b").OnePhase()
	w.Begin().Update(w.table, 1, "c").DeleteRow(w.table, 2).OnePhase()
	w.verify()
	w.undisturbed(s)
	if n, _ := w.tapOf(w.table.Span()).count(); n != 4 {
		t.Errorf("%d changes, want 4", n)
	}
}

// 20: an async commit whose client dies after the last prewrite has succeeded;
// who resolves its locks finds the commit ts.
func TestAsyncCommit(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	left, right := w.Split(w.table.Key(3))
	w.run(nil)
	w.normal(left.ID, nil)
	w.normal(right.ID, nil)
	txn := w.Begin()
	txn.AsyncCommit, txn.TTL = true, time.Millisecond
	txn.Insert(w.table, 1, "primary").Insert(w.table, 2, "left").Insert(w.table, 5, "right").Prewrite()
	w.Oracle().Advance(time.Second)
	w.learnTime()
	w.verify()
	history := w.History(w.table.Span(), w.start, w.Oracle().Now())
	if len(history) != 3 || history[0].CommitTs <= txn.StartTs || history[0].CommitTs != history[2].CommitTs {
		t.Errorf("history %v", history)
	}
	// One that its client finishes: its commit ts may be long past.
	txn = w.Begin()
	txn.AsyncCommit = true
	txn.Update(w.table, 1, "again").Prewrite()
	for range 3 {
		w.Tick()
	}
	txn.Commit()
	w.verify()
}

// 21: pessimistic locks alone hold nothing back.
func TestPessimisticLocks(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.table.Insert(1, "a")
	w.run(nil)
	txn := w.Begin().LockPessimistic(w.table.Key(1), w.table.Key(2))
	w.verify()
	txn.Rollback()
	w.verify()
}

// 22: a pessimistic lock is prewritten; the old value is of for_update_ts.
func TestPessimisticPrewrite(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.table.Insert(1, "a")
	w.run(nil)
	s := w.normal(w.region, nil)
	txn := w.Begin()
	w.table.Update(1, "b") // after the transaction has begun
	txn.ForUpdateTs = w.Oracle().Now()
	txn.LockPessimistic(w.table.Key(1)).Update(w.table, 1, "c").Commit()
	w.verify() // the validator compares old images
	w.undisturbed(s)
}

// long is more than a commit record holds, so the value must come from the PREWRITE.
var long = strings.Repeat("long", 100)

// 23: old stores send a lock that is rewritten as a PREWRITE without a value.
func TestFakePrewrite(t *testing.T) {
	old := cdctest.Config{Old: cdctest.Old{FakePrewrites: true, Version: "6.1.0"}}
	t.Run("live", func(t *testing.T) {
		w := newWorld(t, old)
		w.table.Insert(1, "a")
		w.run(nil)
		s := w.normal(w.region, nil)
		w.Begin().Update(w.table, 1, long).Prewrite().Heartbeat(time.Minute).Commit()
		w.verify()
		w.undisturbed(s)
	})
	t.Run("before the scanned prewrite", func(t *testing.T) {
		w := newWorld(t, old)
		w.table.Insert(1, "a")
		txn := w.Begin().Update(w.table, 1, long).Prewrite()
		w.HoldScans()
		w.run(nil)
		s := w.sub(w.region, nil)
		txn.Heartbeat(time.Minute).Commit()
		w.ReleaseScans()
		w.verify()
		w.undisturbed(s)
	})
	t.Run("before the scanned commit", func(t *testing.T) {
		w := newWorld(t, old)
		txn := w.Begin().Insert(w.table, 1, long)
		ts := txn.Commit()
		w.HoldScans()
		w.run(nil)
		s := w.sub(w.region, nil)
		s.SendRows(fakePrewrite(w.table.Key(1), txn.StartTs), commitRow(w.table.Key(1), txn.StartTs, ts))
		w.ReleaseScans()
		w.verify()
		w.undisturbed(s)
		if _, n := w.tapOf(w.table.Span()).count(); n != 1 {
			t.Errorf("the change came %d times, want once", n)
		}
	})
}

func fakePrewrite(key []byte, startTs event.Ts) *cdcpb.Event_Row {
	return &cdcpb.Event_Row{Type: cdcpb.Event_PREWRITE, OpType: cdcpb.Event_Row_PUT, Key: key, StartTs: uint64(startTs)}
}

func commitRow(key []byte, startTs, commitTs event.Ts) *cdcpb.Event_Row {
	return &cdcpb.Event_Row{Type: cdcpb.Event_COMMIT, OpType: cdcpb.Event_Row_PUT, Key: key, StartTs: uint64(startTs), CommitTs: uint64(commitTs)}
}

// 24: the live COMMIT comes before the PREWRITE, or the COMMITTED, of the scan.
func TestCommitBeforeScan(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	locked := w.Begin().Insert(w.table, 1, long).Prewrite()
	done := w.Begin().Insert(w.table, 2, long)
	ts := done.Commit()
	w.HoldScans()
	w.run(nil)
	s := w.sub(w.region, nil)
	locked.Commit()
	s.SendRows(commitRow(w.table.Key(2), done.StartTs, ts))
	w.ReleaseScans()
	w.verify()
	w.undisturbed(s)
	if n, deliveries := w.tapOf(w.table.Span()).count(); n != 2 || deliveries != 2 {
		t.Errorf("%d changes in %d deliveries, want each of 2 once", n, deliveries)
	}
}

// 25: the live ROLLBACK comes before the scanned PREWRITE.
func TestRollbackBeforeScan(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	txn := w.Begin().Insert(w.table, 1, long).Prewrite()
	w.HoldScans()
	w.run(nil)
	s := w.sub(w.region, nil)
	txn.Rollback()
	w.ReleaseScans()
	w.verify()
	w.undisturbed(s)
	if n := w.pending(); n != 0 {
		t.Errorf("%d bytes of the rolled back transaction are kept", n)
	}
	w.table.Insert(1, long)
	w.verify()
}

// 26: a rollback that shares its ts with the commit of another transaction.
func TestOverlappedRollback(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.run(nil)
	s := w.normal(w.region, nil)
	ts := w.table.Insert(1, "a")
	w.OverlapRollback(w.table.Key(1), ts)
	txn := w.Begin().Update(w.table, 1, long).Prewrite()
	w.OverlapRollback(w.table.Key(1), ts)
	txn.Commit()
	w.verify()
	w.undisturbed(s)
}

// 26: the store has missed the end of a lock. Nothing is found to resolve, so
// the region is subscribed anew.
func TestMissedUnlock(t *testing.T) {
	w := newWorld(t, cdctest.Config{}, standstillMatters)
	w.run(nil)
	old := w.normal(w.region, nil)
	stuck := w.Oracle().Now()
	scans := w.LockScans()
	w.MissUnlock(w.region, stuck)
	w.table.Insert(1, "a")
	w.normal(w.region, old)
	if old.ResolvedTs() > stuck || w.LockScans() == scans {
		t.Errorf("resolved ts %d was stuck at %d, %d searches for locks", old.ResolvedTs(), stuck, w.LockScans()-scans)
	}
	w.verify()
}

// 27: a client died and left locks in two regions, before or after it committed
// its primary key.
func TestDeadClient(t *testing.T) {
	for _, committed := range []bool{false, true} {
		t.Run(fmt.Sprintf("committed %t", committed), func(t *testing.T) {
			w := newWorld(t, cdctest.Config{})
			left, right := w.Split(w.table.Key(3))
			w.run(nil)
			w.normal(left.ID, nil)
			w.normal(right.ID, nil)
			txn := w.Begin().Insert(w.table, 1, "primary").Insert(w.table, 5, long).Prewrite()
			if committed {
				txn.CommitPrimary()
			}
			w.Oracle().Advance(5 * time.Second)
			w.learnTime()
			w.verify()
			want := 0
			if committed {
				want = 2
			}
			if n := len(w.History(w.table.Span(), w.start, w.Oracle().Now())); n != want {
				t.Errorf("%d changes, want %d", n, want)
			}
			if n := w.Locked(); n != 0 {
				t.Errorf("%d locks are left", n)
			}
		})
	}
}

// 27: a transaction begins before the checkpoint, writes its lock after it, and dies.
// The store shows the new subscription a resolved ts below that.
func TestLockFromBeforeCheckpoint(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	txn := w.Begin()
	txn.TTL = time.Millisecond
	w.start = w.Oracle().Now()
	if txn.StartTs >= w.start {
		t.Fatalf("the transaction begins at %d, not before %d", txn.StartTs, w.start)
	}
	txn.Insert(w.table, 1, "a").Prewrite()
	w.run(nil)
	sub := w.normal(w.region, nil)
	w.await("a resolved ts below the checkpoint", func() bool { return sub.ResolvedTs() != 0 && sub.ResolvedTs() < w.start })
	w.Oracle().Advance(time.Second)
	w.learnTime()
	w.verify()
}

// 28: PD's clock is an hour behind the client's. The cluster notes a ScanLock
// above PD's time.
func TestClockBehind(t *testing.T) {
	w := newWorld(t, cdctest.Config{ClockOffset: -time.Hour})
	w.run(nil)
	w.normal(w.region, nil)
	txn := w.Begin()
	txn.TTL = time.Millisecond
	txn.Insert(w.table, 1, "a").Prewrite()
	scans := w.LockScans()
	w.await("a search for locks", func() bool { return w.LockScans() > scans })
	w.Oracle().Advance(time.Second)
	w.learnTime()
	w.verify()
}

// 29: PD gives no timestamps for a while, then its clock jumps.
func TestTimestampTrouble(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	w.run(nil)
	old := w.normal(w.region, nil)
	txn := w.Begin()
	txn.TTL = time.Hour
	txn.Insert(w.table, 1, "a").Prewrite()
	w.await("the resolved ts at the lock", func() bool { return old.ResolvedTs() == txn.StartTs })
	w.Oracle().Fail(true)
	ticks := 0
	w.await("time without timestamps", func() bool { ticks++; return ticks > 60 })
	if old.ResolvedTs() != txn.StartTs {
		t.Errorf("resolved ts moved to %d", old.ResolvedTs())
	}
	w.Oracle().Fail(false)
	w.Oracle().Advance(10 * time.Minute)
	w.learnTime()
	scans := w.LockScans()
	w.await("searches for locks", func() bool { return w.LockScans() > scans })
	if w.Locked() != 1 {
		t.Error("the lock of a live transaction is gone")
	}
	txn.Commit()
	w.verify()
	if old.Ended() {
		t.Error("the region was subscribed anew")
	}
}

// 34: rows of a lossy DDL's reorganisation and of bulk loads are left out by the
// store, and so are those of another changefeed if the client asks for it.
func TestSourceFilters(t *testing.T) {
	w := newWorld(t, cdctest.Config{})
	span := w.table.Span()
	looping := w.subscribe(span, w.start, nil, puller.FilterLoop())
	defer looping.Close()
	p := w.tapOf(span)
	source := func(n uint64, key int64) *cdctest.Txn {
		txn := w.Begin()
		txn.Source = n
		return txn.Insert(w.table, key, "a")
	}
	source(1<<8, 1).Commit() // scanned
	w.normal(w.region, nil)
	source(1<<8, 2).Commit()
	source(1<<16, 3).Commit()
	source(1<<8, 4).Prewrite().Rollback()
	source(1, 5).Commit()
	source(1, 6).Prewrite().Rollback()
	want := w.table.Insert(7, "a")
	w.await("resolved ts", func() bool { return p.resolvedTs() > want })
	if n, _ := p.count(); n != 1 {
		t.Errorf("%d changes, want the one of a user", n)
	}
	w.mu.Lock()
	w.taps = slices.DeleteFunc(w.taps, func(o *tap) bool { return o == p }) // it misses the loop on purpose
	w.mu.Unlock()
	looping.Close()
	<-looping.Done()
	plain := w.subscribe(span, w.start, nil)
	defer plain.Close()
	p = w.tapOf(span)
	w.await("resolved ts", func() bool { return p.resolvedTs() > want })
	if n, _ := p.count(); n != 2 {
		t.Errorf("%d changes without the loop filter, want 2", n)
	}
	w.verifyClient()
}
