package main

import (
	"regexp"
	"strconv"
	"strings"
)

// result holds the metrics of a benchmark by unit.
type result map[string]float64

// procs is the suffix that go test gives to names when it has more than one core.
var procs = regexp.MustCompile(`-\d+$`)

// parse reads a line such as "BenchmarkX/y-2  100  12.3 ns/op  0 B/op".
func parse(line string) (name string, r result, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") || len(fields)%2 != 0 {
		return "", nil, false
	}
	if _, err := strconv.Atoi(fields[1]); err != nil {
		return "", nil, false
	}
	r = result{}
	for i := 2; i < len(fields); i += 2 {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return "", nil, false
		}
		r[fields[i+1]] = v
	}
	return procs.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), ""), r, true
}

// nanoseconds returns the time per row, preferring the process's CPU time.
func (r result) nanoseconds() float64 {
	for _, unit := range []string{"cpu-ns/row", "cpu-ns/event", "ns/row", "ns/event", "ns/op"} {
		if v, ok := r[unit]; ok {
			return v
		}
	}
	return 0
}
