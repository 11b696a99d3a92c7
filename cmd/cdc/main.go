// Command cdc runs changefeeds of a TiDB cluster and serves TiCDC's HTTP API over
// them; its other commands are clients of that API. See cdc --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes a command line and returns the exit code: 0, 1 for a failure, 2 for
// a command line that is not understood.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := rootCommand()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "Error:", err)
	if errors.As(err, new(usageError)) {
		fmt.Fprintf(stderr, "Run %s --help for usage.\n", cmd.Name())
		return 2
	}
	return 1
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "cdc",
		Short:         "Change data capture of TiDB: a server of changefeeds, and its clients",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serverCommand(), versionCommand(), diffCommand(), consumeCommand())
	root.AddCommand(clientCommands()...)
	// TiCDC's clients are below "cli"; so are these for whoever is used to it.
	cli := &cobra.Command{Use: "cli", Short: "The client commands, under TiCDC's name", Hidden: true}
	cli.AddCommand(clientCommands()...)
	root.AddCommand(cli)
	return root
}
