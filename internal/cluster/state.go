package cluster

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Member is a capture with the lease it has: <capture id>.<lease in hex>.
type Member string

// Task is a changefeed that runs. The create revision of its key tells it from an
// earlier run of the same changefeed.
type Task struct {
	// Spec is what Config.Open makes a pipeline from.
	Spec json.RawMessage `json:"spec"`
	// StartTs: everything at or below it was acknowledged before.
	StartTs event.Ts `json:"start_ts"`
	// Stop asks the members to end their parts and report their last positions.
	Stop bool `json:"stop,omitempty"`
}

// stopping reports whether the entry of a task says that it is to end. One that
// cannot be read is not to be begun either.
func stopping(e entry) bool {
	var t Task
	return decode(e, &t) != nil || t.Stop
}

// decode reads the value of a key. A key that does not exist leaves into as it is.
func decode(e entry, into any) error {
	if e.created == 0 {
		return nil
	}
	if err := json.Unmarshal(e.value, into); err != nil {
		return fmt.Errorf("decode %s in etcd: %w", e.key, err)
	}
	return nil
}

// feedStatus is the stored checkpoint of a changefeed.
type feedStatus struct {
	CheckpointTs event.Ts `json:"checkpoint_ts"`
}

func checkpointOf(e entry) event.Ts {
	var st feedStatus
	if decode(e, &st) != nil {
		return 0
	}
	return st.CheckpointTs
}

// assignment is what a member writes.
type assignment struct {
	// Rev rises when a span is added, is to be stopped, or is taken away.
	Rev int64 `json:"rev"`
	// Spans are the member's, with the ts above which it writes, or may begin again.
	Spans SpanSet `json:"spans"`
	// Stop are those of Spans that it is to stop.
	Stop []int64 `json:"stop,omitempty"`
}

// position is how far a member has come, all of one moment.
type position struct {
	// Rev is the assignment that is in effect; 0 is none.
	Rev int64 `json:"rev"`
	// CheckpointTs and ResolvedTs are the least of the spans of Rev.
	CheckpointTs event.Ts `json:"checkpoint_ts"`
	ResolvedTs   event.Ts `json:"resolved_ts"`
	// Stopped are the checkpoints of spans that are not written any more: of all, if
	// Ended.
	Stopped SpanSet `json:"stopped,omitempty"`
	// Reached are commit ts of DDLs up to which the member's rows are written.
	Reached []event.Ts `json:"reached,omitempty"`
	// Running: the pipeline takes spans. Ended: it writes nothing any more, and never will.
	Running bool `json:"running,omitempty"`
	Ended   bool `json:"ended,omitempty"`
	// Error is why it has ended, unless it was told to. Retried is that of a write which
	// is being tried again.
	Error   *TaskError `json:"error,omitempty"`
	Retried *TaskError `json:"retried,omitempty"`
}

// ddls are the DDLs of a changefeed above its checkpoint, by commit ts.
type ddls struct {
	Executing []event.Ts `json:"executing,omitempty"`
	Done      []event.Ts `json:"done,omitempty"`
}

// captureInfo is what a capture registers.
type captureInfo struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Version  string `json:"version,omitempty"`
	Draining bool   `json:"draining,omitempty"`
}

// TaskError is an error that one capture met and another one hears of.
type TaskError struct {
	Time    time.Time `json:"time"`
	Capture string    `json:"capture"`
	// Address is the capture's.
	Address string `json:"addr"`
	// Code is what Config.Classify calls the error. Permanent: trying again is of no use.
	Code      string `json:"code,omitempty"`
	Permanent bool   `json:"permanent,omitempty"`
	Message   string `json:"message"`
}

// Error implements error.
func (e *TaskError) Error() string { return "capture " + e.Capture + ": " + e.Message }
