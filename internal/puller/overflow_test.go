package puller

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// spilling feeds a matcher whose prewrites are moved to disk whenever spillNow says
// so, and whose COMMITs are joined whenever joinNow does.
type spilling struct {
	*matcher
	t                 *testing.T
	w                 *spill.Writer
	spillNow, joinNow func() bool
}

func newWriter(t *testing.T) *spill.Writer {
	t.Helper()
	store := spill.NewStore(spill.Config{Dir: t.TempDir(), Name: "test"})
	w, err := store.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (s *spilling) feed(rows []rawkv.Entry, in *cdcpb.Event_Row) ([]rawkv.Entry, error) {
	rows, err := s.matcher.feed(rows, in)
	if err == nil && s.joinNow() {
		rows, err = s.join(rows, false, keepRows)
	}
	if s.prewrites.n > 0 && s.spillNow() {
		if _, err := s.spill(s.w); err != nil {
			s.t.Fatal(err)
		}
	}
	return rows, err
}

func always() bool { return true }

// A matcher with everything on disk gives the same as one in memory.
func TestMatcherOnDisk(t *testing.T) {
	scripts := matcherScripts()
	// What a correct store never sends goes unnoticed when a transaction that has
	// ended is still on disk.
	delete(scripts, "rollback")
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			s := &spilling{matcher: newMatcher(5), t: t, w: newWriter(t), spillNow: always, joinNow: always}
			playScript(t, s.matcher, s.feed, script)
			s.dropOverflow()
			if s.bytes != 0 || s.prewrites.n != 0 || len(s.commits)+len(s.rollbacks)+len(s.joins) != 0 {
				t.Errorf("left in the matcher: %d bytes, %d prewrites, %d commits, %d rollbacks, %d joins",
					s.bytes, s.prewrites.n, len(s.commits), len(s.rollbacks), len(s.joins))
			}
		})
	}
}

// Scripts of what is on disk in part.
func TestMatcherOverflow(t *testing.T) {
	for name, script := range map[string]string{
		"the lock is rewritten after its prewrite went to disk": `
			init
			pre k=v/old 10
			spill
			fake k 10
			commit k 10 20 => k=v/old@20`,
		"a later flush of a pipelined transaction is in memory": `
			init
			pre k=first 10 gen 1
			spill
			pre k=second 10 gen 2
			commit k 10 20 => k=second@20`,
		"an earlier flush comes later": `
			init
			pre k=second 10 gen 2
			spill
			pre k=first 10 gen 1
			spill
			commit k 10 20 => k=second@20`,
		"a delete replaces a put of an earlier flush": `
			init
			pre k=first/old 10 gen 1
			spill
			pre k=/old 10 gen 2
			delcommit k 10 20 => k=/old@20`,
		"a later transaction of the key": `
			init
			pre k=v 10
			spill
			commit k 10 20 => k=v@20
			pre k=w/v 30
			spill
			commit k 30 40 => k=w/v@40
			commit k 35 45 => error: COMMIT without PREWRITE`,
		"commits of keys before, between and after those on disk": `
			init
			pre b=1 10
			pre d=2 10
			pre f=3 12
			spill
			commit a 10 20 => error: COMMIT without PREWRITE
			commit c 10 20 => error: COMMIT without PREWRITE
			commit d 10 20 => d=2@20
			commit g 12 20 => error: COMMIT without PREWRITE
			commit f 12 20 => f=3@20
			commit b 10 20 => b=1@20`,
	} {
		t.Run(name, func(t *testing.T) {
			spilled := false
			s := &spilling{
				matcher: newMatcher(5), t: t, w: newWriter(t), joinNow: always,
				spillNow: func() bool { return spilled },
			}
			lines := strings.Split(strings.TrimSpace(script), "\n")
			for i, line := range lines {
				if strings.TrimSpace(line) == "spill" {
					continue
				}
				spilled = i+1 < len(lines) && strings.TrimSpace(lines[i+1]) == "spill"
				playScript(t, s.matcher, s.feed, line)
			}
		})
	}
}

// TestMatcherOnDiskAgainstHistory is TestMatcherAgainstHistory with prewrites that
// go to disk, and COMMITs that are joined, at any moment.
func TestMatcherOnDiskAgainstHistory(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWriter(t)
	for range 1000 {
		simulate(t, rng, func(m *matcher) feedFunc {
			s := &spilling{
				matcher: m, t: t, w: w,
				spillNow: func() bool { return rng.IntN(5) == 0 },
				joinNow:  func() bool { return rng.IntN(5) == 0 },
			}
			return s.feed
		})
	}
}

// A large transaction goes to disk in parts and is committed in the order of its
// keys: memory stays small, and every chunk is read a few times at most.
func TestMatcherOfLargeTransaction(t *testing.T) {
	files := &countedFiles{dir: t.TempDir()}
	store := spill.NewStore(spill.Config{Dir: files.dir, Name: "test", Files: files})
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	m := newMatcher(5)
	m.initialized = true
	const rows = 40_000
	value := strings.Repeat("v", 500)
	most := int64(0)
	for i, k := range rand.Perm(rows) {
		if _, err := m.feed(nil, parseRow(t, fmt.Sprintf("pre k%08d=%s 10", k, value))); err != nil {
			t.Fatal(err)
		}
		most = max(most, m.bytes)
		if m.prewrites.n < 4000 && i < rows-1 {
			continue
		}
		w, err := store.Create()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.spill(w); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if held := m.bytes; held > store.Bytes()/100 {
		t.Errorf("%d bytes in memory for %d on disk", held, store.Bytes())
	}
	found := 0
	flush := func(kvs []rawkv.Entry) []rawkv.Entry {
		found += len(kvs)
		return nil
	}
	var kvs []rawkv.Entry
	for k := range rows {
		var err error
		if kvs, err = m.feed(kvs, parseRow(t, fmt.Sprintf("commit k%08d 10 20", k))); err != nil {
			t.Fatal(err)
		}
		if m.joinBytes >= joinBytes || k == rows-1 {
			if kvs, err = m.join(kvs, false, flush); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, m.bytes)
	}
	found += len(kvs)
	t.Logf("%d MiB on disk, %d MiB read in %d reads, %d KiB in memory at most", store.Bytes()>>20, files.bytes>>20, files.reads, most>>10)
	if found != rows {
		t.Errorf("%d changes, want %d", found, rows)
	}
	if files.bytes > 4*store.Bytes() {
		t.Errorf("%d bytes read of %d", files.bytes, store.Bytes())
	}
	m.resolve(11, 0)
	if m.overflow == nil {
		t.Error("given up at once")
	}
	m.resolve(event.Ts(11).Add(overflowAge), 0)
	if m.overflow != nil || m.bytes != 0 || store.Bytes() != 0 {
		t.Errorf("%d bytes in memory and %d on disk are kept", m.bytes, store.Bytes())
	}
}

// countedFiles counts what is read.
type countedFiles struct {
	dir          string
	reads, bytes int64
}

func (f *countedFiles) Create(name string) (io.WriteCloser, error) { return os.Create(name) }
func (f *countedFiles) Remove(name string) error                   { return os.Remove(name) }

func (f *countedFiles) ReadAt(name string, b []byte, offset int64) (int, error) {
	f.reads++
	f.bytes += int64(len(b))
	file, err := os.Open(filepath.Clean(name))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return file.ReadAt(b, offset)
}

// A pipelined transaction may be open when the resolved ts has passed its start.
func TestOverflowOfPipelinedTransaction(t *testing.T) {
	s := &spilling{matcher: newMatcher(5), t: t, w: newWriter(t), spillNow: always, joinNow: always}
	s.initialized = true
	playScript(t, s.matcher, s.feed, "pre k=v 10 gen 1")
	s.resolve(15, 0)
	playScript(t, s.matcher, s.feed, "commit k 10 20 => k=v@20")
}

// A resolved ts may have passed the start of a transaction before that locks
// anything, and stay there while it is open.
func TestOverflowOfLateTransaction(t *testing.T) {
	s := &spilling{matcher: newMatcher(5), t: t, w: newWriter(t), spillNow: always, joinNow: always}
	s.initialized = true
	passed := event.Ts(10).Add(time.Minute)
	s.resolve(passed, 0)
	playScript(t, s.matcher, s.feed, "pre k=v 10")
	s.resolve(passed, 0) // a heartbeat
	playScript(t, s.matcher, s.feed, fmt.Sprintf("commit k 10 %d => k=v@%d", passed+1, passed+1))
}
