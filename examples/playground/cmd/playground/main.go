// Command playground runs a small TiDB cluster in one process: a real PD, stores
// that stand in for TiKV, and a real TiDB, all on 127.0.0.1.
//
// When the cluster is ready it prints one line of JSON with all addresses on
// stdout, and nothing else ever. It ends on SIGINT, SIGTERM, or when its stdin
// reaches its end, so that it does not outlive the process that started it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/tidbcdc/tidbcdc/examples/playground"
	"github.com/tidbcdc/tidbcdc/examples/playground/kvnode"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "playground:", err)
		os.Exit(1)
	}
}

type options struct {
	playground.Config
	parentStdin bool
}

func parse(args []string) (options, error) {
	var o options
	var balance bool
	fs := flag.NewFlagSet("playground", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), "Usage: playground [flags]\n\n"+
			"Runs a PD, stores that stand in for TiKV, and a TiDB in this process, on 127.0.0.1.\n"+
			"Prints one line of JSON with all addresses when ready. Logs are files in --dir.\n"+
			"Ends on SIGINT, SIGTERM, or at the end of its stdin.\n\n")
		fs.PrintDefaults()
	}
	fs.IntVar(&o.Stores, "stores", 1, "number of stores")
	fs.StringVar(&o.Dir, "dir", "", "`directory` for data and logs, which must have no data yet (default: a temporary one, removed at exit)")
	fs.IntVar(&o.MySQLPort, "mysql-port", 0, "`port` of TiDB's MySQL protocol; 0 chooses a free one")
	fs.IntVar(&o.PDPort, "pd-port", 0, "client `port` of PD; 0 chooses a free one")
	fs.IntVar(&o.StatusPort, "status-port", 0, "status `port` of TiDB; 0 chooses a free one")
	fs.IntVar(&o.ControlPort, "control-port", 0, "`port` of the control API; 0 chooses a free one")
	fs.DurationVar(&o.ResolvedTsInterval, "resolved-ts-interval", kvnode.DefaultResolvedTsInterval, "how often resolved ts are sent")
	fs.Int64Var(&o.StreamQuota, "stream-quota", kvnode.DefaultStreamQuota, "`bytes` of rows that may wait in one event feed stream")
	fs.BoolVar(&o.EventFeedV1Only, "event-feed-v1-only", false, "answer UNIMPLEMENTED to EventFeedV2, like stores before 7.3")
	fs.BoolVar(&balance, "balance", true, "let PD move leaders between stores as it sees fit")
	fs.StringVar(&o.LogLevel, "log-level", "warn", "`level` of PD's and TiDB's logs")
	fs.StringVar(&o.CA, "ca", "", "PEM `file` of the certificate authority; with --cert and --key PD, the stores and TiDB's status port want mutual TLS")
	fs.StringVar(&o.Cert, "cert", "", "PEM `file` of the certificate of all servers and clients")
	fs.StringVar(&o.Key, "key", "", "PEM `file` of the private key of --cert")
	fs.BoolVar(&o.parentStdin, "parent-stdin", true, "end when stdin reaches its end")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.KeepLeaders = !balance
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.Stores < 1:
		return o, fmt.Errorf("--stores is %d, want at least 1", o.Stores)
	case (o.CA == "") != (o.Cert == "") || (o.CA == "") != (o.Key == ""):
		return o, errors.New("--ca, --cert and --key come together")
	}
	return o, nil
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	// Only the line of JSON may reach stdout, whatever the libraries print.
	stdout := os.Stdout
	os.Stdout = os.Stderr

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if o.parentStdin {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() { // ends with the process
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	p, err := playground.Start(ctx, o.Config)
	if err != nil {
		if ctx.Err() != nil { // asked to end while starting
			return nil
		}
		return fmt.Errorf("start: %w", err)
	}
	if err := json.NewEncoder(stdout).Encode(p.Info()); err != nil {
		return errors.Join(fmt.Errorf("print addresses: %w", err), p.Close())
	}
	select {
	case <-ctx.Done():
	case failed := <-p.Failed():
		err = fmt.Errorf("tidb stopped: %w", failed)
	}
	stop()
	return errors.Join(err, p.Close())
}
