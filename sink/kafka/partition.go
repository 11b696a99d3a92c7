package kafka

import (
	"math"
	"slices"
	"time"
)

// partition is one partition that is written to. Its fields belong to the producer's
// mutex, except sending, which belongs to the worker while state is partitionSending.
type partition struct {
	topic *topic
	id    int32
	// leader is the broker that led it when last asked.
	leader int

	state    partitionState
	queue    []segment
	limit    int // of a batch, in bytes
	producer producerState
	sending  sending
}

type partitionState uint8

const (
	partitionIdle    partitionState = iota // the queue is empty
	partitionReady                         // in producer.mu.ready
	partitionSending                       // a worker has it
	partitionWaiting                       // its batch will be ready again after a while
)

// segment is what a call queues for a partition.
type segment struct {
	run
	delivery *delivery
}

// sending is the batch of a partition that has been taken from its queue.
type sending struct {
	segments []segment
	runs     []run
	count    int    // of messages; 0 if there is no batch
	bytes    int    // without compression
	encoded  []byte // nil if it is not built yet
	since    time.Time
	attempts int
	sent     bool // a broker may have got it
	// shared: a request that was given up may still read encoded.
	shared bool
}

// delivery is what a call waits for.
type delivery struct {
	// pending messages and the first error, under the producer's mutex.
	pending int
	err     error
	done    chan struct{} // closed when nothing is pending or err is set
	touched []*partition
}

// newDelivery begins a call's work. It is pending until released.
func newDelivery() *delivery { return &delivery{pending: 1, done: make(chan struct{})} }

// settle counts n messages as written. The producer's mutex is held.
func (d *delivery) settle(n int) {
	if d.pending -= n; d.pending == 0 && d.err == nil {
		close(d.done)
	}
}

func (d *delivery) fail(err error) {
	if d.err == nil && d.pending > 0 {
		d.err = err
		close(d.done)
	}
}

// dropFailed drops what calls have queued that have failed.
func (part *partition) dropFailed() {
	part.queue = slices.DeleteFunc(part.queue, func(s segment) bool { return s.delivery.err != nil })
}

// fill takes the next batch from the queue. A message that alone exceeds the limit
// makes a batch: the broker has the last word.
func (part *partition) fill() {
	part.dropFailed()
	s := &part.sending
	s.segments, s.runs = s.segments[:0], s.runs[:0]
	s.bytes, s.attempts, s.sent, s.since = batchOverhead, 0, false, time.Now()
	used := 0
	for used < len(part.queue) {
		seg := part.queue[used]
		to := seg.from
		for to < seg.to {
			m := seg.messages.At(to)
			size := m.Size() + recordOverhead
			if s.count > 0 && s.bytes+size > part.limit {
				break
			}
			s.bytes += size
			s.count++
			to++
		}
		if to > seg.from {
			s.runs = append(s.runs, run{seg.messages, seg.from, to})
			s.segments = append(s.segments, segment{run{seg.messages, seg.from, to}, seg.delivery})
		}
		if to < seg.to {
			part.queue[used].from = to
			break
		}
		used++
	}
	part.queue = slices.Delete(part.queue, 0, used)
}

// abandoned reports whether nobody waits for the batch any more.
func (s *sending) abandoned() bool {
	return !slices.ContainsFunc(s.segments, func(seg segment) bool { return seg.delivery.err == nil })
}

func (s *sending) reset() {
	s.count, s.encoded, s.shared = 0, nil, false
	clear(s.segments)
	clear(s.runs)
}

// putBack makes the batch the head of the queue again.
func (part *partition) putBack() {
	part.queue = slices.Concat(part.sending.segments, part.queue)
	part.sending.segments = nil
	part.sending.reset()
}

// fence begins a new epoch, or, when there are no more, a new producer id.
func (part *partition) fence() {
	part.producer.sequence = 0
	if part.producer.epoch++; part.producer.epoch == math.MaxInt16 {
		part.producer.id = -1
	}
}
