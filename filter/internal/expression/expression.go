// Package expression evaluates SQL conditions over rows, as TiDB does, with
// compiled functions that allocate nothing.
//
// Parse reads a condition with TiDB's parser and refuses what is not known.
// Compile fits it to a table: every operator gets the kinds of its operands from
// the columns' types and MySQL's rules of comparison, conversion and collation;
// constants are folded; what remains is a tree of typed functions. What cannot
// be evaluated exactly as TiDB would is refused then, never at run time.
package expression

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/format"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // the parser's own literals

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Limits of an expression: far more than anybody writes, and little enough that
// compiling it takes neither much stack nor much time.
const (
	maxLength = 64 << 10
	maxDepth  = 500
	maxNodes  = 20_000
)

// ErrUnknownColumn is wrapped by the Error for a column that a table does not have.
var ErrUnknownColumn = errors.New("unknown column")

// Error says what is wrong with an expression, and where.
type Error struct {
	// Position is the character at which it goes wrong, from 1.
	Position int
	Err      error
}

// Error names the position and the reason.
func (e *Error) Error() string { return fmt.Sprintf("character %d: %v", e.Position, e.Err) }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Expression is a parsed condition, for any table.
type Expression struct {
	text string
	root ast.ExprNode
}

// before stands before the condition in what the parser reads.
const before = "SELECT 1 FROM t WHERE "

// Parse reads a condition. The error is an *Error.
func Parse(text string) (*Expression, error) {
	if len(text) > maxLength {
		return nil, &Error{1, fmt.Errorf("it has %d bytes, more than %d", len(text), maxLength)}
	}
	if !utf8.ValidString(text) {
		return nil, &Error{utf8.RuneCountInString(text[:validPrefix(text)]) + 1, errors.New("it is not UTF-8")}
	}
	e := &Expression{text: text}
	statements, err := parse(before + text)
	if err != nil {
		return nil, e.syntaxError(err)
	}
	if len(statements) != 1 {
		return nil, e.errorAt(len(text), errors.New("want one condition, without a semicolon"))
	}
	s, ok := statements[0].(*ast.SelectStmt)
	if !ok || s.Where == nil || s.GroupBy != nil || s.Having != nil || s.WindowSpecs != nil || s.OrderBy != nil || s.Limit != nil ||
		s.LockInfo != nil || s.SelectIntoOpt != nil || s.With != nil {
		return nil, e.errorAt(len(text), errors.New("want a condition, as it stands in a WHERE clause, and nothing behind it"))
	}
	e.root = s.Where
	check := &checker{e: e}
	e.root.Accept(check)
	if check.err != nil {
		return nil, check.err
	}
	return e, nil
}

// errUnreadable is for text at which the parser gives up: it panics on a number
// with more digits than it can hold.
var errUnreadable = errors.New("it cannot be read: a number in it may have too many digits")

func parse(text string) (statements []ast.StmtNode, err error) {
	defer func() {
		if recover() != nil {
			err = errUnreadable
		}
	}()
	statements, _, err = parser.New().ParseSQL(text)
	return statements, err
}

// Normalise prints a statement as TiDB does: keywords in upper case, names in
// backquotes. What cannot be read stays as it is.
func Normalise(statement string) string {
	statements, err := parse(statement)
	if err != nil || len(statements) != 1 {
		return statement
	}
	var b strings.Builder
	const flags = format.RestoreStringSingleQuotes | format.RestoreNameBackQuotes | format.RestoreKeyWordUppercase
	if err := statements[0].Restore(format.NewRestoreCtx(flags, &b)); err != nil {
		return statement
	}
	return b.String()
}

var longNumber = regexp.MustCompile(`[0-9.]{60,}`)

func validPrefix(text string) int {
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)) {
			return i
		}
	}
	return len(text)
}

var nearPattern = regexp.MustCompile(`(?s)^line \d+ column \d+ near "(.*)"`)

// syntaxError turns the parser's message into a position: it ends with what the
// parser had not read yet.
func (e *Expression) syntaxError(err error) error {
	at := len(e.text)
	if errors.Is(err, errUnreadable) {
		if place := longNumber.FindStringIndex(e.text); place != nil {
			at = place[0]
		}
		return e.errorAt(at, err)
	}
	message := err.Error()
	if m := nearPattern.FindStringSubmatch(message); m != nil {
		rest := m[1]
		if i := strings.LastIndex(before+e.text, rest); i >= len(before) && rest != "" {
			at = i - len(before)
		}
		if rest == "" {
			return e.errorAt(at, errors.New("syntax error: it ends too early"))
		}
		if len(rest) > 50 {
			rest = strings.ToValidUTF8(rest[:50], "") + "…"
		}
		return e.errorAt(at, fmt.Errorf("syntax error near %q", rest))
	}
	return e.errorAt(at, fmt.Errorf("syntax error: %s", strings.TrimSpace(message)))
}

// errorAt makes an Error from a byte offset within the text.
func (e *Expression) errorAt(offset int, err error) error {
	offset = min(max(offset, 0), len(e.text))
	return &Error{utf8.RuneCountInString(e.text[:offset]) + 1, err}
}

// offsetOf is where a part of the expression begins. The parser does not note
// it for every part; then it is fallback.
func offsetOf(n ast.Node, fallback int) int {
	if at := n.OriginTextPosition() - len(before); at >= 0 {
		return at
	}
	return fallback
}

// checker refuses, before any table is known, what is not known for any.
type checker struct {
	e            *Expression
	depth, nodes int
	at           int
	err          error
}

// Enter implements ast.Visitor.
func (c *checker) Enter(n ast.Node) (ast.Node, bool) {
	c.depth++
	c.nodes++
	c.at = offsetOf(n, c.at)
	switch {
	case c.err != nil:
		return n, true
	case c.depth > maxDepth:
		c.err = c.e.errorAt(c.at, fmt.Errorf("it is nested deeper than %d", maxDepth))
	case c.nodes > maxNodes:
		c.err = c.e.errorAt(c.at, fmt.Errorf("it has more than %d parts", maxNodes))
	default:
		if err := checkNode(n); err != nil {
			c.err = c.e.errorAt(c.at, err)
		}
	}
	return n, c.err != nil
}

// Leave implements ast.Visitor.
func (c *checker) Leave(n ast.Node) (ast.Node, bool) {
	c.depth--
	return n, true
}

var errNotPure = errors.New("it must depend on nothing but the row: write the value itself")

// checkNode refuses nodes that are not known.
func checkNode(n ast.Node) error {
	switch n := n.(type) {
	case *ast.BinaryOperationExpr, *ast.UnaryOperationExpr, *ast.ParenthesesExpr, ast.ParamMarkerExpr, ast.ValueExpr, *ast.BetweenExpr,
		*ast.PatternLikeOrIlikeExpr, *ast.PatternRegexpExpr, *ast.IsNullExpr, *ast.IsTruthExpr, *ast.CaseExpr, *ast.WhenClause,
		*ast.SetCollationExpr, *ast.TrimDirectionExpr, *ast.TimeUnitExpr, *ast.FuncCastExpr:
		if _, ok := n.(ast.ParamMarkerExpr); ok {
			return errors.New("? stands for no value")
		}
		return nil
	case *ast.ColumnNameExpr:
		return nil
	case *ast.ColumnName:
		if n.Table.O != "" {
			return fmt.Errorf("write %s without its table: the expression is for every table that the matcher includes", n.Name.O)
		}
		return nil
	case *ast.PatternInExpr:
		if n.Sel != nil {
			return errors.New("a subquery cannot be evaluated here")
		}
		return nil
	case *ast.SubqueryExpr, *ast.ExistsSubqueryExpr, *ast.CompareSubqueryExpr:
		return errors.New("a subquery cannot be evaluated here")
	case *ast.AggregateFuncExpr:
		return fmt.Errorf("%s is of many rows", strings.ToUpper(n.F))
	case *ast.WindowFuncExpr:
		return fmt.Errorf("%s is of many rows", strings.ToUpper(n.Name))
	case *ast.VariableExpr:
		return errNotPure
	case *ast.RowExpr:
		return errors.New("(a, b) cannot be evaluated here: compare a and b")
	case *ast.FuncCallExpr:
		return checkCall(n)
	}
	return errors.New("this cannot be evaluated here")
}

func checkCall(n *ast.FuncCallExpr) error {
	name := n.FnName.L
	f, ok := functions[name]
	switch {
	case impure(name):
		return fmt.Errorf("%s: %w", strings.ToUpper(name), errNotPure)
	case !ok:
		return fmt.Errorf("function %s is not known here", strings.ToUpper(name))
	case len(n.Args) < f.least || f.most >= 0 && len(n.Args) > f.most:
		return fmt.Errorf("function %s does not take %d arguments", strings.ToUpper(name), len(n.Args))
	}
	return nil
}

// impure functions are known, and do not depend on the row alone.
func impure(name string) bool {
	switch name {
	case "now", "current_timestamp", "localtime", "localtimestamp", "sysdate", "curdate", "current_date", "curtime", "current_time",
		"utc_timestamp", "utc_date", "utc_time", "rand", "uuid", "uuid_short", "user", "current_user", "session_user", "system_user",
		"database", "schema", "connection_id", "last_insert_id", "row_count", "found_rows", "version", "sleep", "benchmark", "nextval",
		"lastval", "setval", "get_lock", "release_lock":
		return true
	}
	return false
}

// Program is an expression compiled for a table version. It may be used by
// several goroutines at once.
type Program struct {
	condition func(*machine) (int64, bool)
	machines  sync.Pool // *machine
}

// Compile fits the expression to a table. zone is where it sees a TIMESTAMP,
// nil for UTC. The error is an *Error.
func (e *Expression) Compile(table *event.TableInfo, zone *time.Location) (*Program, error) {
	if zone == time.UTC {
		zone = nil
	}
	c := &compiler{e: e, table: table, zone: zone}
	n, err := c.compile(e.root)
	if err != nil {
		return nil, err
	}
	t, err := n.asTruth()
	if err != nil {
		return nil, c.fail(e.root, err)
	}
	p := &Program{condition: t.ints}
	p.machines.New = func() any { return &machine{} }
	return p, nil
}

// Match reports whether the expression is true of a row: neither false nor
// NULL. row holds the values of the table's columns. The error says that the
// expression has no value, such as a sum that is out of range.
func (p *Program) Match(row []event.Value) (bool, error) {
	m := p.machines.Get().(*machine)
	m.row = row
	v, ok := p.condition(m)
	err := m.err
	m.reset()
	p.machines.Put(m)
	return ok && v != 0 && err == nil, err
}
