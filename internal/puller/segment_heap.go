package puller

import "github.com/tidbcdc/tidbcdc/cdc/event"

// The heap of a rangeLock is lazy. A segment's ts only grows, and advance does
// not touch the heap; so heapTs is a lower bound, and a segment on top whose bound is
// exact is the minimum. Most advances cost nothing: a segment is moved at most
// once between two of its turns on top.

// heapMin returns the least ts of all segments.
func (l *rangeLock) heapMin() event.Ts {
	h := l.heap
	// When most of the heap has moved, as it does once per tick of the stores,
	// building it anew is cheaper than moving the segments one by one.
	budget := 8 + len(h)/8
	for h[0].heapTs != h[0].ts {
		if budget--; budget == 0 {
			l.heapRebuild()
			break
		}
		h[0].heapTs = h[0].ts
		l.heapDown(0)
	}
	return h[0].ts
}

func (l *rangeLock) heapRebuild() {
	for _, s := range l.heap {
		s.heapTs = s.ts
	}
	for i := len(l.heap)/2 - 1; i >= 0; i-- {
		l.heapDown(i)
	}
}

func (l *rangeLock) heapPush(s *segment) {
	s.heapIdx = len(l.heap)
	l.heap = append(l.heap, s)
	l.heapUp(s.heapIdx)
}

func (l *rangeLock) heapRemove(s *segment) {
	i, last := s.heapIdx, len(l.heap)-1
	l.heapSwap(i, last)
	l.heap[last] = nil
	l.heap = l.heap[:last]
	if i < last {
		l.heapDown(i)
		l.heapUp(i)
	}
}

func (l *rangeLock) heapUp(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if l.heap[parent].heapTs <= l.heap[i].heapTs {
			return
		}
		l.heapSwap(i, parent)
		i = parent
	}
}

func (l *rangeLock) heapDown(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(l.heap); c++ {
			if l.heap[c].heapTs < l.heap[least].heapTs {
				least = c
			}
		}
		if least == i {
			return
		}
		l.heapSwap(i, least)
		i = least
	}
}

func (l *rangeLock) heapSwap(i, j int) {
	h := l.heap
	h[i], h[j] = h[j], h[i]
	h[i].heapIdx, h[j].heapIdx = i, j
}
