package kvnode

import "sync"

const latchShards = 256

// latches serialise the writers of a key, given by hash. One table serves all
// regions, because a split must not give one key two latches.
type latches struct {
	shards [latchShards]latchShard
}

type latchShard struct {
	mu   sync.Mutex
	held map[uint64]chan struct{} // closed at release
}

func newLatches() *latches {
	l := &latches{}
	for i := range l.shards {
		l.shards[i].held = map[uint64]chan struct{}{}
	}
	return l
}

func (l *latches) shard(hash uint64) *latchShard { return &l.shards[hash>>56] }

// acquire takes the latches in the order given; the engine passes them sorted.
func (l *latches) acquire(hashes []uint64) {
	for _, h := range hashes {
		s := l.shard(h)
		for {
			s.mu.Lock()
			released, taken := s.held[h]
			if !taken {
				s.held[h] = make(chan struct{})
			}
			s.mu.Unlock()
			if !taken {
				break
			}
			<-released
		}
	}
}

func (l *latches) release(hashes []uint64) {
	for _, h := range hashes {
		s := l.shard(h)
		s.mu.Lock()
		if released, ok := s.held[h]; ok {
			close(released)
			delete(s.held, h)
		}
		s.mu.Unlock()
	}
}
