package puller

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc/mem"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// keeper is a Receiver that keeps all rows.
type keeper struct {
	deaf
	rows []rawkv.Entry
}

func (k *keeper) Receive(kvs []rawkv.Entry) { k.rows = append(k.rows, kvs...) }

// Rows stay as they are when gRPC, or the next message, uses the buffers again;
// so do prewrites that wait.
func TestRowsOutliveBuffers(t *testing.T) {
	s, r := oneRegion(t, true)
	out := &keeper{}
	r.sub.out = out
	narrow := NarrowRows(t)
	var prewrites, commits, whole []*cdcpb.Event_Row
	for i, row := range narrow {
		row.OldValue = []byte(fmt.Sprint("old ", i))
		if i%2 == 0 {
			whole = append(whole, row)
			continue
		}
		p, c := PrewriteAndCommit(row)
		prewrites, commits = append(prewrites, p), append(commits, c)
	}
	receive := func(rows []*cdcpb.Event_Row) {
		msg := NarrowMessage(rows, false, 1, len(rows))
		msg.Events[0].RegionId, msg.Events[0].RequestId = r.id(), r.sub.id
		wire := wireOf(t, msg)
		var f *frame
		if err := (frameCodec{&s.client.frames}).Unmarshal(inPieces(wire, pieceSize), &f); err != nil {
			t.Fatal(err)
		}
		overwrite := func(b []byte) {
			for i := range b {
				b[i] = 0xff
			}
		}
		if err := s.handle(f); err != nil {
			t.Fatal(err)
		}
		overwrite(wire)
		overwrite(f.scratch[:cap(f.scratch)])
		clear(f.rows[:cap(f.rows)])
		s.client.frames.release(f)
	}
	receive(prewrites)
	receive(whole)
	r.matcher.prewrites.repack()
	receive(commits)
	if len(out.rows) != len(narrow) {
		t.Fatalf("%d rows, want %d; %v", len(out.rows), len(narrow), r.stopErr)
	}
	for i, row := range append(whole, commits...) {
		got := out.rows[i]
		if got.Op != event.OpPut || !bytes.Equal(got.Key(), row.Key) || !bytes.Equal(got.Value(), row.Value) || !bytes.Equal(got.OldValue(), row.OldValue) ||
			got.StartTs != event.Ts(row.StartTs) || got.CommitTs != event.Ts(row.CommitTs) {
			t.Fatalf("row %d is %v, want %v", i, got, row)
		}
		if cap(got.Key()) != len(got.Key()) || cap(got.Value()) != len(got.Value()) {
			t.Fatal("an append to a key or value would overwrite what follows it")
		}
	}
}

// A batch is as large as it need be, whether it is one large event or many small ones.
func TestBatchesAreExact(t *testing.T) {
	for _, perEvent := range []int{1, 3, 130} {
		s, r := oneRegion(t, false)
		out := &sizes{t: t}
		r.sub.out = out
		msg := NarrowMessage(NarrowRows(t), false, 10, perEvent)
		for _, e := range msg.Events {
			e.RegionId, e.RequestId = r.id(), r.sub.id
		}
		if err := s.handle(frameOf(t, msg)); err != nil {
			t.Fatal(err)
		}
		if out.rows != 10*perEvent || out.largest > fullBatch+perEvent {
			t.Errorf("%d rows, at most %d at once; want %d", out.rows, out.largest, 10*perEvent)
		}
	}
}

type sizes struct {
	deaf
	t             *testing.T
	rows, largest int
}

func (s *sizes) Receive(kvs []rawkv.Entry) {
	s.rows += len(kvs)
	s.largest = max(s.largest, len(kvs))
	if cap(kvs) > len(kvs)*3/2+1 {
		s.t.Errorf("%d rows in an array for %d", len(kvs), cap(kvs))
	}
}

// A transaction that takes long does not hold the memory of rows that came with
// its own.
func TestRepack(t *testing.T) {
	s, r := oneRegion(t, true)
	m := &r.matcher
	fs := s.mu.subs[r.sub.id]
	value := strings.Repeat("v", 1000)
	for i := range 200 {
		slow := &cdcpb.Event_Row{Type: cdcpb.Event_PREWRITE, OpType: cdcpb.Event_Row_PUT, StartTs: 10, Key: fmt.Append(nil, "slow", i), Value: []byte(value)}
		rows := []*cdcpb.Event_Row{slow}
		for j := range 20 {
			p := *slow
			p.StartTs, p.Key = 20, fmt.Append(nil, "fast", j)
			rows = append(rows, &p)
		}
		for j := range 20 {
			rows = append(rows, &cdcpb.Event_Row{Type: cdcpb.Event_ROLLBACK, StartTs: 20, Key: fmt.Append(nil, "fast", j)})
		}
		payload, err := (&cdcpb.Event_Entries{Entries: rows}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := decodeRows(nil, payload)
		if err != nil {
			t.Fatal(err)
		}
		s.handleRows(fs, r, decoded, payload, 0)
	}
	bytesBefore := m.bytes
	m.resolve(6, repackAge)
	if m.repackedAt != 0 {
		t.Error("repacked although the transactions may end soon")
	}
	m.resolve(6, repackAge+1)
	if m.repackedAt == 0 || m.bytes != bytesBefore || m.prewrites.n != 200 {
		t.Fatalf("repacked at %s; %d bytes, want %d; %d prewrites", m.repackedAt, m.bytes, bytesBefore, m.prewrites.n)
	}
	for i := range 200 {
		rows, err := m.feed(nil, parseRow(t, fmt.Sprintf("commit slow%d 10 30", i)))
		if err != nil || len(rows) != 1 || string(rows[0].Value()) != value {
			t.Fatalf("commit %d: %v, %v", i, rows, err)
		}
	}
}

// TestArenaIsFull: events of 28,728 bytes, in arrays of 32 KiB.
func TestArenaIsFull(t *testing.T) {
	const events, perEvent, size = 40, 133, 216
	r, payload := wireRow(&cdcpb.Event_Row{Key: make([]byte, 16), Value: make([]byte, size-16)})
	var a arena
	var last *byte
	held := 0
	for range events {
		a.needed = perEvent * r.size()
		for range perEvent {
			var p packed
			a, p = a.pack(&r, payload)
			if len(p.key()) != 16 || len(p.value()) != size-16 || len(p.old()) != 0 {
				t.Fatalf("key of %d bytes, value of %d, old value of %d", len(p.key()), len(p.value()), len(p.old()))
			}
			if first := unsafe.SliceData(a.array); first != last {
				last = first
				held += cap(a.array)
			}
		}
		if a.needed != 0 {
			t.Fatalf("%d bytes are still needed", a.needed)
		}
	}
	if most := events * perEvent * size * 103 / 100; held > most {
		t.Errorf("%d bytes are held for %d", held, events*perEvent*size)
	}
}

// countingPool counts what comes back.
type countingPool struct{ put int }

func (*countingPool) Get(n int) *[]byte { return new(make([]byte, n)) }
func (p *countingPool) Put(*[]byte)     { p.put++ }

func TestFrameCodec(t *testing.T) {
	c := frameCodec{&framePool{}}
	req := &cdcpb.ChangeDataRequest{RegionId: 7}
	data, err := c.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := req.Marshal()
	if !bytes.Equal(data.Materialize(), want) {
		t.Errorf("request is %x, want %x", data.Materialize(), want)
	}
	if _, err := c.Marshal("a string"); err == nil {
		t.Error("encoded what is no request")
	}
	if err := c.Unmarshal(mem.BufferSlice{}, "a string"); err == nil {
		t.Error("received into a string")
	}
	large := &frame{scratch: make([]byte, maxPooledScratch+1)}
	c.frames.release(large)
	if f := c.frames.take(nil); f == large || f.left != 0 {
		t.Error("huge scratch is kept")
	}
	// gRPC's buffers go back when the frame is released, not before.
	pool := &countingPool{}
	buffer := mem.NewBuffer(new(make([]byte, 2000)), pool)
	var f *frame
	if err := c.Unmarshal(mem.BufferSlice{buffer}, &f); err != nil {
		t.Fatal(err)
	}
	buffer.Free() // as gRPC does then
	if pool.put != 0 {
		t.Error("the buffer is free while the frame is in use")
	}
	c.frames.release(f)
	if pool.put != 1 {
		t.Errorf("the buffer has been given back %d times", pool.put)
	}
}
