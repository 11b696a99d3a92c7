package puller

import (
	"cmp"
	"log/slog"
	"slices"
)

// relieve moves prewrites of this stream's regions to disk if those of all streams
// hold too much memory. It looks again only when the stream has received
// something since, so that a stream that holds little does not look all the time:
// together they hold up to a sixteenth more for each stream.
func (s *stream) relieve() {
	limit := s.client.cfg.TxnMemory
	if limit < 0 || s.client.held.Load() <= limit || s.grown < limit/16 {
		return
	}
	s.grown = 0
	regions, total := s.holders()
	if len(regions) == 0 {
		return
	}
	// Half of what is there, so that it is some time until the next time.
	left := max(total/2, s.client.held.Load()-limit/2)
	w, err := s.client.spill.Create()
	if err != nil {
		s.giveUp(regions[0], &errOverflow{err})
		return
	}
	spilled := int64(0)
	for _, r := range regions {
		if spilled >= left {
			break
		}
		o, err := r.matcher.spill(w)
		spilled += r.accounted - r.matcher.bytes
		r.sub.keep(o)
		s.account(r)
		if err != nil {
			s.giveUp(r, &errOverflow{err})
			break
		}
	}
	s.client.cfg.Logger.Debug("rows of open transactions moved to disk", slog.Int64("bytes", spilled))
	if err := w.Close(); err != nil {
		s.giveUp(regions[0], &errOverflow{err})
	}
}

// holders returns the regions that hold prewrites in memory, the largest first.
func (s *stream) holders() (regions []*region, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fs := range s.mu.subs {
		for _, r := range fs.regions {
			if r.matcher.prewrites.n > 0 {
				regions = append(regions, r)
				total += r.matcher.bytes
			}
		}
	}
	slices.SortFunc(regions, func(a, b *region) int { return cmp.Compare(b.matcher.bytes, a.matcher.bytes) })
	return regions, total
}
