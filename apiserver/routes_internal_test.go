package apiserver

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestRoutesAreDescribed: the document has every route and no others.
func TestRoutesAreDescribed(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for path, methods := range doc.Paths {
		for method := range methods {
			if method != "parameters" {
				described[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	s := &server{Options: Options{Logger: slog.New(slog.DiscardHandler)}}
	for _, r := range s.routes() {
		if !described[r.pattern] {
			t.Errorf("%s is not described", r.pattern)
		}
		delete(described, r.pattern)
	}
	for _, pattern := range slices.Sorted(maps.Keys(described)) {
		t.Errorf("%s is described and not there", pattern)
	}
}
