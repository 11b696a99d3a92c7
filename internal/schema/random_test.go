package schema_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// cluster runs random DDL statements the way TiDB does, on plain maps.
type cluster struct {
	rnd     *rand.Rand
	schemas map[int64]string
	tables  map[int64]*clusterTable
	dropped []*clusterTable
	// gone are dropped schemas with their tables.
	gone   []goneSchema
	nextID int64
	jobID  int64
	ts     event.Ts
	// pending is the end of a job that is in progress.
	pending *jobDef
}

type clusterTable struct {
	tableDef
	schemaID int64
}

type goneSchema struct {
	id     int64
	name   string
	tables []*clusterTable
}

func (c *cluster) id() int64 {
	c.nextID++
	return c.nextID
}

// clone copies a table so that older snapshots stay as they are.
func (t *clusterTable) clone() *clusterTable {
	n := *t
	n.cols, n.parts = slices.Clone(t.cols), slices.Clone(t.parts)
	return &n
}

// pick returns one of the tables that ok accepts.
func (c *cluster) pick(ok func(*clusterTable) bool) *clusterTable {
	var ids []int64
	for id, t := range c.tables {
		if ok(t) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	return c.tables[ids[c.rnd.IntN(len(ids))]].clone()
}

func (c *cluster) pickSchema() int64 {
	ids := slices.Sorted(maps.Keys(c.schemas))
	return ids[c.rnd.IntN(len(ids))]
}

// freeName returns a name that no table of the schema has, out of few, so that
// names are used again.
func (c *cluster) freeName(schemaID int64) string {
	for n := 12; ; n++ {
		name := fmt.Sprintf("%c%d", "tT"[c.rnd.IntN(2)], c.rnd.IntN(n))
		if c.pick(func(t *clusterTable) bool { return t.schemaID == schemaID && strings.EqualFold(t.name, name) }) == nil {
			return name
		}
	}
}

func (c *cluster) job(tp event.DDLType, t *clusterTable) *jobDef {
	c.jobID++
	c.ts += event.Ts(c.rnd.IntN(3))
	j := &jobDef{id: c.jobID, tp: tp, ts: c.ts, query: tp.String()}
	if t != nil {
		j.schemaID, j.tableID, j.schemaName = t.schemaID, t.id, c.schemas[t.schemaID]
		j.table = &t.tableDef
	}
	return j
}

func plainTable(t *clusterTable) bool  { return t.parts == nil && !t.view }
func partedTable(t *clusterTable) bool { return t.parts != nil }
func anyTable(*clusterTable) bool      { return true }

func (c *cluster) newParts(n int) []partDef {
	parts := make([]partDef, n)
	for i := range parts {
		id := c.id()
		parts[i] = partDef{id, fmt.Sprintf("p%d", id)}
	}
	return parts
}

func (c *cluster) newTable(schemaID int64) *clusterTable {
	t := &clusterTable{schemaID: schemaID}
	t.id, t.name = c.id(), c.freeName(schemaID)
	for i := range 1 + c.rnd.IntN(3) {
		t.cols = append(t.cols, colDef{int64(i) + 1, fmt.Sprintf("c%d", i), i == 0})
	}
	switch c.rnd.IntN(4) {
	case 0:
		t.parts = c.newParts(1 + c.rnd.IntN(3))
	case 1:
		t.view = c.rnd.IntN(2) == 0
	}
	return t
}

// step runs one statement and returns its job, or nil if there was nothing to
// run it on.
func (c *cluster) step() *jobDef {
	if j := c.pending; j != nil {
		c.pending = nil
		c.ts += event.Ts(c.rnd.IntN(3))
		j.ts = c.ts
		return j
	}
	steps := []func() *jobDef{
		c.createSchema, c.dropSchema, c.recoverSchema, c.createTable, c.createTable, c.createTables, c.dropTable,
		c.recoverTable, c.truncateTable, c.renameTable, c.swapNames, c.alterTable, c.alterTable, c.alterTable,
		c.alterPartitions, c.alterPartitions, c.exchange, c.exchange, c.partitionBy, c.replaceView,
	}
	return steps[c.rnd.IntN(len(steps))]()
}

func (c *cluster) createSchema() *jobDef {
	if len(c.schemas) > 4 {
		return nil
	}
	id := c.id()
	c.schemas[id] = fmt.Sprintf("Db%d", id)
	j := c.job(event.DDLCreateSchema, nil)
	j.schemaID, j.schemaName, j.db = id, c.schemas[id], dbInfo(id, c.schemas[id])
	return j
}

func (c *cluster) dropSchema() *jobDef {
	if len(c.schemas) < 3 || c.rnd.IntN(3) > 0 {
		return nil
	}
	g := goneSchema{id: c.pickSchema()}
	g.name = c.schemas[g.id]
	for id, t := range c.tables {
		if t.schemaID == g.id {
			g.tables = append(g.tables, t)
			delete(c.tables, id)
		}
	}
	slices.SortFunc(g.tables, func(a, b *clusterTable) int { return cmp.Compare(a.id, b.id) })
	delete(c.schemas, g.id)
	c.gone = append(c.gone, g)
	j := c.job(event.DDLDropSchema, nil)
	j.schemaID, j.schemaName, j.db = g.id, g.name, dbInfo(g.id, g.name)
	return j
}

func (c *cluster) recoverSchema() *jobDef {
	if len(c.gone) == 0 {
		return nil
	}
	g := c.gone[len(c.gone)-1]
	c.gone = c.gone[:len(c.gone)-1]
	c.schemas[g.id] = g.name + "r"
	list := []object{}
	for _, t := range g.tables {
		c.tables[t.id] = t
		list = append(list, object{"TableInfo": t.json()})
	}
	j := c.job(event.DDLRecoverSchema, nil)
	j.schemaID, j.schemaName, j.db = g.id, c.schemas[g.id], dbInfo(g.id, c.schemas[g.id])
	j.args = []any{object{"RecoverTabsInfo": list}, 1}
	return j
}

func (c *cluster) createTable() *jobDef {
	t := c.newTable(c.pickSchema())
	c.tables[t.id] = t
	if t.view {
		return c.job(event.DDLCreateView, t)
	}
	return c.job(event.DDLCreateTable, t)
}

func (c *cluster) createTables() *jobDef {
	j := c.job(event.DDLCreateTables, nil)
	j.schemaID = c.pickSchema()
	j.schemaName = c.schemas[j.schemaID]
	for range 1 + c.rnd.IntN(3) {
		t := c.newTable(j.schemaID)
		c.tables[t.id] = t
		j.tables = append(j.tables, &t.tableDef)
	}
	return j
}

func (c *cluster) dropTable() *jobDef {
	t := c.pick(anyTable)
	if t == nil {
		return nil
	}
	delete(c.tables, t.id)
	if t.view {
		return c.job(event.DDLDropView, t)
	}
	c.dropped = append(c.dropped, t)
	return c.job(event.DDLDropTable, t)
}

func (c *cluster) recoverTable() *jobDef {
	if len(c.dropped) == 0 {
		return nil
	}
	t := c.dropped[len(c.dropped)-1].clone()
	c.dropped = c.dropped[:len(c.dropped)-1]
	if c.schemas[t.schemaID] == "" {
		return nil
	}
	t.name = c.freeName(t.schemaID)
	c.tables[t.id] = t
	return c.job(event.DDLRecoverTable, t)
}

// replaced puts t in the place of the table with an id, and returns the job.
func (c *cluster) replaced(tp event.DDLType, oldID int64, t *clusterTable) *jobDef {
	delete(c.tables, oldID)
	c.tables[t.id] = t
	j := c.job(tp, t)
	j.tableID = oldID
	return j
}

func (c *cluster) truncateTable() *jobDef {
	t := c.pick(func(t *clusterTable) bool { return !t.view })
	if t == nil {
		return nil
	}
	old := t.id
	t.id = c.id()
	for i := range t.parts {
		t.parts[i].id = c.id()
	}
	return c.replaced(event.DDLTruncateTable, old, t)
}

func (c *cluster) renameTable() *jobDef {
	t := c.pick(func(t *clusterTable) bool { return !t.view })
	if t == nil {
		return nil
	}
	old := t.schemaID
	t.schemaID = c.pickSchema()
	t.name = c.freeName(t.schemaID)
	j := c.replaced(event.DDLRenameTable, t.id, t)
	j.args = []any{old, ciStr(t.name), ciStr(c.schemas[old])}
	return j
}

// swapNames is RENAME TABLE a TO tmp, b TO a, tmp TO b across schemas.
func (c *cluster) swapNames() *jobDef {
	a := c.pick(plainTable)
	if a == nil {
		return nil
	}
	b := c.pick(func(t *clusterTable) bool { return !t.view && t.id != a.id })
	if b == nil {
		return nil
	}
	a.name, b.name = b.name, a.name
	a.schemaID, b.schemaID = b.schemaID, a.schemaID
	c.tables[a.id], c.tables[b.id] = a, b
	j := c.job(event.DDLRenameTables, nil)
	j.schemaID, j.schemaName = a.schemaID, c.schemas[a.schemaID]
	j.tables = []*tableDef{&a.tableDef, &b.tableDef, &a.tableDef}
	if c.rnd.IntN(2) == 0 {
		j.args = []any{nil, []int64{0, b.schemaID, a.schemaID}, nil, []int64{a.id, b.id, a.id}}
	} else {
		j.args = object{"rename_table_infos": []object{
			{"table_id": a.id, "new_schema_id": a.schemaID}, {"table_id": b.id, "new_schema_id": b.schemaID},
		}}
	}
	return j
}

func (c *cluster) alterTable() *jobDef {
	t := c.pick(func(t *clusterTable) bool { return !t.view })
	if t == nil {
		return nil
	}
	if n := len(t.cols); n > 1 && c.rnd.IntN(2) == 0 {
		t.cols = slices.Delete(t.cols, n-1, n)
		return c.replaced(event.DDLDropColumn, t.id, t)
	}
	id := c.id()
	t.cols = append(t.cols, colDef{id: id, name: fmt.Sprintf("n%d", id)})
	return c.replaced(event.DDLAddColumn, t.id, t)
}

func (c *cluster) alterPartitions() *jobDef {
	t := c.pick(partedTable)
	if t == nil {
		return nil
	}
	i := c.rnd.IntN(len(t.parts))
	switch c.rnd.IntN(4) {
	case 0:
		t.parts = append(t.parts, c.newParts(1)...)
		return c.replaced(event.DDLAddPartition, t.id, t)
	case 1:
		if len(t.parts) == 1 {
			return nil
		}
		name := t.parts[i].name
		t.parts = slices.Delete(t.parts, i, i+1)
		return c.inSteps(1, c.replaced(event.DDLDropPartition, t.id, t), []any{[]string{name}})
	case 2:
		old := t.parts[i].id
		t.parts[i].id = c.id()
		return c.inSteps(1, c.replaced(event.DDLTruncatePartition, t.id, t), []any{[]int64{old}, []int64{t.parts[i].id}})
	}
	old, added := t.parts[:i+1], c.newParts(2)
	t.parts = slices.Concat(added, t.parts[i+1:])
	return c.inSteps(5, c.replaced(event.DDLReorganizePartition, t.id, t), reorganizeArgs(old, added, 0))
}

// reorganizeArgs are the arguments of a job that reorganizes partitions, until it ends.
func reorganizeArgs(old, added []partDef, tableID int64) any {
	names, defs := []string{}, []object{}
	for _, p := range old {
		names = append(names, p.name)
	}
	for _, p := range added {
		defs = append(defs, object{"id": p.id, "name": ciStr(p.name)})
	}
	return []any{names, object{"definitions": defs, "new_table_id": tableID}}
}

// inSteps returns the step at which a job is applied, and leaves its end for later.
// Some jobs are seen at their end only.
func (c *cluster) inSteps(step int, end *jobDef, args any) *jobDef {
	if c.rnd.IntN(3) == 0 {
		return end
	}
	j := *end
	j.step, j.args, j.table = step, args, nil
	c.pending = end
	return &j
}

func (c *cluster) exchange() *jobDef {
	parted, plain := c.pick(partedTable), c.pick(plainTable)
	if parted == nil || plain == nil {
		return nil
	}
	j := c.job(event.DDLExchangePartition, plain)
	p := &parted.parts[c.rnd.IntN(len(parted.parts))]
	j.args = []any{p.id, parted.schemaID, parted.id, p.name, true}
	j.table = &parted.tableDef
	delete(c.tables, plain.id)
	p.id, plain.id = plain.id, p.id
	c.tables[plain.id], c.tables[parted.id] = plain, parted
	return j
}

func (c *cluster) partitionBy() *jobDef {
	t := c.pick(func(t *clusterTable) bool { return !t.view })
	if t == nil {
		return nil
	}
	old, parts := t.id, t.parts
	if t.parts != nil && c.rnd.IntN(2) == 0 {
		t.id, t.parts = c.id(), nil
		return c.inSteps(5, c.replaced(event.DDLRemovePartitioning, old, t), reorganizeArgs(parts, []partDef{{t.id, "all"}}, t.id))
	}
	t.id, t.parts = c.id(), c.newParts(2)
	return c.inSteps(5, c.replaced(event.DDLAlterTablePartitioning, old, t), reorganizeArgs(parts, t.parts, t.id))
}

func (c *cluster) replaceView() *jobDef {
	t := c.pick(func(t *clusterTable) bool { return t.view })
	if t == nil {
		return nil
	}
	old := t.id
	t.id = c.id()
	t.cols = []colDef{{1, fmt.Sprintf("v%d", t.id), false}}
	j := c.replaced(event.DDLCreateView, old, t)
	j.tableID = t.id
	return j
}

// metaKeys returns what TiDB has under its meta keys now.
func (c *cluster) metaKeys() metaKeys {
	m := metaKeys{}
	for id, name := range c.schemas {
		m.schema(id, name)
	}
	for _, t := range c.tables {
		m.table(t.schemaID, &t.tableDef)
	}
	return m
}

// TestRandomJobs applies random jobs to one Storage and compares it, at random
// ts, with a Storage loaded from the meta keys of that ts. Some of both are
// forgotten on the way, and some jobs come twice.
func TestRandomJobs(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range 4 {
		testRandomJobs(t, rand.New(rand.NewPCG(seed, uint64(round))))
	}
}

func testRandomJobs(t *testing.T, rnd *rand.Rand) {
	c := &cluster{rnd: rnd, schemas: map[int64]string{2: "Test", 3: "Other"}, tables: map[int64]*clusterTable{}, nextID: 100, ts: 1000}
	for range 10 {
		c.createTable()
	}
	c.ts = 1000
	keep := func(schema, table string) bool { return !strings.HasSuffix(table, "7") }
	ctx := context.Background()
	storage, err := schema.Load(ctx, c.metaKeys(), c.ts, schema.Config{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	// snapshots holds the meta keys from each ts on.
	snapshots := map[event.Ts]metaKeys{c.ts: c.metaKeys()}
	forgotten := c.ts
	c.ts++
	var jobs []*schema.Job
	for range 150 {
		def := c.step()
		if def == nil {
			continue
		}
		job := def.job(t)
		if _, err := storage.Apply(job); err != nil {
			t.Fatalf("%v", err)
		}
		jobs = append(jobs, job)
		if rnd.IntN(4) == 0 {
			if ddl, err := storage.Apply(jobs[rnd.IntN(len(jobs))]); ddl != nil || err != nil {
				t.Fatalf("a job applied twice: %v, %v", ddl, err)
			}
		}
		snapshots[c.ts] = c.metaKeys()
		if rnd.IntN(20) > 0 {
			continue
		}
		storage.Advance(c.ts)
		forgotten += event.Ts(rnd.IntN(int(c.ts - forgotten + 1)))
		storage.Forget(forgotten)
		c.ts++
	}
	storage.Advance(c.ts)
	for range 25 {
		ts := forgotten + event.Ts(rnd.IntN(int(c.ts-forgotten+1)))
		at := ts
		for snapshots[at] == nil {
			at--
		}
		want, err := schema.Load(ctx, snapshots[at], ts, schema.Config{Keep: keep})
		if err != nil {
			t.Fatal(err)
		}
		compareTables(t, storage, want, ts)
		for id := int64(100); id <= c.nextID; id++ {
			g, gerr := storage.Table(id, ts)
			w, werr := want.Table(id, ts)
			if describe(g) != describe(w) || errors.Is(gerr, schema.ErrTableNotFound) != errors.Is(werr, schema.ErrTableNotFound) {
				t.Fatalf("id %d at ts %d is %s (%v), want %s (%v)", id, ts, describe(g), gerr, describe(w), werr)
			}
		}
	}
	if _, err := storage.Table(100, forgotten-1); !errors.Is(err, schema.ErrForgotten) {
		t.Errorf("below the forgotten ts: %v", err)
	}
	storage.Forget(c.ts)
	ids, names, obsolete := storage.Sizes()
	want, err := schema.Load(ctx, c.metaKeys(), c.ts, schema.Config{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	if wantIDs, wantNames, _ := want.Sizes(); ids != wantIDs || names != wantNames || obsolete != 0 {
		t.Errorf("after forgetting all: %d ids, %d names, %d superseded, want %d, %d, 0", ids, names, obsolete, wantIDs, wantNames)
	}
}
