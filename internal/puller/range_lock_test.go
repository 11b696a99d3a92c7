package puller

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tikv/client-go/v2/tikv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// lockScript plays commands on the lock of span a-z from ts 50:
//
//	lock 3.2 c-m   lock the range for version 2 of region 3, by a task named 3.2
//	unlock 3.2
//	init 3.2       its scan has ended
//	advance 3.2 70
//	show           all segments, as range/owner@ts, with ! when initialised, and the resolved ts
type lockScript struct {
	t       *testing.T
	lock    *rangeLock
	regions map[string]*region
	tasks   map[*rangeTask]string
}

func newLockScript(t *testing.T) *lockScript {
	return &lockScript{
		t: t, lock: newRangeLock(keyRange{[]byte("a"), []byte("z")}, 50),
		regions: make(map[string]*region), tasks: make(map[*rangeTask]string),
	}
}

func (s *lockScript) run(line string) string {
	f := strings.Fields(line)
	var r *region
	if len(f) > 1 {
		if r = s.regions[f[1]]; r == nil {
			var id, version uint64
			if _, err := fmt.Sscanf(f[1], "%d.%d", &id, &version); err != nil {
				s.t.Fatal(err)
			}
			r = &region{verID: tikv.NewRegionVerID(id, 1, version)}
			s.regions[f[1]] = r
		}
	}
	switch f[0] {
	case "lock":
		start, end, _ := strings.Cut(f[2], "-")
		task := &rangeTask{}
		s.tasks[task] = f[1]
		got := s.lock.lock(keyRange{[]byte(start), []byte(end)}, r, task)
		switch {
		case got.stopped:
			return "stopped"
		case got.waiting:
			return "waits"
		case got.stale:
			out := "stale"
			for _, u := range got.uncovered {
				out += fmt.Sprintf(" %s-%s", u.start, u.end)
			}
			return out
		}
		r.segment = got.segment
		return fmt.Sprint("from ", got.checkpoint)
	case "unlock":
		out := "wakes"
		for _, task := range s.lock.unlock(r.segment, r) {
			out += " " + s.tasks[task]
		}
		return out
	case "init":
		s.lock.initialize(r.segment, r, 1)
	case "advance":
		var ts event.Ts
		if _, err := fmt.Sscan(f[2], &ts); err != nil {
			s.t.Fatal(err)
		}
		s.lock.advance([]*region{r}, ts, 1, time.Hour)
	case "stop":
		s.lock.stop()
	case "show":
		return s.show()
	default:
		s.t.Fatalf("unknown command %q", line)
	}
	return ""
}

func (s *lockScript) show() string {
	var out []string
	for _, g := range s.lock.segments {
		owner := "-"
		if g.owner != nil {
			owner = fmt.Sprintf("%d.%d", g.owner.id(), g.owner.version())
		}
		mark := ""
		if g.initialized {
			mark = "!"
		}
		out = append(out, fmt.Sprintf("%s-%s/%s@%d%s", g.start, g.end, owner, g.ts, mark))
	}
	ts, covered := s.lock.resolved()
	if covered {
		return fmt.Sprint(strings.Join(out, " "), " resolved ", ts)
	}
	return strings.Join(out, " ")
}

func TestRangeLock(t *testing.T) {
	for name, script := range map[string]string{
		"one region": `
			show => a-z/-@50
			lock 1.1 a-z => from 50
			show => a-z/1.1@50
			init 1.1
			show => a-z/1.1@50! resolved 50
			advance 1.1 60
			show => a-z/1.1@60! resolved 60`,
		"the resolved ts never goes back": `
			lock 1.1 a-z => from 50
			init 1.1
			advance 1.1 60
			advance 1.1 55
			show => a-z/1.1@60! resolved 60`,
		"the middle first, then both sides": `
			lock 2.1 g-m => from 50
			show => a-g/-@50 g-m/2.1@50 m-z/-@50
			lock 1.1 a-g => from 50
			lock 3.1 m-z => from 50
			show => a-g/1.1@50 g-m/2.1@50 m-z/3.1@50`,
		"not resolved before all regions are initialised": `
			lock 1.1 a-m => from 50
			lock 2.1 m-z => from 50
			init 1.1
			advance 1.1 80
			show => a-m/1.1@80! m-z/2.1@50
			init 2.1
			show => a-m/1.1@80! m-z/2.1@50! resolved 50`,
		"a range stays covered when its region fails": `
			lock 1.1 a-m => from 50
			lock 2.1 m-z => from 50
			init 1.1
			advance 1.1 80
			unlock 1.1 => wakes
			init 2.1
			advance 2.1 90
			show => a-m/-@80 m-z/2.1@90! resolved 80`,
		"split: the parts start where the whole was": `
			lock 1.1 a-z => from 50
			init 1.1
			advance 1.1 70
			unlock 1.1 => wakes
			lock 1.2 a-m => from 70
			lock 2.2 m-z => from 70
			advance 1.2 90
			show => a-m/1.2@90 m-z/2.2@70 resolved 70`,
		"merge: the whole starts where the least part was": `
			lock 1.1 a-m => from 50
			lock 2.1 m-z => from 50
			advance 1.1 70
			advance 2.1 60
			unlock 1.1 => wakes
			unlock 2.1 => wakes
			lock 1.2 a-z => from 60
			show => a-z/1.2@60`,
		"a newer region waits for the holders it replaces": `
			lock 1.1 a-m => from 50
			lock 2.1 m-z => from 50
			lock 1.2 a-z => waits
			unlock 2.1 => wakes 1.2
			lock 1.2 a-z => waits
			unlock 1.1 => wakes 1.2
			lock 1.2 a-z => from 50`,
		"all that wait are woken, and others are not": `
			lock 1.1 a-g => from 50
			lock 2.1 g-z => from 50
			lock 3.2 a-c => waits
			lock 4.2 c-g => waits
			lock 5.2 g-m => waits
			unlock 1.1 => wakes 3.2 4.2`,
		"an older region is stale where newer ones are": `
			lock 2.5 g-m => from 50
			lock 1.4 a-z => stale a-g m-z
			lock 3.5 m-z => from 50
			lock 1.4 a-z => stale a-g
			lock 1.4 h-i => stale`,
		"stale, although older holders are there too": `
			lock 2.5 g-m => from 50
			lock 3.2 m-p => from 50
			lock 1.4 a-z => stale a-g m-z`,
		"the same version twice is covered": `
			lock 1.1 a-z => from 50
			lock 1.1 a-z => stale`,
		"one region never holds two ranges": `
			lock 1.1 a-g => from 50
			lock 1.2 m-z => waits
			unlock 1.1 => wakes 1.2
			lock 1.2 m-z => from 50
			lock 1.1 a-g => stale a-g`,
		"unlock twice, and after somebody else locked": `
			lock 1.1 a-z => from 50
			advance 1.1 60
			unlock 1.1 => wakes
			unlock 1.1 => wakes
			lock 2.2 a-z => from 60
			unlock 1.1 => wakes
			advance 1.1 99
			init 1.1
			show => a-z/2.2@60`,
		"stop": `
			lock 1.1 a-m => from 50
			lock 1.2 a-z => waits
			stop
			lock 2.1 m-z => stopped
			unlock 1.1 => wakes`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newLockScript(t)
			for _, line := range strings.Split(strings.TrimSpace(script), "\n") {
				cmd, want, _ := strings.Cut(strings.TrimSpace(line), " => ")
				if got := s.run(cmd); got != strings.TrimSuffix(want, " ") {
					t.Fatalf("%s\n got %s\nwant %s", cmd, got, want)
				}
			}
		})
	}
}

// lockModel keeps, for every key, what a rangeLock should say of it.
type lockModel struct {
	keys []modelKey
}

type modelKey struct {
	ts      event.Ts
	owner   *region
	covered bool
}

func (m *lockModel) lock(from, to int, r *region) (outcome string, ts event.Ts, uncovered []int) {
	held, stale := false, false
	ts = m.keys[from].ts
	for i, k := range m.keys {
		if k.owner == nil || ((i < from || i >= to) && k.owner.id() != r.id()) {
			continue
		}
		held = true
		stale = stale || k.owner.version() >= r.version()
	}
	for i := from; i < to; i++ {
		k := &m.keys[i]
		ts = min(ts, k.ts)
		if k.owner == nil || k.owner.version() < r.version() {
			uncovered = append(uncovered, i)
		}
	}
	switch {
	case stale:
		return "stale", 0, uncovered
	case held:
		return "waits", 0, nil
	}
	covered := true
	for i := from; i < to; i++ {
		covered = covered && m.keys[i].covered
	}
	for i := from; i < to; i++ {
		m.keys[i] = modelKey{ts, r, covered}
	}
	return "locked", ts, nil
}

func (m *lockModel) each(r *region, f func(*modelKey)) {
	for i := range m.keys {
		if m.keys[i].owner == r {
			f(&m.keys[i])
		}
	}
}

func (m *lockModel) resolved() (ts event.Ts, covered bool) {
	ts, covered = m.keys[0].ts, true
	for _, k := range m.keys {
		ts = min(ts, k.ts)
		covered = covered && k.covered
	}
	return ts, covered
}

func TestRangeLockAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		checkAgainstModel(t, rng)
	}
}

func checkAgainstModel(t *testing.T, rng *rand.Rand) {
	const keys = 40
	key := func(i int) []byte {
		if i == keys {
			return nil // to the end of the key space
		}
		return []byte{byte(i)}
	}
	l := newRangeLock(keyRange{key(0), nil}, 50)
	m := &lockModel{keys: slices.Repeat([]modelKey{{ts: 50}}, keys)}
	var live []*region
	last := event.Ts(0)
	for range 300 {
		switch n := rng.IntN(10); {
		case n < 4 || len(live) == 0:
			from := rng.IntN(keys)
			to := from + 1 + rng.IntN(min(keys-from, 12))
			r := &region{verID: tikv.NewRegionVerID(uint64(rng.IntN(8)), 1, uint64(rng.IntN(6)))}
			want, wantTs, uncovered := m.lock(from, to, r)
			got := l.lock(keyRange{key(from), key(to)}, r, &rangeTask{})
			outcome := "locked"
			switch {
			case got.stale:
				outcome = "stale"
			case got.waiting:
				outcome = "waits"
			}
			if outcome != want || got.checkpoint != wantTs {
				t.Fatalf("lock [%d, %d) version %v: %s from %d, want %s from %d", from, to, r.verID, outcome, got.checkpoint, want, wantTs)
			}
			var open []int
			for _, u := range got.uncovered {
				for i := range keys {
					if u.contains([]byte{byte(i)}) {
						open = append(open, i)
					}
				}
			}
			if !slices.Equal(open, uncovered) {
				t.Fatalf("lock [%d, %d): uncovered %v, want %v", from, to, open, uncovered)
			}
			if r.segment = got.segment; r.segment != nil {
				live = append(live, r)
			}
		case n < 6:
			i := rng.IntN(len(live))
			r := live[i]
			l.unlock(r.segment, r)
			l.unlock(r.segment, r)
			m.each(r, func(k *modelKey) { k.owner = nil })
			live = slices.Delete(live, i, i+1)
		case n < 7:
			r := live[rng.IntN(len(live))]
			l.initialize(r.segment, r, 1)
			m.each(r, func(k *modelKey) { k.covered = true })
		default:
			ts := last + event.Ts(rng.IntN(100))
			var some []*region
			for _, r := range live {
				if rng.IntN(2) == 0 {
					some = append(some, r)
					m.each(r, func(k *modelKey) { k.ts = max(k.ts, ts) })
				}
			}
			l.advance(some, ts, 1, time.Hour)
		}
		compareWithModel(t, l, m, len(live))
		ts, covered := l.resolved()
		if ts < last {
			t.Fatalf("resolved ts went from %d to %d", last, ts)
		}
		last = ts
		if wantTs, want := m.resolved(); ts != wantTs || covered != want {
			t.Fatalf("resolved %d %v, want %d %v", ts, covered, wantTs, want)
		}
	}
}

func compareWithModel(t *testing.T, l *rangeLock, m *lockModel, locked int) {
	t.Helper()
	for i, s := range l.segments {
		if i > 0 && compareEnd(l.segments[i-1].end, s.start) != 0 {
			t.Fatalf("segment %s follows %s", s.keyRange, l.segments[i-1].keyRange)
		}
		for k := range m.keys {
			if s.contains([]byte{byte(k)}) && (m.keys[k].owner != s.owner || m.keys[k].ts != s.ts) {
				t.Fatalf("key %d: %v at %d, want %v at %d", k, s.owner, s.ts, m.keys[k].owner, m.keys[k].ts)
			}
		}
	}
	if first, last := l.segments[0], l.segments[len(l.segments)-1]; len(first.start) != 1 || first.start[0] != 0 || last.end != nil {
		t.Fatalf("segments cover [%x, %x)", first.start, last.end)
	}
	if total, n, _, _ := l.progress(); total != len(l.segments) || n != locked || len(l.heap) != total {
		t.Fatalf("%d segments, %d locked, %d in the heap; want %d, %d", total, n, len(l.heap), len(l.segments), locked)
	}
}

// In a span of many regions the heap is built anew at times; the minimum must
// not suffer from it.
func TestResolvedTsOfManyRegions(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	l, regions := lockMany(1000)
	for tick := event.Ts(100); tick < 10000; tick += 100 {
		rng.Shuffle(len(regions), func(i, j int) { regions[i], regions[j] = regions[j], regions[i] })
		for from := 0; from < len(regions); {
			to := min(from+1+rng.IntN(300), len(regions))
			l.advance(regions[from:to], tick+event.Ts(rng.IntN(90)), 1, time.Hour)
			from = to
			want := regions[0].segment.ts
			for _, r := range regions {
				want = min(want, r.segment.ts)
			}
			if got, _ := l.resolved(); got != want {
				t.Fatalf("resolved %d, want %d", got, want)
			}
		}
	}
}

// lockMany returns a lock that is held by n regions.
func lockMany(n int) (*rangeLock, []*region) {
	key := func(i int) []byte {
		if i == 0 || i == n {
			return nil
		}
		return fmt.Appendf(nil, "%08d", i)
	}
	l := newRangeLock(keyRange{}, 50)
	regions := make([]*region, n)
	for i := range regions {
		r := &region{verID: tikv.NewRegionVerID(uint64(i), 1, 1)}
		r.segment = l.lock(keyRange{key(i), key(i + 1)}, r, nil).segment
		regions[i] = r
	}
	return l, regions
}

// The minimum of a span of many regions must not be searched for.
func BenchmarkAdvance(b *testing.B) {
	for _, n := range []int{1, 1000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, regions := lockMany(n)
			rand.Shuffle(n, func(i, j int) { regions[i], regions[j] = regions[j], regions[i] })
			b.ReportAllocs()
			ts := event.Ts(100)
			for b.Loop() {
				// One tick, in the growing groups of a store.
				ts++
				for from, size := 0, 8; from < n; size *= 4 {
					to := min(from+size, n)
					l.advance(regions[from:to], ts, 1, time.Hour)
					from = to
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/region")
		})
	}
}
