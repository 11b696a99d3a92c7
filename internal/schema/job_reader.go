package schema

import (
	"fmt"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
)

// TiDB gives the tables of DDL jobs fixed ids at the end of its 48-bit range.
const (
	jobTableID     = 1<<48 - 2
	historyTableID = 1<<48 - 4
)

// DDLSpans returns the spans whose rows carry DDL jobs: mysql.tidb_ddl_job,
// and mysql.tidb_ddl_history, where TiDB 8.0 to 8.2 put the tables that it
// created with tidb_enable_fast_create_table, and only there.
func DDLSpans() []event.Span {
	return []event.Span{event.TableSpan(jobTableID), event.TableSpan(historyTableID)}
}

// JobReader decodes rows of the DDL spans. It is for one goroutine.
type JobReader struct {
	jobs, history *jobColumn
}

// jobColumn finds the column job_meta in the rows of one table.
type jobColumn struct {
	span   event.Span
	plan   *rowcodec.Plan
	offset int
	values []event.Value
}

// JobReader returns a reader for the cluster that the snapshot was read from:
// the column ids of its job tables depend on the TiDB that created them.
func (s *Storage) JobReader() (*JobReader, error) {
	if s.jobTable == nil {
		return nil, fmt.Errorf("read DDL jobs: the cluster has no table mysql.%s: TiDB 6.2 or newer is needed", jobTableName)
	}
	jobs, err := newJobColumn(s.jobTable)
	if err != nil {
		return nil, err
	}
	r := &JobReader{jobs: jobs}
	if s.historyTable != nil {
		if r.history, err = newJobColumn(s.historyTable); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func newJobColumn(t *event.TableInfo) (*jobColumn, error) {
	const column = "job_meta"
	offset := t.ColumnOffset(column)
	if offset < 0 {
		var names []string
		for i := range t.Columns {
			names = append(names, t.Columns[i].Name)
		}
		return nil, fmt.Errorf("read DDL jobs: table %s has no column %s among %s", t.Name(), column, strings.Join(names, ", "))
	}
	plan, err := rowcodec.NewPlan(t)
	if err != nil {
		return nil, fmt.Errorf("read DDL jobs of table %s: %w", t.Name(), err)
	}
	return &jobColumn{span: event.TableSpan(t.ID), plan: plan, offset: offset, values: make([]event.Value, len(t.Columns))}, nil
}

// ParseJob returns the job of a row, with its StartTs and FinishedTs, or nil
// if the row does not say that a job has changed schemas: deletes, jobs that run
// (but for those that have changed partitions), failed or did nothing, and the
// history of jobs that mysql.tidb_ddl_job had before.
func (r *JobReader) ParseJob(kv *event.RawKV) (*Job, error) {
	if kv.Op != event.OpPut {
		return nil, nil
	}
	column := r.jobs
	if !column.span.Contains(kv.Key) {
		column = r.history
		if column == nil || !column.span.Contains(kv.Key) {
			return nil, nil
		}
	}
	job, err := column.decode(kv.Key, kv.Value)
	if err != nil {
		return nil, fmt.Errorf("%w, at ts %d", err, kv.CommitTs)
	}
	if job == nil {
		return nil, nil
	}
	if column == r.history && !job.onlyInHistory() || column == r.jobs && job.state != jobStateDone && !job.changedPartitions() || !job.effective() {
		return nil, nil
	}
	job.StartTs, job.FinishedTs = kv.StartTs, kv.CommitTs
	return job, nil
}

// decode returns the job of a row, or nil if the row has none.
func (c *jobColumn) decode(key, value []byte) (*Job, error) {
	if err := c.plan.Decode(c.values, key, value); err != nil {
		return nil, fmt.Errorf("read DDL job at key %x: %w", key, err)
	}
	data := c.values[c.offset].Bytes()
	if len(data) == 0 {
		return nil, nil
	}
	job, err := DecodeJob(data)
	if err != nil {
		return nil, fmt.Errorf("read DDL job at key %x: %w", key, err)
	}
	return job, nil
}

// onlyInHistory tells jobs that TiDB ran in one transaction, without a row in
// mysql.tidb_ddl_job. All other jobs reach the history some time after they
// took effect, so that neither their ts nor their schema version tells whether
// a snapshot has them.
func (j *Job) onlyInHistory() bool {
	return j.local && j.state == jobStateSynced && (j.Type == event.DDLCreateTable || j.Type == event.DDLCreateTables)
}
