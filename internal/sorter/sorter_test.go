package sorter_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
)

func pack(kv event.RawKV) rawkv.Entry {
	e, err := rawkv.Pack(&kv)
	if err != nil {
		panic(err)
	}
	return e
}

// putBytes is put with a value of n bytes.
func putBytes(key string, start, commit event.Ts, n int) rawkv.Entry {
	return pack(event.RawKV{Op: event.OpPut, Key: []byte(key), Value: make([]byte, n), StartTs: start, CommitTs: commit})
}

func put(key string, start, commit event.Ts) rawkv.Entry {
	return pack(event.RawKV{Op: event.OpPut, Key: []byte(key), Value: []byte("v"), StartTs: start, CommitTs: commit})
}

func del(key string, start, commit event.Ts) rawkv.Entry {
	return pack(event.RawKV{Op: event.OpDelete, Key: []byte(key), OldValue: []byte("o"), StartTs: start, CommitTs: commit})
}

// text shows changes in a form that can be compared and read.
func text(kvs []rawkv.Entry) []string {
	var out []string
	for _, kv := range kvs {
		out = append(out, fmt.Sprintf("%d/%d %s %s", kv.CommitTs, kv.StartTs, kv.Op, kv.Key()))
	}
	return out
}

func add(t *testing.T, s *sorter.Sorter, kvs []rawkv.Entry) {
	t.Helper()
	if err := s.Add(kvs); err != nil {
		t.Error(err)
	}
}

func take(t *testing.T, s *sorter.Sorter, limit event.Ts, maxRows int, maxBytes int64) ([]string, event.Ts) {
	t.Helper()
	rows, through, err := s.Take(nil, limit, maxRows, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return text(rows), through
}

func expect(t *testing.T, got []string, through event.Ts, wantThrough event.Ts, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("took %q, want %q", got, want)
	}
	if through != wantThrough {
		t.Errorf("through %d, want %d", through, wantThrough)
	}
}

const (
	noLimit = event.Ts(math.MaxUint64)
	anyRows = math.MaxInt
	anySize = math.MaxInt64
)

func TestOrder(t *testing.T) {
	s := sorter.New(10)
	add(t, s, []rawkv.Entry{
		put("b", 21, 30), put("a", 21, 30), del("z", 21, 30), put("c", 11, 40),
		put("x", 20, 30), del("a", 12, 20), put("late", 5, 10), put("after", 50, 51),
	})
	got, through := take(t, s, noLimit, anyRows, anySize)
	expect(t, got, through, 10) // nothing is resolved

	s.Resolve(50)
	s.Resolve(40)
	if ts := s.ResolvedTs(); ts != 50 {
		t.Errorf("resolved ts went back to %d", ts)
	}
	got, through = take(t, s, noLimit, anyRows, anySize)
	expect(t, got, through, 50, "20/12 delete a", "30/20 put x", "30/21 delete z", "30/21 put a", "30/21 put b", "40/11 put c")
	if rows, _ := s.Pending(); rows != 1 {
		t.Errorf("%d rows pending, want 1", rows)
	}
	add(t, s, []rawkv.Entry{put("again", 12, 51)})
	s.Resolve(51)
	got, through = take(t, s, noLimit, anyRows, anySize)
	expect(t, got, through, 51, "51/12 put again", "51/50 put after")
}

func TestRepeatsAreDropped(t *testing.T) {
	s := sorter.New(0)
	add(t, s, []rawkv.Entry{put("a", 1, 5), put("a", 2, 5), put("b", 1, 5)})
	add(t, s, []rawkv.Entry{put("a", 1, 5), put("b", 1, 5), put("b", 1, 5), put("a", 1, 6)})
	s.Resolve(5)
	add(t, s, []rawkv.Entry{put("a", 1, 5), put("c", 4, 8)}) // a new subscription repeats a@5
	s.Resolve(9)
	got, through := take(t, s, noLimit, anyRows, anySize)
	expect(t, got, through, 9, "5/1 put a", "5/1 put b", "5/2 put a", "6/1 put a", "8/4 put c")
	if rows, size := s.Pending(); rows != 0 || size != 0 {
		t.Errorf("%d rows of %d bytes pending after everything was taken", rows, size)
	}
}

// TestLargeTransaction needs more rows than are compared one by one.
func TestLargeTransaction(t *testing.T) {
	var kvs []rawkv.Entry
	var want []string
	for i := range 3000 {
		row := put(fmt.Sprintf("row%06d%s", i/3, "abc"[:i%3]), 7, 9)
		if i < 500 {
			row = del(string(row.Key()), 7, 9)
		}
		kvs = append(kvs, row)
		want = append(want, text([]rawkv.Entry{row})...)
	}
	repeats := slices.Concat(kvs[:100], kvs[2500:])
	rand.Shuffle(len(kvs), func(i, j int) { kvs[i], kvs[j] = kvs[j], kvs[i] })
	s := sorter.New(0)
	add(t, s, kvs)
	add(t, s, repeats)
	add(t, s, []rawkv.Entry{put("before", 6, 8), put("after", 6, 10), put("later", 6, 11)})
	s.Resolve(10)
	want = slices.Concat([]string{"8/6 put before"}, want, []string{"10/6 put after"})
	var got []string
	for len(got) < len(want) {
		rows, through := take(t, s, noLimit, 1000, anySize)
		got = append(got, rows...)
		if wantThrough := map[bool]event.Ts{true: 10, false: 8}[len(got) == len(want)]; through != wantThrough {
			t.Fatalf("through %d after %d of %d, want %d", through, len(got), len(want), wantThrough)
		}
	}
	expect(t, got, 0, 0, want...)
	if rows, _ := s.Pending(); rows != 1 {
		t.Errorf("%d rows pending, want 1", rows)
	}
}

func TestTakeStops(t *testing.T) {
	fill := func(t *testing.T) *sorter.Sorter {
		s := sorter.New(0)
		add(t, s, []rawkv.Entry{put("a", 1, 10), put("b", 1, 10), put("c", 1, 10), put("d", 11, 20), put("e", 21, 30)})
		s.Resolve(25)
		return s
	}
	one := put("a", 1, 10)
	size := one.Size()
	tests := []struct {
		name    string
		limit   event.Ts
		rows    int
		bytes   int64
		want    int
		through event.Ts
	}{
		{"everything resolved", noLimit, anyRows, anySize, 4, 25},
		{"at the limit", 20, anyRows, anySize, 4, 20},
		{"below the limit", 19, anyRows, anySize, 3, 19},
		{"nothing below the limit", 9, anyRows, anySize, 0, 9},
		{"in the middle of a transaction", noLimit, 2, anySize, 2, 9},
		{"at the end of a transaction", noLimit, 3, anySize, 3, 10},
		{"at the last resolved row", noLimit, 4, anySize, 4, 25},
		{"at the end of a transaction that ends at the limit", 12, 3, anySize, 3, 12},
		{"by bytes", noLimit, anyRows, 2*size + 1, 2, 9},
		{"one row though it is too large", noLimit, anyRows, 1, 1, 9},
		{"one row though none are asked for", noLimit, 0, 0, 1, 9},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fill(t)
			got, through := take(t, s, tt.limit, tt.rows, tt.bytes)
			if len(got) != tt.want || through != tt.through {
				t.Errorf("took %q through %d, want %d rows through %d", got, through, tt.want, tt.through)
			}
			if rows, bytes := s.Pending(); rows != 5-tt.want || bytes != int64(5-tt.want)*size {
				t.Errorf("%d rows of %d bytes pending, want %d", rows, bytes, 5-tt.want)
			}
		})
	}
}

func TestTakeAppends(t *testing.T) {
	s := sorter.New(0)
	add(t, s, []rawkv.Entry{put("b", 1, 2)})
	s.Resolve(2)
	rows, _, err := s.Take([]rawkv.Entry{put("a", 1, 1)}, noLimit, 1, anySize)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, text(rows), 0, 0, "1/1 put a", "2/1 put b")
}

func TestClose(t *testing.T) {
	s := sorter.New(0)
	add(t, s, []rawkv.Entry{put("a", 1, 2)})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	add(t, s, []rawkv.Entry{put("b", 1, 3)})
	s.Resolve(5)
	if rows, size := s.Pending(); rows != 0 || size != 0 {
		t.Errorf("%d rows of %d bytes pending after Close", rows, size)
	}
	if _, _, err := s.Take(nil, noLimit, 1, 1); err == nil {
		t.Error("Take of a closed sorter reports everything as taken")
	}
}

// model is the sorter in the plainest words.
type model struct {
	kvs      []rawkv.Entry
	resolved event.Ts
}

func order(a, b rawkv.Entry) int {
	return cmp.Or(cmp.Compare(a.CommitTs, b.CommitTs), cmp.Compare(a.StartTs, b.StartTs),
		cmp.Compare(b.Op, a.Op), bytes.Compare(a.Key(), b.Key()))
}

func (m *model) add(kvs []rawkv.Entry) {
	for _, kv := range kvs {
		if kv.CommitTs > m.resolved {
			m.kvs = append(m.kvs, kv)
		}
	}
}

func (m *model) take(limit event.Ts, maxRows int, maxBytes int64) (rows []rawkv.Entry, through event.Ts) {
	limit = min(limit, m.resolved)
	slices.SortFunc(m.kvs, order)
	m.kvs = slices.CompactFunc(m.kvs, func(a, b rawkv.Entry) bool { return order(a, b) == 0 })
	var size int64
	for len(m.kvs) > 0 && m.kvs[0].CommitTs <= limit {
		size += m.kvs[0].Size()
		if len(rows) > 0 && (len(rows) == maxRows || size > maxBytes) {
			through = rows[len(rows)-1].CommitTs
			if m.kvs[0].CommitTs == through {
				through--
			}
			return rows, through
		}
		rows = append(rows, m.kvs[0])
		m.kvs = m.kvs[1:]
	}
	return rows, limit
}

// randomKV makes collisions of every kind likely: of ts, of keys, of whole changes.
func randomKV(rng *rand.Rand, base event.Ts, spread uint64) rawkv.Entry {
	commit := base + event.Ts(rng.Uint64N(spread)) + 1
	if rng.IntN(4) == 0 {
		commit = base + 7<<18 // one large transaction
	}
	key := fmt.Sprintf("t_prefix_%0*d", 1+rng.IntN(3)*5, rng.IntN(200))
	kv := event.RawKV{Op: event.OpPut, Key: []byte(key), StartTs: commit - 1, CommitTs: commit}
	if rng.IntN(1000) == 0 {
		kv.StartTs-- // another transaction with the same commit ts
	}
	if key[len(key)-1]%3 == 0 { // a key has one op in a transaction
		kv.Op, kv.OldValue = event.OpDelete, []byte("o")
	}
	// The same in every repeat.
	kv.Value = bytes.Repeat([]byte{byte(commit)}, len(key)*int(commit%7))
	if commit%97 == 0 {
		kv.OldValue = bytes.Repeat([]byte(key), 1000)
	}
	return pack(kv)
}

func randomSeed(t *testing.T) uint64 {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return seed
}

func TestAgainstModel(t *testing.T) {
	seed := randomSeed(t)
	for round := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, round))
		start := event.Ts(rng.Uint64N(1 << 60))
		s, m := sorter.New(start), &model{resolved: start}
		spread := uint64(1) << (4 + rng.IntN(30))
		for range 200 {
			step(t, rng, s, m, spread)
			if t.Failed() {
				t.Fatalf("round %d", round)
			}
		}
		finish(t, s, m)
	}
}

// step does something to a sorter and its model, and compares them.
func step(t *testing.T, rng *rand.Rand, s *sorter.Sorter, m *model, spread uint64) {
	t.Helper()
	switch rng.IntN(6) {
	case 0:
		ts := m.resolved + event.Ts(rng.Uint64N(spread))
		s.Resolve(ts - 3) // lower ones are ignored
		s.Resolve(ts)
		m.resolved = max(m.resolved, ts)
	case 1:
		limit := m.resolved + event.Ts(rng.Uint64N(spread)) - event.Ts(spread/2)
		maxRows, maxBytes := 1+rng.IntN(300), int64(1+rng.IntN(40000))
		got, through, err := s.Take(nil, limit, maxRows, maxBytes)
		if err != nil {
			t.Fatal(err)
		}
		want, wantThrough := m.take(limit, maxRows, maxBytes)
		same(t, got, want)
		expect(t, nil, through, wantThrough)
	default:
		kvs := make([]rawkv.Entry, rng.IntN(100))
		for i := range kvs {
			// Some lie below the resolved ts: repeats of a new subscription.
			kvs[i] = randomKV(rng, m.resolved-event.Ts(spread/8), spread)
		}
		m.add(kvs)
		add(t, s, kvs)
	}
}

// finish takes everything that is left.
func finish(t *testing.T, s *sorter.Sorter, m *model) {
	t.Helper()
	s.Resolve(math.MaxUint64)
	m.resolved = math.MaxUint64
	got, through, err := s.Take(nil, noLimit, anyRows, anySize)
	if err != nil {
		t.Fatal(err)
	}
	want, wantThrough := m.take(noLimit, anyRows, anySize)
	same(t, got, want)
	expect(t, nil, through, wantThrough)
	if rows, size := s.Pending(); rows != 0 || size != 0 {
		t.Fatalf("%d rows of %d bytes pending after everything was taken", rows, size)
	}
}

// same compares changes with their values.
func same(t *testing.T, got, want []rawkv.Entry) {
	t.Helper()
	if slices.EqualFunc(got, want, func(a, b rawkv.Entry) bool {
		return order(a, b) == 0 && bytes.Equal(a.Value(), b.Value()) && bytes.Equal(a.OldValue(), b.OldValue())
	}) {
		return
	}
	a, b := text(got), text(want)
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("row %d is %q, want %q", i, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		t.Fatalf("took %d rows, want %d", len(a), len(b))
	}
	t.Fatal("the values of what was taken differ from those that were added")
}

// TestParts has so many changes that they are sorted in parts, where batches allow it.
func TestParts(t *testing.T) {
	const n, perBatch, apart = 100_000, 500, 8
	seed := randomSeed(t)
	for round, width := range []uint64{1, apart * perBatch, 5 * apart * perBatch, apart * n} { // of a batch, in ts
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		s, m := sorter.New(0), &model{}
		for _, i := range rng.Perm(n / perBatch) {
			span := width
			if rng.IntN(20) == 0 {
				span = apart * n / 3
			}
			kvs := make([]rawkv.Entry, perBatch)
			for j := range kvs {
				kvs[j] = randomKV(rng, event.Ts(i*perBatch*apart), span)
			}
			m.add(kvs)
			add(t, s, kvs)
		}
		for _, resolved := range []event.Ts{apart * n / 2, apart*n*2/3 + 1, apart * n} {
			s.Resolve(resolved)
			m.resolved = max(m.resolved, resolved) // a step may have gone further
			for range 4 {
				step(t, rng, s, m, apart*n/8)
			}
		}
		finish(t, s, m)
	}
}

// TestPartsTakeLessMemory: of a scan of rows that were written in the order of their keys.
func TestPartsTakeLessMemory(t *testing.T) {
	const n, perBatch, record = 200_000, 100, 16
	s := sorter.New(0)
	for i := range n / perBatch {
		kvs := make([]rawkv.Entry, perBatch)
		for j := range kvs {
			kvs[j] = put("k", 1, event.Ts(i*perBatch+j+2))
		}
		add(t, s, kvs)
	}
	s.Resolve(n + 1)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.TotalAlloc
	got := make([]rawkv.Entry, 0, 1000)
	for taken := 0; taken < n; taken += len(got) {
		var err error
		if got, _, err = s.Take(got[:0], noLimit, 1000, anySize); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&m)
	if allocated := m.TotalAlloc - before; allocated > n*record/2 {
		t.Errorf("%d bytes were allocated, want half of the %d that all records take", allocated, n*record)
	}
}

// TestConcurrentAdd has several goroutines add while one resolves behind them
// and one takes, and holds the whole output to the order.
func TestConcurrentAdd(t *testing.T) {
	const adders, steps, step = 4, 50, 1000
	seed := randomSeed(t)
	s := sorter.New(0)
	var want []rawkv.Entry
	var wantLock sync.Mutex
	var added [steps]sync.WaitGroup
	for i := range added {
		added[i].Add(adders)
	}
	var all sync.WaitGroup
	for adder := range uint64(adders) {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, adder))
			for i := range steps {
				kvs := make([]rawkv.Entry, 1+rng.IntN(200))
				for j := range kvs {
					kvs[j] = put(fmt.Sprintf("%d-%d", adder, rng.IntN(50)), event.Ts(i*step), event.Ts(i*step+1+rng.IntN(step)))
				}
				wantLock.Lock()
				want = append(want, kvs...)
				wantLock.Unlock()
				add(t, s, kvs)
				added[i].Done()
			}
		})
	}
	all.Go(func() {
		for i := range steps {
			added[i].Wait()
			s.Resolve(event.Ts((i + 1) * step))
		}
	})

	var got []rawkv.Entry
	for last := event.Ts(0); last < steps*step; {
		from := len(got)
		var through event.Ts
		var err error
		got, through, err = s.Take(got, noLimit, 100, anySize)
		if err != nil {
			t.Fatal(err)
		}
		if through < last {
			t.Fatalf("through went back from %d to %d", last, through)
		}
		for _, kv := range got[from:] {
			if kv.CommitTs <= last || kv.CommitTs > s.ResolvedTs() {
				t.Fatalf("took commit ts %d after everything through %d, resolved %d", kv.CommitTs, last, s.ResolvedTs())
			}
		}
		last = through
	}
	all.Wait()
	slices.SortFunc(want, order)
	want = slices.CompactFunc(want, func(a, b rawkv.Entry) bool { return order(a, b) == 0 })
	expect(t, text(got), 0, 0, text(want)...)
}

// TestMemoryIsReleased takes all but one of many changes: what stays must not
// hold the rest, which came in the same slice.
func TestMemoryIsReleased(t *testing.T) {
	const n, valueSize = 2000, 10_000
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	s := sorter.New(0)
	before := heap()
	kvs := make([]rawkv.Entry, n)
	for i := range kvs {
		kvs[i] = putBytes("k", 1, event.Ts(i+2), valueSize)
	}
	add(t, s, kvs)
	s.Resolve(n + 1)
	if held := heap() - before; held < n*valueSize {
		t.Fatalf("%d bytes held before, want at least %d", held, n*valueSize)
	}
	if rows, _ := take(t, s, noLimit, n-1, anySize); len(rows) != n-1 {
		t.Fatalf("took %d rows", len(rows))
	}
	if held := heap() - before; held > n*valueSize/10 {
		t.Errorf("one change of %d bytes holds %d", valueSize, held)
	}
	runtime.KeepAlive(s)
}
