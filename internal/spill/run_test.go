package spill_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/spill"
)

func newStore(t testing.TB, files spill.Files) (*spill.Store, string) {
	dir := t.TempDir()
	s := spill.NewStore(spill.Config{Dir: dir, Name: "feed", Files: files})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, dir
}

// write makes one file of runs.
func write(t testing.TB, s *spill.Store, runs ...[]event.RawKV) (out []*spill.Run) {
	t.Helper()
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	for _, kvs := range runs {
		for i := range kvs {
			if err := w.Append(&kvs[i]); err != nil {
				t.Fatal(err)
			}
		}
		run, err := w.EndRun()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, run)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// read reads a run to its end; before each change, pause may suspend it.
func read(r *spill.Run, size int, pause func() bool) (kvs []event.RawKV, err error) {
	for {
		if pause() {
			r.Suspend()
		}
		if err := r.Open(size); err != nil {
			return kvs, err
		}
		head, headSize, next := *r.Head(), r.HeadSize(), r.NextTs()
		kv, err := r.Take()
		if err != nil {
			return kvs, err
		}
		if head.CommitTs != kv.CommitTs || next != kv.CommitTs || !bytes.Equal(head.Key, kv.Key()) || headSize != kv.Size() {
			return kvs, errors.New("head and change differ")
		}
		kvs = append(kvs, kv.RawKV())
		if more, err := r.Next(); err != nil || !more {
			return kvs, err
		}
	}
}

func never() bool { return false }

// changes of every kind: without values, with small, with large ones.
func changes(n int, rng *rand.Rand) (kvs []event.RawKV) {
	fill := func(n int) []byte {
		if n == 0 {
			return nil
		}
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	for i := range n {
		kv := event.RawKV{Op: event.OpPut, Key: fill(1 + rng.IntN(60)), StartTs: event.Ts(rng.Uint64()), CommitTs: event.Ts(i)}
		switch rng.IntN(8) {
		case 0:
			kv.Op, kv.OldValue = event.OpDelete, fill(rng.IntN(300))
		case 1:
			kv.Value, kv.OldValue = fill(rng.IntN(30_000)), fill(rng.IntN(30_000))
		case 2:
			kv.Key = fill(1 + rng.IntN(40_000))
		default:
			kv.Value = fill(rng.IntN(300))
		}
		kvs = append(kvs, kv)
	}
	return kvs
}

func TestRunsComeBack(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	s, dir := newStore(t, nil)
	runs := [][]event.RawKV{changes(1, rng), changes(700, rng), changes(3, rng)}
	got := write(t, s, runs...)
	for i, run := range got {
		kvs, err := read(run, rng.IntN(1<<18), func() bool { return rng.IntN(10) == 0 })
		if err != nil || !reflect.DeepEqual(kvs, runs[i]) {
			t.Errorf("seed %d, run %d: %d changes came back, %v", seed, i, len(kvs), err)
		}
		if run.Rows() != len(runs[i]) {
			t.Errorf("seed %d, run %d: %d rows", seed, i, run.Rows())
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*", "*.spill"))
		if len(files) != 1 || s.Bytes() == 0 {
			t.Fatalf("files %v before run %d is released, %d bytes", files, i, s.Bytes())
		}
		if err := run.Release(); err != nil {
			t.Error(err)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*", "*.spill")); len(files) != 0 || s.Bytes() != 0 {
		t.Errorf("files %v after all runs were released, %d bytes", files, s.Bytes())
	}
}

// A run is read by several, and given up by who closes what it is for.
func TestReaders(t *testing.T) {
	s, _ := newStore(t, nil)
	want := changes(300, rand.New(rand.NewPCG(1, 1)))
	run := write(t, s, want)[0]
	for range 2 {
		if got, err := read(run.Reader(), 1<<12, never); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d changes came back, %v", len(got), err)
		}
	}
	released := make(chan error)
	go func() { released <- run.Release() }()
	reader := run.Reader() // the race detector sees what they share
	if err := <-released; err != nil {
		t.Error(err)
	}
	if _, err := read(reader, 1<<12, never); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading what was released: %v", err)
	}
}

// Many runs are read side by side, so each must do with little.
func TestMemoryOfReading(t *testing.T) {
	s, _ := newStore(t, nil)
	big := make([]byte, 1<<20)
	run := write(t, s, []event.RawKV{
		{Op: event.OpPut, Key: []byte("a"), Value: big, CommitTs: 1},
		{Op: event.OpPut, Key: []byte("b"), Value: big, OldValue: big, CommitTs: 2},
	})[0]
	for more := true; more; {
		if err := run.Open(0); err != nil {
			t.Fatal(err)
		}
		if n := run.Buffered(); n > spill.BlockSize {
			t.Errorf("%d bytes buffered", n)
		}
		var err error
		if more, err = run.Next(); err != nil {
			t.Fatal(err)
		}
	}
	run.Suspend()
	if n := run.Buffered(); n != 0 {
		t.Errorf("%d bytes buffered by a suspended run", n)
	}
}

// memory is one file in memory.
type memory struct{ data []byte }

type memoryWriter struct{ *memory }

func (w memoryWriter) Write(b []byte) (int, error) {
	w.data = append(w.data, b...)
	return len(b), nil
}
func (memoryWriter) Close() error { return nil }

func (m *memory) Create(string) (io.WriteCloser, error) { return memoryWriter{m}, nil }
func (m *memory) Remove(string) error                   { return nil }
func (m *memory) ReadAt(_ string, b []byte, offset int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(b, offset)
}

// TestEveryBitIsChecked flips a bit of every byte of a file.
func TestEveryBitIsChecked(t *testing.T) {
	m := &memory{}
	s, _ := newStore(t, m)
	var kvs []event.RawKV
	for i := range 20 {
		kvs = append(kvs, event.RawKV{Op: event.OpPut, Key: []byte("key"), Value: []byte("value"), OldValue: []byte("old"), CommitTs: event.Ts(i)})
	}
	kvs[3].Value, kvs[7].OldValue = make([]byte, 5000), make([]byte, 5000) // both in
	kvs[10].Value, kvs[10].OldValue = make([]byte, 5000), make([]byte, 5000)
	write(t, s, kvs)
	good := m.data
	check := func(what string, at int) {
		t.Helper()
		run := spill.NewRun(m, int64(len(good)))
		got, err := read(run, 0, never)
		var se *spill.Error
		if !errors.Is(err, spill.ErrCorrupt) || !errors.As(err, &se) || se.File != "given" {
			t.Fatalf("%s at %d: %d changes, error %v", what, at, len(got), err)
		}
		if len(got) > 0 && !reflect.DeepEqual(got, kvs[:len(got)]) {
			t.Fatalf("%s at %d: wrong changes came back", what, at)
		}
	}
	for i := range good {
		m.data = bytes.Clone(good)
		m.data[i] ^= 1 << (i % 8)
		check("flip", i)
	}
	for i := 0; i < len(good); i += 11 {
		m.data = good[:i]
		check("cut", i)
		m.data = append(bytes.Clone(good[:i]), make([]byte, len(good)-i)...)
		if bytes.Equal(m.data, good) {
			continue
		}
		check("zeros", i)
	}
}

// A block that is sound, but of another place.
func TestMisplacedBlock(t *testing.T) {
	m := &memory{}
	s, _ := newStore(t, m)
	kv := event.RawKV{Op: event.OpPut, Key: []byte("key"), Value: make([]byte, 10_000), CommitTs: 5}
	kv.Value = kv.Value[:8000]
	runs := write(t, s, []event.RawKV{kv}, []event.RawKV{kv})
	half := len(m.data) / 2
	copy(m.data[half:], m.data[:half])
	if _, err := read(runs[0], 0, never); err != nil {
		t.Error(err)
	}
	if _, err := read(runs[1], 0, never); !errors.Is(err, spill.ErrCorrupt) {
		t.Errorf("read of a misplaced block: %v", err)
	}
}

// FuzzRun reads what nobody wrote, with and without the right checksums.
func FuzzRun(f *testing.F) {
	m := &memory{}
	w := func(kvs ...event.RawKV) []byte {
		m.data = nil
		s, _ := newStore(f, m)
		write(f, s, kvs)
		return m.data
	}
	f.Add(w(event.RawKV{Op: event.OpPut, Key: []byte("k"), Value: []byte("v"), CommitTs: 7}), uint16(0))
	f.Add(w(event.RawKV{Op: event.OpDelete, Key: []byte("k"), OldValue: make([]byte, 9000), CommitTs: 7}), uint16(9000))
	f.Add(w(event.RawKV{Op: event.OpPut, Key: []byte("k"), Value: make([]byte, 9000), CommitTs: 7}), uint16(8000))
	f.Add([]byte("short"), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, behind uint16) {
		data = bytes.Clone(data)
		if length := len(data) - 12 - int(behind); length > 0 {
			spill.Seal(data, 0, length, int(behind))
		}
		kvs, err := read(spill.NewRun(&memory{data}, int64(len(data))), 0, never)
		if err != nil && !errors.Is(err, spill.ErrCorrupt) {
			t.Fatal(err)
		}
		size := 0
		for _, kv := range kvs {
			size += len(kv.Key) + len(kv.Value) + len(kv.OldValue)
		}
		if size > len(data) {
			t.Fatalf("%d bytes came out of %d", size, len(data))
		}
	})
}

// faulty lets operations of one kind fail with err after some of them.
type faulty struct {
	memory
	op    string
	after int
	err   error
	short bool // write less and claim success
}

func (f *faulty) fails(op string) bool {
	if op != f.op {
		return false
	}
	f.after--
	return f.after < 0
}

func (f *faulty) Create(string) (io.WriteCloser, error) {
	if f.fails("create") {
		return nil, f.err
	}
	return faultyWriter{f}, nil
}

func (f *faulty) Remove(string) error {
	if f.fails("remove") {
		return f.err
	}
	return nil
}

func (f *faulty) ReadAt(name string, b []byte, offset int64) (int, error) {
	if f.fails("read") {
		return 0, f.err
	}
	return f.memory.ReadAt(name, b, offset)
}

type faultyWriter struct{ *faulty }

func (w faultyWriter) Write(b []byte) (int, error) {
	if !w.fails("write") {
		return memoryWriter{&w.memory}.Write(b)
	}
	if w.short {
		return len(b) / 2, nil
	}
	return len(b) / 2, w.err
}

func (w faultyWriter) Close() error {
	if w.fails("close") {
		return w.err
	}
	return nil
}

func TestFaultsAreNamed(t *testing.T) {
	cause := errors.New("the disk is on fire")
	many := changes(200, rand.New(rand.NewPCG(1, 2)))
	for _, tt := range []struct {
		op    string
		after int
		short bool
	}{
		{"create", 0, false},
		{"write", 0, false},
		{"write", 2, false},
		{"write", 1, true},
		{"close", 0, false},
		{"read", 0, false},
		{"read", 3, false},
		{"remove", 0, false},
	} {
		f := &faulty{op: tt.op, after: tt.after, err: &os.PathError{Op: tt.op, Path: "file", Err: cause}, short: tt.short}
		s := spill.NewStore(spill.Config{Dir: t.TempDir(), Name: "feed", Files: f})
		err := writeAndRead(s, many)
		want := cause
		if tt.short {
			want = io.ErrShortWrite
		}
		var se *spill.Error
		if !errors.Is(err, want) || !errors.As(err, &se) || !strings.HasSuffix(se.File, "000001.spill") || se.Op != tt.op {
			t.Errorf("%s after %d: error %v", tt.op, tt.after, err)
		} else if tt.after > 0 && se.Offset == 0 {
			t.Errorf("%s after %d: error at offset 0: %v", tt.op, tt.after, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func writeAndRead(s *spill.Store, kvs []event.RawKV) error {
	w, err := s.Create()
	if err != nil {
		return err
	}
	for i := range kvs {
		if err := w.Append(&kvs[i]); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	run, err := w.EndRun()
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	if _, err := read(run, 0, never); err != nil {
		return err
	}
	return run.Release()
}

// fullFiles are files on a device that is always full.
type fullFiles struct{ memory }

func (*fullFiles) Create(string) (io.WriteCloser, error) {
	return os.OpenFile("/dev/full", os.O_WRONLY, 0)
}
