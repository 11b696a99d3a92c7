package expression

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// compiler turns the parser's tree into nodes.
type compiler struct {
	e     *Expression
	table *event.TableInfo
	zone  *time.Location
	at    int // where the last part began whose place is known
	// virtual are the virtual columns whose expressions are being compiled.
	virtual []string
}

// fail makes an error about a part of the expression.
func (c *compiler) fail(n ast.Node, err error) error {
	var placed *Error
	if errors.As(err, &placed) {
		return err
	}
	at := c.at
	if n != nil {
		at = offsetOf(n, at)
	}
	return c.e.errorAt(at, err)
}

// compile compiles a part of the expression. The error is an *Error.
func (c *compiler) compile(e ast.ExprNode) (*node, error) {
	at := offsetOf(e, c.at)
	c.at = at
	n, err := c.compileNode(e)
	c.at = at
	if err != nil {
		return nil, c.fail(e, err)
	}
	n.at = at
	return n, nil
}

func (c *compiler) compileNode(e ast.ExprNode) (*node, error) {
	switch e := e.(type) {
	case *ast.ParenthesesExpr:
		return c.compile(e.Expr)
	case ast.ValueExpr:
		return literal(e)
	case *ast.ColumnNameExpr:
		return c.column(e.Name.Name.O)
	case *ast.UnaryOperationExpr:
		return c.unary(e)
	case *ast.BinaryOperationExpr:
		return c.binary(e)
	case *ast.BetweenExpr:
		return c.between(e)
	case *ast.PatternInExpr:
		return c.in(e)
	case *ast.PatternLikeOrIlikeExpr:
		return c.like(e)
	case *ast.PatternRegexpExpr:
		return c.regexp(e)
	case *ast.IsNullExpr:
		return c.isNull(e)
	case *ast.IsTruthExpr:
		return c.isTruth(e)
	case *ast.CaseExpr:
		return c.caseWhen(e)
	case *ast.SetCollationExpr:
		return c.collate(e)
	case *ast.FuncCastExpr:
		return c.cast(e)
	case *ast.FuncCallExpr:
		return c.call(e)
	}
	return nil, errors.New("this cannot be evaluated here")
}

// all compiles several parts; those that are no expressions, such as the unit of
// an interval, become nil.
func (c *compiler) all(list []ast.ExprNode) ([]*node, error) {
	out := make([]*node, len(list))
	for i, e := range list {
		switch e.(type) {
		case *ast.TimeUnitExpr, *ast.TrimDirectionExpr:
			continue
		}
		var err error
		if out[i], err = c.compile(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// literal reads a literal. The parser's value is of a type of whoever has set it
// up, so that decimals and bytes are known by what they can do.
func literal(e ast.ValueExpr) (*node, error) {
	var n *node
	switch v := e.GetValue().(type) {
	case nil:
		return newNull(), nil
	case int64:
		return constantInt(v, false), nil
	case uint64:
		return constantInt(int64(v), true), nil
	case float64:
		n = newReal(func(*machine) (float64, bool) { return v, true })
	case string:
		n = newString(textCollation, coercible, func(*machine) (string, bool) { return v, true })
		if t := e.GetType().GetCharset(); t == "binary" {
			n.collation = binaryCollation
		} else if t != "" && t != "utf8mb4" && t != "utf8" {
			return nil, fmt.Errorf("a string in character set %s cannot be evaluated here", t)
		}
	case []byte:
		return binaryLiteral(string(v)), nil
	case fmt.Stringer:
		if b, ok := v.(interface{ ToString() string }); ok { // a hexadecimal or binary literal
			return binaryLiteral(b.ToString()), nil
		}
		d, ok := parseDecimal(v.String())
		if !ok || d.digits() > 65 || d.scale > maxScale {
			return nil, errRange
		}
		n = newDecimal(int(d.scale), func(*machine) (decimal, bool) { return d, true })
	default:
		return nil, errors.New("a literal of this kind cannot be evaluated here")
	}
	n.constant = true
	return n, nil
}

func binaryLiteral(s string) *node {
	n := newString(binaryCollation, coercible, func(*machine) (string, bool) { return s, true })
	n.constant, n.binaryLiteral = true, true
	return n
}

// column finds a column. A virtual generated one, whose value no row holds,
// becomes its expression.
func (c *compiler) column(name string) (*node, error) {
	if i := c.table.ColumnOffset(name); i >= 0 {
		n, _ := column(&c.table.Columns[i], i, c.zone)
		return n, nil
	}
	for i := range c.table.VirtualColumns {
		if info := &c.table.VirtualColumns[i]; strings.EqualFold(info.Name, name) {
			return c.virtualColumn(info)
		}
	}
	return nil, fmt.Errorf("%w %s", ErrUnknownColumn, name)
}

// virtualColumn compiles the expression of a generated column, converted to the
// column's type.
func (c *compiler) virtualColumn(info *event.ColumnInfo) (*node, error) {
	if slices.Contains(c.virtual, info.Name) || len(c.virtual) > 20 {
		return nil, fmt.Errorf("generated column %s depends on itself", info.Name)
	}
	e, err := Parse(info.GeneratedExpr)
	if err == nil {
		inner := &compiler{e: e, table: c.table, zone: c.zone, virtual: append(slices.Clone(c.virtual), info.Name)}
		var n *node
		if n, err = inner.compile(e.root); err == nil {
			if n, err = stored(n, info); err == nil {
				return n, nil
			}
		}
	}
	// What is wrong has a place in another text.
	return nil, fmt.Errorf("virtual generated column %s AS (%s): %w", info.Name, info.GeneratedExpr, withoutPlace(err))
}

// withoutPlace is an error that is no *Error, so that it gets another place.
func withoutPlace(err error) error { return errors.New(err.Error()) }

// stored converts a generated value to the type of its column, where the value
// fits it for certain.
func stored(n *node, info *event.ColumnInfo) (*node, error) {
	like, what := column(info, 0, nil)
	if what != "" || like.hybrid() || info.Type == event.TypeYear || info.Type == event.TypeFloat || n.unusable() ||
		info.Type == event.TypeDouble && info.Decimal >= 0 {
		return nil, errors.New("a column of this type cannot be computed here")
	}
	out := n
	var err error
	switch {
	case like.kind == kindDecimal:
		if out, err = n.asDecimal(); err != nil {
			return nil, err
		}
		out = rescaled(out, info.Decimal)
	case like.kind == n.kind && (like.kind != kindTime || like.tp == n.tp && like.scale >= n.scale):
	case like.kind == kindReal && (n.kind == kindInt || n.kind == kindDecimal):
		out, err = n.asReal()
	case like.kind == kindInt && n.kind == kindDecimal:
		out, err = n.asInt()
	default:
		return nil, fmt.Errorf("%s does not fit its type exactly", n.kind)
	}
	if err != nil {
		return nil, err
	}
	copied := *out
	copied.tp, copied.unsigned, copied.scale, copied.constant, copied.inexactText = like.tp, like.unsigned, like.scale, false, false
	copied.collation, copied.strength, copied.column = like.collation, like.strength, false
	return &copied, nil
}

// rescaled rounds a decimal to a scale.
func rescaled(n *node, scale int) *node {
	f := n.decimals
	out := newDecimal(scale, func(m *machine) (decimal, bool) {
		d, ok := f(m)
		d, fits := d.withScale(scale)
		if !fits {
			m.fail(errRange)
		}
		return d, ok && fits
	})
	out.unsigned = n.unsigned
	return out
}

func (c *compiler) collate(e *ast.SetCollationExpr) (*node, error) {
	n, err := c.compile(e.Expr)
	if err != nil {
		return nil, err
	}
	if n, err = n.asString(); err != nil {
		return nil, err
	}
	chosen, ok := collationByName(strings.ToLower(e.Collate))
	if !ok {
		return nil, fmt.Errorf("collation %s cannot be evaluated exactly here: use utf8mb4_bin, utf8mb4_general_ci or binary", e.Collate)
	}
	if n.collation.binary != chosen.binary && !n.constant {
		return nil, fmt.Errorf("collation %s is not for this character set", e.Collate)
	}
	out := *n
	out.collation, out.strength, out.column = chosen, explicit, false
	return &out, nil
}

func (c *compiler) unary(e *ast.UnaryOperationExpr) (*node, error) {
	n, err := c.compile(e.V)
	if err != nil {
		return nil, err
	}
	switch e.Op {
	case opcode.Plus:
		return n, nil
	case opcode.Minus:
		return negated(n)
	case opcode.Not, opcode.Not2:
		return not(n)
	case opcode.BitNeg:
		return bitwiseNot(n)
	}
	return nil, errors.New("this operator is not known here")
}

func (c *compiler) binary(e *ast.BinaryOperationExpr) (*node, error) {
	a, err := c.compile(e.L)
	if err != nil {
		return nil, err
	}
	b, err := c.compile(e.R)
	if err != nil {
		return nil, err
	}
	switch e.Op {
	case opcode.LogicAnd:
		return and(a, b)
	case opcode.LogicOr:
		return or(a, b)
	case opcode.LogicXor:
		return xor(a, b)
	case opcode.EQ:
		return compare(equal, false, a, b)
	case opcode.NE:
		return compare(notEqual, false, a, b)
	case opcode.LT:
		return compare(less, false, a, b)
	case opcode.LE:
		return compare(lessOrEqual, false, a, b)
	case opcode.GT:
		return compare(greater, false, a, b)
	case opcode.GE:
		return compare(greaterOrEqual, false, a, b)
	case opcode.NullEQ:
		return compare(equal, true, a, b)
	case opcode.Plus:
		return add(a, b)
	case opcode.Minus:
		return subtractNodes(a, b)
	case opcode.Mul:
		return multiply(a, b)
	case opcode.Div:
		return divide(a, b)
	case opcode.Mod:
		return modulo(a, b)
	case opcode.IntDiv:
		return integerDivide(a, b)
	case opcode.And, opcode.Or, opcode.Xor, opcode.LeftShift, opcode.RightShift:
		return bitwise(e.Op, a, b)
	}
	return nil, errors.New("this operator is not known here")
}

func (c *compiler) between(e *ast.BetweenExpr) (*node, error) {
	list, err := c.all([]ast.ExprNode{e.Expr, e.Left, e.Right})
	if err != nil {
		return nil, err
	}
	n, err := between(list[0], list[1], list[2])
	if err != nil || !e.Not {
		return n, err
	}
	return not(n)
}

func (c *compiler) isNull(e *ast.IsNullExpr) (*node, error) {
	n, err := c.compile(e.Expr)
	if err != nil {
		return nil, err
	}
	return isNull(n, e.Not)
}

// isNull compiles IS NULL and IS NOT NULL. It may be asked of any column.
func isNull(n *node, negate bool) (*node, error) {
	present := n.present()
	if n.unusable() {
		f := n.strings
		present = func(m *machine) bool { _, ok := f(m); return ok }
	}
	return fold(newInt(func(m *machine) (int64, bool) { return truth(present(m) == negate), true }), n)
}

func (c *compiler) isTruth(e *ast.IsTruthExpr) (*node, error) {
	n, err := c.compile(e.Expr)
	if err != nil {
		return nil, err
	}
	t, err := n.asTruth()
	if err != nil {
		return nil, err
	}
	f, want, negate := t.ints, e.True, e.Not
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		return truth((ok && v == want) != negate), true
	}), t)
}

func (c *compiler) in(e *ast.PatternInExpr) (*node, error) {
	n, err := c.compile(e.Expr)
	if err != nil {
		return nil, err
	}
	list, err := c.all(e.List)
	if err != nil {
		return nil, err
	}
	out, err := in(n, list)
	if err != nil || !e.Not {
		return out, err
	}
	return not(out)
}

// in compiles IN: is any of a list equal? A long list of literals becomes a set.
func in(n *node, list []*node) (*node, error) {
	if n.kind == kindString && !n.hybrid() {
		// One collation for all, not one for each.
		c, _, err := collationOf(append([]*node{n}, list...)...)
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			if v.kind == kindString {
				if pair, _, err := collationOf(n, v); err != nil || pair.name != c.name {
					return nil, errCollation
				}
			}
		}
		if set := stringSet(n, list, c); set != nil {
			return fold(set, n)
		}
	}
	if set := intSet(n, list); set != nil {
		return fold(set, n)
	}
	var equals []func(*machine) (int64, bool)
	args := []*node{n}
	for _, v := range list {
		eq, err := compare(equal, false, n, v)
		if err != nil {
			return nil, err
		}
		equals, args = append(equals, eq.ints), append(args, v)
	}
	return fold(newInt(func(m *machine) (int64, bool) {
		known := true
		for _, eq := range equals {
			v, ok := eq(m)
			if ok && v != 0 {
				return 1, true
			}
			known = known && ok
		}
		return 0, known
	}), args...)
}

// leastSet is how long a list is at least that becomes a set.
const leastSet = 4

// intSet is a set of signed integers, nil if the list is something else.
func intSet(n *node, list []*node) *node {
	if n.kind != kindInt || n.tp == event.TypeYear || n.tp == event.TypeBit || len(list) < leastSet {
		return nil
	}
	set := make(map[int64]struct{}, len(list))
	null := false
	for _, v := range list {
		switch {
		case v.kind == kindNull:
			null = true
		case v.kind != kindInt || !v.constant || v.isNull():
			return nil
		default:
			i, _ := v.ints(nil)
			if v.unsigned != n.unsigned && i < 0 {
				continue // nothing of the other sign is equal
			}
			set[i] = struct{}{}
		}
	}
	f := n.ints
	return newInt(func(m *machine) (int64, bool) {
		i, ok := f(m)
		_, in := set[i]
		return truth(in), ok && (in || !null)
	})
}

// stringSet is the same for strings that compare by their bytes.
func stringSet(n *node, list []*node, c collation) *node {
	if c.weight != nil || len(list) < leastSet {
		return nil
	}
	set := make(map[string]struct{}, len(list))
	null := false
	for _, v := range list {
		switch {
		case v.kind == kindNull:
			null = true
		case v.kind != kindString || !v.constant || v.isNull():
			return nil
		default:
			s, _ := v.strings(nil)
			set[c.trim(s)] = struct{}{}
		}
	}
	f := n.strings
	return newInt(func(m *machine) (int64, bool) {
		s, ok := f(m)
		_, in := set[c.trim(s)]
		return truth(in), ok && (in || !null)
	})
}

// smallInt is the value of a constant integer that stands as an argument.
func smallInt(n *node) (int, bool) {
	if n == nil || n.kind != kindInt || !n.constant || n.isNull() {
		return 0, false
	}
	v, _ := n.ints(nil)
	return int(v), math.MinInt32 <= v && v <= math.MaxInt32
}
