package main

import (
	"context"
	"encoding/json"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// jsonLines is a sink that writes a line of JSON for each change.
type jsonLines struct{ enc *json.Encoder }

var _ sink.Sink = jsonLines{}

type jsonLine struct {
	Type     string         `json:"type"`
	CommitTs event.Ts       `json:"commit_ts"`
	Schema   string         `json:"schema,omitempty"`
	Table    string         `json:"table,omitempty"`
	New      map[string]any `json:"new,omitempty"`
	Old      map[string]any `json:"old,omitempty"`
	Query    string         `json:"query,omitempty"`
}

// WriteRows implements [sink.Sink].
func (j jsonLines) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	for _, r := range rows {
		err := j.enc.Encode(jsonLine{
			Type: r.Kind().String(), CommitTs: r.CommitTs, Schema: r.Table.Schema, Table: r.Table.Table,
			New: jsonObject(r.Table, r.Columns), Old: jsonObject(r.Table, r.PreColumns),
		})
		if err != nil {
			return sink.Permanent(err)
		}
	}
	return nil
}

// WriteDDL implements [sink.Sink].
func (j jsonLines) WriteDDL(_ context.Context, ddl *event.DDL) error {
	line := jsonLine{Type: "ddl", CommitTs: ddl.CommitTs, Schema: ddl.Schema, Query: ddl.Query}
	if ddl.Table != nil {
		line.Table = ddl.Table.Table
	}
	return sink.Permanent(j.enc.Encode(line))
}

// jsonObject shows an image by the names of its columns.
func jsonObject(t *event.TableInfo, image []event.Value) map[string]any {
	if image == nil {
		return nil
	}
	out := make(map[string]any, len(image))
	for i, v := range image {
		out[t.Columns[i].Name] = v.Any()
	}
	return out
}
