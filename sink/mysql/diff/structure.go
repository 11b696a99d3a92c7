package diff

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/filter"
)

// table is what information_schema says of a table.
type table struct {
	schema, name string
	avgRowLength int64
	columns      []*column
	indexes      []*index
}

type column struct {
	name               string
	dataType, fullType string // "int", "int(11) unsigned"
	charset, collation string
	nullable           bool
	// generated columns have an expression; virtual ones are not stored.
	generated, virtual bool
}

type index struct {
	name    string
	unique  bool
	columns []string
	// partial: it has a prefix of a column or an expression.
	partial bool
}

// key is how tables of both sides find each other.
func (t *table) key() string { return strings.ToLower(t.schema) + "\x00" + strings.ToLower(t.name) }

func (t *table) quoted() string { return quoteName(t.schema) + "." + quoteName(t.name) }

func (t *table) column(name string) *column {
	for _, c := range t.columns {
		if strings.EqualFold(c.name, name) {
			return c
		}
	}
	return nil
}

// tables reads the structures of the tables that the filter includes, sorted by name.
func (s *side) tables(ctx context.Context, f *filter.Filter) ([]*table, error) {
	var list []*table
	byKey := map[string]*table{}
	err := s.query(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, AVG_ROW_LENGTH FROM information_schema.TABLES "+
		"WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')", func(v []sql.RawBytes) error {
		t := &table{schema: string(v[0]), name: string(v[1])}
		t.avgRowLength, _ = strconv.ParseInt(string(v[2]), 10, 64)
		if f.Table(t.schema, t.name) {
			list, byKey[t.key()] = append(list, t), t
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, nil
	}
	// Without a condition servers open every table there is.
	where := " WHERE TABLE_SCHEMA IN (" + schemaList(list) + ")"
	find := func(schema, name sql.RawBytes) *table {
		return byKey[(&table{schema: string(schema), name: string(name)}).key()]
	}
	err = s.query(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE, EXTRA "+
		"FROM information_schema.COLUMNS"+where+" ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION", func(v []sql.RawBytes) error {
		t := find(v[0], v[1])
		if t == nil {
			return nil
		}
		extra := strings.ToUpper(string(v[8]))
		t.columns = append(t.columns, &column{
			name: string(v[2]), dataType: strings.ToLower(string(v[3])), fullType: strings.ToLower(string(v[4])),
			charset: string(v[5]), collation: string(v[6]), nullable: string(v[7]) == "YES",
			generated: strings.Contains(extra, "VIRTUAL") || strings.Contains(extra, "STORED"), virtual: strings.Contains(extra, "VIRTUAL"),
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = s.query(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART "+
		"FROM information_schema.STATISTICS"+where+" ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX", func(v []sql.RawBytes) error {
		t := find(v[0], v[1])
		if t == nil {
			return nil
		}
		name := string(v[2])
		if len(t.indexes) == 0 || t.indexes[len(t.indexes)-1].name != name {
			t.indexes = append(t.indexes, &index{name: name, unique: string(v[3]) == "0"})
		}
		idx := t.indexes[len(t.indexes)-1]
		idx.columns = append(idx.columns, string(v[4]))
		idx.partial = idx.partial || v[5] != nil || v[4] == nil || t.column(string(v[4])) == nil
		return nil
	})
	return list, err
}

func schemaList(list []*table) string {
	var names []string
	for _, t := range list {
		if name := classText.literal([]byte(t.schema)); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// compare lists what a user would call a different structure. It says nothing of
// defaults, comments, foreign keys and partitions, and tolerates what differs
// between servers only by name.
func (t *table) compare(down *table) []string {
	var out []string
	for _, c := range t.columns {
		d := down.column(c.name)
		if d == nil {
			out = append(out, fmt.Sprintf("column %s does not exist downstream", c.name))
			continue
		}
		out = append(out, c.compare(d)...)
	}
	for _, d := range down.columns {
		if t.column(d.name) == nil {
			out = append(out, fmt.Sprintf("column %s exists downstream only", d.name))
		}
	}
	for _, idx := range t.indexes {
		if !idx.partial && !down.hasIndex(idx) {
			out = append(out, fmt.Sprintf("%s does not exist downstream", idx))
		}
	}
	for _, idx := range down.indexes {
		if !idx.partial && !t.hasIndex(idx) {
			out = append(out, fmt.Sprintf("%s exists downstream only", idx))
		}
	}
	return out
}

func (t *table) hasIndex(want *index) bool {
	return slices.ContainsFunc(t.indexes, func(i *index) bool {
		return i.unique == want.unique && slices.EqualFunc(i.columns, want.columns, strings.EqualFold)
	})
}

// String names an index by what it does: names need not agree.
func (i *index) String() string {
	kind := "index"
	if i.name == "PRIMARY" {
		kind = "primary key"
	} else if i.unique {
		kind = "unique key"
	}
	return fmt.Sprintf("%s (%s)", kind, strings.Join(i.columns, ", "))
}

func (c *column) compare(d *column) []string {
	var out []string
	differ := func(what, up, down string) {
		out = append(out, fmt.Sprintf("column %s has %s %s upstream, %s downstream", c.name, what, up, down))
	}
	if a, b := c.normalType(), d.normalType(); a != b && !(c.json() && d.jsonText()) && !(d.json() && c.jsonText()) {
		differ("type", c.fullType, d.fullType)
	} else if a, b := normalCollation(c.collation), normalCollation(d.collation); a != b && !c.json() && !d.json() {
		differ("collation", c.collation, d.collation)
	}
	// MariaDB has no NOT NULL on a generated column.
	if c.nullable != d.nullable && !c.generated {
		differ("NULL", strconv.FormatBool(c.nullable), strconv.FormatBool(d.nullable))
	}
	if c.generated != d.generated {
		differ("an expression", strconv.FormatBool(c.generated), strconv.FormatBool(d.generated))
	}
	return out
}

func (c *column) json() bool { return c.dataType == "json" }

// jsonText: MariaDB's JSON is another word for LONGTEXT.
func (c *column) jsonText() bool { return c.dataType == "longtext" }

var displayWidth = regexp.MustCompile(`^(tinyint|smallint|mediumint|int|bigint|year)\(\d+\)`)

// normalType returns the type without what does not decide which values it holds.
func (c *column) normalType() string {
	return strings.TrimSuffix(displayWidth.ReplaceAllString(c.fullType, "$1"), " zerofill")
}

// normalCollation unifies the names that servers have for one collation.
func normalCollation(name string) string {
	name = strings.ToLower(name)
	switch name {
	case "utf8mb4_uca1400_nopad_ai_ci":
		return "utf8mb4_0900_ai_ci"
	case "utf8mb4_nopad_bin":
		return "utf8mb4_0900_bin"
	}
	if rest, ok := strings.CutPrefix(name, "utf8_"); ok {
		return "utf8mb3_" + rest
	}
	return name
}

func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
