package spill_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

var one = []event.RawKV{{Op: event.OpPut, Key: []byte("k"), Value: []byte("v"), StartTs: 1, CommitTs: 2}}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not yet", "[there]*")
	s := spill.NewStore(spill.Config{Dir: dir, Name: "feed"})
	if err := s.RemoveStale(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is there before the first write: %v", err)
	}
	write(t, s, one)
	if got := names(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], "tidbcdc.feed.") {
		t.Errorf("directory holds %q", got)
	}
	info, err := os.Stat(filepath.Join(dir, names(t, dir)[0]))
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v: others could read the rows", info.Mode(), err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
	if _, err := s.Create(); !errors.Is(err, spill.ErrClosed) {
		t.Errorf("Create after Close: %v", err)
	}
}

// A file without runs does not stay.
func TestEmptyFile(t *testing.T) {
	s, dir := newStore(t, nil)
	if run := write(t, s, nil)[0]; run != nil {
		t.Error("a run of nothing")
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*", "*.spill")); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestStopEndsWriting(t *testing.T) {
	s, _ := newStore(t, nil)
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(&one[0]); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := w.EndRun(); !errors.Is(err, spill.ErrClosed) {
		t.Errorf("EndRun: %v", err)
	}
	if err := w.Append(&one[0]); !errors.Is(err, spill.ErrClosed) {
		t.Errorf("Append: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestKilledProcess has a process hold a directory, which is safe from others
// until the process is killed.
func TestKilledProcess(t *testing.T) {
	const env = "TIDBCDC_SPILL_DIR"
	if dir := os.Getenv(env); dir != "" {
		s := spill.NewStore(spill.Config{Dir: dir, Name: "feed"})
		write(t, s, one)
		os.Stdout.WriteString("written\n")
		select {}
	}
	if runtime.GOOS == "windows" {
		return // lock_other.go: what a killed process leaves stays
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), env+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "written\n" {
		t.Fatalf("process says %q, %v", line, err)
	}
	mine := spill.NewStore(spill.Config{Dir: dir, Name: "feed"})
	write(t, mine, one)
	other := spill.NewStore(spill.Config{Dir: dir, Name: "feed"})
	if err := other.RemoveStale(); err != nil || len(names(t, dir)) != 2 {
		t.Errorf("directories in use: %q are left, %v", names(t, dir), err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	if err := other.RemoveStale(); err != nil || len(names(t, dir)) != 1 {
		t.Errorf("one of them in use: %q are left, %v", names(t, dir), err)
	}
	if err := mine.Close(); err != nil || len(names(t, dir)) != 0 {
		t.Errorf("left behind: %q, %v", names(t, dir), err)
	}
}

// What makers and removers leave when they are killed in the middle.
func TestStaleDirectories(t *testing.T) {
	dir := t.TempDir()
	outside := t.TempDir()
	for _, name := range []string{
		"tidbcdc.feed.1/lock", "tidbcdc.feed.1/000001.spill", "tidbcdc.feed.2/lock", "tidbcdc.feed2.1/lock", "tidbcdc.feed",
	} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "tidbcdc.feed.3"), 0o700), // its maker died before it made the lock
		os.Symlink(outside, filepath.Join(dir, "tidbcdc.feed.4")),
		os.WriteFile(filepath.Join(outside, "lock"), nil, 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	s := spill.NewStore(spill.Config{Dir: dir, Name: "feed"})
	if err := s.RemoveStale(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(names(t, dir), " "); got != "tidbcdc.feed tidbcdc.feed.4 tidbcdc.feed2.1" {
		t.Errorf("left: %s", got)
	}
	if got := names(t, outside); len(got) != 1 {
		t.Errorf("a directory outside was emptied: %q", got)
	}
}

func TestFullDevice(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // has no /dev/full
	}
	s, _ := newStore(t, &fullFiles{})
	err := writeAndRead(s, one)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	for _, part := range []string{"000001.spill at offset 0", "no space left on device", "spill directory", "memory quota"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}
