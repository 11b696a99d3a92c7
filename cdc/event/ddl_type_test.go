package event_test

import (
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// ddlTypes pins TiDB's numbers and names.
var ddlTypes = []struct {
	tp   event.DDLType
	num  uint8
	name string
}{
	{event.DDLCreateSchema, 1, "create schema"},
	{event.DDLDropSchema, 2, "drop schema"},
	{event.DDLCreateTable, 3, "create table"},
	{event.DDLDropTable, 4, "drop table"},
	{event.DDLAddColumn, 5, "add column"},
	{event.DDLDropColumn, 6, "drop column"},
	{event.DDLAddIndex, 7, "add index"},
	{event.DDLDropIndex, 8, "drop index"},
	{event.DDLAddForeignKey, 9, "add foreign key"},
	{event.DDLDropForeignKey, 10, "drop foreign key"},
	{event.DDLTruncateTable, 11, "truncate table"},
	{event.DDLModifyColumn, 12, "modify column"},
	{event.DDLRebaseAutoID, 13, "rebase auto_increment ID"},
	{event.DDLRenameTable, 14, "rename table"},
	{event.DDLSetDefaultValue, 15, "set default value"},
	{event.DDLShardRowID, 16, "shard row ID"},
	{event.DDLModifyTableComment, 17, "modify table comment"},
	{event.DDLRenameIndex, 18, "rename index"},
	{event.DDLAddPartition, 19, "add partition"},
	{event.DDLDropPartition, 20, "drop partition"},
	{event.DDLCreateView, 21, "create view"},
	{event.DDLModifyTableCharset, 22, "modify table charset and collate"},
	{event.DDLTruncatePartition, 23, "truncate partition"},
	{event.DDLDropView, 24, "drop view"},
	{event.DDLRecoverTable, 25, "recover table"},
	{event.DDLModifySchemaCharset, 26, "modify schema charset and collate"},
	{event.DDLLockTable, 27, "lock table"},
	{event.DDLUnlockTable, 28, "unlock table"},
	{event.DDLRepairTable, 29, "repair table"},
	{event.DDLSetTiFlashReplica, 30, "set tiflash replica"},
	{event.DDLUpdateTiFlashReplicaStatus, 31, "update tiflash replica status"},
	{event.DDLAddPrimaryKey, 32, "add primary key"},
	{event.DDLDropPrimaryKey, 33, "drop primary key"},
	{event.DDLCreateSequence, 34, "create sequence"},
	{event.DDLAlterSequence, 35, "alter sequence"},
	{event.DDLDropSequence, 36, "drop sequence"},
	{event.DDLAddColumns, 37, "add multi-columns"},
	{event.DDLDropColumns, 38, "drop multi-columns"},
	{event.DDLModifyAutoIDCache, 39, "modify auto id cache"},
	{event.DDLRebaseAutoRandomBase, 40, "rebase auto_random ID"},
	{event.DDLAlterIndexVisibility, 41, "alter index visibility"},
	{event.DDLExchangePartition, 42, "exchange partition"},
	{event.DDLAddCheckConstraint, 43, "add check constraint"},
	{event.DDLDropCheckConstraint, 44, "drop check constraint"},
	{event.DDLAlterCheckConstraint, 45, "alter check constraint"},
	{event.DDLAlterPartition, 46, "alter partition"},
	{event.DDLRenameTables, 47, "rename tables"},
	{event.DDLDropIndexes, 48, "drop multi-indexes"},
	{event.DDLAlterTableAttributes, 49, "alter table attributes"},
	{event.DDLAlterPartitionAttributes, 50, "alter table partition attributes"},
	{event.DDLCreatePlacementPolicy, 51, "create placement policy"},
	{event.DDLAlterPlacementPolicy, 52, "alter placement policy"},
	{event.DDLDropPlacementPolicy, 53, "drop placement policy"},
	{event.DDLAlterPartitionPlacement, 54, "alter table partition placement"},
	{event.DDLModifySchemaPlacement, 55, "modify schema default placement"},
	{event.DDLAlterTablePlacement, 56, "alter table placement"},
	{event.DDLCacheTable, 57, "alter table cache"},
	{event.DDLAlterTableStatsOptions, 58, "alter table statistics options"},
	{event.DDLNoCacheTable, 59, "alter table nocache"},
	{event.DDLCreateTables, 60, "create tables"},
	{event.DDLMultiSchemaChange, 61, "alter table multi-schema change"},
	{event.DDLFlashbackCluster, 62, "flashback cluster"},
	{event.DDLRecoverSchema, 63, "flashback schema"},
	{event.DDLReorganizePartition, 64, "alter table reorganize partition"},
	{event.DDLAlterTTL, 65, "alter table ttl"},
	{event.DDLRemoveTTL, 67, "alter table no_ttl"},
	{event.DDLCreateResourceGroup, 68, "create resource group"},
	{event.DDLAlterResourceGroup, 69, "alter resource group"},
	{event.DDLDropResourceGroup, 70, "drop resource group"},
	{event.DDLAlterTablePartitioning, 71, "alter table partition by"},
	{event.DDLRemovePartitioning, 72, "alter table remove partitioning"},
	{event.DDLAddColumnarIndex, 73, "add columnar index"},
	{event.DDLModifyEngineAttribute, 74, "modify engine attribute"},
	{event.DDLAlterTableMode, 75, "alter table mode"},
	{event.DDLRefreshMeta, 76, "refresh meta"},
	{event.DDLModifySchemaReadOnly, 77, "modify schema read only"},
	{event.DDLType(0), 0, "ddl type 0"},
	{event.DDLType(66), 66, "ddl type 66"},
	{event.DDLType(99), 99, "ddl type 99"},
}

func TestDDLType(t *testing.T) {
	known := map[event.DDLType]bool{}
	for _, tt := range ddlTypes {
		known[tt.tp] = true
		if uint8(tt.tp) != tt.num || tt.tp.String() != tt.name {
			t.Errorf("type %d prints %q, want %d %q", tt.tp, tt.tp.String(), tt.num, tt.name)
		}
	}
	for n := range 256 {
		tp := event.DDLType(n)
		if !known[tp] && !strings.HasPrefix(tp.String(), "ddl type ") {
			t.Errorf("type %d prints %q but is missing in the table above", n, tp)
		}
	}
}
