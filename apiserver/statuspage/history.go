package statuspage

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
)

const (
	// sampleInterval and samples make an hour.
	sampleInterval = 5 * time.Second
	samples        = 720
)

// history keeps the lag of changefeeds of the last hour.
type history struct {
	mu    sync.Mutex
	feeds map[string]*series
}

// series is a ring of samples.
type series struct {
	lags  [samples]sample
	next  int
	count int
}

type sample struct {
	at  time.Time
	lag time.Duration
}

func newHistory() *history { return &history{feeds: map[string]*series{}} }

// add notes lags, and forgets changefeeds that have had none for an hour.
func (h *history) add(now time.Time, lags map[string]time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.feeds, func(_ string, s *series) bool {
		newest := s.lags[(s.next+samples-1)%samples]
		return now.Sub(newest.at) > samples*sampleInterval
	})
	for id, lag := range lags {
		s := h.feeds[id]
		if s == nil {
			s = &series{}
			h.feeds[id] = s
		}
		s.lags[s.next] = sample{now, lag}
		s.next = (s.next + 1) % samples
		s.count = min(s.count+1, samples)
	}
}

// chart is a line of lag over time, in an area of chartWidth by chartHeight.
type chart struct {
	// Points are of an SVG polyline; empty if there are not enough samples.
	Points string
	// Top is the greatest lag, which the upper edge stands for; Since is when the
	// line begins.
	Top, Since string
}

const (
	chartWidth  = 240
	chartHeight = 40
)

// chart draws the samples of a changefeed, the oldest at the left edge.
func (h *history) chart(id string) chart {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.feeds[id]
	if s == nil || s.count < 2 {
		return chart{}
	}
	first := s.lags[(s.next+samples-s.count)%samples].at
	last := s.lags[(s.next+samples-1)%samples].at
	top := time.Second // so that small lags look small
	for i := range s.count {
		top = max(top, s.lags[(s.next+samples-s.count+i)%samples].lag)
	}
	var points strings.Builder
	for i := range s.count {
		p := s.lags[(s.next+samples-s.count+i)%samples]
		x := float64(p.at.Sub(first)) / float64(max(last.Sub(first), 1)) * chartWidth
		y := chartHeight * (1 - float64(p.lag)/float64(top))
		fmt.Fprintf(&points, "%.1f,%.1f ", x, y)
	}
	return chart{Points: strings.TrimSpace(points.String()), Top: duration(top), Since: first.Format("15:04")}
}
