package diff

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// tableRun compares the rows of one table.
type tableRun struct {
	*comparison
	plan *tablePlan

	mu     sync.Mutex
	result *TableResult // guarded by mu while chunks are compared
}

const (
	// chunkBytes bounds the rows of a chunk by their length.
	chunkBytes = 16 << 20
	// firstChunkRows are read to learn how long rows are.
	firstChunkRows = 500
	// oversize is how many times a chunk's rows may be in its range downstream
	// before it is cut in pieces there.
	oversize = 4
)

// compareChunks compares a table with a key, a range of keys at a time. The
// ranges are the upstream's and leave out nothing, so that they cover the
// downstream too.
func (r *tableRun) compareChunks(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.options.Concurrency)
	advance, n := r.startRows, min(r.options.ChunkRows, firstChunkRows)
	if r.options.Checksums && r.plan.checksums {
		advance, n = r.startSums, r.options.ChunkRows
		if length := r.plan.up.avgRowLength; length > 0 {
			n = max(1, min(n, int(chunkBytes/length)))
		}
	}
	var from bound
	for {
		chunk := keyRange{from: from, rows: n}
		var work func() error
		var err error
		chunk.to, n, work, err = advance(groupCtx, chunk)
		if err != nil {
			if groupErr := group.Wait(); groupErr != nil {
				return groupErr
			}
			return err
		}
		group.Go(work)
		if chunk.to == nil {
			return group.Wait()
		}
		from = chunk.to
	}
}

// startRows reads the upstream's rows of the next chunk. It returns where that
// ends, how many rows the one after it should have, and how to go on with this one.
func (r *tableRun) startRows(ctx context.Context, chunk keyRange) (to bound, rows int, work func() error, err error) {
	up, err := r.rows(ctx, r.up, r.plan.up, chunk, chunk.rows)
	if err != nil {
		return nil, 0, nil, err
	}
	if len(up.ends) == chunk.rows {
		last := up.row(len(up.ends)-1, nil)
		for _, k := range r.plan.keys {
			chunk.to = append(chunk.to, r.plan.columns[k].class.literal(last[k]))
		}
		// What a server says of the length of rows may be old, or missing.
		length := max(1, len(up.data)/len(up.ends))
		rows = max(1, min(r.options.ChunkRows, chunkBytes/length, chunk.rows*4))
	}
	return chunk.to, rows, func() error { return r.compareWith(ctx, up, chunk) }, nil
}

// startSums finds where the next chunk ends. It returns as startRows does.
func (r *tableRun) startSums(ctx context.Context, chunk keyRange) (to bound, rows int, work func() error, err error) {
	chunk.to, err = r.next(ctx, r.up, r.plan.up, chunk)
	return chunk.to, chunk.rows, func() error { return r.compareSums(ctx, chunk) }, err
}

// next returns the end of a chunk within a range, nil if fewer rows are left.
func (r *tableRun) next(ctx context.Context, s *side, t *table, within keyRange) (bound, error) {
	var end bound
	err := s.query(ctx, r.plan.nextBound(t, within, within.rows), func(v []sql.RawBytes) error {
		for i, k := range r.plan.keys {
			end = append(end, r.plan.columns[k].class.literal(v[i]))
		}
		return nil
	})
	return end, err
}

// compareSums compares by checksum and, where that differs, row by row.
func (r *tableRun) compareSums(ctx context.Context, chunk keyRange) error {
	up, down, err := r.sums(ctx, chunk)
	if err != nil {
		return err
	}
	if up == down {
		r.progress(up.rows)
		return nil
	}
	return r.compareRows(ctx, chunk)
}

// compareRows compares a range row by row.
func (r *tableRun) compareRows(ctx context.Context, chunk keyRange) error {
	up, err := r.rows(ctx, r.up, r.plan.up, chunk, math.MaxInt32)
	if err != nil {
		return err
	}
	return r.compareWith(ctx, up, chunk)
}

// checksum is what stands for the rows of a range.
type checksum struct {
	rows        int64
	sum, square string
}

func (r *tableRun) sums(ctx context.Context, chunk keyRange) (up, down checksum, err error) {
	read := func(ctx context.Context, s *side, t *table, into *checksum) func() error {
		return func() error {
			return s.query(ctx, r.plan.checksum(t, chunk), func(v []sql.RawBytes) error {
				into.sum, into.square = string(v[1]), string(v[2])
				_, err := fmt.Sscan(string(v[0]), &into.rows)
				return err
			})
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(read(groupCtx, r.up, r.plan.up, &up))
	group.Go(read(groupCtx, r.down, r.plan.down, &down))
	return up, down, group.Wait()
}

// compareWith compares the upstream's rows of a range with the downstream's. It
// is cut in pieces first if the downstream has far more rows in it.
func (r *tableRun) compareWith(ctx context.Context, up *rowBuffer, chunk keyRange) error {
	limit := chunk.rows*oversize + 1
	down, err := r.rows(ctx, r.down, r.plan.down, chunk, limit)
	if err != nil {
		return err
	}
	if len(down.ends) == limit {
		return r.cut(ctx, chunk)
	}
	if !bytes.Equal(up.data, down.data) {
		r.match(up, down)
	}
	r.progress(int64(len(up.ends)))
	r.buffers.put(up)
	r.buffers.put(down)
	return nil
}

// cut compares a range in pieces of the downstream's making.
func (r *tableRun) cut(ctx context.Context, chunk keyRange) error {
	for {
		to, err := r.next(ctx, r.down, r.plan.down, chunk)
		if err != nil {
			return err
		}
		piece := keyRange{chunk.from, to, chunk.rows}
		if to == nil {
			piece.to = chunk.to
		}
		if err := r.compareRows(ctx, piece); err != nil || to == nil {
			return err
		}
		chunk.from = to
	}
}

func (r *tableRun) rows(ctx context.Context, s *side, t *table, chunk keyRange, limit int) (*rowBuffer, error) {
	rows := r.buffers.get()
	err := s.query(ctx, r.plan.selectRows(t, chunk, limit), func(v []sql.RawBytes) error {
		rows.add(v)
		return nil
	})
	return rows, err
}

// match finds the differences of two sets of rows.
func (r *tableRun) match(up, down *rowBuffer) {
	byKey := make(map[string]int, len(down.ends))
	var key []byte
	var a, b image
	for i := range down.ends {
		b = down.row(i, b)
		key = r.plan.appendKey(key[:0], b)
		byKey[string(key)] = i
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range up.ends {
		a = up.row(i, a)
		key = r.plan.appendKey(key[:0], a)
		other, ok := byKey[string(key)]
		if !ok {
			r.add(Missing, a, nil)
			continue
		}
		delete(byKey, string(key))
		if b = down.row(other, b); !r.plan.equal(a, b) {
			r.add(Different, a, b)
		}
	}
	for _, i := range slices.Sorted(maps.Values(byKey)) {
		b = down.row(i, b)
		r.add(Extra, nil, b)
	}
}

// appendKey appends a row's key so that no two keys look alike.
func (p *tablePlan) appendKey(b []byte, row image) []byte {
	for _, k := range p.keys {
		b = append(appendLength(b, len(row[k])), row[k]...)
	}
	return b
}

func (p *tablePlan) equal(a, b image) bool {
	for i := range p.columns {
		if !p.columns[i].class.equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// progress counts rows of the upstream.
func (r *tableRun) progress(rows int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Rows += rows
	r.options.Progress(Progress{Schema: r.result.Schema, Table: r.result.Table, Rows: r.result.Rows, Elapsed: time.Since(r.start)})
}
