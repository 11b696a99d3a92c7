package expression

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

func (c *compiler) like(e *ast.PatternLikeOrIlikeExpr) (*node, error) {
	if !e.IsLike {
		return nil, errors.New("ILIKE is not known here: write LIKE with COLLATE utf8mb4_general_ci")
	}
	list, err := c.all([]ast.ExprNode{e.Expr, e.Pattern})
	if err != nil {
		return nil, err
	}
	n, err := like(list[0], list[1], e.Escape)
	if err != nil || !e.Not {
		return n, err
	}
	return not(n)
}

// like compiles LIKE. The collation decides which characters are equal; spaces
// at the end count.
func like(a, b *node, escape byte) (*node, error) {
	coll, _, err := collationOf(a, b)
	if err != nil {
		return nil, err
	}
	s, err := a.asString()
	if err != nil {
		return nil, err
	}
	p, err := b.asString()
	if err != nil {
		return nil, err
	}
	f, g := s.strings, p.strings
	if p.constant && !p.isNull() {
		pattern, _ := g(nil)
		if match := simpleLike(&coll, pattern, escape); match != nil {
			return fold(newInt(func(m *machine) (int64, bool) {
				v, ok := f(m)
				return truth(ok && match(v)), ok
			}), s)
		}
	}
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		if !ok {
			return 0, false
		}
		w, ok := g(m)
		return truth(ok && matchLike(&coll, v, w, escape)), ok
	}), s, p)
}

// simpleLike is the fast way for patterns with no more wildcards than % at the
// ends, if strings compare by their bytes; else nil.
func simpleLike(c *collation, pattern string, escape byte) func(string) bool {
	inner := strings.TrimSuffix(strings.TrimPrefix(pattern, "%"), "%")
	if c.weight != nil || strings.ContainsAny(inner, "%_") || strings.IndexByte(pattern, escape) >= 0 {
		return nil
	}
	switch left, right := strings.HasPrefix(pattern, "%"), strings.HasSuffix(pattern, "%"); {
	case pattern == "%":
		return func(string) bool { return true }
	case left && right:
		return func(s string) bool { return strings.Contains(s, inner) }
	case left:
		return func(s string) bool { return strings.HasSuffix(s, inner) }
	case right:
		return func(s string) bool { return strings.HasPrefix(s, inner) }
	}
	return func(s string) bool { return s == inner }
}

// matchLike matches a string from end to end. On a mismatch it lets the last %
// take one more character, which is enough: an earlier % need never take more
// than it did.
func matchLike(c *collation, s, pattern string, escape byte) bool {
	retry, retryAt := -1, 0 // the pattern behind the last %, and where it was tried
	p, at := 0, 0
	for {
		if p < len(pattern) {
			r, size := c.next(pattern[p:])
			literal := false
			if r == rune(escape) {
				literal = true
				if p+size < len(pattern) {
					p += size
					r, size = c.next(pattern[p:])
				}
			}
			if r == '%' && !literal {
				if p += size; p == len(pattern) {
					return true
				}
				retry, retryAt = p, at
				continue
			}
			if at < len(s) {
				have, n := c.next(s[at:])
				if r == '_' && !literal || c.equalRunes(have, r) {
					p += size
					at += n
					continue
				}
			}
		} else if at == len(s) {
			return true
		}
		if retry < 0 || retryAt >= len(s) {
			return false
		}
		_, n := c.next(s[retryAt:])
		retryAt += n
		if b := pattern[retry]; c.weight == nil && b != '_' && b != escape {
			// Only where this character stands can it go on. A byte within a
			// character of UTF-8 is never equal to the first of one.
			skip := strings.IndexByte(s[retryAt:], b)
			if skip < 0 {
				return false
			}
			retryAt += skip
		}
		p, at = retry, retryAt
	}
}

func (c *compiler) regexp(e *ast.PatternRegexpExpr) (*node, error) {
	list, err := c.all([]ast.ExprNode{e.Expr, e.Pattern})
	if err != nil {
		return nil, err
	}
	n, err := matchesRegexp(list[0], list[1])
	if err != nil || !e.Not {
		return n, err
	}
	return not(n)
}

// matchesRegexp compiles REGEXP, with the syntax of RE2, which TiDB has too.
func matchesRegexp(a, b *node) (*node, error) {
	coll, _, err := collationOf(a, b)
	switch {
	case err != nil:
		return nil, err
	case coll.binary:
		return nil, errors.New("REGEXP is for text, not for bytes")
	}
	s, err := a.asString()
	if err != nil {
		return nil, err
	}
	p, err := b.asString()
	switch {
	case err != nil:
		return nil, err
	case !p.constant:
		return nil, errors.New("the pattern of REGEXP must be a literal")
	case p.isNull():
		return newNull(), nil
	}
	pattern, _ := p.strings(nil)
	if pattern == "" {
		return nil, errors.New("the pattern of REGEXP is empty")
	}
	re, err := regexp.Compile(pattern)
	if err == nil && coll.weight != nil {
		re, err = regexp.Compile("(?i)" + pattern)
	}
	if err != nil {
		return nil, err
	}
	f := s.strings
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		return truth(ok && re.MatchString(v)), ok
	}), s)
}

// runeOffset is the byte offset of the n-th character of s, len(s) if there are
// fewer.
func (c *collation) runeOffset(s string, n int64) int {
	if c.binary {
		return int(min(n, int64(len(s))))
	}
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return at
}

// count is the number of characters of s.
func (c *collation) count(s string) int64 {
	if c.binary {
		return int64(len(s))
	}
	return int64(utf8.RuneCountInString(s))
}
