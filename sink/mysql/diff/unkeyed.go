package diff

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
)

// rowHash stands for a row in a table without a usable key.
type rowHash [16]byte

// hashesPerPass bounds the hashes in memory, to about 200 MB.
const hashesPerPass = 4 << 20

// compareUnkeyed compares a table as a bag of rows: it counts each of them on
// both sides. Large tables are read several times, a part of all hashes each time.
func (r *tableRun) compareUnkeyed(ctx context.Context) error {
	var total int64
	err := r.up.query(ctx, "SELECT COUNT(*) FROM "+r.plan.up.quoted(), func(v []sql.RawBytes) error {
		_, err := fmt.Sscan(string(v[0]), &total)
		return err
	})
	if err != nil {
		return err
	}
	passes := uint64(total/hashesPerPass + 1)
	for pass := range passes {
		counts, err := r.countRows(ctx, passes, pass)
		if err != nil {
			return err
		}
		if len(counts) > 0 {
			if err := r.showRows(ctx, counts); err != nil {
				return err
			}
		}
		r.progress(total/int64(passes) + btoi(pass == 0)*(total%int64(passes)))
	}
	return nil
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// countRows returns by how much the upstream has more of each row, leaving out
// rows that both sides have as often.
func (r *tableRun) countRows(ctx context.Context, passes, pass uint64) (map[rowHash]int64, error) {
	type batch struct {
		hashes []rowHash
		by     int64
	}
	const batchRows = 4096
	batches := make(chan batch, 4)
	group, groupCtx := errgroup.WithContext(ctx)
	readers, readersCtx := errgroup.WithContext(groupCtx)
	read := func(s *side, t *table, by int64) func() error {
		return func() error {
			b := batch{by: by}
			send := func() error {
				select {
				case batches <- b:
					b.hashes = nil
					return nil
				case <-readersCtx.Done():
					return context.Cause(readersCtx)
				}
			}
			var scratch []byte
			err := s.query(readersCtx, r.selectAll(t), func(v []sql.RawBytes) error {
				var h rowHash
				if h, scratch = r.plan.hash(v, scratch); binary.LittleEndian.Uint64(h[:])%passes != pass {
					return nil
				}
				if b.hashes = append(b.hashes, h); len(b.hashes) == batchRows {
					return send()
				}
				return nil
			})
			if err == nil && len(b.hashes) > 0 {
				err = send()
			}
			return err
		}
	}
	readers.Go(read(r.up, r.plan.up, 1))
	readers.Go(read(r.down, r.plan.down, -1))
	group.Go(func() error {
		defer close(batches)
		return readers.Wait()
	})
	counts := map[rowHash]int64{}
	for b := range batches {
		for _, h := range b.hashes {
			if counts[h] += b.by; counts[h] == 0 {
				delete(counts, h)
			}
		}
	}
	return counts, group.Wait()
}

func (r *tableRun) selectAll(t *table) string {
	return "SELECT " + strings.Join(r.plan.expressions(t), ", ") + " FROM " + t.quoted()
}

// hash hashes the values of a row, in a form that both sides agree on.
func (p *tablePlan) hash(v []sql.RawBytes, scratch []byte) (rowHash, []byte) {
	scratch = scratch[:0]
	for i, b := range v {
		if b == nil {
			scratch = append(scratch, 0)
			continue
		}
		scratch = append(scratch, 1)
		value := []byte(b)
		if c := p.columns[i].class; c == classFloat || c == classDouble || c == classJSON {
			value = c.canonical(value)
		}
		scratch = append(appendLength(scratch, len(value)), value...)
	}
	sum := sha256.Sum256(scratch)
	return rowHash(sum[:16]), scratch
}

// showRows reads both sides again for the rows that differ in number.
func (r *tableRun) showRows(ctx context.Context, counts map[rowHash]int64) error {
	var scratch []byte
	show := func(s *side, t *table, kind Kind, sign int64) error {
		return s.query(ctx, r.selectAll(t), func(v []sql.RawBytes) error {
			var h rowHash
			h, scratch = r.plan.hash(v, scratch)
			n := counts[h] * sign
			if n <= 0 {
				return nil
			}
			delete(counts, h)
			r.mu.Lock()
			defer r.mu.Unlock()
			row := make(image, len(v))
			for i := range v {
				row[i] = v[i]
			}
			for range n {
				if kind == Missing {
					r.add(kind, row, nil)
				} else {
					r.add(kind, nil, row)
				}
			}
			return nil
		})
	}
	if err := show(r.up, r.plan.up, Missing, 1); err != nil {
		return err
	}
	return show(r.down, r.plan.down, Extra, -1)
}
