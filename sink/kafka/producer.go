package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// producer writes messages to partitions, each partition's in the order in which
// they were queued and never twice, whatever happens to requests.
//
// A partition has one batch at a time on its way. What is queued meanwhile, by any
// number of calls, makes its next batch, so that batches grow with the time that
// the broker takes. Up to maxRequests requests are on their way at a time, each
// with the batches of all partitions of a leader that were ready when it began:
//
//	enqueue ─▶ partition.queue ─▶ ready ─▶ worker: take, build, send ─▶ settle
//	                                ▲                                     │
//	                                └── more queued, or again after a wait ┘
//
// Each partition has a producer id of its own, so that the broker drops a batch
// that comes twice. If the fate of a batch stays unknown and its call is told so,
// the partition's epoch is raised: when the next batch has been written, the broker
// refuses all of the old epoch, however late they come. Thus what is written again
// is the last word on its keys.
type producer struct {
	client      *client
	log         *slog.Logger
	compression kafka.Compression
	// patience is for how long a batch is sent again before its calls fail.
	patience time.Duration
	buffers  sync.Pool // *[]byte, for encoded batches

	mu struct {
		sync.Mutex
		ready   []*partition
		waiting map[*partition]*time.Timer // for the next attempt
		closed  bool
	}
	wake    *sync.Cond // on mu: ready has grown, or closed
	workers sync.WaitGroup
}

// maxRequests is how many requests may be on their way; maxRequestBytes is how much
// one may hold before the last batch is put in.
const (
	maxRequests     = 5
	maxRequestBytes = 16 << 20
)

func newProducer(cfg *Config, c *client) *producer {
	p := &producer{client: c, log: cfg.Logger, compression: cfg.Compression, patience: cfg.DeliveryTimeout}
	p.wake = sync.NewCond(&p.mu.Mutex)
	p.mu.waiting = map[*partition]*time.Timer{}
	return p
}

// start runs the workers until close, or until ctx ends, which also cuts requests short.
func (p *producer) start(ctx context.Context) {
	for range maxRequests {
		p.workers.Go(func() { p.work(ctx) })
	}
}

// close ends the workers and waits for them. Their requests are cut short by the
// context of start.
func (p *producer) close() {
	p.mu.Lock()
	p.mu.closed = true
	unsent := p.mu.ready
	p.mu.ready = nil
	for part, timer := range p.mu.waiting {
		timer.Stop()
		unsent = append(unsent, part)
	}
	clear(p.mu.waiting)
	for _, part := range unsent {
		p.failLocked(part, errClosed)
	}
	p.mu.Unlock()
	p.wake.Broadcast()
	p.workers.Wait()
}

var errClosed = errors.New("the sink is closed")

// enqueue hands over messages [from, to). They must not change until the delivery
// is done without an error, and never if it ends with one.
func (p *producer) enqueue(d *delivery, part *partition, m *codec.Messages, from, to int) {
	if from == to {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.err != nil {
		return
	}
	if p.mu.closed {
		d.fail(errClosed)
		return
	}
	d.pending += to - from
	if !slices.Contains(d.touched, part) {
		d.touched = append(d.touched, part)
	}
	part.queue = append(part.queue, segment{run{m, from, to}, d})
	if part.state == partitionIdle {
		p.readyLocked(part)
	}
}

func (p *producer) readyLocked(part *partition) {
	part.state = partitionReady
	p.mu.ready = append(p.mu.ready, part)
	p.wake.Signal()
}

// wait returns when all that was enqueued for d has been written, or not all can be.
func (p *producer) wait(ctx context.Context, d *delivery) error {
	p.mu.Lock()
	d.settle(1)
	p.mu.Unlock()
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// What is on its way cannot be called back; what is queued behind it can.
	d.fail(context.Cause(ctx))
	for _, part := range d.touched {
		part.dropFailed()
	}
	return d.err
}

// abandon ends a delivery that will not be waited for.
func (p *producer) abandon(d *delivery, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.fail(err)
	for _, part := range d.touched {
		part.dropFailed()
	}
}

// work sends what is ready.
func (p *producer) work(ctx context.Context) {
	var builder batchBuilder
	var taken []*partition
	for {
		if taken = p.take(taken[:0]); len(taken) == 0 {
			return
		}
		p.send(ctx, &builder, taken)
	}
}

// take waits for partitions that are ready and takes those that have one leader. It
// returns none when the producer is closed.
func (p *producer) take(dst []*partition) []*partition {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.mu.ready) == 0 && !p.mu.closed {
			p.wake.Wait()
		}
		if p.mu.closed {
			return dst
		}
		leader, size := p.mu.ready[0].leader, 0
		rest := p.mu.ready[:0]
		for _, part := range p.mu.ready {
			if part.leader != leader || size > maxRequestBytes {
				rest = append(rest, part)
				continue
			}
			if part.sending.count == 0 {
				part.fill()
			}
			if part.sending.count == 0 { // the calls have given up
				part.state = partitionIdle
				continue
			}
			part.state = partitionSending
			size += part.sending.bytes
			dst = append(dst, part)
		}
		clear(p.mu.ready[len(rest):])
		p.mu.ready = rest
		if len(rest) > 0 {
			p.wake.Signal()
		}
		if len(dst) > 0 {
			return dst
		}
	}
}

// send makes one attempt with the batches of partitions of one leader.
func (p *producer) send(ctx context.Context, builder *batchBuilder, parts []*partition) {
	var batches []partitionBatch
	for _, part := range parts {
		part.sending.attempts++
		if err := p.prepare(ctx, builder, part); err != nil {
			p.settle(part, err)
			continue
		}
		part.sending.sent = true
		batches = append(batches, partitionBatch{part.topic.name, part.id, part.sending.encoded, part})
	}
	if len(batches) == 0 {
		return
	}
	errs, err := p.client.produce(ctx, "", batches)
	if err != nil && ctx.Err() != nil {
		err = errClosed
	}
	if err != nil {
		errs = slices.Repeat([]error{err}, len(batches))
		for _, b := range batches {
			b.queue.sending.shared = true
		}
	}
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil && movesLeader(err) }) && ctx.Err() == nil {
		if why := p.relocate(ctx, batches); why != nil && notInLayout(err) {
			errs = slices.Repeat([]error{why}, len(batches))
		}
	}
	for i, b := range batches {
		p.settle(b.queue, errs[i])
	}
}

// prepare builds the batch if it is not, with a producer id.
func (p *producer) prepare(ctx context.Context, builder *batchBuilder, part *partition) error {
	s := &part.sending
	if len(s.encoded) > 0 {
		return nil
	}
	var err error
	if part.producer.id < 0 && p.client.acks != kafka.RequireNone {
		if part.producer, err = p.client.newProducerID(ctx, "", 0); err != nil {
			return err
		}
	}
	if b, ok := p.buffers.Get().(*[]byte); ok {
		s.encoded = (*b)[:0]
	}
	s.encoded, err = builder.append(s.encoded, s.runs, part.producer, false, p.compression)
	return err
}

// relocate asks who leads the partitions now. That a topic is unknown is an error.
func (p *producer) relocate(ctx context.Context, batches []partitionBatch) error {
	p.client.refresh()
	var names []string
	for _, b := range batches {
		if !slices.Contains(names, b.topic) {
			names = append(names, b.topic)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.client.timeout)
	defer cancel()
	found, err := p.client.Metadata(ctx, &kafka.MetadataRequest{Topics: names})
	if err != nil {
		return fmt.Errorf("ask for the leaders of partitions: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range found.Topics {
		if err == nil {
			err = found.Topics[i].Error
		}
	}
	for _, b := range batches {
		for i := range found.Topics {
			if leader, ok := leaderOf(&found.Topics[i], b.topic, b.partition); ok {
				b.queue.leader = leader
			}
		}
	}
	return err
}

// leader returns who was last known to lead a partition.
func (p *producer) leader(part *partition) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return part.leader
}

func leaderOf(t *kafka.Topic, name string, partition int32) (int, bool) {
	if t.Name != name {
		return 0, false
	}
	for i := range t.Partitions {
		if p := &t.Partitions[i]; p.ID == int(partition) {
			return p.Leader.ID, true
		}
	}
	return 0, false
}

// settle decides what becomes of a batch after an attempt.
func (p *producer) settle(part *partition, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &part.sending
	switch {
	case err == nil, errors.Is(err, kafka.DuplicateSequenceNumber):
		p.writtenLocked(part)
	case p.mu.closed:
		p.failLocked(part, explain(part, err))
	case isTooLarge(err) && s.count > 1:
		// The limit is lower than when it was asked for. Nothing has been written.
		part.limit = max(s.bytes/2, 1)
		p.log.Warn("broker refuses a batch as too large, will send smaller ones",
			"topic", part.topic.name, "partition", part.id, "batch_bytes", s.bytes, "limit", part.limit)
		part.putBack()
		p.nextLocked(part)
	case errors.Is(err, kafka.UnknownProducerId) && s.attempts == 1:
		// The broker has forgotten the partition's writer, as it does after a long
		// silence. This batch has not been sent before, so nothing can be doubled.
		part.fence()
		s.encoded, s.shared = nil, false
		p.againLocked(part, err)
	case !isRetriable(err) || time.Since(s.since) > p.patience || s.abandoned():
		p.failLocked(part, explain(part, err))
	default:
		p.againLocked(part, err)
	}
}

// explain says where an error is from and what an operator can do.
func explain(part *partition, err error) error {
	hint := ""
	switch {
	case errors.Is(err, kafka.OutOfOrderSequenceNumber):
		hint = ": the partition lacks records that it had acknowledged; they may be lost, by an unclean election of a leader for example"
	case errors.Is(err, kafka.NotEnoughReplicas), errors.Is(err, kafka.NotEnoughReplicasAfterAppend):
		hint = ": fewer replicas are in sync than min.insync.replicas of the topic demands"
	case errors.Is(err, kafka.TopicAuthorizationFailed):
		hint = ": grant the user Write on the topic"
	case isTooLarge(err):
		hint = ": raise max.message.bytes of the topic, or set large-message-handle-option"
		err = fmt.Errorf("%w: %w", sink.ErrMessageTooLarge, err)
	case errors.Is(err, kafka.UnknownTopicOrPartition):
		hint = ": it has been deleted"
	}
	return fmt.Errorf("write to topic %s, partition %d: %w%s", part.topic.name, part.id, final(err), hint)
}

func (p *producer) writtenLocked(part *partition) {
	s := &part.sending
	part.producer.advance(s.count)
	for _, seg := range s.segments {
		seg.delivery.settle(seg.to - seg.from)
	}
	if most := min(part.topic.maxBytes, maxBatchBytes); part.limit < most {
		// It had been too much for the broker; perhaps it is not any more.
		part.limit = min(part.limit+part.limit/8+1, most)
	}
	if !s.shared {
		encoded := s.encoded
		p.buffers.Put(&encoded)
	}
	s.reset()
	p.nextLocked(part)
}

// failLocked gives up the batch. Whether it is or will be written may not be known.
func (p *producer) failLocked(part *partition, err error) {
	s := &part.sending
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		part.topic.lost.Store(true)
	}
	if s.sent {
		part.fence()
	}
	for _, seg := range s.segments {
		seg.delivery.fail(err)
	}
	s.reset()
	part.dropFailed()
	p.nextLocked(part)
}

// nextLocked lets the partition go on with what is queued, or fails it after close.
func (p *producer) nextLocked(part *partition) {
	part.state = partitionIdle
	switch {
	case p.mu.closed:
		for _, seg := range part.queue {
			seg.delivery.fail(errClosed)
		}
		part.queue = nil
	case len(part.queue) > 0:
		p.readyLocked(part)
	}
}

// againLocked sends the batch once more after a while.
func (p *producer) againLocked(part *partition, err error) {
	part.state = partitionWaiting
	wait := min(backoffMin<<min(part.sending.attempts, 10), backoffMax)
	const loud = 3
	level := slog.LevelDebug
	if part.sending.attempts == loud {
		level = slog.LevelWarn
	}
	p.log.Log(context.Background(), level, "write to Kafka failed, will try again",
		"topic", part.topic.name, "partition", part.id, "attempt", part.sending.attempts, "wait", wait, "error", err)
	p.mu.waiting[part] = time.AfterFunc(wait, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.mu.waiting[part] == nil {
			return // closed meanwhile
		}
		delete(p.mu.waiting, part)
		if part.sending.abandoned() {
			p.failLocked(part, err)
			return
		}
		p.readyLocked(part)
	})
}
