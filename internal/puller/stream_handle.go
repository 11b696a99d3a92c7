package puller

import (
	"fmt"
	"slices"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// batch collects the rows of one subscription in one message.
type batch struct {
	rows  []rawkv.Entry
	dirty bool
}

// fullBatch is how many rows are delivered without waiting for the end of the
// message. It is less than an event of a scan has, and enough to make up for the
// locks that a call takes: so a large event is a batch, in a slice that never grew.
const fullBatch = 64

// handle processes a message: rows first, in one call of Receive per
// subscription unless there are many, or the message itself tells the end of a
// scan or of a region. An error means that the message cannot be read, so that
// nobody knows which regions have lost what.
func (s *stream) handle(msg *frame) error {
	now := s.clock.now()
	s.resolved = wireResolvedTs{regions: s.resolved.regions[:0]}
	hasResolved := false
	for msg.left > 0 {
		f, err := msg.next()
		if err != nil {
			return unreadable("message", err)
		}
		if f.num > 2 {
			continue
		}
		if err := f.expect(protowire.BytesType); err != nil {
			return unreadable("message", err)
		}
		if f.num == 1 {
			if err := s.handleEvent(msg, f.bytes, now); err != nil {
				return err
			}
			continue
		}
		if err := s.resolved.decode(f.bytes); err != nil {
			return unreadable("resolved ts", err)
		}
		hasResolved = true
	}
	s.flushAll()
	if r := &s.resolved; hasResolved {
		s.handleResolved(r.requestID, r.regions, event.Ts(r.ts), now)
	}
	return nil
}

func unreadable(what string, err error) error {
	return &regionError{kind: kindProtocol, err: fmt.Errorf("decode %s: %w", what, err)}
}

// lookup finds the region an event is about, and whether it is normal. Others are
// none of our business: deregistered, failed, or never requested.
func (s *stream) lookup(subID, regionID uint64, now time.Duration) (fs *feedSub, r *region, normal bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fs = s.feedSubLocked(subID)
	if fs == nil {
		return nil, nil, false
	}
	r = fs.regions[regionID]
	if r == nil {
		return nil, nil, false
	}
	r.lastSeen = now
	return fs, r, r.state == regionNormal
}

// feedSubLocked finds the subscription of a request id. A stream with one
// subscription ignores the id: stores that cannot multiplex send none with a resolved ts.
func (s *stream) feedSubLocked(subID uint64) *feedSub {
	if s.only != nil {
		subID = s.only.id
	}
	return s.mu.subs[subID]
}

func (s *stream) handleEvent(msg *frame, data []byte, now time.Duration) error {
	e, err := decodeEvent(data)
	if err != nil {
		return unreadable("event", err)
	}
	fs, r, normal := s.lookup(e.requestID, e.regionID, now)
	if r == nil {
		return nil
	}
	switch e.content {
	case contentRows:
		if !normal {
			return nil
		}
		msg.rows, err = decodeRows(msg.rows[:0], e.payload)
		if err != nil {
			return unreadable(fmt.Sprintf("rows of region %d", r.id()), err)
		}
		s.handleRows(fs, r, msg.rows, e.payload, now)
	case contentResolvedTs:
		s.flush(fs)
		s.handleResolved(e.requestID, []uint64{e.regionID}, event.Ts(e.resolvedTs), now)
	case contentError:
		var failure cdcpb.Error
		if err := failure.Unmarshal(e.payload); err != nil {
			return unreadable("error", err)
		}
		s.flush(fs)
		s.handleError(r, &failure)
	}
	return nil
}

// handleRows runs the matcher over the rows of a payload.
func (s *stream) handleRows(fs *feedSub, r *region, rows []row, payload []byte, now time.Duration) {
	arena := s.arena
	arena.needed = fs.reserve(rows, payload, r.keyRange)
	m := &r.matcher
	m.prepare(rows, payload)
	var err error
	for i := range rows {
		row := &rows[i]
		var p packed
		switch row.typ {
		case cdcpb.Event_PREWRITE:
			arena, p = arena.pack(row, payload)
			m.prewrite(row, p)
			m.lastPrewrite = now
		case cdcpb.Event_COMMIT:
			fs.rows, err = m.commit(fs.rows, row, payload)
		case cdcpb.Event_COMMITTED:
			arena, p = arena.pack(row, payload)
			fs.rows, err = m.committed(fs.rows, row, p)
		case cdcpb.Event_ROLLBACK:
			m.rollback(row, payload)
		case cdcpb.Event_INITIALIZED:
			err = s.initialize(fs, r)
		}
		if err != nil {
			break
		}
	}
	s.arena = arena
	if err == nil && m.joinBytes >= joinBytes {
		fs.rows, err = m.join(fs.rows, false, s.flusher(fs))
	}
	s.account(r)
	switch {
	case len(fs.rows) >= fullBatch:
		s.flush(fs)
	case !fs.dirty && len(fs.rows) > 0:
		fs.dirty = true
		s.dirty = append(s.dirty, fs)
	}
	if err != nil {
		s.giveUp(r, err)
	}
	s.relieve()
}

// giveUp ends a region whose rows make no sense, or its subscription if the disk failed.
func (s *stream) giveUp(r *region, err error) {
	if isOverflow(err) {
		r.sub.stop(fmt.Errorf("follow %s: %w", r.sub.span, err))
		return
	}
	s.stop(r, &regionError{kind: kindProtocol, err: err})
}

// flusher returns what delivers rows of a subscription before there are too many.
func (s *stream) flusher(fs *feedSub) func([]rawkv.Entry) []rawkv.Entry {
	return func(rows []rawkv.Entry) []rawkv.Entry {
		fs.rows = rows
		s.flush(fs)
		return nil
	}
}

// reserve makes room for the changes that rows of a payload can become, and
// returns how many bytes those have that are kept. Rows out of range are made to be
// of no type.
func (b *batch) reserve(rows []row, payload []byte, within keyRange) (size int) {
	changes := 0
	for i := range rows {
		r := &rows[i]
		if r.typ != cdcpb.Event_INITIALIZED && !within.contains(r.key.of(payload)) {
			r.typ = cdcpb.Event_UNKNOWN // TiKV before v7.0 sends the whole region
		}
		switch r.typ {
		case cdcpb.Event_PREWRITE:
			size += r.size()
		case cdcpb.Event_COMMITTED:
			size += r.size()
			changes++
		case cdcpb.Event_COMMIT:
			changes++
		}
	}
	if free := cap(b.rows) - len(b.rows); changes > free {
		// The slice is given away with the batch, so it is no larger than one
		// event needs, and grows by factors only when there are many small events.
		grown := make([]rawkv.Entry, len(b.rows), max(len(b.rows)+changes, 2*len(b.rows)))
		copy(grown, b.rows)
		b.rows = grown
	}
	return size
}

// initialize ends the scan of a region. The rows that its end sets free are
// delivered before the region counts as initialised.
func (s *stream) initialize(fs *feedSub, r *region) error {
	if r.matcher.initialized {
		return nil
	}
	var err error
	fs.rows, err = r.matcher.initialize(fs.rows, s.flusher(fs))
	if err != nil {
		return err
	}
	s.flush(fs)
	s.mu.Lock()
	if r.scanning {
		r.scanning = false
		s.mu.scanning--
		s.poke()
	}
	s.mu.Unlock()
	r.initAt = s.client.now()
	r.sub.ranges.initialize(r.segment, r, r.initAt)
	r.sub.resolve()
	return nil
}

// account tells the subscription how the matcher's memory has changed.
func (s *stream) account(r *region) {
	if d := r.matcher.bytes - r.accounted; d != 0 {
		r.accounted = r.matcher.bytes
		r.sub.hold(d)
		s.grown += max(d, 0)
	}
}

// flush delivers the rows of a subscription.
func (s *stream) flush(fs *feedSub) {
	rows := fs.rows
	fs.rows = nil
	if cap(rows)-len(rows) > len(rows)/2 {
		rows = slices.Clone(rows)
	}
	fs.sub.receive(rows)
}

func (s *stream) flushAll() {
	for i, fs := range s.dirty {
		s.flush(fs)
		fs.dirty = false
		s.dirty[i] = nil
	}
	s.dirty = s.dirty[:0]
}

// handleError ends a region with an error event, which is the last thing that
// the store sends for it.
func (s *stream) handleError(r *region, e *cdcpb.Error) {
	s.mu.Lock()
	err := r.stopErr
	if err != nil && e.GetDuplicateRequest() != nil {
		// A store before v7.4 takes the deregistration for a registration, so
		// nothing less than the end of the stream makes it forget the region.
		s.endLocked(err)
		s.mu.Unlock()
		return
	}
	removed := s.removeLocked(r)
	s.mu.Unlock()
	if !removed {
		return
	}
	if err == nil {
		err = classify(e)
	}
	s.client.regionFailed(r, err)
}

// handleResolved moves the resolved ts of regions of a subscription.
func (s *stream) handleResolved(subID uint64, ids []uint64, ts event.Ts, now time.Duration) {
	fs, behind := s.resolvable(subID, ids, ts, now)
	if fs == nil {
		return
	}
	moved := s.heartbeat[:0]
	for _, r := range s.heartbeat {
		m := &r.matcher
		if m.joinDue(ts) {
			var err error
			fs.rows, err = m.join(fs.rows, false, s.flusher(fs))
			s.flush(fs)
			if err != nil {
				s.giveUp(r, err)
				continue
			}
		}
		before := m.overflow
		m.resolve(ts, now)
		if before != nil && m.overflow == nil {
			r.sub.forget(before)
		}
		s.account(r)
		moved = append(moved, r)
	}
	if len(moved) > 0 || behind {
		s.client.advance(fs.sub, moved, ts)
	}
	clear(s.heartbeat)
}

// resolvable sets heartbeat to those of the regions to which a resolved ts applies.
// behind says that there are others, which it is too low for. That is normal: a
// message carries the least of its group. But it also comes from a lock whose
// transaction began before the region's checkpoint and wrote the lock afterwards, so
// such a region may need its locks looked at like one that stands still. Zero says
// that the store has no timestamp from PD.
func (s *stream) resolvable(subID uint64, ids []uint64, ts event.Ts, now time.Duration) (fs *feedSub, behind bool) {
	s.heartbeat = s.heartbeat[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	fs = s.feedSubLocked(subID)
	if fs == nil {
		return nil, false
	}
	for _, id := range ids {
		r := fs.regions[id]
		if r == nil || r.state != regionNormal || !r.matcher.initialized {
			continue
		}
		r.lastSeen = now
		if ts >= r.matcher.resolvedTs {
			s.heartbeat = append(s.heartbeat, r)
		} else if ts > 0 {
			behind = true
		}
	}
	return fs, behind
}
