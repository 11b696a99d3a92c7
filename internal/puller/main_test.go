package puller_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(streamServerEnv); kind != "" {
		code := 0
		if err := serveStream(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code) //nolint:forbidigo // a process of its own, in TestMain
	}
	goleak.VerifyTestMain(m,
		// The mock's storage engine ends it a while after Close.
		goleak.IgnoreTopFunction("github.com/pingcap/goleveldb/leveldb.(*DB).mpoolDrain"),
	)
}
