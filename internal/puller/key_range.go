package puller

import (
	"bytes"
	"fmt"
)

// keyRange is a half-open range of raw keys. An empty end is the end of the key
// space, as in event.Span.
type keyRange struct {
	start, end []byte
}

// compareEnd orders two end keys, where empty is greater than everything.
func compareEnd(a, b []byte) int {
	switch {
	case len(a) == 0 && len(b) == 0:
		return 0
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return bytes.Compare(a, b)
}

// before reports whether the end key lies at or before the start key.
func before(end, start []byte) bool {
	return len(end) != 0 && bytes.Compare(end, start) <= 0
}

// empty reports whether no key is in the range.
func (r keyRange) empty() bool { return before(r.end, r.start) }

func (r keyRange) overlaps(o keyRange) bool {
	return !before(r.end, o.start) && !before(o.end, r.start)
}

func (r keyRange) contains(key []byte) bool {
	return bytes.Compare(key, r.start) >= 0 && (len(r.end) == 0 || bytes.Compare(key, r.end) < 0)
}

// intersect returns the common part, which may be empty.
func (r keyRange) intersect(o keyRange) keyRange {
	if bytes.Compare(o.start, r.start) > 0 {
		r.start = o.start
	}
	if compareEnd(o.end, r.end) < 0 {
		r.end = o.end
	}
	return r
}

func (r keyRange) String() string { return fmt.Sprintf("[%x, %x)", r.start, r.end) }
