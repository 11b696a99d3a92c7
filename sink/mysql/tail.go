package mysql

import (
	"bytes"
	"hash/maphash"
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// tail remembers the handle keys that the last transaction of a table has written,
// for as long as rows of it may follow: a transaction that is too large for one
// call comes in several. If it moves a key from one row to another, the new owner
// may come in an earlier call than the delete of the old one, which then must not
// be executed. Only a table whose handle key is not TiKV's key can do that.
type tail struct {
	startTs, commitTs event.Ts
	handles           map[uint64]struct{}
}

// maxTail bounds what is remembered of one transaction. Beyond it, one of over a
// million rows would have to move keys between rows that far apart.
const maxTail = 1 << 20

// tails are those of each physical table.
type tails struct {
	mu      sync.Mutex
	byTable map[int64]*tail
}

// of returns the tail of a table. Only the one call that writes the table uses it.
func (ts *tails) of(table int64) *tail {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byTable[table]
	if t == nil {
		t = &tail{handles: map[uint64]struct{}{}}
		if ts.byTable == nil {
			ts.byTable = map[int64]*tail{}
		}
		ts.byTable[table] = t
	}
	return t
}

func (t *tail) holds(row *event.RowChanged) bool {
	return row.CommitTs == t.commitTs && row.StartTs == t.startTs
}

// wrote reports whether the row's transaction has given the handle key of the
// row's old image to another row.
func (t *tail) wrote(h *hasher, p *plan, row *event.RowChanged) bool {
	if t == nil || !t.holds(row) {
		return false
	}
	_, ok := t.handles[h.handle(p, row.PreColumns)]
	return ok
}

// add notes rows that have been written.
func (t *tail) add(h *hasher, p *plan, rows []*event.RowChanged) {
	last := rows[len(rows)-1]
	if !t.holds(last) {
		t.startTs, t.commitTs = last.StartTs, last.CommitTs
		clear(t.handles)
	}
	for i := len(rows) - 1; i >= 0 && t.holds(rows[i]) && len(t.handles) < maxTail; i-- {
		if rows[i].Columns != nil {
			t.handles[h.handle(p, rows[i].Columns)] = struct{}{}
		}
	}
}

// handle hashes the handle key of an image.
func (h *hasher) handle(p *plan, image []event.Value) uint64 {
	sum, _ := h.key(0, p.handle, image)
	if h.blind { // all that is left is to guess what the collation thinks
		h.blind = false
		for i := range p.handle {
			text := bytes.TrimRight(bytes.ToUpper([]byte(image[p.handle[i].offset].Text())), " ")
			sum = mix(sum, maphash.Bytes(h.seed, text))
		}
	}
	return sum
}
