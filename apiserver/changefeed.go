package apiserver

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// namespace is that of all changefeeds.
const namespace = "default"

// changefeedBody is what creates or changes a changefeed: a Spec, and the flat
// names that version 1 of the API has for parts of it, which win.
type changefeedBody struct {
	cdc.Spec
	FilterRules      []string   `json:"filter_rules"`
	IgnoreTxnStartTs []event.Ts `json:"ignore_txn_start_ts"`
	MounterWorkerNum int        `json:"mounter_worker_num"`
}

// spellings are other ways to write parts of a changefeedBody.
type spellings struct {
	SinkConfig *struct {
		Protocal string `json:"protocal"` // as the documentation has it
	} `json:"sink_config"`
}

// decodeChangefeed returns the Spec that a body describes, and whether it has a
// sink_config.
func (s *server) decodeChangefeed(data []byte) (spec cdc.Spec, hasSink bool, err error) {
	var body changefeedBody
	var other spellings
	if err := decode(data, &body); err != nil {
		return spec, false, err
	}
	if err := decode(data, &other); err != nil {
		return spec, false, err
	}
	spec = body.Spec
	if len(body.FilterRules) > 0 {
		spec.Filter.Rules = body.FilterRules
	}
	if len(body.IgnoreTxnStartTs) > 0 {
		spec.Filter.IgnoreTxnStartTs = body.IgnoreTxnStartTs
	}
	if body.MounterWorkerNum != 0 {
		spec.Mounter.WorkerNum = body.MounterWorkerNum
	}
	if hasSink = other.SinkConfig != nil; hasSink && other.SinkConfig.Protocal != "" && spec.Sink.Protocol == "" {
		s.Logger.Warn("sink_config.protocal is a misprint in the documentation: write protocol", "changefeed", spec.ID)
		spec.Sink.Protocol = other.SinkConfig.Protocal
	}
	return spec, hasSink, nil
}

func (s *server) createChangefeed(w http.ResponseWriter, r *http.Request) error {
	data, err := readBody(r)
	if err != nil {
		return err
	}
	spec, _, err := s.decodeChangefeed(data)
	if err != nil {
		return err
	}
	if spec.ID == "" {
		// The documentation calls the id optional. The answer's body is empty, so the
		// header has to tell which it is.
		id, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("make changefeed id: %w", err)
		}
		spec.ID = id.String()
	}
	if _, err := s.control.CreateChangefeed(r.Context(), spec); err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/changefeeds/"+spec.ID)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// updateChangefeed changes what the body sets to something else than zero. The body
// is looked at after the state, as in TiCDC.
func (s *server) updateChangefeed(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "changefeed_id")
	if err != nil {
		return err
	}
	data, err := readBody(r)
	if err != nil {
		return err
	}
	err = s.control.UpdateChangefeed(r.Context(), id, func(spec *cdc.Spec) error {
		change, hasSink, err := s.decodeChangefeed(data)
		if err != nil {
			return err
		}
		spec.TargetTs = cmp.Or(change.TargetTs, spec.TargetTs)
		spec.SinkURI = cmp.Or(change.SinkURI, spec.SinkURI)
		spec.Mounter.WorkerNum = cmp.Or(change.Mounter.WorkerNum, spec.Mounter.WorkerNum)
		spec.MemoryQuota = cmp.Or(change.MemoryQuota, spec.MemoryQuota)
		if len(change.Filter.Rules) > 0 {
			spec.Filter.Rules = change.Filter.Rules
		}
		if len(change.Filter.IgnoreTxnStartTs) > 0 {
			spec.Filter.IgnoreTxnStartTs = change.Filter.IgnoreTxnStartTs
		}
		if len(change.Filter.EventFilters) > 0 {
			spec.Filter.EventFilters = change.Filter.EventFilters
		}
		if hasSink {
			spec.Sink = change.Sink
		}
		return nil
	})
	return accepted(w, err)
}

// accepted answers a command.
func accepted(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *server) pauseChangefeed(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "changefeed_id")
	if err != nil {
		return err
	}
	return accepted(w, s.control.PauseChangefeed(r.Context(), id))
}

func (s *server) resumeChangefeed(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "changefeed_id")
	if err != nil {
		return err
	}
	return accepted(w, s.control.ResumeChangefeed(r.Context(), id))
}

func (s *server) removeChangefeed(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "changefeed_id")
	if err != nil {
		return err
	}
	return accepted(w, s.control.RemoveChangefeed(r.Context(), id))
}

// changefeedItem is a changefeed in a list.
type changefeedItem struct {
	ID             string        `json:"id"`
	State          cdc.State     `json:"state"`
	CheckpointTs   event.Ts      `json:"checkpoint_tso"`
	CheckpointTime string        `json:"checkpoint_time"`
	Error          *runningError `json:"error"`
	UpstreamID     uint64        `json:"upstream_id"`
	Namespace      string        `json:"namespace"`
}

func (s *server) listChangefeeds(w http.ResponseWriter, r *http.Request) error {
	feeds, err := s.control.Changefeeds(r.Context())
	if err != nil {
		return err
	}
	want := r.URL.Query().Get("state")
	upstream := s.control.Node().UpstreamID
	items := []changefeedItem{}
	for i := range feeds {
		f := &feeds[i]
		if isListed(f.State, want) {
			items = append(items, changefeedItem{
				f.Spec.ID, f.State, f.CheckpointTs, s.tsTime(f.CheckpointTs), s.runningError(f.Error), upstream, namespace,
			})
		}
	}
	s.writeJSON(w, http.StatusOK, items)
	return nil
}

// isListed reports whether a list of the state that was asked for has a changefeed.
func isListed(state cdc.State, want string) bool {
	switch want {
	case "all":
		return true
	case "":
		return state != cdc.StateFinished
	case "error": // what early versions call these two
		return state == cdc.StateWarning || state == cdc.StatePending
	}
	return string(state) == want
}

// changefeedDetail is a changefeed alone.
type changefeedDetail struct {
	ID             string        `json:"id"`
	SinkURI        string        `json:"sink_uri"`
	CreateTime     string        `json:"create_time"`
	StartTs        event.Ts      `json:"start_ts"`
	TargetTs       event.Ts      `json:"target_ts"`
	CheckpointTs   event.Ts      `json:"checkpoint_tso"`
	CheckpointTime string        `json:"checkpoint_time"`
	SortEngine     string        `json:"sort_engine"`
	State          cdc.State     `json:"state"`
	Error          *runningError `json:"error"`
	ErrorHistory   []int64       `json:"error_history"`
	CreatorVersion string        `json:"creator_version"`
	TaskStatus     []taskStatus  `json:"task_status"`
	ResolvedTs     event.Ts      `json:"resolved_ts"`
	UpstreamID     uint64        `json:"upstream_id"`
	Namespace      string        `json:"namespace"`
	// Config is for those who ask for it with ?config=true.
	Config *cdc.Spec `json:"config,omitempty"`
}

// taskStatus is what a capture does for a changefeed.
type taskStatus struct {
	CaptureID       string   `json:"capture_id"`
	TableIDs        []int64  `json:"table_ids"`
	TableOperations struct{} `json:"table_operations"`
}

func (s *server) getChangefeed(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r, "changefeed_id")
	if err != nil {
		return err
	}
	f, err := s.control.Changefeed(r.Context(), id)
	if err != nil {
		return err
	}
	var history []int64 // null if there were no errors
	for _, at := range f.ErrorHistory {
		history = append(history, at.UnixMilli())
	}
	tasks := []taskStatus{}
	for _, t := range f.Tasks {
		tasks = append(tasks, taskStatus{CaptureID: t.CaptureID, TableIDs: append([]int64{}, t.TableIDs...)})
	}
	detail := changefeedDetail{
		ID: f.Spec.ID, SinkURI: f.Spec.SinkURI, CreateTime: s.time(f.CreateTime),
		StartTs: f.Spec.StartTs, TargetTs: f.Spec.TargetTs,
		CheckpointTs: f.CheckpointTs, CheckpointTime: s.tsTime(f.CheckpointTs), SortEngine: "unified",
		State: f.State, Error: s.runningError(f.Error), ErrorHistory: history, CreatorVersion: f.CreatorVersion, TaskStatus: tasks,
		ResolvedTs: f.ResolvedTs, UpstreamID: s.control.Node().UpstreamID, Namespace: namespace,
	}
	if r.URL.Query().Get("config") == "true" {
		detail.Config = &f.Spec
	}
	s.writeJSON(w, http.StatusOK, detail)
	return nil
}
