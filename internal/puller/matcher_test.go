package puller

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// parseRow reads a row of a script:
//
//	pre k=v 10        PREWRITE of a put with start ts 10; k= is a delete
//	pre k=v/old 10    … with an old value
//	pre k=v 10 gen 2  … of a generation
//	fake k 10         PREWRITE of a put without its value
//	commit k 10 20    COMMIT of a put
//	delcommit k 10 20 COMMIT of a delete
//	full k=v 10 20    COMMITTED
//	roll k 10         ROLLBACK
//	init              INITIALIZED
func parseRow(t *testing.T, line string) *cdcpb.Event_Row {
	t.Helper()
	f := strings.Fields(line)
	r := &cdcpb.Event_Row{OpType: cdcpb.Event_Row_PUT}
	if len(f) > 1 {
		key, rest, _ := strings.Cut(f[1], "=")
		value, old, _ := strings.Cut(rest, "/")
		r.Key, r.Value, r.OldValue = []byte(key), []byte(value), []byte(old)
		if strings.Contains(f[1], "=") && value == "" && f[0] != "fake" {
			r.OpType = cdcpb.Event_Row_DELETE
		}
	}
	ts := func(i int) (n uint64) {
		if _, err := fmt.Sscan(f[i], &n); err != nil {
			t.Fatalf("row %q: %v", line, err)
		}
		return n
	}
	switch f[0] {
	case "pre", "fake":
		r.Type, r.StartTs = cdcpb.Event_PREWRITE, ts(2)
		if len(f) > 4 {
			r.Generation = ts(4)
		}
	case "commit", "delcommit":
		r.Type, r.StartTs, r.CommitTs = cdcpb.Event_COMMIT, ts(2), ts(3)
		if f[0] == "delcommit" {
			r.OpType = cdcpb.Event_Row_DELETE
		}
	case "full":
		r.Type, r.StartTs, r.CommitTs = cdcpb.Event_COMMITTED, ts(2), ts(3)
	case "roll":
		r.Type, r.StartTs, r.OpType = cdcpb.Event_ROLLBACK, ts(2), cdcpb.Event_Row_UNKNOWN
	case "init":
		r.Type = cdcpb.Event_INITIALIZED
	default:
		t.Fatalf("unknown row %q", line)
	}
	return r
}

// feed gives a row to the matcher, as a stream does.
func (m *matcher) feed(rows []rawkv.Entry, in *cdcpb.Event_Row) ([]rawkv.Entry, error) {
	r, payload := wireRow(in)
	one := []row{r}
	m.prepare(one, payload)
	r = one[0]
	a := arena{needed: r.size()}
	_, p := a.pack(&r, payload)
	switch r.typ {
	case cdcpb.Event_PREWRITE:
		m.prewrite(&r, p)
	case cdcpb.Event_COMMIT:
		return m.commit(rows, &r, payload)
	case cdcpb.Event_COMMITTED:
		return m.committed(rows, &r, p)
	case cdcpb.Event_ROLLBACK:
		m.rollback(&r, payload)
	case cdcpb.Event_INITIALIZED:
		return m.initialize(rows, keepRows)
	}
	return rows, nil
}

// wireRow returns a row as it is decoded from its payload.
func wireRow(in *cdcpb.Event_Row) (row, []byte) {
	entries := cdcpb.Event_Entries{Entries: []*cdcpb.Event_Row{in}}
	payload, err := entries.Marshal()
	if err != nil {
		panic(err)
	}
	rows, err := decodeRows(nil, payload)
	if err != nil {
		panic(err)
	}
	return rows[0], payload
}

func newMatcher(checkpoint event.Ts) *matcher {
	return &matcher{seed: maphash.MakeSeed(), startTs: checkpoint, resolvedTs: checkpoint}
}

func format(kv rawkv.Entry) string {
	s := fmt.Sprintf("%s=%s", kv.Key(), kv.Value())
	if len(kv.OldValue()) > 0 {
		s += "/" + string(kv.OldValue())
	}
	return fmt.Sprintf("%s@%d", s, kv.CommitTs)
}

// keepRows is a flush that leaves rows where they are.
func keepRows(rows []rawkv.Entry) []rawkv.Entry { return rows }

// matcherScripts are rows, a line for each, with the changes or the error that it
// must cause. All matchers start at ts 5, and nothing may be left in them.
func matcherScripts() map[string]string {
	return map[string]string{
		"1: history, newest first, and a live transaction": `
			full k=v2/v1 8 9 => k=v2/v1@9
			full k=v1 6 7 => k=v1@7
			init
			pre l=x/old 10
			commit l 10 20 => l=x/old@20`,
		"delete": `
			init
			pre k=/old 10
			delcommit k 10 20 => k=/old@20
			full k=/old 30 40 => k=/old@40`,
		"19: one-phase commit": `
			init
			full k=v 10 20 => k=v@20`,
		"20: async commit, secondary first": `
			init
			pre primary=a 10
			pre secondary=b 10
			commit secondary 10 15 => secondary=b@15
			commit primary 10 15 => primary=a@15`,
		"one transaction, several keys; several transactions, one key": `
			init
			pre k=a 10
			pre l=b 10
			commit k 10 12 => k=a@12
			pre k=c/a 13
			commit l 10 12 => l=b@12
			commit k 13 14 => k=c/a@14`,
		"22: a pessimistic lock sends nothing before its prewrite": `
			init
			pre k=v/for-update 10
			commit k 10 20 => k=v/for-update@20`,
		"23: the lock is rewritten after its prewrite": `
			init
			pre k=v/old 10
			fake k=/x 10
			commit k 10 20 => k=v/old@20`,
		"23: only the rewritten lock is live, the value comes from the scan": `
			fake k 10
			commit k 10 20
			pre k=v 10
			init => k=v@20`,
		"23: only the rewritten lock is live, and the scan finds the commit": `
			fake k 10
			commit k 10 20
			full k=v 10 20 => k=v@20
			init`,
		"24: commit before its prewrite": `
			commit k 10 20
			pre k=v 10
			init => k=v@20`,
		"24: commit before its committed twin": `
			commit k 10 20
			full k=v 10 20 => k=v@20
			init`,
		"a commit that matches during the scan": `
			pre k=v 10
			commit k 10 20 => k=v@20
			init`,
		"a delete during the scan has no value, so it waits": `
			pre k=/old 10
			delcommit k 10 20
			init => k=/old@20`,
		"kept commits keep their order": `
			commit k 10 20
			commit l 11 21
			pre l=b 11
			pre k=a 10
			init => k=a@20 l=b@21`,
		"25: rollback before the scanned prewrite": `
			roll k 10
			pre k=v 10
			init
			pre k=w 30
			commit k 30 40 => k=w@40`,
		"a kept rollback spares a later transaction": `
			roll k 10
			pre k=w 30
			init
			commit k 30 40 => k=w@40`,
		"26: rollback of a transaction without a prewrite": `
			init
			pre k=v 10
			roll k 20
			roll other 10
			commit k 10 20 => k=v@20`,
		"rollback": `
			init
			pre k=v 10
			roll k 10
			commit k 10 20 => error: COMMIT without PREWRITE`,
		"42: initialised twice": `
			commit k 10 20
			pre k=v 10
			init => k=v@20
			init`,
		"generations: the highest wins": `
			init
			pre k=v2 10 gen 2
			pre k=v1 10 gen 1
			pre k=v3 10 gen 3
			commit k 10 20 => k=v3@20`,
		"generations: not trusted during the scan": `
			pre k=v1 10 gen 1
			commit k 10 20
			pre k=v2 10 gen 2
			init => k=v2@20`,
		"changes up to the start ts are dropped": `
			pre k=v 3
			commit k 3 5
			init
			full k=v 3 5
			pre k=v 4
			commit k 4 5
			commit never-seen 4 5`,
		"commit ts at the resolved ts": `
			init
			resolve 20
			full k=v 10 20 => error: commit ts at or below the resolved ts`,
		"commit ts below the resolved ts": `
			init
			pre k=v 10
			resolve 20
			commit k 10 15 => error: commit ts at or below the resolved ts`,
		"kept commit ts below the checkpoint": `
			resolve 20
			commit k 10 15
			pre k=v 10
			init => error: commit ts at or below the resolved ts`,
		"put without a value": `
			init
			fake k 10
			commit k 10 20 => error: put without a value
			full k 30 40 => error: put without a value`,
	}
}

func TestMatcher(t *testing.T) {
	for name, script := range matcherScripts() {
		t.Run(name, func(t *testing.T) {
			m := newMatcher(5)
			playScript(t, m, m.feed, script)
			if m.bytes != 0 || m.prewrites.n != 0 || len(m.commits)+len(m.rollbacks) != 0 {
				t.Errorf("left in the matcher: %d bytes, %d prewrites, %d commits, %d rollbacks", m.bytes, m.prewrites.n, len(m.commits), len(m.rollbacks))
			}
		})
	}
}

type feedFunc = func([]rawkv.Entry, *cdcpb.Event_Row) ([]rawkv.Entry, error)

func playScript(t *testing.T, m *matcher, feed feedFunc, script string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(script), "\n") {
		in, want, _ := strings.Cut(strings.TrimSpace(line), " => ")
		var ts event.Ts
		if n, _ := fmt.Sscanf(in, "resolve %d", &ts); n == 1 {
			m.resolve(ts, 0)
			continue
		}
		rows, err := feed(nil, parseRow(t, in))
		var got []string
		for _, kv := range rows {
			got = append(got, format(kv))
		}
		if err != nil {
			var p *protocolError
			if !errors.As(err, &p) {
				t.Fatalf("%s: %v", in, err)
			}
			got = append(got, "error: "+p.what)
		}
		if g := strings.Join(got, " "); g != want {
			t.Fatalf("%s\n got %q\nwant %q", in, g, want)
		}
	}
}

// 42: a prewrite that comes after its commit stays until the next prewrite of
// the transaction or the end of the region, and does no harm.
func TestDanglingPrewrite(t *testing.T) {
	m := newMatcher(5)
	m.initialized = true
	for _, line := range []string{"pre k=v 10", "commit k 10 20", "pre k=v 10", "pre k=w 30", "commit k 30 40"} {
		if _, err := m.feed(nil, parseRow(t, line)); err != nil {
			t.Fatal(err)
		}
	}
	if m.prewrites.n != 1 || m.bytes != prewriteOverhead+2 {
		t.Errorf("%d prewrites of %d bytes, want 1 of %d", m.prewrites.n, m.bytes, prewriteOverhead+2)
	}
}

func TestMatcherGivesMemoryBack(t *testing.T) {
	m := newMatcher(5)
	m.initialized = true
	for i := range 1000 {
		if _, err := m.feed(nil, parseRow(t, fmt.Sprintf("pre k%d=v 10", i))); err != nil {
			t.Fatal(err)
		}
	}
	m.resolve(6, time.Hour)
	if m.prewrites.n != 1000 {
		t.Fatal("prewrites were lost")
	}
	for i := range 1000 {
		if _, err := m.feed(nil, parseRow(t, fmt.Sprintf("roll k%d 10", i))); err != nil {
			t.Fatal(err)
		}
	}
	m.resolve(7, time.Second)
	if m.prewrites.slots == nil {
		t.Error("the table was dropped at once")
	}
	m.resolve(8, emptyTableAge+1)
	if m.prewrites.slots != nil || m.bytes != 0 {
		t.Errorf("%d slots, %d bytes are kept", len(m.prewrites.slots), m.bytes)
	}
}

// A transaction of the simulated history.
type simTxn struct {
	key, value        string
	start, end        uint64 // end is the commit ts or the time of the rollback
	rolledBack, onepc bool
}

// TestMatcherAgainstHistory plays what a store may send of a random history:
// the live rows since it began to observe, mixed at random with the scan of a
// snapshot taken then or later, and the rest. Every commit must come out, with its value.
func TestMatcherAgainstHistory(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		simulate(t, rng, func(m *matcher) feedFunc { return m.feed })
	}
}

func simulate(t *testing.T, rng *rand.Rand, feeder func(*matcher) feedFunc) {
	const steps = 60
	var txns []simTxn
	for k := range 4 {
		for at := uint64(1 + rng.IntN(5)); at < steps-2; {
			x := simTxn{key: fmt.Sprint("k", k), start: at, end: at + 1 + uint64(rng.IntN(15))}
			if rng.IntN(4) > 0 {
				x.value = fmt.Sprintf("v%d.%d", k, at)
			}
			x.rolledBack, x.onepc = rng.IntN(5) == 0, rng.IntN(5) == 0
			txns = append(txns, x)
			at = x.end + 1 + uint64(rng.IntN(4))
		}
	}
	checkpoint := uint64(rng.IntN(20))
	observed := checkpoint + uint64(rng.IntN(20))
	snapshot := observed + uint64(rng.IntN(10))
	var live, rest, scan []*cdcpb.Event_Row
	want := make(map[string]bool)
	for now := uint64(1); now < 2*steps; now++ {
		for _, x := range txns {
			for _, row := range x.at(t, now, rng) {
				switch {
				case now <= observed:
				case now <= snapshot || rng.IntN(2) == 0 && len(rest) == 0:
					live = append(live, row)
				default:
					rest = append(rest, row)
				}
			}
		}
	}
	for _, x := range txns {
		if x.end > checkpoint && !x.rolledBack {
			want[fmt.Sprintf("%s=%s@%d", x.key, x.value, x.end)] = true
		}
		switch {
		case x.start <= snapshot && x.end > snapshot && !x.onepc:
			scan = append(scan, parseRow(t, fmt.Sprintf("pre %s=%s %d", x.key, x.value, x.start)))
		case x.end <= snapshot && x.end > checkpoint && !x.rolledBack:
			scan = append(scan, parseRow(t, fmt.Sprintf("full %s=%s %d %d", x.key, x.value, x.start, x.end)))
		}
	}
	m := newMatcher(event.Ts(checkpoint))
	feed := feeder(m)
	var got []rawkv.Entry
	play := func(row *cdcpb.Event_Row) {
		var err error
		if got, err = feed(got, row); err != nil {
			t.Fatal(err)
		}
	}
	for len(live)+len(scan) > 0 {
		from := &live
		if len(live) == 0 || len(scan) > 0 && rng.IntN(2) == 0 {
			from = &scan
		}
		play((*from)[0])
		*from = (*from)[1:]
	}
	play(parseRow(t, "init"))
	for _, row := range rest {
		play(row)
	}
	got, err := m.join(got, false, keepRows)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, kv := range got {
		s := format(kv)
		if !want[s] {
			t.Fatalf("%s was never committed", s)
		}
		found[s] = true
	}
	if len(found) != len(want) {
		t.Fatalf("checkpoint %d, observed from %d, snapshot at %d: got %v, want %v", checkpoint, observed, snapshot, found, want)
	}
}

// at returns what a store sends about the transaction at a moment.
func (x simTxn) at(t *testing.T, now uint64, rng *rand.Rand) []*cdcpb.Event_Row {
	line := ""
	switch {
	case x.onepc && now == x.end && !x.rolledBack:
		line = fmt.Sprintf("full %s=%s %d %d", x.key, x.value, x.start, x.end)
	case x.onepc:
		return nil
	case now == x.start:
		line = fmt.Sprintf("pre %s=%s %d", x.key, x.value, x.start)
	case now == x.end && x.rolledBack:
		line = fmt.Sprintf("roll %s %d", x.key, x.start)
	case now == x.end && x.value == "":
		line = fmt.Sprintf("delcommit %s %d %d", x.key, x.start, x.end)
	case now == x.end:
		line = fmt.Sprintf("commit %s %d %d", x.key, x.start, x.end)
	case now > x.start && now < x.end && x.value != "" && rng.IntN(8) == 0:
		line = fmt.Sprintf("fake %s %d", x.key, x.start)
	default:
		return nil
	}
	return []*cdcpb.Event_Row{parseRow(t, line)}
}

func TestPrewriteTableAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var table prewriteTable
	model := make(map[string]int)
	hash := func(ts event.Ts, key []byte) uint32 {
		return uint32(ts)*7 + uint32(key[0])%5 // many collisions
	}
	for i := range 200000 {
		ts, key := event.Ts(rng.IntN(20)), []byte{byte(rng.IntN(20))}
		id := fmt.Sprint(ts, key)
		at := table.find(hash(ts, key), ts, key)
		want, ok := model[id]
		if ok != (at >= 0) || (ok && table.at(at).generation != uint64(want)) {
			t.Fatalf("step %d: %s is in slot %d, want %v", i, id, at, ok)
		}
		switch grow := i/2000%2 == 0; {
		case !ok && (grow || rng.IntN(4) == 0):
			table.insert(hash(ts, key), prewrite{startTs: ts, packed: packed{data: key, keyLen: uint32(len(key))}, generation: uint64(i)})
			model[id] = i
		case ok && (!grow || rng.IntN(4) == 0):
			table.remove(at)
			delete(model, id)
		}
		if table.n != len(model) || len(table.entries)-len(table.free) != table.n {
			t.Fatalf("step %d: %d entries, %d of them free; want %d used", i, len(table.entries), len(table.free), len(model))
		}
	}
}
