// Package lint_test holds rules of this module that no tool knows: which way
// imports point, and what a library package must not have.
//
// Its tests read the sources of all packages, which go test does not see when it
// decides whether a result is still good. Run them with -count=1, as the
// Makefile does.
package lint_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tidbcdc/tidbcdc"

// layer is a part of the module, from the vocabulary up.
type layer string

const (
	layerRoot       layer = "the root package"
	layerEvent      layer = "the vocabulary"
	layerContract   layer = "a contract" // filter, dispatcher, sink and its test harness
	layerCodec      layer = "a codec"
	layerInternal   layer = "an internal package"
	layerBackend    layer = "a sink backend"
	layerChangefeed layer = "cdc"
	layerServer     layer = "the API server"
	layerCommand    layer = "a command"
	layerExample    layer = "an example"
	layerUnknown    layer = "not in the design"
)

// layerOf tells the layer of a package by its folder, relative to the module.
func layerOf(folder string) layer {
	parts := strings.Split(folder, "/")
	under := len(parts) > 1
	switch parts[0] {
	case "":
		return layerRoot
	case "cdc":
		if under && parts[1] == "event" {
			return layerEvent
		}
		return layerChangefeed
	case "filter", "dispatcher":
		return layerContract
	case "sink":
		switch {
		case !under || parts[1] == "sinktest":
			return layerContract
		case parts[1] == "codec":
			return layerCodec
		}
		return layerBackend
	case "internal":
		return layerInternal
	case "apiserver":
		return layerServer
	case "cmd":
		return layerCommand
	case "examples":
		return layerExample
	}
	return layerUnknown
}

// below lists what each layer may import. A backend may also import its own
// parts, such as sink/kafka/topic.
func below(l layer) []layer {
	switch l {
	case layerEvent:
		return []layer{layerEvent}
	case layerContract:
		return []layer{layerEvent, layerContract}
	case layerCodec:
		return []layer{layerEvent, layerContract, layerCodec}
	case layerInternal:
		return []layer{layerEvent, layerContract, layerInternal}
	case layerBackend:
		return []layer{layerEvent, layerContract, layerCodec, layerInternal}
	case layerChangefeed:
		return []layer{layerEvent, layerContract, layerInternal, layerChangefeed}
	case layerServer:
		return []layer{layerEvent, layerContract, layerInternal, layerChangefeed, layerServer}
	case layerCommand:
		return []layer{layerEvent, layerContract, layerCodec, layerInternal, layerBackend, layerChangefeed, layerServer, layerCommand}
	case layerExample:
		return []layer{layerEvent, layerContract, layerCodec, layerBackend, layerChangefeed, layerServer}
	}
	return nil
}

// allowed are imports that break the rules for a reason.
func allowed(from, to string) bool {
	switch from + " -> " + to {
	case "examples/demo -> internal/playground", "examples/demo -> internal/child":
		// They start a TiDB and a daemon, which is not for users to copy.
		return true
	case "sink/codec/internal/rowtest -> internal/rowcodec": // gives tests the rows that a real TiDB wrote
		return true
	}
	return false
}

// importProblem says what is wrong with an import of path by the package in a
// folder, "" if nothing. Tests may import whatever builds, but never TiDB.
func importProblem(folder, path string, test bool) string {
	const parser = "github.com/pingcap/tidb/pkg/parser"
	if strings.HasPrefix(path+"/", "github.com/pingcap/tidb/") && !strings.HasPrefix(path+"/", parser+"/") {
		return "only the playground, a module of its own, may import TiDB, except its parser"
	}
	if test {
		return ""
	}
	from := layerOf(folder)
	if from == layerUnknown {
		return "the folder has no place in the order of imports: add it to this test"
	}
	to, inModule := strings.CutPrefix(path+"/", module+"/")
	to = strings.TrimSuffix(to, "/")
	if !inModule {
		// A standard package's path begins with a name without a dot.
		if first, _, _ := strings.Cut(path, "/"); from == layerEvent && (strings.Contains(first, ".") || path == "C") {
			return "the vocabulary imports the standard library only"
		}
		return ""
	}
	target := layerOf(to)
	switch {
	case allowed(folder, to):
		return ""
	case from == layerBackend && target == layerBackend && backendOf(folder) == backendOf(to):
		return ""
	case !slices.Contains(below(from), target):
		return fmt.Sprintf("%s may not import %s", from, target)
	}
	return ""
}

// backendOf returns the first two parts of a folder, such as sink/kafka.
func backendOf(folder string) string {
	parts := strings.SplitN(folder, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if problem := importProblem(s.folder(), path, s.isTest()); problem != "" {
				t.Errorf("%s imports %s: %s", s.path, path, problem)
			}
		}
	}
}

// TestImportRules tries the rules on imports that there should and should not be.
func TestImportRules(t *testing.T) {
	tests := []struct {
		folder, path string // path in this module, unless it has a dot
		ok           bool
	}{
		{"", "cdc", false},
		{"cdc/event", "fmt", true},
		{"cdc/event", "encoding/json", true},
		{"cdc/event", "golang.org/x/sync/errgroup", false},
		{"cdc/event", "filter", false},
		{"filter", "cdc/event", true},
		{"filter", "cdc", false},
		{"filter", "internal/schema", false},
		{"dispatcher", "sink", true},
		{"sink", "cdc/event", true},
		{"sink", "sink/mysql", false},
		{"sink/sinktest", "sink", true},
		{"sink/codec/canaljson", "sink/codec", true},
		{"sink/codec/canaljson", "internal/rowcodec", false},
		{"internal/pipeline", "sink", true},
		{"internal/pipeline", "internal/sorter", true},
		{"internal/pipeline", "cdc", false},
		{"internal/pipeline", "cdc/cdctest", false},
		{"internal/pipeline", "sink/blackhole", false},
		{"sink/kafka", "sink/codec/canaljson", true},
		{"sink/kafka", "sink/kafka/topic", true},
		{"sink/kafka", "sink/mysql", false},
		{"sink/kafka", "cdc", false},
		{"cdc", "internal/pipeline", true},
		{"cdc", "sink", true},
		{"cdc", "sink/blackhole", false},
		{"cdc/cdctest", "cdc/event", true},
		{"cdc", "apiserver", false},
		{"apiserver", "cdc", true},
		{"apiserver", "sink/mysql", false},
		{"apiserver", "cmd/cdc", false},
		{"cmd/cdc", "sink/mysql", true},
		{"cmd/cdc", "apiserver", true},
		{"cmd/cdc", "examples/stdout", false},
		{"examples/kafka", "sink/kafka", true},
		{"examples/kafka", "cdc", true},
		{"examples/kafka", "internal/pipeline", false},
		{"examples/demo", "internal/pipeline", false},
		{"pkg/new", "cdc/event", false},
		{"cdc", "pkg/new", false},
		{"internal/schema", "github.com/pingcap/tidb/pkg/parser/mysql", true},
		{"internal/schema", "github.com/pingcap/tidb/pkg/parser", true},
		{"internal/schema", "github.com/pingcap/tidb/pkg/util/table-filter", false},
		{"internal/schema", "github.com/pingcap/tidb", false},
		{"internal/schema", "github.com/pingcap/tidb-tools/pkg", true},
	}
	for _, tt := range tests {
		path := tt.path
		if isFolder := !strings.Contains(path, ".") && path != "fmt" && path != "encoding/json"; isFolder {
			path = module + "/" + path
		}
		if problem := importProblem(tt.folder, path, false); (problem == "") != tt.ok {
			t.Errorf("%s imports %s: got %q", tt.folder, tt.path, problem)
		}
	}
	if importProblem("internal/e2e", module+"/cdc", true) != "" || importProblem("cdc", "github.com/pingcap/tidb/pkg/kv", true) == "" {
		t.Error("tests may import what builds, but never TiDB")
	}
}
