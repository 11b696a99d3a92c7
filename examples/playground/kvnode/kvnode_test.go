package kvnode

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/coprocessor"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/tidb/pkg/util/codec"
)

func TestCongestedIsField8(t *testing.T) {
	for _, region := range []uint64{1, 300, math.MaxUint64} {
		e := &cdcpb.Error{XXX_unrecognized: congested(region)}
		data, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if len(data) < 3 || data[0] != 0x42 || int(data[1]) != len(data)-2 || data[2] != 0x08 {
			t.Fatalf("congested %d is %x, want field 8 with field 1 in it", region, data)
		}
		if _, got, err := codec.DecodeUvarint(data[3:]); err != nil || got != region {
			t.Errorf("congested has region %d, want %d (%v)", got, region, err)
		}
	}
}

func TestResolvedBatches(t *testing.T) {
	var list []regionTs
	for i := range 200 {
		list = append(list, regionTs{region: uint64(i), ts: uint64(1000 - i)})
	}
	var sizes []int
	var last uint64
	for _, b := range resolvedBatches(7, list) {
		sizes = append(sizes, len(b.Regions))
		if b.Ts <= last || b.RequestId != 7 {
			t.Errorf("batch %v after ts %d, want request 7 and a higher ts", b, last)
		}
		last = b.Ts
		if want := 1000 - b.Regions[0]; b.Ts != want {
			t.Errorf("batch has ts %d, want the least, %d", b.Ts, want)
		}
	}
	if want := []int{8, 32, 128, 32}; !reflect.DeepEqual(sizes, want) {
		t.Errorf("batches of %v, want %v", sizes, want)
	}
}

func TestCutPoints(t *testing.T) {
	r := func(start, end string) *coprocessor.KeyRange {
		return &coprocessor.KeyRange{Start: []byte(start), End: []byte(end)}
	}
	for _, tc := range []struct{ in, want []*coprocessor.KeyRange }{
		{nil, nil},
		{[]*coprocessor.KeyRange{r("a", "c")}, []*coprocessor.KeyRange{r("a", "c")}},
		{[]*coprocessor.KeyRange{r("a", "a\x00")}, []*coprocessor.KeyRange{r("a", "a\x00\x00")}},
		{[]*coprocessor.KeyRange{r("a", "b")}, []*coprocessor.KeyRange{r("a", "a\x00\x00"), r("a\x00\x00", "b")}},
		{
			[]*coprocessor.KeyRange{r("a", "c"), r("d", "e"), r("f", "h")},
			[]*coprocessor.KeyRange{r("a", "c"), r("d", "d\x00\x00"), r("d\x00\x00", "e"), r("f", "h")},
		},
	} {
		if got := cutPoints(tc.in); fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("cutPoints(%v) = %v, want %v", tc.in, got, tc.want)
		}
	}
}

func TestSubscriptionBounds(t *testing.T) {
	enc := func(s string) []byte { return codec.EncodeBytes(nil, []byte(s)) }
	r, err := newRegion(&metapb.Region{Id: 1, StartKey: enc("c"), EndKey: enc("m")}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		start, end []byte
		want       string
	}{
		{nil, nil, "c-m"},
		{enc("a"), enc("z"), "c-m"},
		{enc("d"), enc("e"), "d-e"},
		{[]byte("not encoded"), []byte("not encoded"), "c-m"},
	} {
		s := newSubscription(nil, r, &cdcpb.ChangeDataRequest{StartKey: tc.start, EndKey: tc.end})
		if got := string(s.start) + "-" + string(s.end); got != tc.want {
			t.Errorf("subscription of [%q, %q) covers %s, want %s", tc.start, tc.end, got, tc.want)
		}
	}
}

func TestSourceFilter(t *testing.T) {
	for _, tc := range []struct {
		source uint64
		loop   bool
		want   bool
	}{
		{0, false, true},
		{0, true, true},
		{1, false, true},
		{1, true, false},
		{1 << 8, false, false},
		{1 << 16, false, false},
		{1<<8 | 1, true, false},
	} {
		s := &subscription{filterLoop: tc.loop}
		if got := s.wants(&cdcpb.Event_Row{TxnSource: tc.source}); got != tc.want {
			t.Errorf("source %#x, filter loop %v: wanted is %v, want %v", tc.source, tc.loop, got, tc.want)
		}
	}
}

func TestRegionKeys(t *testing.T) {
	if _, err := newRegion(&metapb.Region{Id: 1, StartKey: []byte("not encoded")}, nil, nil); err == nil {
		t.Error("a region with an undecodable key was accepted")
	}
}

func newTestStream() *feedStream {
	c := &Cluster{cfg: Config{StreamQuota: 100}.withDefaults()}
	c.hub = newHub(c)
	return newFeedStream(&store{cluster: c}, true)
}

func TestStreamQueue(t *testing.T) {
	st := newTestStream()
	st.pushRows(1, 1, nil, 60)
	st.pushRows(2, 1, nil, 60)
	if !st.full() {
		t.Fatal("a stream over its quota is not full")
	}
	room := make(chan bool)
	go func() { room <- st.waitRoom(nil) }()
	items, _ := st.take()
	if len(items) != 2 || items[0].event.RegionId != 1 || items[1].event.RegionId != 2 {
		t.Fatalf("took %v, want both events in order", items)
	}
	if !st.full() {
		t.Error("items count until they are sent")
	}
	st.sent(items)
	if !<-room {
		t.Error("a waiter got no room")
	}
	if got := st.hub.stats.queued.Load(); got != 0 {
		t.Errorf("%d bytes are left in the statistics, want 0", got)
	}

	st.pushRows(1, 1, nil, 200)
	done := make(chan struct{})
	close(done)
	if st.waitRoom(done) {
		t.Error("a waiter got room in a full queue")
	}
	st.forget()
	if got := st.hub.stats.queued.Load(); got != 0 {
		t.Errorf("%d bytes of an ended stream are left in the statistics, want 0", got)
	}
}

func TestStreamDelay(t *testing.T) {
	st := newTestStream()
	st.hub.delay.Store(int64(time.Hour))
	st.pushRows(1, 1, nil, 1)
	st.hub.delay.Store(0)
	st.pushRows(2, 1, nil, 1)
	if items, wait := st.take(); len(items) != 0 || wait <= 0 {
		t.Errorf("took %d items and waits %v, want none before its time", len(items), wait)
	}
}

func TestFailuresAreUsedUp(t *testing.T) {
	c := &Cluster{}
	c.hub = newHub(c)
	for _, f := range []Failure{{Count: 2, Kind: NotLeader}, {Count: 1, Kind: Congested}} {
		if err := c.FailRegistrations(f); err != nil {
			t.Fatal(err)
		}
	}
	var got []FailureKind
	for f, ok := c.hub.faults.next(); ok; f, ok = c.hub.faults.next() {
		got = append(got, f.Kind)
	}
	if want := []FailureKind{NotLeader, NotLeader, Congested}; !reflect.DeepEqual(got, want) {
		t.Errorf("failures %v, want %v", got, want)
	}
}
