package filter

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter/internal/expression"
)

// ErrUnknownColumn is what an [*ExpressionError] wraps if a table does not have
// a column that an expression names.
var ErrUnknownColumn = expression.ErrUnknownColumn

// ExpressionError says what is wrong with a value expression.
type ExpressionError struct {
	// Expression is the expression as given.
	Expression string
	// Table is the table that it does not fit, as schema.table; "" if it fits none.
	Table string
	// Position is the character at which it goes wrong, from 1; 0 if it failed on
	// the values of a row.
	Position int
	// Err is the reason. It may wrap [ErrUnknownColumn].
	Err error
}

// Error names the expression, the table, the position and the reason.
func (e *ExpressionError) Error() string {
	const shown = 200
	text := e.Expression
	if len(text) > shown {
		text = text[:shown] + "…"
	}
	table := ""
	if e.Table != "" {
		table = " for table " + e.Table
	}
	if e.Position == 0 {
		return fmt.Sprintf("evaluate expression %q%s: %v", text, table, e.Err)
	}
	return fmt.Sprintf("compile expression %q%s: character %d: %v", text, table, e.Position, e.Err)
}

// Unwrap returns the reason.
func (e *ExpressionError) Unwrap() error { return e.Err }

// valueExpression is an expression that is not yet compiled for a table.
type valueExpression struct {
	filter int
	field  string
	text   string
	parsed *expression.Expression
	zone   *time.Location
}

// newValueExpression parses an expression. The error is an *ExpressionError.
func newValueExpression(filter int, field, text string, zone *time.Location) (*valueExpression, error) {
	parsed, err := expression.Parse(text)
	if err != nil {
		return nil, expressionError(text, "", err)
	}
	return &valueExpression{filter: filter, field: field, text: text, parsed: parsed, zone: zone}, nil
}

func expressionError(text, table string, err error) error {
	e := &ExpressionError{Expression: text, Table: table, Err: err}
	var placed *expression.Error
	if errors.As(err, &placed) {
		e.Position, e.Err = placed.Position, placed.Err
	}
	return e
}

// tableExpression is an expression compiled for a table version.
type tableExpression struct {
	*valueExpression
	program *expression.Program
}

// compile fits the expression to a table. The error is an *EventFilterError.
func (e *valueExpression) compile(table *event.TableInfo) (*tableExpression, error) {
	program, err := e.parsed.Compile(table, e.zone)
	if err != nil {
		return nil, e.wrap(expressionError(e.text, table.Name(), err))
	}
	return &tableExpression{e, program}, nil
}

func (e *valueExpression) wrap(err error) error {
	return &EventFilterError{Number: e.filter, Field: e.field, Err: err}
}

// anyTrue reports whether an expression is true of an image of a row.
func anyTrue(list []*tableExpression, image []event.Value, row *event.RowChanged) (bool, error) {
	for _, e := range list {
		yes, err := e.program.Match(image)
		if err != nil {
			return false, e.failed(row, err)
		}
		if yes {
			return true, nil
		}
	}
	return false, nil
}

// failed makes an error of one row, whose key tells which.
func (e *tableExpression) failed(row *event.RowChanged, err error) error {
	return e.wrap(&ExpressionError{
		Expression: e.text, Table: row.Table.Name(),
		Err: fmt.Errorf("row with key %x and commit ts %d: %w", row.Key, row.CommitTs, err),
	})
}
