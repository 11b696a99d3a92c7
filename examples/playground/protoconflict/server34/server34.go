// Package server34 registers etcdserverpb of etcd 3.4 and makes the registry forget its enums.
package server34

import (
	"github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/registry"
	_ "go.etcd.io/etcd/etcdserver/etcdserverpb" // registers the enums
)

func init() { registry.Forget("etcdserverpb") }
