// Package registry edits the enum registry of github.com/golang/protobuf.
package registry

import (
	"strings"
	"sync"
	_ "unsafe" // for go:linkname

	_ "github.com/golang/protobuf/proto"                                 // owns the registry
	_ "github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/env" // must come before any registration
)

//go:linkname enumCache github.com/golang/protobuf/proto.enumCache
var enumCache sync.Map

// Forget drops the enum names of one protobuf package, so that another Go
// package can register them again.
func Forget(protoPackage string) {
	prefix := protoPackage + "."
	enumCache.Range(func(key, _ any) bool {
		if name, ok := key.(string); ok && strings.HasPrefix(name, prefix) {
			enumCache.Delete(key)
		}
		return true
	})
}
