package cdc_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
)

// has reports whether exactly these captures have tables, n together.
func (c *captures) has(n int, ids ...string) bool {
	got, sum := c.tables(), 0
	for id, tables := range got {
		if tables > 0 && !slices.Contains(ids, id) {
			return false
		}
		sum += tables
	}
	for _, id := range ids {
		if got[id] == 0 {
			return false
		}
	}
	return sum == n
}

// Captures that leave properly hand over exactly what they have reached.
func TestCapturesLeaveAndJoin(t *testing.T) {
	c := newCaptures(t, 2)
	tables := c.createTables(6)
	c.create(c.watch())
	stop := c.load(tables)
	c.await("both have tables", func() bool { return c.has(6, "c1", "c2") })
	owner := c.owner()
	c.join()
	c.await("the third has tables", func() bool { return c.has(6, "c1", "c2", "c3") })
	c.leave(owner)
	next := c.owner(owner)
	c.await("the others have the owner's tables", func() bool { return c.has(6, c.nodes[0].id, c.nodes[1].id) })
	for _, n := range c.nodes {
		if n != next {
			c.leave(n)
		}
	}
	c.await("the last has all", func() bool { return c.has(6, next.id) })
	stop()
	c.settled()
	if c.target.repeated > 0 {
		t.Errorf("%d changes repeated although nothing failed", c.target.repeated)
	}
	// All go, and one comes back: everything is still known.
	c.leave(next)
	tables[0].Insert(1_000_000, "while nobody was there")
	c.join()
	c.settled()
}

// A capture whose lease cannot be renewed gives up its writes before others begin
// theirs, and comes back.
func TestCaptureLosesItsLease(t *testing.T) {
	for _, who := range []string{"owner", "other"} {
		t.Run(who, func(t *testing.T) {
			c := newCaptures(t, 3)
			tables := c.createTables(6)
			c.create(c.watch())
			stop := c.load(tables)
			c.await("all have tables", func() bool { return c.has(6, "c1", "c2", "c3") })
			victim := c.owner()
			if who == "other" {
				victim = c.nodes[slices.IndexFunc(c.nodes, func(n *clusterNode) bool { return n != victim })]
			}
			// Its writes stand still, so that only the lease's end ends them.
			block := make(chan struct{})
			c.target.block.Store(&block)
			var table int64
			c.await("it is at a write", func() bool { table = c.target.writtenBy(victim.id); return table != 0 })
			victim.proxy.Cut()
			var others []string
			for _, n := range c.nodes {
				if n != victim {
					others = append(others, n.id)
				}
			}
			c.await("the others have its tables", func() bool { return c.has(6, others...) })
			c.await("another one is at a write of the same table", func() bool {
				writer := c.target.writer(table)
				return writer != "" && writer != victim.id
			})
			if victim.Health(t.Context()) == nil {
				t.Error("the capture believes that it is well")
			}
			c.target.block.Store(nil)
			close(block)
			c.await("work goes on", func() bool { return c.info().CheckpointTs > 0 })
			c.settledAfter(func() {})
			victim.proxy.Mend()
			c.await("it takes part again", func() bool { return c.has(6, "c1", "c2", "c3") })
			stop()
			c.settled()
		})
	}
}

// settledAfter waits until what is committed when fn has returned has arrived.
func (c *captures) settledAfter(fn func()) {
	c.t.Helper()
	fn()
	now := c.upstream.Oracle().Now()
	c.await("the checkpoint advances", func() bool { return c.info().CheckpointTs >= now })
}

// While etcd is away, work goes on for as long as leases hold.
func TestEtcdIsAway(t *testing.T) {
	c := newCaptures(t, 2)
	tables := c.createTables(4)
	c.create(c.watch())
	stop := c.load(tables)
	c.await("both have tables", func() bool { return c.has(4, "c1", "c2") })
	c.settledAfter(func() {})

	if err := c.etcd.Kill(); err != nil {
		t.Fatal(err)
	}
	ts := tables[0].Insert(1_000_000, "while etcd is away")
	c.await("a change arrives without etcd", func() bool { return !c.target.lacks(tables[0].ID(), ts) })
	if err := c.etcd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.settledAfter(func() {})

	// Now for longer than leases last.
	if err := c.etcd.Kill(); err != nil {
		t.Fatal(err)
	}
	c.await("the captures give up", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *clusterNode) bool { return n.Health(t.Context()) == nil })
	})
	idle := time.After(time.Second) // for writes that were under way
	c.await("a while has passed", func() bool {
		select {
		case <-idle:
			return true
		default:
			return false
		}
	})
	ts = tables[0].Insert(1_000_001, "while nobody may write")
	if err := c.etcd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.await("both have tables again", func() bool { return c.has(4, "c1", "c2") })
	c.await("what was committed meanwhile arrives", func() bool { return !c.target.lacks(tables[0].ID(), ts) })
	stop()
	c.settled()
}

// The owner dies while it executes a DDL: its successor executes it, and rows keep
// their side of it.
func TestOwnerIsLostDuringADDL(t *testing.T) {
	c := newCaptures(t, 3)
	tables := c.createTables(6)
	c.create(c.watch())
	stop := c.load(tables[1:])
	c.await("all have tables", func() bool { return c.has(6, "c1", "c2", "c3") })
	c.settledAfter(func() {})
	tables[0].Insert(1, "before")
	victim := c.owner()
	block := make(chan struct{})
	c.target.blockDDL.Store(&block)
	ddl := tables[0].AddColumn(cdctest.Text("extra"))
	tables[0].Insert(2, "after", "x")
	c.await("the DDL is being executed", func() bool { return c.target.executing(ddl) == victim.id })
	victim.proxy.Cut()
	next := c.owner(victim)
	c.await("the next owner executes it", func() bool { return c.target.executing(ddl) == next.id })
	c.target.blockDDL.Store(nil)
	close(block)
	stop()
	c.settled()
	victim.proxy.Mend()
	c.await("the lost one takes part again", func() bool { return c.has(6, "c1", "c2", "c3") })
	c.settled()
}

// An owner that dies between storing that a changefeed is paused and pausing it
// leaves that to its successor.
func TestOwnerIsLostDuringAPause(t *testing.T) {
	c := newCaptures(t, 3)
	tables := c.createTables(6)
	c.create(c.watch())
	stop := c.load(tables)
	defer stop()
	c.await("all have tables", func() bool { return c.has(6, "c1", "c2", "c3") })
	victim := c.owner()
	victim.proxy.Cut()
	const key = "/tidbcdc/default/changefeeds/feed/spec"
	resp, err := c.client.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	paused := strings.Replace(string(resp.Kvs[0].Value), `"state":"normal"`, `"state":"stopped"`, 1)
	if _, err := c.client.Put(t.Context(), key, paused); err != nil {
		t.Fatal(err)
	}
	next := c.owner(victim)
	c.await("the changefeed stands still", func() bool {
		resp, err := c.client.Get(t.Context(), "/tidbcdc/default/changefeeds/feed/task")
		return err == nil && len(resp.Kvs) == 0
	})
	info, err := next.Changefeed(t.Context(), "feed")
	if err != nil || info.State != cdc.StateStopped {
		t.Errorf("state %s, %v", info.State, err)
	}
	victim.proxy.Mend()
	if err := next.ResumeChangefeed(t.Context(), "feed"); err != nil {
		t.Fatal(err)
	}
	c.settledAfter(func() {})
}

func TestRequestsToTheOwner(t *testing.T) {
	c := newCaptures(t, 3)
	tables := c.createTables(9)
	c.create(c.watch())
	stop := c.load(tables)
	defer stop()
	c.await("all have tables", func() bool { return c.has(9, "c1", "c2", "c3") })
	ctx, owner := t.Context(), c.owner()
	var other *clusterNode
	for _, n := range c.nodes {
		if n != owner {
			other = n
		}
	}
	if _, err := other.Changefeeds(ctx); !errors.Is(err, cdc.ErrNotOwner) {
		t.Errorf("a capture that is not the owner lists changefeeds: %v", err)
	}
	if o, err := other.Owner(ctx); err != nil || o.ID != owner.id || o.Address != owner.id+":8300" {
		t.Errorf("it takes %+v for the owner: %v", o, err)
	}
	for _, n := range []*clusterNode{owner, other} {
		if got, err := n.Captures(ctx); err != nil || len(got) != 3 {
			t.Errorf("captures %+v, %v", got, err)
		}
	}

	table := tables[4].ID()
	holds := func(id string) bool {
		p, err := c.owner().Processor(ctx, "feed", id)
		return err == nil && slices.Contains(p.TableIDs, table)
	}
	target := c.nodes[slices.IndexFunc(c.nodes, func(n *clusterNode) bool { return !holds(n.id) })].id
	if err := owner.MoveTable(ctx, "feed", table, target); err != nil {
		t.Fatal(err)
	}
	c.await("the table is moved", func() bool { return holds(target) })
	if err := owner.RebalanceTables(ctx, "feed"); err != nil {
		t.Fatal(err)
	}
	c.await("tables are even again", func() bool {
		got := c.tables()
		return got["c1"] == 3 && got["c2"] == 3 && got["c3"] == 3
	})

	if _, err := owner.DrainCapture(ctx, owner.id); !errors.Is(err, cdc.ErrScheduling) {
		t.Errorf("drain of the owner: %v", err)
	}
	if _, err := owner.DrainCapture(ctx, "nobody"); !errors.Is(err, cdc.ErrCaptureNotFound) {
		t.Errorf("drain of nobody: %v", err)
	}
	c.await("the capture is drained", func() bool {
		n, err := c.owner().DrainCapture(ctx, other.id)
		return err == nil && n == 0
	})
	if got := other.Node().Liveness; got != cdc.Stopping {
		t.Errorf("liveness of a drained capture is %v", got)
	}
	if err := owner.ResignOwner(ctx); err != nil {
		t.Fatal(err)
	}
	c.owner(owner)
	c.await("the drained capture stays empty", func() bool { return c.has(9, c.others(other)...) })
	c.settledAfter(func() {})
	if c.target.repeated > 0 {
		t.Errorf("%d changes repeated although nothing failed", c.target.repeated)
	}
}

func (c *captures) others(not *clusterNode) (ids []string) {
	for _, n := range c.nodes {
		if n != not {
			ids = append(ids, n.id)
		}
	}
	return ids
}

func TestClusterChangefeedStates(t *testing.T) {
	c := newCaptures(t, 2)
	tables := c.createTables(4)
	start := c.watch()
	c.create(start)
	ctx := t.Context()
	c.await("both have tables", func() bool { return c.has(4, "c1", "c2") })
	tables[0].Insert(1, "x")
	c.settledAfter(func() {})
	if err := c.owner().PauseChangefeed(ctx, "feed"); err != nil {
		t.Fatal(err)
	}
	c.await("it is paused", func() bool { return c.info().State == cdc.StateStopped && len(c.info().Tasks) == 0 })
	ts := tables[0].Insert(2, "while it is paused")
	if err := c.owner().ResumeChangefeed(ctx, "feed"); err != nil {
		t.Fatal(err)
	}
	c.settled()
	if c.target.lacks(tables[0].ID(), ts) || c.target.repeated > 0 {
		t.Errorf("%d changes repeated by a pause", c.target.repeated)
	}

	// The owner knows of a write that another capture tries again.
	broken := errors.New("broken")
	owner := c.owner()
	other := map[string]string{"c1": "c2", "c2": "c1"}[owner.id]
	part, err := owner.Processor(ctx, "feed", other)
	if err != nil {
		t.Fatal(err)
	}
	c.target.fail.Store(&broken)
	for _, table := range tables {
		if slices.Contains(part.TableIDs, table.ID()) {
			table.Insert(4, "again")
		}
	}
	c.await("it is warned of", func() bool { return c.info().State == cdc.StateWarning })
	if e := c.info().Error; e == nil || e.Addr != other+":8300" || e.Code != "test WriteRows" || !strings.Contains(e.Message, "broken") {
		t.Errorf("error %+v, want one of %s", e, other)
	}
	if part, err = owner.Processor(ctx, "feed", other); err != nil || part.Error == nil {
		t.Errorf("processor %+v, %v; want its error", part, err)
	}
	c.target.fail.Store(nil)
	c.await("all is well again", func() bool { return c.info().State == cdc.StateNormal && c.info().Error == nil })

	// An error on any capture is the changefeed's.
	c.target.fail.Store(&broken)
	for _, table := range tables {
		table.Insert(3, "z")
	}
	c.await("it has failed for now", func() bool { return c.info().State == cdc.StatePending })
	if e := c.info().Error; e == nil || e.Message == "" || e.Addr == "" || e.Code != "test WriteRows" || time.Since(e.Time) > time.Minute {
		t.Errorf("error %+v", e)
	}
	c.target.fail.Store(nil)
	if err := c.owner().PauseChangefeed(ctx, "feed"); err != nil { // rather than wait
		t.Fatal(err)
	}
	if err := c.owner().ResumeChangefeed(ctx, "feed"); err != nil {
		t.Fatal(err)
	}
	c.settled()
	if err := c.owner().RemoveChangefeed(ctx, "feed"); err != nil {
		t.Fatal(err)
	}
	if feeds, err := c.owner().Changefeeds(ctx); err != nil || len(feeds) != 0 {
		t.Errorf("changefeeds after removal: %v, %v", feeds, err)
	}

	// One with an end.
	target := c.upstream.Oracle().Now()
	c.watchFrom(start)
	c.create(start, func(s *cdc.Spec) { s.TargetTs = target })
	c.await("it is finished", func() bool { return c.info().State == cdc.StateFinished })
	if got := c.info().CheckpointTs; got != target {
		t.Errorf("finished at %d, want %d", got, target)
	}
	for _, line := range c.upstream.State(target).Diff(c.target.State(target)) {
		t.Error(line)
	}
}

// TestRandomCluster lets captures come, go, and lose their leases, while rows and
// DDLs are written.
func TestRandomCluster(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := newCaptures(t, 3)
	tables := c.createTables(12)
	c.create(c.watch())
	stop := c.load(tables[6:])
	cut := map[*clusterNode]bool{}
	for range 25 {
		switch n := c.nodes[rng.IntN(len(c.nodes))]; rng.IntN(8) {
		case 0:
			if len(c.nodes) > 1 && len(cut) == 0 {
				c.leave(n)
			}
		case 1:
			if len(c.nodes) < 4 {
				c.join()
			}
		case 2:
			if len(cut) < 1 {
				n.proxy.Cut()
				cut[n] = true
			}
		case 3:
			for n := range cut {
				n.proxy.Mend()
				delete(cut, n)
			}
		case 4:
			_ = n.ResignOwner(t.Context()) // or not the owner
		case 5:
			_ = n.MoveTable(t.Context(), "feed", tables[rng.IntN(12)].ID(), n.id)
		default:
			c.change(tables[rng.IntN(6)], rng)
		}
		pause := time.After(time.Duration(rng.IntN(400)) * time.Millisecond)
		<-pause
	}
	for n := range cut {
		n.proxy.Mend()
	}
	stop()
	c.settled()
	t.Logf("%d changes repeated", c.target.repeated)
}

func (c *captures) change(table *cdctest.Table, rng *rand.Rand) {
	columns := make([]any, len(table.Info().Columns))
	columns[0] = rng.IntN(1 << 30)
	for i := range columns[1:] {
		columns[i+1] = "v"
	}
	table.Insert(columns...)
	switch rng.IntN(3) {
	case 0:
		table.Truncate()
	case 1:
		table.AddColumn(cdctest.Text("c" + time.Now().Format("150405000000")))
	}
}
