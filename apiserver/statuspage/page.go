// Package statuspage shows captures and changefeeds to people, on one page without
// anything from elsewhere, which can be read without JavaScript.
//
//	page := statuspage.New(capture)
//	go page.Run(ctx)
//	handler := apiserver.New(capture, apiserver.Options{Page: page})
package statuspage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Controller is what the page shows; *cdc.Capture is one.
type Controller interface {
	Node() cdc.NodeInfo
	Captures(ctx context.Context) ([]cdc.CaptureInfo, error)
	Changefeeds(ctx context.Context) ([]cdc.ChangefeedInfo, error)
}

// Page is the handler of the page. Run lets it draw lag over time.
type Page struct {
	control Controller
	layout  *template.Template
	history *history
	now     func() time.Time
}

//go:embed page.html
var layout string

// New returns a page about what c controls.
func New(c Controller) *Page {
	return &Page{
		control: c, history: newHistory(), now: time.Now,
		layout: template.Must(template.New("page").Parse(layout)),
	}
}

// Run notes the lag of changefeeds every few seconds until ctx is cancelled, and
// returns its cause.
func (p *Page) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	for {
		p.sample(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (p *Page) sample(ctx context.Context) {
	feeds, err := p.control.Changefeeds(ctx)
	if err != nil {
		return // starting, or another capture knows: there is a gap
	}
	lags := map[string]time.Duration{}
	now := p.now()
	for i := range feeds {
		if running(feeds[i].State) {
			lags[feeds[i].Spec.ID] = lag(now, feeds[i].CheckpointTs)
		}
	}
	p.history.add(now, lags)
}

// running reports whether a changefeed in a state has a lag to speak of.
func running(s cdc.State) bool {
	return s == cdc.StateNormal || s == cdc.StateWarning || s == cdc.StatePending
}

func lag(now time.Time, ts event.Ts) time.Duration {
	if ts == 0 {
		return 0
	}
	return max(now.Sub(ts.Time()), 0)
}

// ServeHTTP writes the page.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := p.view(r.Context())
	v.Nonce = rand.Text()
	var body bytes.Buffer
	if err := p.layout.Execute(&body, v); err != nil {
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", fmt.Sprintf(
		"default-src 'none'; connect-src 'self'; style-src 'nonce-%[1]s'; script-src 'nonce-%[1]s'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", v.Nonce))
	_, _ = w.Write(body.Bytes()) // whoever asked has gone
}

// view is what the page is filled with.
type view struct {
	Nonce       string
	Now         string
	Node        cdc.NodeInfo
	Captures    []captureView
	Changefeeds []changefeedView
	// Problem is why there is nothing to show, and Owner where there is.
	Problem string
	Owner   string
}

type captureView struct {
	cdc.CaptureInfo
	Self bool
}

type changefeedView struct {
	ID, State, Sink string
	Checkpoint      string
	Lag             string
	Chart           chart
	Tables          int
	Rows            int64
	Pending         string
	Memory, Spilled string
	ScannedText     string
	Slowest         []tableView
	Error           string
	// Parts are of captures that share the changefeed, empty if one does it all. Then
	// the figures from Rows on are of the part of the capture that shows them.
	Parts []partView
}

type tableView struct{ Name, Lag string }

type partView struct {
	Capture string // its address, or else its id
	Tables  int
	Lag     string
}

func (p *Page) view(ctx context.Context) view {
	now := p.now()
	v := view{Now: now.Format("2006-01-02 15:04:05 MST"), Node: p.control.Node()}
	captures, err := p.control.Captures(ctx)
	if err != nil {
		v.Problem = err.Error()
	}
	for _, c := range captures {
		v.Captures = append(v.Captures, captureView{c, c.ID == v.Node.ID})
		if c.IsOwner && c.ID != v.Node.ID {
			v.Owner = c.Address
		}
	}
	feeds, err := p.control.Changefeeds(ctx)
	if err != nil {
		v.Problem = err.Error()
	}
	addresses := map[string]string{}
	for _, c := range captures {
		addresses[c.ID] = c.Address
	}
	for i := range feeds {
		v.Changefeeds = append(v.Changefeeds, p.changefeed(now, &feeds[i], addresses))
	}
	return v
}

func (p *Page) changefeed(now time.Time, f *cdc.ChangefeedInfo, addresses map[string]string) changefeedView {
	s := &f.Status
	v := changefeedView{
		ID: f.Spec.ID, State: string(f.State), Sink: f.Spec.SinkURI,
		Chart:   p.history.chart(f.Spec.ID),
		Rows:    s.Rows,
		Pending: fmt.Sprintf("%d rows, %s", s.PendingRows, size(s.PendingBytes)),
		Memory:  size(s.MemoryBytes), Spilled: size(s.SpilledBytes),
	}
	if f.CheckpointTs != 0 {
		v.Checkpoint = f.CheckpointTs.Time().In(now.Location()).Format("2006-01-02 15:04:05.000")
		v.Lag = duration(lag(now, f.CheckpointTs))
	}
	for i := range f.Tasks {
		task := &f.Tasks[i]
		v.Tables += len(task.TableIDs)
		if len(f.Tasks) == 1 {
			continue
		}
		part := partView{Capture: cmp.Or(addresses[task.CaptureID], task.CaptureID), Tables: len(task.TableIDs)}
		if part.Tables > 0 {
			part.Lag = duration(lag(now, task.CheckpointTs))
		}
		v.Parts = append(v.Parts, part)
	}
	if s.ScannedRegions < s.Regions {
		v.ScannedText = fmt.Sprintf("%d of %d regions scanned", s.ScannedRegions, s.Regions)
	}
	const mostTables = 5
	for _, t := range s.Slowest[:min(len(s.Slowest), mostTables)] {
		v.Slowest = append(v.Slowest, tableView{t.Table, duration(lag(now, t.CheckpointTs))})
	}
	if e := f.Error; e != nil {
		v.Error = strings.TrimPrefix(e.Code+": "+e.Message, ": ")
	}
	return v
}

// duration shows two digits or so of a duration.
func duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}

// size shows bytes in a unit that fits.
func size(n int64) string {
	v := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if v < 1024 {
			return fmt.Sprintf("%.3g %s", v, unit)
		}
		v /= 1024
	}
	return fmt.Sprintf("%.3g GiB", v)
}
