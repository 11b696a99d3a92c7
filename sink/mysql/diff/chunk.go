package diff

import (
	"context"
	"database/sql"
	"fmt"
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
	// oversize is how many times a chunk's rows may be in its range downstream
	// before it is cut in pieces there.
	oversize = 4
)

// compareChunks compares a table with a key, a range of keys at a time. The
// ranges are the upstream's and leave out nothing, so that they cover the
// downstream too.
func (r *tableRun) compareChunks(ctx context.Context) error {
	n := r.options.ChunkRows
	if length := r.plan.up.avgRowLength; length > 0 {
		n = max(1, min(n, int(chunkBytes/length)))
	}
	r.plan.chunkRows = n
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.options.Concurrency)
	var from bound
	for {
		to, err := r.next(groupCtx, r.up, r.plan.up, keyRange{from: from})
		if err != nil {
			if groupErr := group.Wait(); groupErr != nil {
				return groupErr
			}
			return err
		}
		chunk := keyRange{from, to}
		group.Go(func() error { return r.compareRange(groupCtx, chunk) })
		if to == nil {
			return group.Wait()
		}
		from = to
	}
}

// next returns the end of a chunk within a range, nil if fewer rows are left.
func (r *tableRun) next(ctx context.Context, s *side, t *table, within keyRange) (bound, error) {
	var end bound
	err := s.query(ctx, r.plan.nextBound(t, within, r.plan.chunkRows), func(v []sql.RawBytes) error {
		for i, k := range r.plan.keys {
			end = append(end, r.plan.columns[k].class.literal(v[i]))
		}
		return nil
	})
	return end, err
}

// compareRange compares by checksum and, where that differs, row by row.
func (r *tableRun) compareRange(ctx context.Context, chunk keyRange) error {
	if r.plan.checksums {
		up, down, err := r.sums(ctx, chunk)
		if err != nil {
			return err
		}
		if up == down {
			r.progress(up.rows)
			return nil
		}
	}
	return r.compareRows(ctx, chunk)
}

// checksum is what stands for the rows of a range.
type checksum struct {
	rows int64
	hash string
}

func (r *tableRun) sums(ctx context.Context, chunk keyRange) (up, down checksum, err error) {
	read := func(ctx context.Context, s *side, t *table, into *checksum) func() error {
		return func() error {
			return s.query(ctx, r.plan.checksum(t, chunk), func(v []sql.RawBytes) error {
				into.hash = string(v[1])
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

// image is a row: one value per column of the plan, nil for NULL.
type image [][]byte

// compareRows reads a range from both sides. It is cut in pieces first if the
// downstream has far more rows in it.
func (r *tableRun) compareRows(ctx context.Context, chunk keyRange) error {
	limit := r.plan.chunkRows*oversize + 1
	var up, down []image
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		up, err = r.rows(groupCtx, r.up, r.plan.up, chunk, limit)
		return err
	})
	group.Go(func() (err error) {
		down, err = r.rows(groupCtx, r.down, r.plan.down, chunk, limit)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if len(down) == limit {
		return r.cut(ctx, chunk)
	}
	r.match(up, down)
	r.progress(int64(len(up)))
	return nil
}

// cut compares a range in pieces of the downstream's making.
func (r *tableRun) cut(ctx context.Context, chunk keyRange) error {
	for {
		to, err := r.next(ctx, r.down, r.plan.down, chunk)
		if err != nil {
			return err
		}
		piece := keyRange{chunk.from, to}
		if to == nil {
			piece.to = chunk.to
		}
		if err := r.compareRange(ctx, piece); err != nil || to == nil {
			return err
		}
		chunk.from = to
	}
}

func (r *tableRun) rows(ctx context.Context, s *side, t *table, chunk keyRange, limit int) ([]image, error) {
	var list []image
	err := s.query(ctx, r.plan.selectRows(t, chunk, limit), func(v []sql.RawBytes) error {
		list = append(list, copyImage(v))
		return nil
	})
	return list, err
}

// copyImage copies values into one allocation.
func copyImage(v []sql.RawBytes) image {
	n := 0
	for _, b := range v {
		n += len(b)
	}
	buf := make([]byte, 0, n)
	row := make(image, len(v))
	for i, b := range v {
		if b == nil {
			continue
		}
		at := len(buf)
		buf = append(buf, b...)
		row[i] = buf[at:len(buf):len(buf)]
	}
	return row
}

// match finds the differences of two sets of rows.
func (r *tableRun) match(up, down []image) {
	byKey := make(map[string]image, len(down))
	var key []byte
	for _, row := range down {
		key = r.plan.appendKey(key[:0], row)
		byKey[string(key)] = row
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range up {
		key = r.plan.appendKey(key[:0], row)
		other, ok := byKey[string(key)]
		if !ok {
			r.add(Missing, row, nil)
			continue
		}
		delete(byKey, string(key))
		if !r.plan.equal(row, other) {
			r.add(Different, row, other)
		}
	}
	for _, row := range down {
		key = r.plan.appendKey(key[:0], row)
		if _, extra := byKey[string(key)]; extra {
			r.add(Extra, nil, row)
		}
	}
}

// appendKey appends a row's key so that no two keys look alike.
func (p *tablePlan) appendKey(b []byte, row image) []byte {
	for _, k := range p.keys {
		b = append(appendLength(b, len(row[k])), row[k]...)
	}
	return b
}

func appendLength(b []byte, n int) []byte {
	return append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
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
