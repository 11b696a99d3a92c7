package cdc

import (
	"context"
	"fmt"

	"github.com/tikv/client-go/v2/txnkv/txnsnapshot"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// metaReader reads keys as of one ts. It is a schema.Reader.
type metaReader struct {
	snapshot *txnsnapshot.KVSnapshot
	ts       event.Ts
}

func (u *Upstream) metaReader(ts event.Ts) *metaReader {
	return &metaReader{snapshot: u.store.GetSnapshot(uint64(ts)), ts: ts}
}

// Scan implements schema.Reader.
func (r *metaReader) Scan(ctx context.Context, start, end []byte, fn func(key, value []byte) error) error {
	it, err := r.snapshot.Iter(start, end)
	if err != nil {
		return fmt.Errorf("scan keys [%x, %x) as of ts %d: %w", start, end, r.ts, err)
	}
	defer it.Close()
	for it.Valid() {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := fn(it.Key(), it.Value()); err != nil {
			return err
		}
		if err := it.Next(); err != nil {
			return fmt.Errorf("scan keys [%x, %x) as of ts %d: %w", start, end, r.ts, err)
		}
	}
	return nil
}
