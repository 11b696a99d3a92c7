// Package rawkvtest makes entries for tests.
package rawkvtest

import (
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// Pack returns changes as entries.
func Pack(t testing.TB, kvs ...event.RawKV) []rawkv.Entry {
	t.Helper()
	entries := make([]rawkv.Entry, len(kvs))
	for i := range kvs {
		var err error
		if entries[i], err = rawkv.Pack(&kvs[i]); err != nil {
			t.Fatal(err)
		}
	}
	return entries
}
