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

// flaky makes a recorder behave like a sink across a bad network: now and then
// it is slow, fails before it has written, or writes and then fails, so that the
// changefeed writes again what is there already.
type flaky struct {
	*recorder
	failures atomic.Int64

	mu     sync.Mutex
	random *rand.Rand
}

func newFlaky(r *recorder, seed uint64) *flaky {
	return &flaky{recorder: r, random: rand.New(rand.NewPCG(seed, 1))}
}

var (
	errBefore = errors.New("connection refused")
	errAfter  = errors.New("connection lost before the answer")
)

func (f *flaky) do(ctx context.Context, write func() error) error {
	f.mu.Lock()
	luck := f.random.IntN(100)
	f.mu.Unlock()
	switch {
	case luck < 2:
		f.failures.Add(1)
		return errBefore
	case luck < 4:
		f.failures.Add(1)
		return errors.Join(write(), errAfter)
	case luck < 5:
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
	return write()
}

// WriteRows implements sink.Sink.
func (f *flaky) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	return f.do(ctx, func() error { return f.recorder.WriteRows(ctx, rows) })
}

// WriteDDL implements sink.Sink.
func (f *flaky) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	return f.do(ctx, func() error { return f.recorder.WriteDDL(ctx, ddl) })
}
