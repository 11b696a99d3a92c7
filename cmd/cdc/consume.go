package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/kafka/consumer"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

// consumeFlags are the flags of cdc consume.
type consumeFlags struct {
	to, from, zone string
	toTs           uint64
	untilEnd       bool
}

func consumeCommand() *cobra.Command {
	c := &consumeFlags{}
	cmd := &cobra.Command{
		Use: "consume kafka://HOST:PORT/TOPIC?protocol=… --to URI", Short: "Read what a changefeed wrote to Kafka, and show it or write it to a database", Args: cobra.ExactArgs(1),
		Long: `Read what a changefeed wrote to Kafka, and show it or write it to a database.

The URI is the changefeed's sink URI; its path may name several topics, with commas
between them, and * for any characters. --to is stdout, which gets a line of JSON for
each change, or a mysql:// URI, which is written in safe mode.

Messages of open-protocol, simple, and canal-json and debezium with
enable-tidb-extension=true have watermarks: changes come in the order of their commits,
once, with DDL in between. Others come as they are in each partition. So do maxwell and
debezium without schemas into a database, whose tables tell the types.

A password of the database may be in $` + downstreamPasswordEnv + ` instead of the URI.`,
		Example: `  cdc consume 'kafka://localhost:9092/shop?protocol=canal-json&enable-tidb-extension=true' --to stdout --until-end
  cdc consume 'kafka://localhost:9092/shop?protocol=open-protocol' --to mysql://root@replica:3306/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			err := c.run(cmd.Context(), args[0], cmd.OutOrStdout(), logger)
			if errors.Is(err, sink.ErrInvalidURI) {
				return usageError{err}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.to, "to", "stdout", "`URI` of the target: stdout or mysql://user:password@host:port/")
	f.StringVar(&c.from, "from", "beginning", "beginning or end: `where` in the partitions to begin")
	f.Uint64Var(&c.toTs, "to-ts", 0, "`TSO` to stop at: all up to it is read, nothing above it; needs watermarks")
	f.BoolVar(&c.untilEnd, "until-end", false, "stop when all that the partitions held at the start has been read")
	f.StringVar(&c.zone, "tz", "UTC", "time `zone` in which the changefeed wrote TIMESTAMP values, where messages do not tell")
	return cmd
}

func (c *consumeFlags) run(ctx context.Context, source string, stdout io.Writer, logger *slog.Logger) error {
	cfg, err := c.config(source, logger)
	if err != nil {
		return err
	}
	var to sink.Sink = jsonLines{json.NewEncoder(stdout)}
	cfg.HandleKeyRows = true
	if c.to != "stdout" {
		target, db, closer, err := c.database(ctx, logger)
		if err != nil {
			return err
		}
		defer closer.Close()
		defer db.Close()
		to, cfg.HandleKeyRows = target, false
		cfg.Describe = func(ctx context.Context, schema, table string) (*event.TableInfo, error) {
			return mysql.DescribeTable(ctx, db, schema, table)
		}
		cfg.GeneratedColumns = func(ctx context.Context, schema, table string) ([]string, error) {
			return generatedColumns(ctx, db, schema, table)
		}
	}
	k, err := consumer.New(cfg)
	if err != nil {
		return err
	}
	err = k.Run(ctx, to)
	st := k.Status()
	logger.Warn("consumed", "rows", st.Rows, "ddls", st.DDLs, "repeats", st.Repeats, "resolved_ts", uint64(st.ResolvedTs))
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil // the user ended it
	}
	return err
}

// config makes the consumer's settings of the command line.
func (c *consumeFlags) config(source string, logger *slog.Logger) (consumer.Config, error) {
	uri, err := url.Parse(source)
	if err != nil || uri.Scheme != "kafka" && uri.Scheme != "kafka+ssl" || uri.Host == "" {
		return consumer.Config{}, usageError{fmt.Errorf("%s: want kafka://host:port/topic?protocol=…", sink.Redact(source))}
	}
	if c.from != "beginning" && c.from != "end" {
		return consumer.Config{}, usageError{fmt.Errorf("--from %q: want beginning or end", c.from)}
	}
	zone, err := time.LoadLocation(c.zone)
	if err != nil {
		return consumer.Config{}, usageError{fmt.Errorf("--tz %q: want an IANA name such as Asia/Shanghai", c.zone)}
	}
	cfg, err := consumer.ParseURI(uri, sink.Config{TimeZone: zone, Logger: logger})
	if err != nil {
		return cfg, fmt.Errorf("%s: %w", sink.Redact(source), err)
	}
	cfg.FromEnd, cfg.TargetTs, cfg.UntilEnd = c.from == "end", event.Ts(c.toTs), c.untilEnd
	return cfg, nil
}

// database opens a target in safe mode, and connections to look at its tables.
func (c *consumeFlags) database(ctx context.Context, logger *slog.Logger) (sink.Sink, *sql.DB, io.Closer, error) {
	password := os.Getenv(downstreamPasswordEnv)
	db, err := openDatabase("--to", c.to, password)
	if err != nil {
		return nil, nil, nil, usageError{err}
	}
	uri, err := url.Parse(c.to)
	if err != nil {
		return nil, nil, nil, usageError{fmt.Errorf("--to %s does not parse", sink.Redact(c.to))}
	}
	if _, given := uri.User.Password(); !given && password != "" {
		uri.User = url.UserPassword(uri.User.Username(), password)
	}
	if uri.Port() == "" {
		uri.Host += ":3306"
	}
	safe := true
	to, closer, err := backends().Open(ctx, uri.String(), sink.Config{Options: sink.Options{SafeMode: &safe}, Logger: logger})
	if err != nil {
		_ = db.Close()
		return nil, nil, nil, err
	}
	return to, db, closer, nil
}

// generatedColumns asks a database which columns of a table it computes itself.
func generatedColumns(ctx context.Context, db *sql.DB, schema, table string) ([]string, error) {
	const query = "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND GENERATION_EXPRESSION <> ''"
	rows, err := db.QueryContext(ctx, query, schema, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, rows.Err()
}
