package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// A job's arguments are a JSON array by position up to TiDB 8.3 (job version 1)
// and an object by name from 8.4 on (job version 2); the text tells which.

// decodeArgs reads a job's arguments into the pointers of positional, as far as
// there are any, or into named.
func (j *Job) decodeArgs(named any, positional ...any) error {
	args := bytes.TrimSpace(j.args)
	if len(args) == 0 || string(args) == "null" {
		return fmt.Errorf("read arguments of %s: there are none", j)
	}
	if args[0] != '[' {
		if err := json.Unmarshal(args, named); err != nil {
			return fmt.Errorf("read arguments of %s: %w", j, err)
		}
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(args, &list); err != nil {
		return fmt.Errorf("read arguments of %s: %w", j, err)
	}
	for i, p := range positional {
		if i == len(list) {
			break
		}
		if p == nil {
			continue
		}
		if err := json.Unmarshal(list[i], p); err != nil {
			return fmt.Errorf("read argument %d of %s: %w", i, j, err)
		}
	}
	return nil
}

// renamedSchemas returns, by table id, the schema that RENAME TABLE put each
// table into. The old ones are not reliable: TiDB overwrites them.
func (j *Job) renamedSchemas() (map[int64]int64, error) {
	var named struct {
		Renames []struct {
			TableID     int64 `json:"table_id"`
			NewSchemaID int64 `json:"new_schema_id"`
		} `json:"rename_table_infos"`
	}
	var schemaIDs, tableIDs []int64
	// Positions: old schema ids, new schema ids, table names, table ids, …
	if err := j.decodeArgs(&named, nil, &schemaIDs, nil, &tableIDs); err != nil {
		return nil, err
	}
	if len(schemaIDs) != len(tableIDs) {
		return nil, fmt.Errorf("read arguments of %s: %d tables in %d schemas", j, len(tableIDs), len(schemaIDs))
	}
	out := map[int64]int64{}
	for i, id := range tableIDs {
		out[id] = schemaIDs[i]
	}
	for _, r := range named.Renames {
		out[r.TableID] = r.NewSchemaID
	}
	return out, nil
}

// exchangeArgs are the partition and the partitioned table of EXCHANGE PARTITION.
type exchangeArgs struct {
	PartitionID int64 `json:"partition_id"`
	SchemaID    int64 `json:"pt_schema_id"`
	TableID     int64 `json:"pt_table_id"`
}

func (j *Job) exchangeArgs() (exchangeArgs, error) {
	var a exchangeArgs
	err := j.decodeArgs(&a, &a.PartitionID, &a.SchemaID, &a.TableID)
	return a, err
}

// recoveredTables returns the TableInfos that FLASHBACK DATABASE brought back.
// It returns false if the job does not list them: TiDB 8.4 and newer read them
// from an old snapshot while they run the job.
func (j *Job) recoveredTables() ([]json.RawMessage, bool, error) {
	type recoverInfo struct {
		// The list was called RecoverTabsInfo at first.
		RecoverTabsInfo, RecoverTableInfos []struct{ TableInfo json.RawMessage }
		LoadTablesOnExecute                bool
	}
	var (
		info  recoverInfo
		named struct {
			RecoverInfo *recoverInfo `json:"recover_info"`
		}
	)
	if err := j.decodeArgs(&named, &info); err != nil {
		return nil, false, err
	}
	if named.RecoverInfo != nil {
		info = *named.RecoverInfo
	}
	var tables []json.RawMessage
	for _, t := range append(info.RecoverTabsInfo, info.RecoverTableInfos...) {
		if t.TableInfo = present(t.TableInfo); t.TableInfo != nil {
			tables = append(tables, t.TableInfo)
		}
	}
	return tables, len(tables) > 0 || !info.LoadTablesOnExecute, nil
}

// partitionArgs are what DROP PARTITION and the kinds that reorganize partitions have
// in their arguments until they end.
type partitionArgs struct {
	// Names are those of the old partitions, in lower case.
	Names []string `json:"part_names"`
	// New has the new partitions, and the table's new id if it gets one.
	New struct {
		Definitions []struct {
			ID   int64    `json:"id"`
			Name nameJSON `json:"name"`
		} `json:"definitions"`
		TableID int64 `json:"new_table_id"`
	} `json:"part_info"`
}

func (j *Job) partitionArgs() (*partitionArgs, error) {
	a := &partitionArgs{}
	if err := j.decodeArgs(a, &a.Names, &a.New); err != nil {
		return nil, err
	}
	keepsID := j.Type == event.DDLDropPartition || j.Type == event.DDLReorganizePartition
	switch {
	case keepsID && len(a.Names) == 0:
		return nil, fmt.Errorf("read arguments of %s: they name no partition", j)
	case j.Type != event.DDLDropPartition && len(a.New.Definitions) == 0:
		return nil, fmt.Errorf("read arguments of %s: they have no new partition", j)
	case !keepsID && a.New.TableID == 0:
		return nil, fmt.Errorf("read arguments of %s: they have no new table id", j)
	}
	return a, nil
}

// names reports whether a partition is one of the old ones.
func (a *partitionArgs) names(d event.PartitionDefinition) bool {
	return slices.Contains(a.Names, strings.ToLower(d.Name))
}

// added returns the new partitions.
func (a *partitionArgs) added() []event.PartitionDefinition {
	var defs []event.PartitionDefinition
	for _, d := range a.New.Definitions {
		defs = append(defs, event.PartitionDefinition{ID: d.ID, Name: d.Name.O})
	}
	return defs
}

// truncatedPartitions returns, by the old ids of partitions, the new ones that
// TRUNCATE PARTITION has in its arguments until it ends.
func (j *Job) truncatedPartitions() (map[int64]int64, error) {
	var named struct {
		Old []int64 `json:"old_partition_ids"`
		New []int64 `json:"new_partition_ids"`
	}
	if err := j.decodeArgs(&named, &named.Old, &named.New); err != nil {
		return nil, err
	}
	if len(named.Old) == 0 || len(named.Old) != len(named.New) {
		return nil, fmt.Errorf("read arguments of %s: %d partitions become %d", j, len(named.Old), len(named.New))
	}
	out := map[int64]int64{}
	for i, id := range named.Old {
		out[id] = named.New[i]
	}
	return out, nil
}
