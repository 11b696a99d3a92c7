// Command cdc runs changefeeds of a TiDB cluster and serves TiCDC's HTTP API over
// them; its other commands are clients of that API. See cdc --help.
//
// # Metrics
//
// GET /metrics has TiCDC's names, labels and units for what there is here too:
//
//   - of the owner, per changefeed: ticdc_owner_{checkpoint_ts, resolved_ts},
//     both also with _lag, _{status, barrier_ts, current_pd_ts}, and
//     ticdc_processor_exit_with_error_count;
//   - of each capture: ticdc_owner_ownership_counter, ticdc_kvclient_pull_event_count
//     (rows, of the type row), ticdc_gc_min_service_gc_safepoint,
//     ticdc_server_{go_gc, go_max_procs}, and those of Go and of the process;
//   - of each capture, of its part of each changefeed:
//     ticdc_processor_num_of_tables, ticdc_puller_txn_collect_event_count,
//     ticdc_mounter_total_rows_count, ticdc_scheduler_slow_table_{id,
//     checkpoint_ts_lag, puller_resolved_ts_lag}, ticdc_sorter_{output_event_count,
//     in_memory_data_size_gauge, on_disk_data_size_gauge}, and ticdc_sink_{batch_row_count,
//     flush_lag_histogram, ddl_exec_duration, execution_error}, with
//     txn_worker_flush_duration, or mq_worker_send_message_duration for Kafka.
//
// These of TiCDC's dashboards do not exist: ticdc_kvclient_event_feed_error_count,
// ticdc_gc_cdc_gc_safepoint, ticdc_scheduler_table_replication_state and
// slow_table_stage_*, ticdc_sink_write_bytes_total, other ticdc_sink_txn_*,
// ticdc_sink_mq_worker_batch_* and ticdc_sink_kafka_producer_*, ticdc_sink_cloud_storage_*,
// ticdc_redo_*, ticdc_server_etcd_health_check_duration, and those that only TiCDC's new
// architecture has.
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
