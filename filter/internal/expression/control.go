package expression

import (
	"time"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func (c *compiler) caseWhen(e *ast.CaseExpr) (*node, error) {
	var value *node
	var err error
	if e.Value != nil {
		if value, err = c.compile(e.Value); err != nil {
			return nil, err
		}
	}
	conditions := make([]*node, len(e.WhenClauses))
	results := make([]*node, 0, len(e.WhenClauses)+1)
	for i, w := range e.WhenClauses {
		when, err := c.compile(w.Expr)
		if err != nil {
			return nil, err
		}
		if value != nil {
			if when, err = compare(equal, false, value, when); err != nil {
				return nil, c.fail(w.Expr, err)
			}
		}
		conditions[i] = when
		then, err := c.compile(w.Result)
		if err != nil {
			return nil, err
		}
		results = append(results, then)
	}
	if e.ElseClause != nil {
		otherwise, err := c.compile(e.ElseClause)
		if err != nil {
			return nil, err
		}
		results = append(results, otherwise)
	} else {
		results = append(results, newNull())
	}
	return choose(conditions, results)
}

// choose compiles the result of the first condition that is true, else the last result.
func choose(conditions, results []*node) (*node, error) {
	args := append([]*node{}, conditions...)
	when := make([]func(*machine) (int64, bool), len(conditions))
	for i, n := range conditions {
		t, err := n.asTruth()
		if err != nil {
			return nil, err
		}
		when[i] = t.ints
	}
	pick := func(m *machine) int {
		for i, f := range when {
			if v, ok := f(m); ok && v != 0 {
				return i
			}
		}
		return len(when)
	}
	out, results, err := unify(results)
	if err != nil || out.kind == kindNull {
		return out, err
	}
	switch out.kind {
	case kindInt:
		out.ints = picking(pick, functionsOf(results, func(n *node) func(*machine) (int64, bool) { return n.ints }))
	case kindReal:
		out.reals = picking(pick, functionsOf(results, func(n *node) func(*machine) (float64, bool) { return n.reals }))
	case kindDecimal:
		out.decimals = picking(pick, functionsOf(results, func(n *node) func(*machine) (decimal, bool) { return n.decimals }))
	case kindString:
		out.strings = picking(pick, functionsOf(results, func(n *node) func(*machine) (string, bool) { return n.strings }))
	case kindTime:
		out.times = picking(pick, functionsOf(results, func(n *node) func(*machine) (packedTime, bool) { return n.times }))
	case kindDuration:
		out.durations = picking(pick, functionsOf(results, func(n *node) func(*machine) (time.Duration, bool) { return n.durations }))
	}
	return fold(out, append(args, results...)...)
}

func functionsOf[T any](nodes []*node, function func(*node) func(*machine) (T, bool)) []func(*machine) (T, bool) {
	out := make([]func(*machine) (T, bool), len(nodes))
	for i, n := range nodes {
		out[i] = function(n)
	}
	return out
}

func picking[T any](pick func(*machine) int, list []func(*machine) (T, bool)) func(*machine) (T, bool) {
	return func(m *machine) (T, bool) { return list[pick(m)](m) }
}

// coalesce compiles the first result that is not NULL.
func coalesce(results []*node) (*node, error) {
	out, results, err := unify(results)
	if err != nil || out.kind == kindNull {
		return out, err
	}
	switch out.kind {
	case kindInt:
		out.ints = first(functionsOf(results, func(n *node) func(*machine) (int64, bool) { return n.ints }))
	case kindReal:
		out.reals = first(functionsOf(results, func(n *node) func(*machine) (float64, bool) { return n.reals }))
	case kindDecimal:
		out.decimals = first(functionsOf(results, func(n *node) func(*machine) (decimal, bool) { return n.decimals }))
	case kindString:
		out.strings = first(functionsOf(results, func(n *node) func(*machine) (string, bool) { return n.strings }))
	case kindTime:
		out.times = first(functionsOf(results, func(n *node) func(*machine) (packedTime, bool) { return n.times }))
	case kindDuration:
		out.durations = first(functionsOf(results, func(n *node) func(*machine) (time.Duration, bool) { return n.durations }))
	}
	return fold(out, results...)
}

func first[T any](list []func(*machine) (T, bool)) func(*machine) (T, bool) {
	return func(m *machine) (T, bool) {
		for _, f := range list {
			if v, ok := f(m); ok {
				return v, true
			}
		}
		var none T
		return none, false
	}
}

// unify finds the type that results of different types have in common, and
// converts them to it. The node that it returns lacks its function.
func unify(results []*node) (*node, []*node, error) {
	var known []*node
	for _, n := range results {
		switch {
		case n.unusable():
			return nil, nil, errJSONValue
		case n.kind != kindNull:
			known = append(known, n)
		}
	}
	if len(known) == 0 {
		return newNull(), nil, nil
	}
	out, err := commonType(known)
	if err != nil {
		return nil, nil, err
	}
	if out.kind == kindString {
		// NULL takes part in choosing the collation, and loses.
		var ok bool
		if out.collation, out.strength, ok = sharedCollation(results...); !ok {
			return nil, nil, errCollation
		}
		if out.strength >= numeric {
			out.collation, out.strength = textCollation, coercible
		}
	}
	converted := make([]*node, len(results))
	for i, n := range results {
		if converted[i], err = n.as(out.kind); err != nil {
			return nil, nil, err
		}
	}
	return out, converted, nil
}

// commonType is the type of IF, CASE and COALESCE over results that are not NULL.
func commonType(known []*node) (*node, error) {
	a := known[0]
	out := &node{kind: a.kind, tp: a.tp, unsigned: a.unsigned, scale: a.scale, strength: numeric, collation: binaryCollation}
	for i, n := range known {
		out.textOnly = out.textOnly || n.textOnly
		switch {
		case n.tp == event.TypeBit || n.binaryLiteral:
			return nil, errMixedResults
		case n.hybrid():
			// As a number it would be its ordinal, as a result of a function its name.
			out.textOnly = true
		case n.inexactText || n.tp == event.TypeFloat || n.tp == event.TypeYear || n.kind == kindDecimal && n.scale != a.scale:
			out.inexactText = true
		}
		if i == 0 {
			continue
		}
		kindBefore := out.kind
		switch {
		case n.kind == kindTime && out.kind == kindTime:
			if n.tp != out.tp {
				out.tp = event.TypeDatetime
			}
		case n.kind == kindDuration && out.kind == kindDuration:
		case n.stringKind() || out.stringKind():
			if n.temporal() && out.temporal() {
				return nil, errMixedResults
			}
			out.kind, out.tp = kindString, event.TypeVarString
		case n.kind == kindReal || out.kind == kindReal:
			out.kind, out.tp = kindReal, event.TypeDouble
		case n.kind == kindDecimal || out.kind == kindDecimal || mixedBigint(out, n):
			out.kind, out.tp = kindDecimal, event.TypeNewDecimal
		default:
			out.tp = widerInt(out.tp, n.tp)
		}
		out.unsure = out.unsure || n.unsure || out.kind == kindDecimal && (n.scale != out.scale || n.kind != kindBefore)
		if out.kind == kindDecimal && (kindBefore != kindDecimal || n.kind != kindDecimal) {
			out.inexactText = true
		}
		out.unsigned = out.unsigned && n.unsigned
		out.scale = max(out.scale, n.scale)
	}
	for _, n := range known {
		out.rounded = out.rounded || n.rounded
		if out.kind == kindDecimal && n.kind == kindDecimal && n.inexactText && len(known) > 1 {
			return nil, errDigits
		}
	}
	if out.kind == kindString {
		out.tp, out.scale = event.TypeVarString, -1
	}
	if out.kind == kindInt && out.tp == event.TypeYear {
		out.tp = event.TypeLong
	}
	return out, nil
}

// mixedBigint reports whether two integers have no integer type in common.
func mixedBigint(a, b *node) bool {
	return a.unsigned != b.unsigned && (a.unsigned && a.tp == event.TypeLonglong || b.unsigned && b.tp == event.TypeLonglong)
}

func widerInt(a, b event.ColumnType) event.ColumnType {
	if a == event.TypeLonglong || b == event.TypeLonglong {
		return event.TypeLonglong
	}
	return event.TypeLong
}

// nullIf compiles NULLIF: NULL if both are equal, else the first.
func nullIf(a, b *node) (*node, error) {
	same, err := compare(equal, false, a, b)
	if err != nil {
		return nil, err
	}
	return choose([]*node{same}, []*node{newNull(), a})
}

// extremum compiles GREATEST and LEAST of operands of one kind.
func extremum(want outcome, list []*node) (*node, error) {
	for _, n := range list {
		switch {
		case n.unusable():
			return nil, errJSONValue
		case n.kind == kindNull:
			return newNull(), nil
		case n.hybrid() || n.tp == event.TypeYear || n.binaryLiteral || n.stringKind() != list[0].stringKind() || n.stringKind() && n.kind != list[0].kind:
			return nil, errMixedResults
		case n.kind == kindInt && n.unsigned: // versions of TiDB differ
			return nil, errMixedResults
		case n.kind == kindTime && n.tp != list[0].tp:
			return nil, errMixedResults
		}
	}
	out, list, err := unify(list)
	if err != nil {
		return nil, err
	}
	if c := out.collation; out.kind == kindString && (c.unknown || c.weight != nil || c.pad) {
		return nil, errTies
	}
	coll := out.collation
	out.inexactText = out.inexactText || out.kind == kindDecimal
	switch out.kind {
	case kindInt:
		out.ints = extreme(want, functionsOf(list, func(n *node) func(*machine) (int64, bool) { return n.ints }), compareOrdered)
	case kindReal:
		out.reals = extreme(want, functionsOf(list, func(n *node) func(*machine) (float64, bool) { return n.reals }), compareOrdered)
	case kindDecimal:
		out.decimals = extreme(want, functionsOf(list, func(n *node) func(*machine) (decimal, bool) { return n.decimals }), compareDecimals)
	case kindString:
		out.strings = extreme(want, functionsOf(list, func(n *node) func(*machine) (string, bool) { return n.strings }), coll.compare)
	case kindTime:
		out.times = extreme(want, functionsOf(list, func(n *node) func(*machine) (packedTime, bool) { return n.times }), compareOrdered)
	case kindDuration:
		out.durations = extreme(want, functionsOf(list, func(n *node) func(*machine) (time.Duration, bool) { return n.durations }), compareOrdered)
	}
	return fold(out, list...)
}

func extreme[T any](want outcome, list []func(*machine) (T, bool), compare func(T, T) int) func(*machine) (T, bool) {
	return func(m *machine) (best T, ok bool) {
		for i, f := range list {
			v, ok := f(m)
			if !ok {
				return best, false
			}
			if i == 0 || want.has(compare(v, best)) != 0 {
				best = v
			}
		}
		return best, true
	}
}
