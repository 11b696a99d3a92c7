package consumer

import (
	"context"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// descriptions are the tables of a target, for messages that do not describe theirs. A
// decoder asks for them without I/O, and what it lacks is looked up before it is asked
// again.
type descriptions struct {
	known   map[name]*event.TableInfo
	missing []name
}

// table is what decoders ask: nil if it is not known.
func (d *descriptions) table(schema, table string) *event.TableInfo {
	n := name{schema, table}
	if d.known[n] == nil {
		d.missing = append(d.missing, n)
	}
	return d.known[n]
}

// forget is called after a DDL.
func (d *descriptions) forget() { clear(d.known) }

// describedDecoder is a decoder that looks tables up in a target.
type describedDecoder struct {
	codec.Decoder
	tables   *descriptions
	describe func(ctx context.Context, schema, table string) (*event.TableInfo, error)
	// events and err are what Decode is to return.
	events []codec.Event
	err    error
}

// Prepare implements preparer.
func (d *describedDecoder) Prepare(ctx context.Context, key, value []byte) error {
	for {
		d.tables.missing = d.tables.missing[:0]
		d.events, d.err = d.Decoder.Decode(key, value)
		if len(d.tables.missing) == 0 {
			return nil
		}
		for _, n := range d.tables.missing {
			if d.tables.known[n] != nil {
				continue
			}
			info, err := d.describe(ctx, n.schema, n.table)
			switch {
			case err != nil:
				return fmt.Errorf("look up the columns of %s.%s: %w", n.schema, n.table, err)
			case info == nil:
				return fmt.Errorf("rows of %s.%s need a table there, which tells their types and key: create it", n.schema, n.table)
			}
			d.tables.known[n] = info
		}
	}
}

// Decode returns what Prepare has read.
func (d *describedDecoder) Decode([]byte, []byte) ([]codec.Event, error) { return d.events, d.err }
