package sinktest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// checkRows writes inserts, updates and deletes, several of a row in one call.
func checkRows(b *bench) {
	b.write(b.change(1, 2, 3))
	b.verify()
	b.write(slices.Concat(b.change(2), b.change(2, 4), b.change(-1), b.change(2)))
	b.verify()
	b.write(b.change(-2, 3))
	b.write(slices.Concat(b.change(1), b.change(-3), b.change(3), b.change(-3)))
	b.verify()
}

func checkBatchSizes(b *bench) {
	b.write(nil)
	b.write([]*event.RowChanged{})
	b.verify()
	const many = 2000
	ids := make([]int64, many)
	for i := range ids {
		ids[i] = int64(i + 1)
	}
	b.write(b.change(ids...))
	var rows []*event.RowChanged
	for _, id := range ids {
		if id%2 == 1 {
			id = -id
		}
		rows = append(rows, b.change(id)...)
	}
	b.write(rows)
	b.verify()
}

// checkRepeats delivers everything again, cut differently, as after a restart
// from an earlier checkpoint.
func checkRepeats(b *bench) {
	first, second := b.change(1, 2, 3), slices.Concat(b.change(2), b.change(-3))
	b.write(first)
	b.write(first) // the answer to the first attempt was lost
	b.write(second)
	note := b.addNote()
	b.writeDDL(note)
	third := slices.Concat(b.change(3, 4), b.change(-1), b.change(4))
	b.write(third)
	b.verify()

	b.write(slices.Concat(first[:2], first[2:], second))
	b.writeDDL(note)
	for i := range third {
		b.write(third[i : i+1])
	}
	b.write(b.change(4, 5))
	b.verify()
}

// checkNotKept puts garbage over what belongs to the caller again.
func checkNotKept(b *bench) {
	garbage := &event.RowChanged{
		StartTs: 1, CommitTs: 2, Table: &event.TableInfo{Schema: "garbage", Table: "garbage", Columns: b.table.Columns},
		Columns: []event.Value{event.Int64Value(-1), event.TextValue("overwritten after WriteRows returned")},
	}
	for range 3 {
		rows := slices.Concat(b.change(1, 2, 3), b.change(2, -3))
		b.write(rows)
		for i, row := range rows {
			clear(row.Key)
			copy(row.Columns, garbage.Columns)
			copy(row.PreColumns, garbage.Columns)
			*row = *garbage
			rows[i] = garbage
		}
	}
	b.verify()
}

// checkNotChanged: rows that are retried, or have another reader, must stay as they are.
func checkNotChanged(b *bench) {
	rows := slices.Concat(b.change(1, 2), b.change(1, -2))
	order := slices.Clone(rows)
	var before []*event.RowChanged
	for _, row := range rows {
		before = append(before, row.Clone())
	}
	b.write(rows)
	for i, row := range rows {
		was := before[i]
		if row != order[i] || row.CommitTs != was.CommitTs || row.StartTs != was.StartTs || row.Table != was.Table ||
			!slices.Equal(row.Key, was.Key) ||
			!slices.EqualFunc(row.Columns, was.Columns, event.Equal) || !slices.EqualFunc(row.PreColumns, was.PreColumns, event.Equal) {
			b.Fatalf("WriteRows changed row %d of the slice that it was given", i)
		}
	}
}

func checkDDL(b *bench) {
	b.write(b.change(1, 2, 3))
	b.writeDDL(b.addNote())
	b.verify() // a sink may not hold back rows or DDL until the next write
	b.write(b.change(2, 4))
	b.writeDDL(&event.DDL{
		Type: event.DDLModifyTableComment, Schema: "sinktest", Table: b.table, PreTable: b.table,
		Query:   "ALTER TABLE sinktest.item COMMENT = 'x'",
		Changes: []event.TableChange{{Before: b.table, After: b.table}},
	})
	b.write(b.change(-1, 2))
	b.verify()
}

// checkCancelledBefore: a write with a context that is over either is refused
// for now, or is complete.
func checkCancelledBefore(b *bench) {
	b.write(b.change(1))
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	rows := b.change(1, 2)
	err := b.within("WriteRows with a cancelled context", func() error { return b.Sink.WriteRows(ctx, rows) })
	if sink.IsPermanent(err) {
		b.Errorf("the error of a cancelled WriteRows is permanent, so a changefeed could not be resumed: %v", err)
	}
	if err == nil {
		b.acknowledge(rows)
		b.verify()
	}
	b.write(rows) // the sink has to be of use afterwards
	b.verify()
	ddl := b.addNote()
	b.ts += 10
	ddl.StartTs, ddl.CommitTs = b.ts-5, b.ts
	if err := b.within("WriteDDL with a cancelled context", func() error { return b.Sink.WriteDDL(ctx, ddl) }); sink.IsPermanent(err) {
		b.Errorf("the error of a cancelled WriteDDL is permanent, so a changefeed could not be resumed: %v", err)
	}
	b.writeDDL(ddl)
	b.write(b.change(2, 3))
	b.verify()
}

func checkCancelledWhileBlocked(b *bench) {
	if b.Block == nil {
		b.Skip("Subject.Block is not set")
	}
	b.write(b.change(1))
	unblock := sync.OnceFunc(b.Block())
	defer unblock()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	rows := b.change(1, 2)
	result := make(chan error, 1)
	go func() { result <- b.Sink.WriteRows(ctx, rows) }()
	cancel()
	err := b.within("WriteRows, blocked and cancelled,", func() error { return <-result })
	switch {
	case err == nil:
		b.Error("WriteRows acknowledged rows though what it writes to did not answer")
	case sink.IsPermanent(err):
		b.Errorf("the error of a cancelled WriteRows is permanent, so a changefeed could not be resumed: %v", err)
	}
	unblock()
	b.write(rows)
	b.verify()
}

var errBlind = errors.New("WriteRows acknowledged rows that could not be written")

func checkBroken(b *bench) {
	if b.Break == nil {
		b.Skip("Subject.Break is not set")
	}
	b.write(b.change(1))
	mend := sync.OnceFunc(b.Break())
	defer mend()
	rows := b.change(1, 2)
	for range 2 { // the changefeed retries
		err := b.within("WriteRows", func() error { return b.Sink.WriteRows(b.Context(), rows) })
		switch {
		case err == nil:
			b.Fatal(errBlind)
		case sink.IsPermanent(err):
			b.Errorf("the error is permanent, so the changefeed would not retry: %v", err)
		}
	}
	mend()
	b.write(rows)
	b.verify()
}

func checkRefused(b *bench) {
	if b.Refuse == nil {
		b.Skip("Subject.Refuse is not set")
	}
	b.write(b.change(1))
	accept := sync.OnceFunc(b.Refuse())
	defer accept()
	rows := b.change(1, 2)
	err := b.within("WriteRows", func() error { return b.Sink.WriteRows(b.Context(), rows) })
	switch {
	case err == nil:
		b.Fatal(errBlind)
	case !sink.IsPermanent(err):
		b.Errorf("the error is not permanent, so the changefeed would retry in vain: %v", err)
	}
	accept()
	b.write(rows) // as after a restart of the changefeed
	b.verify()
}

func checkCheckpoints(b *bench) {
	w, ok := b.Sink.(sink.CheckpointWriter)
	if !ok {
		b.Skip("the sink is no sink.CheckpointWriter")
	}
	write := func(ts event.Ts) {
		b.Helper()
		if err := b.within("WriteCheckpoint", func() error { return w.WriteCheckpoint(b.Context(), ts) }); err != nil {
			b.Fatalf("WriteCheckpoint(%d): %v", ts, err)
		}
	}
	holds := func(want event.Ts) {
		b.Helper()
		if b.Checkpoint == nil {
			return
		}
		if got, err := b.Checkpoint(); err != nil || got != want {
			b.Errorf("the sink holds checkpoint %d, %v, want %d", got, err, want)
		}
	}
	write(b.ts) // before the first row
	for range 3 {
		b.write(b.change(1, 2))
		write(b.ts)
		holds(b.ts)
	}
	write(b.ts) // the same again is no step back
	holds(b.ts)
	// A changefeed that was restarted begins below what it last wrote.
	top := b.ts
	write(top - 15)
	write(top)
	holds(top)
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	err := b.within("WriteCheckpoint with a cancelled context", func() error { return w.WriteCheckpoint(ctx, top+10) })
	if sink.IsPermanent(err) {
		b.Errorf("the error of a cancelled WriteCheckpoint is permanent, so a changefeed could not be resumed: %v", err)
	}
	b.verify()
}

// checkConcurrent writes from several goroutines, which the race detector sees.
func checkConcurrent(b *bench) {
	if !b.Concurrent {
		b.Skip("Subject.Concurrent is not set")
	}
	const spans, batches = 8, 20
	var work [spans][][]*event.RowChanged
	for range batches {
		for span := range work {
			id := int64(span*1000 + 1)
			work[span] = append(work[span], slices.Concat(b.change(id, id+1), b.change(id)))
		}
	}
	var all sync.WaitGroup
	var errs [spans]error
	start := make(chan struct{}) // of all at once: the first may else be done before the last begins
	for span := range work {
		all.Go(func() {
			<-start
			for _, rows := range work[span] {
				if errs[span] = b.Sink.WriteRows(b.Context(), rows); errs[span] != nil {
					return
				}
			}
		})
	}
	close(start)
	_ = b.within("WriteRows from several goroutines", func() error { all.Wait(); return nil })
	if err := errors.Join(errs[:]...); err != nil {
		b.Fatal(err)
	}
	for _, batch := range work {
		for _, rows := range batch {
			b.acknowledge(rows)
		}
	}
	b.verify()
}
