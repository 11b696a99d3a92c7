package consumer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// tables gives the tables that messages describe what they lack: ids, one TableInfo for
// each version though each partition's decoder has its own, and which columns are
// generated.
type tables struct {
	generated func(ctx context.Context, schema, table string) ([]string, error)
	ids       map[name]int64
	// decoded are versions by the pointers of decoders, described by what they say.
	decoded   map[*event.TableInfo]*event.TableInfo
	described map[string]*event.TableInfo
	rows      uint64 // of tables without a handle key
}

type name struct{ schema, table string }

// maxVersions bounds the memory for versions that are gone.
const maxVersions = 1 << 14

func newTables(cfg *Config) *tables {
	return &tables{generated: cfg.GeneratedColumns, ids: map[name]int64{}, decoded: map[*event.TableInfo]*event.TableInfo{}, described: map[string]*event.TableInfo{}}
}

// forget is called after a DDL: columns may be generated that were not.
func (t *tables) forget() {
	clear(t.decoded)
	clear(t.described)
}

func (t *tables) id(schema, table string) int64 {
	n := name{schema, table}
	if t.ids[n] == 0 {
		t.ids[n] = int64(len(t.ids)) + 1
	}
	return t.ids[n]
}

// of returns the table for rows that a decoder says to be of info.
func (t *tables) of(ctx context.Context, info *event.TableInfo) (*event.TableInfo, error) {
	if out := t.decoded[info]; out != nil {
		return out, nil
	}
	text, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("describe table %s: %w", info.Name(), err)
	}
	out := t.described[string(text)]
	if out == nil {
		var generated []string
		if t.generated != nil {
			if generated, err = t.generated(ctx, info.Schema, info.Table); err != nil {
				return nil, fmt.Errorf("look up the generated columns of %s: %w", info.Name(), err)
			}
		}
		out = t.describe(info, generated)
	}
	if len(t.decoded) >= maxVersions || len(t.described) >= maxVersions {
		t.forget()
	}
	t.decoded[info], t.described[string(text)] = out, out
	return out, nil
}

// describe returns a copy with an id and the marks of generated columns. It has no
// partitions: what happens to a table is in one order here.
func (t *tables) describe(info *event.TableInfo, generated []string) *event.TableInfo {
	const unknown = "unknown"
	out := *info
	out.ID, out.Partition = t.id(info.Schema, info.Table), nil
	out.Columns = slices.Clone(info.Columns)
	for i := range out.Columns {
		c := &out.Columns[i]
		is := c.Stored || slices.ContainsFunc(generated, func(name string) bool { return strings.EqualFold(name, c.Name) })
		if is && c.GeneratedExpr == "" {
			c.GeneratedExpr, c.Stored = unknown, true
		}
	}
	return &out
}

// append appends a row as a changefeed would deliver it, as two if its handle key
// changed.
func (t *tables) append(ctx context.Context, dst []*event.RowChanged, row *event.RowChanged) ([]*event.RowChanged, error) {
	info, err := t.of(ctx, row.Table)
	if err != nil {
		return dst, err
	}
	out := *row
	out.Table, out.PhysicalTableID = info, info.ID
	out.Key = t.key(info, out.Image())
	if out.Kind() == event.Update {
		if before := t.key(info, out.PreColumns); info.HasHandleKey() && string(before) != string(out.Key) {
			gone := out
			gone.Columns, gone.Key = nil, before
			out.PreColumns = nil
			dst = append(dst, &gone)
		}
	}
	return append(dst, &out), nil
}

// key returns a key in the form of TiKV's for the row with an image. Rows of a table
// without a handle key have one each.
func (t *tables) key(info *event.TableInfo, image []event.Value) []byte {
	key := binary.BigEndian.AppendUint64([]byte{'t'}, uint64(info.ID)^1<<63)
	key = append(key, "_r"...)
	if !info.HasHandleKey() {
		t.rows++
		return binary.BigEndian.AppendUint64(key, t.rows)
	}
	for _, offset := range info.HandleKey {
		length := len(key)
		key = image[offset].AppendText(append(key, 0, 0, 0, 0))
		binary.BigEndian.PutUint32(key[length:], uint32(len(key)-length-4))
	}
	return key
}
