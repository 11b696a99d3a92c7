package diff

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
)

// Endpoint is one of the two databases.
type Endpoint struct {
	// DB connects to a TiDB, MySQL or MariaDB. It needs room for
	// Options.Concurrency + 2 connections; with fewer, less is done at once.
	DB *sql.DB
	// SnapshotTs is the ts that a TiDB is read at, which must not be older than
	// its GC safe point. 0 is the present. Others can only be read as they are
	// when Compare begins, and must have 0.
	SnapshotTs event.Ts
}

// Options say what to compare, and how. The zero value is valid.
type Options struct {
	// Filter says which tables are compared; nil compares all but those of system
	// schemas. Rows are not filtered.
	Filter *filter.Filter
	// ChunkRows is how many rows are compared at a time. Defaults to 20000, fewer
	// if rows are long.
	ChunkRows int
	// Concurrency is how many connections read each database. Defaults to 4.
	// More than one needs the RELOAD privilege in a MySQL or MariaDB.
	Concurrency int
	// Checksums lets the servers sum up the rows of a chunk, and reads them only
	// where the sums differ: for long rows and slow networks. It costs the servers
	// more than reading. Tables with JSON in servers of two kinds are read anyway.
	Checksums bool
	// MaxDifferences is how many rows are kept of each table, with their values.
	// All are counted. Defaults to 100.
	MaxDifferences int
	// Table is called as each table is done, from one goroutine at a time, in the
	// order of their names. nil is for nothing.
	Table func(*TableResult)
	// Progress is called as chunks are done, from one goroutine at a time.
	Progress func(Progress)
}

// Progress is how far a table has been compared.
type Progress struct {
	Schema, Table string
	// Rows is how many of the upstream's rows have been compared so far.
	Rows    int64
	Elapsed time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.Filter == nil {
		f, err := filter.New(filter.Config{})
		if err != nil {
			return o, err
		}
		o.Filter = f
	}
	if o.ChunkRows < 0 || o.Concurrency < 0 || o.MaxDifferences < 0 {
		return o, errors.New("ChunkRows, Concurrency and MaxDifferences must not be negative")
	}
	o.ChunkRows = cmp.Or(o.ChunkRows, 20000)
	o.Concurrency = cmp.Or(o.Concurrency, 4)
	o.MaxDifferences = cmp.Or(o.MaxDifferences, 100)
	if o.Table == nil {
		o.Table = func(*TableResult) {}
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	return o, nil
}

// Compare compares the tables of two databases. Differences are in the Result,
// not the error, which says that the comparison could not be made.
func Compare(ctx context.Context, upstream, downstream Endpoint, options Options) (*Result, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("compare databases: %w", err)
	}
	c := &comparison{options: options, start: time.Now()}
	if c.up, err = openSide(ctx, "upstream", upstream, options.Concurrency); err != nil {
		return nil, err
	}
	defer c.up.close()
	if c.down, err = openSide(ctx, "downstream", downstream, options.Concurrency); err != nil {
		return nil, err
	}
	defer c.down.close()

	tables, err := c.tables(ctx)
	if err != nil {
		return nil, err
	}
	result := &Result{UpstreamTs: c.up.ts, DownstreamTs: c.down.ts}
	for _, p := range tables {
		r, err := c.compareTable(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("compare table %s.%s: %w", p.schema, p.name, err)
		}
		result.Tables = append(result.Tables, r)
		options.Table(r)
	}
	return result, nil
}

// comparison is one run of Compare.
type comparison struct {
	options  Options
	up, down *side
	start    time.Time
	buffers  rowPool
}

// tablePair is a table by its upstream name, or by the downstream's if only that
// has it. One of the two may be nil.
type tablePair struct {
	schema, name string
	up, down     *table
}

// tables reads the structures of both sides and pairs them by name.
func (c *comparison) tables(ctx context.Context) ([]tablePair, error) {
	var up, down []*table
	group, groupCtx := errgroup.WithContext(ctx)
	for _, load := range []struct {
		side *side
		into *[]*table
	}{{c.up, &up}, {c.down, &down}} {
		group.Go(func() (err error) {
			*load.into, err = load.side.tables(groupCtx, c.options.Filter)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	pairs := map[string]*tablePair{}
	for _, t := range up {
		pairs[t.key()] = &tablePair{schema: t.schema, name: t.name, up: t}
	}
	for _, t := range down {
		if p := pairs[t.key()]; p != nil {
			p.down = t
		} else if !progressSchema(t.schema) {
			pairs[t.key()] = &tablePair{schema: t.schema, name: t.name, down: t}
		}
	}
	list := make([]tablePair, 0, len(pairs))
	for _, p := range pairs {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b tablePair) int {
		return cmp.Or(strings.Compare(a.schema, b.schema), strings.Compare(a.name, b.name))
	})
	return list, nil
}

// progressSchema reports whether replication itself keeps a schema downstream.
func progressSchema(name string) bool { return name == "tidbcdc" || name == "tidb_cdc" }

// compareTable compares structures, then rows by the columns that both have.
func (c *comparison) compareTable(ctx context.Context, p tablePair) (*TableResult, error) {
	r := &TableResult{Schema: p.schema, Table: p.name}
	switch {
	case p.down == nil:
		r.Structure = []string{"the table does not exist downstream"}
		return r, nil
	case p.up == nil:
		r.Structure = []string{"the table exists downstream only"}
		return r, nil
	}
	r.Structure = p.up.compare(p.down)
	plan := planTable(p, c.up, c.down)
	run := &tableRun{comparison: c, plan: plan, result: r}
	if plan.keyed() {
		return r, run.compareChunks(ctx)
	}
	return r, run.compareUnkeyed(ctx)
}
