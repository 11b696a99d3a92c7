package schema

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
)

// rewind gives tables that a DDL is in the middle of changing the schema that
// they had before it began. TiDB changes a schema in steps, each of which
// the meta keys show: a column that is being dropped is gone from the first on.
// The jobs that are followed tell the last step only, so without this a table
// would look different to a changefeed that starts in between. A job that has
// changed partitions has told so when it did: its table is as it will be.
func (s *snapshot) rewind(ctx context.Context, r Reader, cfg *Config) error {
	if cfg.ReaderAt == nil || s.jobTable == nil {
		return nil
	}
	column, err := newJobColumn(s.jobTable)
	if err != nil {
		return err
	}
	var jobs []*Job
	err = r.Scan(ctx, column.span.Start, column.span.End, func(key, value []byte) error {
		job, err := column.decode(key, value)
		if err == nil && job != nil && job.inProgress() && !job.changedPartitions() {
			jobs = append(jobs, job)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("scan DDL jobs: %w", err)
	}
	for _, job := range jobs {
		if err := s.rewindTable(ctx, job, cfg); err != nil {
			return err
		}
	}
	return nil
}

// inProgress reports whether a job has begun to change its table and is not done.
func (j *Job) inProgress() bool {
	switch j.state {
	case jobStateRunning, jobStateRollingback, jobStateCancelling, jobStatePaused, jobStatePausing:
		return j.realStartTs != 0 && j.TableID != 0
	}
	return false
}

// rewindTable reads the table of a job as of the job's first transaction, which
// is before anything that it committed.
func (s *snapshot) rewindTable(ctx context.Context, job *Job, cfg *Config) error {
	at := slices.IndexFunc(s.schemas, func(db dbJSON) bool { return db.ID == job.SchemaID })
	if at < 0 {
		return nil
	}
	p := &tableParser{cfg: cfg, intern: interner{}}
	key := fieldKey(tablesHash(job.SchemaID), fmt.Sprintf("%s%d", tablePrefix, job.TableID))
	err := cfg.ReaderAt(job.realStartTs).Scan(ctx, key, append(key[:len(key):len(key)], 0), func(_, value []byte) error {
		return p.parse([][]byte{value}, job.SchemaID, s.schemas[at].Name.O)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		// The job may have begun before the GC safe point.
		cfg.Logger.Warn("cannot tell what a table was before the DDL that is changing it, so its rows are read with the schema of now",
			slog.Int64("job", job.ID), slog.Int64("table", job.TableID), slog.String("query", job.Query), slog.Any("error", err))
		return nil
	}
	// A table that was not there yet is being created: its job brings it.
	s.tables = slices.DeleteFunc(s.tables, func(v version) bool { return v.table.ID == job.TableID })
	s.tables = append(s.tables, p.tables...)
	return nil
}
