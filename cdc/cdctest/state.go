package cdctest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Null is how a [State] shows SQL NULL.
const Null = "\x00NULL"

// State is the contents of tables at one ts.
type State struct {
	// Tables are the schemas by logical table id.
	Tables map[int64]*event.TableInfo
	// Rows are, by physical table id (a table's or a partition's) and row key, the
	// texts of all columns in the order of TableInfo.Columns.
	Rows map[int64]map[string][]string
}

// NewState returns one without tables.
func NewState() *State {
	return &State{Tables: map[int64]*event.TableInfo{}, Rows: map[int64]map[string][]string{}}
}

func (s *State) clone() *State {
	out := &State{Tables: maps.Clone(s.Tables), Rows: map[int64]map[string][]string{}}
	for id, rows := range s.Rows {
		out.Rows[id] = maps.Clone(rows)
	}
	return out
}

// Diff tells how s differs from other, a line for each difference, at most
// twenty. Tables of neither system schemas nor views are compared by name and
// columns, rows by all their texts.
func (s *State) Diff(other *State) []string {
	var out []string
	for _, id := range sortedKeys(s.Tables, other.Tables) {
		a, b := s.Tables[id], other.Tables[id]
		switch {
		case a == nil:
			out = append(out, fmt.Sprintf("table %s (id %d) is there only in the second", b.Name(), id))
		case b == nil:
			out = append(out, fmt.Sprintf("table %s (id %d) is there only in the first", a.Name(), id))
		case a.Name() != b.Name() || columnNames(a) != columnNames(b):
			out = append(out, fmt.Sprintf("table %d is %s (%s) in the first, %s (%s) in the second", id, a.Name(), columnNames(a), b.Name(), columnNames(b)))
		}
	}
	for _, id := range sortedKeys(s.Rows, other.Rows) {
		for _, key := range sortedKeys(s.Rows[id], other.Rows[id]) {
			a, b := s.Rows[id][key], other.Rows[id][key]
			if !slices.Equal(a, b) {
				out = append(out, fmt.Sprintf("table id %d, row %x: %s in the first, %s in the second", id, key, showRow(a), showRow(b)))
			}
		}
	}
	const most = 20
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	return out
}

func showRow(texts []string) string {
	if texts == nil {
		return "missing"
	}
	return strings.ReplaceAll(fmt.Sprintf("%q", texts), strconv.Quote(Null), "NULL")
}

func columnNames(t *event.TableInfo) string {
	var names []string
	for i := range t.Columns {
		names = append(names, t.Columns[i].Name)
	}
	return strings.Join(names, ", ")
}

func sortedKeys[K ~int64 | ~string, V any](a, b map[K]V) []K {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// text is the form in which values of different origin are compared.
func text(v event.Value) string {
	switch v.Kind() {
	case event.KindNull:
		return Null
	case event.KindFloat32, event.KindFloat64:
		return strconv.FormatFloat(v.Float64(), 'g', -1, 64)
	case event.KindBit:
		return strconv.FormatUint(v.Uint64(), 10)
	}
	return string(v.AppendText(nil))
}

func texts(values []event.Value) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = text(v)
	}
	return out
}

// State returns what the tables made by CreateTable hold at ts.
func (c *Cluster) State(ts event.Ts) *State {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := NewState()
	for id, versions := range c.schemas.versions {
		var at *tableVersion
		for i := range versions {
			if versions[i].from <= ts {
				at = &versions[i]
			}
		}
		if at == nil || at.info == nil {
			continue
		}
		out.Tables[id] = at.info
		rows := map[string][]string{}
		c.kv.scan(event.TableSpan(id), func(e *entry) bool {
			if v := e.at(ts); v != nil {
				values, err := decodeRow(at.columns, handleOf(e.key), v.value)
				if err != nil {
					mistake("table %s: %v", at.info.Name(), err)
				}
				rows[string(e.key)] = texts(values)
			}
			return true
		})
		if len(rows) > 0 {
			out.Rows[id] = rows
		}
	}
	return out
}

// handleOf returns the handle of a row's key.
func handleOf(key []byte) int64 {
	return int64(binary.BigEndian.Uint64(key[len(key)-8:]) ^ 1<<63)
}
