package main

import (
	"bytes"
	"hash/crc32"
	"math"
	"sort"
	"strconv"
	"syscall"
)

// loop is a piece of work whose CPU time the recorded machine is known by.
type loop struct {
	recorded float64 // nanoseconds per step
	steps    int
	run      func()
}

// calibrate returns how many times as long as the recorded machine this one
// takes: the geometric mean over loops like those that changes go through, of each
// the best of some times.
func calibrate(times int) float64 {
	log := 0.0
	loops := calibrationLoops()
	for _, l := range loops {
		best := math.Inf(1)
		for range times {
			before := cpuNanoseconds()
			l.run()
			best = min(best, float64(cpuNanoseconds()-before)/float64(l.steps))
		}
		log += math.Log(best / l.recorded)
	}
	return math.Exp(log / float64(len(loops)))
}

func cpuNanoseconds() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func calibrationLoops() []loop {
	return []loop{
		{25.05, 1_000_000, checksums()},
		{27.06, 5_000_000, garbage()},
		{62.21, 512_000, mapEntries()},
		{131.22, 1_000_000, sortEvents()},
		{129.23, 1_000_000, appendMessages()},
	}
}

func checksums() func() {
	data := bytes.Repeat([]byte{7}, 1<<20+200)
	return func() {
		for i := range 1_000_000 {
			at := i * 200 % (1 << 20)
			crc32.ChecksumIEEE(data[at : at+200])
		}
	}
}

// kept keeps the compiler from dropping allocations.
type kept struct{ b []byte }

func garbage() func() {
	k := &kept{}
	return func() {
		for range 5_000_000 {
			k.b = make([]byte, 64)
		}
	}
}

func mapEntries() func() {
	m := map[string]int{}
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = "t_key_r" + strconv.Itoa(10_000_000_000+i)
	}
	return func() {
		for range 500 {
			for i, k := range keys {
				m[k] = i
			}
			for _, k := range keys {
				if m[k] >= 0 { // the recorded loop looked before it deleted
					delete(m, k)
				}
			}
		}
	}
}

func sortEvents() func() {
	type change struct {
		ts    uint64
		index int32
	}
	changes := make([]change, 1_000_000)
	return func() {
		for i := range changes {
			changes[i] = change{uint64(i&^4095) + uint64((i*2654435761)&4095), int32(i)} //nolint:gosec // below a million
		}
		sort.Slice(changes, func(i, j int) bool { return changes[i].ts < changes[j].ts })
	}
}

// appendMessages makes canal-json's message of a sysbench row from a template.
func appendMessages() func() {
	head, between := bytes.Repeat([]byte("x"), 220), []byte(`","c":"`)
	texts := [][]byte{bytes.Repeat([]byte("1"), 119), bytes.Repeat([]byte("2"), 59)}
	buf := make([]byte, 0, 1024)
	return func() {
		for i := range 1_000_000 {
			buf = append(buf[:0], head...)
			for range 2 {
				buf = strconv.AppendInt(buf, int64(i), 10)
				buf = append(buf, between...)
			}
			for _, text := range texts {
				plain := true
				for _, c := range text {
					if c < 0x20 || c == '"' || c == '\\' || c >= 0x80 {
						plain = false
					}
				}
				if plain {
					buf = append(buf, text...)
				}
				buf = append(buf, between...)
			}
		}
	}
}
