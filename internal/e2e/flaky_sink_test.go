package e2e_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// flaky is a sink across a bad network: now and then it is slow, or fails. Whether
// it has written by then nobody can tell, so the changefeed writes again.
type flaky struct {
	failures atomic.Int64

	mu     sync.Mutex
	random *rand.Rand
}

func newFlaky(seed uint64) *flaky { return &flaky{random: rand.New(rand.NewPCG(seed, 1))} }

var errLost = errors.New("connection lost before the answer")

func (f *flaky) write(ctx context.Context) error {
	f.mu.Lock()
	luck := f.random.IntN(100)
	f.mu.Unlock()
	switch {
	case luck < 4:
		f.failures.Add(1)
		return errLost
	case luck < 5:
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// WriteRows implements sink.Sink.
func (f *flaky) WriteRows(ctx context.Context, _ []*event.RowChanged) error { return f.write(ctx) }

// WriteDDL implements sink.Sink.
func (f *flaky) WriteDDL(ctx context.Context, _ *event.DDL) error { return f.write(ctx) }
