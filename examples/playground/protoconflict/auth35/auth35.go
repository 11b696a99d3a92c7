// Package auth35 registers authpb of etcd 3.5 and makes the registry forget its enums.
package auth35

import (
	"github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/registry"
	_ "go.etcd.io/etcd/api/v3/authpb" // registers the enums
)

func init() { registry.Forget("authpb") }
