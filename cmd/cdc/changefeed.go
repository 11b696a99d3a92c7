package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

const changefeedsPath = "/api/v1/changefeeds"

func changefeedPath(id string) string { return changefeedsPath + "/" + url.PathEscape(id) }

func changefeedCommand(c *client) *cobra.Command {
	group := &cobra.Command{Use: "changefeed", Short: "Create, look at and change changefeeds", Args: cobra.NoArgs}
	group.AddCommand(
		createCommand(c), listCommand(c), queryCommand(c), updateCommand(c),
		changefeedAction(c, "pause", "Stop a changefeed; it keeps its checkpoint", http.MethodPost, "/pause"),
		changefeedAction(c, "resume", "Start a changefeed that is stopped or failed, at its checkpoint", http.MethodPost, "/resume"),
		changefeedAction(c, "remove", "Remove a changefeed and its checkpoint", http.MethodDelete, ""),
		moveTableCommand(c),
		changefeedAction(c, "rebalance-tables", "Spread a changefeed's tables evenly over the captures", http.MethodPost, "/tables/rebalance_table"),
	)
	return group
}

// runningError is the API's description of an error.
type runningError struct {
	Time    string `json:"time,omitempty"`
	Addr    string `json:"addr"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *runningError) String() string {
	if e == nil {
		return ""
	}
	if e.Code == "" {
		return e.Message
	}
	return e.Code + ": " + e.Message
}

// changefeedItem is one of the API's list.
type changefeedItem struct {
	ID             string        `json:"id"`
	State          string        `json:"state"`
	CheckpointTSO  event.Ts      `json:"checkpoint_tso"`
	CheckpointTime string        `json:"checkpoint_time"`
	Error          *runningError `json:"error"`
}

// changefeedDetail is the API's answer about one.
type changefeedDetail struct {
	changefeedItem
	SinkURI    string   `json:"sink_uri"`
	CreateTime string   `json:"create_time"`
	StartTs    event.Ts `json:"start_ts"`
	ResolvedTs event.Ts `json:"resolved_ts"`
	TargetTs   event.Ts `json:"target_ts"`
	Tasks      []struct {
		CaptureID string  `json:"capture_id"`
		TableIDs  []int64 `json:"table_ids"`
	} `json:"task_status"`
}

// specFlags are the flags of create and update.
type specFlags struct {
	id, config, sinkURI, zone string
	startTs, targetTs         uint64
}

func (s *specFlags) add(cmd *cobra.Command, update bool) {
	f := cmd.Flags()
	f.StringVarP(&s.id, "changefeed-id", "c", "", "`id`: letters and digits with single dashes between")
	f.StringVar(&s.sinkURI, "sink-uri", "", "`URI` that says where the changes go, such as mysql://user:password@host:3306/")
	f.Uint64Var(&s.targetTs, "target-ts", 0, "`TSO` up to which changes are delivered (default: no end)")
	f.StringVar(&s.config, "config", "", "TOML `file` with filter, dispatchers and more, as TiCDC's")
	f.Bool("no-confirm", true, "accepted for TiCDC's sake: nothing is asked")
	_ = f.MarkHidden("no-confirm") // it exists
	if !update {
		f.Uint64Var(&s.startTs, "start-ts", 0, "`TSO` above which changes are delivered (default: now)")
		f.StringVar(&s.zone, "tz", "", "time `zone` in which TIMESTAMP values become text (default: the server's)")
	}
}

// spec reads the file, if there is one, and puts the flags over it.
func (s *specFlags) spec() (cdc.Spec, error) {
	var spec cdc.Spec
	if s.config != "" {
		file, err := os.Open(s.config)
		if err != nil {
			return spec, fmt.Errorf("read --config: %w", err)
		}
		defer file.Close()
		if err := toml.NewDecoder(file).DisallowUnknownFields().Decode(&spec); err != nil {
			if unknown := (*toml.StrictMissingError)(nil); errors.As(err, &unknown) {
				return spec, fmt.Errorf("%s has unknown settings:\n%s", s.config, unknown.String())
			}
			if bad := (*toml.DecodeError)(nil); errors.As(err, &bad) {
				return spec, fmt.Errorf("%s:\n%s", s.config, bad.String())
			}
			return spec, fmt.Errorf("%s: %w", s.config, err)
		}
	}
	spec.ID, spec.SinkURI, spec.TimeZone = s.id, s.sinkURI, s.zone
	spec.StartTs, spec.TargetTs = event.Ts(s.startTs), event.Ts(s.targetTs)
	return spec, nil
}

func createCommand(c *client) *cobra.Command {
	s := &specFlags{}
	cmd := &cobra.Command{
		Use: "create --sink-uri URI", Short: "Create a changefeed and start it", Args: cobra.NoArgs,
		Example: `  cdc changefeed create --changefeed-id orders --sink-uri mysql://root@127.0.0.1:3306/ --config orders.toml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.sinkURI == "" {
				return usageError{errors.New("--sink-uri is required")}
			}
			spec, err := s.spec()
			if err != nil {
				return err
			}
			if spec.ID == "" {
				spec.ID = uuid.NewString()
			}
			if err := c.do(cmd.Context(), http.MethodPost, changefeedsPath, spec, nil); err != nil {
				return err
			}
			if !c.json {
				fmt.Fprintf(cmd.OutOrStdout(), "Create changefeed successfully!\nID: %s\n", spec.ID)
			}
			return c.printChangefeed(cmd, spec.ID)
		},
	}
	s.add(cmd, false)
	return cmd
}

func updateCommand(c *client) *cobra.Command {
	s := &specFlags{}
	cmd := &cobra.Command{
		Use: "update --changefeed-id ID", Short: "Change the settings of a changefeed that is stopped or failed", Args: cobra.NoArgs,
		Long: "Change the settings of a changefeed that is stopped or failed. What is not given stays;\n--config replaces the sections that it has.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.id == "" {
				return usageError{errors.New("--changefeed-id is required")}
			}
			spec, err := s.spec()
			if err != nil {
				return err
			}
			if err := c.do(cmd.Context(), http.MethodPut, changefeedPath(s.id), spec, nil); err != nil {
				return err
			}
			return c.printChangefeed(cmd, s.id)
		},
	}
	s.add(cmd, true)
	return cmd
}

func listCommand(c *client) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List changefeeds", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := changefeedsPath
			if all {
				path += "?state=all"
			}
			var items []changefeedItem
			if err := c.getAndPrintJSON(cmd, path, &items); err != nil || c.json {
				return err
			}
			t := newTable("ID", "STATE", "CHECKPOINT", "LAG", "ERROR")
			for _, i := range items {
				t.row(i.ID, i.State, i.CheckpointTime, lag(i.CheckpointTSO), i.Error.String())
			}
			return t.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also those that are finished")
	return cmd
}

func queryCommand(c *client) *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use: "query --changefeed-id ID", Short: "Show a changefeed", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id == "" {
				return usageError{errors.New("--changefeed-id is required")}
			}
			return c.printChangefeed(cmd, id)
		},
	}
	cmd.Flags().StringVarP(&id, "changefeed-id", "c", "", "`id`")
	cmd.Flags().BoolP("simple", "s", false, "accepted for TiCDC's sake")
	_ = cmd.Flags().MarkHidden("simple") // it exists
	return cmd
}

func (c *client) printChangefeed(cmd *cobra.Command, id string) error {
	var d changefeedDetail
	if err := c.getAndPrintJSON(cmd, changefeedPath(id), &d); err != nil || c.json {
		return err
	}
	t := newTable("", "")
	t.row("ID", d.ID)
	t.row("State", d.State)
	t.row("Sink", d.SinkURI)
	t.row("Created", d.CreateTime)
	t.row("Start ts", d.StartTs.String())
	if d.TargetTs != 0 {
		t.row("Target ts", d.TargetTs.String())
	}
	t.row("Checkpoint", fmt.Sprintf("%d  %s  %s behind", d.CheckpointTSO, d.CheckpointTime, lag(d.CheckpointTSO)))
	for _, task := range d.Tasks {
		t.row("Capture", fmt.Sprintf("%s  %d tables", task.CaptureID, len(task.TableIDs)))
	}
	if d.Error != nil {
		t.row("Error", d.Error.String())
	}
	return t.print(cmd.OutOrStdout())
}

// getAndPrintJSON decodes an answer, and prints it as it came if --json is given.
func (c *client) getAndPrintJSON(cmd *cobra.Command, path string, into any) error {
	var raw json.RawMessage
	if err := c.get(cmd.Context(), path, &raw); err != nil {
		return err
	}
	if c.json {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the answer of %s is not what was asked for: %w", path, err)
	}
	return nil
}

// lag is how far a ts is behind this machine's clock.
func lag(ts event.Ts) string {
	if ts == 0 {
		return ""
	}
	return max(time.Since(ts.Time()), 0).Round(100 * time.Millisecond).String()
}

// changefeedAction is a command that needs no more than the changefeed's id.
func changefeedAction(c *client, name, short, method, path string) *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use: name + " --changefeed-id ID", Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id == "" {
				return usageError{errors.New("--changefeed-id is required")}
			}
			return c.do(cmd.Context(), method, changefeedPath(id)+path, nil, nil)
		},
	}
	cmd.Flags().StringVarP(&id, "changefeed-id", "c", "", "`id`")
	return cmd
}

func moveTableCommand(c *client) *cobra.Command {
	var id, capture string
	var table int64
	cmd := &cobra.Command{
		Use: "move-table --changefeed-id ID --table-id ID --capture-id ID", Short: "Move a table to another capture", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id == "" || capture == "" || table == 0 {
				return usageError{errors.New("--changefeed-id, --table-id and --capture-id are required")}
			}
			body := map[string]any{"capture_id": capture, "table_id": table}
			return c.do(cmd.Context(), http.MethodPost, changefeedPath(id)+"/tables/move_table", body, nil)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&id, "changefeed-id", "c", "", "`id` of the changefeed")
	f.Int64Var(&table, "table-id", 0, "`id` of the table or partition")
	f.StringVar(&capture, "capture-id", "", "`id` of the capture that takes it over")
	return cmd
}
