package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// TiDB changes a schema in steps, and a job is applied at its last one, but for
// two kinds. DROP PARTITION and TRUNCATE PARTITION have an earlier step from
// which on sessions do without the old partitions: what belongs into a dropped
// range goes into the next partition (or the DEFAULT one of a list), and what
// belongs into a truncated partition goes under its new id. If they were applied
// at the end, a sink would put the former rows into a partition that it drops
// next, and the latter would be of nobody's span. So both are applied at that step.
// What sessions with an older schema still write into the old partitions after it
// is gone upstream as well. TiDB cannot cancel a job any more that has come so far.
//
// Nothing is remembered of it: the partitions that are known tell whether the step
// has been applied. In a snapshot from between the step and the end they are
// already as they will be.

// The steps (TiDB's model.SchemaState) from which on the old partitions are gone.
// Before them are public (5) and, in TiDB 8.5 and newer, write only (2), where
// sessions refuse what belongs into the old partitions.
const (
	stepDeleteOnly           = 1
	stepDeleteReorganization = 4
)

// hasPartitionStep reports whether the job is of a kind that is applied before its end.
func (j *Job) hasPartitionStep() bool {
	return j.Type == event.DDLDropPartition || j.Type == event.DDLTruncatePartition
}

// changedPartitions reports whether the job is in progress and the table's
// partitions are already what they will be. A job is in each step for some time,
// during which its row may be written again.
func (j *Job) changedPartitions() bool {
	return j.hasPartitionStep() && j.inProgress() && (j.schemaState == stepDeleteOnly || j.schemaState == stepDeleteReorganization)
}

// partitionStepLocked returns what a job of that kind does at the step that counts,
// or at its end if the step has not been seen; nothing if it has.
func (s *Storage) partitionStepLocked(job *Job) (changes []event.TableChange, known bool, err error) {
	if job.changedPartitions() {
		known = true
		changes, err = s.partitionsInProgressLocked(job)
	} else {
		changes, known, err = s.replaceLocked(job)
	}
	if err != nil || len(changes) == 0 {
		return nil, known, err
	}
	c := changes[0]
	if c.Before != nil && slices.Equal(c.Before.PhysicalIDs(), c.After.PhysicalIDs()) {
		// The version stays as it is, with the UpdateTs that sinks were told.
		return nil, true, nil
	}
	return changes, true, nil
}

// partitionsInProgressLocked makes the table that TiDB has made of the one that is
// known: the row of a job in progress does not have it.
func (s *Storage) partitionsInProgressLocked(job *Job) ([]event.TableChange, error) {
	before := s.tableLocked(job.TableID)
	if before == nil || before.Partition == nil {
		return nil, nil // not wanted: its partitions are not known
	}
	defs := slices.Clone(before.Partition.Definitions)
	if job.Type == event.DDLDropPartition {
		names, err := job.droppedPartitions()
		if err != nil {
			return nil, err
		}
		defs = slices.DeleteFunc(defs, func(d event.PartitionDefinition) bool { return names[strings.ToLower(d.Name)] })
	} else {
		ids, err := job.truncatedPartitions()
		if err != nil {
			return nil, err
		}
		for i := range defs {
			if id, ok := ids[defs[i].ID]; ok {
				defs[i].ID = id
			}
		}
	}
	if len(defs) == 0 {
		return nil, fmt.Errorf("table %s would have no partition left", before.Name())
	}
	after := *before
	after.Partition = &event.PartitionInfo{Definitions: defs}
	after.UpdateTs = job.StartTs
	return []event.TableChange{{Before: before, After: &after}}, nil
}
