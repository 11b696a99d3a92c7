// Package tables holds what belongs to versions of tables: for encoders the plans of
// their messages, for decoders the tables that messages describe.
package tables

import (
	"encoding/binary"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// MaxColumns is TiDB's limit. It bounds what a malformed message can cost a decoder.
const MaxColumns = 4096

// maxColumns bounds the memory for tables: that many columns of all of them.
const maxColumns = 1 << 16

// Cache holds tables by what messages say of them, so that the rows of one version
// of a table share one [event.TableInfo]. The zero value is ready for use.
type Cache struct {
	tables      map[string]*event.TableInfo
	columns     int
	description []byte
}

// Begin begins a description.
func (c *Cache) Begin() { c.description = c.description[:0] }

// Add adds a text to the description.
func (c *Cache) Add(text string) {
	c.AddNumber(uint64(len(text)))
	c.description = append(c.description, text...)
}

// AddNumber adds a number to the description.
func (c *Cache) AddNumber(n uint64) { c.description = binary.AppendUvarint(c.description, n) }

// Table returns the table with the description, nil if there is none.
func (c *Cache) Table() *event.TableInfo { return c.tables[string(c.description)] }

// Keep remembers the table with the description.
func (c *Cache) Keep(t *event.TableInfo) {
	if c.columns += 1 + len(t.Columns); c.columns > maxColumns || c.tables == nil {
		c.tables, c.columns = map[string]*event.TableInfo{}, 1+len(t.Columns)
	}
	c.tables[string(c.description)] = t
}
