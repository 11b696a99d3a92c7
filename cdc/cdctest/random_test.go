package cdctest_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
)

// randomSeed returns SEED, or a new one, and prints it.
func randomSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED=%q: want a number", s)
		}
	}
	t.Logf("SEED=%d repeats this script", seed)
	return seed
}

// TestRandom plays transactions and trouble in a random order, with rows
// reordered as the protocol allows.
func TestRandom(t *testing.T) {
	seed := randomSeed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, cdctest.Config{Stores: 3, Seed: seed, QueueBytes: 64 << 10})
	other := w.CreateTable("shop", "orders", cdctest.Int("id").PrimaryKey(), cdctest.Text("note"))
	w.start = w.Oracle().Now()
	w.quota = 32 << 10 // so that much goes through the disk
	script := &script{world: w, rng: rng, tables: []*cdctest.Table{w.table, other}}
	for range 100 {
		script.step()
	}
	w.run(nil)
	for range 400 {
		script.step()
	}
	script.finish()
	w.verify()
}

// script is a random course of events.
type script struct {
	*world
	rng    *rand.Rand
	tables []*cdctest.Table
	open   []*cdctest.Txn
	busy   [][]byte // keys of open transactions
	calm   bool     // no trouble that the client answers with a long pause
}

func (s *script) step() {
	table := s.tables[s.rng.IntN(len(s.tables))]
	regions := s.Regions()
	region := regions[s.rng.IntN(len(regions))]
	switch n := s.rng.IntN(100); {
	case n < 50:
		s.write(table)
	case n < 65:
		s.end()
	case n < 70:
		if key := table.Key(s.rng.Int64N(50)); !slices.Equal(s.RegionAt(key).Start, key) {
			s.Split(key)
		}
	case n < 74 && len(regions) > 1:
		i := s.rng.IntN(len(regions) - 1)
		s.Merge(regions[i].ID, regions[i+1].ID)
	case n < 80:
		s.TransferLeader(region.ID, s.Stores()[s.rng.IntN(3)])
	case n < 84 && !s.calm:
		s.BreakStreams(s.Stores()[s.rng.IntN(3)])
	case n < 90:
		// One for all: how many there are at the moment is not the seed's to say.
		failure := []*cdcpb.Error{
			cdctest.Congested(region.ID), cdctest.ServerIsBusy(0), cdctest.RegionNotFound(region.ID), cdctest.NotLeader(region.ID),
		}[s.rng.IntN(4)]
		for _, sub := range s.Subscriptions(region.ID) {
			sub.Fail(failure)
		}
	case n < 92:
		table.AddColumn(cdctest.Text("extra" + strconv.Itoa(s.rng.Int())))
		table.DropColumn(table.Info().Columns[len(table.Info().Columns)-1].Name)
	default:
		s.Tick()
	}
}

// write begins a transaction of some rows, and often leaves it open.
func (s *script) write(table *cdctest.Table) {
	txn := s.Begin()
	txn.TTL = time.Hour
	for range 1 + s.rng.IntN(5) {
		id := s.rng.Int64N(50)
		if key := table.Key(id); slices.ContainsFunc(s.busy, func(b []byte) bool { return slices.Equal(b, key) }) {
			continue
		}
		if s.rng.IntN(4) == 0 {
			txn.DeleteRow(table, id)
		} else {
			txn.Update(table, id, strings.Repeat(string('a'+rune(s.rng.IntN(26))), 1+s.rng.IntN(400)))
		}
		s.busy = append(s.busy, table.Key(id))
	}
	if txn.Empty() {
		return
	}
	txn.Prewrite()
	s.open = append(s.open, txn)
	if s.rng.IntN(3) > 0 {
		s.end()
	}
}

// end commits an open transaction, or rolls it back.
func (s *script) end() {
	if len(s.open) == 0 {
		return
	}
	i := s.rng.IntN(len(s.open))
	txn := s.open[i]
	s.open = slices.Delete(s.open, i, i+1)
	if s.rng.IntN(5) == 0 {
		txn.Rollback()
	} else {
		txn.Commit()
	}
	s.busy = slices.DeleteFunc(s.busy, func(b []byte) bool { return txn.Writes(b) })
}

func (s *script) finish() {
	for len(s.open) > 0 {
		s.end()
	}
}
