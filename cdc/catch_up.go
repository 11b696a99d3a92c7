package cdc

import (
	"math"
	"time"
)

// catchUp estimates when a changefeed will have caught up, from what it has done
// in the last seconds that somebody looked at it.
type catchUp struct {
	samples []progressSample // oldest first
}

// progressSample is how far a changefeed was at a moment.
type progressSample struct {
	at      time.Time
	scanned int   // regions
	rows    int64 // acknowledged
}

const (
	// sampleInterval is the least time between two samples, and keptSamples how many
	// are kept: rates are those of 16 s, or longer if Status is called seldom.
	sampleInterval = time.Second
	keptSamples    = 16
	// longestCatchUp: what takes longer cannot be told from what does not end.
	longestCatchUp = 30 * 24 * time.Hour
)

// unknownCatchUp says that nothing can be said.
const unknownCatchUp time.Duration = -1

// observe notes how far the changefeed is.
func (c *catchUp) observe(now time.Time, st *Status) {
	s := progressSample{now, st.ScannedRegions, st.Rows}
	n := len(c.samples)
	switch {
	case n > 0 && now.Sub(c.samples[n-1].at) < sampleInterval:
		return
	case n == keptSamples:
		copy(c.samples, c.samples[1:])
		c.samples[n-1] = s
	default:
		c.samples = append(c.samples, s)
	}
}

// remaining estimates how long it takes to deliver what was committed until now,
// 0 if that has been done: unknownCatchUp if the changefeed stands still, or there is too little to tell.
//
// Regions that have not been scanned are taken to hold as many rows as the others.
func (c *catchUp) remaining(now time.Time, st *Status) time.Duration {
	unscanned := float64(st.Regions - st.ScannedRegions)
	if st.Regions > 0 && unscanned <= 0 && st.PendingRows == 0 {
		return 0
	}
	if st.Regions == 0 || len(c.samples) == 0 {
		return unknownCatchUp
	}
	first := c.samples[0]
	elapsed := now.Sub(first.at)
	if elapsed < sampleInterval {
		return unknownCatchUp
	}
	seconds := elapsed.Seconds()
	scan := timeFor(unscanned, float64(st.ScannedRegions-first.scanned)/seconds)
	rows := float64(st.PendingRows)
	if st.ScannedRegions > 0 {
		rows += unscanned * (float64(st.Rows) + rows) / float64(st.ScannedRegions)
	}
	write := timeFor(rows, float64(st.Rows-first.rows)/seconds)
	if unscanned > 0 && write == math.Inf(1) {
		write = 0 // nothing may be written before its table has been scanned
	}
	total := math.Max(scan, write) * float64(time.Second)
	if total > float64(longestCatchUp) {
		return unknownCatchUp
	}
	return time.Duration(total)
}

// timeFor returns the seconds that work takes at a rate.
func timeFor(work, rate float64) float64 {
	switch {
	case work <= 0:
		return 0
	case rate <= 0:
		return math.Inf(1)
	}
	return work / rate
}
