package spill_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

// A run that is kept does not hold the room of the others in its file.
func TestReleasedRunsGiveRoomBack(t *testing.T) {
	dir := t.TempDir()
	store := spill.NewStore(spill.Config{Dir: dir, Name: "test"})
	w, err := store.Create()
	if err != nil {
		t.Fatal(err)
	}
	var runs []*spill.Run
	for r := range 5 {
		for i := range 1000 {
			kv := event.RawKV{Op: event.OpPut, Key: fmt.Appendf(nil, "%d.%04d", r, i), Value: make([]byte, 1000), CommitTs: event.Ts(i + 1)}
			if err := w.Append(&kv); err != nil {
				t.Fatal(err)
			}
		}
		run, err := w.EndRun()
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	full := store.Bytes()
	for i, r := range runs {
		if i != 2 {
			if err := r.Release(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := store.Bytes(); got > full/4 {
		t.Errorf("%d of %d bytes are counted for one run of five", got, full)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.spill"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if room := info.Sys().(*syscall.Stat_t).Blocks * 512; room > full/4 {
		t.Errorf("the file takes %d bytes of %d", room, full)
	}
	if err := runs[2].Open(1 << 20); err != nil {
		t.Fatal(err)
	}
	n := 1
	for more := true; more; n++ {
		if string(runs[2].Head().Key[:2]) != "2." {
			t.Fatalf("read key %s", runs[2].Head().Key)
		}
		if more, err = runs[2].Next(); err != nil {
			t.Fatal(err)
		}
	}
	if n != 1001 {
		t.Errorf("%d changes", n-1)
	}
	if err := runs[2].Release(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := store.Bytes(); n != 0 {
		t.Errorf("%d bytes are counted at the end", n)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
