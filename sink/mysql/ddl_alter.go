package mysql

import (
	"errors"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// alteredTable returns the table that the DDL changes, under its old name.
func (w *ddlRewriter) alteredTable() (*event.TableInfo, error) {
	if changes := ddlChanges(w.ddl); len(changes) > 0 {
		return firstTable(changes[0].Before, changes[0].After), nil
	}
	return nil, errors.New("the table that it changes is not known")
}

// alterTable prints the parts of an ALTER TABLE that concern the downstream.
func (w *ddlRewriter) alterTable(s *ast.AlterTableStmt) error {
	table, err := w.alteredTable()
	if err != nil {
		return err
	}
	change := ddlChanges(w.ddl)[0]
	w.setClock(change.Before, change.After)
	sql := "ALTER TABLE " + qualified(table)
	separator, swaps := " ", false
	for _, spec := range s.Specs {
		text, err := w.alterSpec(spec, change)
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		if separator == ", " && (spec.Tp == ast.AlterTablePartition || spec.Tp == ast.AlterTableRemovePartitioning) {
			separator = " "
		}
		sql += separator + text
		separator = ", "
		swaps = swaps || spec.Tp == ast.AlterTableExchangePartition
	}
	if separator == " " {
		return nil // it concerns TiDB alone
	}
	w.add(sql, alterDone...)
	w.plan.statements[0].swaps = swaps
	return nil
}

// alterSpec prints one part, "" if the downstream is not to have it.
func (w *ddlRewriter) alterSpec(spec *ast.AlterTableSpec, change event.TableChange) (string, error) {
	if w.changedNothing(spec, change.Before) {
		return "", nil
	}
	spec.IfExists, spec.IfNotExists, spec.NoWriteToBinlog = false, false, false
	switch spec.Tp {
	case ast.AlterTableAddColumns:
		if !w.addColumns(spec, change) {
			return "", nil
		}
	case ast.AlterTableModifyColumn, ast.AlterTableChangeColumn:
		w.column(spec.NewColumns[0], change.After, true)
	case ast.AlterTableAlterColumn:
		if options := spec.NewColumns[0].Options; len(options) == 1 {
			if usesSequence(options[0].Expr) {
				return "", nil
			}
			w.utcDefault(options[0], columnInfo(change.After, spec.NewColumns[0].Name.Name.O))
		}
	case ast.AlterTableAddConstraint:
		kept := w.constraints([]*ast.Constraint{spec.Constraint}, change.Before, change.After)
		if len(kept) == 0 {
			return "", nil
		}
	case ast.AlterTableOption:
		return w.alterOptions(spec, change.After)
	case ast.AlterTableIndexInvisible:
		if w.dialect == dialectMariaDB {
			return "ALTER INDEX " + quoteName(spec.IndexName.O) + mariadbVisibility(spec.Visibility), nil
		}
	case ast.AlterTableExchangePartition:
		if err := w.exchanged(spec); err != nil {
			return "", err
		}
	case ast.AlterTablePartition, ast.AlterTableAddPartitions, ast.AlterTableReorganizePartition:
		w.partitionSpec(spec)
	case ast.AlterTableDropColumn, ast.AlterTableDropPrimaryKey, ast.AlterTableDropIndex, ast.AlterTableDropForeignKey,
		ast.AlterTableRenameColumn, ast.AlterTableRenameIndex, ast.AlterTableCoalescePartitions, ast.AlterTableDropPartition,
		ast.AlterTableTruncatePartition, ast.AlterTableRemovePartitioning,
		ast.AlterTableDropFirstPartition, ast.AlterTableAddLastPartition, ast.AlterTableReorganizeLastPartition,
		ast.AlterTableReorganizeFirstPartition:
	case ast.AlterTableRemoveTTL, ast.AlterTableAlterCheck, ast.AlterTableDropCheck, ast.AlterTablePartitionOptions, ast.AlterTableSplitIndex:
		if w.dialect != dialectTiDB {
			return "", nil
		}
	default:
		// How to execute it (LOCK, ALGORITHM), what TiDB ignores (FORCE, ORDER BY),
		// and what is not replicated (TiFlash, statistics, attributes, cache).
		return "", nil
	}
	return w.print(spec)
}

func mariadbVisibility(v ast.IndexVisibility) string {
	if v == ast.IndexVisibilityInvisible {
		return " IGNORED"
	}
	return " NOT IGNORED"
}

// changedNothing reports whether IF EXISTS or IF NOT EXISTS let a part pass
// without effect. Executed with the other parts it would make the whole
// statement fail downstream as one that has been executed before.
func (w *ddlRewriter) changedNothing(spec *ast.AlterTableSpec, before *event.TableInfo) bool {
	if before == nil || len(before.Columns) == 0 {
		return false
	}
	switch {
	case spec.IfNotExists && spec.Tp == ast.AlterTableAddColumns:
		spec.NewColumns = slices.DeleteFunc(spec.NewColumns, func(d *ast.ColumnDef) bool { return columnInfo(before, d.Name.Name.O) != nil })
		return len(spec.NewColumns) == 0
	case spec.IfExists && spec.Tp == ast.AlterTableDropColumn:
		return columnInfo(before, spec.OldColumnName.Name.O) == nil
	case spec.IfExists && (spec.Tp == ast.AlterTableModifyColumn):
		return columnInfo(before, spec.NewColumns[0].Name.Name.O) == nil
	case spec.IfExists && spec.Tp == ast.AlterTableChangeColumn:
		return columnInfo(before, spec.OldColumnName.Name.O) == nil
	case spec.IfExists && spec.Tp == ast.AlterTableDropIndex:
		return !hasIndex(before, spec.Name)
	case spec.Tp == ast.AlterTableAddConstraint && spec.Constraint.IfNotExists && spec.Constraint.Name != "" && isIndex(spec.Constraint.Tp):
		return hasIndex(before, spec.Constraint.Name)
	}
	return false
}

func hasIndex(t *event.TableInfo, name string) bool {
	return slices.ContainsFunc(t.Indexes, func(i event.IndexInfo) bool { return strings.EqualFold(i.Name, name) })
}

// addColumns reports whether anything is left to add.
func (w *ddlRewriter) addColumns(spec *ast.AlterTableSpec, change event.TableChange) bool {
	for _, def := range spec.NewColumns {
		w.column(def, change.After, true)
	}
	spec.NewConstraints = w.constraints(spec.NewConstraints, change.Before, change.After)
	return len(spec.NewColumns)+len(spec.NewConstraints) > 0
}

// alterOptions prints table options. A character set without a collation has the
// one that TiDB chose.
func (w *ddlRewriter) alterOptions(spec *ast.AlterTableSpec, after *event.TableInfo) (string, error) {
	spec.Options = w.tableOptions(spec.Options)
	if len(spec.Options) == 0 {
		return "", nil
	}
	i := slices.IndexFunc(spec.Options, func(o *ast.TableOption) bool { return o.Tp == ast.TableOptionCharset })
	if i < 0 {
		return w.print(spec)
	}
	o := spec.Options[i]
	spec.Options = slices.DeleteFunc(spec.Options, func(o *ast.TableOption) bool {
		return o.Tp == ast.TableOptionCharset || o.Tp == ast.TableOptionCollate
	})
	name, collation := o.StrValue, ""
	if after != nil && after.Charset != "" {
		name, collation = after.Charset, after.Collation
	}
	text := "CHARACTER SET " + name
	if o.Default && name == "" {
		text = "CHARACTER SET " + mysql.DefaultCharset
	}
	if o.UintValue == ast.TableOptionCharsetWithConvertTo {
		text = "CONVERT TO " + text
	}
	if collation != "" {
		text += " COLLATE " + w.collation(collation)
	}
	if len(spec.Options) == 0 {
		return text, nil
	}
	rest, err := w.print(spec)
	return text + ", " + rest, err
}

// exchanged names both tables of EXCHANGE PARTITION.
func (w *ddlRewriter) exchanged(spec *ast.AlterTableSpec) error {
	changes := ddlChanges(w.ddl)
	if len(changes) != 2 {
		return errors.New("the table that a partition is exchanged with is not known")
	}
	other := firstTable(changes[1].Before, changes[1].After)
	spec.NewTable.Schema, spec.NewTable.Name = ast.NewCIStr(other.Schema), ast.NewCIStr(other.Table)
	// MariaDB has no WITHOUT VALIDATION, and always validates.
	spec.WithValidation = spec.WithValidation || w.dialect == dialectMariaDB
	return nil
}

// partitionSpec drops what only TiDB knows.
func (w *ddlRewriter) partitionSpec(spec *ast.AlterTableSpec) {
	if w.dialect == dialectTiDB {
		return
	}
	w.partition(spec.Partition)
	for _, d := range spec.PartDefinitions {
		d.Options = slices.DeleteFunc(d.Options, func(o *ast.TableOption) bool { return o.Tp != ast.TableOptionComment })
	}
}
