package expression

import (
	"errors"
	"hash/crc32"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

// ofText compiles a function of one string to an integer.
func ofText(n *node, f func(string) int64) (*node, error) {
	s, err := n.asString()
	if err != nil {
		return nil, err
	}
	get := s.strings
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := get(m)
		return f(v), ok
	}), s)
}

func octetLength(a []*node) (*node, error) {
	return ofText(a[0], func(s string) int64 { return int64(len(s)) })
}

func bitLength(a []*node) (*node, error) {
	return ofText(a[0], func(s string) int64 { return 8 * int64(len(s)) })
}

func charLength(a []*node) (*node, error) {
	if a[0].kind != kindString {
		return octetLength(a)
	}
	c := a[0].collation
	return ofText(a[0], c.count)
}

func ascii(a []*node) (*node, error) {
	return ofText(a[0], func(s string) int64 {
		if s == "" {
			return 0
		}
		return int64(s[0])
	})
}

func checksum(a []*node) (*node, error) {
	n, err := ofText(a[0], func(s string) int64 {
		return int64(crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(s), len(s))))
	})
	if err == nil {
		n.unsigned = true
	}
	return n, err
}

// toText compiles a function of one string to another, which f appends to the
// machine's buffer.
func toText(n *node, f func(dst []byte, s string) []byte) (*node, error) {
	s, err := n.asString()
	if err != nil {
		return nil, err
	}
	c, st, err := resultCollation(s)
	if err != nil {
		return nil, err
	}
	get := s.strings
	return fold(newString(c, st, func(m *machine) (string, bool) {
		v, ok := get(m)
		if !ok {
			return "", false
		}
		start := len(m.buf)
		m.buf = f(m.buf, v)
		return m.made(start), true
	}), s)
}

func lower(a []*node) (*node, error) { return mapped(a[0], unicode.ToLower) }
func upper(a []*node) (*node, error) { return mapped(a[0], unicode.ToUpper) }

// mapped maps the characters of text; bytes stay as they are.
func mapped(n *node, to func(rune) rune) (*node, error) {
	if n.kind == kindString && n.collation.binary {
		return withKind(n), nil
	}
	return toText(n, func(dst []byte, s string) []byte {
		for _, r := range s {
			dst = utf8.AppendRune(dst, to(r))
		}
		return dst
	})
}

func reverse(a []*node) (*node, error) {
	binary := a[0].kind == kindString && a[0].collation.binary
	return toText(a[0], func(dst []byte, s string) []byte {
		for len(s) > 0 {
			size := 1
			if !binary {
				_, size = utf8.DecodeLastRuneInString(s)
			}
			dst = append(dst, s[len(s)-size:]...)
			s = s[:len(s)-size]
		}
		return dst
	})
}

func hexText(a []*node) (*node, error) {
	const digits = "0123456789ABCDEF"
	n := a[0]
	if n.kind == kindString || n.temporal() {
		out, err := toText(n, func(dst []byte, s string) []byte {
			for i := range len(s) {
				dst = append(dst, digits[s[i]>>4], digits[s[i]&15])
			}
			return dst
		})
		if err != nil {
			return nil, err
		}
		out.collation, out.strength = textCollation, coercible
		return out, nil
	}
	i, err := n.asInt()
	if err != nil {
		return nil, err
	}
	get := i.ints
	return fold(newString(textCollation, coercible, func(m *machine) (string, bool) {
		v, ok := get(m)
		start, u := len(m.buf), uint64(v)
		shift := 60
		for shift > 0 && u>>shift == 0 {
			shift -= 4
		}
		for ; shift >= 0; shift -= 4 {
			m.buf = append(m.buf, digits[u>>shift&15])
		}
		return m.made(start), ok
	}), i)
}

// part compiles a function that takes a part of a string: cut gets the string
// and the integers of the other arguments.
func part(a []*node, cut func(c *collation, s string, x, y int64) string) (*node, error) {
	s, err := a[0].asString()
	if err != nil {
		return nil, err
	}
	coll, st, err := resultCollation(s)
	if err != nil {
		return nil, err
	}
	var ints [2]func(*machine) (int64, bool)
	args := []*node{s}
	for i := range ints {
		ints[i] = func(*machine) (int64, bool) { return 0, true }
		if i+1 < len(a) {
			n, err := a[i+1].asInt()
			if err != nil {
				return nil, err
			}
			ints[i], args = n.ints, append(args, n)
		}
	}
	get, x, y := s.strings, ints[0], ints[1]
	return fold(newString(coll, st, func(m *machine) (string, bool) {
		v, ok := get(m)
		if !ok {
			return "", false
		}
		i, ok := x(m)
		if !ok {
			return "", false
		}
		j, ok := y(m)
		return cut(&coll, v, i, j), ok
	}), args...)
}

func left(a []*node) (*node, error) {
	return part(a, func(c *collation, s string, n, _ int64) string { return s[:c.runeOffset(s, max(n, 0))] })
}

func right(a []*node) (*node, error) {
	return part(a, func(c *collation, s string, n, _ int64) string {
		return s[c.runeOffset(s, max(c.count(s)-max(n, 0), 0)):]
	})
}

// substring compiles SUBSTRING: positions count from 1, negative ones from the end.
func substring(a []*node) (*node, error) {
	bounded := len(a) == 3
	return part(a, func(c *collation, s string, pos, length int64) string {
		n := c.count(s)
		if pos < 0 {
			pos += n
		} else {
			pos--
		}
		if pos < 0 || pos > n {
			pos = n
		}
		s = s[c.runeOffset(s, pos):]
		switch {
		case !bounded || length > n:
			return s
		case length <= 0:
			return ""
		}
		return s[:c.runeOffset(s, length)]
	})
}

// substringIndex compiles SUBSTRING_INDEX: what stands before the n-th delimiter,
// or behind the n-th from the end.
func substringIndex(a []*node) (*node, error) {
	s, err := texts(a[:2])
	if err != nil {
		return nil, err
	}
	count, ok := smallInt(a[2])
	if !ok {
		return nil, errConstant
	}
	coll, st, err := resultCollation(s[0])
	if err != nil {
		return nil, err
	}
	f, g := s[0].strings, s[1].strings
	return fold(newString(coll, st, func(m *machine) (string, bool) {
		v, ok := f(m)
		if !ok {
			return "", false
		}
		delimiter, ok := g(m)
		return cutAt(v, delimiter, count), ok
	}), s...)
}

func cutAt(s, delimiter string, count int) string {
	if delimiter == "" || count == 0 {
		return ""
	}
	if count > 0 {
		at := 0
		for range count {
			i := strings.Index(s[at:], delimiter)
			if i < 0 {
				return s
			}
			at += i + len(delimiter)
		}
		return s[:at-len(delimiter)]
	}
	// Delimiters are counted from the left, so that those that overlap are the same.
	skip := strings.Count(s, delimiter) + 1 + count
	for ; skip > 0; skip-- {
		s = s[strings.Index(s, delimiter)+len(delimiter):]
	}
	return s
}

func concat(a []*node) (*node, error) {
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	c, st, err := resultCollation(s...)
	if err != nil {
		return nil, err
	}
	list := functionsOf(s, func(n *node) func(*machine) (string, bool) { return n.strings })
	values := len(list)
	return fold(newString(c, st, func(m *machine) (string, bool) {
		// An argument may append to the buffer too, so that all come first.
		var few [8]string
		parts := few[:0]
		if values > len(few) {
			parts = make([]string, 0, values)
		}
		for _, f := range list {
			v, ok := f(m)
			if !ok {
				return "", false
			}
			parts = append(parts, v)
		}
		start := len(m.buf)
		for _, v := range parts {
			m.buf = append(m.buf, v...)
		}
		return m.made(start), true
	}), s...)
}

// concatWS compiles CONCAT_WS, which leaves out NULL.
func concatWS(a []*node) (*node, error) {
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	c, st, err := resultCollation(s...)
	if err != nil {
		return nil, err
	}
	list := functionsOf(s, func(n *node) func(*machine) (string, bool) { return n.strings })
	values := len(list)
	return fold(newString(c, st, func(m *machine) (string, bool) {
		var few [8]string
		parts := few[:0]
		if values > len(few) {
			parts = make([]string, 0, values)
		}
		for i, f := range list {
			v, ok := f(m)
			if i == 0 && !ok {
				return "", false
			}
			if ok {
				parts = append(parts, v)
			}
		}
		start := len(m.buf)
		for i, v := range parts[1:] {
			if i > 0 {
				m.buf = append(m.buf, parts[0]...)
			}
			m.buf = append(m.buf, v...)
		}
		return m.made(start), true
	}), s...)
}

// replace compiles REPLACE, which compares bytes whatever the collation.
func replace(a []*node) (*node, error) {
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	c, st, err := resultCollation(s[0])
	if err != nil {
		return nil, err
	}
	f, g, h := s[0].strings, s[1].strings, s[2].strings
	return fold(newString(c, st, func(m *machine) (string, bool) {
		v, ok := f(m)
		if !ok {
			return "", false
		}
		old, ok := g(m)
		if !ok {
			return "", false
		}
		by, ok := h(m)
		if !ok || old == "" {
			return v, ok
		}
		start := len(m.buf)
		for {
			i := strings.Index(v, old)
			if i < 0 {
				break
			}
			m.buf = append(append(m.buf, v[:i]...), by...)
			v = v[i+len(old):]
		}
		m.buf = append(m.buf, v...)
		return m.made(start), true
	}), s...)
}

// maxPad is how long LPAD and RPAD may make a string, in characters.
const maxPad = 1 << 12

func pad(a []*node, front bool) (*node, error) {
	length, ok := smallInt(a[1])
	if !ok || length < 0 || length > maxPad {
		return nil, errors.New("the length must be a literal, at most 4096")
	}
	s, err := texts([]*node{a[0], a[2]})
	if err != nil {
		return nil, err
	}
	c, st, err := resultCollation(s...)
	if err != nil {
		return nil, err
	}
	f, g := s[0].strings, s[1].strings
	return fold(newString(c, st, func(m *machine) (string, bool) {
		v, ok := f(m)
		if !ok {
			return "", false
		}
		filler, ok := g(m)
		missing := int64(length) - c.count(v)
		switch {
		case !ok || missing > 0 && filler == "":
			return "", false
		case missing <= 0:
			return v[:c.runeOffset(v, int64(length))], true
		}
		start, n := len(m.buf), c.count(filler)
		if !front {
			m.buf = append(m.buf, v...)
		}
		for ; missing > 0; missing -= n {
			m.buf = append(m.buf, filler[:c.runeOffset(filler, missing)]...)
		}
		if front {
			m.buf = append(m.buf, v...)
		}
		return m.made(start), true
	}), s...)
}

type trimSide uint8

const (
	trimLeft trimSide = 1 << iota
	trimRight
)

// trim compiles TRIM([[BOTH|LEADING|TRAILING] x FROM] s).
func trim(_ *compiler, call *ast.FuncCallExpr, args []*node) (*node, error) {
	side := trimLeft | trimRight
	if len(args) == 3 {
		if d, ok := call.Args[2].(*ast.TrimDirectionExpr); ok {
			switch d.Direction {
			case ast.TrimLeading:
				side = trimLeft
			case ast.TrimTrailing:
				side = trimRight
			}
		}
	}
	var what *node
	if len(args) > 1 {
		what = args[1]
	}
	return trimmed(args[0], what, side)
}

// trimmed takes repetitions of what, or spaces, off a string.
func trimmed(n, what *node, side trimSide) (*node, error) {
	if what == nil {
		what = newString(textCollation, coercible, func(*machine) (string, bool) { return " ", true })
		what.constant = true
	}
	s, err := texts([]*node{n, what})
	if err != nil {
		return nil, err
	}
	c, st, err := resultCollation(s[0])
	if err != nil {
		return nil, err
	}
	f, g := s[0].strings, s[1].strings
	return fold(newString(c, st, func(m *machine) (string, bool) {
		v, ok := f(m)
		if !ok {
			return "", false
		}
		cut, ok := g(m)
		for ok && side&trimLeft != 0 && cut != "" && strings.HasPrefix(v, cut) {
			v = v[len(cut):]
		}
		for ok && side&trimRight != 0 && cut != "" && strings.HasSuffix(v, cut) {
			v = v[:len(v)-len(cut)]
		}
		return v, ok
	}), s...)
}
