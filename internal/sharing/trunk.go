package sharing

import (
	"slices"
	"sync"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/puller"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// trunk is the receiver of a shared subscription.
type trunk struct {
	// mu is taken before a member's. Receivers are called without it.
	mu struct {
		sync.Mutex
		sub     Subscription // nil until Subscribe has returned
		members []*Member    // that get what the trunk gets
		waiting []*Member    // that still live on their branch alone
		ended   bool         // failed, or without members

		resolved event.Ts
		newest   event.Ts // the greatest commit ts received

		// While members wait, record has every change received since recording
		// began with a commit ts above resolved. It is complete as soon as resolved
		// has reached completeAt: the newest at the beginning, or what was resolved.
		recording   bool
		completeAt  event.Ts
		record      []rawkv.Entry
		recordBytes int64
	}
}

// maxRecordBytes bounds a record, which counts against nobody's quota. What is
// received between two resolved ts is rarely more; if it is, recording begins anew.
const maxRecordBytes = 64 << 20

func newTrunk(first *Member) *trunk {
	t := &trunk{}
	t.mu.members = []*Member{first}
	first.mu.joined, first.mu.branchEnded = true, true
	return t
}

func (t *trunk) setSubscription(sub Subscription) {
	t.mu.Lock()
	t.mu.sub = sub
	ended := t.mu.ended
	t.mu.Unlock()
	if ended {
		sub.Close()
	}
}

// enter lets a member join, at once or as soon as it can. False means that the
// trunk has ended.
func (t *trunk) enter(m *Member) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.ended {
		return false
	}
	if t.mu.resolved != 0 && t.mu.newest <= t.mu.resolved {
		t.mu.members = append(slices.Clip(t.mu.members), m)
		m.join(t.mu.resolved)
		return true
	}
	t.mu.waiting = append(t.mu.waiting, m)
	t.startRecordingLocked()
	return true
}

// startRecordingLocked records for those who wait, but not while the span is
// being scanned: that may take hours, and it is of no use before its end.
func (t *trunk) startRecordingLocked() {
	if !t.mu.recording && t.mu.resolved != 0 && len(t.mu.waiting) > 0 {
		t.mu.recording, t.mu.completeAt = true, max(t.mu.newest, t.mu.resolved)
	}
}

func (t *trunk) stopRecordingLocked() {
	t.mu.recording, t.mu.record, t.mu.recordBytes = false, nil, 0
}

// remove reports whether the trunk has ended, with its last member or before. Its
// subscription is to be closed then.
func (t *trunk) remove(m *Member) (sub Subscription, ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	same := func(other *Member) bool { return other == m }
	// Receive and Resolve go through the old slice, without the lock.
	t.mu.members = slices.DeleteFunc(slices.Clone(t.mu.members), same)
	t.mu.waiting = slices.DeleteFunc(slices.Clone(t.mu.waiting), same)
	if len(t.mu.waiting) == 0 {
		t.stopRecordingLocked()
	}
	if len(t.mu.members)+len(t.mu.waiting) == 0 {
		t.mu.ended = true
	}
	return t.mu.sub, t.mu.ended
}

// Receive implements puller.Receiver.
func (t *trunk) Receive(kvs []rawkv.Entry) {
	if len(kvs) == 0 {
		return
	}
	newest := kvs[0].CommitTs
	for i := range kvs {
		newest = max(newest, kvs[i].CommitTs)
	}
	t.mu.Lock()
	t.mu.newest = max(t.mu.newest, newest)
	if t.mu.recording {
		t.recordLocked(kvs)
	}
	// A slice that is only ever replaced, so it may be read without the lock. A
	// member that joins from now on finds kvs in the record.
	members := t.mu.members
	t.mu.Unlock()
	for i, m := range members {
		own := kvs
		if i < len(members)-1 {
			own = slices.Clone(kvs) // the receiver owns the slice
		}
		m.receive(own)
	}
}

func (t *trunk) recordLocked(kvs []rawkv.Entry) {
	for i := range kvs {
		t.mu.recordBytes += kvs[i].Size()
	}
	if t.mu.recordBytes > maxRecordBytes {
		t.stopRecordingLocked()
		return
	}
	t.mu.record = append(t.mu.record, kvs...)
}

// forgetLocked drops what is at or below ts from the record.
func (t *trunk) forgetLocked(ts event.Ts) {
	t.mu.record = slices.DeleteFunc(t.mu.record, func(kv rawkv.Entry) bool {
		if kv.CommitTs > ts {
			return false
		}
		t.mu.recordBytes -= kv.Size()
		return true
	})
}

// admitLocked makes members of those who wait, if the record is complete.
func (t *trunk) admitLocked() (joined []*Member, record []rawkv.Entry) {
	if !t.mu.recording {
		t.startRecordingLocked()
	}
	if !t.mu.recording {
		return nil, nil
	}
	t.forgetLocked(min(t.mu.resolved, t.mu.completeAt))
	if t.mu.resolved < t.mu.completeAt {
		return nil, nil
	}
	joined, record = t.mu.waiting, t.mu.record
	for _, m := range joined {
		m.join(t.mu.completeAt)
	}
	t.mu.waiting = nil
	t.mu.members = append(slices.Clip(t.mu.members), joined...)
	t.stopRecordingLocked()
	return joined, record
}

// Resolve implements puller.Receiver.
func (t *trunk) Resolve(ts event.Ts) {
	t.mu.Lock()
	t.mu.resolved = max(t.mu.resolved, ts)
	joined, record := t.admitLocked()
	members := t.mu.members
	t.mu.Unlock()
	for _, m := range joined {
		m.receive(slices.Clone(record))
		m.endBranchIfComplete()
	}
	for _, m := range members {
		m.resolveTrunk(ts)
	}
}

// Fail implements puller.Receiver.
func (t *trunk) Fail(err error) {
	t.mu.Lock()
	t.mu.ended = true
	members := slices.Concat(t.mu.members, t.mu.waiting)
	t.stopRecordingLocked()
	t.mu.Unlock()
	for _, m := range members {
		m.fail(err)
	}
}

func (t *trunk) subscription() Subscription {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.sub
}

var _ puller.Receiver = (*trunk)(nil)
