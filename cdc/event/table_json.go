package event

import (
	"encoding/json"
	"fmt"
	"math"
)

// schemaStatePublic marks columns, indexes and tables that are in effect
// (TiDB's model.StatePublic); others belong to a DDL that is still running.
const schemaStatePublic = 5

// The wire structs name the fields of TiDB's model.TableInfo that matter here.
type (
	nameJSON struct {
		O string `json:"O"`
	}
	tableJSON struct {
		ID             int64          `json:"id"`
		Name           nameJSON       `json:"name"`
		Charset        string         `json:"charset"`
		Collate        string         `json:"collate"`
		Columns        []columnJSON   `json:"cols"`
		Indexes        []indexJSON    `json:"index_info"`
		PKIsHandle     bool           `json:"pk_is_handle"`
		IsCommonHandle bool           `json:"is_common_handle"`
		Comment        string         `json:"comment"`
		UpdateTs       uint64         `json:"update_timestamp"`
		Partition      *partitionJSON `json:"partition"`
		View           *struct{}      `json:"view"`
		Sequence       *struct{}      `json:"sequence"`
	}
	columnJSON struct {
		ID               int64           `json:"id"`
		Name             nameJSON        `json:"name"`
		Offset           int             `json:"offset"`
		OriginDefault    json.RawMessage `json:"origin_default"`
		OriginDefaultBit []byte          `json:"origin_default_bit"`
		Default          json.RawMessage `json:"default"`
		DefaultBit       []byte          `json:"default_bit"`
		DefaultIsExpr    bool            `json:"default_is_expr"`
		GeneratedExpr    string          `json:"generated_expr_string"`
		GeneratedStored  bool            `json:"generated_stored"`
		Type             fieldTypeJSON   `json:"type"`
		State            int             `json:"state"`
		Comment          string          `json:"comment"`
		Hidden           bool            `json:"hidden"`
		Version          uint64          `json:"version"`
	}
	fieldTypeJSON struct {
		Type    ColumnType `json:"Tp"`
		Flag    ColumnFlag `json:"Flag"`
		Length  int64      `json:"Flen"` // a LONGTEXT's is beyond a 32-bit int
		Decimal int        `json:"Decimal"`
		Charset string     `json:"Charset"`
		Collate string     `json:"Collate"`
		Elems   []string   `json:"Elems"`
	}
	indexJSON struct {
		ID      int64    `json:"id"`
		Name    nameJSON `json:"idx_name"`
		Columns []struct {
			Name   nameJSON `json:"name"`
			Offset int      `json:"offset"`
			Length int      `json:"length"`
		} `json:"idx_cols"`
		State   int  `json:"state"`
		Unique  bool `json:"is_unique"`
		Primary bool `json:"is_primary"`
	}
	partitionJSON struct {
		Enable      bool `json:"enable"`
		Definitions []struct {
			ID   int64    `json:"id"`
			Name nameJSON `json:"name"`
		} `json:"definitions"`
	}
)

// ParseTableInfo reads TiDB's JSON of a table (model.TableInfo), as stored
// under TiDB's meta keys and in DDL jobs. That JSON does not name the database,
// so the caller does.
func ParseTableInfo(data []byte, schemaID int64, schema string) (*TableInfo, error) {
	var raw tableJSON
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("parse table info in schema %q: %w", schema, err)
	}
	t := &TableInfo{
		ID: raw.ID, SchemaID: schemaID, Schema: schema, Table: raw.Name.O,
		UpdateTs: Ts(raw.UpdateTs), Charset: raw.Charset, Collation: raw.Collate, Comment: raw.Comment,
		PKIsHandle: raw.PKIsHandle, IsCommonHandle: raw.IsCommonHandle,
		View: raw.View != nil, Sequence: raw.Sequence != nil,
	}
	if p := raw.Partition; p != nil && p.Enable {
		t.Partition = &PartitionInfo{}
		for _, d := range p.Definitions {
			t.Partition.Definitions = append(t.Partition.Definitions, PartitionDefinition{ID: d.ID, Name: d.Name.O})
		}
	}
	// Index columns refer to positions in raw.Columns; places maps them to ours.
	places := make([]int, len(raw.Columns))
	for i, rc := range raw.Columns {
		places[i] = -1
		if rc.State != schemaStatePublic {
			continue
		}
		c, err := rc.column()
		if err != nil {
			return nil, fmt.Errorf("parse table info of %s: column %q: %w", t.Name(), rc.Name.O, err)
		}
		if c.Generated() && !c.Stored {
			t.VirtualColumns = append(t.VirtualColumns, c)
			continue
		}
		places[i] = len(t.Columns)
		t.Columns = append(t.Columns, c)
	}
	for _, ri := range raw.Indexes {
		if ri.State != schemaStatePublic {
			continue
		}
		idx := IndexInfo{ID: ri.ID, Name: ri.Name.O, Unique: ri.Unique, Primary: ri.Primary}
		for _, c := range ri.Columns {
			if c.Offset < 0 || c.Offset >= len(places) {
				return nil, fmt.Errorf("parse table info of %s: index %q names column %d of %d", t.Name(), idx.Name, c.Offset, len(places))
			}
			idx.Columns = append(idx.Columns, IndexColumn{Name: c.Name.O, Offset: places[c.Offset], Length: c.Length})
		}
		t.Indexes = append(t.Indexes, idx)
	}
	t.HandleKey = t.handleKey()
	return t, nil
}

func (rc *columnJSON) column() (ColumnInfo, error) {
	c := ColumnInfo{
		ID: rc.ID, Name: rc.Name.O, Type: rc.Type.Type, Flag: rc.Type.Flag,
		Length: int(min(rc.Type.Length, math.MaxInt)), Decimal: rc.Type.Decimal,
		Charset: rc.Type.Charset, Collation: rc.Type.Collate, Elems: rc.Type.Elems,
		DefaultIsExpr: rc.DefaultIsExpr, Version: rc.Version,
		GeneratedExpr: rc.GeneratedExpr, Stored: rc.GeneratedStored,
		Hidden: rc.Hidden, Comment: rc.Comment,
	}
	var err error
	if c.Default, err = defaultText(rc.Default, rc.DefaultBit, c.Type); err != nil {
		return c, fmt.Errorf("default: %w", err)
	}
	if c.OriginDefault, err = defaultText(rc.OriginDefault, rc.OriginDefaultBit, c.Type); err != nil {
		return c, fmt.Errorf("origin default: %w", err)
	}
	return c, nil
}

// defaultText returns a default as text. TiDB stores strings, or numbers in old
// versions; a BIT's bytes stand in a field of their own, because they need not
// be valid UTF-8.
func defaultText(raw json.RawMessage, bit []byte, tp ColumnType) (*string, error) {
	if tp == TypeBit && bit != nil {
		s := string(bit)
		return &s, nil
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var s string
	if raw[0] != '"' {
		s = string(raw)
		return &s, nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// handleKey chooses the columns that identify a row.
func (t *TableInfo) handleKey() []int {
	if t.PKIsHandle {
		for i := range t.Columns {
			if t.Columns[i].Flag&FlagPrimaryKey != 0 {
				return []int{i}
			}
		}
	}
	var best *IndexInfo
	for i := range t.Indexes {
		idx := &t.Indexes[i]
		if !t.identifies(idx) {
			continue
		}
		if idx.Primary {
			best = idx
			break
		}
		if best == nil || len(idx.Columns) < len(best.Columns) ||
			len(idx.Columns) == len(best.Columns) && idx.ID < best.ID {
			best = idx
		}
	}
	if best == nil {
		return nil
	}
	offsets := make([]int, len(best.Columns))
	for i, c := range best.Columns {
		offsets[i] = c.Offset
	}
	return offsets
}

// identifies reports whether an index names every row: unique, and over NOT
// NULL columns that are stored.
func (t *TableInfo) identifies(idx *IndexInfo) bool {
	if !idx.Primary && !idx.Unique {
		return false
	}
	for _, c := range idx.Columns {
		if c.Offset < 0 || !t.Columns[c.Offset].NotNull() {
			return false
		}
	}
	return true
}
