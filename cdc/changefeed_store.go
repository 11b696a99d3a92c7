package cdc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// dirStore is a changefeedStore in a directory: of each changefeed a file of JSON
// under its id, and the checkpoint beside it (DirCheckpoints).
type dirStore struct {
	*DirCheckpoints
	dir string
}

// recordSuffix ends the name of a record's file.
const recordSuffix = ".json"

// newDirStore opens a directory that no other process uses, and creates it if need be.
func newDirStore(dir string) (*dirStore, error) {
	// Records hold passwords.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create directory of changefeeds: %w", err)
	}
	checkpoints, err := NewDirCheckpoints(dir)
	if err != nil {
		return nil, err
	}
	unfinished, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.tmp"))
	if err != nil {
		return nil, fmt.Errorf("list unfinished files: %w", err)
	}
	for _, name := range unfinished {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("remove unfinished file: %w", err)
		}
	}
	return &dirStore{checkpoints, dir}, nil
}

func (s *dirStore) Records(context.Context) ([]changefeedRecord, error) {
	names, err := filepath.Glob(filepath.Join(escapeGlob(s.dir), "*"+recordSuffix))
	if err != nil {
		return nil, fmt.Errorf("list changefeeds: %w", err)
	}
	out := make([]changefeedRecord, len(names))
	for i, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("load changefeed: %w", err)
		}
		if err := json.Unmarshal(data, &out[i]); err != nil {
			return nil, fmt.Errorf("load changefeed from %s: %w", name, err)
		}
		if id := out[i].Spec.ID; id+recordSuffix != filepath.Base(name) || ValidateID(id) != nil {
			return nil, fmt.Errorf("load changefeed from %s: it holds changefeed %q: was the file renamed?", name, id)
		}
	}
	return out, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(path)
}

func (s *dirStore) PutRecord(_ context.Context, r *changefeedRecord) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("encode changefeed %s: %w", r.Spec.ID, err)
	}
	if err := replaceFile(s.dir, r.Spec.ID+recordSuffix, append(data, '\n')); err != nil {
		return fmt.Errorf("store changefeed %s: %w", r.Spec.ID, err)
	}
	return nil
}

// Delete removes the record first: a checkpoint alone is not a changefeed.
func (s *dirStore) Delete(_ context.Context, id string) error {
	for _, name := range []string{id + recordSuffix, id + ".checkpoint"} {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete changefeed %s: %w", id, err)
		}
	}
	return syncDir(s.dir)
}

// replaceFile writes a file so that a crash leaves the old or the new one whole.
func replaceFile(dir, name string, data []byte) error {
	// The dot in front keeps it apart from the files that DirCheckpoints removes.
	f, err := os.CreateTemp(dir, "."+name+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}
