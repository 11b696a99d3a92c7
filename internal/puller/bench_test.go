package puller

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/tikv/client-go/v2/tikv"
	"google.golang.org/grpc/mem"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// The unit of these benchmarks is a narrow row. If it comes as PREWRITE and
// COMMIT, its time is that of both. cpu-ns is the CPU time of the process,
// collector included, which a busy machine changes less than the time.

// reportRows reports the costs of a row, when an op is so many of them.
func reportRows(b *testing.B, perOp int, cpu time.Duration) {
	n := float64(b.N) * float64(perOp)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/row")
	b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns/row")
}

// frameOf returns a message as it is received.
func frameOf(tb testing.TB, msg *cdcpb.ChangeDataEvent) *frame {
	tb.Helper()
	return new(framePool).take(inPieces(wireOf(tb, msg), pieceSize))
}

func wireOf(tb testing.TB, msg *cdcpb.ChangeDataEvent) []byte {
	tb.Helper()
	data, err := msg.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// oneRegion returns a stream with one region, which is initialised if the
// benchmark is of live rows.
func oneRegion(tb testing.TB, initialized bool) (*stream, *region) {
	tb.Helper()
	c := New(Config{})
	c.header = &cdcpb.Header{}
	sub := c.Subscribe(event.Span{}, 5, deaf{})
	s := newStream(c, newStore(c, "store"), nil, 0)
	r := &region{sub: sub, verID: tikv.NewRegionVerID(1, 1, 1)}
	r.segment = sub.ranges.lock(keyRange{}, r, nil).segment
	s.register(r)
	r.matcher.initialized = initialized
	return s, r
}

// BenchmarkDecode turns the wire form of an event into rows, here and in the
// generated code.
func BenchmarkDecode(b *testing.B) {
	narrow := NarrowRows(b)
	var live []*cdcpb.Event_Row
	for _, row := range narrow {
		p, c := PrewriteAndCommit(row)
		live = append(live, p, c)
	}
	perOp := len(narrow)
	for _, bench := range []struct {
		name string
		rows []*cdcpb.Event_Row
	}{{"committed", narrow}, {"prewrite+commit", live}} {
		payload, err := (&cdcpb.Event_Entries{Entries: bench.rows}).Marshal()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var rows []row
			cpu := CPUTime()
			for b.Loop() {
				if rows, err = decodeRows(rows[:0], payload); err != nil || len(rows) != len(bench.rows) {
					b.Fatal(len(rows), err)
				}
			}
			reportRows(b, perOp, CPUTime()-cpu)
		})
		b.Run(bench.name+"/generated", func(b *testing.B) {
			b.ReportAllocs()
			cpu := CPUTime()
			for b.Loop() {
				var entries cdcpb.Event_Entries
				if err := entries.Unmarshal(payload); err != nil {
					b.Fatal(err)
				}
			}
			reportRows(b, perOp, CPUTime()-cpu)
		})
	}
}

// BenchmarkMatcher runs transactions of one row, of which a number is open at
// any time, from decoded events to the batches of a receiver. Commits come in
// another order than prewrites.
func BenchmarkMatcher(b *testing.B) {
	narrow := NarrowRows(b)
	for _, window := range []int{16, 1024, 65536} {
		b.Run(fmt.Sprint("window=", window), func(b *testing.B) {
			s, r := oneRegion(b, true)
			fs := s.mu.subs[r.sub.id]
			perEvent := min(64, window)
			type rowsOfEvent struct {
				payload []byte
				rows    []row
			}
			var prewrites, commits []rowsOfEvent
			n := 2 * window
			add := func(events []rowsOfEvent, typ cdcpb.Event_LogType, ids []int) []rowsOfEvent {
				var rows []*cdcpb.Event_Row
				for _, i := range ids {
					row := *narrow[i%len(narrow)]
					row.Type, row.StartTs = typ, row.StartTs+uint64(i)
					row.CommitTs = row.StartTs + 1
					rows = append(rows, &row)
				}
				payload, err := (&cdcpb.Event_Entries{Entries: rows}).Marshal()
				if err != nil {
					b.Fatal(err)
				}
				decoded, err := decodeRows(nil, payload)
				if err != nil {
					b.Fatal(err)
				}
				return append(events, rowsOfEvent{payload, decoded})
			}
			ids, shuffled := make([]int, n), make([]int, n)
			for i := range ids {
				ids[i] = i
			}
			for from := 0; from < n; from += window {
				for i, at := range rand.Perm(window) {
					shuffled[from+i] = from + at
				}
			}
			for from := 0; from < n; from += perEvent {
				prewrites = add(prewrites, cdcpb.Event_PREWRITE, ids[from:from+perEvent])
				commits = add(commits, cdcpb.Event_COMMIT, shuffled[from:from+perEvent])
			}
			ahead := window / perEvent
			for _, e := range prewrites[:ahead] {
				s.handleRows(fs, r, e.rows, e.payload, 0)
			}
			b.ReportAllocs()
			cpu := CPUTime()
			at := 0
			for b.Loop() {
				c, p := commits[at%len(commits)], prewrites[(at+ahead)%len(prewrites)]
				s.handleRows(fs, r, c.rows, c.payload, 0)
				s.handleRows(fs, r, p.rows, p.payload, 0)
				s.flushAll()
				at++
			}
			reportRows(b, perEvent, CPUTime()-cpu)
			if r.state != regionNormal || r.matcher.prewrites.n != window {
				b.Fatalf("%d prewrites are left, want %d; %v", r.matcher.prewrites.n, window, r.stopErr)
			}
		})
	}
}

// BenchmarkHandle is all that is done with a message after gRPC has received it:
// copied, decoded, matched and delivered. The collector runs as often as the heap is
// small: beside a program that holds nothing there is one of which 64 MiB are in use,
// as by a changefeed with rows that wait.
func BenchmarkHandle(b *testing.B) {
	for _, heap := range []int{0, 64 << 20} {
		b.Run(fmt.Sprintf("heap=%dMiB", heap>>20), func(b *testing.B) {
			held := make([]byte, heap)
			benchmarkHandle(b)
			runtime.KeepAlive(held)
		})
	}
}

func benchmarkHandle(b *testing.B) {
	narrow := NarrowRows(b)
	for _, kind := range []struct {
		name             string
		live             bool
		events, perEvent int
		rows             int // of the message
	}{
		{"scan", false, 16, 130, 16 * 130},
		{"live", true, 32, 64, 16 * 64},
		{"live-single", true, 64, 1, 32},
	} {
		b.Run(kind.name, func(b *testing.B) {
			s, r := oneRegion(b, kind.live)
			msg := NarrowMessage(narrow, kind.live, kind.events, kind.perEvent)
			for _, e := range msg.Events {
				e.RegionId, e.RequestId = r.id(), r.sub.id
			}
			wire := inPieces(wireOf(b, msg), pieceSize)
			b.ReportAllocs()
			cpu := CPUTime()
			for b.Loop() {
				f := s.client.frames.take(wire)
				if err := s.handle(f); err != nil {
					b.Fatal(err)
				}
				s.client.frames.release(f)
			}
			reportRows(b, kind.rows, CPUTime()-cpu)
		})
	}
}

// pieceSize is that of HTTP/2's frames.
const pieceSize = 16 << 10

// inPieces returns data as gRPC does, in the frames that it came in.
func inPieces(data []byte, size int) mem.BufferSlice {
	var pieces mem.BufferSlice
	for len(data) > 0 {
		n := min(size, len(data))
		pieces = append(pieces, mem.SliceBuffer(data[:n]))
		data = data[n:]
	}
	return pieces
}
