package pipeline_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/pipeline"
	"github.com/tidbcdc/tidbcdc/internal/rawkv/rawkvtest"
	"github.com/tidbcdc/tidbcdc/internal/sorter"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

const quota = 256 << 10

// spillTo gives a world a pool of little memory that spills to dir.
func spillTo(t *testing.T, dir string, files spill.Files) func(*pipeline.Config) {
	return func(c *pipeline.Config) {
		c.Sorters = sorter.NewPool(quota, spill.Config{Dir: dir, Name: "feed", Files: files})
		c.BatchBytes = quota / 16
		t.Cleanup(func() {
			if err := c.Sorters.Close(); err != nil {
				t.Error(err)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if memory, disk := c.Sorters.Usage(); memory != 0 || disk != 0 {
				t.Errorf("%d bytes of memory, %d of disk in use after everything was closed", memory, disk)
			}
		})
	}
}

// fill delivers n changes of a kilobyte in batches, with commit ts from first on
// that come again and again, and returns what the sink should get.
func (w *world) fill(table int64, n int, first, transactions event.Ts) (want []string) {
	var order []event.Ts
	for i := 0; i < n; i += 50 {
		var kvs []event.RawKV
		for j := i; j < i+50; j++ {
			commit := first + event.Ts(j)%transactions
			key := binary.BigEndian.AppendUint32(event.TableSpan(table).Start, uint32(j))
			kvs = append(kvs, event.RawKV{Op: event.OpPut, Key: key, Value: make([]byte, 1000), StartTs: commit - 1, CommitTs: commit})
			order = append(order, commit)
		}
		w.source(table).out.Receive(rawkvtest.Pack(w.t, kvs...))
	}
	slices.Sort(order)
	for _, ts := range order {
		want = append(want, fmt.Sprintf("a(1 cols) %d", ts))
	}
	return want
}

// A sink that stands still makes what is read go to disk, and gets it from there.
func TestSlowSinkSpills(t *testing.T) {
	for _, transactions := range []event.Ts{1, 70} { // one is larger than the quota
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			release := make(chan struct{})
			w.rowsHook = func(context.Context, []*event.RowChanged) error {
				<-release
				if st := w.p.Status(0); st.MemoryBytes > quota {
					t.Errorf("%d bytes of memory in use, the quota is %d", st.MemoryBytes, quota)
				}
				return nil
			}
			w.run(spillTo(t, t.TempDir(), nil))
			want := w.fill(1, 2000, 110, transactions)
			w.resolveAll(200)
			want = append(want, w.fill(1, 2000, 210, transactions)...)
			w.resolveAll(300)
			w.settle()
			st := w.p.Status(0)
			if st.MemoryBytes > quota || st.SpilledBytes < 3e6 || st.PendingRows < 3900 || st.PendingBytes < 4e6 {
				t.Errorf("status %+v", st)
			}
			if st.CheckpointTs >= 110 {
				t.Errorf("checkpoint %d passed rows that are not written", st.CheckpointTs)
			}
			close(release)
			w.wants(want...)
			w.wantCheckpoint(300)
			st = w.p.Status(0)
			if st.MemoryBytes != 0 || st.SpilledBytes != 0 || st.PendingRows != 0 || st.PendingBytes != 0 {
				t.Errorf("status after everything was written: %+v", st)
			}
			_ = w.stop()
		})
	}
}

// What fits into the quota leaves no trace on disk.
func TestNothingIsSpilledBelowTheQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(spillTo(t, "/proc/nobody/can/write/here", nil))
		for ts := event.Ts(110); ts < 1110; ts += 100 {
			want := w.fill(1, 50, ts, 10)
			w.resolveAll(ts + 10)
			w.wants(want...)
		}
		_ = w.stop()
	})
}

// Rows whose transactions are open take from the quota, so sorters spill earlier.
func TestPulledMemoryCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run(spillTo(t, t.TempDir(), nil))
		w.fill(1, 50, 110, 10)
		w.source(2).pending.Store(quota / 2)
		w.resolve(105, 2)
		w.settle()
		if st := w.p.Status(0); st.SpilledBytes != 0 || st.MemoryBytes < 50_000+quota/2 {
			t.Errorf("status before more is added: %+v", st)
		}
		w.put(1, 120)
		if st := w.p.Status(0); st.SpilledBytes == 0 {
			t.Errorf("status after: %+v", st)
		}
		_ = w.stop()
	})
}

// diskFull lets a number of bytes be written to all files together.
type diskFull struct{ left atomic.Int64 }

func (d *diskFull) Create(name string) (io.WriteCloser, error) {
	f, err := os.Create(name)
	return &limitedFile{f, d}, err
}

func (*diskFull) ReadAt(name string, b []byte, offset int64) (int, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(b, offset)
}

func (*diskFull) Remove(name string) error { return os.Remove(name) }

type limitedFile struct {
	*os.File
	disk *diskFull
}

func (f *limitedFile) Write(b []byte) (int, error) {
	if left := f.disk.left.Add(-int64(len(b))); left < 0 {
		n, err := f.File.Write(b[:max(0, int64(len(b))+left)])
		return n, errors.Join(err, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC})
	}
	return f.File.Write(b)
}

// A full disk ends the pipeline at its checkpoint.
func TestFullDisk(t *testing.T) {
	for _, left := range []int64{0, 100_000, 300_000, 1_000_000} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			disk := &diskFull{}
			disk.left.Store(left)
			w.run(spillTo(t, t.TempDir(), disk))
			early := w.fill(1, 50, 105, 1)
			w.resolveAll(106)
			w.wants(early...)
			blocked := make(chan struct{})
			w.rowsHook = func(context.Context, []*event.RowChanged) error { <-blocked; return nil }
			w.fill(1, 2000, 110, 70) // too much
			w.resolveAll(200)        // must not pass for everything received
			close(blocked)
			err := <-w.done
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), ".spill at offset") || strings.Count(err.Error(), ".spill") != 1 {
				t.Errorf("Run: %v, want one clear error of a full disk", err)
			}
			if got := w.lastSaved(); got != 106 {
				t.Errorf("saved checkpoint %d, want 106", got)
			}
			if st := w.p.Status(0); st.CheckpointTs != 106 {
				t.Errorf("checkpoint %d, want 106", st.CheckpointTs)
			}
		})
	}
}

// Data that changed on disk is not delivered.
func TestCorruptSpill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		dir := t.TempDir()
		w.run(spillTo(t, dir, nil))
		want := w.fill(1, 1000, 110, 70)
		files, err := filepath.Glob(filepath.Join(dir, "*", "*.spill"))
		if err != nil || len(files) == 0 {
			t.Fatalf("files %v, %v", files, err)
		}
		f, err := os.OpenFile(files[0], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{1}, 50_000); err != nil { // in the midst of zeros
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		w.resolveAll(200)
		err = <-w.done
		if !errors.Is(err, spill.ErrCorrupt) || !strings.Contains(err.Error(), files[0]) || !strings.Contains(err.Error(), "d.a") {
			t.Errorf("Run: %v, want an error that names table and file", err)
		}
		below := slices.IndexFunc(want, func(row string) bool { return row > fmt.Sprintf("a(1 cols) %d", w.lastSaved()) })
		if below < 0 || len(w.log) < below || !slices.Equal(w.log, want[:len(w.log)]) {
			t.Errorf("saved checkpoint %d after %d of %d rows", w.lastSaved(), len(w.log), len(want))
		}
	})
}
