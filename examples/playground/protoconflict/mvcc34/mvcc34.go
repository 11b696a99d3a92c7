// Package mvcc34 registers mvccpb of etcd 3.4 and makes the registry forget its enums.
package mvcc34

import (
	"github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/registry"
	_ "go.etcd.io/etcd/mvcc/mvccpb" // registers the enums
)

func init() { registry.Forget("mvccpb") }
