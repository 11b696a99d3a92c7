package puller_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
)

// Scenarios of several subscriptions on a stream, and of what a store may send.

// 14a, b: without EventFeedV2 every subscription has a stream of its own.
func TestStoreWithoutMultiplexing(t *testing.T) {
	c := newCluster(t, clusterOptions{store: storeOptions{noV2: true}})
	client := c.start(nil)
	left, right := newRecorder(t), newRecorder(t)
	sub := client.Subscribe(span("a", "m"), 100, left)
	client.Subscribe(span("m", "z"), 100, right)
	reqs := c.stores[0].nextOf("a-m", "m-z")
	if reqs[0].feed == reqs[1].feed {
		t.Fatal("two subscriptions share a stream")
	}
	for i, r := range reqs {
		r.rows(prewrite("b", "x", 110), prewrite("n", "x", 110))
		r.initialized()
		r.rows(commit("b", 110, 120), commit("n", 110, 120))
		r.resolved(uint64(130 + i)) // without a request id
	}
	left.awaitResolved(130)
	right.awaitResolved(131)
	left.awaitRows("b=x@120")
	right.awaitRows("n=x@120")
	// Closing one ends its stream, and only that.
	sub.Close()
	<-reqs[0].feed.raw.Context().Done()
	reqs[1].resolved(140)
	right.awaitResolved(140)
	// A region that is given up takes the stream with it.
	reqs[1].rows(commit("never written", 150, 160))
	reqs[1].rows(commit("n", 150, 160))
	r := c.stores[0].next("m-z", 140)
	r.initialized()
	r.resolved(170)
	right.awaitResolved(170)
}

// 14d: stores that do not batch resolved ts.
func TestResolvedTsPerRegion(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 100, out)
	r := c.stores[0].next("a-z", 100)
	r.initialized()
	r.send(
		&cdcpb.Event{Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: []*cdcpb.Event_Row{committed("k", "v", 110, 120)}}}},
		&cdcpb.Event{Event: &cdcpb.Event_ResolvedTs{ResolvedTs: 120}},
		&cdcpb.Event{Event: &cdcpb.Event_LongTxn_{LongTxn: &cdcpb.Event_LongTxn{}}},
		&cdcpb.Event{},
	)
	out.awaitResolved(120)
	out.awaitRows("k=v@120")
}

// 30
func TestResolvedTsGroups(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	second := c.split(c.region, "g")
	third := c.split(second, "m")
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	reqs := c.stores[0].nextOf("a-g", "g-m", "m-z")
	for _, r := range reqs {
		r.initialized()
	}
	const unknown = 99
	r := reqs[0]
	r.resolved(100, c.region, second, third)
	out.awaitResolved(100)
	r.resolved(90, second)
	r.resolved(110, unknown, c.region)
	r.resolved(120, second, third)
	out.awaitResolved(110) // region 2 was not set back, region 1 was not forgotten
	// Nor was what region 2 may still send.
	reqs[1].resolved(90)
	reqs[1].rows(committed("h", "v", 111, 115))
	c.stores[0].next("g-m", 120)
}

// 31
func TestResolvedTsOutOfPlace(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	r := c.stores[0].next("a-z", 50)
	r.resolved(70) // before the scan has ended
	r.initialized()
	out.awaitResolved(50)
	r.resolved(0) // PD does not answer the store
	other := *r.ChangeDataRequest
	other.RequestId = 4711
	(&request{&other, r.feed}).resolved(80)
	r.resolved(90)
	out.awaitResolved(90)
	old := *r
	r.fail(epochNotMatch())
	old.resolved(100) // after the error
	old.rows(committed("k", "late", 91, 95))
	r = c.stores[0].next("a-z", 90)
	r.initialized()
	r.resolved(110)
	out.awaitResolved(110)
	if len(out.rows) != 0 || out.calls != 3 {
		t.Errorf("%v, %d resolved ts, want no row and 3", out.rows, out.calls)
	}
}

// 32
func TestCloseAndSubscribeAgain(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	client := c.start(nil)
	before, after := newRecorder(t), newRecorder(t)
	sub := client.Subscribe(span("a", "z"), 50, before)
	old := c.stores[0].next("a-z", 50)
	old.initialized()
	before.awaitResolved(50)
	sub.Close()
	sub.Close()
	<-sub.Done()
	before.update(func() { before.closed = true })
	client.Subscribe(span("a", "z"), 60, after)
	d := <-c.stores[0].deregisters // and the store confirms it
	if d.RequestId != old.RequestId || d.RegionId != 0 {
		t.Errorf("deregistered %v, want all of request %d", d, old.RequestId)
	}
	r := c.stores[0].next("a-z", 60)
	old.rows(committed("k", "late", 61, 62))
	old.resolved(70)
	r.initialized()
	r.rows(committed("k", "v", 63, 64))
	r.resolved(80)
	after.awaitResolved(80)
	after.awaitRows("k=v@64")
	if n := c.stores[0].streams(); n != 1 {
		t.Errorf("%d streams, want 1", n)
	}
}

// A subscription may be closed by its receiver.
type closingReceiver struct {
	*recorder
	sub *puller.Subscription
	got chan struct{}
}

func (c closingReceiver) Resolve(event.Ts) {
	c.sub.Close()
	close(c.got)
}

// 33
func TestTwoSpansInOneRegion(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	client := c.start(nil)
	left, right := newRecorder(t), newRecorder(t)
	client.Subscribe(span("a", "m"), 50, left)
	client.Subscribe(span("m", "z"), 60, right)
	reqs := c.stores[0].nextOf("a-m", "m-z")
	if reqs[0].RegionId != reqs[1].RegionId || reqs[0].feed != reqs[1].feed {
		t.Fatal("want one region and one stream")
	}
	reqs[0].initialized()
	reqs[0].resolved(100)
	left.awaitResolved(100)
	if right.calls != 0 {
		t.Error("resolved ts of another subscription")
	}
	reqs[1].initialized()
	reqs[1].resolved(90)
	right.awaitResolved(90)
}

// 34
func TestFilteredSources(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out, puller.FilterLoop())
	r := c.stores[0].next("a-z", 50)
	r.rows(rollback("k", 55))
	r.initialized()
	r.rows(rollback("k", 65))
	r.resolved(100)
	out.awaitResolved(100)
	r.fail(epochNotMatch())
	again := c.stores[0].next("a-z", 100)
	if !r.FilterLoop || !again.FilterLoop {
		t.Errorf("filter_loop is %v, and %v when the region is subscribed again", r.FilterLoop, again.FilterLoop)
	}
}

// 36: a receiver that blocks stops the stream; when the store has given it up
// meanwhile, everything goes on from the resolved ts.
func TestSlowReceiver(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	client := c.start(nil)
	slow, other := newRecorder(t), newRecorder(t)
	slow.gate = make(chan struct{})
	client.Subscribe(span("a", "m"), 50, slow)
	client.Subscribe(span("m", "z"), 50, other)
	reqs := c.stores[0].nextOf("a-m", "m-z")
	for _, r := range reqs {
		r.initialized()
		r.resolved(100)
	}
	slow.awaitResolved(100)
	other.awaitResolved(100)
	reqs[0].rows(committed("b", "v", 105, 110))
	slow.awaitRows("b=v@110")
	reqs[0].resolved(120)
	reqs[0].rows(committed("c", "lost", 125, 130))
	reqs[1].resolved(120)
	reqs[0].feed.close(status.Error(codes.Unknown, "connection cancelled"))
	gate := slow.gate
	slow.update(func() { slow.gate = nil })
	close(gate)
	// What was sent before the end may or may not have arrived.
	for range reqs {
		r := c.stores[0].register()
		if r.span() == "a-m" {
			if r.CheckpointTs == 100 {
				r.rows(committed("b", "v", 105, 110))
			}
			r.rows(committed("c", "v", 125, 130))
		}
		r.initialized()
		r.resolved(140)
	}
	slow.awaitResolved(140)
	other.awaitResolved(140)
}

// 37
func TestRowsOutsideTheSpan(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	sub := c.start(nil).Subscribe(span("b", "m"), 50, out)
	r := c.stores[0].next("b-m", 50)
	r.rows(committed("a", "v", 55, 60), committed("b", "v", 55, 60), committed("m", "v", 55, 60), prewrite("z", "v", 65))
	r.initialized()
	r.rows(commit("z", 65, 70))
	r.resolved(80)
	out.awaitResolved(80)
	out.awaitRows("b=v@60")
	if n := sub.PendingBytes(); n != 0 {
		t.Errorf("%d bytes pending, want 0", n)
	}
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	serverTLS := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.RequireAnyClientCert,
	}
	c := newCluster(t, clusterOptions{store: storeOptions{creds: grpc.Creds(credentials.NewTLS(serverTLS))}})
	out := newRecorder(t)
	c.start(func(cfg *puller.Config) {
		cfg.TLS = &tls.Config{RootCAs: roots, Certificates: serverTLS.Certificates}
	}).Subscribe(span("a", "z"), 50, out)
	c.stores[0].next("a-z", 50).initialized()
	out.awaitResolved(50)
}

// A store before v7.4 takes a deregistration for another registration.
func TestDeregisterIsTakenForRegister(t *testing.T) {
	c := newCluster(t, clusterOptions{store: storeOptions{ignoreDeregister: true}})
	out := newRecorder(t)
	c.start(nil).Subscribe(span("a", "z"), 50, out)
	r := c.stores[0].next("a-z", 50)
	r.initialized()
	r.rows(commit("never written", 60, 70))
	<-c.stores[0].deregisters
	r.send(&cdcpb.Event{Event: &cdcpb.Event_Error{Error: &cdcpb.Error{
		DuplicateRequest: &cdcpb.DuplicateRequest{RegionId: r.RegionId},
	}}})
	c.stores[0].next("a-z", 50).initialized()
	out.awaitResolved(50)
	if n := c.stores[0].streams(); n != 2 {
		t.Errorf("%d streams, want 2", n)
	}
}

func TestEmptySpan(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	out := newRecorder(t)
	sub := c.start(nil).Subscribe(span("m", "b"), 50, out)
	<-sub.Done()
	if out.failure == nil {
		t.Error("an empty span did not fail")
	}
}

func TestCloseFromReceiver(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	client := puller.New(puller.Config{Store: c.kv, ClusterID: fakeClusterID})
	out := &closingReceiver{recorder: newRecorder(t), got: make(chan struct{})}
	out.sub = client.Subscribe(span("a", "z"), 50, out)
	c.run(client)
	c.stores[0].next("a-z", 50).initialized()
	<-out.got
	<-out.sub.Done()
	<-c.stores[0].deregisters
}
