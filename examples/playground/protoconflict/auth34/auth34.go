// Package auth34 registers authpb of etcd 3.4 and makes the registry forget its enums.
package auth34

import (
	"github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/registry"
	_ "go.etcd.io/etcd/auth/authpb" // registers the enums
)

func init() { registry.Forget("authpb") }
