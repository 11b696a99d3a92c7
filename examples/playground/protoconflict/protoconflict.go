// Package protoconflict lets two versions of etcd live in one binary: PD links
// etcd 3.4, TiDB links etcd's 3.5 client, and both register the same protobuf
// names. A program that links both imports this package for its side effects.
//
// Message names: google.golang.org/protobuf looks at an environment variable
// when it meets a conflict; package env sets it. Enum names:
// github.com/golang/protobuf panics on the second registration whatever the
// variable says, so the packages below make it forget the names of an etcd
// package right after that package registered them.
//
// All of this rests on the order in which Go initialises packages: of those
// whose imports are initialised, the one with the smallest import path goes
// first. The path of this module must therefore sort before "go.etcd.io". The
// protocols themselves are not touched: the two registrations describe the same
// messages, and each etcd uses its own generated types.
package protoconflict

import (
	_ "github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/auth34"   // forgets the enums of authpb
	_ "github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/auth35"   // forgets the enums of authpb
	_ "github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/mvcc34"   // forgets the enums of mvccpb
	_ "github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/mvcc35"   // forgets the enums of mvccpb
	_ "github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/server34" // forgets the enums of etcdserverpb
	_ "github.com/tidbcdc/tidbcdc/examples/playground/protoconflict/server35" // forgets the enums of etcdserverpb
)
