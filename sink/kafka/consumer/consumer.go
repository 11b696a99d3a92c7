package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// Consumer reads topics. It may run several times, one after the other.
type Consumer struct {
	cfg Config

	rows, ddls, repeats, resolved atomic.Uint64
}

// Status is how far a Consumer has come.
type Status struct {
	// Rows and DDLs are what has been delivered, Repeats what was dropped because it had
	// come before.
	Rows, DDLs, Repeats uint64
	// ResolvedTs is the least watermark of all partitions: what is at or below it has been
	// delivered. It is 0 without watermarks.
	ResolvedTs event.Ts
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Consumer, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	return &Consumer{cfg: cfg}, nil
}

// Status returns how far the Consumer has come. It may be called at any time.
func (c *Consumer) Status() Status {
	return Status{
		Rows: c.rows.Load(), DDLs: c.ddls.Load(), Repeats: c.repeats.Load(), ResolvedTs: event.Ts(c.resolved.Load()),
	}
}

// errDone ends a Run that has reached its end.
var errDone = errors.New("done")

// Run delivers to a sink until ctx ends, and returns the cause; or until TargetTs or
// UntilEnd is met, and returns nil; or until something fails for good. A sink's errors
// are tried again with the same rows, unless they are permanent.
func (c *Consumer) Run(ctx context.Context, to sink.Sink) error {
	k := newClient(&c.cfg)
	defer k.transport.CloseIdleConnections()
	descriptions := &descriptions{known: map[name]*event.TableInfo{}}
	readers, err := k.readers(ctx, &c.cfg, descriptions)
	if err != nil {
		return err
	}
	if !c.cfg.Watermarks && len(readers) > 1 {
		c.cfg.Logger.Warn("the protocol has no watermarks: changes of different partitions are delivered in any order", "partitions", len(readers))
	}
	r := &run{
		Consumer: c, to: to, tables: newTables(&c.cfg), descriptions: descriptions, readers: readers,
		reading: make([]bool, len(readers)), ended: make([]bool, len(readers)),
		buffer: buffer{partitions: make([]partitionBuffer, len(readers)), max: c.cfg.MaxBufferedBytes},
		seen:   map[ddlID]bool{},
	}
	g, running := errgroup.WithContext(ctx)
	batches := make(chan batch)
	for i, reader := range readers {
		r.buffer.partitions[i].name = fmt.Sprintf("partition %d of topic %s", reader.id, reader.topic)
		g.Go(func() error { return reader.run(running, i, batches) })
	}
	g.Go(func() error { return r.loop(running, batches) })
	switch err := g.Wait(); {
	case errors.Is(err, errDone):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return err
	}
}

// run is one Run of a Consumer. It belongs to one goroutine.
type run struct {
	*Consumer
	to     sink.Sink
	tables *tables
	// descriptions are what the decoders ask for in the loop, if Config.Describe is used.
	descriptions *descriptions
	readers      []*reader
	// reading are the partitions with a grant, ended those that have been read to what was
	// their end.
	reading, ended []bool
	buffer         buffer
	delivered      event.Ts
	calls          event.Ts // of WriteRows without watermarks
	// seen are DDLs that were delivered without watermarks.
	seen map[ddlID]bool
}

func (r *run) loop(ctx context.Context, batches <-chan batch) error {
	for {
		for i := range r.readers {
			if !r.reading[i] && r.buffer.wants(i) {
				r.readers[i].grants <- struct{}{}
				r.reading[i] = true
			}
		}
		select {
		case b := <-batches:
			r.reading[b.partition] = false
			if err := r.take(ctx, &b); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take delivers what a batch makes due.
func (r *run) take(ctx context.Context, b *batch) error {
	if r.cfg.Watermarks {
		if err := r.buffer.add(b.partition, b.events, b.bytes); err != nil {
			return err
		}
		r.repeats.Add(r.buffer.repeats)
		r.buffer.repeats = 0
		if err := r.advance(ctx); err != nil {
			return err
		}
	} else if err := r.pass(ctx, b); err != nil {
		return err
	}
	r.ended[b.partition] = r.ended[b.partition] || b.atEnd
	if !r.cfg.UntilEnd {
		return nil
	}
	for _, ended := range r.ended {
		if !ended {
			return nil
		}
	}
	return errDone
}

// advance delivers what the watermarks have passed.
func (r *run) advance(ctx context.Context) error {
	until := r.buffer.resolved
	if r.cfg.TargetTs != 0 {
		until = min(until, r.cfg.TargetTs)
	}
	if until <= r.delivered {
		return nil
	}
	rows, ddls := r.buffer.take(until)
	for _, ddl := range ddls {
		n := 0
		for n < len(rows) && rows[n].CommitTs <= ddl.CommitTs {
			n++
		}
		if err := r.writeRows(ctx, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
		if err := r.writeDDL(ctx, ddl); err != nil {
			return err
		}
	}
	if err := r.writeRows(ctx, rows); err != nil {
		return err
	}
	if w, ok := r.to.(sink.CheckpointWriter); ok {
		if err := r.write(ctx, func() error { return w.WriteCheckpoint(ctx, until) }); err != nil {
			return fmt.Errorf("write checkpoint %d: %w", until, err)
		}
	}
	r.delivered = until
	r.resolved.Store(uint64(until))
	if r.cfg.TargetTs != 0 && until >= r.cfg.TargetTs {
		return errDone
	}
	return nil
}

// pass delivers a batch as it is.
func (r *run) pass(ctx context.Context, b *batch) error {
	rows, err := r.passEvents(ctx, nil, b.events)
	for i := 0; i < len(b.records) && err == nil; i++ {
		reader := r.readers[b.partition]
		var events []codec.Event
		if events, err = reader.events(ctx, &b.records[i]); err != nil {
			return fmt.Errorf("read partition %d of topic %s: %w", reader.id, reader.topic, err)
		}
		rows, err = r.passEvents(ctx, rows, events)
	}
	if err != nil {
		return err
	}
	return r.writeRows(ctx, rows)
}

// passEvents delivers events but for the rows behind the last DDL, which it appends to
// those that wait.
func (r *run) passEvents(ctx context.Context, rows []*event.RowChanged, events []codec.Event) ([]*event.RowChanged, error) {
	for i := range events {
		switch e := &events[i]; {
		case e.Row != nil:
			rows = append(rows, e.Row)
		case e.DDL != nil:
			if err := r.writeRows(ctx, rows); err != nil {
				return nil, err
			}
			rows = nil
			if err := r.writeDDLOnce(ctx, e.DDL); err != nil {
				return nil, err
			}
		}
	}
	return rows, nil
}

// writeDDLOnce drops what another partition has had.
func (r *run) writeDDLOnce(ctx context.Context, ddl *event.DDL) error {
	id := idOf(ddl)
	if r.seen[id] {
		r.repeats.Add(1)
		return nil
	}
	const maxSeen = 1 << 16
	if len(r.seen) >= maxSeen {
		clear(r.seen)
	}
	r.seen[id] = true
	return r.writeDDL(ctx, ddl)
}

func (r *run) writeDDL(ctx context.Context, ddl *event.DDL) error {
	whole := r.tables.complete(ddl)
	if err := r.write(ctx, func() error { return r.to.WriteDDL(ctx, whole) }); err != nil {
		return fmt.Errorf("write DDL with commit ts %d: %w", ddl.CommitTs, err)
	}
	r.tables.forget()
	r.descriptions.forget()
	r.ddls.Add(1)
	return nil
}

// write repeats what a sink refuses, as a changefeed does.
func (r *run) write(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(r.cfg.RetryTimeout)
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		err := do()
		if err == nil || sink.IsPermanent(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		r.cfg.Logger.Warn("writing failed and is tried again", "error", err)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}
