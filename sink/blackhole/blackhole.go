// Package blackhole is a sink that counts what it is given and discards it: to
// try a changefeed, and to measure everything in front of a sink.
//
//	backends := sink.Openers{"blackhole": blackhole.Open}
//	s, closer, err := backends.Open(ctx, "blackhole://", sink.Config{})
package blackhole

import (
	"context"
	"io"
	"log/slog"
	"net/url"
	"sync/atomic"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Sink counts and discards. The zero value is ready; all methods may be called
// from any goroutine, at any WriteConcurrency.
type Sink struct {
	// Logger receives each row at level debug; nil logs none.
	Logger *slog.Logger

	rows, ddls, bytes, checkpoint atomic.Uint64
}

var (
	_ sink.Sink             = (*Sink)(nil)
	_ sink.CheckpointWriter = (*Sink)(nil)
)

// Counts is what a Sink was given.
type Counts struct {
	Rows, DDLs uint64
	// Bytes are those of the row keys and of both images: a text or binary value
	// counts its length, NULL nothing and any other value 8.
	Bytes uint64
}

// Counts returns the sums so far. Rows that were given again count again.
func (s *Sink) Counts() Counts {
	return Counts{Rows: s.rows.Load(), DDLs: s.ddls.Load(), Bytes: s.bytes.Load()}
}

// Checkpoint returns the highest ts given to WriteCheckpoint, 0 before the first.
func (s *Sink) Checkpoint() event.Ts { return event.Ts(s.checkpoint.Load()) }

// WriteRows counts rows. The error is the context's, if it is over.
func (s *Sink) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	debug := s.Logger != nil && s.Logger.Enabled(ctx, slog.LevelDebug)
	bytes := 0
	for _, row := range rows {
		bytes += len(row.Key) + imageBytes(row.Columns) + imageBytes(row.PreColumns)
		if debug {
			s.Logger.DebugContext(ctx, "discard row", "table", row.Table.Name(), "kind", row.Kind().String(),
				"commit_ts", uint64(row.CommitTs))
		}
	}
	s.rows.Add(uint64(len(rows)))
	s.bytes.Add(uint64(bytes))
	return nil
}

func imageBytes(values []event.Value) int {
	n := 0
	for i := range values {
		switch values[i].Kind() {
		case event.KindNull:
		case event.KindText, event.KindBytes:
			n += len(values[i].Bytes())
		default:
			n += 8
		}
	}
	return n
}

// WriteDDL counts a DDL.
func (s *Sink) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.ddls.Add(1)
	if s.Logger != nil {
		s.Logger.DebugContext(ctx, "discard DDL", "query", ddl.Query, "commit_ts", uint64(ddl.CommitTs))
	}
	return nil
}

// WriteCheckpoint notes ts. A lower one, after a restart of the changefeed, is
// not an error and changes nothing.
func (s *Sink) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for old := s.checkpoint.Load(); uint64(ts) > old; old = s.checkpoint.Load() {
		if s.checkpoint.CompareAndSwap(old, uint64(ts)) {
			break
		}
	}
	return nil
}

// Open is the [sink.Opener] of the scheme blackhole. Host, path and parameters
// of the URI have no meaning.
func Open(_ context.Context, _ *url.URL, cfg sink.Config) (sink.Sink, io.Closer, error) {
	return &Sink{Logger: cfg.Logger}, nil, nil
}
