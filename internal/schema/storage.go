package schema

import (
	"cmp"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Config tells what to keep. The zero value keeps every table.
type Config struct {
	// Keep reports whether a table's columns are wanted, by the names it has.
	// It may be called from several goroutines, and is not called for TiDB's
	// own schemas, which are never wanted. Defaults to all.
	Keep func(schema, table string) bool
	// ReaderAt returns a Reader of another ts. With it, Load gives a table that a
	// DDL is changing the schema that it had before; without, the one of now.
	ReaderAt func(ts event.Ts) Reader
	// Logger gets a line for every DDL that is ignored. Defaults to none.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	keep := c.Keep
	c.Keep = func(schema, table string) bool {
		return !systemSchema(schema) && (keep == nil || keep(schema, table))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// systemSchema reports whether TiDB itself owns a schema.
func systemSchema(name string) bool {
	switch strings.ToLower(name) {
	case "mysql", "information_schema", "performance_schema", "metrics_schema", "inspection_schema", "sys":
		return true
	}
	return false
}

// Storage holds the schema versions of all tables. Lookups may come from any
// number of goroutines. Apply, Advance and Forget are ordered by an internal
// lock, and the caller brings jobs in commit-ts order.
type Storage struct {
	cfg Config
	// jobTable and historyTable are mysql.tidb_ddl_job and mysql.tidb_ddl_history
	// as of the snapshot; nil if the cluster has none.
	jobTable, historyTable *event.TableInfo

	resolved, forgotten atomic.Uint64
	ids                 idMap

	mu struct {
		// The writer holds the lock; of the readers only TableByName does.
		sync.RWMutex
		names   map[tableName]*chain
		schemas map[int64]*schemaState
		// last is the commit ts of the newest job applied.
		last event.Ts
		jobs recentJobs
		// obsolete lists superseded versions, oldest first, so that Forget
		// looks at nothing else.
		obsolete []obsolete
	}
}

// tableName is a lower-case name.
type tableName struct{ schema, table string }

func nameOf(t *event.TableInfo) tableName {
	return tableName{strings.ToLower(t.Schema), strings.ToLower(t.Table)}
}

// schemaState is a schema (database) as of the newest job.
type schemaState struct {
	name string
	// tables are the ids of its tables, views and sequences.
	tables map[int64]struct{}
}

// obsolete says that the chain of an id (or of a name, if id is 0) has a
// version that lookups at ts and above do not need.
type obsolete struct {
	ts   event.Ts
	id   int64
	name tableName
}

// Table returns the table that the rows of a physical id belong to at ts: the
// table itself, or the partitioned table of a partition. For a row committed
// at c, ask for c-1.
//
// The error is an [ErrTableNotFound], [ErrForgotten] or [ErrUnresolved].
func (s *Storage) Table(physicalID int64, ts event.Ts) (*event.TableInfo, error) {
	if resolved := s.ResolvedTs(); ts > resolved {
		return nil, fmt.Errorf("find table %d at ts %d: %w (resolved ts %d)", physicalID, ts, ErrUnresolved, resolved)
	}
	var v version
	if c := s.ids.get(physicalID); c != nil {
		v = c.at(ts)
	}
	// Looked at last: versions may be forgotten meanwhile, and then v is not to be trusted.
	if forgotten := event.Ts(s.forgotten.Load()); ts < forgotten {
		return nil, fmt.Errorf("find table %d at ts %d: %w (below ts %d)", physicalID, ts, ErrForgotten, forgotten)
	}
	if !v.found() {
		return nil, fmt.Errorf("find table %d at ts %d: %w", physicalID, ts, ErrTableNotFound)
	}
	return v.table, nil
}

// Tables yields the wanted tables as of ts by ascending id, each partitioned
// table once, and views and sequences too. The ts is to be one that Table
// accepts.
func (s *Storage) Tables(ts event.Ts) iter.Seq[*event.TableInfo] {
	return func(yield func(*event.TableInfo) bool) {
		var tables []*event.TableInfo
		s.ids.all(func(id int64, c *chain) {
			if v := c.at(ts); v.found() && v.table.ID == id {
				tables = append(tables, v.table)
			}
		})
		slices.SortFunc(tables, func(a, b *event.TableInfo) int { return cmp.Compare(a.ID, b.ID) })
		for _, t := range tables {
			if !yield(t) {
				return
			}
		}
	}
}

// TableByName returns the wanted table of a name as of ts. Names are
// case-insensitive.
func (s *Storage) TableByName(schema, table string, ts event.Ts) (*event.TableInfo, bool) {
	s.mu.RLock()
	c := s.mu.names[tableName{strings.ToLower(schema), strings.ToLower(table)}]
	s.mu.RUnlock()
	if c == nil {
		return nil, false
	}
	v := c.at(ts)
	if !v.found() {
		return nil, false
	}
	return v.table, true
}

// Advance says that every DDL with a commit ts at or below ts has been applied.
func (s *Storage) Advance(ts event.Ts) { raise(&s.resolved, ts) }

// ResolvedTs returns the ts up to which lookups are answered.
func (s *Storage) ResolvedTs() event.Ts { return event.Ts(s.resolved.Load()) }

// Forget drops the versions that no lookup at ts or above needs. Its cost is
// in the versions dropped, not in the number of tables.
func (s *Storage) Forget(ts event.Ts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raise(&s.forgotten, ts)
	n := 0
	for _, o := range s.mu.obsolete {
		if o.ts > ts {
			break
		}
		n++
		if o.id != 0 {
			if c := s.ids.get(o.id); c != nil && c.forget(ts) {
				s.ids.delete(o.id)
			}
		} else if c := s.mu.names[o.name]; c != nil && c.forget(ts) {
			delete(s.mu.names, o.name)
		}
	}
	if n > 0 {
		s.mu.obsolete = slices.Clone(s.mu.obsolete[n:])
	}
}

// raise sets a to ts unless it is higher already.
func raise(a *atomic.Uint64, ts event.Ts) {
	for {
		old := a.Load()
		if old >= uint64(ts) || a.CompareAndSwap(old, uint64(ts)) {
			return
		}
	}
}

// currentLocked returns the newest version of an id.
func (s *Storage) currentLocked(id int64) version {
	if c := s.ids.get(id); c != nil {
		return c.last()
	}
	return version{}
}

// tableLocked returns the table whose own id is id, nil if there is none.
func (s *Storage) tableLocked(id int64) *event.TableInfo {
	if t := s.currentLocked(id).table; t != nil && t.ID == id {
		return t
	}
	return nil
}

// commitLocked records what a DDL changed. All old ids and names go before any
// new one comes, because tables may swap them.
func (s *Storage) commitLocked(ts event.Ts, changes []event.TableChange) {
	ids := map[int64]version{}
	names := map[tableName]version{}
	for _, c := range changes {
		if c.Before == nil {
			continue
		}
		for id := range allIDs(c.Before) {
			ids[id] = version{from: ts}
		}
		names[nameOf(c.Before)] = version{from: ts}
		if state := s.mu.schemas[c.Before.SchemaID]; state != nil {
			delete(state.tables, c.Before.ID)
		}
	}
	for _, c := range changes {
		if c.After == nil {
			continue
		}
		v := s.versionOf(ts, c.After)
		for id := range allIDs(v.table) {
			ids[id] = v
		}
		names[nameOf(c.After)] = v
		s.schemaLocked(c.After.SchemaID, c.After.Schema).tables[c.After.ID] = struct{}{}
	}
	for id, v := range ids {
		s.setLocked(id, v)
	}
	for name, v := range names {
		s.setNameLocked(name, v)
	}
}

// versionOf makes a version of a table, a light one if it is not wanted.
func (s *Storage) versionOf(ts event.Ts, t *event.TableInfo) version {
	if !s.cfg.Keep(t.Schema, t.Table) {
		return version{from: ts, table: lightTable(t), light: true}
	}
	return version{from: ts, table: t}
}

// lightTable returns what is kept of a table that is not wanted.
func lightTable(t *event.TableInfo) *event.TableInfo {
	return &event.TableInfo{ID: t.ID, SchemaID: t.SchemaID, Schema: t.Schema, Table: t.Table, View: t.View, Sequence: t.Sequence}
}

// allIDs yields a table's own id and those of its partitions.
func allIDs(t *event.TableInfo) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		if !yield(t.ID) || t.Partition == nil {
			return
		}
		for i := range t.Partition.Definitions {
			if !yield(t.Partition.Definitions[i].ID) {
				return
			}
		}
	}
}

func (s *Storage) setLocked(id int64, v version) {
	c := s.ids.get(id)
	if c == nil {
		if v.table == nil {
			return
		}
		c = &chain{}
		c.add(v)
		s.ids.put(id, c)
		return
	}
	if c.add(v) {
		s.mu.obsolete = append(s.mu.obsolete, obsolete{ts: v.from, id: id})
	}
}

func (s *Storage) setNameLocked(name tableName, v version) {
	c := s.mu.names[name]
	if c == nil {
		if v.table == nil {
			return
		}
		c = &chain{}
		s.mu.names[name] = c
	}
	if c.add(v) {
		s.mu.obsolete = append(s.mu.obsolete, obsolete{ts: v.from, name: name})
	}
}

// schemaLocked returns the state of a schema. One that is not known yet gets
// the given name.
func (s *Storage) schemaLocked(id int64, name string) *schemaState {
	state := s.mu.schemas[id]
	if state == nil {
		state = &schemaState{name: name, tables: map[int64]struct{}{}}
		s.mu.schemas[id] = state
	}
	return state
}
