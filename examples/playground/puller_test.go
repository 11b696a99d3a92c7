package playground_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc/metadata"
)

// retryDelay is how long the puller waits after a region error or a lost stream.
const retryDelay = 30 * time.Millisecond

// puller follows a key range through all region errors and keeps every version
// it is sent. It is as simple as a client can be that is right.
type puller struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	streams  map[uint64]*pullStream // by store
	spans    map[uint64]*span       // by request id
	requests uint64
	versions map[string]map[uint64]change // by key and commit ts
	counts   map[string]int
	problems []string
}

// change is one version of a key; a nil value is a deletion.
type change struct{ value, oldValue []byte }

// span is one registration. Keys are encoded, as regions have them.
type span struct {
	start, end  []byte
	resolved    uint64
	stream      *pullStream
	initialized bool
	prewrites   map[string]*cdcpb.Event_Row // by key: one lock at a time
	early       []*cdcpb.Event_Row          // COMMIT and ROLLBACK before INITIALIZED
}

type pullStream struct {
	store uint64
	sends sync.Mutex
	call  cdcpb.ChangeData_EventFeedV2Client
}

func newPuller(t *testing.T) *puller {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &puller{
		t: t, ctx: ctx, streams: map[uint64]*pullStream{}, spans: map[uint64]*span{},
		versions: map[string]map[uint64]change{}, counts: map[string]int{},
	}
}

func (p *puller) problemf(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// subscribe registers all regions of [start, end), encoded keys, and retries
// until it has done so.
func (p *puller) subscribe(start, end []byte, checkpoint uint64) {
	for p.ctx.Err() == nil {
		regions, err := p.regionsOf(start, end)
		if err != nil || len(regions) == 0 {
			time.Sleep(retryDelay)
			continue
		}
		for _, req := range regions {
			p.register(req.store, req.ChangeDataRequest, checkpoint)
			start = req.EndKey
		}
		if bytes.Equal(start, end) {
			return
		}
	}
}

type regionRequest struct {
	store uint64
	*cdcpb.ChangeDataRequest
}

// regionsOf asks PD for the regions from start on, without a gap.
func (p *puller) regionsOf(start, end []byte) ([]regionRequest, error) {
	regions, err := env.pd.ScanRegions(p.ctx, start, end, 64)
	if err != nil {
		return nil, err
	}
	var out []regionRequest
	for _, r := range regions {
		if bytes.Compare(r.Meta.StartKey, start) > 0 || r.Leader.GetStoreId() == 0 {
			break
		}
		req := &cdcpb.ChangeDataRequest{RegionId: r.Meta.Id, RegionEpoch: r.Meta.RegionEpoch, StartKey: start, EndKey: end}
		if len(r.Meta.EndKey) > 0 && bytes.Compare(r.Meta.EndKey, end) < 0 {
			req.EndKey = r.Meta.EndKey
		}
		out = append(out, regionRequest{r.Leader.StoreId, req})
		start = req.EndKey
	}
	return out, nil
}

func (p *puller) register(store uint64, req *cdcpb.ChangeDataRequest, checkpoint uint64) {
	p.mu.Lock()
	p.requests++
	id := p.requests
	s := &span{start: req.StartKey, end: req.EndKey, resolved: checkpoint, prewrites: map[string]*cdcpb.Event_Row{}}
	p.spans[id] = s
	stream, err := p.streamLocked(store)
	s.stream = stream
	p.mu.Unlock()
	req.RequestId, req.CheckpointTs = id, checkpoint
	req.Header = &cdcpb.Header{ClusterId: env.info.ClusterID, TicdcVersion: "8.2.0"}
	req.Request = &cdcpb.ChangeDataRequest_Register_{Register: &cdcpb.ChangeDataRequest_Register{}}
	if err == nil {
		stream.sends.Lock()
		err = stream.call.Send(req)
		stream.sends.Unlock()
	}
	if err != nil {
		p.retry(id)
	}
}

func (p *puller) streamLocked(store uint64) (*pullStream, error) {
	if s := p.streams[store]; s != nil {
		return s, nil
	}
	s := &pullStream{store: store}
	ctx := metadata.AppendToOutgoingContext(p.ctx, "features", "stream-multiplexing")
	var err error
	if s.call, err = dialStore(p.t, store).EventFeedV2(ctx); err != nil {
		return nil, err
	}
	p.streams[store] = s
	go p.receive(s)
	return s, nil
}

// receive handles a stream until it ends, and then retries what it carried.
func (p *puller) receive(s *pullStream) {
	for {
		msg, err := s.call.Recv()
		if err != nil {
			break
		}
		p.mu.Lock()
		if r := msg.ResolvedTs; r != nil {
			if sp := p.spans[r.RequestId]; sp != nil {
				if !sp.initialized {
					p.problemf("resolved ts before INITIALIZED of request %d", r.RequestId)
				}
				sp.resolved = max(sp.resolved, r.Ts)
			}
		}
		for _, e := range msg.Events {
			p.eventLocked(e)
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.streams[s.store] == s {
		delete(p.streams, s.store)
	}
	p.counts["lost streams"]++
	for id, sp := range p.spans {
		if sp.stream == s {
			go p.retry(id)
		}
	}
}

// retry registers the range of a span again, from its resolved ts. The old span
// stays until the new ones exist, and so holds back what all have reached.
func (p *puller) retry(id uint64) {
	time.Sleep(retryDelay)
	p.mu.Lock()
	sp := p.spans[id]
	p.mu.Unlock()
	if sp == nil || p.ctx.Err() != nil {
		return
	}
	p.subscribe(sp.start, sp.end, sp.resolved)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.spans, id)
}

func (p *puller) eventLocked(e *cdcpb.Event) {
	sp := p.spans[e.RequestId]
	if sp == nil {
		p.problemf("event of ended request %d: %v", e.RequestId, e)
		return
	}
	if e.GetError() != nil {
		p.counts["errors"]++
		go p.retry(e.RequestId)
		return
	}
	for _, row := range e.GetEntries().GetEntries() {
		p.counts[row.Type.String()]++
		if row.CommitTs != 0 && row.CommitTs <= sp.resolved {
			p.problemf("%v at %d below resolved ts %d", row.Type, row.CommitTs, sp.resolved)
		}
		p.rowLocked(sp, row)
	}
}

func (p *puller) rowLocked(sp *span, row *cdcpb.Event_Row) {
	switch row.Type {
	case cdcpb.Event_PREWRITE:
		sp.prewrites[string(row.Key)] = row
	case cdcpb.Event_COMMITTED:
		p.addLocked(row.Key, row.CommitTs, row)
	case cdcpb.Event_COMMIT, cdcpb.Event_ROLLBACK:
		if !sp.initialized {
			sp.early = append(sp.early, row)
			return
		}
		p.endTxnLocked(sp, row)
	case cdcpb.Event_INITIALIZED:
		if sp.initialized {
			p.problemf("INITIALIZED twice")
		}
		sp.initialized = true
		for _, row := range sp.early {
			p.endTxnLocked(sp, row)
		}
		sp.early = nil
	}
}

// endTxnLocked matches a COMMIT or ROLLBACK with its PREWRITE. Before
// INITIALIZED the scan may have shown the committed version instead.
func (p *puller) endTxnLocked(sp *span, row *cdcpb.Event_Row) {
	prewrite := sp.prewrites[string(row.Key)]
	if prewrite != nil && prewrite.StartTs == row.StartTs {
		delete(sp.prewrites, string(row.Key))
		if row.Type == cdcpb.Event_COMMIT {
			p.addLocked(row.Key, row.CommitTs, prewrite)
		}
		return
	}
	if row.Type == cdcpb.Event_COMMIT && p.versions[string(row.Key)][row.CommitTs].value == nil && row.OpType == cdcpb.Event_Row_PUT {
		p.problemf("COMMIT of %x at %d without PREWRITE", row.Key, row.CommitTs)
	}
}

func (p *puller) addLocked(key []byte, commitTs uint64, row *cdcpb.Event_Row) {
	c := change{value: row.Value, oldValue: row.OldValue}
	if row.OpType == cdcpb.Event_Row_DELETE {
		c.value = nil
	}
	versions := p.versions[string(key)]
	if versions == nil {
		versions = map[uint64]change{}
		p.versions[string(key)] = versions
	}
	if was, ok := versions[commitTs]; ok {
		p.counts["duplicates"]++
		if !bytes.Equal(was.value, c.value) || !bytes.Equal(was.oldValue, c.oldValue) {
			p.problemf("version %d of %x came as %x (was %x) and as %x (was %x)", commitTs, key, was.value, was.oldValue, c.value, c.oldValue)
		}
	}
	versions[commitTs] = c
}

// reached is the least resolved ts of all spans.
func (p *puller) reached() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	least := ^uint64(0)
	for _, sp := range p.spans {
		least = min(least, sp.resolved)
	}
	return least
}

// describe lists the spans that have not reached ts.
func (p *puller) describe(ts uint64) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out strings.Builder
	for id, sp := range p.spans {
		if sp.resolved < ts {
			fmt.Fprintf(&out, "request %d [%x, %x) at %d, initialized %v, %d locks; ", id, sp.start, sp.end, sp.resolved, sp.initialized, len(sp.prewrites))
			for key, row := range sp.prewrites {
				fmt.Fprintf(&out, "%x by %d; ", key, row.StartTs)
			}
		}
	}
	return out.String()
}
