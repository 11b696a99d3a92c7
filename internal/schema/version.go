package schema

import (
	"maps"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// version is what an id or a name stands for from a ts on.
type version struct {
	from event.Ts
	// table is nil if there is none from this ts on.
	table *event.TableInfo
	// light: the table is not wanted, and table holds ids and names only.
	light bool
}

// found reports whether a lookup may return the version.
func (v version) found() bool { return v.table != nil && !v.light }

// chain is the history of one id or name, oldest version first. Any goroutine
// may read it while the one writer changes it: the slice that is published is
// never written to within its length.
type chain struct {
	versions atomic.Pointer[[]version]
}

func newChain(vs *[]version) *chain {
	c := &chain{}
	c.versions.Store(vs)
	return c
}

// at returns the last version that is valid at ts, or the zero version.
func (c *chain) at(ts event.Ts) version {
	vs := *c.versions.Load()
	i := sort.Search(len(vs), func(i int) bool { return vs[i].from > ts })
	if i == 0 {
		return version{}
	}
	return vs[i-1]
}

// last returns the newest version.
func (c *chain) last() version {
	vs := *c.versions.Load()
	return vs[len(vs)-1]
}

// add puts v at the end and reports whether forget will find something to do.
// Two DDLs may share a commit ts; the later one counts.
func (c *chain) add(v version) bool {
	var vs []version
	if p := c.versions.Load(); p != nil {
		vs = *p
	}
	vs = append(vs, v)
	c.versions.Store(&vs)
	return len(vs) > 1 || v.table == nil
}

// forget drops the versions that no lookup at ts or above needs, and reports
// whether nothing but "there is none" is left.
func (c *chain) forget(ts event.Ts) (empty bool) {
	vs := *c.versions.Load()
	i := sort.Search(len(vs), func(i int) bool { return vs[i].from > ts })
	if i > 1 {
		vs = slices.Clone(vs[i-1:])
		c.versions.Store(&vs)
	}
	return len(vs) == 1 && vs[0].table == nil && vs[0].from <= ts
}

// idShards bounds what adding one id copies: a 1024th of all ids.
const idShards = 1024

// idMap maps table and partition ids to chains. Reads are lock-free; the one
// writer copies the shard that it adds to or removes from.
type idMap struct {
	shards [idShards]atomic.Pointer[map[int64]*chain]
}

func (m *idMap) shard(id int64) *atomic.Pointer[map[int64]*chain] {
	// TiDB's ids are consecutive, and so spread evenly by themselves.
	return &m.shards[uint64(id)%idShards]
}

func (m *idMap) get(id int64) *chain {
	if p := m.shard(id).Load(); p != nil {
		return (*p)[id]
	}
	return nil
}

func (m *idMap) put(id int64, c *chain) {
	shard := m.shard(id)
	next := map[int64]*chain{}
	if p := shard.Load(); p != nil {
		next = maps.Clone(*p)
	}
	next[id] = c
	shard.Store(&next)
}

// fill adds id without copying, for a map that nobody else reads yet.
func (m *idMap) fill(id int64, c *chain) {
	shard := m.shard(id)
	if shard.Load() == nil {
		shard.Store(&map[int64]*chain{})
	}
	(*shard.Load())[id] = c
}

func (m *idMap) delete(id int64) {
	shard := m.shard(id)
	p := shard.Load()
	if p == nil {
		return
	}
	next := maps.Clone(*p)
	delete(next, id)
	shard.Store(&next)
}

// all calls fn for every id, in no order.
func (m *idMap) all(fn func(id int64, c *chain)) {
	for i := range m.shards {
		if p := m.shards[i].Load(); p != nil {
			for id, c := range *p {
				fn(id, c)
			}
		}
	}
}
