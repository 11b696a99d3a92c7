package mysql

import (
	"slices"
	"strings"
	"time"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// mariadbCollations are MariaDB's names of MySQL 8's collations.
var mariadbCollations = map[string]string{
	"utf8mb4_0900_ai_ci": "utf8mb4_uca1400_nopad_ai_ci",
	"utf8mb4_0900_bin":   "utf8mb4_nopad_bin",
	"utf8_unicode_ci":    "utf8mb3_unicode_ci",
}

// collation returns the downstream's name of a collation.
func (w *ddlRewriter) collation(name string) string {
	if c, ok := mariadbCollations[strings.ToLower(name)]; ok && w.dialect == dialectMariaDB {
		return c
	}
	return name
}

func hasCollation(c *event.ColumnInfo) bool {
	switch c.Type {
	case event.TypeVarchar, event.TypeVarString, event.TypeString, event.TypeTinyBlob, event.TypeBlob, event.TypeMediumBlob,
		event.TypeLongBlob, event.TypeEnum, event.TypeSet:
		return !c.Binary() && c.Collation != ""
	}
	return false
}

// columnInfo finds a column of any kind, nil if there is none.
func columnInfo(t *event.TableInfo, name string) *event.ColumnInfo {
	if t == nil {
		return nil
	}
	for _, list := range [][]event.ColumnInfo{t.Columns, t.VirtualColumns} {
		for i := range list {
			if strings.EqualFold(list[i].Name, name) {
				return &list[i]
			}
		}
	}
	return nil
}

// column makes a definition mean downstream what it means to TiDB. explicit
// writes out a collation that is the table's, for MODIFY COLUMN, whose default
// servers disagree on.
func (w *ddlRewriter) column(def *ast.ColumnDef, after *event.TableInfo, explicit bool) {
	w.vector(def)
	info := columnInfo(after, def.Name.Name.O)
	if info != nil && hasCollation(info) {
		w.setCollation(def, info, explicit || info.Collation != after.Collation)
	}
	generated := slices.ContainsFunc(def.Options, func(o *ast.ColumnOption) bool { return o.Tp == ast.ColumnOptionGenerated })
	def.Options = slices.DeleteFunc(def.Options, func(o *ast.ColumnOption) bool { return !w.keepColumnOption(o, generated) })
	for _, o := range def.Options {
		if o.Tp == ast.ColumnOptionDefaultValue {
			w.utcDefault(o, info)
		}
	}
}

// vector makes a VECTOR a text for a downstream without the type.
func (w *ddlRewriter) vector(def *ast.ColumnDef) {
	if def.Tp.GetType() != mysql.TypeTiDBVectorFloat32 || w.vectors {
		return
	}
	def.Tp = types.NewFieldType(mysql.TypeLongBlob)
	def.Tp.SetCharset(mysql.DefaultCharset)
	def.Tp.SetCollate("utf8mb4_bin")
	w.note("that %q is a VECTOR, without has-vector-type", def.Name.Name.O)
}

// setCollation replaces what a definition says of its character set.
func (w *ddlRewriter) setCollation(def *ast.ColumnDef, info *event.ColumnInfo, write bool) {
	said := def.Tp.GetCharset() != "" || def.Tp.GetCollate() != ""
	def.Tp.SetCharset("")
	def.Tp.SetCollate("")
	said = said || mysql.HasBinaryFlag(def.Tp.GetFlag())
	def.Tp.DelFlag(mysql.BinaryFlag)
	def.Options = slices.DeleteFunc(def.Options, func(o *ast.ColumnOption) bool {
		said = said || o.Tp == ast.ColumnOptionCollate
		return o.Tp == ast.ColumnOptionCollate
	})
	if said || write {
		// In front: behind GENERATED it is a syntax error.
		def.Options = slices.Insert(def.Options, 0, &ast.ColumnOption{Tp: ast.ColumnOptionCollate, StrValue: w.collation(info.Collation)})
	}
}

// keepColumnOption also changes options that are kept in part.
func (w *ddlRewriter) keepColumnOption(o *ast.ColumnOption, generated bool) bool {
	switch o.Tp {
	case ast.ColumnOptionReference:
		// TiDB reads a REFERENCES inside of a column and does nothing. MariaDB would not.
		return false
	case ast.ColumnOptionDefaultValue:
		// Sequences are not replicated.
		return !usesSequence(o.Expr)
	}
	if w.dialect == dialectTiDB {
		return true
	}
	switch o.Tp {
	case ast.ColumnOptionPrimaryKey, ast.ColumnOptionUniqKey:
		if o.Tp == ast.ColumnOptionUniqKey && strings.EqualFold(o.StrValue, "Global") {
			w.note("the unique index of a column that is GLOBAL")
			return false
		}
		o.PrimaryKeyTp, o.StrValue = ast.PrimaryKeyTypeDefault, ""
	case ast.ColumnOptionAutoRandom, ast.ColumnOptionColumnFormat, ast.ColumnOptionStorage, ast.ColumnOptionSecondaryEngineAttribute,
		// TiDB checks constraints only if told to: rows may violate them.
		ast.ColumnOptionCheck:
		return false
	case ast.ColumnOptionNotNull, ast.ColumnOptionNull:
		// MariaDB has a generated column decide for itself.
		return !generated || w.dialect != dialectMariaDB
	}
	return true
}

func usesSequence(e ast.ExprNode) bool {
	call, ok := e.(*ast.FuncCallExpr)
	return ok && (call.FnName.L == ast.NextVal || call.FnName.L == ast.LastVal)
}

// utcDefault writes the default of a TIMESTAMP, which the upstream's session read
// in its own time zone, as the downstream's session reads it.
func (w *ddlRewriter) utcDefault(o *ast.ColumnOption, info *event.ColumnInfo) {
	if info == nil || info.Type != event.TypeTimestamp || info.Default == nil || info.DefaultIsExpr || info.Version == 0 {
		return
	}
	if _, literal := o.Expr.(ast.ValueExpr); !literal {
		return
	}
	text := *info.Default
	if w.plan.zone == nil {
		w.plan.zone = time.UTC
	}
	if t, ok := parseTime(text); ok && w.plan.zone != time.UTC {
		text = t.In(w.plan.zone).Format("2006-01-02 15:04:05.999999")
	}
	o.Expr = ast.NewValueExpr(text, mysql.DefaultCharset, mysql.DefaultCollationName)
}

// setClock finds the moment that TiDB took for the CURRENT_TIMESTAMP of new
// columns. It kept a TIMESTAMP's in UTC and a DATETIME's as the session saw it.
func (w *ddlRewriter) setClock(before, after *event.TableInfo) {
	if before == nil || after == nil {
		return
	}
	var instant, local time.Time
	for i := range after.Columns {
		c := &after.Columns[i]
		if c.OriginDefault == nil || c.Default == nil || before.ColumnOffset(c.Name) >= 0 ||
			!c.DefaultIsExpr && !strings.HasPrefix(strings.ToUpper(*c.Default), "CURRENT_TIMESTAMP") {
			continue
		}
		t, ok := parseTime(*c.OriginDefault)
		switch {
		case !ok:
		case c.Type == event.TypeTimestamp && c.Version > 0:
			instant = latest(instant, t)
		case c.Type == event.TypeTimestamp, c.Type == event.TypeDatetime, c.Type == event.TypeDate:
			local = latest(local, t)
		}
	}
	switch {
	case instant.IsZero() && local.IsZero():
	case instant.IsZero():
		if w.plan.zone == nil {
			w.plan.zone = time.UTC
		}
		y, m, d := local.Date()
		w.plan.timestamp = time.Date(y, m, d, local.Hour(), local.Minute(), local.Second(), local.Nanosecond(), w.plan.zone)
	default:
		w.plan.timestamp = instant
		if !local.IsZero() {
			w.plan.zone = time.FixedZone("", int(local.Sub(instant).Round(time.Minute).Seconds()))
		}
	}
}

// latest prefers the time with more digits: columns of one statement differ in
// their precision only.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func parseTime(text string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02 15:04:05.999999", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// constraints keeps the indexes and keys that the downstream can have, each with
// the name that TiDB gave it: a second execution then finds it.
func (w *ddlRewriter) constraints(list []*ast.Constraint, before, after *event.TableInfo) []*ast.Constraint {
	taken := map[string]bool{}
	for _, c := range list {
		taken[strings.ToLower(c.Name)] = true
	}
	return slices.DeleteFunc(list, func(c *ast.Constraint) bool {
		if !w.constraint(c) {
			w.note("the index or constraint %q of %s", c.Name, firstTable(after).Name())
			return true
		}
		if c.Name == "" && isIndex(c.Tp) {
			c.Name = indexName(c.Keys, before, after, taken)
			taken[strings.ToLower(c.Name)] = true
		}
		return false
	})
}

func isIndex(tp ast.ConstraintType) bool {
	switch tp {
	case ast.ConstraintKey, ast.ConstraintIndex, ast.ConstraintUniq, ast.ConstraintUniqKey, ast.ConstraintUniqIndex:
		return true
	}
	return false
}

// indexName finds the name of a new index over these columns, "" if there is none.
func indexName(keys []*ast.IndexPartSpecification, before, after *event.TableInfo, taken map[string]bool) string {
	if after == nil {
		return ""
	}
	for _, idx := range after.Indexes {
		old := before != nil && slices.ContainsFunc(before.Indexes, func(b event.IndexInfo) bool { return strings.EqualFold(b.Name, idx.Name) })
		if old || idx.Primary || taken[strings.ToLower(idx.Name)] || len(idx.Columns) != len(keys) {
			continue
		}
		same := true
		for i, k := range keys {
			same = same && k.Column != nil && strings.EqualFold(k.Column.Name.O, idx.Columns[i].Name)
		}
		if same {
			return idx.Name
		}
	}
	return ""
}

// constraint adapts a constraint and reports whether the downstream can have it.
func (w *ddlRewriter) constraint(c *ast.Constraint) bool {
	c.IfNotExists = false
	if c.Tp == ast.ConstraintVector && !w.vectors {
		return false
	}
	if w.dialect == dialectTiDB {
		return true
	}
	switch c.Tp {
	case ast.ConstraintCheck, ast.ConstraintVector, ast.ConstraintColumnar:
		return false
	case ast.ConstraintUniq, ast.ConstraintUniqKey, ast.ConstraintUniqIndex:
		if isGlobal(c.Option) {
			return false
		}
	case ast.ConstraintForeignKey:
		return true
	}
	return w.index(c.Keys, c.Option)
}

// isGlobal reports whether a unique index may lack columns of the partitioning,
// as one can only in TiDB.
func isGlobal(o *ast.IndexOption) bool { return o != nil && o.Global }

// index adapts an index and reports whether the downstream can have it.
func (w *ddlRewriter) index(keys []*ast.IndexPartSpecification, o *ast.IndexOption) bool {
	if w.dialect == dialectTiDB {
		return true
	}
	if w.dialect == dialectMariaDB && slices.ContainsFunc(keys, func(k *ast.IndexPartSpecification) bool { return k.Expr != nil }) {
		return false
	}
	if o == nil {
		return true
	}
	if o.Condition != nil || o.Tp == ast.IndexTypeHypo || o.Tp == ast.IndexTypeInverted || o.Tp == ast.IndexTypeHNSW {
		return false
	}
	o.PrimaryKeyTp, o.Global, o.SplitOpt, o.AddColumnarReplicaOnDemand, o.SecondaryEngineAttr = 0, false, nil, 0, ""
	o.Tp, o.ParserName = ast.IndexTypeInvalid, ast.CIStr{}
	if w.dialect == dialectMariaDB {
		o.Visibility = ast.IndexVisibilityDefault
	}
	return true
}

// tableOptions keeps what the downstream knows. An ENGINE is not: TiDB reads any
// name, and a table downstream has to be transactional. TTL stays off, because the
// upstream's deletions are replicated.
func (w *ddlRewriter) tableOptions(options []*ast.TableOption) []*ast.TableOption {
	var kept []*ast.TableOption
	for _, o := range options {
		switch o.Tp {
		case ast.TableOptionCharset:
		case ast.TableOptionCollate:
			o.StrValue = w.collation(o.StrValue)
		case ast.TableOptionAutoIncrement, ast.TableOptionComment:
		case ast.TableOptionTTL:
			if w.dialect == dialectTiDB {
				kept = append(kept, o, &ast.TableOption{Tp: ast.TableOptionTTLEnable})
			}
			continue
		case ast.TableOptionTTLEnable, ast.TableOptionStatsBuckets, ast.TableOptionStatsTopN, ast.TableOptionStatsColsChoice,
			ast.TableOptionStatsColList, ast.TableOptionStatsSampleRate, ast.TableOptionUnion, ast.TableOptionConnection:
			continue
		default:
			if w.dialect != dialectTiDB {
				continue
			}
		}
		kept = append(kept, o)
	}
	return kept
}
