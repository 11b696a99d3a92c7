package sinktest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/sinktest"
)

// fileSink appends each row to a file as a line of JSON.
type fileSink struct{ path string }

type line struct {
	Kind     event.Kind
	CommitTs event.Ts
	Columns  map[string]any
}

func (s fileSink) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	f, err := os.OpenFile(s.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	encoder := json.NewEncoder(w)
	for _, row := range rows {
		l := line{row.Kind(), row.CommitTs, map[string]any{}}
		for i, value := range row.Image() {
			l.Columns[row.Table.Columns[i].Name] = value.Any()
		}
		if err := encoder.Encode(l); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

func (s fileSink) WriteDDL(context.Context, *event.DDL) error { return nil }

// readBack is what the test needs besides the sink.
func (s fileSink) readBack() ([]sinktest.Record, error) {
	f, err := os.Open(s.path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var records []sinktest.Record
	for decoder := json.NewDecoder(f); decoder.More(); {
		var l line
		if err := decoder.Decode(&l); err != nil {
			return nil, err
		}
		id, _ := l.Columns["id"].(float64)
		name, _ := l.Columns["name"].(string)
		note, _ := l.Columns["note"].(string)
		records = append(records, sinktest.Record{Kind: l.Kind, ID: int64(id), Name: name, Note: note, CommitTs: l.CommitTs})
	}
	return records, nil
}

func TestFileSink(t *testing.T) {
	sinktest.Run(t, openFileSink)
}

func openFileSink(t testing.TB) sinktest.Subject {
	s := fileSink{filepath.Join(t.TempDir(), "rows.jsonl")}
	return sinktest.Subject{Sink: s, Got: s.readBack, IgnoresDDL: true}
}

func ExampleRun() {
	// The whole test of a sink; openFileSink opens one and says how to read it back.
	_ = func(t *testing.T) {
		sinktest.Run(t, openFileSink)
	}
}
