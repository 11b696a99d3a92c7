package schema

import (
	"context"
	"fmt"
	"reflect"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Incomplete reports whether the job needs [Storage.Complete] before it can be
// applied, because its JSON does not tell which tables there are afterwards:
// FLASHBACK DATABASE of TiDB 8.4 and newer, and FLASHBACK CLUSTER.
func (j *Job) Incomplete() bool {
	if j.snapshot != nil {
		return false
	}
	switch j.Type {
	case event.DDLFlashbackCluster:
		return true
	case event.DDLRecoverSchema:
		_, listed, err := j.recoveredTables()
		return err == nil && !listed
	}
	return false
}

// Complete reads what an incomplete job lacks from the meta keys as of the
// job's FinishedTs, which must be the Reader's ts.
func (s *Storage) Complete(ctx context.Context, job *Job, r Reader) error {
	snap, err := readSnapshot(ctx, r, &s.cfg)
	if err != nil {
		return fmt.Errorf("read the tables of %s: %w", job, err)
	}
	if job.Type == event.DDLRecoverSchema {
		tables := snap.tables[:0]
		for _, v := range snap.tables {
			if v.table.SchemaID == job.SchemaID {
				tables = append(tables, v)
			}
		}
		snap.tables = tables
	}
	job.snapshot = snap
	return nil
}

// flashbackLocked accepts a FLASHBACK CLUSTER that left all schemas as they
// were. TiDB allows others too, but no statement could tell a sink what they
// did to its tables.
func (s *Storage) flashbackLocked(job *Job) error {
	if job.snapshot == nil {
		return ErrIncomplete
	}
	known := 0
	for _, state := range s.mu.schemas {
		known += len(state.tables)
	}
	for _, v := range job.snapshot.tables {
		now := s.currentLocked(v.table.ID)
		if now.table == nil || now.light != v.light || !sameSchema(now.table, v.table) {
			return fmt.Errorf("%w, at least that of %s: load the sink anew from a ts at or above %d and start a changefeed from there",
				ErrFlashback, v.table.Name(), job.FinishedTs)
		}
	}
	if n := len(job.snapshot.tables); n != known {
		return fmt.Errorf("%w: %d tables became %d: load the sink anew from a ts at or above %d and start a changefeed from there",
			ErrFlashback, known, n, job.FinishedTs)
	}
	return nil
}

// sameSchema compares two versions but for the time they were made.
func sameSchema(a, b *event.TableInfo) bool {
	x, y := *a, *b
	x.UpdateTs, y.UpdateTs = 0, 0
	return reflect.DeepEqual(&x, &y)
}
