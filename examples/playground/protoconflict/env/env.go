// Package env makes google.golang.org/protobuf accept a second registration of
// a message name. It imports nothing but os, so it is initialised before any
// package that registers messages.
package env

import "os"

const variable = "GOLANG_PROTOBUF_REGISTRATION_CONFLICT"

func init() {
	if os.Getenv(variable) == "" {
		_ = os.Setenv(variable, "ignore") // a failure shows as the conflict it was to prevent
	}
}
