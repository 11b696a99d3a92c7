package puller

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/tikv/client-go/v2/tikv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

func TestRetryDelay(t *testing.T) {
	const base, limit = 50 * time.Millisecond, 2 * time.Second
	for attempt, most := range map[int]time.Duration{
		0: base, 1: base, 2: 2 * base, 3: 4 * base, 6: 32 * base, 7: limit, 30: limit, 1 << 40: limit,
	} {
		varied := false
		first := retryDelay(base, limit, attempt)
		for range 1000 {
			d := retryDelay(base, limit, attempt)
			if d > most || d < most/2 {
				t.Fatalf("attempt %d: %s, want %s to %s", attempt, d, most/2, most)
			}
			varied = varied || d != first
		}
		if !varied {
			t.Errorf("attempt %d: always %s", attempt, first)
		}
	}
}

// Tasks come when they are due, whatever the order in which they are queued,
// also those that were queued before run.
func TestTaskQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTaskQueue()
		start := time.Now()
		push := func(name string, delay time.Duration) {
			q.push(&rangeTask{keyRange: keyRange{start: []byte(name)}}, delay)
		}
		push("early", 0)
		push("hour", time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			q.run(ctx)
		}()
		expect := func(name string, at time.Duration) {
			t.Helper()
			task := <-q.ready
			if got := time.Since(start); string(task.start) != name || got != at {
				t.Errorf("%s after %s, want %s after %s", task.start, got, name, at)
			}
		}
		expect("early", 0)
		push("minute", time.Minute)
		push("second", time.Second)
		expect("second", time.Second)
		push("now", 0)
		expect("now", time.Second)
		expect("minute", time.Minute)
		expect("hour", time.Hour)
		synctest.Wait()
		push("two hours", time.Hour)
		expect("two hours", 2*time.Hour)
		push("nobody wants it", 0)
		synctest.Wait()
		cancel()
		<-done
	})
}

// A range that keeps failing is tried ever more slowly; one that has worked for
// a while is tried at once.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{})
		sub := c.Subscribe(event.Span{}, 5, nil)
		fail := func(r *region) *rangeTask {
			r.segment = sub.ranges.lock(keyRange{}, r, nil).segment
			c.regionFailed(r, &regionError{kind: kindCongested})
			task, wait := c.tasks.pop()
			if task == nil {
				time.Sleep(wait)
				task, _ = c.tasks.pop()
			}
			return task
		}
		_, _ = c.tasks.pop() // of Subscribe
		attempt := 0
		for want := range 20 {
			start := time.Now()
			task := fail(&region{sub: sub, verID: tikv.NewRegionVerID(1, 1, 1), attempt: attempt})
			attempt = task.attempt
			if attempt != want+1 {
				t.Fatalf("attempt %d, want %d", attempt, want+1)
			}
			if d := time.Since(start); d > c.cfg.RetryMax || d < min(c.cfg.RetryBase<<want, c.cfg.RetryMax)/2 {
				t.Errorf("attempt %d after %s", attempt, d)
			}
		}
		for _, tc := range []struct {
			lived time.Duration
			want  int
		}{{settled - 1, attempt + 1}, {settled, 1}} {
			r := &region{sub: sub, verID: tikv.NewRegionVerID(1, 1, 1), attempt: attempt, initAt: c.now()}
			time.Sleep(tc.lived)
			if task := fail(r); task.attempt != tc.want {
				t.Errorf("failed %s after its scan: attempt %d, want %d", tc.lived, task.attempt, tc.want)
			}
		}
	})
}

// A receiver that blocks for long must not make its regions look silent, and
// real silence must be seen.
func TestSilenceIsNotBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{})
		sub := c.Subscribe(event.Span{}, 5, deaf{})
		s := newStream(c, newStore(c, "store"), nil, 0)
		r := &region{sub: sub, verID: tikv.NewRegionVerID(1, 1, 1)}
		r.segment = sub.ranges.lock(keyRange{}, r, nil).segment
		if !s.register(r) {
			t.Fatal("the stream has ended")
		}
		inspect := func(what string, want regionState) {
			t.Helper()
			s.inspect(&c.cfg)
			if r.state != want {
				t.Errorf("%s: state %d, want %d", what, r.state, want)
			}
		}
		time.Sleep(time.Hour)
		inspect("not sent yet", regionNormal)
		c.header = &cdcpb.Header{}
		if reqs := s.sendable(nil); len(reqs) != 1 {
			t.Fatalf("%d requests, want 1", len(reqs))
		}
		time.Sleep(scanPatience * c.cfg.SilentRegionTimeout)
		inspect("waiting for its scan", regionNormal)
		initialized := &cdcpb.ChangeDataEvent{Events: []*cdcpb.Event{{
			RequestId: sub.id, RegionId: 1,
			Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{
				Entries: []*cdcpb.Event_Row{{Type: cdcpb.Event_INITIALIZED}},
			}},
		}}}
		if err := s.handle(frameOf(t, initialized)); err != nil {
			t.Fatal(err)
		}
		if r.scanning || s.mu.scanning != 0 {
			t.Errorf("%d scans after the only one has ended", s.mu.scanning)
		}
		s.clock.pause()
		time.Sleep(time.Hour)
		inspect("while the receiver blocks", regionNormal)
		s.clock.resume()
		inspect("just afterwards", regionNormal)
		time.Sleep(c.cfg.SilentRegionTimeout)
		inspect("at the limit", regionNormal)
		s.handleResolved(sub.id, []uint64{1}, 0, s.clock.now())
		time.Sleep(c.cfg.SilentRegionTimeout)
		inspect("after a heartbeat without a ts", regionNormal)
		time.Sleep(time.Nanosecond)
		inspect("silent", regionStopping)
		time.Sleep(c.cfg.DeregisterTimeout + 1)
		inspect("not confirmed", regionStopping)
		if !s.mu.ended {
			t.Error("the stream goes on, although the store does not confirm")
		}
	})
}

// deaf is a Receiver that nobody asks what it got.
type deaf struct{}

func (deaf) Receive([]rawkv.Entry) {}
func (deaf) Resolve(event.Ts)      {}
func (deaf) Fail(error)            {}

// No more requests than the window are in their scan at a time; deregistrations do not wait.
func TestScanWindow(t *testing.T) {
	c := New(Config{ScanWindow: 3})
	c.header = &cdcpb.Header{}
	s := newStream(c, newStore(c, "store"), nil, 0)
	var regions []*region
	sub := c.Subscribe(event.Span{}, 5, nil)
	for i := range 10 {
		r := &region{sub: sub, verID: tikv.NewRegionVerID(uint64(i+1), 1, 1)}
		regions = append(regions, r)
		s.register(r)
	}
	count := func(want int) {
		t.Helper()
		if n := len(s.sendable(nil)); n != want {
			t.Errorf("%d requests, want %d", n, want)
		}
	}
	count(3)
	count(0)
	s.mu.Lock()
	s.removeLocked(regions[0])
	s.removeLocked(regions[0])
	s.removeLocked(regions[5]) // was not sent
	s.mu.Unlock()
	count(1)
	s.stop(regions[1], &regionError{kind: kindSilent})
	count(1)
	other := c.Subscribe(event.Span{}, 5, nil)
	s.register(&region{sub: other, verID: tikv.NewRegionVerID(1, 1, 1)})
	s.drop(sub)
	reqs := s.sendable(nil)
	if len(reqs) != 2 || reqs[0].GetDeregister() == nil || reqs[1].RequestId != other.id {
		t.Errorf("requests %v, want to deregister the first subscription and to register the other", reqs)
	}
	if s.mu.scanning != 1 || s.mu.regions != 1 {
		t.Errorf("%d scans, %d regions, want 1 and 1", s.mu.scanning, s.mu.regions)
	}
	other.Close()
	if s.register(&region{sub: other, verID: tikv.NewRegionVerID(2, 1, 1)}); s.mu.regions != 1 {
		t.Error("a closed subscription was registered")
	}
}

func TestClassify(t *testing.T) {
	if len(kindNames) != int(kindCount) || kindNames[kindClusterMismatch] == "" {
		t.Errorf("names of errors: %q", kindNames)
	}
	for _, name := range kindNames {
		if name == "" {
			t.Error("an error without a name")
		}
	}
	if got := fmt.Sprint(classify(&cdcpb.Error{})); got != "unknown error" {
		t.Errorf("empty error: %s", got)
	}
}

// BenchmarkIdleSpans is one tick of a store for spans of one region each, which
// is what an idle table costs. B/span is what it holds.
func BenchmarkIdleSpans(b *testing.B) {
	for _, n := range []int{1000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			c := New(Config{ScanWindow: n})
			c.header = &cdcpb.Header{}
			s := newStream(c, newStore(c, "store"), nil, 0)
			for range n {
				sub := c.Subscribe(event.Span{}, 5, deaf{})
				_, _ = c.tasks.pop()
				r := &region{sub: sub, verID: tikv.NewRegionVerID(sub.id, 1, 1)}
				r.segment = sub.ranges.lock(keyRange{}, r, nil).segment
				s.register(r)
			}
			s.sendable(nil)
			handle := func(msg *cdcpb.ChangeDataEvent) {
				if err := s.handle(frameOf(b, msg)); err != nil {
					b.Fatal(err)
				}
			}
			for i := range n {
				id := uint64(i + 1)
				handle(&cdcpb.ChangeDataEvent{Events: []*cdcpb.Event{{
					RequestId: id, RegionId: id,
					Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: []*cdcpb.Event_Row{{Type: cdcpb.Event_INITIALIZED}}}},
				}}})
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportAllocs()
			ts := uint64(10)
			msg := &cdcpb.ChangeDataEvent{ResolvedTs: &cdcpb.ResolvedTs{Regions: []uint64{0}}}
			for b.Loop() {
				ts++
				for id := range uint64(n) {
					*msg.ResolvedTs = cdcpb.ResolvedTs{Regions: append(msg.ResolvedTs.Regions[:0], id+1), RequestId: id + 1, Ts: ts}
					handle(msg)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/span")
			b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/float64(n), "B/span")
			runtime.KeepAlive(s)
		})
	}
}

// A task that found older regions in its way goes on when they have ended.
func TestWaitingTasks(t *testing.T) {
	c := New(Config{})
	sub := c.Subscribe(event.Span{Start: []byte("a"), End: []byte("z")}, 5, deaf{})
	whole, _ := c.tasks.pop()
	old := &region{sub: sub, keyRange: keyRange{[]byte("a"), []byte("m")}, verID: tikv.NewRegionVerID(1, 1, 1)}
	old.segment = sub.ranges.lock(old.keyRange, old, nil).segment
	if rest := c.assign(t.Context(), whole, keyRange{}, tikv.NewRegionVerID(1, 1, 2)); len(rest) != 0 {
		t.Fatalf("left to do: %v, want to wait", rest)
	}
	if task, _ := c.tasks.pop(); task != nil {
		t.Fatal("the task did not wait")
	}
	c.regionFailed(old, &regionError{kind: kindBusy, backoff: time.Hour})
	task, _ := c.tasks.pop()
	if task == nil || string(task.start) != "a" || string(task.end) != "z" {
		t.Errorf("task %+v, want the one that waited", task)
	}
}

// A stream that ends postpones the next one, and does not disturb it if it is there already.
func TestStreamSuccession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{})
		st := newStore(c, "store")
		sub := c.Subscribe(event.Span{}, 5, deaf{})
		time.Sleep(time.Minute)
		first, _ := st.stream(sub)
		st.forget(first)
		second, _ := st.stream(sub)
		st.streamEnded(first, kindStreamBroken, true)
		if s, created := st.stream(sub); created || s != second {
			t.Error("the end of the first stream removed the second")
		}
		st.streamEnded(second, kindStreamBroken, true)
		if third, _ := st.stream(sub); third.start != c.now()+c.cfg.ReconnectDelay {
			t.Errorf("the next stream starts at %s, now is %s", third.start, c.now())
		}
		// Without EventFeedV2 the next stream need not wait.
		fourth := newStream(c, st, nil, 0)
		st.streamEnded(fourth, kindNoMultiplexing, true)
		if s, _ := st.stream(sub); s.only != sub {
			t.Error("streams are still shared")
		}
	})
}

// blocking is a Receiver whose Receive waits, and which notes the order of calls.
type blocking struct {
	begun, release chan struct{}
	calls          chan string
}

func (b blocking) Receive([]rawkv.Entry) {
	close(b.begun)
	<-b.release
	b.calls <- "receive"
}
func (b blocking) Resolve(event.Ts) { b.calls <- "resolve" }
func (b blocking) Fail(error)       { b.calls <- "fail" }

// Fail is the last call: it waits for those in progress. After Close there is none.
func TestNothingFollowsTheEnd(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			out := blocking{make(chan struct{}), make(chan struct{}), make(chan string, 10)}
			sub := New(Config{}).Subscribe(event.Span{}, 5, out)
			rows := make([]rawkv.Entry, 1)
			go sub.receive(rows)
			<-out.begun
			sub.stop(context.DeadlineExceeded)
			if closed {
				sub.Close()
			}
			sub.receive(rows)
			sub.ranges.uncovered = 0
			sub.resolve()
			select {
			case <-sub.Done():
				t.Error("done while a call is in progress")
			default:
			}
			close(out.release)
			<-sub.Done()
			close(out.calls)
			got := ""
			for call := range out.calls {
				got += call + " "
			}
			if want := map[bool]string{false: "receive fail ", true: "receive "}[closed]; got != want {
				t.Errorf("closed %v: calls %s, want %s", closed, got, want)
			}
		})
	}
}
