package sorter_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
)

// benchBatches returns n changes of 200 bytes in groups of 64, their commit ts
// shuffled inside windows of 4096 and perTxn changes to a transaction.
func benchBatches(n, perTxn int) [][]rawkv.Entry {
	rng := rand.New(rand.NewPCG(1, 2))
	kvs := make([]rawkv.Entry, n)
	data := make([]byte, n*200)
	for i := range kvs {
		row := data[i*200 : (i+1)*200 : (i+1)*200]
		copy(row, "t\x80\x00\x00\x00\x00\x00\x00\x70_r\x80")
		binary.BigEndian.PutUint32(row[15:], uint32(i)*2654435761) // unique, in no order
		commit := event.Ts(400e15) + event.Ts(i/perTxn)<<8
		kvs[i] = rawkv.New(event.OpPut, commit-100, commit, row, 19, uint32(len(row)-19))
	}
	const window = 4096
	for i := 0; i < n; i += window {
		w := kvs[i:min(i+window, n)]
		rng.Shuffle(len(w), func(a, b int) { w[a], w[b] = w[b], w[a] })
	}
	batches := make([][]rawkv.Entry, 0, n/64)
	for i := 0; i < n; i += 64 {
		batches = append(batches, append([]rawkv.Entry(nil), kvs[i:min(i+64, n)]...))
	}
	return batches
}

// BenchmarkSorter adds a million changes, resolves every so many and takes them
// in order. An op is the million; the metrics are per change. cpu-ns is the CPU
// time of the process, collector included, which a busy machine changes less.
func BenchmarkSorter(b *testing.B) {
	const n = 1_000_000
	for _, bench := range []struct{ every, perTxn int }{
		{4096, 1}, {65536, 1}, {n, 1}, {65536, 10}, {n, 5000}, {n, n},
	} {
		b.Run(fmt.Sprintf("resolve-every=%d/txn=%d", bench.every, bench.perTxn), func(b *testing.B) {
			var before, after runtime.MemStats
			var allocs, bytes uint64
			var cpu time.Duration
			dst := make([]rawkv.Entry, 0, 1024)
			b.StopTimer()
			for range b.N {
				batches := benchBatches(n, bench.perTxn)
				runtime.GC()
				runtime.ReadMemStats(&before)
				cpu -= cpuTime()
				b.StartTimer()
				dst = sortAll(b, batches, bench.every, dst)
				b.StopTimer()
				cpu += cpuTime()
				runtime.ReadMemStats(&after)
				allocs += after.Mallocs - before.Mallocs
				bytes += after.TotalAlloc - before.TotalAlloc
			}
			events := float64(b.N) * n
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
			b.ReportMetric(float64(cpu.Nanoseconds())/events, "cpu-ns/event")
			b.ReportMetric(float64(bytes)/events, "B/event")
			b.ReportMetric(float64(allocs)/events, "allocs/event")
		})
	}
}

// BenchmarkSpilled is BenchmarkSorter with so little memory that all goes to
// disk and back. The metrics tell the two directions apart.
func BenchmarkSpilled(b *testing.B) {
	const n, quota = 1_000_000, 16 << 20
	for _, perTxn := range []int{1, n} {
		b.Run(fmt.Sprintf("txn=%d", perTxn), func(b *testing.B) {
			var write, read, cpu time.Duration
			var onDisk int64
			dst := make([]rawkv.Entry, 0, 1024)
			for range b.N {
				b.StopTimer()
				batches := benchBatches(n, perTxn)
				runtime.GC()
				pool, _ := newPool(b, quota)
				s := pool.New(1)
				cpu -= cpuTime()
				b.StartTimer()
				start := time.Now()
				for i, kvs := range batches {
					if err := s.Add(kvs); err != nil {
						b.Fatal(err)
					}
					batches[i] = nil
				}
				write += time.Since(start)
				_, disk := pool.Usage()
				onDisk += disk
				start = time.Now()
				takeAll(b, s, math.MaxUint64, n, dst)
				read += time.Since(start)
				b.StopTimer()
				cpu += cpuTime()
				closeSorter(b, s)
				b.StartTimer()
			}
			events := float64(b.N) * n
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
			b.ReportMetric(float64(write.Nanoseconds())/events, "write-ns/event")
			b.ReportMetric(float64(read.Nanoseconds())/events, "read-ns/event")
			b.ReportMetric(float64(cpu.Nanoseconds())/events, "cpu-ns/event")
			b.ReportMetric(float64(onDisk)/events, "disk-B/event")
		})
	}
}

// takeAll takes all changes up to a ts, which are n.
func takeAll(b *testing.B, s *sorter.Sorter, ts event.Ts, n int, dst []rawkv.Entry) {
	s.Resolve(ts)
	for {
		rows, through, err := s.Take(dst[:0], math.MaxUint64, cap(dst), math.MaxInt64)
		if err != nil {
			b.Fatal(err)
		}
		n -= len(rows)
		if through == ts {
			break
		}
	}
	if n != 0 {
		b.Fatalf("%d changes are missing", n)
	}
}

func sortAll(b *testing.B, batches [][]rawkv.Entry, every int, dst []rawkv.Entry) []rawkv.Entry {
	s := sorter.New(1)
	added, taken := 0, 0
	drain := func(ts event.Ts) {
		s.Resolve(ts)
		for {
			rows, through, err := s.Take(dst[:0], math.MaxUint64, cap(dst), math.MaxInt64)
			if err != nil {
				b.Fatal(err)
			}
			taken += len(rows)
			if through == ts {
				return
			}
		}
	}
	for _, kvs := range batches {
		// The window that is being added is not resolved yet, as upstream.
		horizon := kvs[0].CommitTs - 4096<<8
		added += len(kvs)
		if err := s.Add(kvs); err != nil {
			b.Fatal(err)
		}
		if added%every < len(kvs) {
			drain(max(horizon, s.ResolvedTs()))
		}
	}
	drain(math.MaxUint64)
	if taken != added {
		b.Fatalf("took %d of %d", taken, added)
	}
	return dst
}

// BenchmarkIdle reports what a sorter costs that holds nothing.
func BenchmarkIdle(b *testing.B) {
	b.ReportAllocs()
	sorters := make([]*sorter.Sorter, b.N)
	b.ResetTimer()
	for i := range sorters {
		sorters[i] = sorter.New(1)
	}
	runtime.KeepAlive(sorters)
}
