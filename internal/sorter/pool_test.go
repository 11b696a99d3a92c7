package sorter_test

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
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
	for round := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, round))
		start := event.Ts(rng.Uint64N(1 << 60))
		quota := int64(1) << (12 + rng.IntN(9))
		pool, dir := newPool(t, quota)
		var sorters [3]*sorter.Sorter
		var models [3]*model
		for i := range sorters {
			sorters[i], models[i] = pool.New(start), &model{resolved: start}
		}
		spread := uint64(1) << (4 + rng.IntN(30))
		var most int64
		for range 500 {
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
