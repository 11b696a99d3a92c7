package blackhole_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/blackhole"
	"github.com/tidbcdc/tidbcdc/sink/sinktest"
)

func TestContract(t *testing.T) {
	sinktest.Run(t, func(testing.TB) sinktest.Subject {
		s := &blackhole.Sink{}
		return sinktest.Subject{
			Sink: s, Concurrent: true,
			Checkpoint: func() (event.Ts, error) { return s.Checkpoint(), nil },
		}
	})
}

func TestCounts(t *testing.T) {
	var s blackhole.Sink
	table := &event.TableInfo{Schema: "db", Table: "t"}
	one, text := event.Int64Value(1), event.TextValue("four")
	rows := []*event.RowChanged{
		{Table: table, Key: []byte("12345"), Columns: []event.Value{one, text}},                                                  // 5 + 12
		{Table: table, Key: []byte("12345"), Columns: []event.Value{one, {}}, PreColumns: []event.Value{one, text}},              // 5 + 8 + 12
		{Table: table, Key: []byte("12345"), PreColumns: []event.Value{one, event.BytesValue([]byte{1}), event.Float64Value(1)}}, // 5 + 17
	}
	for range 2 {
		if err := s.WriteRows(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteDDL(t.Context(), &event.DDL{}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := s.Counts(), (blackhole.Counts{Rows: 6, DDLs: 2, Bytes: 2 * (17 + 25 + 22)}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCancelled(t *testing.T) {
	var s blackhole.Sink
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("stop")
	cancel(cause)
	for name, err := range map[string]error{
		"rows":       s.WriteRows(ctx, []*event.RowChanged{{}}),
		"DDL":        s.WriteDDL(ctx, &event.DDL{}),
		"checkpoint": s.WriteCheckpoint(ctx, 1),
	} {
		if !errors.Is(err, cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.Counts() != (blackhole.Counts{}) || s.Checkpoint() != 0 {
		t.Error("what was refused counts")
	}
}

func TestOpen(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	openers := sink.Openers{"blackhole": blackhole.Open}
	s, closer, err := openers.Open(t.Context(), "blackhole://any/path?protocol=open-protocol", sink.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	row := &event.RowChanged{Table: &event.TableInfo{Schema: "db", Table: "t"}, CommitTs: 42}
	if err := s.WriteRows(t.Context(), []*event.RowChanged{row}); err != nil {
		t.Fatal(err)
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	if s.(*blackhole.Sink).Counts().Rows != 1 || !strings.Contains(log.String(), "table=db.t kind=delete commit_ts=42") {
		t.Errorf("logged %q", log.String())
	}
}
