package cdc

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/filter"
)

func TestDirStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new [dir]")
	open := func() *dirStore {
		s, err := newDirStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if records, err := open().Records(t.Context()); err != nil || len(records) != 0 {
		t.Errorf("in a new directory: %v, %v", records, err)
	}
	r := changefeedRecord{
		Spec:  Spec{ID: "a", SinkURI: "mysql://u:p@h/", Filter: filter.Config{Rules: []string{"a.*"}}},
		State: StateFailed, CreateTime: time.Unix(1, 5).UTC(), CreatorVersion: "v1",
		Error: &RunningError{Time: time.Unix(2, 0).UTC(), Addr: "h:1", Code: "c", Message: "m"}, Released: true,
	}
	for range 2 {
		if err := open().PutRecord(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		if err := open().Save(t.Context(), "a", 7); err != nil {
			t.Fatal(err)
		}
		records, err := open().Records(t.Context())
		if err != nil || len(records) != 1 || !reflect.DeepEqual(records[0], r) {
			t.Errorf("loaded %+v, %v; want %+v", records, err, r)
		}
		r.State = StateNormal
	}
	info, err := os.Stat(filepath.Join(dir, "a.json"))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read %v, %v", info.Mode(), err)
	}
	for range 2 {
		if err := open().Delete(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}
	if ts, err := open().Load(t.Context(), "a"); ts != 0 || err != nil {
		t.Errorf("checkpoint after Delete: %d, %v", ts, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// TestDirStoreIsDamaged: what cannot be read is told by its name, not skipped; what a
// crash has left half done is.
func TestDirStoreIsDamaged(t *testing.T) {
	for name, text := range map[string]string{
		"a.json": "{", "b.json": `{"spec":{"changefeed_id":"a"}}`, "..json": `{"spec":{"changefeed_id":"."}}`,
	} {
		dir := t.TempDir()
		s, err := newDirStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Records(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.json.123.tmp"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newDirStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if records, err := s.Records(t.Context()); err != nil || len(records) != 0 {
		t.Errorf("%v, %v", records, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("half a file is left: %v, %v", entries, err)
	}
}
