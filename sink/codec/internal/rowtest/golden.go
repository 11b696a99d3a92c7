package rowtest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
	"unicode/utf8"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Golden compares got with a file, or writes it if the test runs with -update.
func Golden(t testing.TB, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range max(len(gotLines), len(wantLines)) {
		var g, w []byte
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if !bytes.Equal(g, w) {
			t.Fatalf("%s, line %d:\ngot  %s\nwant %s", file, i+1, g, w)
		}
	}
}

// Encode returns the messages of rows.
func Encode(t testing.TB, enc codec.Encoder, rows ...*event.RowChanged) *codec.Messages {
	t.Helper()
	var ms codec.Messages
	if err := enc.AppendRows(&ms, "topic", rows); err != nil {
		t.Fatal(err)
	}
	return &ms
}

// Dump writes messages in a form that people can read and that tells all bytes:
// text as it is or, with control characters, as Go quotes it,
// and other bytes in hex.
func Dump(dst []byte, name string, ms *codec.Messages) []byte {
	for i := range ms.Len() {
		m := ms.At(i)
		dst = fmt.Appendf(dst, "# %s: %d rows, commit ts %s\n", name, m.Rows, m.CommitTs)
		dst = dump(dst, "key", m.Key)
		dst = dump(dst, "value", m.Value)
	}
	return dst
}

func dump(dst []byte, name string, b []byte) []byte {
	if b == nil {
		return fmt.Appendf(dst, "%s nil\n", name)
	}
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		if bytes.IndexFunc(b, func(r rune) bool { return r < ' ' }) < 0 {
			return fmt.Appendf(dst, "%s %s\n", name, b)
		}
		return fmt.Appendf(dst, "%s %q\n", name, b)
	}
	for len(b) > 64 {
		dst = fmt.Appendf(dst, "%s %x\n", name, b[:64])
		b = b[64:]
	}
	return fmt.Appendf(dst, "%s %x\n", name, b)
}
