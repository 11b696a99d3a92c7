package expression

import (
	"fmt"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

// function is a function that is known.
type function struct {
	least, most int // arguments; most is -1 for any number
	build       func(c *compiler, call *ast.FuncCallExpr, args []*node) (*node, error)
}

// simple is a function of its arguments alone.
func simple(least, most int, build func(args []*node) (*node, error)) function {
	return function{least, most, func(_ *compiler, _ *ast.FuncCallExpr, args []*node) (*node, error) { return build(args) }}
}

// functions are those that are known, by name.
var functions = map[string]function{
	"if":       simple(3, 3, func(a []*node) (*node, error) { return choose(a[:1], a[1:]) }),
	"ifnull":   simple(2, 2, coalesce),
	"coalesce": simple(1, -1, coalesce),
	"nullif":   simple(2, 2, func(a []*node) (*node, error) { return nullIf(a[0], a[1]) }),
	"isnull":   simple(1, 1, func(a []*node) (*node, error) { return isNull(a[0], false) }),
	"greatest": simple(2, -1, func(a []*node) (*node, error) { return extremum(greater, a) }),
	"least":    simple(2, -1, func(a []*node) (*node, error) { return extremum(less, a) }),

	"mod":         simple(2, 2, func(a []*node) (*node, error) { return modulo(a[0], a[1]) }),
	"regexp_like": simple(2, 2, func(a []*node) (*node, error) { return matchesRegexp(a[0], a[1]) }),
	"strcmp":      simple(2, 2, strcmp),

	"length":           simple(1, 1, octetLength),
	"octet_length":     simple(1, 1, octetLength),
	"char_length":      simple(1, 1, charLength),
	"character_length": simple(1, 1, charLength),
	"bit_length":       simple(1, 1, bitLength),
	"ascii":            simple(1, 1, ascii),
	"lower":            simple(1, 1, lower),
	"lcase":            simple(1, 1, lower),
	"upper":            simple(1, 1, upper),
	"ucase":            simple(1, 1, upper),
	"reverse":          simple(1, 1, reverse),
	"hex":              simple(1, 1, hexText),
	"left":             simple(2, 2, left),
	"right":            simple(2, 2, right),
	"substring":        simple(2, 3, substring),
	"substr":           simple(2, 3, substring),
	"mid":              simple(3, 3, substring),
	"substring_index":  simple(3, 3, substringIndex),
	"concat":           simple(1, -1, concat),
	"concat_ws":        simple(2, -1, concatWS),
	"replace":          simple(3, 3, replace),
	"lpad":             simple(3, 3, func(a []*node) (*node, error) { return pad(a, true) }),
	"rpad":             simple(3, 3, func(a []*node) (*node, error) { return pad(a, false) }),
	"locate":           simple(2, 2, func(a []*node) (*node, error) { return locate(a[0], a[1]) }),
	"position":         simple(2, 2, func(a []*node) (*node, error) { return locate(a[0], a[1]) }),
	"instr":            simple(2, 2, instr),
	"find_in_set":      simple(2, 2, findInSet),
	"field":            simple(2, -1, field),
	"ltrim":            simple(1, 1, func(a []*node) (*node, error) { return trimmed(a[0], nil, trimLeft) }),
	"rtrim":            simple(1, 1, func(a []*node) (*node, error) { return trimmed(a[0], nil, trimRight) }),
	"trim":             {1, 3, trim},

	"abs":      simple(1, 1, abs),
	"sign":     simple(1, 1, sign),
	"ceil":     simple(1, 1, func(a []*node) (*node, error) { return toWhole(a[0], true) }),
	"ceiling":  simple(1, 1, func(a []*node) (*node, error) { return toWhole(a[0], true) }),
	"floor":    simple(1, 1, func(a []*node) (*node, error) { return toWhole(a[0], false) }),
	"round":    simple(1, 2, func(a []*node) (*node, error) { return rounded(a, true) }),
	"truncate": simple(2, 2, func(a []*node) (*node, error) { return rounded(a, false) }),
	"sqrt":     simple(1, 1, squareRoot),
	"pow":      simple(2, 2, power),
	"power":    simple(2, 2, power),
	"crc32":    simple(1, 1, checksum),

	"year":           simple(1, 1, ofDate(func(p packedTime) (int64, bool) { return int64(p.fields().Year), true })),
	"quarter":        simple(1, 1, ofDate(func(p packedTime) (int64, bool) { return int64(p.fields().Month+2) / 3, true })),
	"month":          simple(1, 1, ofDate(func(p packedTime) (int64, bool) { return int64(p.fields().Month), true })),
	"day":            simple(1, 1, ofDate(func(p packedTime) (int64, bool) { return int64(p.fields().Day), true })),
	"dayofmonth":     simple(1, 1, ofDate(func(p packedTime) (int64, bool) { return int64(p.fields().Day), true })),
	"dayofweek":      simple(1, 1, ofDate(dayOfWeek)),
	"weekday":        simple(1, 1, ofDate(weekday)),
	"dayofyear":      simple(1, 1, ofDate(dayOfYear)),
	"to_days":        simple(1, 1, ofDate(toDays)),
	"last_day":       simple(1, 1, lastDay),
	"date":           simple(1, 1, dateOf),
	"datediff":       simple(2, 2, dateDiff),
	"hour":           simple(1, 1, ofClock(hours)),
	"minute":         simple(1, 1, ofClock(minutes)),
	"second":         simple(1, 1, ofClock(seconds)),
	"microsecond":    simple(1, 1, ofClock(microseconds)),
	"date_format":    simple(2, 2, dateFormat),
	"unix_timestamp": {1, 1, unixTimestamp},
	"date_add":       {3, 3, func(_ *compiler, call *ast.FuncCallExpr, args []*node) (*node, error) { return dateAdd(call, args, 1) }},
	"adddate":        {3, 3, func(_ *compiler, call *ast.FuncCallExpr, args []*node) (*node, error) { return dateAdd(call, args, 1) }},
	"date_sub":       {3, 3, func(_ *compiler, call *ast.FuncCallExpr, args []*node) (*node, error) { return dateAdd(call, args, -1) }},
	"subdate":        {3, 3, func(_ *compiler, call *ast.FuncCallExpr, args []*node) (*node, error) { return dateAdd(call, args, -1) }},
	"timestampdiff":  {3, 3, timestampDiff},
	"extract":        {2, 2, extract},

	// compiler.call knows JSON_UNQUOTE(JSON_EXTRACT(…)).
	ast.JSONUnquote: simple(1, 1, func([]*node) (*node, error) { return nil, errJSONPath }),
	ast.JSONExtract: simple(2, 2, func([]*node) (*node, error) { return nil, errJSONPath }),

	ast.DateLiteral:      simple(1, 1, dateLiteral),
	ast.TimestampLiteral: simple(1, 1, timestampLiteral),
	ast.TimeLiteral:      simple(1, 1, timeLiteral),
}

// call compiles a function.
func (c *compiler) call(e *ast.FuncCallExpr) (*node, error) {
	f, ok := functions[e.FnName.L]
	if !ok {
		return nil, fmt.Errorf("function %s is not known here", e.FnName.O)
	}
	if e.FnName.L == ast.JSONUnquote {
		return c.jsonText(e)
	}
	args, err := c.all(e.Args)
	if err != nil {
		return nil, err
	}
	for i, n := range args {
		if n != nil && n.unusable() && e.FnName.L != "isnull" {
			return nil, c.fail(e.Args[i], errJSONValue)
		}
	}
	n, err := f.build(c, e, args)
	if err != nil {
		return nil, c.fail(e, err)
	}
	return n, nil
}

// texts converts to strings.
func texts(args []*node) ([]*node, error) {
	out := make([]*node, len(args))
	for i, n := range args {
		var err error
		if out[i], err = n.asString(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// resultCollation is the collation of a string that is made of others.
func resultCollation(args ...*node) (collation, strength, error) {
	c, s, ok := sharedCollation(args...)
	if !ok {
		return c, s, errCollation
	}
	if s >= numeric {
		return textCollation, coercible, nil
	}
	return c, s, nil
}
