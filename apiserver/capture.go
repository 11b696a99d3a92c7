package apiserver

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// nodeStatus is this process.
type nodeStatus struct {
	Version   string       `json:"version"`
	GitHash   string       `json:"git_hash"`
	ID        string       `json:"id"`
	PID       int          `json:"pid"`
	IsOwner   bool         `json:"is_owner"`
	ClusterID string       `json:"cluster_id"`
	Liveness  cdc.Liveness `json:"liveness"` // TiUP looks at it
}

func (s *server) getStatus(w http.ResponseWriter, _ *http.Request) error {
	n := s.control.Node()
	s.writeJSON(w, http.StatusOK, nodeStatus{n.Version, n.GitHash, n.ID, n.PID, n.IsOwner, n.ClusterID, n.Liveness})
	return nil
}

func (s *server) getHealth(w http.ResponseWriter, r *http.Request) error {
	if err := s.control.Health(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// captureItem is a capture in a list.
type captureItem struct {
	ID        string `json:"id"`
	IsOwner   bool   `json:"is_owner"`
	Address   string `json:"address"`
	ClusterID string `json:"cluster_id"`
}

func (s *server) listCaptures(w http.ResponseWriter, r *http.Request) error {
	captures, err := s.control.Captures(r.Context())
	if err != nil {
		return err
	}
	items := []captureItem{}
	for _, c := range captures {
		items = append(items, captureItem{c.ID, c.IsOwner, c.Address, c.ClusterID})
	}
	s.writeJSON(w, http.StatusOK, items)
	return nil
}

// captureBody names a capture. The documentation of moving a table calls it
// target_capture_id, and its example, like TiCDC itself, capture_id.
type captureBody struct {
	CaptureID       string `json:"capture_id"`
	TargetCaptureID string `json:"target_capture_id"`
	TableID         int64  `json:"table_id"`
}

// decodeCapture reads a captureBody into CaptureID.
func decodeCapture(r *http.Request) (captureBody, error) {
	var body captureBody
	if err := decodeBody(r, &body); err != nil {
		return body, err
	}
	body.CaptureID = cmp.Or(body.CaptureID, body.TargetCaptureID)
	if err := cdc.ValidateID(body.CaptureID); err != nil {
		return body, fmt.Errorf("capture_id: %w", err)
	}
	return body, nil
}

func (s *server) drainCapture(w http.ResponseWriter, r *http.Request) error {
	body, err := decodeCapture(r)
	if err != nil {
		return err
	}
	tables, err := s.control.DrainCapture(r.Context(), body.CaptureID)
	if err != nil {
		return err
	}
	s.writeJSON(w, http.StatusAccepted, drainBody{tables})
	return nil
}

// drainBody answers that a capture is being drained.
type drainBody struct {
	CurrentTableCount int `json:"current_table_count"`
}

func (s *server) moveTable(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "changefeed_id")
	if err != nil {
		return err
	}
	body, err := decodeCapture(r)
	if err != nil {
		return err
	}
	if body.TableID <= 0 {
		return fmt.Errorf("%w: table_id %d, want the id of a table", errParameter, body.TableID)
	}
	return accepted(w, s.control.MoveTable(r.Context(), id, body.TableID, body.CaptureID))
}

func (s *server) rebalanceTables(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "changefeed_id")
	if err != nil {
		return err
	}
	return accepted(w, s.control.RebalanceTables(r.Context(), id))
}

func (s *server) resignOwner(w http.ResponseWriter, r *http.Request) error {
	return accepted(w, s.control.ResignOwner(r.Context()))
}

// processorItem is a processor in a list.
type processorItem struct {
	ChangefeedID string `json:"changefeed_id"`
	CaptureID    string `json:"capture_id"`
	Namespace    string `json:"namespace"`
}

func (s *server) listProcessors(w http.ResponseWriter, r *http.Request) error {
	processors, err := s.control.Processors(r.Context())
	if err != nil {
		return err
	}
	items := []processorItem{}
	for _, p := range processors {
		items = append(items, processorItem{p.ChangefeedID, p.CaptureID, namespace})
	}
	s.writeJSON(w, http.StatusOK, items)
	return nil
}

// processorDetail is a processor alone.
type processorDetail struct {
	CheckpointTs event.Ts      `json:"checkpoint_ts"`
	ResolvedTs   event.Ts      `json:"resolved_ts"`
	TableIDs     []int64       `json:"table_ids"`
	Error        *runningError `json:"error"`
}

func (s *server) getProcessor(w http.ResponseWriter, r *http.Request) error {
	changefeed, err := pathID(r, "changefeed_id")
	if err != nil {
		return err
	}
	capture, err := pathID(r, "capture_id")
	if err != nil {
		return err
	}
	p, err := s.control.Processor(r.Context(), changefeed, capture)
	if err != nil {
		return err
	}
	s.writeJSON(w, http.StatusOK, processorDetail{
		p.CheckpointTs, p.ResolvedTs, append([]int64{}, p.TableIDs...), s.runningError(p.Error),
	})
	return nil
}
