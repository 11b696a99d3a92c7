package cdc

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestCatchUp(t *testing.T) {
	type sample struct {
		after            time.Duration
		scanned, regions int
		rows             int64
		pending          int
		want             time.Duration
	}
	at := func(s int) time.Duration { return time.Duration(s) * time.Second }
	tests := map[string][]sample{
		"nothing is known at first":    {{0, 0, 0, 0, 0, -1}, {at(1), 0, 0, 0, 0, -1}},
		"caught up":                    {{0, 5, 5, 100, 0, 0}, {at(1), 5, 5, 200, 0, 0}},
		"scanning at a constant rate":  {{0, 0, 100, 0, 0, -1}, {at(5), 10, 100, 0, 0, at(45)}, {at(10), 20, 100, 0, 0, at(40)}},
		"no region has been scanned":   {{0, 0, 100, 0, 0, -1}, {at(60), 0, 100, 0, 0, -1}},
		"writing what was scanned":     {{0, 10, 10, 0, 1000, -1}, {at(1), 10, 10, 100, 900, at(9)}},
		"a sink that stands still":     {{0, 10, 10, 500, 1000, -1}, {at(9), 10, 10, 500, 1000, -1}},
		"writing is slower than scans": {{0, 0, 100, 0, 0, -1}, {at(10), 50, 100, 1000, 4000, at(90)}},
		"years":                        {{0, 0, 1 << 30, 0, 0, -1}, {at(60), 1, 1 << 30, 0, 0, -1}},
		"more regions turn up":         {{0, 0, 10, 0, 0, -1}, {at(5), 10, 20, 0, 0, at(5)}},
		"a region is scanned again":    {{0, 10, 10, 5, 0, 0}, {at(5), 9, 10, 5, 0, -1}},
		"asked too often":              {{0, 0, 10, 0, 0, -1}, {time.Millisecond, 5, 10, 0, 0, -1}, {2 * time.Millisecond, 6, 10, 0, 0, -1}},
	}
	for name, samples := range tests {
		t.Run(name, func(t *testing.T) {
			var c catchUp
			began := time.Now()
			for i, s := range samples {
				st := Status{Regions: s.regions, ScannedRegions: s.scanned, Rows: s.rows, PendingRows: s.pending}
				now := began.Add(s.after)
				c.observe(now, &st)
				if got := c.remaining(now, &st); got != s.want {
					t.Errorf("sample %d: %v, want %v", i, got, s.want)
				}
			}
		})
	}
}

// Whatever the course of things, the estimate is unknown or between 0 and a month.
func TestCatchUpIsNeverWild(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var c catchUp
	now := time.Now()
	var st Status
	for range 100_000 {
		now = now.Add(time.Duration(rng.Int64N(int64(3 * time.Second))))
		st.Regions = rng.IntN(1000)
		st.ScannedRegions = rng.IntN(1000) // more than there are, now and then
		st.PendingRows = rng.IntN(1_000_000)
		st.Rows += rng.Int64N(1000)
		c.observe(now, &st)
		if got := c.remaining(now, &st); got != unknownCatchUp && (got < 0 || got > longestCatchUp) {
			t.Fatalf("%v for %+v", got, st)
		}
		if len(c.samples) > keptSamples {
			t.Fatalf("%d samples", len(c.samples))
		}
	}
}
