package cdc_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func TestCheckpointStores(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	onDisk := func() cdc.CheckpointStore {
		s, err := cdc.NewDirCheckpoints(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	memory := &cdc.MemoryCheckpoints{}
	for name, open := range map[string]func() cdc.CheckpointStore{
		"memory":    func() cdc.CheckpointStore { return memory },
		"directory": onDisk,
	} {
		t.Run(name, func(t *testing.T) {
			wantCheckpoint(t, open(), "a", 0)
			for _, ts := range []event.Ts{7, 470633840749576193, 3} {
				if err := open().Save(t.Context(), "a", ts); err != nil {
					t.Fatal(err)
				}
				wantCheckpoint(t, open(), "a", ts)
			}
			wantCheckpoint(t, open(), "b", 0)
			if err := open().Save(t.Context(), "b", 9); err != nil {
				t.Fatal(err)
			}
			wantCheckpoint(t, open(), "a", 3)
		})
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("directory holds %v (%v), want one file per changefeed", files, err)
	}
}

func wantCheckpoint(t *testing.T, s cdc.CheckpointStore, id string, want event.Ts) {
	t.Helper()
	got, err := s.Load(t.Context(), id)
	if err != nil || got != want {
		t.Errorf("checkpoint of %s is %d (%v), want %d", id, got, err, want)
	}
}

// A reader never sees a checkpoint half written.
func TestDirCheckpointsAreAtomic(t *testing.T) {
	s, err := cdc.NewDirCheckpoints(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const short, long = event.Ts(1), event.Ts(470633840749576193)
	if err := s.Save(t.Context(), "a", long); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 50 {
			if err := s.Save(t.Context(), "a", []event.Ts{short, long}[i%2]); err != nil {
				t.Error(err)
			}
		}
	})
	for range 200 {
		got, err := s.Load(t.Context(), "a")
		if err != nil || got != short && got != long {
			t.Errorf("read %d, %v", got, err)
		}
	}
	wg.Wait()
}

// A process that is killed while it saves leaves a file, which the next one removes;
// it leaves those of other changefeeds alone.
func TestDirCheckpointsRemoveUnfinished(t *testing.T) {
	dir := t.TempDir()
	d, err := cdc.NewDirCheckpoints(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Save(t.Context(), "a", 5); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.123.tmp", "a.4.tmp", "a-b.5.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("4"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if ts, err := d.Load(t.Context(), "a"); err != nil || ts != 5 {
		t.Errorf("%d, %v", ts, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "a-b.5.tmp a.checkpoint" {
		t.Errorf("left: %s", got)
	}
}

func TestDirCheckpointsErrors(t *testing.T) {
	dir := t.TempDir()
	s, err := cdc.NewDirCheckpoints(dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a.checkpoint")
	if err := os.WriteFile(file, []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("load of a broken file: %v, want an error that names it", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), "a", 1); err == nil {
		t.Error("save into a directory that is gone succeeded")
	}
	if _, err := cdc.NewDirCheckpoints("/dev/null/x"); err == nil {
		t.Error("a store was made where there can be none")
	}
}
