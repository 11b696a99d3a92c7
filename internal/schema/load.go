package schema

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Reader reads meta keys at one fixed ts.
type Reader interface {
	// Scan calls fn for every key in [start, end) in order, until fn fails. The
	// slices belong to the Reader and are valid during the call.
	Scan(ctx context.Context, start, end []byte, fn func(key, value []byte) error) error
}

// snapshot is all schemas at one ts.
type snapshot struct {
	schemas []dbJSON
	// tables have no from yet.
	tables                 []version
	jobTable, historyTable *event.TableInfo
}

// The tables that TiDB writes DDL jobs to.
const (
	jobTableName     = "tidb_ddl_job"
	historyTableName = "tidb_ddl_history"
)

// Load reads all schemas as of ts, which must be the Reader's. The Storage
// then answers lookups at ts, and expects the DDL jobs above it.
//
// A table that a DDL is changing at ts is what it was before, until that DDL
// takes effect; see Config.ReaderAt.
func Load(ctx context.Context, r Reader, ts event.Ts, cfg Config) (*Storage, error) {
	cfg = cfg.withDefaults()
	snap, err := readSnapshot(ctx, r, &cfg)
	if err == nil {
		err = snap.rewind(ctx, r, &cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("load schemas at ts %d: %w", ts, err)
	}
	s := &Storage{cfg: cfg, jobTable: snap.jobTable, historyTable: snap.historyTable}
	s.resolved.Store(uint64(ts))
	s.forgotten.Store(uint64(ts))
	s.mu.last = ts
	s.mu.names = make(map[tableName]*chain, len(snap.tables))
	s.mu.schemas = make(map[int64]*schemaState, len(snap.schemas))
	for _, db := range snap.schemas {
		s.schemaLocked(db.ID, db.Name.O)
	}
	for _, v := range snap.tables {
		v.from = ts
		// Chains grow apart, but may begin with the same slice: it is full.
		first := &[]version{v}
		for id := range allIDs(v.table) {
			s.ids.fill(id, newChain(first))
		}
		s.mu.names[nameOf(v.table)] = newChain(first)
		s.schemaLocked(v.table.SchemaID, v.table.Schema).tables[v.table.ID] = struct{}{}
	}
	return s, nil
}

// readSnapshot reads every schema and its tables.
func readSnapshot(ctx context.Context, r Reader, cfg *Config) (*snapshot, error) {
	snap := &snapshot{}
	start, end := fieldRange(schemasHash, schemaPrefix)
	err := r.Scan(ctx, start, end, func(key, value []byte) error {
		var db dbJSON
		if err := json.Unmarshal(value, &db); err != nil {
			return fmt.Errorf("parse schema at key %x: %w", key, err)
		}
		snap.schemas = append(snap.schemas, db)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scan schemas: %w", err)
	}
	if len(snap.schemas) == 0 {
		return nil, fmt.Errorf("scan schemas: there are none: the ts is older than the cluster, or older than what TiKV still has")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	p := &tableParser{cfg: cfg, intern: interner{}}
	var scanErr error
	for _, db := range snap.schemas {
		scanErr = scanTables(ctx, r, db.ID, func(batch [][]byte) {
			group.Go(func() error { return p.parse(batch, db.ID, db.Name.O) })
		})
		if scanErr != nil {
			scanErr = fmt.Errorf("scan tables of schema %q: %w", db.Name.O, scanErr)
			break
		}
	}
	// A parse error cancels the scan, so it is the one to report.
	if err := cmp.Or(group.Wait(), scanErr); err != nil {
		return nil, err
	}
	snap.tables, snap.jobTable, snap.historyTable = p.tables, p.jobTable, p.historyTable
	return snap, nil
}

// scanTables calls fn with the TableInfos of a schema, some hundred at a time.
func scanTables(ctx context.Context, r Reader, schemaID int64, fn func(batch [][]byte)) error {
	const size = 256
	hash := tablesHash(schemaID)
	start, end := fieldRange(hash, tablePrefix)
	var batch [][]byte
	err := r.Scan(ctx, start, end, func(key, value []byte) error {
		if _, err := cutField(hash, key); err != nil {
			return err
		}
		batch = append(batch, bytes.Clone(value))
		if len(batch) == size {
			fn(batch)
			batch = nil
		}
		return nil
	})
	if len(batch) > 0 {
		fn(batch)
	}
	return err
}

// tableParser turns TableInfos into versions, on all cores while they are read.
type tableParser struct {
	cfg *Config

	mu                     sync.Mutex
	intern                 interner
	tables                 []version
	jobTable, historyTable *event.TableInfo
}

// parse adds the tables of one schema.
func (p *tableParser) parse(batch [][]byte, schemaID int64, schema string) error {
	tables := make([]version, 0, len(batch))
	for _, data := range batch {
		light, err := peekTable(data, schemaID, schema)
		if err != nil {
			return err
		}
		if p.cfg.Keep(schema, light.Table) {
			t, err := event.ParseTableInfo(data, schemaID, schema)
			if err != nil {
				return err
			}
			tables = append(tables, version{table: t})
			continue
		}
		tables = append(tables, version{table: light, light: true})
		if err := p.parseDDLTable(data, light); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range tables {
		p.intern.table(v.table)
	}
	p.tables = append(p.tables, tables...)
	return nil
}

// parseDDLTable notes the two tables that jobs are read from.
func (p *tableParser) parseDDLTable(data []byte, light *event.TableInfo) error {
	name := strings.ToLower(light.Table)
	if strings.ToLower(light.Schema) != "mysql" || name != jobTableName && name != historyTableName {
		return nil
	}
	t, err := event.ParseTableInfo(data, light.SchemaID, light.Schema)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if name == jobTableName {
		p.jobTable = t
	} else {
		p.historyTable = t
	}
	return nil
}

// peekTable reads the id and the name of a TableInfo. TiDB writes them first,
// so that the rest of the JSON is not looked at.
func peekTable(data []byte, schemaID int64, schema string) (*event.TableInfo, error) {
	t := &event.TableInfo{SchemaID: schemaID, Schema: schema}
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, fmt.Errorf("parse table info in schema %q: not a JSON object", schema)
	}
	for found := 0; found < 2 && dec.More(); {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("parse table info in schema %q: %w", schema, err)
		}
		var (
			skip json.RawMessage
			name nameJSON
			into any = &skip
		)
		switch key {
		case "id":
			into, found = &t.ID, found+1
		case "name":
			into, found = &name, found+1
		}
		if err := dec.Decode(into); err != nil {
			return nil, fmt.Errorf("parse table info in schema %q: %w", schema, err)
		}
		if into == &name {
			t.Table = name.O
		}
	}
	if t.ID == 0 {
		return nil, fmt.Errorf("parse table info in schema %q: it has no id", schema)
	}
	return t, nil
}

// interner makes equal strings of many tables share their memory: names of
// character sets, and column names of tables that are alike.
type interner map[string]string

func (in interner) string(s *string) {
	if old, ok := in[*s]; ok {
		*s = old
		return
	}
	in[*s] = *s
}

// table changes a table that nobody else has seen yet.
func (in interner) table(t *event.TableInfo) {
	in.string(&t.Charset)
	in.string(&t.Collation)
	for _, cols := range [][]event.ColumnInfo{t.Columns, t.VirtualColumns} {
		for i := range cols {
			c := &cols[i]
			in.string(&c.Name)
			in.string(&c.Charset)
			in.string(&c.Collation)
			in.string(&c.Comment)
		}
	}
	for i := range t.Indexes {
		in.string(&t.Indexes[i].Name)
		for j := range t.Indexes[i].Columns {
			in.string(&t.Indexes[i].Columns[j].Name)
		}
	}
	// Parsing grows the slices by doubling; the slack would stay for good.
	t.Columns = exact(t.Columns)
	t.VirtualColumns = exact(t.VirtualColumns)
	t.Indexes = exact(t.Indexes)
}

// exact returns s without unused capacity.
func exact[T any](s []T) []T {
	if len(s) == cap(s) {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}
