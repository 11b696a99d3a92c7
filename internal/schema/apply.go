package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Apply adds the versions that a job makes, and returns the DDL to deliver. Jobs
// come in the order of FinishedTs (not of their schema versions).
//
// The DDL is nil if the job changes nothing that is known of: it was applied
// before, or an earlier step of it was, or finished at or below the resolved ts, or
// is of a kind without a schema (LOCK TABLES, placement policies, an unknown type
// without a table). A DDL on unwanted tables is returned; what the filter says of it
// is not known here.
//
// Of several tables in Changes, DDL.Table and DDL.PreTable are the first.
// For EXCHANGE PARTITION that is the partitioned one. A Before that was not
// wanted has no columns.
//
// The error is an [ErrIncomplete], [ErrFlashback], or says that the job is not
// understood. No version is added then, and the job may be applied again.
func (s *Storage) Apply(job *Job) (*event.DDL, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if job.FinishedTs <= s.ResolvedTs() || s.mu.jobs.has(job.ID) || !job.effective() {
		return nil, nil
	}
	if job.FinishedTs < s.mu.last {
		return nil, fmt.Errorf("apply %s: a job that finished at ts %d came before it", job, s.mu.last)
	}
	changes, known, err := s.changesLocked(job)
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", job, err)
	}
	s.commitLocked(job.FinishedTs, changes)
	s.mu.last = job.FinishedTs
	if !job.changedPartitions() {
		s.mu.jobs.add(job.ID)
	}
	if !known {
		s.cfg.Logger.Info("ignored a DDL that changes no schema",
			slog.Int64("job", job.ID), slog.String("type", job.Type.String()),
			slog.String("commitTs", job.FinishedTs.String()), slog.String("query", job.Query))
		return nil, nil
	}
	if job.hasPartitionStep() && !slices.ContainsFunc(changes, changesPartitions) {
		return nil, nil // an earlier step of the job has told
	}
	ddl := &event.DDL{
		StartTs: job.StartTs, CommitTs: job.FinishedTs, Type: job.Type, JobID: job.ID, Query: job.Query,
		SQLMode: job.SQLMode, Charset: job.Charset, Collation: job.Collation, TimeZone: job.TimeZone,
		Schema: s.schemaNameLocked(job.SchemaID, job.SchemaName), Changes: changes,
	}
	switch job.Type {
	case event.DDLDropSchema:
		delete(s.mu.schemas, job.SchemaID)
	case event.DDLRecoverSchema:
	default:
		if len(changes) > 0 {
			ddl.PreTable, ddl.Table = changes[0].Before, changes[0].After
		}
	}
	return ddl, nil
}

// changesLocked returns what a job does to tables, and whether the job is of a
// kind that touches schemas at all. It changes nothing but the names of schemas.
func (s *Storage) changesLocked(job *Job) (changes []event.TableChange, known bool, err error) {
	if job.hasPartitionStep() {
		return s.partitionStepLocked(job)
	}
	switch job.Type {
	case event.DDLDropSchema:
		changes, known = s.dropSchemaLocked(job)
		return changes, known, nil
	case event.DDLRecoverSchema:
		changes, err = s.recoverSchemaLocked(job)
	case event.DDLFlashbackCluster:
		err = s.flashbackLocked(job)
	case event.DDLCreateTables:
		changes, err = s.createTablesLocked(job)
	case event.DDLRenameTables:
		changes, err = s.renameTablesLocked(job)
	case event.DDLExchangePartition:
		changes, err = s.exchangeLocked(job)
	case event.DDLDropTable, event.DDLDropView, event.DDLDropSequence:
		before := s.tableLocked(job.TableID)
		if before == nil {
			return nil, false, nil
		}
		return []event.TableChange{{Before: before}}, true, nil
	default:
		return s.replaceLocked(job)
	}
	return changes, err == nil, err
}

// replaceLocked serves every kind that carries the table as it is afterwards:
// created, recovered, renamed, truncated or altered, and kinds not known here.
func (s *Storage) replaceLocked(job *Job) (changes []event.TableChange, known bool, err error) {
	if job.db != nil {
		s.nameSchemaLocked(job.db)
		known = true
	}
	if job.table == nil {
		return nil, known, nil
	}
	after, err := s.parseLocked(job, job.table, job.SchemaID)
	if err != nil {
		return nil, false, err
	}
	c := event.TableChange{After: after}
	switch job.Type {
	case event.DDLCreateTable, event.DDLRecoverTable, event.DDLCreateSequence:
		// With foreign keys a table is created in two steps; a snapshot taken
		// between them knows it already, and this job creates it still.
	case event.DDLCreateView:
		c.Before = s.namesakeLocked(after)
	default:
		// The id changes in TRUNCATE TABLE, PARTITION BY and REMOVE PARTITIONING;
		// the job has the old one.
		if c.Before = s.tableLocked(job.TableID); c.Before == nil {
			c.Before = s.tableLocked(after.ID)
		}
	}
	return []event.TableChange{c}, true, nil
}

// namesakeLocked returns the table that has t's name.
func (s *Storage) namesakeLocked(t *event.TableInfo) *event.TableInfo {
	if c := s.mu.names[nameOf(t)]; c != nil {
		return c.last().table
	}
	return nil
}

func (s *Storage) dropSchemaLocked(job *Job) (changes []event.TableChange, known bool) {
	state := s.mu.schemas[job.SchemaID]
	if state == nil {
		return nil, false
	}
	for id := range state.tables {
		if t := s.tableLocked(id); t != nil {
			changes = append(changes, event.TableChange{Before: t})
		}
	}
	slices.SortFunc(changes, func(a, b event.TableChange) int { return cmp.Compare(a.Before.ID, b.Before.ID) })
	return changes, true
}

func (s *Storage) recoverSchemaLocked(job *Job) ([]event.TableChange, error) {
	if job.db != nil {
		s.nameSchemaLocked(job.db)
	}
	var changes []event.TableChange
	if job.snapshot != nil {
		for _, v := range job.snapshot.tables {
			changes = append(changes, event.TableChange{After: v.table})
		}
		return changes, nil
	}
	tables, listed, err := job.recoveredTables()
	if err != nil {
		return nil, err
	}
	if !listed {
		return nil, ErrIncomplete
	}
	for _, raw := range tables {
		t, err := s.parseLocked(job, raw, job.SchemaID)
		if err != nil {
			return nil, err
		}
		changes = append(changes, event.TableChange{After: t})
	}
	return changes, nil
}

func (s *Storage) createTablesLocked(job *Job) ([]event.TableChange, error) {
	changes := make([]event.TableChange, 0, len(job.tables))
	for _, raw := range job.tables {
		t, err := s.parseLocked(job, raw, job.SchemaID)
		if err != nil {
			return nil, err
		}
		changes = append(changes, event.TableChange{After: t})
	}
	return changes, nil
}

func (s *Storage) renameTablesLocked(job *Job) ([]event.TableChange, error) {
	schemas, err := job.renamedSchemas()
	if err != nil {
		return nil, err
	}
	changes := make([]event.TableChange, 0, len(job.tables))
	seen := map[int64]bool{}
	for _, raw := range job.tables {
		light, err := peekTable(raw, 0, "")
		if err != nil {
			return nil, err
		}
		// RENAME TABLE a TO x, b TO a, x TO b lists a table twice, with its last
		// name in both places.
		if seen[light.ID] {
			continue
		}
		seen[light.ID] = true
		schemaID, ok := schemas[light.ID]
		if !ok {
			return nil, fmt.Errorf("table %d (%s) is not in the arguments", light.ID, light.Table)
		}
		t, err := s.parseLocked(job, raw, schemaID)
		if err != nil {
			return nil, err
		}
		changes = append(changes, event.TableChange{Before: s.tableLocked(t.ID), After: t})
	}
	return changes, nil
}

// exchangeLocked swaps the id of a table with that of a partition. The job has
// the partitioned table as it is afterwards; the other table only changes its
// id.
func (s *Storage) exchangeLocked(job *Job) ([]event.TableChange, error) {
	args, err := job.exchangeArgs()
	if err != nil {
		return nil, err
	}
	plain := s.tableLocked(job.TableID)
	parted := s.tableLocked(args.TableID)
	if plain == nil || parted == nil {
		return nil, fmt.Errorf("table %d or the partitioned table %d is not known", job.TableID, args.TableID)
	}
	partedAfter, err := s.exchangedLocked(job, args.TableID, parted.SchemaID)
	if err != nil {
		return nil, err
	}
	plainAfter := *plain
	plainAfter.ID = args.PartitionID
	return []event.TableChange{{Before: parted, After: partedAfter}, {Before: plain, After: &plainAfter}}, nil
}

// exchangedLocked finds the partitioned table among those that the job carries.
func (s *Storage) exchangedLocked(job *Job, id, schemaID int64) (*event.TableInfo, error) {
	for _, raw := range append([]json.RawMessage{job.table}, job.tables...) {
		if raw == nil {
			continue
		}
		light, err := peekTable(raw, schemaID, "")
		if err != nil {
			return nil, err
		}
		if light.ID == id {
			return s.parseLocked(job, raw, schemaID)
		}
	}
	return nil, fmt.Errorf("it does not carry the partitioned table %d", id)
}

// parseLocked reads a table of a job, in the schema that it is in afterwards.
func (s *Storage) parseLocked(job *Job, raw json.RawMessage, schemaID int64) (*event.TableInfo, error) {
	t, err := event.ParseTableInfo(raw, schemaID, s.schemaNameLocked(schemaID, job.SchemaName))
	if err != nil {
		return nil, err
	}
	if t.ID == 0 {
		return nil, fmt.Errorf("parse table info of %s: it has no id", t.Name())
	}
	return t, nil
}

// schemaNameLocked returns a schema's name as the user wrote it. Jobs have one
// name in lower case, but may touch tables in several schemas; it serves for a
// schema that is not known.
func (s *Storage) schemaNameLocked(id int64, fallback string) string {
	if state := s.mu.schemas[id]; state != nil {
		return state.name
	}
	return fallback
}

// nameSchemaLocked records that a schema exists.
func (s *Storage) nameSchemaLocked(db *dbJSON) {
	s.schemaLocked(db.ID, db.Name.O).name = db.Name.O
}
