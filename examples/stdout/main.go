// Stdout prints every change of a TiDB cluster as a line of JSON.
//
//	go run ./examples/stdout -pd 127.0.0.1:2379 -rules 'shop.*'
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
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
)

func main() {
	pd := flag.String("pd", "127.0.0.1:2379", "PD's addresses, separated by commas")
	rules := flag.String("rules", "*.*", "table filter rules, separated by commas")
	start := flag.Uint64("start-ts", 0, "deliver changes after this ts; 0 means now")
	target := flag.Uint64("target-ts", 0, "stop at this ts; 0 means never")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Stdout, strings.Split(*pd, ","), strings.Split(*rules, ","), event.Ts(*start), event.Ts(*target))
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, pd, rules []string, start, target event.Ts) error {
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: pd})
	if err != nil {
		return err
	}
	defer up.Close()
	tables, err := filter.New(filter.Config{Rules: rules})
	if err != nil {
		return err
	}
	feed, err := cdc.NewChangefeed(cdc.Config{
		ID: "stdout", Upstream: up, Filter: tables, StartTs: start, TargetTs: target,
		Sink: jsonLines{json.NewEncoder(out)},
	})
	if err != nil {
		return err
	}
	return feed.Run(ctx)
}

// jsonLines is a sink that writes a JSON object per change.
type jsonLines struct{ enc *json.Encoder }

type line struct {
	Type     string         `json:"type"`
	CommitTs event.Ts       `json:"commit_ts"`
	Table    string         `json:"table,omitempty"`
	New      map[string]any `json:"new,omitempty"`
	Old      map[string]any `json:"old,omitempty"`
	Query    string         `json:"query,omitempty"`
}

func (j jsonLines) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	for _, r := range rows {
		err := j.enc.Encode(line{
			Type: r.Kind().String(), CommitTs: r.CommitTs, Table: r.Table.Name(),
			New: object(r.Table, r.Columns), Old: object(r.Table, r.PreColumns),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (j jsonLines) WriteDDL(_ context.Context, ddl *event.DDL) error {
	return j.enc.Encode(line{Type: "ddl", CommitTs: ddl.CommitTs, Query: ddl.Query})
}

func object(t *event.TableInfo, values []event.Value) map[string]any {
	if values == nil {
		return nil
	}
	m := make(map[string]any, len(values))
	for i, v := range values {
		m[t.Columns[i].Name] = v.Any()
	}
	return m
}
