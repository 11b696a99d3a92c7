package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func captureCommand(c *client) *cobra.Command {
	group := &cobra.Command{Use: "capture", Short: "Look at captures: the servers that share the work", Args: cobra.NoArgs}
	group.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List captures", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var items []struct {
					ID      string `json:"id"`
					IsOwner bool   `json:"is_owner"`
					Address string `json:"address"`
				}
				if err := c.getAndPrintJSON(cmd, "/api/v1/captures", &items); err != nil || c.json {
					return err
				}
				t := newTable("ID", "OWNER", "ADDRESS")
				for _, i := range items {
					owner := ""
					if i.IsOwner {
						owner = "yes"
					}
					t.row(i.ID, owner, i.Address)
				}
				return t.print(cmd.OutOrStdout())
			},
		},
		drainCommand(c),
	)
	return group
}

func drainCommand(c *client) *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use: "drain --capture-id ID", Short: "Move all tables away from a capture, before it is stopped", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id == "" {
				return usageError{errors.New("--capture-id is required")}
			}
			var answer struct {
				Tables int `json:"current_table_count"`
			}
			if err := c.do(cmd.Context(), http.MethodPut, "/api/v1/captures/drain", map[string]string{"capture_id": id}, &answer); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d tables are left on it\n", answer.Tables)
			return nil
		},
	}
	cmd.Flags().StringVar(&id, "capture-id", "", "`id`")
	return cmd
}

func processorCommand(c *client) *cobra.Command {
	group := &cobra.Command{Use: "processor", Short: "Look at processors: what a capture does for a changefeed", Args: cobra.NoArgs}
	group.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List processors", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var items []struct {
					Changefeed string `json:"changefeed_id"`
					Capture    string `json:"capture_id"`
				}
				if err := c.getAndPrintJSON(cmd, "/api/v1/processors", &items); err != nil || c.json {
					return err
				}
				t := newTable("CHANGEFEED", "CAPTURE")
				for _, i := range items {
					t.row(i.Changefeed, i.Capture)
				}
				return t.print(cmd.OutOrStdout())
			},
		},
		processorQueryCommand(c),
	)
	return group
}

func processorQueryCommand(c *client) *cobra.Command {
	var changefeed, capture string
	cmd := &cobra.Command{
		Use: "query --changefeed-id ID --capture-id ID", Short: "Show a processor", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if changefeed == "" || capture == "" {
				return usageError{errors.New("--changefeed-id and --capture-id are required")}
			}
			var p struct {
				CheckpointTs event.Ts      `json:"checkpoint_ts"`
				ResolvedTs   event.Ts      `json:"resolved_ts"`
				TableIDs     []int64       `json:"table_ids"`
				Error        *runningError `json:"error"`
			}
			path := "/api/v1/processors/" + url.PathEscape(changefeed) + "/" + url.PathEscape(capture)
			if err := c.getAndPrintJSON(cmd, path, &p); err != nil || c.json {
				return err
			}
			t := newTable("", "")
			t.row("Checkpoint ts", p.CheckpointTs.String())
			t.row("Resolved ts", p.ResolvedTs.String())
			t.row("Tables", strconv.Itoa(len(p.TableIDs)))
			for _, id := range p.TableIDs {
				t.row("", strconv.FormatInt(id, 10))
			}
			if p.Error != nil {
				t.row("Error", p.Error.String())
			}
			return t.print(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&changefeed, "changefeed-id", "c", "", "`id` of the changefeed")
	f.StringVarP(&capture, "capture-id", "p", "", "`id` of the capture")
	return cmd
}

func ownerCommand(c *client) *cobra.Command {
	group := &cobra.Command{Use: "owner", Short: "The capture that assigns tables to the others", Args: cobra.NoArgs}
	group.AddCommand(&cobra.Command{
		Use: "resign", Short: "Make the owner step down, so that another is elected", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.do(cmd.Context(), http.MethodPost, "/api/v1/owner/resign", nil, nil)
		},
	})
	return group
}

func logCommand(c *client) *cobra.Command {
	group := &cobra.Command{Use: "log", Short: "The server's log", Args: cobra.NoArgs}
	group.AddCommand(&cobra.Command{
		Use: "level LEVEL", Short: "Set the level from which on the server logs: debug, info, warn or error", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.do(cmd.Context(), http.MethodPost, "/api/v1/log", map[string]string{"log_level": args[0]}, nil)
		},
	})
	return group
}
