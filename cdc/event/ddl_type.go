package event

import "strconv"

// The kinds of DDL statements, with TiDB's numbers (model.ActionType). A
// newer TiDB may send others.
//
// 37, 38, 46, 48 and 58 are no longer produced. ALTER TABLE with several
// specifications is one [DDLMultiSchemaChange].
const (
	DDLCreateSchema               DDLType = 1
	DDLDropSchema                 DDLType = 2
	DDLCreateTable                DDLType = 3
	DDLDropTable                  DDLType = 4
	DDLAddColumn                  DDLType = 5
	DDLDropColumn                 DDLType = 6
	DDLAddIndex                   DDLType = 7
	DDLDropIndex                  DDLType = 8
	DDLAddForeignKey              DDLType = 9
	DDLDropForeignKey             DDLType = 10
	DDLTruncateTable              DDLType = 11
	DDLModifyColumn               DDLType = 12
	DDLRebaseAutoID               DDLType = 13
	DDLRenameTable                DDLType = 14
	DDLSetDefaultValue            DDLType = 15
	DDLShardRowID                 DDLType = 16
	DDLModifyTableComment         DDLType = 17
	DDLRenameIndex                DDLType = 18
	DDLAddPartition               DDLType = 19
	DDLDropPartition              DDLType = 20
	DDLCreateView                 DDLType = 21
	DDLModifyTableCharset         DDLType = 22
	DDLTruncatePartition          DDLType = 23
	DDLDropView                   DDLType = 24
	DDLRecoverTable               DDLType = 25
	DDLModifySchemaCharset        DDLType = 26
	DDLLockTable                  DDLType = 27
	DDLUnlockTable                DDLType = 28
	DDLRepairTable                DDLType = 29
	DDLSetTiFlashReplica          DDLType = 30
	DDLUpdateTiFlashReplicaStatus DDLType = 31
	DDLAddPrimaryKey              DDLType = 32
	DDLDropPrimaryKey             DDLType = 33
	DDLCreateSequence             DDLType = 34
	DDLAlterSequence              DDLType = 35
	DDLDropSequence               DDLType = 36
	DDLAddColumns                 DDLType = 37
	DDLDropColumns                DDLType = 38
	DDLModifyAutoIDCache          DDLType = 39
	DDLRebaseAutoRandomBase       DDLType = 40
	DDLAlterIndexVisibility       DDLType = 41
	DDLExchangePartition          DDLType = 42
	DDLAddCheckConstraint         DDLType = 43
	DDLDropCheckConstraint        DDLType = 44
	DDLAlterCheckConstraint       DDLType = 45
	DDLAlterPartition             DDLType = 46
	DDLRenameTables               DDLType = 47
	DDLDropIndexes                DDLType = 48
	DDLAlterTableAttributes       DDLType = 49
	DDLAlterPartitionAttributes   DDLType = 50
	DDLCreatePlacementPolicy      DDLType = 51
	DDLAlterPlacementPolicy       DDLType = 52
	DDLDropPlacementPolicy        DDLType = 53
	DDLAlterPartitionPlacement    DDLType = 54
	DDLModifySchemaPlacement      DDLType = 55
	DDLAlterTablePlacement        DDLType = 56
	DDLCacheTable                 DDLType = 57
	DDLAlterTableStatsOptions     DDLType = 58
	DDLNoCacheTable               DDLType = 59
	DDLCreateTables               DDLType = 60
	DDLMultiSchemaChange          DDLType = 61
	DDLFlashbackCluster           DDLType = 62
	DDLRecoverSchema              DDLType = 63
	DDLReorganizePartition        DDLType = 64
	DDLAlterTTL                   DDLType = 65
	DDLRemoveTTL                  DDLType = 67
	DDLCreateResourceGroup        DDLType = 68
	DDLAlterResourceGroup         DDLType = 69
	DDLDropResourceGroup          DDLType = 70
	DDLAlterTablePartitioning     DDLType = 71
	DDLRemovePartitioning         DDLType = 72
	DDLAddColumnarIndex           DDLType = 73
	DDLModifyEngineAttribute      DDLType = 74
	DDLAlterTableMode             DDLType = 75
	DDLRefreshMeta                DDLType = 76
	DDLModifySchemaReadOnly       DDLType = 77
)

// String returns TiDB's name of the kind, such as "create table", and
// "ddl type 99" for one that is not known here.
func (t DDLType) String() string {
	switch t {
	case DDLCreateSchema:
		return "create schema"
	case DDLDropSchema:
		return "drop schema"
	case DDLCreateTable:
		return "create table"
	case DDLDropTable:
		return "drop table"
	case DDLAddColumn:
		return "add column"
	case DDLDropColumn:
		return "drop column"
	case DDLAddIndex:
		return "add index"
	case DDLDropIndex:
		return "drop index"
	case DDLAddForeignKey:
		return "add foreign key"
	case DDLDropForeignKey:
		return "drop foreign key"
	case DDLTruncateTable:
		return "truncate table"
	case DDLModifyColumn:
		return "modify column"
	case DDLRebaseAutoID:
		return "rebase auto_increment ID"
	case DDLRenameTable:
		return "rename table"
	case DDLSetDefaultValue:
		return "set default value"
	case DDLShardRowID:
		return "shard row ID"
	case DDLModifyTableComment:
		return "modify table comment"
	case DDLRenameIndex:
		return "rename index"
	case DDLAddPartition:
		return "add partition"
	case DDLDropPartition:
		return "drop partition"
	case DDLCreateView:
		return "create view"
	case DDLModifyTableCharset:
		return "modify table charset and collate"
	case DDLTruncatePartition:
		return "truncate partition"
	case DDLDropView:
		return "drop view"
	case DDLRecoverTable:
		return "recover table"
	case DDLModifySchemaCharset:
		return "modify schema charset and collate"
	case DDLLockTable:
		return "lock table"
	case DDLUnlockTable:
		return "unlock table"
	case DDLRepairTable:
		return "repair table"
	case DDLSetTiFlashReplica:
		return "set tiflash replica"
	case DDLUpdateTiFlashReplicaStatus:
		return "update tiflash replica status"
	case DDLAddPrimaryKey:
		return "add primary key"
	case DDLDropPrimaryKey:
		return "drop primary key"
	case DDLCreateSequence:
		return "create sequence"
	case DDLAlterSequence:
		return "alter sequence"
	case DDLDropSequence:
		return "drop sequence"
	case DDLAddColumns:
		return "add multi-columns"
	case DDLDropColumns:
		return "drop multi-columns"
	case DDLModifyAutoIDCache:
		return "modify auto id cache"
	case DDLRebaseAutoRandomBase:
		return "rebase auto_random ID"
	case DDLAlterIndexVisibility:
		return "alter index visibility"
	case DDLExchangePartition:
		return "exchange partition"
	case DDLAddCheckConstraint:
		return "add check constraint"
	case DDLDropCheckConstraint:
		return "drop check constraint"
	case DDLAlterCheckConstraint:
		return "alter check constraint"
	case DDLAlterPartition:
		return "alter partition"
	case DDLRenameTables:
		return "rename tables"
	case DDLDropIndexes:
		return "drop multi-indexes"
	case DDLAlterTableAttributes:
		return "alter table attributes"
	case DDLAlterPartitionAttributes:
		return "alter table partition attributes"
	case DDLCreatePlacementPolicy:
		return "create placement policy"
	case DDLAlterPlacementPolicy:
		return "alter placement policy"
	case DDLDropPlacementPolicy:
		return "drop placement policy"
	case DDLAlterPartitionPlacement:
		return "alter table partition placement"
	case DDLModifySchemaPlacement:
		return "modify schema default placement"
	case DDLAlterTablePlacement:
		return "alter table placement"
	case DDLCacheTable:
		return "alter table cache"
	case DDLAlterTableStatsOptions:
		return "alter table statistics options"
	case DDLNoCacheTable:
		return "alter table nocache"
	case DDLCreateTables:
		return "create tables"
	case DDLMultiSchemaChange:
		return "alter table multi-schema change"
	case DDLFlashbackCluster:
		return "flashback cluster"
	case DDLRecoverSchema:
		return "flashback schema"
	case DDLReorganizePartition:
		return "alter table reorganize partition"
	case DDLAlterTTL:
		return "alter table ttl"
	case DDLRemoveTTL:
		return "alter table no_ttl"
	case DDLCreateResourceGroup:
		return "create resource group"
	case DDLAlterResourceGroup:
		return "alter resource group"
	case DDLDropResourceGroup:
		return "drop resource group"
	case DDLAlterTablePartitioning:
		return "alter table partition by"
	case DDLRemovePartitioning:
		return "alter table remove partitioning"
	case DDLAddColumnarIndex:
		return "add columnar index"
	case DDLModifyEngineAttribute:
		return "modify engine attribute"
	case DDLAlterTableMode:
		return "alter table mode"
	case DDLRefreshMeta:
		return "refresh meta"
	case DDLModifySchemaReadOnly:
		return "modify schema read only"
	}
	return "ddl type " + strconv.Itoa(int(t))
}
