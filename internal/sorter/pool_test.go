package sorter_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// newPool returns a pool with a directory of its own, which is empty when the
// test ends, or the test fails.
func newPool(t testing.TB, quota int64) (*sorter.Pool, string) {
	dir := t.TempDir()
	p := sorter.NewPool(quota, spill.Config{Dir: dir, Name: "test"})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		wantFiles(t, dir, 0)
		if memory, disk := p.Usage(); memory != 0 || disk != 0 {
			t.Errorf("%d bytes of memory, %d of disk in use after everything was closed", memory, disk)
		}
	})
	return p, dir
}

// wantFiles counts the files of runs in the directories that stores have made in dir.
func wantFiles(t testing.TB, dir string, want int) {
	t.Helper()
	files := 0
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		var inside []os.DirEntry
		if inside, err = os.ReadDir(dir + "/" + e.Name()); err == nil {
			files += len(inside) - 1 // one is the lock
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if files != want {
		t.Errorf("%d files in %v, want %d", files, entries, want)
	}
}

func closeSorter(t testing.TB, s *sorter.Sorter) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestSpilledAgainstModel lets sorters share so little memory that nearly all
// they get goes to disk, in many small runs.
func TestSpilledAgainstModel(t *testing.T) {
	seed := randomSeed(t)
	for round := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, round))
		start := event.Ts(rng.Uint64N(1 << 60))
		quota := int64(1) << (13 + rng.IntN(7))
		pool, dir := newPool(t, quota)
		var sorters [3]*sorter.Sorter
		var models [3]*model
		for i := range sorters {
			sorters[i], models[i] = pool.New(start), &model{resolved: start}
		}
		spread := uint64(1) << (4 + rng.IntN(30))
		var most int64
		for range 300 {
			i := rng.IntN(len(sorters))
			step(t, rng, sorters[i], models[i], spread)
			_, disk := pool.Usage()
			most = max(most, disk)
			if t.Failed() {
				t.Fatalf("round %d, quota %d", round, quota)
			}
		}
		if most == 0 {
			t.Errorf("nothing was spilled with a quota of %d", quota)
		}
		if rng.IntN(2) == 0 { // or else Close has something to remove
			for i := range sorters {
				finish(t, sorters[i], models[i])
			}
			wantFiles(t, dir, 0)
			if memory, disk := pool.Usage(); memory != 0 || disk != 0 {
				t.Errorf("%d bytes of memory, %d of disk in use after everything was taken", memory, disk)
			}
		}
		for _, s := range sorters {
			closeSorter(t, s)
		}
		wantFiles(t, dir, 0)
	}
}

// TestConcurrentSpills has several goroutines add to several sorters of a small
// pool, while others take, and holds each output to the order.
func TestConcurrentSpills(t *testing.T) {
	const adders, steps, tables = 4, 60, 3
	const span = event.Ts(1000) // commit ts of a step
	seed := randomSeed(t)
	pool, dir := newPool(t, 256<<10)
	var all sync.WaitGroup
	for table := range uint64(tables) {
		s := pool.New(0)
		var want []rawkv.Entry
		var wantLock sync.Mutex
		var added [steps]sync.WaitGroup
		for i := range added {
			added[i].Add(adders)
		}
		for adder := range uint64(adders) {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(seed, table<<8+adder))
				for i := range steps {
					kvs := make([]rawkv.Entry, 1+rng.IntN(100))
					for j := range kvs {
						start := event.Ts(i) * span
						commit := start + 1 + event.Ts(rng.Uint64N(uint64(span)))
						kvs[j] = pack(event.RawKV{
							Op: event.OpPut, Key: fmt.Appendf(nil, "%d-%d", adder, rng.IntN(50)), Value: bytes.Repeat([]byte{byte(commit)}, 100),
							StartTs: start, CommitTs: commit,
						})
					}
					wantLock.Lock()
					want = append(want, kvs...)
					wantLock.Unlock()
					add(t, s, kvs)
					added[i].Done()
				}
			})
		}
		resolved := make(chan struct{}, steps)
		all.Go(func() {
			for i := range steps {
				added[i].Wait()
				s.Resolve(event.Ts(i+1) * span)
				resolved <- struct{}{}
			}
		})
		all.Go(func() {
			var got []rawkv.Entry
			for last := event.Ts(0); last < steps*span; {
				var through event.Ts
				var err error
				if last%span == 0 { // or it has not come to a resolved ts
					<-resolved
				}
				if got, through, err = s.Take(got, noLimit, 500, anySize); err != nil || through < last {
					t.Errorf("through %d after %d, error %v", through, last, err)
					return
				}
				last = through
			}
			slices.SortFunc(want, order)
			want = slices.CompactFunc(want, func(a, b rawkv.Entry) bool { return order(a, b) == 0 })
			if !slices.EqualFunc(got, want, func(a, b rawkv.Entry) bool { return order(a, b) == 0 && bytes.Equal(a.Value(), b.Value()) }) {
				t.Errorf("table %d: took %d changes, want %d, or not the same", table, len(got), len(want))
			}
			closeSorter(t, s)
		})
	}
	all.Wait()
	wantFiles(t, dir, 0)
}

// TestLargestIsSpilled: a table that is written much does not push small ones
// out of memory.
func TestLargestIsSpilled(t *testing.T) {
	pool, dir := newPool(t, 80<<10) // 30 KiB for the sorters
	small, large := pool.New(0), pool.New(0)
	add(t, small, []rawkv.Entry{put("a", 1, 2)})
	for i := range event.Ts(1000) {
		add(t, large, []rawkv.Entry{put("b", i, i+1)})
	}
	wantFiles(t, dir, 1)
	_, before := pool.Usage()
	closeSorter(t, large)
	if _, after := pool.Usage(); before == 0 || after != 0 {
		t.Errorf("%d bytes on disk before the large sorter was closed, %d after", before, after)
	}
	small.Resolve(5)
	got, through := take(t, small, noLimit, anyRows, anySize)
	expect(t, got, through, 5, "2/1 put a")
	closeSorter(t, small)
}

// TestReserved: what others take from the quota is missing to the sorters.
func TestReserved(t *testing.T) {
	pool, dir := newPool(t, 1<<20)
	s := pool.New(0)
	kv := putBytes("a", 1, 2, 200<<10)
	add(t, s, []rawkv.Entry{kv})
	wantFiles(t, dir, 0)
	pool.Reserve(1 << 20)
	add(t, s, []rawkv.Entry{put("a", 1, 3)})
	wantFiles(t, dir, 1)
	add(t, s, []rawkv.Entry{put("a", 1, 4)}) // less than is worth a file
	wantFiles(t, dir, 1)
	pool.Reserve(-1 << 20)
	s.Resolve(9)
	got, through := take(t, s, noLimit, anyRows, anySize)
	expect(t, got, through, 9, "2/1 put a", "3/1 put a", "4/1 put a")
	closeSorter(t, s)
}

// TestFailedPool: after a failure nothing moves on, so that nobody takes what is
// left for all there is.
func TestFailedPool(t *testing.T) {
	notDir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pool := sorter.NewPool(1<<20, spill.Config{Dir: notDir, Name: "test"})
	s, other := pool.New(0), pool.New(0)
	add(t, other, []rawkv.Entry{put("a", 1, 2)})
	other.Resolve(2)
	kv := putBytes("a", 1, 2, 1<<20)
	err := s.Add([]rawkv.Entry{kv})
	if err == nil || !strings.Contains(err.Error(), notDir) {
		t.Errorf("Add: %v", err)
	}
	for _, s := range []*sorter.Sorter{s, other} {
		if again := s.Add([]rawkv.Entry{put("b", 1, 3)}); !errors.Is(again, err) {
			t.Errorf("Add after a failure: %v", again)
		}
		before := s.ResolvedTs()
		s.Resolve(9)
		if ts := s.ResolvedTs(); ts != before {
			t.Errorf("resolved ts %d after a failure", ts)
		}
		if rows, _ := s.Pending(); rows != 1 {
			t.Errorf("%d rows pending, want 1", rows)
		}
		if rows, _, again := s.Take(nil, noLimit, anyRows, anySize); !errors.Is(again, err) || len(rows) != 0 {
			t.Errorf("Take after a failure: %d rows, %v", len(rows), again)
		}
		closeSorter(t, s)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

// TestSpilledMemoryIsReleased spills many changes and looks at the heap, with
// all on disk and in the middle of reading back.
func TestSpilledMemoryIsReleased(t *testing.T) {
	const n, valueSize, quota = 3000, 10_000, 2 << 20
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	pool, _ := newPool(t, quota)
	s := pool.New(0)
	before := heap()
	for i := range n {
		kv := putBytes("k", 1, event.Ts(2+i*7919%n), valueSize)
		add(t, s, []rawkv.Entry{kv})
	}
	if held := heap() - before; held > quota {
		t.Errorf("%d bytes held with all added", held)
	}
	s.Resolve(n + 2)
	for taken := 0; taken < n; {
		rows, _ := take(t, s, noLimit, 500, 1<<20)
		taken += len(rows)
		if held := heap() - before; held > quota {
			t.Errorf("%d bytes held after %d were taken", held, taken)
		}
	}
	if held := heap() - before; held > quota/20 {
		t.Errorf("%d bytes held by an empty sorter", held)
	}
	closeSorter(t, s)
}

// TestCloseEndsSpilling closes sorters and pool while others add.
func TestCloseEndsSpilling(t *testing.T) {
	for range 20 {
		pool, _ := newPool(t, 16<<10)
		var all sync.WaitGroup
		for range 2 {
			s := pool.New(0)
			ready := make(chan struct{})
			begun := sync.OnceFunc(func() { close(ready) })
			all.Go(func() {
				defer begun()
				for i := range event.Ts(400) {
					if err := s.Add([]rawkv.Entry{put("a", i, i+1)}); err != nil {
						return // closed
					}
					if i == 100 {
						begun()
					}
				}
			})
			all.Go(func() {
				<-ready
				closeSorter(t, s)
			})
		}
		all.Go(func() {
			if err := pool.Close(); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
	}
}

// TestBuffersAreBounded reads the runs of many sorters side by side, whose
// buffers would take three times the quota together.
func TestBuffersAreBounded(t *testing.T) {
	const quota, tables, runs = 1 << 20, 20, 10
	pool, _ := newPool(t, quota)
	var sorters []*sorter.Sorter
	for range tables {
		sorters = append(sorters, pool.New(0))
	}
	for i := range event.Ts(runs) {
		for _, s := range sorters {
			for j := range event.Ts(20) {
				kv := putBytes("k", 1, 2+i+j*runs, 1000)
				add(t, s, []rawkv.Entry{kv})
			}
		}
	}
	for _, s := range sorters {
		s.Resolve(1000)
		if rows, _ := take(t, s, noLimit, 1, anySize); len(rows) != 1 {
			t.Fatalf("took %d rows", len(rows))
		}
		if memory, _ := pool.Usage(); memory > quota/2 {
			t.Errorf("%d bytes of memory in use", memory)
		}
	}
	for _, s := range sorters {
		if rows, _ := take(t, s, noLimit, anyRows, anySize); len(rows) != runs*20-1 {
			t.Errorf("took %d rows", len(rows))
		}
		closeSorter(t, s)
	}
}
