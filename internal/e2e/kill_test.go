package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// TestKilledConsumer kills the process that runs a changefeed, again and again
// and at any moment, while a random workload goes on. A new one goes on from the
// checkpoint on disk; what all of them have delivered is held against TiDB.
func TestKilledConsumer(t *testing.T) {
	ctx := testContext(t, 3*workloadTime()+5*time.Minute)
	seed := seed(t)
	random := rand.New(rand.NewPCG(seed, 2))
	up := dial(t)
	start := now(ctx, t, up)
	w := startWorkload(ctx, t, "killed", seed)

	c := consumerConfig{ID: "killed", PD: cluster.PD, Dir: t.TempDir(), Rule: "killed.*", StartTs: start}
	checkpoints, err := cdc.NewDirCheckpoints(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	sink := newFlaky(seed)
	v := validated(t, sink, cdctest.ValidatorConfig{StartTs: start, Concurrent: true})
	var snapshots []event.Ts
	kills := 0
	for began := time.Now(); time.Since(began) < 3*workloadTime(); kills++ {
		p := startConsumer(ctx, t, c, v)
		p.killLater(ctx, t, v, random)
		v.Resume(checkpoint(ctx, t, checkpoints, c.ID, start))
		if len(snapshots) < 3 {
			snapshots = append(snapshots, w.between(func() event.Ts { return now(ctx, t, up) }))
		}
	}
	w.stop()
	c.TargetTs = now(ctx, t, up)
	if err := <-startConsumer(ctx, t, c, v).done; err != nil {
		t.Fatal(err)
	}
	v.Resume(c.TargetTs) // nothing up to it may be left
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) != 1 {
		t.Errorf("left in the directory beside the checkpoint: %v, %v", left, err)
	}
	t.Logf("%d kills, %d failed writes", kills, sink.failures.Load())
	w.compare(ctx, t, v, append(snapshots, c.TargetTs))
}

// killLater ends the process at a random moment: mostly when it has got somewhere,
// now and then while it starts. Before that it may be stopped for a while.
func (p *consumer) killLater(ctx context.Context, t *testing.T, v *cdctest.Validator, random *rand.Rand) {
	t.Helper()
	wait := func(d time.Duration) {
		select {
		case err := <-p.done:
			p.done <- err
			t.Fatalf("the consumer ended by itself: %v", err)
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		case <-time.After(d):
		}
	}
	if random.IntN(4) > 0 {
		before := v.Checkpoint()
		for v.Checkpoint() <= before {
			wait(time.Millisecond)
		}
	}
	wait(time.Duration(random.IntN(1500)) * time.Millisecond)
	if random.IntN(4) == 0 {
		_ = p.cmd.Process.Signal(syscall.SIGSTOP)
		wait(time.Duration(random.IntN(500)) * time.Millisecond)
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		wait(time.Duration(random.IntN(200)) * time.Millisecond)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(fmt.Errorf("kill the consumer: %w", err))
	}
	if err := <-p.done; err == nil {
		t.Log("the consumer ended before it was killed")
	}
}
