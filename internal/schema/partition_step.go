package schema

import (
	"fmt"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// TiDB changes a schema in steps, and a job is applied at its last one, but for
// some kinds. These have an earlier step from which on sessions do without the old
// partitions, so that rows with a commit ts below the end are where they would be
// after it:
//
//   - DROP PARTITION: what belongs into a dropped range goes into the next partition,
//     or the DEFAULT one of a list. If the job was applied at its end, a sink would put
//     these rows into the partition that it drops next.
//   - TRUNCATE PARTITION: rows go under the new id of the partition. At the end, they
//     would be of nobody's span.
//   - REORGANIZE PARTITION, PARTITION BY and REMOVE PARTITIONING: from the last but one
//     step on, rows go under the new ids only; before, under the old ones as well.
//
// So these are applied at that step. What sessions with an older schema still write
// into old partitions after it is gone upstream too, or under the new ids as well. TiDB
// cannot take a job back any more that has come so far.
//
// Nothing is remembered of it: the partitions that are known tell whether the step
// has been applied. In a snapshot from between the step and the end they are
// already as they will be.

// The steps (TiDB's model.SchemaState) that count.
const (
	stepDeleteOnly           = 1
	stepDeleteReorganization = 4
	stepPublic               = 5
)

// hasPartitionStep reports whether the job is of a kind that is applied before its end.
func (j *Job) hasPartitionStep() bool {
	switch j.Type {
	case event.DDLDropPartition, event.DDLTruncatePartition,
		event.DDLReorganizePartition, event.DDLAlterTablePartitioning, event.DDLRemovePartitioning:
		return true
	}
	return false
}

// changedPartitions reports whether the job is in progress and rows are already where
// they will be. A job is in each step for some time, during which its row may be
// written again.
func (j *Job) changedPartitions() bool {
	if !j.inProgress() {
		return false
	}
	switch j.Type {
	case event.DDLDropPartition, event.DDLTruncatePartition:
		// They begin with public. In write only, which TiDB 8.5 and newer have, sessions
		// refuse what belongs into the old partitions. TRUNCATE PARTITION of older ones
		// has steps only if there is a GLOBAL index.
		return j.schemaState == stepDeleteOnly || j.schemaState == stepDeleteReorganization
	case event.DDLReorganizePartition, event.DDLAlterTablePartitioning, event.DDLRemovePartitioning:
		// They begin with none. TiDB before pingcap/tidb#56974 has no such step: its last
		// one still writes under both ids.
		return j.schemaState == stepPublic
	}
	return false
}

// partitionStepLocked returns what a job of that kind does at the step that counts, or
// what it does at its end.
func (s *Storage) partitionStepLocked(job *Job) (changes []event.TableChange, known bool, err error) {
	if job.changedPartitions() {
		changes, err = s.partitionsInProgressLocked(job)
		return changes, err == nil, err
	}
	changes, known, err = s.replaceLocked(job)
	for _, c := range changes {
		if !changesPartitions(c) {
			// The step has told of it, and sinks know this version by its ts. What is new is
			// the id of the table at most, if the changefeed began in between.
			c.After.UpdateTs = c.Before.UpdateTs
		}
	}
	return changes, known, err
}

// changesPartitions reports whether rows are under other ids after a change.
func changesPartitions(c event.TableChange) bool {
	return c.Before == nil || c.After == nil ||
		!slices.Equal(slices.Sorted(slices.Values(c.Before.PhysicalIDs())), slices.Sorted(slices.Values(c.After.PhysicalIDs())))
}

// partitionsInProgressLocked makes the table that TiDB will have made of the one that
// is known: the row of a job in progress does not have it. It returns nothing if that
// has been done.
func (s *Storage) partitionsInProgressLocked(job *Job) ([]event.TableChange, error) {
	v := s.currentLocked(job.TableID)
	if v.table == nil || v.table.ID != job.TableID || v.light {
		return nil, nil // of a table that is not wanted, no partitions are known
	}
	after := *v.table
	after.UpdateTs = job.StartTs
	if err := job.switchPartitions(&after); err != nil {
		return nil, err
	}
	c := event.TableChange{Before: v.table, After: &after}
	if !changesPartitions(c) {
		return nil, nil
	}
	if len(after.PhysicalIDs()) == 0 {
		return nil, fmt.Errorf("table %s would have no partition left", after.Name())
	}
	return []event.TableChange{c}, nil
}

// switchPartitions gives a table the partitions that it has after the job, according to
// the job's arguments.
func (j *Job) switchPartitions(t *event.TableInfo) error {
	if j.Type == event.DDLTruncatePartition {
		ids, err := j.truncatedPartitions()
		if err != nil {
			return err
		}
		defs := partitionsOf(t)
		for i := range defs {
			if id, ok := ids[defs[i].ID]; ok {
				defs[i].ID = id
			}
		}
		t.Partition = &event.PartitionInfo{Definitions: defs}
		return nil
	}
	args, err := j.partitionArgs()
	if err != nil {
		return err
	}
	added := args.added()
	if len(added) > 0 && slices.Contains(t.PhysicalIDs(), added[0].ID) {
		return nil // it has them
	}
	switch j.Type {
	case event.DDLDropPartition, event.DDLReorganizePartition:
		defs := partitionsOf(t)
		if at := slices.IndexFunc(defs, args.names); at >= 0 {
			defs = slices.Insert(slices.DeleteFunc(defs, args.names), at, added...)
		}
		t.Partition = &event.PartitionInfo{Definitions: defs}
	case event.DDLAlterTablePartitioning:
		t.ID, t.Partition = args.New.TableID, &event.PartitionInfo{Definitions: added}
	case event.DDLRemovePartitioning:
		t.ID, t.Partition = args.New.TableID, nil
	}
	return nil
}

// partitionsOf returns a copy of a table's partitions.
func partitionsOf(t *event.TableInfo) []event.PartitionDefinition {
	if t.Partition == nil {
		return nil
	}
	return slices.Clone(t.Partition.Definitions)
}
