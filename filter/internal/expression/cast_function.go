package expression

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// cast compiles CAST, CONVERT and BINARY.
func (c *compiler) cast(e *ast.FuncCastExpr) (*node, error) {
	n, err := c.compile(e.Expr)
	if err != nil {
		return nil, err
	}
	if n.unusable() {
		return nil, errJSONValue
	}
	tp := e.Tp
	if tp.IsArray() {
		return nil, errors.New("CAST to this type is not known here")
	}
	switch tp.GetType() {
	case mysql.TypeLonglong:
		return castInt(n, mysql.HasUnsignedFlag(tp.GetFlag()))
	case mysql.TypeNewDecimal:
		return castDecimal(n, tp.GetFlen(), tp.GetDecimal())
	case mysql.TypeDouble:
		if tp.GetDecimal() >= 0 {
			return nil, errors.New("CAST to this type is not known here")
		}
		r, err := n.asReal()
		if err != nil {
			return nil, err
		}
		return withKind(r), nil
	case mysql.TypeString, mysql.TypeVarString, mysql.TypeVarchar:
		return castString(n, tp.GetCharset(), tp.GetFlen())
	case mysql.TypeDate, mysql.TypeDatetime:
		return castTime(n, event.ColumnType(tp.GetType()), max(tp.GetDecimal(), 0))
	case mysql.TypeDuration:
		return castDuration(n, max(tp.GetDecimal(), 0))
	}
	return nil, errors.New("CAST to this type is not known here")
}

// withKind is n without what distinguishes a column from an expression.
func withKind(n *node) *node {
	out := *n
	out.column = false
	return &out
}

func castInt(n *node, unsigned bool) (*node, error) {
	from := *n
	if n.kind == kindReal || n.kind == kindDecimal {
		from.unsigned = unsigned
	}
	i, err := from.asInt()
	if err != nil {
		return nil, err
	}
	out := *i
	out.unsigned, out.tp, out.column, out.binaryLiteral = unsigned, event.TypeLonglong, false, false
	return &out, nil
}

func castDecimal(n *node, precision, scale int) (*node, error) {
	if precision <= 0 {
		precision, scale = 10, 0
	}
	scale = max(scale, 0)
	if precision > 65 || scale > maxScale || scale > precision {
		return nil, fmt.Errorf("DECIMAL(%d,%d) is out of range", precision, scale)
	}
	d, err := n.asDecimal()
	if err != nil {
		return nil, err
	}
	limit := decimal{coef: [decimalWords]uint64{1}}
	limit.mulPow10(precision)
	one := decimalOfInt(-1)
	limit, _ = addDecimals(limit, one) // the largest number, without its point
	f := d.decimals
	out := newDecimal(scale, func(m *machine) (decimal, bool) {
		v, ok := f(m)
		v, fits := v.withScale(scale)
		if !fits || compareCoef(&v.coef, &limit.coef) > 0 {
			v.coef = limit.coef
		}
		return v.normal(), ok
	})
	out.rounded = true
	return fold(out, d)
}

func castString(n *node, charset string, length int) (*node, error) {
	coll := textCollation
	switch strings.ToLower(charset) {
	case "binary":
		coll = binaryCollation
	case "", "utf8mb4":
	default:
		return nil, fmt.Errorf("CAST to character set %s is not known here", charset)
	}
	s, err := n.asString()
	if err != nil {
		return nil, err
	}
	if n.kind == kindString && n.collation.binary && !coll.binary {
		return nil, errors.New("CAST of bytes to text is not known here")
	}
	f := s.strings
	return fold(newString(coll, implicit, func(m *machine) (string, bool) {
		v, ok := f(m)
		if length < 0 {
			return v, ok
		}
		if end := coll.runeOffset(v, int64(length)); end < len(v) {
			return v[:end], ok
		}
		if pad := length - len(v); coll.binary && pad > 0 {
			start := len(m.buf)
			m.buf = append(m.buf, v...)
			for range pad {
				m.buf = append(m.buf, 0)
			}
			return m.made(start), ok
		}
		return v, ok
	}), s)
}

func castTime(n *node, tp event.ColumnType, fsp int) (*node, error) {
	t, err := n.asTime()
	if err != nil {
		return nil, err
	}
	f := t.times
	return fold(newTime(tp, fsp, func(m *machine) (packedTime, bool) {
		p, ok := f(m)
		if tp == event.TypeDate {
			return p.date(), ok
		}
		p, exists := p.round(fsp)
		return p, ok && exists
	}), t)
}

func castDuration(n *node, fsp int) (*node, error) {
	if n.kind == kindTime {
		f := n.times
		return fold(newDuration(fsp, func(m *machine) (d time.Duration, ok bool) {
			p, ok := f(m)
			return roundDuration(p.clock(), fsp), ok
		}), n)
	}
	d, err := n.asDuration()
	if err != nil {
		return nil, err
	}
	f := d.durations
	return fold(newDuration(fsp, func(m *machine) (time.Duration, bool) {
		v, ok := f(m)
		return roundDuration(v, fsp), ok
	}), d)
}
