package tables

import (
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// maxPlans bounds the memory for versions of tables that are gone.
const maxPlans = 1 << 14

// Plans holds what an encoder prepares for each version of a table. The zero value
// is ready for use.
type Plans[P any] struct {
	last  *event.TableInfo
	plan  *P
	plans map[*event.TableInfo]*P
}

// Get returns the plan of a table, which make makes when it is first asked for.
func (p *Plans[P]) Get(table *event.TableInfo, makePlan func(*event.TableInfo) *P) *P {
	if p.last == table && table != nil {
		return p.plan
	}
	plan := p.plans[table]
	if plan == nil {
		if len(p.plans) >= maxPlans || p.plans == nil {
			p.plans = map[*event.TableInfo]*P{}
		}
		plan = makePlan(table)
		p.plans[table] = plan
	}
	p.last, p.plan = table, plan
	return plan
}

// Check makes sure that a row has an image, and a value for each column of its
// table.
func Check(row *event.RowChanged) error {
	for _, image := range [2][]event.Value{row.Columns, row.PreColumns} {
		if image != nil && len(image) != len(row.Table.Columns) {
			return fmt.Errorf("encode row of %s with commit ts %d: it has %d values, the table %d columns",
				row.Table.Name(), row.CommitTs, len(image), len(row.Table.Columns))
		}
	}
	if row.Columns == nil && row.PreColumns == nil {
		return fmt.Errorf("encode row of %s with commit ts %d: it has neither a new nor an old image",
			row.Table.Name(), row.CommitTs)
	}
	return nil
}

// OffsetOf returns the place of a column with exactly that name, -1 if there is none.
func OffsetOf(table *event.TableInfo, name string) int {
	for i := range table.Columns {
		if table.Columns[i].Name == name {
			return i
		}
	}
	return -1
}
