package cdc

import (
	"fmt"
	"sync"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rowcodec"
)

// ErrNotRow is the error for a change whose key is not of a row: an index
// entry, or outside of every table.
var ErrNotRow = rowcodec.ErrNotRow

// SchemaResolver knows the history of schemas. [Mounter] calls it from every
// goroutine that uses the Mounter.
type SchemaResolver interface {
	// Table returns the newest version of the schema that a DDL finished at or
	// before ts for the physical table (the table itself or one partition). The
	// same version must come as the same pointer.
	Table(physicalID int64, ts event.Ts) (*event.TableInfo, error)
}

// MounterOptions configures a [Mounter]. The zero value is ready for use.
type MounterOptions struct {
	// OriginDefaultZone is the cluster's time zone (TiDB's system_time_zone). It
	// matters only to a TIMESTAMP column with a default that a TiDB before v2.1
	// added to a table that held rows: such a default is noted in that zone.
	// Defaults to UTC.
	OriginDefaultZone *time.Location
}

// Batch holds the rows of one [Mounter.MountBatch] until its next use. The zero
// Batch is ready for use; it is not safe for concurrent use. Reusing one makes
// decoding nearly free of allocations.
type Batch = rowcodec.Batch

// Mounter turns changes as TiKV stores them into rows, with the schema of the
// moment of the change. It is safe for concurrent use.
//
// Rows point into the keys and values of the changes and render texts from them
// when asked, so those must not change afterwards.
type Mounter struct {
	resolver SchemaResolver
	zone     *time.Location

	mu struct {
		sync.RWMutex
		// plans holds those of the newest versions in use of each table, the last
		// one used first.
		plans map[int64][]*rowcodec.Plan
	}
}

const (
	// plansPerTable is two because rows from both sides of a DDL come together.
	plansPerTable = 2
	// maxPlanTables bounds the plans of all tables, about 5 KB each; beyond it
	// any table's are forgotten. Making one takes some microseconds.
	maxPlanTables = 4096
)

// NewMounter returns a Mounter that takes schemas from r.
func NewMounter(r SchemaResolver, o MounterOptions) *Mounter {
	m := &Mounter{resolver: r, zone: o.OriginDefaultZone}
	if m.zone == nil {
		m.zone = time.UTC
	}
	m.mu.plans = make(map[int64][]*rowcodec.Plan)
	return m
}

// Mount decodes one change into a row of its own. It is the simple way;
// [Mounter.MountBatch] is the fast one and tells what the images hold.
func (m *Mounter) Mount(kv *event.RawKV) (*event.RowChanged, error) {
	id, err := rowcodec.PhysicalTableID(kv.Key)
	if err != nil {
		return nil, mountError(kv, "", err)
	}
	var b Batch
	plan, err := m.planAt(id, kv, &b)
	if err != nil {
		return nil, err
	}
	b.Begin(1, imagesOf(kv)*len(plan.Table().Columns))
	row, err := b.Add(plan, kv)
	if err != nil {
		return nil, mountError(kv, plan.Table().Name(), err)
	}
	return row, nil
}

// MountBatch decodes changes of one physical table, in commit-ts order, into
// rows that b owns until its next use: row i is change i. The keys and values
// of kvs must not change as long as rows, or texts from them, are in use.
//
// A change is decoded with the schema at its commit ts - 1: a DDL that finished
// at the commit ts is not yet in effect. That schema also reads the old value.
//
//   - A put without an old value is an insert, with one an update.
//   - A delete has an old image: the old value with the key's columns.
//   - A delete without an old value has an image of what the key tells: the
//     columns of a clustered primary key, as far as the key holds them
//     completely, and all others NULL. TiKV sends one if the old value was
//     garbage-collected, and TiDB writes one where a transaction deletes a row
//     that it inserted itself (pingcap/tidb#27564), so the row may never have
//     been seen.
//
// An error names the table, the key and the commit ts; the rows of b are then
// not to be used. It wraps [ErrNotRow] if a key is not of a row.
func (m *Mounter) MountBatch(kvs []event.RawKV, b *Batch) ([]*event.RowChanged, error) {
	if len(kvs) == 0 {
		b.Begin(0, 0)
		return b.Rows(), nil
	}
	first, last := &kvs[0], &kvs[len(kvs)-1]
	id, err := rowcodec.PhysicalTableID(first.Key)
	if err != nil {
		return nil, mountError(first, "", err)
	}
	plan, err := m.planAt(id, first, b)
	if err != nil {
		return nil, err
	}
	same := true // one schema for the whole batch, which is nearly always so
	if last.CommitTs != first.CommitTs {
		table, err := m.resolve(id, last)
		if err != nil {
			return nil, err
		}
		same = table == plan.Table()
	}
	images := 0
	for i := range kvs {
		images += imagesOf(&kvs[i])
	}
	b.Begin(len(kvs), images*len(plan.Table().Columns))
	for i := range kvs {
		kv := &kvs[i]
		if !same && i > 0 && kv.CommitTs != kvs[i-1].CommitTs {
			if plan, err = m.planAt(id, kv, b); err != nil {
				return nil, err
			}
		}
		row, err := b.Add(plan, kv)
		if err != nil {
			return nil, mountError(kv, plan.Table().Name(), err)
		}
		if row.PhysicalTableID != id {
			return nil, mountError(kv, "", fmt.Errorf("change is of table id %d, but the batch of %d", row.PhysicalTableID, id))
		}
	}
	return b.Rows(), nil
}

// imagesOf returns how many images a change has: one or two.
func imagesOf(kv *event.RawKV) int {
	if kv.Op == event.OpPut && len(kv.OldValue) > 0 {
		return 2
	}
	return 1
}

// planAt returns the plan for a change of the physical table id.
func (m *Mounter) planAt(id int64, kv *event.RawKV, b *Batch) (*rowcodec.Plan, error) {
	table, err := m.resolve(id, kv)
	if err != nil {
		return nil, err
	}
	if p := b.Plan(); p != nil && p.Table() == table {
		return p, nil
	}
	plan, err := m.plan(table)
	if err != nil {
		return nil, mountError(kv, table.Name(), err)
	}
	return plan, nil
}

func (m *Mounter) resolve(id int64, kv *event.RawKV) (*event.TableInfo, error) {
	ts := kv.CommitTs
	if ts > 0 {
		ts--
	}
	table, err := m.resolver.Table(id, ts)
	if err == nil && table == nil {
		err = fmt.Errorf("resolver has no schema at ts %d", ts)
	}
	if err != nil {
		return nil, mountError(kv, fmt.Sprintf("table id %d", id), err)
	}
	return table, nil
}

// plan returns the plan of a table version, made at its first use.
func (m *Mounter) plan(table *event.TableInfo) (*rowcodec.Plan, error) {
	m.mu.RLock()
	for _, p := range m.mu.plans[table.ID] {
		if p.Table() == table {
			m.mu.RUnlock()
			return p, nil
		}
	}
	m.mu.RUnlock()
	// Two goroutines may both make it: plans of one table are interchangeable.
	plan, err := rowcodec.NewPlanIn(table, m.zone)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remember(plan)
	return plan, nil
}

// remember enters a plan as the newest of its table. mu is held.
func (m *Mounter) remember(plan *rowcodec.Plan) {
	id := plan.Table().ID
	old := m.mu.plans[id]
	if old == nil && len(m.mu.plans) >= maxPlanTables {
		for any := range m.mu.plans {
			delete(m.mu.plans, any)
			break
		}
	}
	kept := append(make([]*rowcodec.Plan, 0, plansPerTable), plan)
	if len(old) > 0 {
		kept = append(kept, old[0])
	}
	m.mu.plans[id] = kept
}

// mountError names what a reader of the error needs to find the change.
func mountError(kv *event.RawKV, table string, err error) error {
	if table != "" {
		table = " of " + table
	}
	return fmt.Errorf("mount row%s: key %x, commit ts %d: %w", table, kv.Key, kv.CommitTs, err)
}
