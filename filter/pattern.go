package filter

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// patternKind tells the forms of a pattern apart, cheapest first.
type patternKind uint8

const (
	everything patternKind = iota // *
	literal
	wildcard
	regular // /…/
)

// pattern matches the name of a schema or a table.
type pattern struct {
	kind patternKind
	text string // literal

	// A wildcard pattern without the runs at its ends, which reject most names.
	prefix, suffix string
	parts          []part

	expression *regexp.Regexp
}

// wildcardPattern compiles parts, the last of which ends the name.
func wildcardPattern(parts []part) pattern {
	p := pattern{kind: wildcard}
	if first := &parts[0]; first.kind == run {
		p.prefix, parts = first.text, parts[1:]
	}
	if n := len(parts) - 1; n >= 0 && parts[n].kind == run {
		p.suffix, parts = parts[n].text, parts[:n]
	}
	p.parts = parts
	return p
}

// match reports whether the pattern matches a name. key is the name as names
// are compared: in lower case unless case matters. A regular expression carries
// its own case rule and gets the name itself: what it is given escapes, and key
// must not, because it may lie on the caller's stack.
func (p *pattern) match(key, name string) bool {
	switch p.kind {
	case everything:
		return true
	case literal:
		return p.text == key
	case wildcard:
		return p.matchWildcard(key)
	}
	return p.expression.MatchString(name)
}

func (p *pattern) matchWildcard(key string) bool {
	rest := len(key) - len(p.suffix)
	if rest < len(p.prefix) || key[:len(p.prefix)] != p.prefix || key[rest:] != p.suffix {
		return false
	}
	return matchParts(p.parts, key[len(p.prefix):rest])
}

// part is one element of a wildcard pattern.
type part struct {
	kind partKind
	text string // run
	class
}

type partKind uint8

const (
	run   partKind = iota // the characters of text
	one                   // ?
	many                  // *
	oneOf                 // [a-z]
)

// class is a set of characters.
type class struct {
	ranges  [][2]rune // both ends included
	negated bool
	// foldCase: a character belongs if it does in upper or lower case. The
	// ranges stay as written, because that of [A-z] has no counterpart in lower case.
	foldCase bool
}

func (c *class) contains(r rune) bool {
	in := c.lists(r)
	if c.foldCase {
		for other := unicode.SimpleFold(r); !in && other != r; other = unicode.SimpleFold(other) {
			in = c.lists(other)
		}
	}
	return in != c.negated
}

func (c *class) lists(r rune) bool {
	for _, span := range c.ranges {
		if span[0] <= r && r <= span[1] {
			return true
		}
	}
	return false
}

// matchParts matches a name from end to end. On a mismatch it lets the last * take one
// more character, which is enough: an earlier * need never take more than it did.
func matchParts(parts []part, name string) bool {
	i, at := 0, 0
	retry, retryAt := -1, 0 // the part behind the last *, and where it was tried
	for {
		if i < len(parts) {
			p := &parts[i]
			if p.kind == many {
				if i++; i == len(parts) {
					return true
				}
				retry, retryAt = i, at
				continue
			}
			if n := p.matchPrefix(name[at:]); n >= 0 {
				i++
				at += n
				continue
			}
		} else if at == len(name) {
			return true
		}
		if retry < 0 || retryAt == len(name) {
			return false
		}
		_, size := utf8.DecodeRuneInString(name[retryAt:])
		retryAt += size
		i, at = retry, retryAt
	}
}

// matchPrefix returns how many bytes of name the part takes, -1 if it does not match.
func (p *part) matchPrefix(name string) int {
	if p.kind == run {
		if strings.HasPrefix(name, p.text) {
			return len(p.text)
		}
		return -1
	}
	r, size := utf8.DecodeRuneInString(name)
	if size == 0 || p.kind == oneOf && !p.contains(r) {
		return -1
	}
	return size
}
