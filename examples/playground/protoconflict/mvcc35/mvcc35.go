// Package mvcc35 registers mvccpb of etcd 3.5 and makes the registry forget its enums.
package mvcc35

import (
	"github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/registry"
	_ "go.etcd.io/etcd/api/v3/mvccpb" // registers the enums
)

func init() { registry.Forget("mvccpb") }
