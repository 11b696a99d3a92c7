package puller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// stream is one gRPC stream to a store, from its first request to its end.
type stream struct {
	client *Client
	store  *store
	// only is the subscription of an EventFeed stream, which cannot be shared;
	// nil for EventFeedV2.
	only  *Subscription
	start time.Duration // client clock: not to be opened earlier

	wake  chan struct{} // capacity 1: there is something to send
	clock streamClock

	mu struct {
		sync.Mutex
		subs     map[uint64]*feedSub
		regions  int // in all subs
		ended    bool
		cause    error // why the client ended it
		pending  []*region
		cancels  []cancelRequest
		scanning int           // requests sent whose scan has not ended
		idleAt   time.Duration // stream clock: when the last region left
		// inspectAt: until then, on the stream clock, no region can have been silent for
		// too long, nor its deregistration unconfirmed.
		inspectAt time.Duration
		cancel    context.CancelFunc
	}

	// Owned by the receiving goroutine.
	worked    bool           // a message has come
	grown     int64          // bytes that matchers took in since they were relieved
	dirty     []*feedSub     // have rows
	arena     arena          // of their bytes
	resolved  wireResolvedTs // scratch of handle
	heartbeat []*region      // scratch of handleResolved
}

// feedSub is what a stream knows of a subscription.
type feedSub struct {
	sub     *Subscription
	regions map[uint64]*region // guarded by stream.mu
	sent    bool               // a request has been sent; guarded by stream.mu
	batch                      // owned by the receiving goroutine
}

// cancelRequest asks the store to deregister a region, or all of a subscription's if region is 0.
type cancelRequest struct {
	sub, region uint64
}

func newStream(c *Client, st *store, only *Subscription, start time.Duration) *stream {
	s := &stream{client: c, store: st, only: only, start: start, wake: make(chan struct{}, 1)}
	s.mu.subs = make(map[uint64]*feedSub)
	s.clock.start = time.Now()
	return s
}

// register gives the region to the stream, which will send its request. The
// region is known before the request is sent, since the answer can be faster
// than the return of Send. False means that the stream has ended.
func (s *stream) register(r *region) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended {
		return false
	}
	if r.sub.stopped() {
		// Close visits the streams after it has set the flag, so none is missed.
		r.state = regionRemoved
		return true
	}
	fs := s.mu.subs[r.sub.id]
	if fs == nil {
		fs = &feedSub{sub: r.sub, regions: make(map[uint64]*region)}
		s.mu.subs[r.sub.id] = fs
	}
	r.stream = s
	r.lastSeen = s.clock.now()
	r.matcher.seed = s.client.seed
	r.matcher.startTs = r.sub.startTs
	r.matcher.resolvedTs = r.checkpoint
	fs.regions[r.id()] = r
	s.mu.regions++
	s.mu.pending = append(s.mu.pending, r)
	s.poke()
	return true
}

func (s *stream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// stop gives a normal region up: the store is asked to deregister it, and when it
// confirms, or reports an error of its own, the region fails with err.
// EventFeed has no deregister; there the whole stream is given up.
func (s *stream) stop(r *region, err *regionError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.state != regionNormal {
		return
	}
	r.state, r.stopErr, r.stoppedAt = regionStopping, err, s.clock.now()
	s.mu.inspectAt = min(s.mu.inspectAt, r.stoppedAt+s.client.cfg.DeregisterTimeout)
	if s.only != nil {
		s.endLocked(err)
		return
	}
	s.mu.cancels = append(s.mu.cancels, cancelRequest{r.sub.id, r.id()})
	s.poke()
}

// removeLocked takes a region out of the stream, once.
func (s *stream) removeLocked(r *region) bool {
	if r.state == regionRemoved {
		return false
	}
	r.state = regionRemoved
	if r.scanning {
		r.scanning = false
		s.mu.scanning--
		s.poke()
	}
	if fs := s.mu.subs[r.sub.id]; fs != nil && fs.regions[r.id()] == r {
		delete(fs.regions, r.id())
		s.mu.regions--
	}
	if s.mu.regions == 0 {
		s.mu.idleAt = s.clock.now()
	}
	return true
}

// drop removes a closed subscription. Its regions are not reported as failed.
func (s *stream) drop(sub *Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fs := s.mu.subs[sub.id]
	if fs == nil || s.mu.ended {
		return
	}
	for _, r := range fs.regions {
		s.removeLocked(r)
	}
	delete(s.mu.subs, sub.id)
	switch {
	case s.only != nil:
		s.endLocked(nil)
	case fs.sent:
		s.mu.cancels = append(s.mu.cancels, cancelRequest{sub: sub.id})
		s.poke()
	}
}

// endLocked makes run return. The regions fail with cause, or with what the stream reports.
func (s *stream) endLocked(cause error) {
	if s.mu.cause == nil {
		s.mu.cause = cause
	}
	s.mu.ended = true
	if s.mu.cancel != nil {
		s.mu.cancel()
	}
}

// run opens the stream and serves it until it ends. Whatever the reason, EOF
// included, every region of it then fails, once.
func (s *stream) run(runCtx context.Context) {
	ctx, cancel := context.WithCancel(runCtx)
	defer cancel()
	s.mu.Lock()
	s.mu.cancel = cancel
	if s.mu.ended {
		cancel()
	}
	s.mu.Unlock()

	err := s.serve(ctx)

	s.mu.Lock()
	s.mu.ended = true
	if s.mu.cause != nil {
		err = s.mu.cause
	}
	var failed []*region
	for _, fs := range s.mu.subs {
		for _, r := range fs.regions {
			failed = append(failed, r)
		}
	}
	for _, r := range failed {
		s.removeLocked(r)
	}
	s.mu.subs, s.mu.pending, s.mu.cancels = nil, nil, nil
	s.mu.Unlock()

	failure := s.failure(err)
	s.store.streamEnded(s, failure.kind, len(failed) > 0)
	if runCtx.Err() != nil {
		return // the client ends, which says nothing about regions or stores
	}
	for _, r := range failed {
		if r.stopErr != nil {
			s.client.regionFailed(r, r.stopErr)
			continue
		}
		s.client.regionFailed(r, failure)
	}
}

// failure turns the end of the stream into the failure of its regions.
func (s *stream) failure(err error) *regionError {
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("closed by the store")
	}
	var known *regionError
	switch {
	case errors.As(err, &known):
		return known
	case s.only == nil && status.Code(err) == codes.Unimplemented:
		return &regionError{kind: kindNoMultiplexing, err: err}
	case s.worked:
		return &regionError{kind: kindStreamBroken, err: err}
	}
	return &regionError{kind: kindUnreachable, err: err}
}

// serve opens the gRPC stream, receives in the calling goroutine and sends in another.
func (s *stream) serve(ctx context.Context) error {
	if wait := s.start - s.client.now(); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	conn, err := s.store.acquire()
	if err != nil {
		return err
	}
	defer s.store.release(conn)
	feed, err := s.open(ctx, conn)
	if err != nil {
		return fmt.Errorf("open event feed to %s: %w", s.store.addr, err)
	}
	sendCtx, stopSending := context.WithCancel(ctx)
	sent := make(chan struct{})
	// Ends when serve returns, or when the stream does not take requests any
	// more; then Recv returns the reason.
	go func() {
		defer close(sent)
		s.send(sendCtx, feed)
	}()
	err = s.receive(feed)
	stopSending()
	<-sent
	return err
}

func (s *stream) open(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	codec := grpc.ForceCodecV2(frameCodec{&s.client.frames})
	if s.only != nil {
		return conn.NewStream(ctx, desc, "/cdcpb.ChangeData/EventFeed", codec)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "features", "stream-multiplexing")
	return conn.NewStream(ctx, desc, "/cdcpb.ChangeData/EventFeedV2", codec)
}

// send sends requests as the scan window permits.
func (s *stream) send(ctx context.Context, feed grpc.ClientStream) {
	var reqs []*cdcpb.ChangeDataRequest
	for {
		reqs = s.sendable(reqs[:0])
		for _, req := range reqs {
			if feed.SendMsg(req) != nil {
				return // Recv knows why
			}
		}
		if len(reqs) > 0 {
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// sendable takes the next requests to send: deregistrations, then registrations
// within the window. A deregistration never concerns a pending registration: one
// of the same region is only made after the former has been confirmed.
func (s *stream) sendable(reqs []*cdcpb.ChangeDataRequest) []*cdcpb.ChangeDataRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	header := s.client.header
	for _, c := range s.mu.cancels {
		reqs = append(reqs, &cdcpb.ChangeDataRequest{
			Header: header, RequestId: c.sub, RegionId: c.region,
			Request: &cdcpb.ChangeDataRequest_Deregister_{Deregister: &cdcpb.ChangeDataRequest_Deregister{}},
		})
	}
	s.mu.cancels = s.mu.cancels[:0]
	n := 0
	for ; n < len(s.mu.pending) && s.mu.scanning < s.client.cfg.ScanWindow; n++ {
		r := s.mu.pending[n]
		if r.state != regionNormal {
			continue
		}
		r.sent, r.scanning = true, true
		r.lastSeen = s.clock.now()
		s.mu.scanning++
		s.mu.subs[r.sub.id].sent = true
		reqs = append(reqs, r.request(header))
	}
	clear(s.mu.pending[:n])
	s.mu.pending = s.mu.pending[n:]
	if len(s.mu.pending) == 0 {
		s.mu.pending = nil
	}
	return reqs
}

// receive handles messages until the stream ends.
func (s *stream) receive(feed grpc.ClientStream) error {
	for {
		var msg *frame
		if err := feed.RecvMsg(&msg); err != nil {
			return err
		}
		s.worked = true
		s.clock.pause()
		err := s.handle(msg)
		s.clock.resume()
		s.client.frames.release(msg)
		if err != nil {
			return err
		}
	}
}

// inspect is called now and then. It gives up regions that receive nothing, and the
// stream itself if the store does not confirm a deregistration, or if the stream
// has been of no use for a while.
func (s *stream) inspect(cfg *Config) {
	s.mu.Lock()
	now := s.clock.now()
	var silent []*region
	if now >= s.mu.inspectAt {
		silent = s.inspectRegionsLocked(cfg, now)
	}
	if s.mu.regions == 0 && now-s.mu.idleAt > cfg.IdleStreamTimeout {
		s.endLocked(nil)
	}
	s.mu.Unlock()
	for _, r := range silent {
		s.stop(r, &regionError{kind: kindSilent, err: fmt.Errorf("nothing received for %s", cfg.SilentRegionTimeout)})
	}
}

// inspectRegionsLocked returns the regions that have been silent for too long, and
// sets inspectAt to when the next can have been: with regular heartbeats not much
// less than the timeout from now, so that looking at very many regions does not
// matter. Whatever happens to a region until then puts that off, except stop: a
// request that is sent, and the end of a scan, are a sign of life.
func (s *stream) inspectRegionsLocked(cfg *Config, now time.Duration) (silent []*region) {
	s.mu.inspectAt = now + cfg.SilentRegionTimeout
	for _, fs := range s.mu.subs {
		for _, r := range fs.regions {
			var due time.Duration
			switch {
			case r.state == regionStopping:
				due = r.stoppedAt + cfg.DeregisterTimeout
			case !r.sent:
				continue
			case r.scanning:
				due = r.lastSeen + scanPatience*cfg.SilentRegionTimeout
			default:
				due = r.lastSeen + cfg.SilentRegionTimeout
			}
			switch {
			case now <= due:
				s.mu.inspectAt = min(s.mu.inspectAt, due)
			case r.state == regionStopping:
				s.endLocked(fmt.Errorf("store did not confirm within %s that region %d is deregistered", cfg.DeregisterTimeout, r.id()))
			default:
				silent = append(silent, r)
			}
		}
	}
	return silent
}

// scanPatience multiplies SilentRegionTimeout for a region whose scan has not
// ended: it may wait long for its turn in the store, and has no heartbeat.
const scanPatience = 20

// streamClock measures the time that a stream was ready to receive. It stands
// still while a message is handled: when a receiver blocks for minutes, the
// regions of the stream have not been silent.
type streamClock struct {
	start   time.Time
	paused  atomic.Int64 // total, in nanoseconds
	blocked atomic.Int64 // since when it stands still, after start; 0: it runs
}

func (c *streamClock) now() time.Duration {
	now := time.Since(c.start)
	if b := c.blocked.Load(); b != 0 {
		now = time.Duration(b)
	}
	return now - time.Duration(c.paused.Load())
}

func (c *streamClock) pause() { c.blocked.Store(int64(time.Since(c.start))) }

func (c *streamClock) resume() {
	c.paused.Add(int64(time.Since(c.start)) - c.blocked.Load())
	c.blocked.Store(0)
}
