package cdctest_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
)

// TestNemesis plays a random workload under random faults of everything that a
// feed depends on, the feed itself being stopped, killed and resumed, one cluster after
// another: one in an ordinary run, as many as SOAK_SECONDS have room for otherwise.
// SEED repeats a run, and the seed that a round prints repeats that round alone.
func TestNemesis(t *testing.T) {
	seed := randomSeed(t)
	enough := time.Now().Add(time.Duration(soakSeconds()) * time.Second)
	rounds := 0
	for ; rounds == 0 || time.Now().Before(enough) && !t.Failed(); rounds++ {
		roundSeed := seed + uint64(rounds)
		t.Run("round", func(t *testing.T) {
			t.Logf("SEED=%d begins with this round", roundSeed)
			playNemesis(t, roundSeed, 25)
		})
	}
	t.Logf("%d rounds", rounds)
}

// TestNemesisReplays: what the nemesis does follows from the seed alone, whatever the
// client makes of it meanwhile.
func TestNemesisReplays(t *testing.T) {
	seed := randomSeed(t)
	if first, second := playNemesis(t, seed, 8), playNemesis(t, seed, 8); first != second {
		t.Errorf("the same seed has been at %x and at %x in the end", first, second)
	}
}

// soakSeconds is how long a soak goes on, 0 in an ordinary run.
func soakSeconds() int {
	seconds, _ := strconv.Atoi(os.Getenv("SOAK_SECONDS"))
	return seconds
}

// playNemesis plays a round of some faults. It returns the random number that would
// have been next.
func playNemesis(t *testing.T, seed uint64, faults int) uint64 {
	w := startWorld(t, cdctest.Config{Stores: 3, Seed: seed, QueueBytes: 64 << 10}, silenceMatters, standstillMatters, func(cfg *puller.Config) {
		cfg.TxnMemory, cfg.Spill.Dir = 4<<10, t.TempDir()
	})
	tables := []*cdctest.Table{w.table}
	for _, name := range []string{"orders", "clients"} {
		tables = append(tables, w.CreateTable("shop", name, cdctest.Int("id").PrimaryKey(), cdctest.Text("note")))
	}
	w.start = w.Oracle().Now()
	w.quota = 32 << 10
	rng := rand.New(rand.NewPCG(seed, 3))
	n := &nemesis{script: &script{world: w, rng: rng, tables: tables}, count: map[string]int{}, down: map[uint64]bool{}}
	for range 100 {
		n.step()
	}
	w.run(&moody{rng: rand.New(rand.NewPCG(seed, 4))})
	for range faults {
		for range 5 + rng.IntN(20) {
			n.step()
		}
		n.fault()
		n.breathe(rng.IntN(20))
		n.heal(rng.IntN(3))
	}
	n.heal(0)
	n.finish()
	w.leftRows = true // the index of what went to disk, until some time has passed
	w.verify()
	w.Oracle().Advance(10 * time.Second)
	w.await("the end of what is on disk", func() bool { w.Tick(); return w.pending() == 0 })
	rows, ddls, repeats := w.validator.Counts()
	t.Logf("%d rows, %d DDLs, %d repeats; faults: %v", rows, ddls, repeats, n.count)
	if rows < 100 {
		t.Errorf("%d rows tell nothing", rows)
	}
	return rng.Uint64()
}

// nemesis adds to a script faults that last for a while.
type nemesis struct {
	*script
	cures  []func()
	count  map[string]int
	paused bool            // the feed
	down   map[uint64]bool // stores; 0 is PD
}

// breathe lets the stores tick some times.
func (n *nemesis) breathe(ticks int) {
	n.await("ticks", func() bool {
		ticks--
		return ticks < 0
	})
}

// heal ends faults, the oldest first, until some are left.
func (n *nemesis) heal(left int) {
	for len(n.cures) > left {
		cure := n.cures[0]
		n.cures = n.cures[1:]
		cure()
	}
}

// fault does one thing that must not matter.
func (n *nemesis) fault() {
	regions := n.Regions()
	region := regions[n.rng.IntN(len(regions))]
	store := n.Stores()[n.rng.IntN(3)]
	subs := n.Subscriptions(region.ID)
	faults := []struct {
		name string
		do   func() (cure func())
	}{
		{"restart of the feed", func() func() {
			if cure := n.pause(n.stop, 0); cure != nil {
				cure()
			}
			return nil
		}},
		{"pause of the feed", func() func() { return n.pause(n.stop, n.rng.IntN(100)) }},
		{"kill of the feed", func() func() { return n.pause(n.kill, n.rng.IntN(20)) }},
		{"store outage", func() func() {
			if n.down[store] {
				return nil
			}
			n.down[store] = true
			n.StopStore(store)
			return func() {
				n.must(n.StartStore(store))
				n.down[store] = false
			}
		}},
		{"store at a new address", func() func() {
			if !n.down[store] {
				n.must(n.RestartStoreElsewhere(store))
			}
			return nil
		}},
		{"streams end", func() func() { n.CloseStreams(store); return nil }},
		{"streams stand still", func() func() {
			n.PauseStreams(store)
			return func() { n.ResumeStreams(store) }
		}},
		{"frozen resolved ts", func() func() {
			n.FreezeResolved(region.ID)
			return func() { n.ThawResolved() }
		}},
		{"silence", func() func() {
			n.Silence(region.ID)
			return func() { n.Unsilence() }
		}},
		{"stale PD", func() func() { n.FreezePD(); return n.ThawPD }},
		{"PD pause", func() func() { n.PausePD(); return n.ResumePD }},
		{"PD outage", func() func() {
			if n.down[0] {
				return nil
			}
			n.down[0] = true
			n.StopPD()
			return func() {
				n.must(n.StartPD())
				n.down[0] = false
			}
		}},
		{"no timestamps", func() func() {
			n.Oracle().Fail(true)
			return func() { n.Oracle().Fail(false) }
		}},
		{"slow scans", func() func() { n.HoldScans(); return n.ReleaseScans }},
		{"election", func() func() {
			n.LoseLeader(region.ID)
			return func() { n.elect(store) }
		}},
		{"region moves", func() func() {
			stores := n.Stores()
			n.rng.Shuffle(len(stores), func(i, j int) { stores[i], stores[j] = stores[j], stores[i] })
			n.MoveRegion(region.ID, stores...)
			return nil
		}},
		{"repeated rows", func() func() { n.repeat(subs); return nil }},
		{"refused registrations", func() func() {
			kinds := []*cdcpb.Error{cdctest.Congested(1), cdctest.ServerIsBusy(time.Millisecond), cdctest.EpochNotMatch(), cdctest.NotLeader(1)}
			left := 1 + n.rng.IntN(20)
			n.OnRegister(func(*cdctest.Subscription) *cdcpb.Error {
				if left--; left < 0 {
					return nil
				}
				return kinds[left%len(kinds)]
			})
			return nil
		}},
	}
	f := faults[n.rng.IntN(len(faults))]
	n.count[f.name]++
	n.t.Logf("%s, region %d, store %d", f.name, region.ID, store)
	if cure := f.do(); cure != nil {
		n.cures = append(n.cures, cure)
	}
}

// pause ends the feed in some way, if it runs, for some steps; the cure resumes it.
// That reads the schema, and this goroutine waits for it, so all must be well then.
func (n *nemesis) pause(end func(), steps int) (cure func()) {
	if n.paused {
		return nil
	}
	n.paused = true
	end()
	for range steps {
		n.step()
	}
	return func() {
		n.heal(0)
		n.resume()
		n.paused = false
	}
}

func (n *nemesis) must(err error) {
	if err != nil {
		n.t.Fatal(err)
	}
}

// elect gives every region without a leader one: the region that lost it may have
// been merged or split since.
func (n *nemesis) elect(store uint64) {
	for _, r := range n.Regions() {
		if r.Leader == 0 {
			n.TransferLeader(r.ID, store)
		}
	}
}

// repeat sends what a store may send again: the end of a scan, and the present
// versions, as the scan of a new subscription would.
func (n *nemesis) repeat(subs []*cdctest.Subscription) {
	for _, s := range subs {
		if !s.Initialized() {
			continue
		}
		s.SendRows(&cdcpb.Event_Row{Type: cdcpb.Event_INITIALIZED})
	}
}

// moody is a sink that is slow now and then, and fails now and then.
type moody struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (m *moody) write(ctx context.Context) error {
	m.mu.Lock()
	luck := m.rng.IntN(40)
	m.mu.Unlock()
	switch luck {
	case 0:
		return errRefused
	case 1:
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// WriteRows implements sink.Sink.
func (m *moody) WriteRows(ctx context.Context, _ []*event.RowChanged) error { return m.write(ctx) }

// WriteDDL implements sink.Sink.
func (m *moody) WriteDDL(ctx context.Context, _ *event.DDL) error { return m.write(ctx) }
