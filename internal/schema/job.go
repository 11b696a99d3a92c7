package schema

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// The states of a DDL job that matter here (TiDB's model.JobState).
const (
	jobStateRunning     = 1
	jobStateRollingback = 2
	jobStateDone        = 4
	jobStateSynced      = 6
	jobStateCancelling  = 7
	jobStatePaused      = 9
	jobStatePausing     = 10
)

// Job is a DDL job (TiDB's model.Job) that has taken effect: it is finished, or in
// progress and beyond the step at which it is applied.
type Job struct {
	ID   int64
	Type event.DDLType
	// SchemaID is the schema after the change. For EXCHANGE PARTITION it is
	// that of the table without partitions, like TableID.
	SchemaID int64
	// TableID is the table before the change.
	TableID int64
	// SchemaName is as the job has it, usually in lower case.
	SchemaName         string
	Query              string
	SQLMode            uint64
	Charset, Collation string
	TimeZone           *time.Location // nil if the job does not tell
	// StartTs and FinishedTs are those of the transaction that made the change
	// visible. The JSON does not have them: they come from the row.
	StartTs, FinishedTs event.Ts

	state         int
	schemaState   int
	realStartTs   event.Ts // of the first transaction that ran it
	local         bool
	schemaVersion int64
	args          json.RawMessage
	db            *dbJSON
	table         json.RawMessage
	tables        []json.RawMessage
	// snapshot is what Complete read.
	snapshot *snapshot
}

// The wire structs name the fields of TiDB's model.Job, HistoryInfo and DBInfo
// that matter here.
type (
	jobJSON struct {
		ID          int64           `json:"id"`
		Type        event.DDLType   `json:"type"`
		SchemaID    int64           `json:"schema_id"`
		TableID     int64           `json:"table_id"`
		SchemaName  string          `json:"schema_name"`
		State       int             `json:"state"`
		SchemaState int             `json:"schema_state"`
		RealStart   uint64          `json:"real_start_ts"`
		RawArgs     json.RawMessage `json:"raw_args"`
		Query       string          `json:"query"`
		Binlog      *historyJSON    `json:"binlog"`
		Charset     string          `json:"charset"`
		Collate     string          `json:"collate"`
		SQLMode     uint64          `json:"sql_mode"`
		LocalMode   bool            `json:"local_mode"`
		ReorgMeta   *struct {
			Location *locationJSON `json:"location"`
		} `json:"reorg_meta"`
	}
	// locationJSON is an IANA name, or an offset in seconds without one.
	locationJSON struct {
		Name   string `json:"name"`
		Offset int    `json:"offset"`
	}
	historyJSON struct {
		SchemaVersion      int64
		DBInfo             *dbJSON
		TableInfo          json.RawMessage
		MultipleTableInfos []json.RawMessage
	}
	dbJSON struct {
		ID    int64    `json:"id"`
		Name  nameJSON `json:"db_name"`
		State int      `json:"state"`
	}
	nameJSON struct {
		O string `json:"O"`
	}
)

// DecodeJob reads TiDB's JSON of a DDL job in any state. StartTs and
// FinishedTs are left to the caller. The job does not keep data.
func DecodeJob(data []byte) (*Job, error) {
	var raw jobJSON
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("decode DDL job: %w", err)
	}
	job := &Job{
		ID: raw.ID, Type: raw.Type, SchemaID: raw.SchemaID, TableID: raw.TableID,
		SchemaName: raw.SchemaName, Query: raw.Query, SQLMode: raw.SQLMode,
		Charset: raw.Charset, Collation: raw.Collate,
		state: raw.State, schemaState: raw.SchemaState, realStartTs: event.Ts(raw.RealStart), local: raw.LocalMode, args: raw.RawArgs,
	}
	if m := raw.ReorgMeta; m != nil && m.Location != nil {
		job.TimeZone = m.Location.location()
	}
	if b := raw.Binlog; b != nil {
		job.schemaVersion = b.SchemaVersion
		job.db = b.DBInfo
		job.table = present(b.TableInfo)
		for _, t := range b.MultipleTableInfos {
			if t = present(t); t != nil {
				job.tables = append(job.tables, t)
			}
		}
	}
	return job, nil
}

// location returns nil for a name that this machine does not know.
func (l *locationJSON) location() *time.Location {
	if l.Offset != 0 {
		return time.FixedZone("", l.Offset)
	}
	if l.Name == "" {
		return time.UTC
	}
	loc, err := time.LoadLocation(l.Name)
	if err != nil {
		return nil
	}
	return loc
}

// present returns nil for the JSON null.
func present(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// effective reports whether the job changed schemas. TiDB leaves the schema
// version out of jobs that did not, and, though they may have, of FLASHBACK
// CLUSTER and of jobs in progress.
func (j *Job) effective() bool {
	return j.schemaVersion != 0 || j.Type == event.DDLFlashbackCluster || j.changedPartitions()
}

// String names the job, for messages.
func (j *Job) String() string {
	return fmt.Sprintf("DDL job %d (%s, finished at ts %d)", j.ID, j.Type, j.FinishedTs)
}

// recentJobs remembers the ids of the newest jobs: TiKV's stream repeats
// itself after a region error, and TiDB may write a finished job again.
type recentJobs struct {
	seen map[int64]struct{}
	// ring holds the same ids; next is the oldest once it is full.
	ring []int64
	next int
}

const recentJobsLimit = 1 << 14

func (r *recentJobs) has(id int64) bool {
	_, ok := r.seen[id]
	return ok
}

func (r *recentJobs) add(id int64) {
	if r.seen == nil {
		r.seen = map[int64]struct{}{}
	}
	r.seen[id] = struct{}{}
	if len(r.ring) < recentJobsLimit {
		r.ring = append(r.ring, id)
		return
	}
	delete(r.seen, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % recentJobsLimit
}
