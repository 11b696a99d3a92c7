// Package server35 registers etcdserverpb of etcd 3.5 and makes the registry forget its enums.
package server35

import (
	"github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/registry"
	_ "go.etcd.io/etcd/api/v3/etcdserverpb" // registers the enums
)

func init() { registry.Forget("etcdserverpb") }
