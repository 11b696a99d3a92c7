package puller

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/metapb"
)

// errorKind decides what follows the end of a region.
type errorKind uint8

const (
	kindNotLeader       errorKind = iota
	kindRegionChanged             // epoch_not_match
	kindRegionNotFound            //
	kindBusy                      // server_is_busy
	kindCongested                 // congested
	kindUnknown                   // an error message without content this client knows
	kindNoRoute                   // the region cache knows no store for the region
	kindStoreUnusable             // unknown to PD, removed, or too old
	kindStreamBroken              // the stream ended, in whatever way, after it had worked
	kindUnreachable               // the stream ended before it brought anything
	kindNoMultiplexing            // the store has EventFeed only
	kindSilent                    // no heartbeats
	kindStuck                     // resolved ts stands still without a lock
	kindProtocol                  // rows that a correct store does not send
	kindDuplicate                 // fatal
	kindIncompatible              // fatal
	kindClusterMismatch           // fatal
	kindCount
)

var kindNames = [kindCount]string{
	"not leader", "epoch not match", "region not found", "server is busy", "congested", "unknown error",
	"no route", "store unusable", "stream broken", "store unreachable", "no multiplexing", "silent region", "stuck region",
	"protocol violation", "duplicate request", "incompatible version", "cluster id mismatch",
}

// regionError is the end of a region.
type regionError struct {
	kind    errorKind
	err     error
	leader  *metapb.Peer  // with kindNotLeader, if the store knows it
	backoff time.Duration // with kindBusy, if the store asks for it
}

func (e *regionError) Error() string {
	if e.err == nil {
		return kindNames[e.kind]
	}
	return kindNames[e.kind] + ": " + e.err.Error()
}

func (e *regionError) Unwrap() error { return e.err }

// fatal reports whether the error ends the subscription.
func (e *regionError) fatal() bool {
	return e.kind == kindDuplicate || e.kind == kindIncompatible || e.kind == kindClusterMismatch
}

// persistent is from which attempt on what is ordinary deserves attention: with the
// usual delays, a region has then failed for about three seconds.
const persistent = 6

// levelOf is the level of a message about something ordinary.
func levelOf(attempt int) slog.Level {
	if attempt < persistent {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// level is that of the message about the error. Regions split, merge and move all
// the time, and what the cache says of them is tried first, so that this is worth a
// warning only if it does not end.
func (e *regionError) level(attempt int) slog.Level {
	switch e.kind {
	case kindNotLeader, kindRegionChanged, kindRegionNotFound, kindBusy, kindNoRoute, kindNoMultiplexing:
		return levelOf(attempt)
	}
	return slog.LevelWarn
}

// maxServerBackoff bounds what a busy store may ask for.
const maxServerBackoff = 10 * time.Minute

// classify reads the error of an event.
func classify(e *cdcpb.Error) *regionError {
	switch {
	case e.GetNotLeader() != nil:
		return &regionError{kind: kindNotLeader, leader: e.NotLeader.GetLeader()}
	case e.GetEpochNotMatch() != nil:
		return &regionError{kind: kindRegionChanged}
	case e.GetRegionNotFound() != nil:
		return &regionError{kind: kindRegionNotFound}
	case e.GetServerIsBusy() != nil:
		d := time.Duration(e.ServerIsBusy.GetBackoffMs()) * time.Millisecond
		return &regionError{
			kind: kindBusy, err: fmt.Errorf("store says %q", e.ServerIsBusy.GetReason()),
			backoff: min(d, maxServerBackoff),
		}
	case e.GetCongested() != nil:
		return &regionError{kind: kindCongested}
	case e.GetDuplicateRequest() != nil:
		return &regionError{kind: kindDuplicate}
	case e.GetCompatibility() != nil:
		return &regionError{
			kind: kindIncompatible,
			err:  fmt.Errorf("store requires a client of version %s", e.Compatibility.GetRequiredVersion()),
		}
	case e.GetClusterIdMismatch() != nil:
		m := e.ClusterIdMismatch
		return &regionError{
			kind: kindClusterMismatch,
			err: fmt.Errorf("store belongs to cluster %d, the request to cluster %d: check that the PD addresses are of this cluster",
				m.GetCurrent(), m.GetRequest()),
		}
	}
	return &regionError{kind: kindUnknown}
}
