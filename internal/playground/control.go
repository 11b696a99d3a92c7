package playground

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Region is a region as the stores know it. Keys are raw and in hex.
type Region struct {
	ID          uint64   `json:"id"`
	StartKey    string   `json:"start_key"`
	EndKey      string   `json:"end_key"`
	Version     uint64   `json:"version"`
	ConfVer     uint64   `json:"conf_ver"`
	LeaderStore uint64   `json:"leader_store"`
	Peers       []uint64 `json:"peers"`
}

// Regions returns the regions that overlap [start, end).
func (p *Playground) Regions(ctx context.Context, start, end []byte) ([]Region, error) {
	var rs []Region
	err := p.call(ctx, http.MethodGet, fmt.Sprintf("/regions?start=%x&end=%x", start, end), nil, &rs)
	return rs, err
}

// Split splits the region that holds the raw key, at the key.
func (p *Playground) Split(ctx context.Context, key []byte) error {
	return p.post(ctx, "/regions/split", map[string]any{"key": hex.EncodeToString(key)})
}

// Merge merges a region into an adjacent one.
func (p *Playground) Merge(ctx context.Context, source, target uint64) error {
	return p.post(ctx, "/regions/merge", map[string]any{"source": source, "target": target})
}

// Transfer moves a region's leader to a store.
func (p *Playground) Transfer(ctx context.Context, region, store uint64) error {
	return p.post(ctx, "/regions/transfer", map[string]any{"region": region, "store": store})
}

// StopStore closes a store's listener and connections; StartStore opens it again.
func (p *Playground) StopStore(ctx context.Context, id uint64) error {
	return p.post(ctx, fmt.Sprintf("/stores/%d/stop", id), nil)
}

// StartStore opens the listener of a stopped store.
func (p *Playground) StartStore(ctx context.Context, id uint64) error {
	return p.post(ctx, fmt.Sprintf("/stores/%d/start", id), nil)
}

// BreakStreams cuts up to n event feed streams of a store, 0 meaning any.
func (p *Playground) BreakStreams(ctx context.Context, store uint64, n int) error {
	return p.post(ctx, "/streams/break", map[string]any{"store": store, "count": n})
}

// FailRegistrations answers the next n registrations with a region error:
// NotLeader, EpochNotMatch, RegionNotFound, ServerIsBusy, Congested and so on.
func (p *Playground) FailRegistrations(ctx context.Context, n int, kind string, backoff time.Duration) error {
	return p.post(ctx, "/registrations/fail", map[string]any{"count": n, "error": kind, "backoff_ms": backoff.Milliseconds()})
}

// HoldResolved stops all resolved ts until ReleaseResolved.
func (p *Playground) HoldResolved(ctx context.Context) error {
	return p.post(ctx, "/resolved/hold", nil)
}

// ReleaseResolved lets resolved ts go on.
func (p *Playground) ReleaseResolved(ctx context.Context) error {
	return p.post(ctx, "/resolved/release", nil)
}

// DelayEvents delays everything that stores send to event feeds.
func (p *Playground) DelayEvents(ctx context.Context, d time.Duration) error {
	return p.post(ctx, "/events/delay", map[string]any{"duration": d.String()})
}

// PausePD keeps PD from answering anybody for a while; 0 ends a pause.
func (p *Playground) PausePD(ctx context.Context, d time.Duration) error {
	return p.post(ctx, "/pd/pause", map[string]any{"duration": d.String()})
}

// SetGCSafePoint moves the GC safe point as TiDB's GC worker would.
func (p *Playground) SetGCSafePoint(ctx context.Context, ts uint64) error {
	return p.post(ctx, "/gc/safepoint", map[string]any{"ts": ts})
}

func (p *Playground) post(ctx context.Context, path string, body any) error {
	return p.call(ctx, http.MethodPost, path, body, nil)
}

func (p *Playground) call(ctx context.Context, method, path string, body, into any) error {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("playground %s: %w", path, err)
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.Control+path, payload)
	if err != nil {
		return fmt.Errorf("playground %s: %w", path, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("playground %s: %w", path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("playground %s: %w", path, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("playground %s: %s: %s", path, resp.Status, data)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("playground %s: %w", path, err)
	}
	return nil
}
