package cdctest_test

import (
	"fmt"
	"os"
	"testing"

	plog "github.com/pingcap/log"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) {
	if n := os.Getenv(idleTablesVar); n != "" {
		if err := serveIdleTables(n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // the process is another program
		}
		return
	}
	// The TiKV client's own logger writes to stdout.
	plog.ReplaceGlobals(zap.NewNop(), &plog.ZapProperties{Level: zap.NewAtomicLevel()})
	goleak.VerifyTestMain(m,
		// When a store has gone away, the TiKV client waits some seconds for the
		// connection before it looks whether it has been closed meanwhile.
		goleak.IgnoreAnyFunction("github.com/tikv/client-go/v2/internal/client.(*batchCommandsClient).waitConnReady"))
}
