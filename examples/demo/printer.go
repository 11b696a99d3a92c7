package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// printer is a sink that prints a line per change.
type printer struct {
	out    io.Writer
	status func() cdc.Status
}

// WriteRows implements sink.Sink.
func (p *printer) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	for _, r := range rows {
		if err := p.print(r.CommitTs, r.Kind().String(), r.Table.Table, describe(r)); err != nil {
			return err
		}
	}
	return nil
}

// WriteDDL implements sink.Sink.
func (p *printer) WriteDDL(_ context.Context, ddl *event.DDL) error {
	return p.print(ddl.CommitTs, "ddl", ddl.Schema, strings.Join(strings.Fields(ddl.Query), " "))
}

func (p *printer) print(ts event.Ts, what, where, text string) error {
	st := p.status()
	_, err := fmt.Fprintf(p.out, "%s  %-6s  %-11s  %s  (lag %.2f s)\n",
		ts.Time().Local().Format("15:04:05.000"), what, where, text, st.CheckpointLag(time.Now()).Seconds())
	return err
}

// describe lists the columns of a row: all of an insert or a delete, the key
// and what has changed of an update.
func describe(r *event.RowChanged) string {
	var b strings.Builder
	for i, c := range r.Table.Columns {
		now := r.Image()[i]
		isKey := c.Flag&event.FlagPrimaryKey != 0
		changed := r.Kind() == event.Update && r.PreColumns[i].Text() != now.Text()
		if r.Kind() == event.Update && !changed && !isKey {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if changed {
			fmt.Fprintf(&b, "%s=%s→%s", c.Name, show(r.PreColumns[i]), show(now))
		} else {
			fmt.Fprintf(&b, "%s=%s", c.Name, show(now))
		}
	}
	return b.String()
}

func show(v event.Value) string {
	if v.IsNull() {
		return "NULL"
	}
	if s := v.Text(); !strings.ContainsAny(s, " =") && s != "" {
		return s
	}
	return fmt.Sprintf("%q", v.Text())
}

func splitAddr(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, ""
	}
	return host, port
}
